"""Access modes of `gateway serve` and `gateway demo`, and the reload of API keys at SIGHUP."""

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.auth.gateways import NAMES, KeyFile
from tests.test_command_line import address, run, running, stop

QIANFAN = {"QIANFAN_ACCESS_KEY": "a", "QIANFAN_SECRET_KEY": "b"}
EVERYWHERE = ("--host", "0.0.0.0", "--port", "0")  # noqa: S104


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (
            "serve",
            'set access.mode = "callers" and access.keys or access.issuer to authenticate callers, '
            'or access.mode = "open" to serve anyone',
        ),
        ("demo", "add --open to serve anyone"),
    ],
)
def test_an_address_that_others_can_reach_needs_an_access_mode(command: str, remedy: str) -> None:
    message = f"gateway: refusing to listen on 0.0.0.0, which other machines can reach: {remedy}\n"
    assert run(command, *EVERYWHERE, status=2, environ=QIANFAN).stderr == message


@pytest.mark.parametrize("command", [("serve",), ("demo", "--open", "--models", "20")])
def test_the_open_mode_serves_every_address(command: tuple[str, ...]) -> None:
    with running(*command, *EVERYWHERE, environ=QIANFAN | {"GATEWAY_ACCESS_MODE": "open"}) as (process, output):
        assert "http://0.0.0.0:" in output
        stop(process, signal.SIGTERM)


def test_an_unknown_mode_is_refused() -> None:
    errors = run("serve", status=2, environ=QIANFAN | {"GATEWAY_ACCESS_MODE": "closed"}).stderr
    assert errors == 'gateway: GATEWAY_ACCESS_MODE: "closed" does not match loopback|open|callers\n'


def test_sighup_reloads_the_file_of_keys(tmp_path: Path) -> None:
    key_file = KeyFile(tmp_path / "keys.toml")
    first = key_file.add()
    access = {"GATEWAY_ACCESS_MODE": "callers", "GATEWAY_ACCESS_KEYS": str(key_file.path)}

    def status(url: str, key: str) -> int:
        body = json.dumps({"query": NAMES}).encode()
        headers = {"Content-Type": "application/json", "X-API-Key": key}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    with running("serve", "--port", "0", environ=QIANFAN | access) as (process, output):
        url = f"{address(output, 'Gateway')}/graphql"
        assert status(url, first) == 200
        second = key_file.add()
        key_file.remove(first)
        process.send_signal(signal.SIGHUP)
        while status(url, second) != 200:
            pass
        assert status(url, first) == 401
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert first not in errors
        assert second not in errors
