"""One odd value in a registry's answer costs that value: the rest of the page stands."""

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.answering import answering
from tests.conftest import qianfan
from tests.upstream.raw_registry import response

NAMES = ("ModelName", "ModelDescription")
LIST = "{ models(first: 10, filter: {ownership: OWN}) { nodes { id name description } totalCount } }"


def model(number: int, **properties: Any) -> str:
    return json.dumps({"ModelId": f"model-{number}", "ModelName": f"model {number}", **properties})


def page(*models: str, total: str = "") -> bytes:
    return f'{{"Models":[{",".join(models)}],"TotalCount":{total or len(models)}}}'.encode()


def models_or_nothing(body: bytes) -> Callable[[str], bytes]:
    """Return the body for the list of the account's own models, and an empty list for the public ones."""
    return lambda target: response(page() if "Provider=pai" in target else body)


FIVE = [model(number) for number in range(5)]


def nested(levels: int, kind: str = "{") -> str:
    return '{"a":' * levels + "1" + "}" * levels if kind == "{" else "[" * levels + "]" * levels


def with_value(text: str, key: str = "ModelName") -> list[str]:
    """Return five models, the third of which has a value with this JSON text."""
    return [*FIVE[:2], model(2, **{key: "@"}).replace('"@"', text), *FIVE[3:]]


