"""The gateway behind a proxy or load balancer: paths, Unix sockets, TLS, idle connections, and trusted addresses."""

import asyncio
import os
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest

from gateway.config.loading import load
from gateway.config.settings import ServerSettings, SettingsError
from gateway.registries import KINDS
from tests.conftest import qianfan, served, settings
from tests.test_check import registry
from tests.test_command_line import ENVIRON, run
from tests.test_server import Running, connect, running
from tests.upstream.certificates import certificate

NAMES = {"query": "{ registries { name } }"}
SERVE = [sys.executable, "-m", "gateway", "serve", "--config"]


# Paths


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/models/graphql", "/models/graphql/"])
@pytest.mark.parametrize("profile", ["development", "production"])
async def test_a_proxy_may_keep_or_remove_its_path(profile: str, path: str, twin: str) -> None:
    server = ServerSettings(profile=profile, root_path="/models")
    async with served(settings(qianfan(twin), server=server)) as gateway:
        answer = await gateway.request("POST", path, json=NAMES)
        assert (answer.status, answer.data) == (200, {"registries": [{"name": "qianfan"}]})
        answer = await gateway.request("GET", path, params=NAMES, headers={"Accept": "application/json"})
        assert (answer.status, answer.data) == (200, {"registries": [{"name": "qianfan"}]})
        socket = gateway.url + path
        async with gateway.session.ws_connect(socket, protocols=["graphql-transport-ws"]) as connection:
            await connection.send_json({"type": "connection_init"})
            assert (await connection.receive_json())["type"] == "connection_ack"


@pytest.mark.parametrize("path", ["/healthz", "/models/healthz", "/models/readyz"])
async def test_every_path_may_have_the_prefix(path: str, twin: str) -> None:
    async with served(settings(qianfan(twin), server=ServerSettings(root_path="/models"))) as gateway:
        assert (await gateway.request("GET", path)).status == 200
        assert (await gateway.request("GET", f"/other{path}")).status == 404
        assert (await gateway.request("GET", f"/modelsx{path}")).status == 404


async def test_browsers_are_redirected_to_where_the_links_of_the_playground_work(twin: str) -> None:
    server = ServerSettings(profile="development", root_path="/models")
    html = {"Accept": "text/html", "Host": "evil.example.com"}
    async with served(settings(qianfan(twin), server=server)) as gateway:
        redirects = {"/models": "/models/", "/models/graphql/": "../graphql", "/graphql/": "../graphql"}
        for path, location in redirects.items():
            answer = await gateway.request("GET", path, headers=html, allow_redirects=False)
            assert (answer.status, answer.headers["location"]) == (308, location)
        answer = await gateway.request("GET", "/models/graphql/", headers={"Accept": "text/html"})
        assert answer.status == 200
        assert "<html" in answer.body


@pytest.mark.parametrize("root_path", ["", "/models"])
@pytest.mark.parametrize("profile", ["development", "production"])
async def test_a_graphql_request_to_the_root_is_told_where_to_go(profile: str, root_path: str, twin: str) -> None:
    server = ServerSettings(profile=profile, root_path=root_path)
    async with served(settings(qianfan(twin), server=server)) as gateway:
        for path in {"/", f"{root_path}/", root_path or "/"}:
            answer = await gateway.request("POST", path, json=NAMES)
            assert (answer.status, answer.body) == (
                404,
                {
                    "errors": [
                        {
                            "message": f"GraphQL requests go to {root_path}/graphql.",
                            "extensions": {"code": "BAD_REQUEST"},
                        }
                    ]
                },
            )


