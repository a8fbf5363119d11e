"""Responses when a registry fails: the data of the healthy registry, and the error of the other."""

from typing import Any

import pytest

from tests.conftest import World, two_clouds

LIST = "{ models(first: 5) { nodes { id registryName } } }"
LIST_WITH_COVERAGE = """{ models(first: 5) { nodes { registryName } totalCount
  coverage { registry { name status { state } } state totalCount age error { code retryable requestId } } } }"""
MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'

DOWN = {"*": {"drop": "before"}}

FAULTS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "refused by status 500": ({"status": 500, "error": "InternalError"}, "REGISTRY_UNAVAILABLE", True),
    "not available": ({"status": 503, "error": "ServiceUnavailable"}, "REGISTRY_UNAVAILABLE", True),
    "bad gateway in HTML": (
        {"status": 502, "body": "<html>Bad Gateway</html>", "content_type": "text/html"},
        "REGISTRY_UNAVAILABLE",
        True,
    ),
    "throttled with 429": ({"status": 429, "error": "Throttling.User"}, "REGISTRY_THROTTLED", True),
    "throttled with 400": ({"status": 400, "error": "Throttling.User"}, "REGISTRY_THROTTLED", True),
    "forbidden": ({"status": 403, "error": "NoPermission"}, "REGISTRY_FORBIDDEN", False),
    "expired token": ({"status": 400, "error": "InvalidSecurityToken.Expired"}, "REGISTRY_UNAUTHENTICATED", False),
    "wrong parameter": ({"status": 400, "error": "InvalidParameter"}, "REGISTRY_REJECTED", False),
    "dropped before the answer": ({"drop": "before"}, "REGISTRY_UNREACHABLE", True),
    "dropped in the body": ({"drop": "body"}, "REGISTRY_UNREACHABLE", True),
    "HTML with status 200": ({"body": "<html>hello</html>", "content_type": "text/html"}, "REGISTRY_BAD_ANSWER", False),
    "broken JSON": ({"body": '{"Models": ['}, "REGISTRY_BAD_ANSWER", False),
    "JSON that is no object": ({"body": "[1, 2]"}, "REGISTRY_BAD_ANSWER", False),
    "nothing": ({"body": ""}, "REGISTRY_BAD_ANSWER", False),
    "truncated gzip": ({"truncated_gzip": True}, "REGISTRY_BAD_ANSWER", False),
    "gzip bomb": ({"gzip_bomb": 50_000_000}, "REGISTRY_ANSWER_TOO_LARGE", False),
    "redirect": ({"redirect": "http://127.0.0.1:9/"}, "REGISTRY_BAD_ANSWER", False),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_each_fault_has_its_code_and_does_not_affect_the_other_registry(world: World, case: str) -> None:
    fault, code, retryable = FAULTS[case]
    world.pai.faults.replace({"GetModel": fault, "ListModels": fault})

    single = await world.gateway.query(MODEL)
    assert single.status == 200
    assert single.body["data"] == {"model": None}
    assert [error["path"] for error in single.body["errors"]] == [["model"]]
    extensions = single.body["errors"][0]["extensions"]
    assert (extensions["code"], extensions["registry"], extensions["retryable"]) == (code, "pai", retryable)

    models = (await world.gateway.query(LIST_WITH_COVERAGE)).data["models"]
    assert {node["registryName"] for node in models["nodes"]} == {"qianfan"}
    assert models["totalCount"] is None
    broken, whole = models["coverage"]
    assert (broken["state"], broken["error"]["code"], broken["error"]["retryable"]) == ("UNAVAILABLE", code, retryable)
    assert broken["registry"] == {"name": "pai", "status": {"state": "UNAVAILABLE"}}
    assert (whole["state"], whole["error"], whole["registry"]["name"]) == ("COMPLETE", None, "qianfan")


@pytest.mark.parametrize("case", FAULTS)
async def test_no_response_contains_hosts_secrets_or_stack_traces(world: World, case: str) -> None:
    world.pai.faults.replace({"*": FAULTS[case][0] | {"message": "string to sign: GET\n/api/v1 secret"}})
    for query in (MODEL, LIST):
        text = str((await world.gateway.query(query)).body)
        for leak in (world.pai.url, "127.0.0.1", "aliyuncs", "test-access-key", "Traceback", "aiohttp", "to sign"):
            assert leak not in text


async def test_a_list_without_coverage_has_an_error_beside_its_data(world: World) -> None:
    world.pai.faults.replace(DOWN)
    answer = await world.gateway.query(LIST)
    assert {node["registryName"] for node in answer.body["data"]["models"]["nodes"]} == {"qianfan"}
    assert [(error["path"], error["extensions"]["registry"]) for error in answer.body["errors"]] == [
        (["models"], "pai")
    ]


async def test_a_list_with_status_404_is_rejected_and_not_empty(world: World) -> None:
    world.qianfan.faults.replace({"*": {"status": 404}})
    answer = await world.gateway.query("{ models { nodes { registryName } } }")
    assert answer.codes == ["REGISTRY_REJECTED"]
    assert {node["registryName"] for node in answer.body["data"]["models"]["nodes"]} == {"pai"}


