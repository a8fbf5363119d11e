"""HTTP as registries, proxies and broken machines speak it: what each answer becomes, and which connections live on."""

import asyncio
import gzip
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.upstream import connections
from gateway.upstream.connection import LARGEST_HEAD, Garbled, Received, TooLarge
from gateway.upstream.connections import Connections

LIMIT = 1000
CLOSE = b""
"""In a script: the server ends the connection."""

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"
ZIPPED = gzip.compress(b"x" * LIMIT)
DEFLATED = zlib.compress(b"x" * LIMIT)


def no_connection(text: bytes) -> None:
    raise AssertionError(f"nobody is there to be told {text!r}")


class Registry:
    """A server that says what a test told it to, word for word: one text for each request, on any connection."""

    def __init__(self, address: str, script: list[bytes], most: int) -> None:
        self.script, self.heads, self.connections = script, list[str](), 0
        self.ended, self.timeout = asyncio.Event(), 10.0
        self.ways = Connections(address, most)
        self.asked, self.say = asyncio.Event(), no_connection

    async def ask(self, method: str = "GET", body: bytes = b"", **headers: str) -> Received:
        ends = asyncio.get_running_loop().time() + self.timeout
        return await self.ways.exchange(method, "/models?a=%20b", headers, body, LIMIT, ends)


@asynccontextmanager
async def serving(
    *script: bytes, security: ssl.SSLContext | None = None, most: int = connections.MOST
) -> AsyncIterator[Registry]:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        registry.connections += 1
        registry.say = writer.write
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                registry.heads.append(head.decode())
                registry.asked.set()
                text = registry.script.pop(0)
                writer.write(text)
                await writer.drain()
                if registry.script[:1] == [CLOSE]:
                    registry.script.pop(0)
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            registry.ended.set()

    server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=security)
    port = server.sockets[0].getsockname()[1]
    address = f"http://127.0.0.1:{port}/base" if security is None else f"https://localhost:{port}/base"
    registry = Registry(address, list(script), most)
    try:
        yield registry
    finally:
        await registry.ways.close()
        server.close()
        await server.wait_closed()


GOOD: dict[str, tuple[list[bytes], bytes]] = {
    "with a length": ([PLAIN], b"{}"),
    "in chunks": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nX-Late: 1\r\n\r\n"],
        b"{}",
    ),
    "until the connection ends": ([b"HTTP/1.1 200 OK\r\n\r\n{}", CLOSE], b"{}"),
    "by HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\n{}", CLOSE], b"{}"),
    "after another that only announces it": ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN], b"{}"),
    "packed": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(ZIPPED), ZIPPED)],
        b"x" * LIMIT,
    ),
    "packed in the other way": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n%s" % (len(DEFLATED), DEFLATED)],
        b"x" * LIMIT,
    ),
    "packed, in other letters": (
        [b"HTTP/1.1 200 OK\r\ncontent-encoding: GZIP\r\nCONTENT-LENGTH: %d\r\n\r\n%s" % (len(ZIPPED), ZIPPED)],
        b"x" * LIMIT,
    ),
    "packed, but empty": ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"], b""),
    "that offers another protocol": (
        [b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}"],
        b"{}",
    ),
    "without a body": ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    "as large as allowed": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * LIMIT], b"x" * LIMIT),
}


@pytest.mark.parametrize("case", GOOD)
async def test_an_answer_is_read_however_it_is_framed(case: str) -> None:
    script, body = GOOD[case]
    async with serving(*script) as registry:
        answer = await registry.ask()
        assert answer.body == body
        assert "link" not in answer.headers
        assert "x-late" not in answer.headers