PROBLEMS = {
    'root_path = "/models/"': "server.root_path",
    'root_path = "models"': "server.root_path",
    'root_path = "/a/../b"': "server.root_path: has a part . or ..",
    'trusted_proxies = ["10.0.0.0/33"]': 'server.trusted_proxies: "10.0.0.0/33" is no address or network',
    'trusted_proxies = ["proxy.local"]': 'server.trusted_proxies: "proxy.local" is no address or network',
    'tls_key = "key.pem"': "server.tls_key needs tls_certificate",
    "keep_alive = 0": "server.keep_alive: 0 is not between 1 and 3600",
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_settings_that_cannot_work_are_refused(text: str, config: Path) -> None:
    config.write_text(f"[server]\n{text}\n{registry('http://127.0.0.1:1')}")
    with pytest.raises(SettingsError) as refused:
        load(config, {}, {name: kind.settings for name, kind in KINDS.items()})
    (problem,) = refused.value.problems
    assert problem.startswith(PROBLEMS[text])


# Unix sockets


async def ask_socket(path: Path) -> int:
    connector = aiohttp.UnixConnector(path=str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://gateway/graphql", json=NAMES) as response,
    ):
        assert (await response.json())["data"] == {"registries": [{"name": "one"}]}
        return response.status


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_unix_socket_takes_the_place_of_a_port(config: Path, twin: str, workers: int) -> None:
    path = config.parent / "gateway.sock"
    server = f'[server]\nworkers = {workers}\nsocket = "{path}"\ntrusted_proxies = ["*"]\nprofile = "production"\n'
    for _ in range(2):  # the second one replaces what the first one left
        gateway = Running(config, twin, server)
        gateway.write("one")
        process = await asyncio.create_subprocess_exec(
            *SERVE, str(config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=ENVIRON
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert await process.stdout.readline() == f"Gateway  unix:{path}:/graphql\n".encode()
            assert await ask_socket(path) == 200
            assert stat(path) == 0o660
            assert (await asyncio.to_thread(run, "check", "--config", str(config))).stdout.split()[-1] == "ok"
            said = await asyncio.to_thread(run, *SERVE[3:], str(config), status=1)
            assert said.stderr == f"gateway: cannot listen on {path}: Address already in use\n"
            await deny(path)
            assert b" remote=203.0.113.7 " in await process.stderr.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


async def deny(path: Path) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path))) as session:
        body = {"query": "{ __schema { types { name } } }"}
        async with session.post("http://g/graphql", json=body, headers={"X-Forwarded-For": "203.0.113.7"}) as answer:
            assert (await answer.json())["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def stat(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_in_place_of_a_unix_socket_is_not_replaced(config: Path) -> None:
    path = config.parent / "gateway.sock"
    path.write_text("mine")
    config.write_text(f'[server]\nsocket = "{path}"\n{registry("http://127.0.0.1:1")}')
    said = run("serve", "--config", str(config), status=1)
    assert said.stderr == f"gateway: cannot listen on {path}: Address already in use\n"
    assert path.read_text() == "mine"


# TLS


def trusting(path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_certificate_is_replaced_at_a_reload(config: Path, twin: str, workers: int) -> None:
    first, second = certificate(config.parent, "localhost"), certificate(config.parent, "gateway")
    used = config.parent / "used.pem"
    replace(used, first)
    server = f'[server]\nworkers = {workers}\ntls_certificate = "{used}"\n'
    async with running(config, twin, server, "one") as gateway:
        assert gateway.url.startswith("https://127.0.0.1:")

        async def ask(trusted: Path, host: str) -> str:
            connector = aiohttp.TCPConnector(ssl=trusting(trusted))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(f"{gateway.url}/graphql", json=NAMES, server_hostname=host) as answer,
            ):
                return ",".join(one["name"] for one in (await answer.json())["data"]["registries"])

        assert await ask(first, "localhost") == "one"
        replace(used, None)
        os.kill(gateway.pid, signal.SIGHUP)
        for _ in range(workers):
            assert "stay as they were: server.tls_certificate: " in await gateway.line()
        assert await ask(first, "localhost") == "one"
        replace(used, second)
        os.kill(gateway.pid, signal.SIGHUP)
        while True:
            try:
                assert await ask(second, "gateway") == "one"
                break
            except aiohttp.ClientConnectorCertificateError:
                pass


async def test_the_cache_command_says_that_it_does_not_trust_the_certificate(config: Path, twin: str) -> None:
    path = certificate(config.parent, "localhost")
    server = f'[server]\ndrain = 0\ntls_certificate = "{path}"\n[cache]\nadmin_token = "t"\n'
    async with running(config, twin, server, "one") as gateway:
        command = ["cache", "stats", "--config", str(config), "--url"]
        refused = await asyncio.to_thread(run, *command, gateway.url, status=1)
        assert refused.stderr.startswith(f"gateway: {gateway.url}: its certificate is refused (")
        assert refused.stderr.endswith("); set --url or SSL_CERT_FILE\n")
        named = gateway.url.replace("127.0.0.1", "localhost")
        trusted = await asyncio.to_thread(run, *command, named, environ={"SSL_CERT_FILE": str(path)})
        assert trusted.stdout.startswith("entries ")


def replace(used: Path, content: Path | None) -> None:
    used.write_bytes(content.read_bytes() if content else b"nothing")


async def test_limits_and_a_stop_work_with_tls(config: Path, twin: str) -> None:
    path = certificate(config.parent, "localhost")
    async with running(config, twin, f'[server]\ndrain = 0\ntls_certificate = "{path}"\n', "one") as gateway:
        host, _, port = gateway.url.removeprefix("https://").rpartition(":")
        opened = await asyncio.open_connection(host, int(port), ssl=trusting(path), server_hostname="localhost")
        opened[1].write(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 40_000 + b"\r\n\r\n")
        assert (await opened[0].readline()).startswith(b"HTTP/1.1 431 ")
        opened[1].close()
        os.kill(gateway.pid, signal.SIGTERM)
        assert await gateway.ended() == 0
        assert gateway.process is not None
        assert gateway.process.stderr is not None
        assert await gateway.process.stderr.read() == b""


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        ("missing.pem", "", "server.tls_certificate: missing.pem: No such file or directory"),
        ("cert.pem", "missing.pem", "server.tls_key: missing.pem: No such file or directory"),
        ("other.pem", "", "server.tls_certificate: other.pem: not a PEM file with certificates, or its key is missing"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    command: str, certificate: str, key: str, problem: str, config: Path
) -> None:
    folder = config.parent
    (folder / "cert.pem").write_text("certificate")
    (folder / "other.pem").write_text("certificate")
    files = {"tls_certificate": certificate, "tls_key": key}
    named = [f'{name} = "{folder / file}"\n' for name, file in files.items() if file]
    config.write_text(f"[server]\nport = 0\n{''.join(named)}{registry('http://127.0.0.1:1')}")
    said = run(command, "--config", str(config), status=2).stderr.replace(f"{folder}/", "")
    assert said.startswith(f"gateway: {problem}")


# Connections


async def test_an_idle_connection_outlives_the_idle_time_of_balancers_by_default() -> None:
    assert ServerSettings().keep_alive > 60


async def test_an_idle_connection_ends_after_its_time(config: Path, twin: str) -> None:
    async with running(config, twin, "[server]\nkeep_alive = 1\n", "one") as gateway:
        reader, writer = await connect(gateway)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()


@pytest.mark.parametrize(
    ("trusted", "remote"), [("10.0.0.1", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.7"), ("*", "203.0.113.7")]
)
async def test_only_trusted_proxies_name_the_client(config: Path, twin: str, trusted: str, remote: str) -> None:
    server = f'[server]\nprofile = "production"\ntrusted_proxies = ["{trusted}"]\n'
    async with running(config, twin, server, "one") as gateway, aiohttp.ClientSession() as session:
        body, headers = {"query": "{ __schema { types { name } } }"}, {"X-Forwarded-For": "203.0.113.7"}
        async with session.post(gateway.url + "/graphql", json=body, headers=headers) as response:
            assert (await response.json())["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert f" remote={remote} " in await gateway.line()
