"""Clients as people use them, against a gateway over both clouds: a script for each, which asserts what it sees.

The official audit of GraphQL over HTTP is among them. What every script needs is installed once, in folders that git
ignores.
"""

import subprocess
import venv
from pathlib import Path

import pytest

from gateway.config.settings import BreakerSettings, RetrySettings
from tests import npm
from tests.conftest import World, two_clouds
from tests.contract.api import PRINTED, api
from tests.subscriptions.conftest import ID, often_looked_at

HERE = Path(__file__).parent
BUILD = HERE / "build"

pytestmark = pytest.mark.timeout(600)  # the first run installs what is locked


@pytest.fixture(autouse=True, scope="module")
def schema() -> None:
    """The schema, where the compilers and generators of clients look for it."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / "schema.graphql").write_text(api(PRINTED.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.fixture(scope="module")
def packages() -> Path:
    return npm.installed(HERE)


def interpreter(client: str) -> Path:
    """A Python with the locked packages of one client: they need other versions than the gateway and its tools."""
    locked, environment = HERE / f"{client}.requirements.txt", BUILD / f"{client}-venv"
    python, stamp = environment / "bin" / "python", environment / locked.name
    if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
        venv.create(environment, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1"]
        done = subprocess.run([*install, "-r", locked], capture_output=True, text=True, check=False)
        if done.returncode:
            npm.missing(f"pip cannot install {locked.name}: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_bytes(locked.read_bytes())
    return python


@pytest.mark.parametrize("client", ["relay", "apollo", "urql", "codegen"])
async def test_a_client_in_javascript(packages: Path, world: World, client: str) -> None:
    await npm.node(packages, f"{client}.js", f"{world.gateway.url}/graphql")


@pytest.mark.parametrize("client", ["gql_app", "ariadne_app"])
async def test_a_client_in_python(world: World, client: str) -> None:
    await npm.run(HERE, str(interpreter(client)), f"{client}.py", f"{world.gateway.url}/graphql")


@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_a_client_takes_an_answer_in_parts(packages: Path, client: str) -> None:
    # What a cloud holds up breaks off when it is let go, and is asked again.
    patient = {"retry": RetrySettings(attempts=2, budget=1.0), "breaker": BreakerSettings(failures=20)}
    async with two_clouds(sections=patient) as world:
        await npm.node(packages, f"{client}-parts.js", f"{world.gateway.url}/graphql", f"{world.pai.url}/_twin/faults")


@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_a_client_in_javascript_watches_a_version(packages: Path, client: str) -> None:
    async with often_looked_at() as (cloud, gateway):
        await npm.node(packages, f"{client}-watching.js", f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)


async def test_a_client_in_python_watches_a_version() -> None:
    python = str(interpreter("gql_app"))
    async with often_looked_at() as (cloud, gateway):
        await npm.run(HERE, python, "gql_watching.py", f"{gateway.url}/graphql", f"{cloud.url}/_twin/faults", ID)


async def test_the_official_audit_of_graphql_over_http(packages: Path, world: World) -> None:
    assert "61 of 61 audits" in await npm.node(packages, "audit.js", f"{world.gateway.url}/graphql")