TEXTS: Mapping[str, tuple[bytes, str]] = {
    "the first half of a surrogate pair": (rb'"a\ud83d"', "a\ufffd"),
    "the second half of a surrogate pair": (rb'"\ude00b"', "\ufffdb"),
    "both halves in the wrong order": (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
    "a pair beside half a pair": (rb'"\ud83d\ude00\ud83d"', "\U0001f600\ufffd"),
    "bytes that are not UTF-8": (b'"caf\xe9"', "caf\ufffd"),
    "a line break in a string": (b'"a\nb"', "a\nb"),
    "not a number": (b"NaN", "NaN"),
    "infinity": (b"-Infinity", "-Infinity"),
    "a number beyond a double": (b"1e400", "1e400"),
    "an integer of many digits": (b"123456789012345678901234567890", "123456789012345678901234567890"),
}


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("key", NAMES)
@pytest.mark.parametrize("case", TEXTS)
async def test_a_text_with_an_odd_value_is_readable_and_its_page_stands(case: str, key: str, cache: bool) -> None:
    sent, expected = TEXTS[case]
    body = page(*with_value('"@@"', key)).replace(b'"@@"', sent)
    async with answering(models_or_nothing(body), cache=cache) as gateway:
        for _ in range(2):
            answer = await gateway.query(LIST)
            rows = answer.data["models"]["nodes"]
            assert [row["id"] for row in rows] == [f"pai:model/model-{number}" for number in range(5)]
            assert rows[2][{"ModelName": "name", "ModelDescription": "description"}[key]] == expected
            assert [row["name"] for row in (*rows[:2], *rows[3:])] == ["model 0", "model 1", "model 3", "model 4"]


RAW = "{ models(first: 10, filter: {ownership: OWN}) { nodes { name raw extra } } }"


async def test_raw_names_the_members_that_are_not_verbatim() -> None:
    odd = model(2, ModelName="@", Extra={"deep": ["@"], "fine": 1}).replace("@", r"\ud83d")
    async with answering(models_or_nothing(page(*FIVE[:2], odd))) as gateway:
        rows = (await gateway.query(RAW)).data["models"]["nodes"]
    assert rows[0]["raw"] == {"ModelId": "model-0", "ModelName": "model 0"}
    assert rows[2]["raw"] == {
        "ModelId": "model-2",
        "ModelName": "\ufffd",
        "Extra": {"deep": ["\ufffd"], "fine": 1, "$replaced": ["deep"]},
        "$replaced": ["ModelName", "Extra"],
    }


async def test_odd_names_of_members_stay_apart() -> None:
    odd = model(2, Extra={}).replace("{}", r'{"\ud83d": 1, "\ud83e": 2}')
    async with answering(models_or_nothing(page(odd))) as gateway:
        [row] = (await gateway.query(RAW)).data["models"]["nodes"]
    assert row["raw"]["Extra"] == {"\ufffd": 1, "\ufffd\ufffd": 2, "$replaced": ["\ufffd", "\ufffd\ufffd"]}


@pytest.mark.parametrize("kind", ["{", "["])
@pytest.mark.parametrize("levels", [120, 200, 254, 300, 1000, 1030, 20_000])
async def test_a_value_nested_deeply_is_cut_and_its_page_stands(levels: int, kind: str) -> None:
    body = page(*with_value(nested(levels, kind), "Extra"))
    async with answering(models_or_nothing(body), cache=True) as gateway:
        assert [row["name"] for row in (await gateway.query(LIST)).data["models"]["nodes"]] == [
            f"model {number}" for number in range(5)
        ]
        rows = (await gateway.query(RAW)).data["models"]["nodes"]
    extra = rows[2]["raw"]["Extra"]
    innermost, depth = extra, 0
    while isinstance(innermost, (dict, list)) and innermost:
        innermost, depth = innermost["a"] if isinstance(innermost, dict) else innermost[0], depth + 1
    if levels == 120:
        assert "$replaced" not in rows[2]["raw"]
    else:
        assert rows[2]["raw"]["$replaced"] == ["Extra"]
        assert innermost == nested(levels - depth, kind)
    assert "$replaced" not in rows[1]["raw"]


async def test_json_in_a_text_may_be_as_odd_as_any_other() -> None:
    version = {"VersionName": "1", "Metrics": nested(300), "Options": r'{"a": NaN, "b": "\ud83d", "c": 1}'}
    body = json.dumps({"Versions": [version], "TotalCount": 1}).encode()

    def answer(target: str) -> bytes:
        return response(body if "/versions" in target else model(1).encode())

    async with answering(answer, cache=True) as gateway:
        query = '{ model(id: "pai:model/model-1") { name versions { nodes { name options metrics raw } } } }'
        found = (await gateway.query(query)).data["model"]
    [node] = found["versions"]["nodes"]
    assert (found["name"], node["name"]) == ("model 1", "1")
    assert node["options"] == {"a": "NaN", "b": "\ufffd", "c": 1, "$replaced": ["a", "b"]}
    assert node["metrics"]["$replaced"] == ["a"]
    assert node["raw"] == version


NUMBERS = ("9223372036854775807000000", "1e400", "NaN", "-Infinity", "9223372036854775808", "1e30", "1.5")


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_number_out_of_range_is_null_with_an_error_at_its_path(number: str) -> None:
    body = page(*with_value(number, "ParameterSize"))
    query = "{ models(first: 10, filter: {ownership: OWN}) { nodes { name parameterCount } } }"
    async with answering(models_or_nothing(body), cache=True) as gateway:
        for _ in range(2):
            answer = await gateway.query(query)
            assert answer.body["data"]["models"]["nodes"] == [
                {"name": f"model {row}", "parameterCount": None} for row in range(5)
            ]
            assert answer.codes == ["REGISTRY_BAD_VALUE"]
            assert answer.body["errors"][0]["path"] == ["models", "nodes", 2, "parameterCount"]


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
async def test_a_metric_that_is_no_finite_number_is_null_with_an_error(number: str) -> None:
    results = [{"Dataset": {}, "Metrics": {"loss": "@", "accuracy": 0.5}}]
    detail = json.dumps({"VersionName": "1", "Metrics": {"Results": results}}).replace('"@"', number)
    query = """{ modelVersion(id: "pai:model/model-1/version/1") {
        name metrics evaluations { metrics { name value } } } }"""
    async with answering(lambda target: response(detail.encode())) as gateway:
        answer = await gateway.query(query)
    found = answer.body["data"]["modelVersion"]
    assert found["metrics"]["Results"][0]["Metrics"] == {"loss": number, "accuracy": 0.5, "$replaced": ["loss"]}
    values = {metric["name"]: metric["value"] for metric in found["evaluations"][0]["metrics"]}
    assert values == {"loss": None, "accuracy": 0.5}
    assert answer.codes == ["REGISTRY_BAD_VALUE"]


@pytest.mark.parametrize("total", ["2147483648", "3000000000"])
async def test_a_total_beyond_an_int_costs_the_total(total: str) -> None:
    body = page(*(model(n, GmtCreateTime=f"2026-01-01T00:{59 - n:02}:00Z") for n in range(50)), total=total)
    async with answering(models_or_nothing(body)) as gateway:
        answer = await gateway.query(LIST.replace("first: 10", "first: 5"))
    assert len(answer.body["data"]["models"]["nodes"]) == 5
    assert answer.body["data"]["models"]["totalCount"] is None
    assert [(error["path"], error["extensions"]["code"]) for error in answer.body["errors"]] == [
        (["models", "totalCount"], "REGISTRY_BAD_VALUE")
    ]


async def test_an_error_with_odd_text_is_still_an_error() -> None:
    body = rb'{"Code": "Throttling\ud83d", "RequestId": "a' + b"\xff" + rb'", "Message": "\ud83d"}'
    async with answering(lambda target: response(body, status="429 Too Many Requests")) as gateway:
        answer = await gateway.query('{ model(id: "pai:model/model-1") { name } }')
    [error] = answer.body["errors"]
    assert error["extensions"] == {
        "code": "REGISTRY_THROTTLED",
        "registry": "pai",
        "retryable": True,
        "vendorCode": "Throttling\ufffd",
        "requestId": "a\ufffd",
    }


async def test_a_header_that_is_not_utf_8_costs_its_own_text() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nx-acs-request-id: caf\xe9\r\nContent-Length: 2\r\n\r\n{}"
    async with answering(lambda target: head) as gateway:
        answer = await gateway.query('{ model(id: "pai:model/model-1") { name } registries { name } }')
    assert answer.status == 200
    assert answer.body["data"] == {"model": None, "registries": [{"name": "pai"}]}
    assert answer.body["errors"][0]["extensions"]["requestId"] == "caf\ufffd"


async def test_an_odd_value_in_qianfan_costs_that_value() -> None:
    item = json.dumps({"modelId": 1, "modelIdStr": "am-1", "modelName": "@"}).replace('"@"', r'"\ud83d"')
    fine = json.dumps({"modelId": 2, "modelIdStr": "am-2", "modelName": "fine", "deep": "@"})
    body = (
        f'{{"log_id":1,"result":{{"total":2,"items":[{item},{fine.replace(chr(34) + "@" + chr(34), nested(300))}]}}}}'
    )
    empty = b'{"log_id":1,"result":{"total":0,"items":[]}}'

    def answer(target: str) -> bytes:
        return response(body.encode() if "/user/" in target else empty)

    async with answering(answer, kind=qianfan, cache=True) as gateway:
        rows = (await gateway.query("{ models(first: 10) { nodes { name } } }")).data["models"]["nodes"]
    assert sorted(row["name"] for row in rows) == ["fine", "\ufffd"]


async def test_a_compressed_page_in_several_members_is_read() -> None:
    body = page(*FIVE)
    packed = gzip.compress(body[:40]) + gzip.compress(body[40:])

    def answer(target: str) -> bytes:
        return response(page()) if "Provider=pai" in target else response(packed, "Content-Encoding: gzip")

    async with answering(answer) as gateway:
        assert len((await gateway.query(LIST)).data["models"]["nodes"]) == 5