async def test_a_list_is_null_with_an_error_if_every_registry_fails(world: World) -> None:
    world.pai.faults.replace(DOWN)
    world.qianfan.faults.replace(DOWN)
    answer = await world.gateway.query(LIST_WITH_COVERAGE)
    assert answer.body["data"] == {"models": None}
    assert answer.codes == ["NO_REGISTRY_ANSWERED"]
    assert {one["code"] for one in answer.body["errors"][0]["extensions"]["registries"]} == {"REGISTRY_UNREACHABLE"}


async def test_a_failed_field_of_an_object_leaves_the_other_fields(world: World) -> None:
    world.pai.faults.replace({"ListModelVersions": {"status": 503, "error": "ServiceUnavailable"}})
    answer = await world.gateway.query(MODEL.replace("name", "name versions { nodes { name } }"))
    assert answer.body["data"]["model"] == {"name": "情感分析", "versions": None}
    assert answer.body["errors"][0]["path"] == ["model", "versions"]


async def test_an_error_has_the_vendors_request_id_and_retry_time(world: World) -> None:
    world.pai.faults.replace(
        {"GetModel": {"status": 429, "error": "Throttling.User", "headers": {"x-acs-retry-after": "1500"}}}
    )
    extensions = (await world.gateway.query(MODEL)).body["errors"][0]["extensions"]
    assert extensions["retryAfter"] == 1.5
    assert extensions["vendorCode"] == "Throttling.User"
    assert len(extensions["requestId"]) == 36


async def test_a_missing_or_failing_object_of_nodes_affects_only_its_own_item(world: World) -> None:
    world.qianfan.faults.replace({"modelDetail": {"drop": "before"}})
    answer = await world.gateway.query(
        """{ nodes(ids: ["pai:model/model-rbvg5wzljzjhc9ks92", "pai:model/model-none", "qianfan:model/5862",
                        "nonsense", "pai:algorithm/algo-xsldfvu1334"]) { id } }"""
    )
    assert answer.body["data"]["nodes"] == [
        {"id": "pai:model/model-rbvg5wzljzjhc9ks92"},
        None,
        None,
        None,
        {"id": "pai:algorithm/algo-xsldfvu1334"},
    ]
    assert [(error["path"], error["extensions"]["code"]) for error in answer.body["errors"]] == [
        (["nodes", 2], "REGISTRY_UNREACHABLE"),
        (["nodes", 3], "INVALID_ID"),
    ]


async def test_an_object_that_does_not_exist_is_null_without_an_error(world: World) -> None:
    answer = await world.gateway.query(
        """{ pai: model(id: "pai:model/model-none") { id versions { nodes { id } } }
             qianfan: model(id: "qianfan:model/am-none") { id }
             version: modelVersion(id: "pai:model/model-rbvg5wzljzjhc9ks92/version/9.9.9") { id }
             named: model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { version(name: "9.9.9") { id } }
             other: modelVersion(id: "qianfan:model/am-gggg4444hhhh/version/amv-sxw7xk1a4jk0") { name } }"""
    )
    assert answer.data == {"pai": None, "qianfan": None, "version": None, "named": {"version": None}, "other": None}


HOSTILE = ["a/b", "..", ".", "%2e%2e", "a?b", "a#b", "a\r\nHost: x", "a\x00b", "x" * 10_000, "", " ", "a%2Fb", "é/../x"]


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("registry", ["pai", "qianfan", "nowhere"])
async def test_a_hostile_id_is_refused_and_nothing_is_sent(world: World, registry: str, key: str) -> None:
    ids = [f"{registry}:model/{key}", f"{registry}:model/m/version/{key}", f"{registry}:algorithm/{key}", key]
    for text in ids:
        answer = await world.gateway.query(
            "query ($id: ID!) { node(id: $id) { id } model(id: $id) { id } nodes(ids: [$id]) { id } }", id=text
        )
        assert answer.body["data"] == {"node": None, "model": None, "nodes": [None]}
        assert answer.codes == ["INVALID_ID"] * 3
        assert len(str(answer.body)) < 3000
    assert world.calls() == {}


async def test_an_id_of_another_type_is_refused(world: World) -> None:
    answer = await world.gateway.query('{ model(id: "pai:algorithm/algo-xsldfvu1334") { id } }')
    assert answer.codes == ["INVALID_ID"]
    assert world.calls() == {}


async def test_a_registry_that_hangs_ends_with_its_timeout() -> None:
    async with two_clouds(timeout=1.0) as world:
        world.pai.faults.replace({"*": {"hang": True}})
        models = (await world.gateway.query(LIST_WITH_COVERAGE)).data["models"]
        assert [(one["state"], one["error"] and one["error"]["code"]) for one in models["coverage"]] == [
            ("UNAVAILABLE", "REGISTRY_TIMEOUT"),
            ("COMPLETE", None),
        ]


async def test_a_slow_response_ends_with_the_timeout_of_the_registry() -> None:
    async with two_clouds(timeout=1.0) as world:
        world.pai.faults.replace({"GetModel": {"drip": 10}})
        assert (await world.gateway.query(MODEL)).codes == ["REGISTRY_TIMEOUT"]


async def test_a_recovered_registry_is_called_again(world: World) -> None:
    world.pai.faults.replace({"GetModel": {"status": 503, "error": "ServiceUnavailable", "times": 1}})
    assert (await world.gateway.query(MODEL)).codes == ["REGISTRY_UNAVAILABLE"]
    assert (await world.gateway.query(MODEL)).data == {"model": {"name": "情感分析"}}
