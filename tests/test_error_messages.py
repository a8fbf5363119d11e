"""Messages of errors: values and types are in the words of GraphQL or JSON, not of Python."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.settings import LimitsSettings
from tests.conftest import World, two_clouds
from tests.transports import TRANSPORTS, Payloads

LIST = "query ($v: %s) { models(first: 1, %s) { totalCount } }"
FIRST = "query ($v: Int!) { models(first: $v) { totalCount } }"
FILTER = LIST % ("ModelFilter", "filter: $v")
ID = "query ($v: ID!) { model(id: $v) { id } }"

REQUESTS: list[tuple[str, Any, str]] = [
    (FIRST, None, "null"),
    (FIRST, True, "true"),
    (FIRST, "ten", '"ten"'),
    (FIRST, 1.5, "1.5"),
    (FIRST, [1, False, None], "[1, false, null]"),
    (FIRST, {"nope": 1}, '{"nope": 1}'),
    (FIRST, {"a": {"b": {"c": None}}}, '{"a": {"b": "…"}}'),
    (FILTER, {"nope": True}, '{"nope": true}'),
    (FILTER, {"ownership": None, "nope": None}, '{"ownership": null, "nope": null}'),
    (FILTER, {"nameContains": {"it's": "\u00e9"}}, '{"it\'s": "\u00e9"}'),
    (FILTER, {"registries": [None]}, "null"),
    (FILTER, {"createdAt": {"from": False}}, "false"),
    (FILTER, {"ownership": True}, "true"),
    (ID, None, "null"),
    (ID, {"id": None}, '{"id": null}'),
    (ID, [True], "[true]"),
    ("{ models(first: null) { totalCount ... @defer(if: null) { nodes { id } } } }", None, "null"),
    ("{ models(first: true) { totalCount } }", None, "true"),
    ('{ models(filter: {ownership: "OWN"}) { totalCount } }', None, '"OWN"'),
    ("{ nodes(ids: [null]) { id } }", None, "null"),
]
PYTHON = re.compile(r"\b(None|True|False|Undefined|NoneType|dict|str|tuple)\b|'[^']*':|\{'")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_clouds(models=20, sections={"limits": LimitsSettings(batch=2)}) as world:
        yield world


def messages(payloads: Payloads) -> list[str]:
    return [error["message"] for payload in payloads for error in payload.get("errors", ())]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_have_the_words_of_json(world: World, transport: str) -> None:
    for query, value, expected in REQUESTS:
        variables = {"v": value} if "$v" in query else {}
        found = messages(await TRANSPORTS[transport](world.gateway, {"query": query, "variables": variables}))
        assert found, query
        assert any(expected in message for message in found), (found, expected)
        assert [message for message in found if PYTHON.search(message)] == []


async def test_large_values_are_shortened(world: World) -> None:
    for value in ({f"n{number}": 1 for number in range(9_000)}, ["x" * 9_000] * 9, {"nope": "x" * 100_000}):
        answer = await world.gateway.query(FILTER, v=value)
        assert answer.codes
        assert len(answer.codes) <= 6
        assert max(map(len, messages([answer.body]))) < 450


async def test_one_operation_has_a_few_of_many_errors(world: World) -> None:
    answer = await world.gateway.query("query ($v: [ID!]!) { nodes(ids: $v) { id } }", v=[1.5] * 20_000)
    assert set(answer.codes) == {"BAD_USER_INPUT"}
    assert len(answer.codes) == 6
