"""The revision of GraphQL over HTTP of September 2026, and the rules on methods and headers that hold in every mode."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config.settings import CacheSettings, ServerSettings
from tests.conftest import Answer, Client, World, served, settings, two_clouds

JSON, GRAPHQL = "application/json", "application/graphql-response+json"
PROFILE = f'{GRAPHQL};profile="2026-09-03"'
WHOLE = {"query": "{ models(first: 1) { nodes { id } } }"}
PARTIAL = {"query": '{ registries { name } model(id: "pai:model/m") { name } }'}
EXPENSIVE = " ".join(
    f"a{number}: models(first: 100, filter: {{framework: PYTORCH}}) {{ totalCount }}" for number in range(20)
)
REFUSED = {
    "a document that cannot be parsed": ({"query": "{"}, 400),
    "a document that does not match the schema": ({"query": "{ nonsense }"}, 422),
    "an unknown operation": ({"query": "{ __typename }", "operationName": "Other"}, 422),
    "an invalid variable": ({"query": "query ($i: Int!) { models(first: $i) { totalCount } }"}, 422),
    "an operation that is too expensive": ({"query": f"{{ {EXPENSIVE} }}"}, 422),
    "no query": ({}, 422),
    "a query that is no text": ({"query": 1}, 422),
    "a body that is no object": (1, 422),
}


@asynccontextmanager
async def revised_world(**sections: Any) -> AsyncIterator[World]:
    server = ServerSettings(profile="development", http_revision="2026-09-03")
    async with two_clouds(sections={"server": server, **sections}) as world:
        yield world


async def post(gateway: Client, body: Any, accept: str) -> Answer:
    headers = {"Content-Type": "application/json", "Accept": accept}
    return await gateway.request("POST", data=json.dumps(body), headers=headers)


def media_type(answer: Answer) -> str:
    return answer.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize("accept", [PROFILE, f"{JSON};q=0.5, {GRAPHQL}; q=0.9 ;profile=2026-09-03"])
async def test_a_client_requests_the_revision_by_its_profile(world: World, accept: str) -> None:
    world.pai.faults.replace({"GetModel": {"status": 503}})
    for accepted, partial, refused in ((accept, 294, 422), (GRAPHQL, 200, 400)):
        assert (await post(world.gateway, WHOLE, accepted)).status == 200
        answer = await post(world.gateway, PARTIAL, accepted)
        assert (answer.status, media_type(answer), answer.body["data"]["model"]) == (partial, GRAPHQL, None)
        assert (await post(world.gateway, {"query": "{ nonsense }"}, accepted)).status == refused


@pytest.mark.parametrize("accept", [f"{GRAPHQL};profile=2020-01-01", f"{JSON};profile=2026-09-03", f"{PROFILE};q=0"])
async def test_other_profiles_change_nothing(world: World, accept: str) -> None:
    world.pai.faults.replace({"GetModel": {"status": 503}})
    assert (await post(world.gateway, PARTIAL, f"{accept}, {JSON};q=0.1")).status == 200


@pytest.mark.parametrize("reason", REFUSED)
async def test_the_status_of_a_refusal_names_what_is_wrong(reason: str) -> None:
    body, status = REFUSED[reason]
    async with revised_world() as world:
        for accept in (GRAPHQL, JSON):
            answer = await post(world.gateway, body, accept)
            assert (answer.status, media_type(answer)) == (status, GRAPHQL)
            assert "data" not in answer.body
            assert answer.codes


async def test_a_body_that_is_not_json_is_400_and_an_unknown_media_type_406() -> None:
    async with revised_world() as world:
        headers = {"Content-Type": "application/json", "Accept": GRAPHQL}
        assert (await world.gateway.request("POST", data="nonsense", headers=headers)).status == 400
        assert (await post(world.gateway, WHOLE, "text/html")).status == 406


async def test_older_clients_get_data_with_errors_as_200_and_json() -> None:
    async with revised_world() as world:
        world.pai.faults.replace({"GetModel": {"status": 503}})
        answer = await post(world.gateway, PARTIAL, JSON)
        assert (answer.status, media_type(answer), answer.codes) == (200, JSON, ["REGISTRY_UNAVAILABLE"])
        for _ in range(2):  # the second one is a prepared request
            assert (await post(world.gateway, PARTIAL, GRAPHQL)).status == 294


@pytest.mark.parametrize("revision", ["draft", "2026-09-03"])
@pytest.mark.parametrize("query", ["mutation { nonsense }", "mutation Named { a } query Other { __typename }"])
async def test_a_mutation_by_get_is_refused_before_it_is_validated(revision: str, query: str) -> None:
    server = ServerSettings(profile="development", http_revision=revision)
    async with served(settings(server=server)) as gateway:
        params = {"query": query} | ({"operationName": "Named"} if "Named" in query else {})
        answer = await gateway.request("GET", params=params)
        assert (answer.status, answer.headers["allow"], answer.codes) == (405, "POST", ["METHOD_NOT_ALLOWED"])
        answer = await gateway.request("POST", json=params)
        assert answer.codes == ["GRAPHQL_VALIDATION_FAILED"]


async def test_head_has_the_headers_of_get_without_a_body(world: World) -> None:
    params = {"query": "{ registries { name } }"}
    get = await world.gateway.request("GET", params=params)
    async with world.gateway.session.head(f"{world.gateway.url}/graphql", params=params) as head:
        assert (head.status, await head.read()) == (200, b"")
        for name in ("etag", "content-length", "content-type", "cache-control"):
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("path", ["/graphql", "/graphql?query={__typename}", "/healthz", "/nowhere", "/"])
async def test_browsers_must_not_guess_the_media_type_of_any_response(world: World, path: str) -> None:
    async with world.gateway.session.get(world.gateway.url + path) as answer:
        assert answer.headers.getall("x-content-type-options") == ["nosniff"]


async def test_no_store_asks_to_store_nothing_and_not_for_a_new_answer() -> None:
    async with two_clouds(sections={"cache": CacheSettings(lists=600.0, jitter=0.0)}) as world:

        async def calls_of(control: str) -> tuple[int, str]:
            answer = await world.gateway.request("POST", json=WHOLE, headers={"Cache-Control": control})
            return sum(world.calls().values()), answer.headers["cache-control"]

        first, header = await calls_of("no-store")
        assert (first > 0, header) == (True, "no-store")
        assert await calls_of("no-store") == (0, "no-store")
        assert await calls_of("no-store, no-cache") == (first, "no-store")
        again, header = await calls_of("max-age=600")
        assert (again, header.startswith("private, max-age=")) == (0, True)


async def test_directives_of_callers_without_a_name_can_be_ignored() -> None:
    cache = CacheSettings(lists=600.0, jitter=0.0, anonymous_directives=False)
    async with two_clouds(sections={"cache": cache}) as world:
        await world.gateway.query(WHOLE["query"])
        assert world.calls()
        for control in ("no-cache", "no-store", "max-age=0", "only-if-cached"):
            answer = await world.gateway.request("POST", json=WHOLE, headers={"Cache-Control": control})
            assert answer.codes == []
            assert world.calls() == {}