BOMB = gzip.compress(b"x" * (LIMIT + 1))
BAD: dict[str, tuple[list[bytes], type[Exception]]] = {
    "no HTTP": ([b"SSH-2.0-OpenSSH\r\n\r\n"], Garbled),
    "another protocol, switched to": (
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        Garbled,
    ),
    "two lengths": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"], Garbled),
    "a chunk of no length": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"], Garbled),
    "headers without end": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * LARGEST_HEAD], Garbled),
    "a coding that was not asked for": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"],
        Garbled,
    ),
    "gzip that is none": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"],
        Garbled,
    ),
    "half a gzip": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + ZIPPED[:12]],
        Garbled,
    ),
    "gzip and something behind it": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s{}" % (len(ZIPPED) + 2, ZIPPED)],
        Garbled,
    ),
    "too large": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001], TooLarge),
    "too large once unpacked": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(BOMB), BOMB)],
        TooLarge,
    ),
    "half a body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", CLOSE], ConnectionError),
    "half a chunk": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", CLOSE], ConnectionError),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-", CLOSE], ConnectionError),
    "nothing": ([b"", CLOSE], ConnectionError),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_broken_answer_is_an_error_and_the_request_is_not_sent_again(case: str) -> None:
    script, error = BAD[case]
    async with serving(*script, PLAIN) as registry:
        with pytest.raises(error):
            await registry.ask()
        assert len(registry.heads) == 1
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 2, "what is left of the first answer is nobody's"


async def test_what_comes_behind_an_answer_that_is_whole_is_nobodys() -> None:
    async with serving(PLAIN + PLAIN, PLAIN) as registry:
        for connections in (1, 2):
            assert (await registry.ask()).body == b"{}"
            assert (len(registry.heads), registry.connections) == (connections, connections)


async def test_names_of_headers_are_looked_up_in_lower_case_whatever_they_came_in() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nX-Request-ID: 1\r\ncontent-length: 2\r\n\r\n{}") as registry:
        headers = (await registry.ask()).headers
    assert dict(headers) == {"x-request-id": "1", "content-length": "2"}
    assert headers.get("X-Request-ID") is None


def test_the_servers_own_loop_does_it_as_well() -> None:
    """What the gateway is served with is not asyncio's own loop."""

    async def all_of_them() -> None:
        for case in GOOD:
            await test_an_answer_is_read_however_it_is_framed(case)
        for case in BAD:
            await test_a_broken_answer_is_an_error_and_the_request_is_not_sent_again(case)

    with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
        runner.run(all_of_them())


async def test_a_request_has_its_headers_its_length_and_nothing_of_the_machine() -> None:
    async with serving(PLAIN, PLAIN, PLAIN) as registry:
        await registry.ask(host="example.test", Authorization="key")
        await registry.ask("POST", b"{}", host="example.test")
        await registry.ask("POST", host="example.test")
        get, post, empty = (head.split("\r\n") for head in registry.heads)
    assert get[0] == "GET /base/models?a=%20b HTTP/1.1"
    assert {line.partition(":")[0] for line in get[1:-2]} == {"user-agent", "accept-encoding", "host", "Authorization"}
    assert "content-length: 2" in post
    assert "content-length: 0" in empty


@pytest.mark.parametrize("text", ["a\r\nX-Other: b", "a\nb", "a\rb", "a\n\r\r\nb"])
async def test_a_header_cannot_start_another_one(text: str) -> None:
    async with serving(PLAIN) as registry:
        with pytest.raises(ValueError, match="line break"):
            await registry.ask(token=text)
        assert registry.connections == 0


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(redirect, PLAIN) as registry:
        answer = await registry.ask()
        assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")
        assert len(registry.heads) == 1


async def test_a_connection_is_used_again_until_the_registry_ends_it() -> None:
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    async with serving(PLAIN, PLAIN, last, PLAIN) as registry:
        for _ in range(3):
            await registry.ask()
        assert registry.connections == 1
        await registry.ask()
        assert registry.connections == 2


@pytest.mark.parametrize("case", [case for case, (script, _) in GOOD.items() if len(script) == 1])
async def test_an_answer_may_come_byte_by_byte(case: str) -> None:
    (text,), body = GOOD[case]
    async with serving(text[:1]) as registry:
        asking = asyncio.create_task(registry.ask())
        await registry.asked.wait()
        for at in range(1, len(text)):
            registry.say(text[at : at + 1])
            await asyncio.sleep(0)
        assert (await asking).body == body


async def test_a_kept_connection_that_ends_as_it_is_used_again_is_an_error_and_the_request_is_not_sent_again() -> None:
    async with serving(PLAIN, b"\r\n", CLOSE, PLAIN) as registry:
        await registry.ask()
        with pytest.raises(ConnectionError):
            await registry.ask("POST", b"{}")
        assert len(registry.heads) == 2
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 2


