"""`gateway serve` and `gateway demo`: nobody is served by mistake, and keys are taken up at a signal."""

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.access.doors import NAMES, Ring
from tests.test_command_line import address, run, running, stop

QIANFAN = {"QIANFAN_ACCESS_KEY": "a", "QIANFAN_SECRET_KEY": "b"}
EVERYWHERE = ("--host", "0.0.0.0", "--port", "0")  # noqa: S104


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (
            "serve",
            'say who may ask with access.mode = "callers" (with access.keys or access.issuer), '
            'or let anybody ask with access.mode = "open"',
        ),
        ("demo", "let anybody ask with --open"),
    ],
)
def test_nothing_is_served_to_others_unless_it_is_said_who_may_ask(command: str, remedy: str) -> None:
    told = f"gateway: 0.0.0.0 can be reached by others: {remedy}\n"
    assert run(command, *EVERYWHERE, status=2, environ=QIANFAN).stderr == told


@pytest.mark.parametrize("command", [("serve",), ("demo", "--open", "--models", "20")])
def test_it_can_be_said_that_anybody_may_ask(command: tuple[str, ...]) -> None:
    with running(*command, *EVERYWHERE, environ=QIANFAN | {"GATEWAY_ACCESS_MODE": "open"}) as (process, said):
        assert "http://0.0.0.0:" in said
        stop(process, signal.SIGTERM)


def test_an_unknown_way_is_told() -> None:
    errors = run("serve", status=2, environ=QIANFAN | {"GATEWAY_ACCESS_MODE": "closed"}).stderr
    assert errors == 'gateway: GATEWAY_ACCESS_MODE: "closed" does not match loopback|open|callers\n'


def test_a_signal_has_the_file_of_keys_read_again(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "keys.toml")
    first = ring.add()
    access = {"GATEWAY_ACCESS_MODE": "callers", "GATEWAY_ACCESS_KEYS": str(ring.path)}

    def status(url: str, key: str) -> int:
        body = json.dumps({"query": NAMES}).encode()
        headers = {"Content-Type": "application/json", "X-API-Key": key}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    with running("serve", "--port", "0", environ=QIANFAN | access) as (process, said):
        url = f"{address(said, 'Gateway')}/graphql"
        assert status(url, first) == 200
        second = ring.add()
        ring.remove(first)
        process.send_signal(signal.SIGHUP)
        while status(url, second) != 200:
            pass
        assert status(url, first) == 401
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert first not in errors
        assert second not in errors
