"""Cache tags of responses: what caches in front of the gateway purge by, and that it is what `/cache` purges here."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.catalog.cache_tags import MAX_HEADER, any_object, call_tags, purge_tags, shortened
from gateway.catalog.ids import Ref
from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Registry
from gateway.config.settings import AccessSettings, CacheSettings, Secret
from gateway.registries import KINDS
from gateway.registries.pai import PAI
from gateway.registries.qianfan import QIANFAN
from gateway.upstream.caching_client import UncachedClient
from tests.auth.gateways import Clock, KeyFile, authenticating_gateway
from tests.conftest import World, mlflow, pai, qianfan
from tests.docker.tools import tool
from tests.sagemaker.conftest import sagemaker
from tests.test_cache import LIST, MODEL, ManualClock, caching_world

ID, OTHER_ID = "pai:model/model-rbvg5wzljzjhc9ks92", "pai:model/model-qwen2ptnk4jz8hx1y3c"
OTHER = MODEL.replace(ID, OTHER_ID)
ADMIN = {"Authorization": "Bearer token"}
INCLUDE = {"X-Gateway-Cache-Tags": "include"}
ENTITIES = """query ($representations: [_Any!]!) {
  _entities(representations: $representations) { ... on Model { name } ... on ModelVersion { name } } }"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with caching_world(ManualClock(), tag_header="Surrogate-Key", admin_token=Secret("token")) as world:
        yield world


async def tags(world: World, query: str, header: str = "surrogate-key", **options: Any) -> str | None:
    answer = await world.gateway.request("POST", json={"query": query}, **options)
    return answer.headers.get(header)


# One home: tags and purges


