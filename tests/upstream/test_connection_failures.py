"""Causes of failed requests: operators see them in log, metrics and `gateway check`; callers see the code alone."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import probe
from gateway.config.tls import registry_tls
from gateway.errors import Cause, RegistryError, RegistryTimeout, RegistryUnreachable
from gateway.telemetry.metrics import Metrics
from gateway.upstream.http_client import HttpClient
from gateway.upstream.messages import Destination, Endpoint
from tests.conftest import pai, settings
from tests.upstream.certificates import certificate, server_tls
from tests.upstream.raw_registry import PLAIN, destination, listening, request, response


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PLAIN)


async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def forbids(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(response(b"", status="403 Forbidden"))


async def wants_authentication(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(response(b"", status="407 Proxy Authentication Required"))


@asynccontextmanager
async def unresolved(folder: Path) -> AsyncIterator[Destination]:
    yield destination(Endpoint.parse("https://registry.invalid"))


@asynccontextmanager
async def refused(folder: Path) -> AsyncIterator[Destination]:
    yield destination(Endpoint.parse(f"http://127.0.0.1:{closed_port()}"))


@asynccontextmanager
async def untrusted(folder: Path) -> AsyncIterator[Destination]:
    async with listening(answers, server_tls(certificate(folder, "localhost"))) as port:
        yield destination(Endpoint.parse(f"https://localhost:{port}"))


@asynccontextmanager
async def other_name(folder: Path) -> AsyncIterator[Destination]:
    own = certificate(folder, "other.example")
    tls = registry_tls(pai("https://localhost", ca_file=str(own)))
    async with listening(answers, server_tls(own)) as port:
        yield destination(Endpoint.parse(f"https://localhost:{port}"), tls=tls)


@asynccontextmanager
async def no_tls(folder: Path) -> AsyncIterator[Destination]:
    async def speaks_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN)

    async with listening(speaks_plainly) as port:
        yield destination(Endpoint.parse(f"https://localhost:{port}"))


@asynccontextmanager
async def proxy_away(folder: Path) -> AsyncIterator[Destination]:
    yield destination(Endpoint.parse("https://registry.invalid", f"http://127.0.0.1:{closed_port()}"))


@asynccontextmanager
async def proxy_forbids(folder: Path) -> AsyncIterator[Destination]:
    async with listening(forbids) as port:
        yield destination(Endpoint.parse("https://registry.invalid", f"http://127.0.0.1:{port}"))


@asynccontextmanager
async def proxy_wants_authentication(folder: Path) -> AsyncIterator[Destination]:
    async with listening(wants_authentication) as port:
        yield destination(Endpoint.parse("http://registry.invalid", f"http://127.0.0.1:{port}"))


@asynccontextmanager
async def no_handshake(folder: Path) -> AsyncIterator[Destination]:
    async with listening(is_silent) as port:
        yield destination(Endpoint.parse(f"https://localhost:{port}"), timeout=0.2)


@asynccontextmanager
async def no_response(folder: Path) -> AsyncIterator[Destination]:
    async with listening(is_silent) as port:
        yield destination(Endpoint.parse(f"http://127.0.0.1:{port}"), timeout=0.2)


@asynccontextmanager
async def closed(folder: Path) -> AsyncIterator[Destination]:
    async with listening(closes) as port:
        yield destination(Endpoint.parse(f"http://127.0.0.1:{port}"))


@asynccontextmanager
async def reset(folder: Path) -> AsyncIterator[Destination]:
    async with listening(resets) as port:
        yield destination(Endpoint.parse(f"http://127.0.0.1:{port}"))


Situation = Callable[[Path], AbstractAsyncContextManager[Destination]]

CAUSES: list[tuple[Situation, Cause, type[RegistryError]]] = [
    (unresolved, Cause.NAME_NOT_RESOLVED, RegistryUnreachable),
    (refused, Cause.CONNECTION_REFUSED, RegistryUnreachable),
    (untrusted, Cause.UNTRUSTED_CERTIFICATE, RegistryUnreachable),
    (other_name, Cause.WRONG_HOST_NAME, RegistryUnreachable),
    (no_tls, Cause.TLS_FAILED, RegistryUnreachable),
    (proxy_away, Cause.PROXY_REFUSED, RegistryUnreachable),
    (proxy_forbids, Cause.PROXY_REFUSED, RegistryUnreachable),
    (proxy_wants_authentication, Cause.PROXY_REFUSED, RegistryUnreachable),
    (no_handshake, Cause.CONNECT_TIMEOUT, RegistryTimeout),
    (no_response, Cause.READ_TIMEOUT, RegistryTimeout),
    (closed, Cause.CONNECTION_RESET, RegistryUnreachable),
    (reset, Cause.CONNECTION_RESET, RegistryUnreachable),
]


@pytest.mark.parametrize(("situation", "cause", "kind"), CAUSES, ids=[one[0].__name__ for one in CAUSES])
async def test_operators_see_the_cause_and_callers_the_code(
    situation: Situation,
    cause: Cause,
    kind: type[RegistryError],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    async with situation(tmp_path) as failing, HttpClient(events=metrics) as client:
        with pytest.raises(kind) as caught:
            await client.send(failing, request())
    error = caught.value
    assert type(error) is kind
    assert error.cause is cause
    assert str(error) == f'Registry "pai" {kind.problem}.'
    assert error.extensions == {"code": kind.code, "registry": "pai", "retryable": True}
    (line,) = [record.getMessage() for record in caplog.records if record.name == "gateway.upstream"]
    assert re.fullmatch(rf"pai ListModels failed: {kind.code}, cause {cause}, \d+ ms", line)
    assert not re.search(r"127\.0\.0\.1|localhost|invalid", line), "hosts and proxies are not logged"
    text = metrics.exposition("text/plain")[0].decode()
    assert f'gateway_upstream_connection_failures_total{{cause="{cause}",registry="pai"}} 1.0' in text


async def test_a_response_is_no_connection_failure(tmp_path: Path) -> None:
    metrics = Metrics()
    async with listening(answers) as port, HttpClient(events=metrics) as client:
        await client.send(destination(Endpoint.parse(f"http://127.0.0.1:{port}")), request())
    assert b"gateway_upstream_connection_failures_total{" not in metrics.exposition("text/plain")[0]


async def test_the_check_command_shows_the_cause() -> None:
    (found,) = await probe(settings(pai(f"http://127.0.0.1:{closed_port()}")))
    assert found.problem == 'Registry "pai" is unreachable. (connection refused)'
