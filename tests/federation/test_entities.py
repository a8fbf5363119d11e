"""References of other subgraphs: few calls, and an invalid reference affects only itself."""

from typing import Any

import pytest
from graphql import (
    build_client_schema,
    build_schema,
    find_schema_changes,
    get_introspection_query,
    validate_schema,
)

from gateway.config.settings import LimitsSettings
from tests.conftest import Answer, World

INTROSPECTION = get_introspection_query(specified_by_url=True, directive_is_repeatable=True)
ENTITIES = """query ($representations: [_Any!]!) { _entities(representations: $representations) {
  __typename
  ... on Model { id name registryName nativeId }
  ... on ModelVersion { id name model { id } }
  ... on Algorithm { id name }
  ... on AlgorithmVersion { id name }
} }"""

BERT = {"id": "pai:model/model-rbvg5wzljzjhc9ks92", "registryName": "pai", "nativeId": "model-rbvg5wzljzjhc9ks92"}
BERT_ENTITY = {"__typename": "Model", "name": "情感分析", **BERT}
ALGORITHM = {"id": "pai:algorithm/algo-xsldfvu1334", "registryName": "pai", "nativeId": "algo-xsldfvu1334"}


async def entities(world: World, *representations: Any) -> Answer:
    return await world.gateway.query(ENTITIES, representations=list(representations))


async def errors_of(world: World, *representations: Any) -> list[tuple[Any, str]]:
    """Return the path and the code of each error."""
    errors = (await entities(world, *representations)).body.get("errors", ())
    return [(error["path"], error["extensions"]["code"]) for error in errors]


async def models(world: World, count: int) -> list[str]:
    """Return the ids of this many models of PAI."""
    found: list[str] = []
    after = None
    while len(found) < count:
        page = await world.gateway.query(
            """query ($after: String) { models(first: 100, after: $after, filter: {registries: ["pai"]}) {
              nodes { id } pageInfo { endCursor } } }""",
            after=after,
        )
        found += [node["id"] for node in page.data["models"]["nodes"]]
        after = page.data["models"]["pageInfo"]["endCursor"]
    world.calls()
    return found[:count]


# Keys


async def test_each_entity_is_found_by_its_id(world: World) -> None:
    version = f"{BERT['id']}/version/0.1.0"
    answer = await entities(
        world,
        {"__typename": "ModelVersion", "id": version},
        {"__typename": "Algorithm", "id": ALGORITHM["id"]},
        {"__typename": "Model", "id": BERT["id"]},
        {"__typename": "AlgorithmVersion", "id": f"{ALGORITHM['id']}/version/v0.0.1"},
    )
    assert answer.data["_entities"] == [
        {"__typename": "ModelVersion", "id": version, "name": "0.1.0", "model": {"id": BERT["id"]}},
        {"__typename": "Algorithm", "id": ALGORITHM["id"], "name": "llm_training"},
        BERT_ENTITY,
        {"__typename": "AlgorithmVersion", "id": f"{ALGORITHM['id']}/version/v0.0.1", "name": "v0.0.1"},
    ]


async def test_models_and_algorithms_are_found_by_registry_and_native_id(world: World) -> None:
    by_native_id = [
        {"__typename": "Model", "registryName": "pai", "nativeId": BERT["nativeId"]},
        {"__typename": "Model", "registryName": "qianfan", "nativeId": "5862"},
        {"__typename": "Algorithm", "registryName": "pai", "nativeId": ALGORITHM["nativeId"]},
    ]
    found = (await entities(world, *by_native_id)).data["_entities"]
    assert [one["id"] for one in found] == [BERT["id"], "qianfan:model/5862", ALGORITHM["id"]]


async def test_fields_beside_the_key_are_ignored(world: World) -> None:
    required = {"stars": 5, "labels": [{"key": "a"}], "registryName": None}
    answer = await entities(world, {"__typename": "Model", "id": BERT["id"], **required})
    assert answer.data["_entities"] == [BERT_ENTITY]


async def test_a_number_as_native_id_returns_the_canonical_id(world: World) -> None:
    """Qianfan's models have a number, and most of them a text id, which is the canonical one."""
    page = await world.gateway.query(
        """{ models(first: 1, filter: {registries: ["qianfan"], ownership: OWN}) { nodes { id nativeId raw } } }"""
    )
    (model,) = page.data["models"]["nodes"]
    number = str(model["raw"]["modelId"])
    assert model["nativeId"] != number
    answer = await entities(world, {"__typename": "Model", "registryName": "qianfan", "nativeId": number})
    (found,) = answer.data["_entities"]
    assert (found["id"], found["nativeId"]) == (model["id"], model["nativeId"])


# Calls


