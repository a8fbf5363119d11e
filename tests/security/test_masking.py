"""Internal errors are in the log only, and production reveals neither the schema nor suggestions."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.auth import api_keys as keys
from gateway.auth.principals import Principal
from gateway.config.settings import LimitsSettings, ServerSettings
from tests.conftest import World, two_clouds
from tests.security.attacks import Attack
from tests.security.test_attacks import TRANSPORTS, Session

SECRET = "password=hunter2 at 10.0.0.7"
OPERATION = Attack('{ model(id: "pai:model/m") { id } models { nodes { id } } }', "INTERNAL_SERVER_ERROR")

PLACES = [
    "gateway.execution.persisted_queries.PersistedQueries.text",
    "gateway.execution.documents.Documents.read",
    "gateway.execution.documents.Document.operation",
    "gateway.execution.operation_plan.BoundOperation.cost",
    "gateway.auth.rate_limits.CallerRateLimiter.operation",
    "gateway.catalog.plan_execution.PlanExecution.entity",
    "gateway.upstream.resilient_client.ResilientClient.send",
    "gateway.upstream.http_client.HttpClient._exchange",
]
"""Places of an internal error: before the operation is known, during its checks, its execution and its calls."""


class Broken(Exception):
    pass


@pytest.fixture
async def world() -> AsyncIterator[World]:
    sections = {"limits": LimitsSettings(batch=10), "server": ServerSettings(profile="production")}
    async with two_clouds(models=5, sections=sections) as world:
        yield world


@pytest.mark.parametrize("place", PLACES)
async def test_an_internal_error_is_masked_on_every_transport(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise Broken(SECRET)

    monkeypatch.setattr(place, broken)
    async with Session(world.gateway.url) as session:
        for name, transport in TRANSPORTS.items():
            answer = await transport(session, OPERATION)
            assert answer.codes == {"INTERNAL_SERVER_ERROR"}, name
            assert "hunter2" not in str(answer.errors)
            assert "Broken" not in str(answer.errors)
            assert all(error["extensions"]["errorId"] in caplog.text for error in answer.errors), name


SCHEMA_QUERIES = [
    "{ __schema { queryType { name } } }",
    '{ __type(name: "Model") { name } }',
    "{ _service { sdl } }",
    "{ ...A } fragment A on Query { a: __schema { queryType { name } } }",
    "query A { __typename } query B { __schema { queryType { name } } }",
]


@pytest.mark.parametrize("query", SCHEMA_QUERIES)
async def test_production_refuses_the_schema_on_every_transport(world: World, query: str) -> None:
    attack = Attack(query, "FORBIDDEN", operation_name="A" if "query A" in query else None)
    async with Session(world.gateway.url) as session:
        for name, transport in TRANSPORTS.items():
            answer = await transport(session, attack)
            assert (answer.codes, answer.data) == ({"FORBIDDEN"}, None), name
        for path in ("/schema.graphql", "/", "/playground", "/assets/graphiql.js"):
            assert (await session.get(path)).status == 404


GUESSES = [
    "{ registrie { name } }", '{ modell(id: "x") { id } }', "{ ... on Modell { id } }", '{ model(idd: "x") { id } }',
    "{ models(filter: {ownershi: OWN}) { totalCount } }", "{ models(filter: {ownership: OWNN}) { totalCount } }",
    "{ models { nodes } }", "{ __typename @skipp(if: true) }", "query ($a: Modelfilter) { __typename }",
    "{ registries }", '{ node(id: "x") { name } }',
]  # fmt: skip


@pytest.mark.parametrize("query", GUESSES)
async def test_production_has_no_suggestions_on_any_transport(world: World, query: str) -> None:
    async with Session(world.gateway.url) as session:
        for transport in TRANSPORTS.values():
            answer = await transport(session, Attack(query, ""))
            assert answer.codes == {"GRAPHQL_VALIDATION_FAILED"}
            assert "Did you mean" not in str(answer.errors)


async def test_production_has_no_suggestions_for_variables(world: World) -> None:
    query = "query ($f: ModelFilter) { models(filter: $f) { totalCount } }"
    for wrong in ({"ownershi": "OWN"}, {"ownership": "OWNN"}):
        answer = await world.gateway.query(query, f=wrong)
        assert answer.codes == ["BAD_USER_INPUT"]
        assert "Did you mean" not in str(answer.body)


async def test_a_batch_has_the_cost_limit_of_one_operation(world: World) -> None:
    query = {"query": "{ models(first: 100) { nodes { versions { nodes { name } } } } }"}
    answer = await world.gateway.request("POST", json=[query] * 2)
    assert all(one["data"]["models"]["nodes"] for one in answer.body)
    world.calls()
    refused = await world.gateway.request("POST", json=[query] * 10)
    assert (refused.status, refused.codes) == (400, ["QUERY_TOO_EXPENSIVE"])
    assert world.calls() == {}


def test_every_api_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test checks which digests are compared, because times cannot be measured precisely enough."""
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(keys.hmac, "compare_digest", compare_digest)
    known = [f"gwk_{number}" for number in range(5)]
    entries = [keys.ApiKey(keys.digest(key), Principal(key, ("*",), frozenset()), None) for key in known]
    for key in (*known, "gwk_unknown"):
        compared.clear()
        found = keys.find(entries, key)
        assert (found and found.caller.name) == (key if key in known else None)
        assert len(compared) == len(entries)
        assert {len(one) for pair in compared for one in pair} == {32}, "digests of equal length are compared"
