"""Servers under test: the gateway with and without its cache, the naive gateway, and the upper limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.processes import Server, free_port, running

MODELS = 50
"""Default number of PAI models."""

SETTINGS = """
[server]
port = {port}
[cache]
enabled = {cached}
entries = 1000000
[limits]
calls = 10000
[quota]
requests_per_second = 10000
in_flight = 10000
[telemetry]
log_level = "warning"
"""
PAI = """
[[registries]]
name = "{name}"
kind = "pai"
region = "cn-hangzhou"
access_key_id = "key-of-{name}"
access_key_secret = "secret"
models_endpoint = "{cloud}"
algorithms_endpoint = "{cloud}"
"""
QIANFAN = """
[[registries]]
name = "{name}"
kind = "qianfan"
access_key = "key-of-{name}"
secret_key = "secret"
endpoint = "{cloud}"
"""


@asynccontextmanager
async def cloud(models: int = MODELS) -> AsyncIterator[str]:
    """The upstream clouds; yields their address."""
    port = free_port()
    async with running("tests.bench.cloud", str(port), str(models), port=port, ready="/api/v1/models") as server:
        yield server.address


def registries(address: str, many: int) -> str:
    """Return the settings of ``many`` registries, alternating both kinds. The first two have the names of the kinds."""
    texts = []
    for number in range(many):
        kind, text = (("pai", PAI), ("qianfan", QIANFAN))[number % 2]
        texts.append(text.format(name=kind + (str(number // 2) if number > 1 else ""), cloud=address))
    return "".join(texts)


@asynccontextmanager
async def gateway(address: str, *, cached: bool, many: int = 2) -> AsyncIterator[Server]:
    """The gateway, as ``gateway serve`` runs it, with ``many`` registries."""
    port = free_port()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.toml"
        path.write_text(SETTINGS.format(port=port, cached=str(cached).lower()) + registries(address, many))
        async with running("gateway", "serve", "--config", str(path), port=port, ready="/healthz") as server:
            yield server


@asynccontextmanager
async def naive(address: str) -> AsyncIterator[Server]:
    port = free_port()
    async with running("tests.bench.naive", str(port), address, port=port, ready="/graphql") as server:
        yield server


@asynccontextmanager
async def raw(bodies: dict[str, bytes]) -> AsyncIterator[Server]:
    """The upper limit, with prepared bodies by name."""
    port = free_port()
    with TemporaryDirectory() as folder:
        for name, body in bodies.items():
            (Path(folder) / name).write_bytes(body)
        async with running("tests.bench.raw", str(port), folder, port=port, ready="/") as server:
            yield server
