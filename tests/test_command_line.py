"""The command `gateway`, run as a process."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from websockets import ConnectionClosed, Subprotocol
from websockets.sync.client import connect

COMMANDS = ("demo", "twins", "serve", "schema", "check", "assets", "scaffold")
ENVIRON = {
    name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "ALIBABA_CLOUD_", "QIANFAN_"))
} | {"PYTHONWARNINGS": "default", "COLUMNS": "100"}


def run(
    *arguments: str, status: int = 0, environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        env=ENVIRON | dict(environ),
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@contextmanager
def running(
    *arguments: str, environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running gateway or twins: the process, and its output up to the last line of the start-up message."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRON | dict(environ),
    )
    assert process.stdout is not None
    last = "Gateway" if arguments[0] == "serve" else "Ctrl-C"
    output = ""
    try:
        for line in process.stdout:
            output += line
            if line.startswith(last):
                yield process, output
                break
        else:
            pytest.fail(f"exited early: {output}{process.communicate()[1]}")
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: signal.Signals) -> list[str]:
    """Stop the process with a signal, check that it exits with status 0, and return its log lines."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return errors.splitlines()


def address(output: str, name: str) -> str:
    """The URL of the gateway or the twins in the start-up message."""
    found = re.search(rf"^{name} +(http://127\.0\.0\.1:\d+)", output, re.M)
    assert found, output
    return found[1]


def send_query(url: str, query: str) -> dict[str, object]:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        body: dict[str, object] = json.load(answer)
        return body


