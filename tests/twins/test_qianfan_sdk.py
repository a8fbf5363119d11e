"""Baidu's SDK against the Qianfan twin: v1, v2 and fine-tuning."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import qianfan
from qianfan.errors import APIError, RequestError
from qianfan.resources import Model
from qianfan.resources.console.finetune import FineTune
from qianfan.resources.console.utils import call_action

from gateway.twins import QianfanModel, Twins

PAGES = Path(__file__).parent / "pages"
PRESET, USER = "PlatformPreset", "UserCreate"

pytestmark = pytest.mark.usefixtures("qianfan_sdk")


async def result(method: Any, *arguments: Any, **named: Any) -> Any:
    """Call a synchronous method of the SDK in a thread and return its result."""
    answer = await asyncio.to_thread(method, *arguments, **named)
    assert answer.code == 200
    assert "error_code" not in answer.body
    return answer.body["result"]


def ids(rows: list[QianfanModel]) -> list[str]:
    return [row.id for row in rows]


def partition(twins: Twins, source: str) -> list[QianfanModel]:
    return list(twins.corpus.qianfan_models.partition(source))


async def test_every_call_is_accepted(twins: Twins) -> None:
    preset, version = "am-ju3hi4ts39u9", "amv-qb8ijukaish3"
    assert (await result(Model.list, preset))["modelName"] == "ERNIE-Bot-turbo"
    assert (await result(Model.detail, version))["params"]["input"]["required"] == ["messages"]
    assert (await result(Model.user_list))["total"] == len(partition(twins, USER))
    assert (await result(Model.preset_list))["total"] == len(partition(twins, PRESET))
    assert len((await result(Model.V2.describe_custom_model_sets))["customModelSetList"]) == 10
    assert len((await result(Model.V2.describe_system_model_sets))["systemModelSetList"]) == 10
    assert (await result(Model.V2.describe_model_set, model_set_id=preset))["source"] == "System"
    assert (await result(Model.V2.describe_model, version))["modelSetId"] == preset
    for action, given in (("DescribeSystemModelSet", "modelSetId"), ("DescribeSystemModel", "modelId")):
        wanted = {"modelSetId": preset, "modelId": version}[given]
        described = await result(call_action, "/v2/model", action, {given: wanted})
        assert described["modelSetId"] == preset
    assert len(await result(FineTune.V2.supported_models)) > 5
    assert (await result(FineTune.V2.task_detail, "task-aaaa1111bbbb"))["runStatus"] == "Done"
    assert set(twins.calls.values()) == {1}
    assert len(twins.calls) == 12


async def test_the_documented_model_example_is_returned_unchanged() -> None:
    page = json.loads((PAGES / "qianfan_model_detail.json").read_bytes())
    assert await result(Model.list, 5862) == page["result"]


async def test_v2_finds_model_5862_by_its_text_ids() -> None:
    described = await result(Model.V2.describe_model_set, model_set_id="am-txtetx0pq9sb")
    assert (described["modelSetName"], described["modelIds"]) == ("强化_bloom", ["amv-sxw7xk1a4jk0"])
    version = await result(Model.V2.describe_model, "amv-sxw7xk1a4jk0")
    task = await result(FineTune.V2.task_detail, version["sourceInfo"]["trainTaskId"])
    assert (version["model"], task["model"]) == ("BLOOMZ-7B", "BLOOMZ-7B")
    items = (await result(Model.user_list, page_size=100))["items"]
    assert [item["modelId"] for item in items if "modelIdStr" not in item] == [5862]


async def test_a_model_is_found_by_numeric_and_by_text_id(twins: Twins) -> None:
    row = partition(twins, USER)[-1]
    by_text, by_number = await result(Model.list, row.id), await result(Model.list, row.head["modelId"])
    assert by_text == by_number == row.detail


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_all_pages_of_the_user_list_together_are_the_corpus(twins: Twins, order: str) -> None:
    walked: list[int] = []
    while True:
        page = await result(
            Model.user_list, page_no=len(walked) // 20 + 1, page_size=20, order_by="create_time", order=order
        )
        walked += [item["modelId"] for item in page["items"]]
        if len(page["items"]) < 20:
            break
    rows = [row.head["modelId"] for row in partition(twins, USER)]
    assert walked == (rows if order == "asc" else rows[::-1])
    assert page["total"] == len(rows)


async def test_a_page_past_the_end_is_empty_with_the_right_total(twins: Twins) -> None:
    page = await result(Model.user_list, page_no=99)
    assert page == {"total": len(partition(twins, USER)), "items": []}


async def test_user_models_are_filtered_by_name_and_type_and_ordered_by_name(twins: Twins) -> None:
    rows = partition(twins, USER)
    named = await result(Model.user_list, name_filter="POSTER", page_size=100)
    assert {item["modelId"] for item in named["items"]} == {
        row.head["modelId"] for row in rows if "poster" in row.head["modelName"]
    }
    typed = await result(Model.user_list, model_type=[1, 4], page_size=100)
    assert {item["modelType"] for item in typed["items"]} == {1, 4}
    assert typed["total"] == sum(row.head["modelType"] in (1, 4) for row in rows)
    ordered = await result(Model.user_list, order_by="model_name", order="asc", page_size=100)
    names = [item["modelName"] for item in ordered["items"]]
    assert names == sorted(row.head["modelName"] for row in rows)


@pytest.mark.parametrize(
    ("parameter", "value", "matches"),
    [
        ("model_version_vendor", "Meta", lambda row: row.listed.get("modelProviders") == ["Meta"]),
        ("language_support", "en", lambda row: "en" in (row.head.get("languageSupport") or ())),
        ("expansion", "32k", lambda row: "32k" in (row.head.get("expansion") or ())),
        ("ctx_length", "8k", lambda row: any(version.get("ioLength") == "7K+1K" for version in row.versions)),
    ],
)
async def test_preset_models_are_filtered(twins: Twins, parameter: str, value: str, matches: Any) -> None:
    answer = await result(Model.preset_list, page_size=100, **{parameter: [value]})
    expected = [row.id for row in partition(twins, PRESET) if matches(row)]
    assert expected
    assert sorted(item["modelIdStr"] for item in answer["items"]) == sorted(expected)


async def test_list_items_omit_the_fields_that_the_cloud_omits(twins: Twins) -> None:
    user = (await result(Model.user_list, page_size=100))["items"]
    assert not any({"description", "modifyTime"} & set(item) for item in user)
    assert all((item["latestVersionInfo"] is None) == (item["versionCount"] == 0) for item in user)
    assert any(item["versionCount"] == 0 for item in user)
    preset = (await result(Model.preset_list, page_size=100))["items"]
    assert not any({"createTime", "state"} & set(item) for item in preset)
    assert any(len(item["versionSummaries"]) > 1 for item in preset)


@pytest.mark.parametrize("source", [USER, PRESET])
async def test_pages_by_marker_together_are_the_corpus_newest_first(twins: Twins, source: str) -> None:
    describe, name = {
        USER: (Model.V2.describe_custom_model_sets, "customModelSetList"),
        PRESET: (Model.V2.describe_system_model_sets, "systemModelSetList"),
    }[source]
    walked: list[str] = []
    marker = None
    while True:
        page = await result(describe, marker=marker, max_keys=7)
        walked += [found["modelSetId"] for found in page[name]]
        if not page["pageInfo"]["isTruncated"]:
            break
        marker = page["pageInfo"]["nextMarker"]
    assert "nextMarker" not in page["pageInfo"]
    assert walked == ids(partition(twins, source))[::-1]


async def test_max_keys_is_capped_and_a_reversed_page_is_oldest_first(twins: Twins) -> None:
    page = await result(Model.V2.describe_custom_model_sets, max_keys=500, page_reverse=True)
    assert page["pageInfo"]["maxKeys"] == 100
    assert [found["modelSetId"] for found in page["customModelSetList"]] == ids(partition(twins, USER))[:100]


async def test_v1_and_v2_have_the_same_models(twins: Twins) -> None:
    for row in partition(twins, USER)[-12:]:
        described = await result(Model.V2.describe_model_set, model_set_id=row.id)
        assert await result(Model.V2.describe_model_set, model_set_name=row.head["modelName"]) == described
        assert described["modelNames"] == [version["version"] for version in row.versions]
        for version_id, version in zip(described["modelIds"], row.versions, strict=True):
            model = await result(Model.V2.describe_model, version_id)
            detail = await result(Model.detail, version_id)
            assert model["createTime"] == detail["createTime"] == version["createTime"]
            assert ("trainTaskId" in model["sourceInfo"]) == (version["sourceType"] == "Train")


async def test_every_trained_version_refers_to_a_recipe_of_the_fine_tuning_catalogue(twins: Twins) -> None:
    catalogue = await result(FineTune.V2.supported_models)
    known = {
        (entry["model"], mode["trainMode"], scale["parameterScale"])
        for entry in catalogue
        for mode in entry["supportTrainMode"] or ()
        for scale in mode["supportParameterScale"]
    }
    joined = set()
    for row in twins.corpus.qianfan_models:
        for version in row.versions:
            extra = version["sourceExtra"]
            parsed = json.loads(extra) if isinstance(extra, str) and extra else extra
            if run := (parsed or {}).get("trainSourceExtra", {}).get("runIdStr"):
                task = twins.corpus.task(run)
                assert task is not None
                joined.add((task["model"], task["trainMode"], task["parameterScale"]))
    assert len(joined) > 8
    assert joined <= known
    last = await result(FineTune.V2.task_detail, run or "task-am9st8hyntpm")
    assert (last["model"], last["trainMode"], last["parameterScale"]) in known


async def test_the_catalogue_has_every_type_of_parameter_check(twins: Twins) -> None:
    kinds = {
        config["checkType"]
        for entry in await result(FineTune.V2.supported_models)
        for mode in entry["supportTrainMode"] or ()
        for scale in mode["supportParameterScale"]
        for config in scale["supportHyperParameterConfig"]
    }
    assert kinds == {"range", "choice", "mult_choice"}


@pytest.mark.parametrize("unknown", [1, "am-doesnotexist", "amv-sxw7xk1a4jk0"])
async def test_an_unknown_model_is_an_error_code_with_status_200(unknown: int | str) -> None:
    with pytest.raises(APIError) as refused:
        await result(Model.list, unknown)
    assert refused.value.error_code == 500004


@pytest.mark.parametrize(
    "parameters",
    [{"page_size": 101}, {"page_no": 0}, {"order_by": "createTime"}, {"order": "up"}, {"model_type": ["0"]}],
    ids=lambda parameters: ",".join(parameters),
)
async def test_invalid_parameters_have_the_v1_error_code(parameters: dict[str, Any]) -> None:
    with pytest.raises(APIError) as refused:
        await result(Model.user_list, **parameters)
    assert refused.value.error_code == 336003


async def test_wrong_credentials_and_unknown_v2_ids_are_request_errors() -> None:
    with pytest.raises(RequestError) as refused:
        await result(Model.V2.describe_model, "amv-doesnotexist")
    assert refused.value.status_code == 404
    qianfan.get_config().SECRET_KEY = "not-the-secret"
    with pytest.raises(RequestError) as refused:
        await result(Model.list, 5862)
    assert refused.value.status_code == 403
    qianfan.get_config().ACCESS_KEY = "nobody"
    with pytest.raises(RequestError) as refused:
        await result(Model.list, 5862)
    assert refused.value.status_code == 403