@pytest.mark.parametrize("surplus", [PLAIN, b"garbage"])
async def test_a_connection_on_which_more_comes_than_was_asked_for_is_not_used_again(surplus: bytes) -> None:
    async with serving(PLAIN + surplus, PLAIN) as registry:
        assert (await registry.ask()).body == b"{}"
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 2


async def test_calls_at_once_have_connections_of_their_own_and_the_others_wait() -> None:
    async with serving(*[PLAIN] * 10, most=3) as registry:
        answers = await asyncio.gather(*(registry.ask() for _ in range(10)))
        assert {answer.body for answer in answers} == {b"{}"}
        assert registry.connections == 3


async def test_a_call_that_is_given_up_takes_its_connection_with_it() -> None:
    async with serving(HALF, PLAIN) as registry:
        asking = asyncio.create_task(registry.ask())
        await registry.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 2


@pytest.mark.parametrize("before", [0, 2])
async def test_an_answer_that_does_not_come_in_time_is_given_up_whatever_time_the_calls_before_had(before: int) -> None:
    async with serving(*[PLAIN] * before, HALF, PLAIN) as registry:
        for _ in range(before):
            await registry.ask()
        registry.timeout = 0.05
        with pytest.raises(TimeoutError):
            await registry.ask()
        registry.timeout = 10.0
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 2


async def test_a_call_has_its_own_time_though_the_one_before_it_had_less() -> None:
    async with serving(PLAIN, HALF) as registry:
        registry.timeout = 0.05
        await registry.ask()
        registry.timeout = 10.0
        asking = asyncio.create_task(registry.ask())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.1)
        registry.say(b"}")
        assert (await asking).body == b"{}"
        assert registry.connections == 1


async def test_waiting_for_a_connection_is_part_of_the_time() -> None:
    async with serving(HALF, PLAIN, most=1) as registry:
        first = asyncio.create_task(registry.ask())
        await registry.asked.wait()
        registry.timeout = 0.05
        with pytest.raises(TimeoutError):
            await registry.ask()
        registry.say(b"}")
        assert (await first).body == b"{}"
        assert (await registry.ask()).body == b"{}"
        assert registry.connections == 1


async def test_whoever_gives_up_waiting_takes_nobodys_place() -> None:
    async with serving(HALF, PLAIN, most=1) as registry:
        first = asyncio.create_task(registry.ask())
        await registry.asked.wait()
        second, third = asyncio.create_task(registry.ask()), asyncio.create_task(registry.ask())
        await asyncio.sleep(0)
        second.cancel()
        registry.say(b"}")
        assert [(await one).body for one in (first, third)] == [b"{}", b"{}"]
        assert registry.connections == 1


async def test_what_is_not_used_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEPT", 0.0)
    async with serving(PLAIN, PLAIN) as registry:
        await registry.ask()
        await asyncio.wait_for(registry.ended.wait(), 5)
        await registry.ask()
        assert registry.connections == 2


async def test_nobody_there_is_an_error_of_the_system() -> None:
    async with serving() as registry:
        address = f"http://{registry.ways.netloc}"
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await Connections(address).exchange("GET", "/", {}, b"", LIMIT, asyncio.get_running_loop().time() + 10)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for ``localhost`` that only those trust who are told to, with its key."""
    path = tmp_path / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    where = ["-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "own.pem"]
    try:
        subprocess.run([*command.split(), *where], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    path = tmp_path / "localhost.pem"
    path.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "own.pem").read_text())
    return path


@pytest.mark.parametrize("trusts", [True, False])
async def test_https_is_for_those_whose_certificate_is_trusted(
    certificate: Path, trusts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    security.load_cert_chain(certificate)
    ours = ssl.create_default_context(cafile=str(certificate) if trusts else None)
    monkeypatch.setattr(connections, "trusted", lambda: ours)
    async with serving(PLAIN, PLAIN, security=security) as registry:
        if trusts:
            assert [(await registry.ask()).body for _ in range(2)] == [b"{}", b"{}"]
            assert registry.connections == 1
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                await registry.ask()
            assert registry.heads == []