async def test_references_to_one_object_by_different_keys_cost_one_call(world: World) -> None:
    by_id = {"__typename": "Model", "id": BERT["id"]}
    by_native_id = {"__typename": "Model", "registryName": "pai", "nativeId": BERT["nativeId"]}
    answer = await entities(world, *[by_id, by_native_id] * 50)
    assert answer.data["_entities"] == [BERT_ENTITY] * 100
    assert world.calls() == {"GetModel": 1}


async def test_references_to_many_objects_cost_one_call_each(world: World) -> None:
    ids = await models(world, 100)
    answer = await entities(world, *({"__typename": "Model", "id": id} for id in ids))
    assert [one["id"] for one in answer.data["_entities"]] == ids
    assert world.calls() == {"GetModel": 100}


async def test_entities_share_calls(world: World) -> None:
    """One reference is a model, the other a version with the same model."""
    answer = await world.gateway.query(
        """query ($representations: [_Any!]!) { _entities(representations: $representations) {
             ... on Model { name }
             ... on ModelVersion { name model { name } } } }""",
        representations=[
            {"__typename": "Model", "id": BERT["id"]},
            {"__typename": "ModelVersion", "id": f"{BERT['id']}/version/0.1.0"},
        ],
    )
    assert [one["name"] for one in answer.data["_entities"]] == ["情感分析", "0.1.0"]
    assert world.calls() == {"GetModel": 1, "GetModelVersion": 1}


async def test_a_reference_with_only_its_key_selected_is_checked_by_a_call(world: World) -> None:
    """An object that does not exist is null, so the gateway cannot just repeat the key."""
    query = """{ _entities(representations: [{__typename: "Model", registryName: "pai", nativeId: "%s"}]) {
                 ... on Model { registryName nativeId } } }"""
    there = await world.gateway.query(query % BERT["nativeId"])
    assert there.data["_entities"] == [{"registryName": "pai", "nativeId": BERT["nativeId"]}]
    assert (await world.gateway.query(query % "model-none")).data["_entities"] == [None]
    assert world.calls() == {"GetModel": 2}


async def test_a_thousand_references_cost_one_call_for_each_object(world: World) -> None:
    ids = (await models(world, 20)) * 50
    answer = await entities(world, *({"__typename": "Model", "id": id} for id in ids))
    assert [one["id"] for one in answer.data["_entities"]] == ids
    assert world.calls() == {"GetModel": 20}


# Invalid references

INVALID: dict[str, tuple[Any, str]] = {
    "a number": (3, "BAD_USER_INPUT"),
    "text": ("Model", "BAD_USER_INPUT"),
    "a list": ([{"__typename": "Model", "id": BERT["id"]}], "BAD_USER_INPUT"),
    "no type": ({"id": BERT["id"]}, "BAD_USER_INPUT"),
    "an unknown type": ({"__typename": "Nothing", "id": BERT["id"]}, "BAD_USER_INPUT"),
    "a type that is not an entity": ({"__typename": "Registry", "name": "pai"}, "BAD_USER_INPUT"),
    "the root type": ({"__typename": "Query"}, "BAD_USER_INPUT"),
    "a type that is not text": ({"__typename": ["Model"], "id": BERT["id"]}, "BAD_USER_INPUT"),
    "no key": ({"__typename": "Model"}, "BAD_USER_INPUT"),
    "a key of null": ({"__typename": "Model", "id": None}, "BAD_USER_INPUT"),
    "a key that is a number": ({"__typename": "Model", "id": 7}, "BAD_USER_INPUT"),
    "a key that is an object": ({"__typename": "Model", "id": {"id": BERT["id"]}}, "BAD_USER_INPUT"),
    "half a key": ({"__typename": "Model", "registryName": "pai"}, "BAD_USER_INPUT"),
    "half a key of null": ({"__typename": "Model", "registryName": "pai", "nativeId": None}, "BAD_USER_INPUT"),
    "a key of another type": (
        {"__typename": "ModelVersion", "registryName": "pai", "nativeId": "0.1.0"},
        "BAD_USER_INPUT",
    ),
    "an id of another system": ({"__typename": "Model", "id": "TW9kZWw6MQ=="}, "INVALID_ID"),
    "an id of another type": ({"__typename": "Algorithm", "id": BERT["id"]}, "INVALID_ID"),
    "the id of another registry": ({"__typename": "Model", "id": "aws:model/1"}, "INVALID_ID"),
    "another registry": ({"__typename": "Model", "registryName": "aws", "nativeId": "1"}, "INVALID_ID"),
    "a registry with a path": (
        {"__typename": "Model", "registryName": "pai:model/a/version", "nativeId": "1"},
        "INVALID_ID",
    ),
    "a native id with a parent path": (
        {"__typename": "Model", "registryName": "pai", "nativeId": "../x"},
        "INVALID_ID",
    ),
    "a native id of a version": (
        {"__typename": "Model", "registryName": "pai", "nativeId": "model-rbvg5wzljzjhc9ks92/version/0.1.0"},
        "INVALID_ID",
    ),
    "a very long native id": ({"__typename": "Model", "registryName": "pai", "nativeId": "m" * 5000}, "INVALID_ID"),
}