@pytest.fixture
def port_in_use() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of the twins and the credentials that they print."""
    with running("twins", "--models", "20") as (process, output):
        yield address(output, "Twins"), dict(re.findall(r"^  ([A-Z_]+) = (\S+)$", output, re.M))
        assert stop(process, signal.SIGTERM) == []


@pytest.fixture
def config(tmp_path: Path, twins: tuple[str, dict[str, str]]) -> tuple[Path, dict[str, str]]:
    """A settings file for the twins, and the variables it refers to."""
    url, credentials = twins
    path = tmp_path / "gateway.toml"
    path.write_text(
        f"""
        [[registries]]
        name = "pai-twin"
        kind = "pai"
        region = "cn-hangzhou"
        access_key_id = "${{PAI_KEY_ID}}"
        access_key_secret = "${{PAI_SECRET}}"
        security_token = "${{PAI_STS_TOKEN}}"
        models_endpoint = "{url}"
        algorithms_endpoint = "{url}"
        [[registries]]
        name = "qianfan-twin"
        kind = "qianfan"
        access_key = "${{QIANFAN_ACCESS_KEY}}"
        secret_key = "${{QIANFAN_SECRET_KEY}}"
        endpoint = "{url}"
        """
    )
    return path, credentials


def test_the_version_is_printed_without_importing_a_server() -> None:
    code = (
        "import sys, gateway.__main__ as command\n"
        "try: command.main(['--version'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    version, modules = out.splitlines()
    assert re.fullmatch(r"gateway \d+\.\d+\.\d+", version)
    heavy = {"asyncio", "aiohttp", "graphql", "starlette", "strawberry", "uvicorn", "gateway.config.settings"}
    assert not heavy & set(modules.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_default_of_every_option(command: str) -> None:
    out = run(command, "--help").stdout
    assert f"Example:\n  gateway {command}" in out
    options = out.partition("options:")[2].partition("Example:")[0]
    descriptions = re.split(r"\n  (?=-)", options)[1:]
    assert all("default" in text for text in descriptions if "--help" not in text), options


def test_help_lists_every_command() -> None:
    out = run("--help").stdout
    assert all(f"\n    {command} " in out for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("demo", "--port", "65536"),
        ("demo", "--port", "-1"),
        ("demo", "--models", "0"),
        ("demo", "--models", "9" * 5000),
        ("serve", "--prot", "1"),
        ("schema", "--ch"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_after_the_usage(arguments: tuple[str, ...]) -> None:
    assert re.search(r"^gateway.*: error: .+\n\Z", run(*arguments, status=2).stderr, re.M)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_every_problem_of_the_settings_is_reported_on_its_own_line(command: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[server]\nport = -1\nhots = 'x'\n")
    assert run(command, "--config", str(path), status=2).stderr.splitlines() == [
        'gateway: server: unknown key "hots" (did you mean "host"?)',
        "gateway: server.port: -1 is not between 0 and 65535",
        "gateway: registries: the file needs at least one [[registries]] table",
    ]


def test_a_missing_settings_file_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    message = f"gateway: {path}: cannot be read: No such file or directory\n"
    assert run("serve", "--config", str(path), status=2).stderr == message
    assert run("check", status=2, environ={"GATEWAY_CONFIG": str(path)}).stderr == message


@pytest.mark.parametrize(
    "arguments", [("demo", "--twins-port", "0"), ("demo", "--port", "0", "--twins-port"), ("twins",), ("serve",)]
)
def test_a_port_in_use_is_reported_in_one_line(arguments: tuple[str, ...], port_in_use: str) -> None:
    option = () if arguments[-1] == "--twins-port" else ("--port",)
    environ = {"QIANFAN_ACCESS_KEY": "a", "QIANFAN_SECRET_KEY": "b"}
    errors = run(*arguments, *option, port_in_use, status=1, environ=environ).stderr
    assert errors == f"gateway: cannot listen on 127.0.0.1:{port_in_use}: Address already in use\n"


def test_a_metrics_port_in_use_is_reported_in_one_line(port_in_use: str) -> None:
    environ = {"QIANFAN_ACCESS_KEY": "a", "QIANFAN_SECRET_KEY": "b"}
    environ |= {"GATEWAY_TELEMETRY_METRICS": "port", "GATEWAY_TELEMETRY_METRICS_PORT": port_in_use}
    errors = run("serve", "--port", "0", status=1, environ=environ).stderr
    assert errors == f"gateway: cannot listen on 127.0.0.1:{port_in_use}: Address already in use\n"


def test_an_unknown_host_is_reported_in_one_line() -> None:
    errors = run("twins", "--host", "no.such.host.invalid", status=1).stderr
    assert re.fullmatch(r"gateway: cannot listen on no\.such\.host\.invalid:0: .+\n", errors)


def test_the_schema_is_printed_and_compared(tmp_path: Path) -> None:
    printed = run("schema").stdout
    assert "type Query" in printed
    path = tmp_path / "schema.graphql"
    path.write_text(printed)
    assert run("schema", "--check", str(path)).stdout == ""
    path.write_text(printed.replace("type Query", "type Qery"))
    message = run("schema", "--check", str(path), status=1).stderr
    assert message == f"gateway: {path} differs from the schema of the code; update it with: gateway schema > {path}\n"
    path.unlink()
    message = run("schema", "--check", str(path), status=1).stderr
    assert message.startswith(f"gateway: {path}: cannot be read: No such file or directory")


def test_the_schema_in_the_repository_matches_the_code() -> None:
    run("schema", "--check", str(Path(__file__).parent.parent / "schema.graphql"))


def test_a_closed_standard_output_ends_the_command_without_a_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "schema"], stdout=writer, stderr=subprocess.PIPE, text=True, env=ENVIRON
    )
    os.close(writer)
    errors = process.communicate(timeout=60)[1]
    assert (process.returncode, errors) == (1, "")


def test_a_stopping_server_ends_event_streams_at_once() -> None:
    query = 'subscription { modelVersionChanged(id: "pai:model/model-rbvg5wzljzjhc9ks92/version/0.1.0") { approval } }'
    with running("demo", "--port", "0", "--models", "20") as (process, output):
        url = f"{address(output, 'Gateway')}/graphql?{urllib.parse.urlencode({'query': query})}"
        request = urllib.request.Request(url, headers={"Accept": "text/event-stream"})  # noqa: S310
        with urllib.request.urlopen(request) as response:  # noqa: S310
            assert [response.readline() for _ in range(3)] == [b":\n", b"\n", b"event: next\n"]
            stop(process, signal.SIGTERM)
            rest = response.read()
    assert b'"PENDING"' in rest
    assert b"complete" not in rest


def test_a_stopping_server_closes_websockets_with_service_restart() -> None:
    with running("demo", "--port", "0", "--models", "20") as (process, output):
        url = address(output, "Gateway").replace("http", "ws") + "/graphql"
        with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as client:
            client.send('{"type": "connection_init"}')
            assert client.recv() == '{"type":"connection_ack"}'
            stop(process, signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_answers_the_query_that_it_prints(number: signal.Signals) -> None:
    with running("demo", "--port", "0", "--models", "20") as (process, output):
        (line,) = [line for line in output.splitlines() if line.startswith("  curl ")]
        _, _, url, _, header, _, body = shlex.split(line)
        assert url == address(output, "Gateway") + "/graphql"
        assert header == "Content-Type: application/json"
        answer = send_query(url, json.loads(body)["query"])
        assert "errors" not in answer
        data = answer["data"]
        assert isinstance(data, dict)
        assert len(data["models"]["nodes"]) == 3
        assert address(output, "Twins") != address(output, "Gateway")
        with urllib.request.urlopen(address(output, "Gateway") + "/metrics", timeout=30) as response:  # noqa: S310
            assert 'gateway_operations_total{outcome="ok",type="query"} 1.0' in response.read().decode()
        logged, stopping = stop(process, number)
        assert " info    gateway.operations query ok request_id=" in logged
        assert stopping.endswith(" info    gateway.server The gateway is stopping.")


def test_a_page_of_the_demo_has_models_of_every_registry() -> None:
    query = "{ models(first: 9) { nodes { registryName } coverage { registry { name kind } state } } }"
    with running("demo", "--port", "0", "--models", "60") as (process, output):
        answer = send_query(address(output, "Gateway") + "/graphql", query)
        assert stop(process, signal.SIGTERM)
    assert "errors" not in answer
    data = answer["data"]
    assert isinstance(data, dict)
    assert {node["registryName"] for node in data["models"]["nodes"]} == {"pai", "qianfan", "mlflow"}
    assert data["models"]["coverage"] == [
        {"registry": {"name": name, "kind": name.upper()}, "state": "COMPLETE"} for name in ("pai", "qianfan", "mlflow")
    ]


@pytest.mark.parametrize(
    ("setting", "allowed", "refused"),
    [
        ("", "http://localhost:5173", "https://models.example.com"),
        ("https://models.example.com", "https://models.example.com", "http://localhost:5173"),
    ],
)
def test_pages_of_loopback_origins_may_query_the_demo_unless_origins_are_set(
    setting: str, allowed: str, refused: str
) -> None:
    with running("demo", "--port", "0", "--models", "6", environ={"GATEWAY_SERVER_CORS": setting}) as (_, output):
        url = f"{address(output, 'Gateway')}/graphql?{urllib.parse.urlencode({'query': '{ __typename }'})}"
        for origin, header in ((allowed, allowed), (refused, None)):
            request = urllib.request.Request(url, headers={"Origin": origin})  # noqa: S310
            with urllib.request.urlopen(request) as response:  # noqa: S310
                assert response.headers["Access-Control-Allow-Origin"] == header


def test_the_demo_reports_an_origin_that_no_browser_sends() -> None:
    message = run("demo", "--port", "0", environ={"GATEWAY_SERVER_CORS": "https://example.com:443"}, status=2).stderr
    assert message.startswith('gateway: server.cors: no browser sends the origin "https://example.com:443"')


def test_the_twins_print_their_credentials(twins: tuple[str, dict[str, str]]) -> None:
    assert set(twins[1]) == {
        "PAI_KEY_ID",
        "PAI_SECRET",
        "PAI_STS_TOKEN",
        "QIANFAN_ACCESS_KEY",
        "QIANFAN_SECRET_KEY",
        "QIANFAN_STS_TOKEN",
        "MLFLOW_USERNAME",
        "MLFLOW_PASSWORD",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_configured_registries_are_served(config: tuple[Path, dict[str, str]], number: signal.Signals) -> None:
    path, environ = config
    environ = environ | {"GATEWAY_TELEMETRY_LOG_FORMAT": "json"}
    with running("serve", "--config", str(path), "--port", "0", environ=environ) as (process, output):
        answer = send_query(address(output, "Gateway") + "/graphql", "{ registries { name } }")
        assert answer == {"data": {"registries": [{"name": "pai-twin"}, {"name": "qianfan-twin"}]}}
        logged, stopping = map(json.loads, stop(process, number))
        assert (stopping["logger"], stopping["message"]) == ("gateway.server", "The gateway is stopping.")
        assert (logged["logger"], logged["outcome"]) == ("gateway.operations", "ok")


def test_check_prints_the_outcome_for_each_registry(config: tuple[Path, dict[str, str]]) -> None:
    path, environ = config
    pai, qianfan = run("check", "--config", str(path), environ=environ).stdout.splitlines()
    assert re.fullmatch(r"pai-twin      +\d+\.\d ms  ok", pai)
    assert re.fullmatch(r"qianfan-twin  +\d+\.\d ms  ok", qianfan)


def test_check_fails_if_a_registry_refuses_the_credentials(config: tuple[Path, dict[str, str]]) -> None:
    path, environ = config
    wrong = environ | {"QIANFAN_SECRET_KEY": "not-the-key"}
    done = run("check", "--config", str(path), status=1, environ=wrong)
    good, bad = done.stdout.splitlines()
    assert re.fullmatch(r"pai-twin      +\d+\.\d ms  ok", good)
    assert re.fullmatch(r"qianfan-twin  +\d+\.\d ms  .+", bad)
    assert not bad.endswith("ok")
    assert "not-the-key" not in done.stdout + done.stderr
