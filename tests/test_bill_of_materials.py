"""Bills of materials of model versions: valid CycloneDX, complete or an error, in GraphQL and at `/bom/<id>`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from gateway import twins
from gateway.catalog.bill_of_materials import BOM_FIELDS, bill_of_materials, is_iri_reference
from gateway.catalog.ids import parse
from gateway.catalog.selection import Selection
from gateway.config.settings import (
    AccessSettings,
    CacheSettings,
    DocumentsSettings,
    LimitsSettings,
    ServerSettings,
)
from gateway.twins import Corpus
from tests.auth.gateways import Clock, KeyFile, authenticating_gateway
from tests.conftest import Client, World, mlflow, pai, qianfan, served, settings, two_clouds
from tests.sagemaker.conftest import sagemaker
from tests.sagemaker.fixture_registry import fixture_registry
from tests.test_cache import ManualClock, caching_world
from tests.transports import multipart

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
BOM = "query ($id: ID!) { modelVersion(id: $id) { bom } }"
VERSIONS = "query ($id: ID!) { model(id: $id) { versions { nodes { id } } } }"


def check(bom: Any) -> Any:
    """Check a document with the official schema. Returns it."""
    problem = VALIDATOR.validate_str(orjson.dumps(bom).decode())
    assert problem is None, f"{problem.data.message} at {problem.data.json_path}"
    return bom


def properties(listed: list[dict[str, str]]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for one in listed:
        by_name.setdefault(one["name"], []).append(one["value"])
    return by_name


def not_said(bom: Any) -> list[str]:
    return properties(bom["metadata"]["properties"])["gateway:notSaid"]


def path_of(id: str) -> str:
    return f"/bom/{quote(id, safe='')}"


@asynccontextmanager
async def four_kinds() -> AsyncIterator[Client]:
    key = ("AKIATESTKEY", "secret", "")
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=Corpus(60, mlflow_models=30)))
        groups = await stack.enter_async_context(fixture_registry(groups=5))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url), sagemaker(groups.url, key, name="sagemaker")
        limits = LimitsSettings(calls=5_000)
        yield await stack.enter_async_context(served(settings(*registries, limits=limits)))


async def versions_of(gateway: Client, name: str, models: int = 4) -> list[str]:
    page = await gateway.query("{ models(first: 40) { nodes { registryName id } } }")
    ids = [node["id"] for node in page.data["models"]["nodes"] if node["registryName"] == name][:models]
    versions = [await gateway.query(VERSIONS, id=id) for id in ids]
    return [node["id"] for answer in versions for node in answer.data["model"]["versions"]["nodes"]]


@pytest.mark.parametrize("name", ["pai", "qianfan", "mlflow", "sagemaker"])
async def test_documents_of_every_kind_are_valid(name: str) -> None:
    async with four_kinds() as gateway:
        ids = await versions_of(gateway, name)
        assert len(ids) >= 4
        for id in ids:
            bom = check((await gateway.query(BOM, id=id)).data["modelVersion"]["bom"])
            assert bom["metadata"]["component"]["bom-ref"] == id
            assert {"hashes", "approach", "considerations"} <= {*not_said(bom)}


async def test_a_document_has_what_the_schema_says_and_lists_what_it_does_not_say() -> None:
    query = """query ($id: ID!) { modelVersion(id: $id) { bom name uri parameters { name value }
      evaluations { dataset { name } metrics { name value } } model { name } } }"""
    async with four_kinds() as gateway:
        for id in await versions_of(gateway, "mlflow"):
            version = (await gateway.query(query, id=id)).data["modelVersion"]
            component = version["bom"]["metadata"]["component"]
            card = component.get("modelCard", {})
            assert (component["name"], component["version"]) == (version["model"]["name"], version["name"])
            assert component["type"] == "machine-learning-model"
            urls = [one["url"] for one in component.get("externalReferences", ()) if one["type"] == "distribution"]
            assert urls == ([version["uri"]] if version["uri"] else [])
            parameters = {f"gateway:parameter:{one['name']}": [one["value"]] for one in version["parameters"] or ()}
            assert properties(card.get("properties", [])) == parameters
            measured = [
                (metric["name"], str(metric["value"]), (one["dataset"] or {}).get("name"))
                for one in version["evaluations"] or ()
                for metric in one["metrics"]
                if metric["value"] is not None
            ]
            metrics = card.get("quantitativeAnalysis", {}).get("performanceMetrics", ())
            assert [(one["type"], one["value"], one.get("slice")) for one in metrics][: len(measured)] == measured
            unsaid = not_said(version["bom"])
            assert ("parameters" in unsaid) == (not version["parameters"])
            assert ("evaluations" in unsaid) == (not version["evaluations"])
            assert ("uri" in unsaid) == (not version["uri"])


def test_every_fact_that_is_not_null_is_in_the_document() -> None:
    """A record with a different text for each field: no text is lost, and nothing is listed as not said."""
    texts: list[str] = []

    def filled(selection: Selection, path: str) -> Any:
        record: dict[str, Any] = {}
        for request, below in selection.items():
            name = f"{path}-{request.field}"
            if below:
                value = filled(below, name)
                plural = request.field not in ("owner", "source", "dataset", "model")
                record[request.field] = [value] if plural else value
            else:
                record[request.field] = name
                texts.append(name)
        return record

    record = filled(BOM_FIELDS, "x")
    bom = check(bill_of_materials(parse("pai:model/m/version/1"), record, 1_800_000_000.0, 5.0))
    document = orjson.dumps(bom).decode()
    assert not_said(bom) == ["hashes", "approach", "considerations"]
    replaced = {
        *("x-id", "x-license", "x-format", "x-framework", "x-stage", "x-model-native_id", "x-model-description"),
        *("x-owner-native_id", "x-model-owner-native_id", "x-evaluations-metrics-text"),
    }
    """Facts for which a record of this kind has a better one."""
    assert [text for text in texts if f'{text}"' not in document and text not in replaced] == []


@pytest.mark.parametrize(
    ("record", "licenses"),
    [
        ({"license_id": "Apache-2.0 OR MIT", "license": "x"}, [{"expression": "Apache-2.0 OR MIT"}]),
        ({"license_id": None, "license": "Our own terms"}, [{"license": {"name": "Our own terms"}}]),
        ({"license_id": None, "license": None}, None),
    ],
)
def test_a_license_is_an_expression_or_a_name(record: Mapping[str, Any], licenses: Any) -> None:
    version = {**dict.fromkeys(request.field for request in BOM_FIELDS), "id": "pai:model/m/version/1", **record}
    bom = check(bill_of_materials(parse("pai:model/m/version/1"), version, 0.0, 0.0))
    assert bom["metadata"]["component"].get("licenses") == licenses
    assert bom["metadata"]["component"]["name"] == "m"
    assert ("license" in not_said(bom)) == (licenses is None)


def test_an_address_with_a_space_is_a_property() -> None:
    uri = "oss://bucket/my files/"
    version = {**dict.fromkeys(request.field for request in BOM_FIELDS), "id": "pai:model/m/version/1", "uri": uri}
    component = check(bill_of_materials(parse("pai:model/m/version/1"), version, 0.0, 0.0))["metadata"]["component"]
    assert not is_iri_reference(uri)
    assert "externalReferences" not in component
    assert properties(component["properties"]) == {"gateway:uri": [uri]}


# Plans, failures and freshness


async def test_a_document_costs_the_calls_of_its_fields(world: World) -> None:
    [id, *_] = await versions_of(world.gateway, "pai", 1)
    world.calls()
    for query in (BOM, "query ($id: ID!) { modelVersion(id: $id) { bom name owner { name } model { bom: name } } }"):
        plan = await world.gateway.request(
            "POST", json={"query": query, "variables": {"id": id}}, headers={"x-gateway-plan": "only"}
        )
        assert plan.body["extensions"]["cost"]["forecast"] == 2
        assert world.calls() == {}
        await world.gateway.query(query, id=id)
        assert world.calls() == {"GetModelVersion": 1, "GetModel": 1}
    await world.gateway.query("query ($id: ID!) { modelVersion(id: $id) { name } }", id=id)
    assert world.calls() == {"GetModelVersion": 1}


@pytest.mark.parametrize("call", ["GetModelVersion", "GetModel"])
async def test_a_failed_call_is_an_error_in_place_of_a_document(world: World, call: str) -> None:
    [id, *_] = await versions_of(world.gateway, "pai", 1)
    world.pai.faults.replace({call: {"status": 503}})
    answer = await world.gateway.query(BOM, id=id)
    assert answer.codes == ["REGISTRY_UNAVAILABLE"]
    assert (answer.body["data"]["modelVersion"] or {"bom": None}) == {"bom": None}
    answer = await world.gateway.request("GET", path_of(id))
    assert (answer.status, answer.body["code"]) == (503, "REGISTRY_UNAVAILABLE")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_document_can_be_deferred(world: World) -> None:
    [id, *_] = await versions_of(world.gateway, "pai", 1)
    query = f'{{ modelVersion(id: "{id}") {{ name ... @defer {{ bom }} }} }}'
    first, *later = await multipart(world.gateway, {"query": query})
    assert "bom" not in first["data"]["modelVersion"]
    [bom] = [part["data"]["bom"] for payload in later for part in payload.get("incremental", ())]
    check(bom)


async def test_a_document_has_the_time_of_its_oldest_answer_and_its_age() -> None:
    clock = ManualClock()
    async with caching_world(clock, objects=600.0, lists=600.0) as world:
        [id, *_] = await versions_of(world.gateway, "pai", 1)
        boms = []
        for seconds in (0, 40):
            clock.seconds += seconds
            answer = await world.gateway.request("GET", path_of(id))
            boms.append((answer.headers["etag"], answer.headers["age"], answer.body["metadata"]))
        (first_tag, _, first), (second_tag, age, second) = boms
        assert first["timestamp"] == second["timestamp"] == "2027-01-15T08:00:00Z"
        assert properties(first["properties"])["gateway:age"] == ["0"]
        assert properties(second["properties"])["gateway:age"] == [age] == ["40"]
        assert first_tag == second_tag
        unchanged = await world.gateway.request("GET", path_of(id), headers={"If-None-Match": first_tag})
        assert (unchanged.status, unchanged.headers["etag"]) == (304, first_tag)
        assert world.calls()["GetModelVersion"] == 1


async def test_serial_numbers_differ_by_version_and_stay(world: World) -> None:
    ids = await versions_of(world.gateway, "pai", 3)
    boms = [(await world.gateway.query(BOM, id=id)).data["modelVersion"]["bom"] for id in (*ids, *ids)]
    numbers = [bom["serialNumber"] for bom in boms]
    assert numbers[: len(ids)] == numbers[len(ids) :]
    assert len({*numbers}) == len(ids) > 1


# The endpoint


async def test_the_endpoint_returns_the_document_that_graphql_returns(world: World) -> None:
    [id, *_] = await versions_of(world.gateway, "qianfan", 1)
    for path in (path_of(id), f"/bom/{id}"):
        answer = await world.gateway.request("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/vnd.cyclonedx+json; version=1.6"
        assert answer.headers["x-content-type-options"] == "nosniff"
        bom = answer.body
        bom["metadata"].pop("timestamp")
        expected = (await world.gateway.query(BOM, id=id)).data["modelVersion"]["bom"]
        expected["metadata"].pop("timestamp")
        assert bom == expected
    async with world.gateway.session.head(world.gateway.url + path_of(id)) as head:
        assert (head.status, await head.read()) == (200, b"")
        assert head.headers["content-type"] == answer.headers["content-type"]
    post = await world.gateway.request("POST", path_of(id))
    assert (post.status, {*post.headers["allow"].split(", ")}) == (405, {"GET", "HEAD"})


@pytest.mark.parametrize(
    ("id", "code"),
    [
        ("pai:model/none/version/1", "NOT_FOUND"),
        ("pai:model/none", "INVALID_ID"),
        ("other:model/m/version/1", "INVALID_ID"),
        ("", "INVALID_ID"),
        ("../healthz", "INVALID_ID"),
    ],
)
async def test_what_is_no_version_is_not_found(world: World, id: str, code: str) -> None:
    answer = await world.gateway.request("GET", path_of(id))
    assert (answer.status, answer.body["code"]) == (404, code)
    assert isinstance(answer.body["error"], str)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 429, "error": "Throttling", "headers": {"Retry-After": "7"}}, 503, "REGISTRY_THROTTLED"),
        ({"status": 403, "error": "SignatureDoesNotMatch"}, 502, "REGISTRY_UNAUTHENTICATED"),
        ({"body": "[]"}, 502, "REGISTRY_BAD_ANSWER"),
    ],
)
async def test_a_registry_that_fails_is_no_document(
    world: World, fault: Mapping[str, Any], status: int, code: str
) -> None:
    world.pai.faults.replace({"*": fault})
    answer = await world.gateway.request("GET", "/bom/pai:model/m/version/1")
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers.get("retry-after") == ("7" if status == 503 else None)


async def test_a_document_that_is_not_cached_is_not_fetched_for_only_if_cached(world: World) -> None:
    headers = {"Cache-Control": "only-if-cached"}
    answer = await world.gateway.request("GET", "/bom/pai:model/m/version/1", headers=headers)
    assert (answer.status, answer.body["code"]) == (504, "REGISTRY_NOT_CACHED")
    assert world.calls() == {}


async def test_the_limits_of_operations_apply() -> None:
    async with two_clouds(sections={"limits": LimitsSettings(calls=1)}) as world:
        answer = await world.gateway.request("GET", "/bom/pai:model/m/version/1")
    assert (answer.status, answer.body["code"]) == (422, "QUERY_TOO_EXPENSIVE")


async def test_the_endpoint_needs_no_trusted_document(tmp_path: Path) -> None:
    file = tmp_path / "documents.json"
    file.write_text("{}")
    documents = DocumentsSettings(trusted=str(file), only_trusted=True)
    server = ServerSettings(profile="production")
    async with two_clouds(sections={"documents": documents, "server": server}) as world:
        assert (await world.gateway.query(BOM, id="pai:model/m/version/1")).codes == ["DOCUMENT_NOT_TRUSTED"]
        answer = await world.gateway.request("GET", "/bom/pai:model/none/version/1")
        assert answer.body["code"] == "NOT_FOUND"


async def test_callers_get_documents_of_their_registries_only(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.toml")
    everything, other = keys.add(), keys.add("other", registries=("qianfan",))
    access = AccessSettings(mode="callers", keys=str(keys.path))
    cache = CacheSettings(enabled=True)
    async with authenticating_gateway(access, Clock(), cache=cache) as gateway:
        headers = {"X-API-Key": everything}
        models = "{ models { nodes { latestVersion { id } } } }"
        page = await gateway.request("POST", json={"query": models}, headers=headers)
        versions = [node["latestVersion"] for node in page.data["models"]["nodes"] if node["latestVersion"]]
        id = next(version["id"] for version in versions if version["id"].startswith("pai:"))
        allowed = await gateway.request("GET", path_of(id), headers=headers)
        hidden = await gateway.request("GET", path_of(id), headers={"X-API-Key": other})
        unknown = await gateway.request("GET", path_of(id))
    assert allowed.status == 200
    assert allowed.headers["vary"].startswith("Authorization, X-API-Key")
    assert (hidden.status, hidden.body["code"]) == (404, "INVALID_ID")
    assert (unknown.status, "www-authenticate" in unknown.headers) == (401, True)
