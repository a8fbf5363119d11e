"""`gateway check` says what `gateway serve` would, and bad settings never end in a traceback."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway import twins
from tests.auth.gateways import RSA, Issuer, public, running_issuer
from tests.telemetry.test_traces import collecting
from tests.test_command_line import ENVIRON, run
from tests.test_replicas import Server
from tests.test_server import REGISTRY, Running, children, running

FREE = "[server]\nport = 0\n"
CALLERS = '[access]\nmode = "callers"\nissuer = "https://login.example.com"\naudience = "gateway"\n'


def registry(url: str) -> str:
    return REGISTRY.format(name="one", key=twins.QIANFAN_ACCESS_KEY, secret=twins.QIANFAN_SECRET_KEY, url=url)


@pytest.fixture
async def twin() -> AsyncIterator[str]:
    async with twins.serving(models=6) as running:
        yield running.url


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def write(config: Path, text: str) -> None:
    config.write_text(text)


async def check(config: Path, text: str, status: int, **environ: str) -> list[str]:
    """The lines that `gateway check` prints for these settings."""
    write(config, text)
    done = await asyncio.to_thread(run, "check", "--config", str(config), status=status, environ=environ)
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def line_of(name: str, lines: list[str]) -> str:
    """What follows the duration in the line of a test."""
    (line,) = [line for line in lines if line.split()[0] == name]
    return line.partition(" ms  ")[2]


MISSING_FILES = f"""
{FREE}
[cache]
warm_up = "missing.graphql"
[documents]
trusted = "missing.json"
{CALLERS}
jwks = "missing.jwks"
"""


async def test_the_source_of_the_access_key_is_printed(twin: str, config: Path) -> None:
    settings = f"""
    {FREE}
    [[registries]]
    name = "one"
    kind = "pai"
    region = "cn-hangzhou"
    account = "1"
    credentials_from = "environment"
    models_endpoint = "{twin}"
    """
    key = {"ALIBABA_CLOUD_ACCESS_KEY_ID": twins.PAI_KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": twins.PAI_SECRET}
    assert line_of("one", await check(config, settings, 0, **key)) == "ok, access key from the environment"
    del key["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]
    assert line_of("one", await check(config, settings, 1, **key)) == (
        'Registry "one" has no valid credentials at the moment. (the variable ALIBABA_CLOUD_ACCESS_KEY_SECRET is not '
        "set) Check credentials_from, credentials_file or credentials_command."
    )


@pytest.mark.parametrize("command", ["check", "serve"])
def test_every_file_that_cannot_be_used_is_named_at_once(command: str, config: Path) -> None:
    config.write_text(MISSING_FILES + registry("http://127.0.0.1:1"))
    assert run(command, "--config", str(config), status=2).stderr.splitlines() == [
        "gateway: cache.warm_up: missing.graphql: No such file or directory",
        "gateway: access.jwks: missing.jwks: No such file or directory",
        "gateway: documents.trusted: missing.json: No such file or directory",
    ]


UNUSABLE = {
    "a password in a URL of Redis": ('[cache]\nredis = "redis://:p#ss@h"\n', "", "cache.redis: must be a URL"),
    "an option of Redis": ('[cache]\nredis = "redis://h?nonsense=1"\n', "", "cache.redis: must be a URL"),
    "authorities of Redis": (
        '[cache]\nredis = "rediss://h?ssl_ca_certs=missing.pem"\n',
        "",
        'cache.redis: its option "ssl_ca_certs" cannot be used: No such file or directory',
    ),
    "ciphers of Redis": (
        '[cache]\nredis = "rediss://h?ssl_ciphers=none-such"\n',
        "",
        'cache.redis: its option "ssl_ciphers" cannot be used: not valid for TLS',
    ),
    "half an address": (CALLERS + 'jwks = "https://[::1"\n', "", "access.jwks: the host or port of its URL"),
    "a port of the issuer": (CALLERS + 'jwks = "https://h:99999/"\n', "", "access.jwks: the host or port of its URL"),
    "no host of the issuer": (CALLERS + 'jwks = "https:///keys"\n', "", "access.jwks: the host or port of its URL"),
    "half an address of a proxy": ("", 'proxy = "http://[::1"\n', 'registries[1] "one": proxy: its host or port'),
    "a port of a proxy": ("", 'proxy = "http://proxy:99999"\n', 'registries[1] "one": proxy: its host or port'),
    "an endpoint": ("", '[[registries]]\nname = "two"\nkind = "mlflow"\nendpoint = "https://[::1"\n', "two"),
    "an address for everybody": ('[server]\nhost = "0.0.0.0"\nport = 0\n', "", "refusing to listen on 0.0.0.0"),
}


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("case", UNUSABLE)
def test_settings_that_cannot_be_used_are_refused_in_one_line(command: str, case: str, config: Path) -> None:
    before, after, problem = UNUSABLE[case]
    config.write_text((before if "port = 0" in before else FREE + before) + registry("http://127.0.0.1:1") + after)
    (said,) = run(command, "--config", str(config), status=2).stderr.splitlines()
    assert said.startswith("gateway: ")
    assert problem in said


@pytest.mark.parametrize("command", ["check", "serve"])
def test_one_bracket_too_few_around_registries_is_named(command: str, config: Path) -> None:
    config.write_text(FREE + registry("http://127.0.0.1:1").replace("[[registries]]", "[registries]"))
    said = run(command, "--config", str(config), status=2).stderr
    message = "the file needs at least one [[registries]] table; [registries] has one bracket too few"
    assert said == f"gateway: registries: {message}\n"


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("proxy", ["http://[::1", "http://proxy:99999", "socks5://proxy:1"])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(command: str, proxy: str, config: Path) -> None:
    config.write_text(FREE + registry("http://example.com"))
    said = run(command, "--config", str(config), status=2, environ={"HTTP_PROXY": proxy}).stderr
    assert said == "gateway: the variable HTTP_PROXY: must be an http:// or https:// address\n"


async def test_what_can_be_used_is_ok(config: Path, twin: str) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, collecting() as (_, collector):
        text = f'{FREE}{CALLERS}jwks = "{issuer.url}/jwks"\n[telemetry]\nmetrics = "port"\nmetrics_port = 0\n'
        lines = await check(config, f'{text}traces = "{collector}"\n{registry(twin)}', 0)
    names = ["one", "access.jwks", "telemetry.traces"]
    assert [line.split()[0] for line in lines] == names
    assert all(line.endswith(" ms  ok") for line in lines)


def not_found(issuer: Issuer) -> None:
    issuer.answer = lambda: aiohttp.web.Response(status=404)


def without_keys(issuer: Issuer) -> None:
    issuer.keys.clear()


@pytest.mark.parametrize(
    ("change", "cause"),
    [(not_found, "status 404"), (without_keys, "holds no public key for RS256, ES256, EdDSA")],
)
async def test_an_issuer_without_keys_is_reported(change, cause: str, config: Path, twin: str) -> None:  # type: ignore[no-untyped-def]
    async with running_issuer(public(RSA, "1")) as issuer:
        change(issuer)
        lines = await check(config, f'{FREE}{CALLERS}jwks = "{issuer.url}/jwks"\n{registry(twin)}', 1)
    assert line_of("access.jwks", lines).startswith(f"The issuer's keys cannot be fetched ({cause}).")
    assert line_of("one", lines) == "ok"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


async def test_servers_that_are_away_are_reported_with_their_cause(config: Path) -> None:
    port = free_port()
    sections = f'{CALLERS}jwks = "http://127.0.0.1:{port}/jwks"\n[telemetry]\ntraces = "http://127.0.0.1:{port}"\n'
    sections += f'[cache]\nredis = "redis://127.0.0.1:{port}"\nredis_timeout = 5\n'
    lines = await check(config, FREE + sections + registry(f"http://127.0.0.1:{port}"), 1)
    assert line_of("one", lines) == (
        'Registry "one" is unreachable. (connection refused) Nothing listens there: check the endpoint and its port.'
    )
    assert "it is not available (Connection refused); check its address" in line_of("cache.redis", lines)
    assert "cannot be fetched (connection refused)" in line_of("access.jwks", lines)
    assert line_of("telemetry.traces", lines).startswith("The collector does not accept traces.")


async def test_a_name_that_does_not_resolve_is_reported_as_that(config: Path) -> None:
    sections = '[cache]\nredis = "redis://no-such-host.invalid"\nredis_timeout = 5\n'
    lines = await check(config, FREE + sections + registry("http://no-such-host.invalid"), 1)
    assert "(name not resolved) Check the endpoint or region of the registry" in line_of("one", lines)
    assert "it is not available (" in line_of("cache.redis", lines)
    assert "Connection refused" not in line_of("cache.redis", lines)


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
async def test_a_redis_that_answers_is_ok_and_a_refused_login_is_named(config: Path, twin: str, tmp_path: Path) -> None:
    redis = Server(tmp_path)
    await redis.start("--requirepass", "secret")
    try:
        for password, outcome, status in (("secret", "ok", 0), ("wrong", "it refuses the login; check the user", 1)):
            url = redis.url.replace("redis://", f"redis://:{password}@")
            text = f'{FREE}[cache]\nredis = "{url}"\nredis_timeout = 5\n{registry(twin)}'
            assert outcome in line_of("cache.redis", await check(config, text, status))
    finally:
        await redis.stop()


@pytest.mark.parametrize("name", ["server.port", "telemetry.metrics_port"])
async def test_a_taken_port_is_reported(name: str, config: Path, twin: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"[server]\nport = {port}\n" if name == "server.port" else FREE
        if name != "server.port":
            text += f'[telemetry]\nmetrics = "port"\nmetrics_port = {port}\n'
        lines = await check(config, text + registry(twin), 1)
    assert line_of(name, lines) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_a_running_gateway_does_not_take_its_own_port(config: Path, twin: str) -> None:
    metrics = f'metrics = "port"\nmetrics_port = {free_port()}\n'
    async with running(config, twin, metrics, "one") as gateway:
        port = gateway.url.rpartition(":")[2]
        text = f"[server]\nport = {port}\n[telemetry]\n{metrics}"
        lines = await check(config.with_name("other.toml"), text + registry(twin), 0)
    assert [line.split()[0] for line in lines] == ["one"]


# At SIGHUP


@pytest.mark.parametrize("workers", [1, 2])
async def test_all_problems_of_a_reload_are_logged_and_the_old_settings_stay(
    config: Path, twin: str, workers: int
) -> None:
    server = f"[server]\nworkers = {workers}\n"
    async with running(config, twin, server, "one") as gateway, aiohttp.ClientSession() as session:
        for text, problems in (
            ('[cache]\nredis = "redis://:p#ss@h"\n[catalog]\ndeadline = -1\n', {"cache.redis", "catalog.deadline"}),
            (MISSING_FILES, {"missing.graphql", "missing.jwks", "missing.json"}),
        ):
            write(config, text + registry(twin))
            os.kill(gateway.pid, signal.SIGHUP)
            said = [await gateway.line() for _ in range(workers * len(problems))]
            assert all(" error   gateway.server The settings stay as they were: " in line for line in said), said
            assert all(sum(problem in line for line in said) == workers for problem in problems), said
            assert await gateway.ask(session) == "one"


async def test_a_worker_is_replaced_while_the_settings_file_is_bad(config: Path, twin: str) -> None:
    async with running(config, twin, "[server]\nworkers = 2\n", "one") as gateway, aiohttp.ClientSession() as session:
        first = children(gateway.pid)[0]
        write(config, "[server]\nport = -1\n")
        os.kill(first, signal.SIGKILL)
        assert " gateway.server The settings stay as they were: server.port: -1 is" in await gateway.line()
        while first in children(gateway.pid) or len(children(gateway.pid)) < 2:
            assert await gateway.ask(session) == "one"
        assert gateway.process is not None
        assert gateway.process.returncode is None


async def test_a_metrics_port_that_is_taken_at_a_reload_is_logged(config: Path, twin: str) -> None:
    async with running(config, twin, "", "one") as gateway, aiohttp.ClientSession() as session:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            gateway.server = f'metrics = "port"\nmetrics_port = {port}\n'
            gateway.write("two")
            os.kill(gateway.pid, signal.SIGHUP)
            said = await gateway.line()
        assert f"stay as they were: telemetry.metrics_port: cannot listen on 127.0.0.1:{port}: Address already" in said
        assert await gateway.ask(session) == "one"


async def test_refused_settings_do_not_change_the_log(config: Path, twin: str) -> None:
    async with running(config, twin, "", "one") as gateway:
        gateway.server = 'log_format = "json"\n[cache]\nwarm_up = "missing.graphql"\n'
        gateway.write("one")
        os.kill(gateway.pid, signal.SIGHUP)
        assert " error   gateway.server The settings stay as they were" in await gateway.line()


async def test_a_metrics_port_that_is_taken_stops_the_start_without_a_traceback(config: Path, twin: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = Running(config, twin, f'metrics = "port"\nmetrics_port = {port}\n[server]\nport = 0\nworkers = 2\n')
        gateway.write("one")
        arguments = ("serve", "--config", str(config))
        said = (await asyncio.to_thread(run, *arguments, status=1, environ=ENVIRON)).stderr
    assert said == f"gateway: cannot listen on 127.0.0.1:{port}: Address already in use\n"
