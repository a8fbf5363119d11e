"""Servers under test: the gateway with and without its cache, the references, and the upstream."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.cloud import COUNTER
from tests.bench.processes import Server, free_port, running

MODELS = 50
"""Default number of PAI models."""

SETTINGS = """
[server]
port = {port}
profile = "{profile}"
[cache]
enabled = {cached}
lists = 86400
objects = 86400
entries = 1000000
megabytes = 4096
[catalog]
scan_rows = 20000
deadline = 60
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


def module(name: str, *arguments: str, ready: str = "/graphql") -> AbstractAsyncContextManager[Server]:
    """A server that is a module of the benchmark."""
    port = free_port()
    return running(f"tests.bench.{name}", str(port), *arguments, port=port, ready=ready)


@asynccontextmanager
async def cloud(models: int = MODELS) -> AsyncIterator[str]:
    """The upstream clouds; yields their address."""
    async with module("cloud", str(models), ready=COUNTER) as server:
        yield server.address


@asynccontextmanager
async def raw(bodies: Mapping[str, bytes]) -> AsyncIterator[Server]:
    """The upper limit, with prepared bodies by name."""
    with TemporaryDirectory() as folder:
        for name, body in bodies.items():
            (Path(folder) / name).write_bytes(body)
        async with module("raw", folder) as server:
            yield server


def registries(address: str, many: int) -> str:
    """Return the settings of ``many`` registries, alternating both kinds. The first two have the names of the kinds."""
    texts = []
    for number in range(many):
        kind, text = (("pai", PAI), ("qianfan", QIANFAN))[number % 2]
        texts.append(text.format(name=kind + (str(number // 2) if number > 1 else ""), cloud=address))
    return "".join(texts)


@asynccontextmanager
async def gateway(address: str, *, cached: bool, many: int = 2, profile: str = "production") -> AsyncIterator[Server]:
    """The gateway, as ``gateway serve`` runs it, with ``many`` registries."""
    port = free_port()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.toml"
        settings = SETTINGS.format(port=port, profile=profile, cached=str(cached).lower())
        path.write_text(settings + registries(address, many))
        async with running("gateway", "serve", "--config", str(path), port=port, ready="/healthz") as server:
            yield server
