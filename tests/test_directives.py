"""Arguments of directives: an invalid one is the caller's error with a stable code, over every transport."""

import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.settings import LimitsSettings
from tests.conftest import World, two_clouds
from tests.test_incremental import put_together
from tests.transports import TRANSPORTS, codes, multipart

VALIDATION, INPUT = "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_clouds(models=20, sections={"limits": LimitsSettings(batch=2)}) as world:
        yield world


STREAM = "models(first: 3) { nodes @stream(%s) { id } }"
DEFER = "models(first: 3) { totalCount ... @defer(%s) { nodes { id } } }"

INVALID: dict[str, tuple[str, dict[str, Any], str]] = {
    "a negative count": ("{ %s }" % (STREAM % "initialCount: -1"), {}, VALIDATION),
    "no count": ("{ %s }" % (STREAM % "initialCount: null"), {}, VALIDATION),
    "a count beyond 32 bits": ("{ %s }" % (STREAM % "initialCount: 2147483648"), {}, VALIDATION),
    "half a row": ("{ %s }" % (STREAM % "initialCount: 1.5"), {}, VALIDATION),
    "a count as text": ("{ %s }" % (STREAM % 'initialCount: "1"'), {}, VALIDATION),
    "a negative count of a root field": ("{ registries @stream(initialCount: -1) { name } }", {}, VALIDATION),
    "a negative count in a fragment": (
        "{ models(first: 3) { ...F } } fragment F on ModelConnection { nodes @stream(initialCount: -2) { id } }",
        {},
        VALIDATION,
    ),
    "a negative variable": ("query ($n: Int) { %s }" % (STREAM % "initialCount: $n"), {"n": -1}, INPUT),
    "a variable of null": ("query ($n: Int) { %s }" % (STREAM % "initialCount: $n"), {"n": None}, INPUT),
    "a negative default": ("query ($n: Int = -1) { %s }" % (STREAM % "initialCount: $n"), {}, INPUT),
    "a negative variable for an inner list": (
        "query ($n: Int) { models(first: 3) { nodes { labels @stream(initialCount: $n) { key } } } }",
        {"n": -1},
        INPUT,
    ),
    "a condition of null": ("{ %s }" % (DEFER % "if: null"), {}, VALIDATION),
    "a condition as text": ("{ %s }" % (DEFER % 'if: "true"'), {}, VALIDATION),
    "a variable condition of null": ("query ($b: Boolean = true) { %s }" % (DEFER % "if: $b"), {"b": None}, INPUT),
    "a nullable condition of null": ("query ($b: Boolean) { %s }" % (DEFER % "if: $b"), {"b": None}, INPUT),
    "a streaming condition of null": ("query ($b: Boolean) { %s }" % (STREAM % "if: $b"), {"b": None}, INPUT),
    "a label that is a variable": ('query ($l: String = "a") { %s }' % (DEFER % "label: $l"), {}, VALIDATION),
    "a label that is a number": ("{ %s }" % (DEFER % "label: 1"), {}, VALIDATION),
    "one label twice": (
        '{ models(first: 3) { ... @defer(label: "a") { totalCount } nodes @stream(label: "a") { id } } }',
        {},
        VALIDATION,
    ),
    "an unknown argument": ("{ %s }" % (DEFER % "when: true"), {}, VALIDATION),
    "the directive twice": ("{ models(first: 3) { ... @defer @defer { totalCount } } }", {}, VALIDATION),
    "a field that is no list": ("{ models(first: 3) @stream { totalCount } }", {}, VALIDATION),
    "lists with different counts": (
        "{ models(first: 3) { nodes @stream(initialCount: 1) { id } nodes @stream(initialCount: 2) { name } } }",
        {},
        VALIDATION,
    ),
    "skipping if null": ("{ models(first: 3) { totalCount @skip(if: null) } }", {}, VALIDATION),
    "skipping without a condition": ("{ models(first: 3) { totalCount @skip } }", {}, VALIDATION),
    "including if a variable is null": (
        "query ($b: Boolean! = true) { models(first: 3) { totalCount @include(if: $b) } }",
        {"b": None},
        INPUT,
    ),
    "including if a nullable variable is null": (
        "query ($b: Boolean = true) { models(first: 3) { totalCount @include(if: $b) } }",
        {"b": None},
        INPUT,
    ),
    "including a root field if a variable is null": (
        "query ($b: Boolean = true) { models(first: 3) @include(if: $b) { totalCount } }",
        {"b": None},
        INPUT,
    ),
    "a directive of the schema": ("{ models(first: 3) @cacheControl(maxAge: -1) { totalCount } }", {}, VALIDATION),
    "an operation with a directive": ("query @defer { models(first: 3) { totalCount } }", {}, VALIDATION),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_invalid_argument_of_a_directive_is_the_callers_error(
    world: World, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = {}
    for case, (query, variables, _) in INVALID.items():
        payloads = await TRANSPORTS[transport](world.gateway, {"query": query, "variables": variables})
        found[case] = codes(payloads)
    assert found == {case: {code} for case, (_, _, code) in INVALID.items()}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_invalid_argument_of_an_incremental_directive_makes_no_call(world: World) -> None:
    for query, variables, _ in INVALID.values():
        if "@defer" in query or "@stream" in query:
            await multipart(world.gateway, {"query": query, "variables": variables})
    assert world.calls() == {}


async def test_a_condition_without_a_value_is_not_a_condition_of_null(world: World) -> None:
    """Plans are cached by the values of such variables."""
    query = "query ($b: Boolean) { %s }" % (DEFER % "if: $b")
    for variables, expected in (({"b": None}, {INPUT}), ({}, set()), ({"b": None}, {INPUT}), ({"b": False}, set())):
        assert codes(await multipart(world.gateway, {"query": query, "variables": variables})) == expected


LISTS = ["labels @stream { key }", "labels @stream(initialCount: 1) { key value }", "labels @stream { __typename }"]


@pytest.mark.parametrize("inner", LISTS)
async def test_a_streamed_list_inside_a_row_has_all_its_items(world: World, inner: str) -> None:
    query = f"{{ models(first: 5, filter: {{ownership: OWN}}) {{ nodes {{ id {inner} }} }} }}"
    plain = (await world.gateway.query(query)).data
    assert any(node["labels"] for node in plain["models"]["nodes"])
    assert put_together(await multipart(world.gateway, {"query": query})) == plain


ANY = ["null", "true", "0", "-1", "-0", "2147483647", "2147483648", "1.5", '""', '"a"', "A", "[]", "{}", "$v"]
PLAUSIBLE = {
    "if": ["true", "false", "$v", "$v"],
    "label": ['"a"', '""', "null"],
    "initialCount": ["0", "1", "-1", "2147483647", "$v", "$v"],
    "maxAge": ["1"],
    "unknown": ["1"],
}
DIRECTIVES: dict[str, tuple[str, ...]] = {
    "skip": ("if",),
    "include": ("if",),
    "defer": ("if", "label"),
    "stream": ("if", "label", "initialCount"),
    "cacheControl": ("maxAge",),
    "deprecated": (),
    "unknown": ("unknown",),
}
VARIABLES: dict[str, tuple[str, ...]] = {
    "if": ("Boolean", "Boolean!", "Boolean = true", "Boolean! = false"),
    "initialCount": ("Int", "Int!", "Int = -1", "Int! = 1"),
}
PLACES: dict[str, tuple[str, ...]] = {
    "field": (
        "models(first: 2) { nodes %s { id } totalCount }",
        "models(first: 2) { edges %s { node { id } } totalCount }",
        "models(first: 2) { nodes { id labels %s { key } } }",
        "registries %s { name }",
        "models(first: 2) %s { totalCount }",
    ),
    "fragment": ("models(first: 2) { ... %s { totalCount } }", "__typename ... %s { models(first: 2) { totalCount } }"),
}
CALLERS_ERRORS = {VALIDATION, INPUT, "GRAPHQL_PARSE_FAILED"}


def random_request(drawn: random.Random) -> dict[str, Any]:
    """One directive at one place. Most arguments have a plausible name and type."""
    directive = drawn.choice([*DIRECTIVES, "stream", "stream", "defer"])
    names = drawn.sample(
        DIRECTIVES[directive], drawn.randint(min(1, len(DIRECTIVES[directive])), len(DIRECTIVES[directive]))
    )
    if drawn.random() < 0.1:
        names.append(drawn.choice([*PLAUSIBLE]))
    values = {name: drawn.choice(PLAUSIBLE[name] if drawn.random() < 0.8 else ANY) for name in names}
    arguments = ", ".join(f"{name}: {value}" for name, value in values.items())
    place = drawn.choice(PLACES["fragment" if directive == "defer" else drawn.choice(["field", "field", "fragment"])])
    field = place % (f"@{directive}" + (f"({arguments})" if arguments else ""))
    varying = [name for name, value in values.items() if value == "$v"]
    if not varying:
        return {"query": f"{{ {field} }}"}
    declared = drawn.choice(VARIABLES.get(varying[0], ("String", "[Int]")))
    given = [None, True, False] if varying[0] == "if" else [None, 0, 1, -1]
    variables = drawn.choice([{}, *({"v": value} for value in [*given, *given, 2**31, 1.5, "a", [], {}])])
    return {"query": f"query ($v: {declared}) {{ {field} }}", "variables": variables}


async def test_no_argument_of_any_directive_is_an_error_of_the_gateway(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Over all transports the outcome is the same: an error with the same codes, or none."""
    drawn = random.Random(7)  # noqa: S311
    refused = 0
    for _ in range(100):
        parameters = random_request(drawn)
        outcomes = {name: codes(await send(world.gateway, parameters)) for name, send in TRANSPORTS.items()}
        assert set().union(*outcomes.values()) <= CALLERS_ERRORS, parameters
        assert len({frozenset(outcome) for outcome in outcomes.values()}) == 1, (parameters, outcomes)
        refused += bool(outcomes["POST"])
    assert 20 < refused < 80
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