@pytest.mark.parametrize("case", INVALID)
async def test_an_invalid_reference_is_null_with_one_error(world: World, case: str) -> None:
    invalid, code = INVALID[case]
    valid = {"__typename": "Model", "id": BERT["id"]}
    answer = await entities(world, valid, invalid, valid)
    assert answer.body["data"]["_entities"] == [BERT_ENTITY, None, BERT_ENTITY]
    assert [(error["path"], error["extensions"]["code"]) for error in answer.body["errors"]] == [
        (["_entities", 1], code)
    ]
    assert len(str(answer.body)) < 1500
    assert world.calls() == {"GetModel": 1}


async def test_a_repeated_invalid_reference_has_an_error_for_each_place(world: World) -> None:
    assert await errors_of(world, {"__typename": "Model", "id": "x"}, {"__typename": "Model", "id": "x"}) == [
        (["_entities", 0], "INVALID_ID"),
        (["_entities", 1], "INVALID_ID"),
    ]


async def test_a_reference_to_a_missing_object_is_null_without_an_error(world: World) -> None:
    answer = await entities(
        world,
        {"__typename": "Model", "id": "pai:model/model-none"},
        {"__typename": "Model", "registryName": "qianfan", "nativeId": "am-none"},
        {"__typename": "ModelVersion", "id": f"{BERT['id']}/version/9.9.9"},
        {"__typename": "Model", "id": BERT["id"]},
    )
    assert answer.data["_entities"] == [None, None, None, BERT_ENTITY]


async def test_a_failing_registry_affects_only_its_own_references(world: World) -> None:
    world.qianfan.faults.replace({"*": {"drop": "before"}})
    preset = {"__typename": "Model", "registryName": "qianfan", "nativeId": "5862"}
    answer = await entities(world, preset, {"__typename": "Model", "id": BERT["id"]}, preset)
    assert answer.body["data"]["_entities"] == [None, BERT_ENTITY, None]
    assert [(error["path"], error["extensions"]["code"]) for error in answer.body["errors"]] == [
        (["_entities", 0], "REGISTRY_UNREACHABLE"),
        (["_entities", 2], "REGISTRY_UNREACHABLE"),
    ]
    assert "127.0.0.1" not in str(answer.body)
    assert world.calls()["modelDetail"] == 1


async def test_too_many_references_are_refused_without_a_call(world: World) -> None:
    one = {"__typename": "Model", "id": BERT["id"]}
    most = LimitsSettings().references
    assert len((await entities(world, *[one] * most)).data["_entities"]) == most
    world.calls()
    answer = await entities(world, *[one] * (most + 1))
    assert (answer.body["data"], answer.codes) == (None, ["BAD_USER_INPUT"])
    assert world.calls() == {}


# The schema


async def test_the_service_field_has_the_published_schema(world: World) -> None:
    sdl = (await world.gateway.query("{ _service { sdl } }")).data["_service"]["sdl"]
    assert sdl == (await world.gateway.request("GET", "/schema.graphql")).body
    assert 'type Model implements Node @cacheControl(maxAge: 120, scope: PRIVATE) @key(fields: "id")' in sdl
    assert world.calls() == {}


async def test_introspection_has_the_published_schema(world: World) -> None:
    introspected = build_client_schema((await world.gateway.query(INTROSPECTION)).data)
    published = build_schema((await world.gateway.request("GET", "/schema.graphql")).body)
    assert validate_schema(introspected) == validate_schema(published) == []
    assert find_schema_changes(introspected, published) == find_schema_changes(published, introspected) == []


DEAD = [
    ("Model", "pai:model/model-none"),
    ("Model", "qianfan:model/am-none"),
    ("ModelVersion", f"{BERT['id']}/version/9.9.9"),
    ("ModelVersion", "pai:model/model-none/version/0.1.0"),
    ("ModelVersion", "qianfan:model/am-none/version/amv-none"),
    ("Algorithm", "pai:algorithm/algo-none"),
    ("Algorithm", "qianfan:algorithm/None:SFT:LoRA"),
    ("AlgorithmVersion", f"{ALGORITHM['id']}/version/v9"),
    ("AlgorithmVersion", "pai:algorithm/algo-none/version/v0.0.1"),
]


@pytest.mark.parametrize("selection", ["__typename", "... on {} {{ id }}", "... on {} {{ registryName name }}"])
async def test_an_entity_that_does_not_exist_is_null_whatever_is_selected(world: World, selection: str) -> None:
    """Also if only its key is selected: an entity with its key alone would look as if it existed."""
    for entity, id in DEAD:
        query = "query ($refs: [_Any!]!) { _entities(representations: $refs) { %s } }"
        answer = await world.gateway.query(query % selection.format(entity), refs=[{"__typename": entity, "id": id}])
        assert answer.data == {"_entities": [None]}, id
