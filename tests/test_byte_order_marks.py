"""Byte order marks: UTF-8 files and bodies may begin with one, whatever reads them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.app import create_app, load_warm_up
from gateway.config.files import read_file
from gateway.config.settings import AccessSettings, DocumentsSettings, LimitsSettings, SettingsError
from tests.auth.gateways import Clock, KeyFile, authenticating_gateway, query_with_bearer
from tests.auth.test_tokens import AUDIENCE, ISSUER, RSA, claims, public, token
from tests.conftest import World, served, settings, two_clouds
from tests.transports import PROTOCOL

MARK = "\ufeff"
QUERY = "{ __typename }"
EXPECTED = {"data": {"__typename": "Query"}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_clouds(models=20, sections={"limits": LimitsSettings(batch=2)}) as world:
        yield world


async def test_a_body_may_begin_with_a_mark(world: World) -> None:
    send = world.gateway.request
    for body, expected in (({"query": QUERY}, EXPECTED), ([{"query": QUERY}] * 2, [EXPECTED] * 2)):
        data = (MARK + json.dumps(body)).encode()
        for _ in range(2):
            assert (await send("POST", data=data, headers=JSON)).body == expected
    events = await send(
        "POST", data=(MARK + json.dumps({"query": QUERY})).encode(), headers={**JSON, "Accept": "text/event-stream"}
    )
    assert json.dumps(EXPECTED, separators=(",", ":")) in events.body
    params = {"query": MARK + QUERY, "variables": MARK + "{}", "extensions": MARK + "{}"}
    assert (await send("GET", params=params)).body == EXPECTED


@pytest.mark.parametrize("data", [b"\xef\xbb", b"\xef\xbb\xbf", "\ufeff\ufeff{}".encode(), "{}".encode("utf-16")])
async def test_a_mark_alone_and_other_encodings_are_no_body(world: World, data: bytes) -> None:
    answer = await world.gateway.request("POST", data=data, headers=JSON)
    assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])


async def test_a_message_of_a_websocket_may_begin_with_a_mark(world: World) -> None:
    async with world.gateway.session.ws_connect(f"{world.gateway.url}/graphql", protocols=[PROTOCOL]) as socket:
        await socket.send_str(MARK + json.dumps({"type": "connection_init"}))
        assert (await socket.receive_json())["type"] == "connection_ack"
        message = {"type": "subscribe", "id": "1", "payload": {"query": QUERY}}
        await socket.send_str(MARK + json.dumps(message))
        assert (await socket.receive_json())["payload"] == EXPECTED


async def test_files_of_keys_may_begin_with_a_mark(tmp_path: Path) -> None:
    keys, clock, jwks = KeyFile(tmp_path / "keys.toml"), Clock(), tmp_path / "jwks.json"
    key = keys.add()
    content = MARK + keys.path.read_text()
    keys.path.write_text(content, encoding="utf-8")
    jwks.write_text(MARK + json.dumps({"keys": [public(RSA, "1")]}), encoding="utf-8")
    access = AccessSettings(mode="callers", keys=str(keys.path), issuer=ISSUER, audience=AUDIENCE, jwks=str(jwks))
    async with authenticating_gateway(access, clock) as gateway:
        assert (await query_with_bearer(gateway, key)).status == 200
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        other = keys.add(name="other")
        keys.path.write_text(MARK + keys.path.read_text(), encoding="utf-8")
        clock.seconds += 10
        assert (await query_with_bearer(gateway, other)).status == 200


async def test_files_of_documents_may_begin_with_a_mark(tmp_path: Path) -> None:
    trusted, warm_up = tmp_path / "documents.json", tmp_path / "warm-up.graphql"
    trusted.write_text(MARK + json.dumps({"typename": QUERY}), encoding="utf-8")
    warm_up.write_text(MARK + f"query Names {QUERY}", encoding="utf-8")
    async with served(settings(documents=DocumentsSettings(trusted=str(trusted)))) as gateway:
        assert (await gateway.request("POST", json={"documentId": "typename"})).body == EXPECTED
    assert load_warm_up(str(warm_up)) == (f"query Names {QUERY}", ["Names"])


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes("# one\n# two ü\n".encode("latin-1"))
    for section in (
        {"access": AccessSettings(mode="callers", keys=str(file))},
        {"documents": DocumentsSettings(trusted=str(file))},
    ):
        with pytest.raises(SettingsError, match="line 2 is not UTF-8 text"):
            create_app(settings(**section))
    file.write_text("text", encoding="utf-16")
    with pytest.raises(ValueError, match="line 1 is not UTF-8 text"):
        read_file(file)