def registries() -> Iterator[Registry]:
    url, key = "http://127.0.0.1:9", ("id", "secret", "")
    for settings in (
        pai(url),
        qianfan(url),
        qianfan(url, name="qianfan-v2", api="v2"),
        mlflow(url),
        sagemaker(url, key, name="sagemaker"),
    ):
        yield Registry(KINDS[settings.kind].of(settings), settings, UncachedClient(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("registry", [*registries()], ids=lambda registry: registry.name)
def test_a_purge_of_an_object_names_the_tags_of_all_answers_that_it_purges(registry: Registry) -> None:
    name, kind, purged = registry.name, registry.kind, 0
    calls = [*kind.calls, *(stream.call for stream in kind.streams), *(one.call for one in kind.lookups.values())]
    for entity, patterns in kind.keys.items():
        for keys in (("1", "2"), ("1", "1"), ("2", "1")):
            ref = Ref(name, entity, keys[: len(patterns)])
            prefixes, named = [*registry.cache_prefixes(ref)], {*purge_tags(name, ref)}
            for call in calls:
                for of in (("1", "2"), ("1", "1"), ("2", "1"), ("2", "2")):
                    bound = BoundCall(name, call, tuple(of[at] for at in call.key_positions))
                    request = kind.with_settings(registry.settings, call.request(bound.keys))
                    key = str(registry.destination.scope.key(request))
                    # a list purges also calls with its name that are about other objects
                    about = call.entities[0].layout.entity.removesuffix("Version") if call.entities else ""
                    is_own = bound.keys in (ref.keys, ref.keys[:1]) and entity.startswith(about)
                    if (is_own or call.paging or call.rows) and any(key.startswith(prefix) for prefix in prefixes):
                        purged += 1
                        assert not named.isdisjoint(call_tags(bound)), (ref, str(bound))
    assert purged > 20


def test_the_tags_of_an_answer_name_its_version_and_the_owner_that_it_describes() -> None:
    calls = {call.name: call for kind in (PAI, QIANFAN) for call in kind.calls}
    assert call_tags(BoundCall("pai", calls["GetModel"], ("m",))) == ("pai:model/m",)
    assert call_tags(BoundCall("pai", calls["GetModelVersion"], ("m", "1"))) == ("pai:model/m/version/1",)
    described = "pai:algorithm/a/version/1", "pai:algorithm/a"
    assert call_tags(BoundCall("pai", calls["GetAlgorithmVersion"], ("a", "1"))) == described
    assert call_tags(BoundCall("pai", calls["ListModelVersions"], ("m",))) == ("pai:any",)
    assert call_tags(BoundCall("qianfan", calls["modelVersionDetail"], ("amv-1",))) == ("qianfan:any",)


@pytest.mark.parametrize("kind", [*KINDS.values()], ids=lambda kind: kind.name)
def test_the_objects_in_an_answer_have_one_owner(kind: Any) -> None:
    """So the keys of a call are those of an object."""
    for call in kind.calls:
        assert len({part.layout.entity.removesuffix("Version") for part in call.entities}) <= 1


def test_the_names_of_registries_are_no_other_tags() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+", registry.name) for registry in registries())
    assert any_object("pai") == "pai:any"


# Headers


async def test_a_response_has_the_tags_of_its_registries_and_objects(world: World) -> None:
    assert await tags(world, MODEL) == f"pai {ID}"
    assert await tags(world, LIST) == "pai pai:any qianfan qianfan:any"
    both = f'{{ a: model(id: "{ID}") {{ name }} b: model(id: "{OTHER_ID}") {{ name }} }}'
    assert await tags(world, both) == f"pai {ID} {OTHER_ID}"
    assert await tags(world, '{ model(id: "pai:model/gone") { name } }') == "pai pai:model/gone"
    assert await tags(world, "{ registries { name } }") is None


async def test_cached_and_unchanged_responses_have_the_same_tags(world: World) -> None:
    expected = [f"pai {ID}"] * 3
    assert [await tags(world, MODEL) for _ in range(3)] == expected
    assert [await tags(world, MODEL, headers={"X-Unknown": "x"}) for _ in range(3)] == expected
    first = await world.gateway.request("GET", params={"query": MODEL})
    headers = {"If-None-Match": first.headers["etag"]}
    unchanged = await world.gateway.request("GET", params={"query": MODEL}, headers=headers)
    assert (unchanged.status, unchanged.headers["surrogate-key"]) == (304, f"pai {ID}")
    assert world.calls() == {"GetModel": 1}


async def test_tags_are_separated_as_the_header_requires() -> None:
    async with caching_world(ManualClock(), tag_header="Cache-Tag") as world:
        assert await tags(world, LIST, "cache-tag") == "pai,pai:any,qianfan,qianfan:any"
        assert await tags(world, LIST) is None


async def test_without_the_setting_there_is_no_header() -> None:
    async with caching_world(ManualClock()) as world:
        answer = await world.gateway.query(MODEL)
    assert answer.headers.keys().isdisjoint({"surrogate-key", "cache-tag"})


async def test_a_response_that_must_not_be_stored_has_no_tags(world: World) -> None:
    assert await tags(world, MODEL, headers={"Cache-Control": "no-store"}) is None
    assert await tags(world, "{ model }") is None
    batch = await world.gateway.request("POST", json=[{"query": MODEL}, {"query": LIST}])
    assert "surrogate-key" not in batch.headers
    world.pai.faults.replace({"*": {"status": 503}})
    for query in (OTHER, LIST):
        answer = await world.gateway.query(query)
        assert (answer.headers["cache-control"], answer.headers.get("surrogate-key")) == ("no-store", None)


async def test_too_many_tags_become_that_of_any_object(world: World) -> None:
    ids = [f"pai:model/model-{number:020}" for number in range(100)]
    for count, header in ((20, " ".join(["pai", *ids[:20]])), (100, "pai pai:any")):
        answer = await world.gateway.query("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids[:count])
        assert answer.headers["surrogate-key"] == header
    long = "pai:model/" + "%E6%A8%A1" * 120
    assert shortened(("pai", long, "qianfan", "qianfan:model/m")) == ("pai", "pai:any", "qianfan", "qianfan:any")
    assert len(" ".join(ids)) > MAX_HEADER


async def test_a_bill_of_materials_has_tags(world: World) -> None:
    version = f"{ID}/version/0.1.0"
    answer = await world.gateway.request("GET", f"/bom/{version}")
    assert answer.headers["surrogate-key"] == f"pai {version} {ID}"
    stored = await world.gateway.request("GET", f"/bom/{version}", headers={"Cache-Control": "no-store"})
    assert (stored.headers["cache-control"], stored.headers.get("surrogate-key")) == ("no-store", None)


async def test_tags_name_only_registries_that_the_caller_may_read(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.toml")
    key = keys.add(registries=("qianfan",))
    access, cache = AccessSettings(mode="callers", keys=str(keys.path)), CacheSettings(tag_header="Surrogate-Key")
    async with authenticating_gateway(access, Clock(), cache=cache) as gateway:
        headers = {"X-API-Key": key, **INCLUDE}
        answer = await gateway.request("POST", json={"query": "{ models { nodes { id } } }"}, headers=headers)
    assert answer.headers["surrogate-key"] == "qianfan qianfan:any"
    assert answer.body["extensions"] == {"apolloCacheTags": ["qianfan", "qianfan:any"]}


# Extensions for routers


async def test_tags_are_in_the_response_on_request_only(world: World) -> None:
    for _ in range(2):
        plain = await world.gateway.query(MODEL)
        tagged = await world.gateway.request("POST", json={"query": MODEL}, headers=INCLUDE)
        assert "extensions" not in plain.body
        assert tagged.body == {**plain.body, "extensions": {"apolloCacheTags": ["pai", ID]}}
        assert "X-Gateway-Cache-Tags" in plain.headers["vary"]
    refused = await world.gateway.request("POST", json={"query": MODEL}, headers={"X-Gateway-Cache-Tags": "yes"})
    assert (refused.status, refused.codes) == (400, ["BAD_REQUEST"])
    world.pai.faults.replace({"*": {"status": 503}})
    failed = await world.gateway.request("POST", json={"query": OTHER}, headers=INCLUDE)
    assert "extensions" not in failed.body


async def entity_tags(world: World, query: str, *representations: dict[str, str]) -> Any:
    body = {"query": query, "variables": {"representations": representations}}
    return (await world.gateway.request("POST", json=body, headers=INCLUDE)).body["extensions"]


async def test_each_entity_has_its_tags_in_the_order_of_the_representations(world: World) -> None:
    version = f"{OTHER_ID}/version/0.1.0"
    representations = [
        {"__typename": "Model", "id": ID},
        {"__typename": "ModelVersion", "id": version},
        {"__typename": "Model", "registryName": "pai", "nativeId": "gone"},
        {"__typename": "Model", "id": ID},
    ]
    assert await entity_tags(world, ENTITIES, *representations) == {
        "apolloEntityCacheTags": [
            ["pai", ID],
            ["pai", version, OTHER_ID],
            ["pai", "pai:model/gone"],
            ["pai", ID],
        ]
    }


async def test_an_entity_with_other_objects_has_the_tag_of_any_object(world: World) -> None:
    model = {"__typename": "Model", "id": ID}
    for below in ("latestVersion { id }", "versions { nodes { id } }", "aliases { version { id } }"):
        query = ENTITIES.replace("on Model { name }", f"on Model {{ {below} }}")
        assert await entity_tags(world, query, model) == {"apolloEntityCacheTags": [["pai", ID, "pai:any"]]}


async def test_entities_beside_other_fields_leave_those_their_own_tags(world: World) -> None:
    query = ENTITIES.removesuffix("}") + f' model(id: "{OTHER_ID}") {{ name }} }}'
    assert await entity_tags(world, query, {"__typename": "Model", "id": ID}) == {
        "apolloEntityCacheTags": [["pai", ID]],
        "apolloCacheTags": ["pai", ID, OTHER_ID],
    }


# A cache in front of the gateway

VCL = """
vcl 4.1;
import xkey;
backend gateway { .host = "127.0.0.1"; .port = "%s"; }
sub vcl_recv {
  if (req.method == "PURGE") { return (synth(200, xkey.purge(req.http.X-Tags))); }
  return (hash);
}
sub vcl_backend_response {
  set beresp.http.xkey = beresp.http.Surrogate-Key;
  if (beresp.http.Cache-Control ~ "no-store") { set beresp.uncacheable = true; } else { set beresp.ttl = 60s; }
  return (deliver);
}
sub vcl_deliver { set resp.http.X-Hits = obj.hits; }
"""


@asynccontextmanager
async def varnish(gateway_url: str, folder: Path) -> AsyncIterator[str]:
    """Serve Varnish with a cache in front of a gateway. Yields its address."""
    (folder / "default.vcl").write_text(VCL % gateway_url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(tool("varnishd"), "-F", "-j", "none", "-n", folder / "work", "-a", f"127.0.0.1:{port}"),
        *("-f", folder / "default.vcl", "-s", "default,10m"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"said Child starts" not in (line := await process.stdout.readline()):
                assert line, "varnishd has ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_cache_drops_by_tags_what_the_gateway_purges(world: World, tmp_path: Path) -> None:
    versions = MODEL.replace("name", "name versions { nodes { name } }")
    queries = {"one": MODEL, "other": OTHER, "list": LIST.replace(" age", ""), "versions": versions}
    queries["qianfan"] = '{ model(id: "qianfan:model/am-none") { name } }'
    async with varnish(world.gateway.url, tmp_path) as cache, aiohttp.ClientSession() as session:

        async def hits() -> list[str]:
            found = []
            for name, query in queries.items():
                async with session.get(f"{cache}/graphql", params={"query": query}) as answer:
                    assert answer.status == 200, await answer.text()
                    found += [name] if answer.headers["X-Hits"] != "0" else []
            return found

        async def purge(**what: str) -> None:
            purged = await world.gateway.request("DELETE", "/cache", params=what, headers=ADMIN)
            for tag in purged.body["tags"]:
                async with session.request("PURGE", f"{cache}/", headers={"X-Tags": tag}) as answer:
                    assert answer.status == 200

        assert await hits() == []
        assert await hits() == [*queries]
        await purge(id=ID)
        assert await hits() == ["other", "qianfan"]
        await purge(registry="qianfan")
        assert await hits() == ["one", "other", "versions"]
        await purge()
        assert await hits() == []
