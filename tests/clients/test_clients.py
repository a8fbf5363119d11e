"""Common GraphQL clients against a gateway over PAI, Qianfan and MLflow. Each client is a script that asserts.

The official audit of GraphQL over HTTP is among them. The packages of the scripts are installed once, in folders that
git ignores.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config.settings import BreakerSettings, RetrySettings
from tests import environments, npm
from tests.conftest import Client, demo, two_clouds
from tests.contract.api import PRINTED, api
from tests.subscriptions.conftest import ID, short_interval_gateway

HERE = Path(__file__).parent
BUILD = HERE / "build"

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages


@pytest.fixture(autouse=True, scope="module")
def schema() -> None:
    """Write the schema to the file that the compilers and generators of clients read."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / "schema.graphql").write_text(api(PRINTED.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.fixture(scope="module")
def packages() -> Path:
    return npm.installed(HERE)


@pytest.fixture
async def gateway() -> AsyncIterator[Client]:
    async with demo() as running:
        yield running


def interpreter(client: str) -> Path:
    """Return a Python with the locked packages of one client, which differ from those of the gateway."""
    return environments.interpreter(HERE / f"{client}.requirements.txt", BUILD / f"{client}-venv")


@pytest.mark.parametrize("client", ["relay", "apollo", "urql", "codegen"])
async def test_a_javascript_client_works(packages: Path, gateway: Client, client: str) -> None:
    await npm.node(packages, f"{client}.js", f"{gateway.url}/graphql")


@pytest.mark.parametrize("client", ["gql_app", "ariadne_app"])
async def test_a_python_client_works(gateway: Client, client: str) -> None:
    await npm.run(HERE, str(interpreter(client)), f"{client}.py", f"{gateway.url}/graphql")


@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_a_client_receives_incremental_parts(packages: Path, client: str) -> None:
    # A call that the cloud blocks fails when it is released, and is sent again.
    patient = {"retry": RetrySettings(attempts=2, budget=1.0), "breaker": BreakerSettings(failures=20)}
    async with two_clouds(sections=patient) as world:
        await npm.node(packages, f"{client}-parts.js", f"{world.gateway.url}/graphql", f"{world.pai.url}/_twin/faults")


@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_a_javascript_client_can_subscribe_to_a_version(packages: Path, client: str) -> None:
    async with short_interval_gateway() as (cloud, gateway):
        await npm.node(packages, f"{client}-watching.js", f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)


async def test_a_python_client_can_subscribe_to_a_version() -> None:
    python = str(interpreter("gql_app"))
    async with short_interval_gateway() as (cloud, gateway):
        await npm.run(HERE, python, "gql_watching.py", f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)


async def test_the_official_audit_of_graphql_over_http_passes(packages: Path, gateway: Client) -> None:
    assert "61 of 61 audits" in await npm.node(packages, "audit.js", f"{gateway.url}/graphql")
