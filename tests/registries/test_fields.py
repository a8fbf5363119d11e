"""The conversions of field tables: values that the clouds really send, and arbitrary JSON."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.registries import pai_tables as pai
from gateway.registries import qianfan_tables as qianfan
from gateway.registries.fields import (
    NOT_PROVIDED,
    Rows,
    as_boolean,
    as_enum,
    as_integer,
    as_json,
    as_list,
    as_number,
    as_object,
    as_objects,
    as_text,
    as_time,
    at,
    gathered,
    text,
)
from tests.registries.samples import JSON, project, project_field

UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")

JSON_TEXT = JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(json.dumps(value)))


# Times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("2024-03-01T00:00:00.028Z", "2024-03-01T00:00:00.028Z"),
        ("2023-09-22T22:41:11+08:00", "2023-09-22T14:41:11Z"),
        ("2023-09-22T22:41:11.5+08:00", "2023-09-22T14:41:11.500000Z"),
        ("2023-12-07 11:40:00", "2023-12-07T03:40:00Z"),
        ("2023-12-07T11:40:00", "2023-12-07T03:40:00Z"),
        ("2024-01-01T07:59:59+08:00", "2023-12-31T23:59:59Z"),
        ("2024-03-01T00:00:00+00:00", "2024-03-01T00:00:00Z"),
        ("2024-05-20T08:30:45.123456789Z", "2024-05-20T08:30:45.123456Z"),
    ],
)
def test_a_time_is_converted_to_utc(value: str, expected: str) -> None:
    assert as_time(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "0000-00-00T00:00:00Z",
        "0000-00-00 00:00:00",
        "",
        "soon",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-03-01T25:00:00Z",
        "0001-01-01T00:00:00+08:00",
        "0001-01-01 00:00:00",
        "9999-12-31T23:59:59-01:00",
        None,
        0,
        1709251200,
        True,
        [],
        {},
    ],
    ids=repr,
)
def test_a_value_that_is_not_a_time_is_none(value: Any) -> None:
    assert as_time(value) is None


@pytest.mark.parametrize("value", ["2024-05-20", "20240520"])
def test_a_date_without_a_time_is_midnight_in_china(value: str) -> None:
    assert as_time(value) == "2024-05-19T16:00:00Z"


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES | st.just(UTC))


@given(MOMENTS, st.sampled_from(["T", " "]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_converted_time_is_the_same_instant(moment: datetime, separator: str, with_z: bool) -> None:
    value = moment.isoformat(separator)
    value = value.replace("+00:00", "Z") if with_z else value
    expected = as_time(value)
    assert expected is not None
    assert UTC_TIME.fullmatch(expected)
    assert datetime.fromisoformat(expected) == moment


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.sampled_from(["T", " "]))
@settings(max_examples=200, deadline=None)
def test_a_time_without_a_zone_is_in_the_zone_of_china(moment: datetime, separator: str) -> None:
    expected = as_time(moment.isoformat(separator))
    assert expected is not None
    assert datetime.fromisoformat(expected) == moment.replace(tzinfo=timezone(timedelta(hours=8)))


@given(JSON | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?", fullmatch=True))
@settings(max_examples=500, deadline=None)
def test_a_converted_time_is_always_valid(value: Any) -> None:
    expected = as_time(value)
    assert expected is None or UTC_TIME.fullmatch(expected)


# Free JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ("[]", []),
        ('{"signature":"serving_default"}', {"signature": "serving_default"}),
        ('{\\"a\\":1}', {"a": 1}),
        ('[{\\"MinTotalCount\\":1}]', [{"MinTotalCount": 1}]),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        (None, None),
        (7, 7),
        ("free text", "free text"),
        ("12", "12"),
        ("true", "true"),
        ('"quoted"', '"quoted"'),
        ("{not json", "{not json"),
    ],
    ids=repr,
)
def test_json_text_is_decoded(value: Any, expected: Any) -> None:
    assert as_json(value) == expected


@given(st.dictionaries(st.text(), JSON, max_size=4) | st.lists(JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_an_object_or_list_as_json_text_is_decoded(value: Any) -> None:
    assert as_json(json.dumps(value)) == value


def test_text_escaped_twice_is_decoded() -> None:
    rules = [{"RolePolicies": {"worker": {"Percentage": 100}}}]
    assert as_json(json.dumps(rules).replace('"', '\\"')) == rules


def test_only_objects_are_converted_to_objects() -> None:
    assert [as_object(value) for value in ("", "{}", '{"a":1}', {"a": 1})] == [{}, {}, {"a": 1}, {"a": 1}]
    assert [as_object(value) for value in ("[]", "x", [], 1, None, True)] == [None] * 6


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a":' * 100_000])
def test_json_text_that_is_nested_too_deeply_stays_text(value: str) -> None:
    assert as_json(value) == value


@pytest.mark.parametrize("value", ['{"a":"\\ud800"}', '{"a":123456789012345678901234567890}'])
def test_decoded_json_can_be_sent_to_a_client(value: str) -> None:
    orjson = pytest.importorskip("orjson")
    orjson.dumps(as_json(value))


# Plain values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("algo-1", "algo-1"),
        ("", None),
        (None, None),
        (123456789, "123456789"),
        (1234567890123456789, "1234567890123456789"),
        (0, "0"),
        (3e-05, "3e-05"),
        (True, "true"),
        (["self_attn.qkv_proj"], '["self_attn.qkv_proj"]'),
        ({"名": 1}, '{"名":1}'),
    ],
    ids=repr,
)
def test_text_is_unchanged_and_other_values_become_json_text(value: Any, expected: str | None) -> None:
    assert as_text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12, 12), ("12", 12), ("-3", -3), (0, 0), (True, None), ("", None), ("1.5", None), (1.5, None), (None, None)],
    ids=repr,
)
def test_integers_are_also_read_from_text(value: Any, expected: int | None) -> None:
    assert as_integer(value) == expected


def test_booleans_are_not_numbers() -> None:
    assert [as_number(value) for value in (1, 0.175, "1", True, None)] == [1.0, 0.175, None, None, None]
    assert [as_boolean(value) for value in (True, False, 1, "true", None)] == [True, False, None, None, None]


@pytest.mark.parametrize("convert", [as_text, as_integer, as_boolean, as_number, as_list, as_objects, as_object])
@given(value=JSON | JSON_TEXT)
@settings(max_examples=150, deadline=None)
def test_a_conversion_returns_its_type_or_none(convert: Any, value: Any) -> None:
    types = {as_text: str, as_integer: int, as_boolean: bool, as_number: float, as_object: dict}
    assert isinstance(convert(value), (types.get(convert, list), type(None)))


@given(value=JSON | JSON_TEXT)
@settings(max_examples=300, deadline=None)
def test_no_conversion_raises(value: Any) -> None:
    as_json(value)
    as_enum(value, {"a": "A"})
    assert at({"a": {"b": value}}, ("a", "b")) == value
    assert at(value, ("no such key", "below")) is None


@pytest.mark.parametrize("value", ["Pytorch", "PyTorch", "pytorch", "PYTORCH", "Py-Torch", "py torch", "py_torch"])
def test_all_spellings_of_a_framework_become_one_value(value: str) -> None:
    assert pai.VERSION_FIELDS["framework"].read({"FrameworkType": value}) == "PYTORCH"
    assert qianfan.VERSION_FIELDS["framework"].read({"framework": value}) == "PYTORCH"


def test_a_gathered_value_is_none_if_all_parts_are_unset() -> None:
    owner = gathered("UserId", "OwnerId", table={"id": text("UserId")})
    assert [owner.read(raw) for raw in ({}, {"UserId": ""}, {"UserId": None, "OwnerId": ""})] == [None, None, None]
    assert owner.read({"OwnerId": 0}) == {"OwnerId": 0}


# PAI


def source(**raw: Any) -> Any:
    return project_field(pai.VERSION_FIELDS["source"], raw)


def test_a_source_id_is_split_into_its_parts() -> None:
    value = source(SourceType="PAIFlow", SourceId="region=cn-shanghai, workspaceId=13,kind=PipelineRun,id=run=1")
    assert value == {
        "type": "PIPELINE",
        "type_name": "PAIFlow",
        "native_id": "run=1",
        "region": "cn-shanghai",
        "workspace_id": "13",
        "kind": "PipelineRun",
    }


@pytest.mark.parametrize("free", ["by hand", "a=b", "id=1", "kind=x", "=,=", ",", "region=cn-shanghai"])
def test_a_source_id_of_another_format_is_the_id(free: str) -> None:
    value = source(SourceType="Custom", SourceId=free)
    assert (value["type"], value["native_id"], value["region"], value["kind"]) == ("CUSTOM", free, None, None)


def test_a_version_without_a_source_has_none() -> None:
    assert source() is source(SourceType="", SourceId="") is source(SourceType=None) is None


BY_NAME = {"AlgorithmName": "llm", "AlgorithmProvider": "pai", "AlgorithmVersion": "v1"}
INLINE = {"AlgorithmSpec": {"Image": "image:1", "Command": "python train.py"}}


def trained_with(spec: Any) -> Any:
    return project_field(pai.VERSION_FIELDS["trained_with"], {"TrainingSpec": spec})


def test_a_training_by_name_is_looked_up() -> None:
    (training,) = trained_with(BY_NAME)
    assert training["method"] is training["spec"] is None
    assert training["algorithm"] == {"lookup": "algorithm", "keys": ["llm", "pai"]}
    assert training["algorithm_version"] == {"lookup": "algorithm_version", "keys": ["llm", "pai", "v1"]}


def test_a_training_by_name_needs_neither_provider_nor_version() -> None:
    (training,) = trained_with({"AlgorithmName": "llm"})
    assert training["algorithm"] == {"lookup": "algorithm", "keys": ["llm", ""]}
    assert training["algorithm_version"] is None


def test_an_inline_training_contains_its_algorithm() -> None:
    (training,) = trained_with(INLINE)
    assert training["algorithm"] is training["algorithm_version"] is training["name"] is None
    assert (training["spec"]["image"], training["spec"]["command"]) == ("image:1", ["python train.py"])


def test_trainings_with_several_methods_have_one_item_for_each_method() -> None:
    trainings = trained_with({"Standard": BY_NAME, "QLoRA_LLM": INLINE, "Scheduler": {"MaxRunningTimeInSeconds": 1}})
    assert [training["method"] for training in trainings] == ["Standard", "QLoRA_LLM"]
    assert [training["name"] for training in trainings] == ["llm", None]


def test_a_training_can_be_json_text() -> None:
    assert trained_with(json.dumps(BY_NAME)) == trained_with(BY_NAME)


def test_a_missing_training_is_none_and_an_empty_one_has_no_items() -> None:
    assert trained_with(None) is None
    assert trained_with({}) == trained_with("") == []


def test_policy_rules_are_decoded_even_if_they_are_escaped_twice() -> None:
    once = '[{"MinTotalCount":1}]'
    twice = once.replace('"', '\\"')
    assert [pai.policy_rules({"Value": value}) for value in (once, twice)] == [[{"MinTotalCount": 1}]] * 2
    assert [pai.policy_rules({"Value": value}) for value in ("", "{}", "nonsense", None)] == [None] * 4


def test_the_parameter_size_is_in_millions() -> None:
    assert [pai.parameter_count({"ParameterSize": size}) for size in (7000, "110", 0, None, "", "7B")] == [
        7_000_000_000,
        110_000_000,
        0,
        None,
        None,
        None,
    ]


def test_metrics_that_are_no_filled_object_have_no_evaluations() -> None:
    read = pai.VERSION_FIELDS["evaluations"]
    assert [project_field(read, {"Metrics": value}) for value in ({}, "", "{}", "text", [1], None)] == [None] * 6


def test_flat_metrics_are_one_evaluation_without_a_dataset() -> None:
    read = pai.VERSION_FIELDS["evaluations"]
    flat = {"dataset": None, "metrics": [{"name": "cer", "value": 1.0, "text": None}]}
    assert project_field(read, {"Metrics": {"cer": 1}}) == [flat]
    assert project_field(read, {"Metrics": '{"cer": "1"}'}) == [flat]
    assert project_field(read, {"Metrics": {"Results": [], "cer": 1}}) == [flat]
    assert project_field(read, {"Metrics": {"Results": []}}) == []
    assert project_field(read, {"Metrics": {"Results": 2}}) == [
        {"dataset": None, "metrics": [{"name": "Results", "value": 2.0, "text": None}]}
    ]


def test_numbers_in_text_are_numbers_and_other_values_are_text() -> None:
    read = pai.VERSION_FIELDS["evaluations"]
    one = {"Results": [{"Dataset": {"Train": "oss://x"}, "Metrics": {"loss": "0.1", "cer": 1}}, "nonsense"]}
    assert project_field(read, {"Metrics": one}) == [
        {
            "dataset": {"native_id": None, "uri": None},
            "metrics": [{"name": "loss", "value": 0.1, "text": None}, {"name": "cer", "value": 1.0, "text": None}],
        }
    ]
    values = {"-1.5e-3": -0.0015, " .5 ": 0.5, "7.": 7.0, "+2": 2.0, "95%": None, "1,5": None, "0x1": None, "١": None,
              "good": None, "": None, True: None, None: None}  # fmt: skip
    metrics = project_field(read, {"Metrics": {str(at): value for at, value in enumerate(values)}})[0]["metrics"]
    assert [metric["value"] for metric in metrics] == [*values.values()]
    texts = [metric["text"] for metric in metrics]
    assert texts == [None] * 4 + ["95%", "1,5", "0x1", "١", "good", None, "true", None]
    nested = project_field(read, {"Metrics": {"per class": {"a": 1}}})
    assert nested == [{"dataset": None, "metrics": [{"name": "per class", "value": None, "text": '{"a":1}'}]}]


def test_the_newest_algorithm_version_is_provided_if_the_list_is_complete_else_all_rows() -> None:
    old, new = ({"AlgorithmVersion": f"v{n}", "GmtCreateTime": f"2024-0{n}-01T00:00:00Z"} for n in (1, 2))
    for order in ([old, new], [new, old]):
        assert pai.newest_version({"AlgorithmVersions": order, "TotalCount": 2}) is new
        assert pai.newest_version({"AlgorithmVersions": order, "TotalCount": 3}).items == order
    assert pai.newest_version({"AlgorithmVersions": [], "TotalCount": 0}) is None


def test_the_newest_algorithm_version_is_found_by_milliseconds() -> None:
    old = {"AlgorithmVersion": "v1", "GmtCreateTime": "2024-03-01T00:00:00Z"}
    new = {"AlgorithmVersion": "v2", "GmtCreateTime": "2024-03-01T00:00:00.028Z"}
    assert pai.newest_version({"AlgorithmVersions": [old, new], "TotalCount": 2}) is new


def test_a_command_is_a_list_or_text() -> None:
    read = pai.ALGORITHM_SPEC["command"].read
    assert [read(raw) for raw in ({"Command": ["sh", "-c"]}, {"Command": "sh -c"}, {})] == [
        ["sh", "-c"],
        ["sh -c"],
        None,
    ]


def test_an_empty_default_of_a_hyperparameter_stays_empty_text() -> None:
    table = pai.ALGORITHM_SPEC["hyper_parameters"].table
    assert table is not None
    assert [table["default_value"].read({"DefaultValue": value}) for value in ("", None, 0, False)] == [
        "",
        None,
        "0",
        "false",
    ]


# Qianfan


PRESET = ["Text2Text", "Text2Image", "2", "3", "TextRepresentation", "ImageUnderstanding"]
USER = ["Text2Text", "Text2Image", "IndustrySearch", "TextRepresentation", "TextRepresentation", "ImageUnderstanding"]


@pytest.mark.parametrize(
    ("layout", "numbers"), [(qianfan.PRESET_MODEL, PRESET), (qianfan.USER_MODEL, USER)], ids=["preset", "user"]
)
def test_the_list_of_a_model_determines_the_meaning_of_its_type_number(layout: Any, numbers: list[str]) -> None:
    read = layout.fields["type"].read
    assert [read({"modelType": number}) for number in range(6)] == numbers
    assert [read({"modelType": str(number)}) for number in range(6)] == numbers
    assert [read({"modelType": value}) for value in (99, "Text2Video", "", None)] == ["99", "Text2Video", None, None]


@pytest.mark.parametrize(
    ("origin", "six"), [("PlatformPreset", "Industry"), ("System", "Industry"), ("UserCreate", "6"), (None, "6")]
)
def test_the_source_of_a_model_determines_the_meaning_of_its_type_number(origin: str | None, six: str) -> None:
    assert qianfan.MODEL.fields["type"].read({"source": origin, "modelType": 6}) == six


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"modelIdStr": "am-1", "modelId": 1}, "am-1"),
        ({"modelId": 1}, "1"),
        ({"modelId": "1"}, "1"),
        ({"modelIdStr": "", "modelId": 1}, "1"),
        ({"modelIdStr": None}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_a_text_id_is_preferred_to_a_numeric_id(raw: Any, key: str | None) -> None:
    assert qianfan.MODEL.key(raw) == key


def test_a_listed_user_model_provides_its_versions_only_if_it_has_none() -> None:
    read = qianfan.USER_MODEL.fields["versions"].read
    assert read({"versionCount": 0}) == Rows([], 0)
    assert read({"versionCount": 3}) is read({}) is read({"versionCount": None}) is NOT_PROVIDED


def test_a_listed_preset_model_provides_its_latest_version_only_if_it_has_one_version() -> None:
    latest, listed = (qianfan.PRESET_MODEL.fields[name].read for name in ("latest_version", "versions"))
    one, two = {"versionIdStr": "amv-1"}, {"versionIdStr": "amv-2"}
    assert latest({"versionSummaries": [one]}) is one
    assert latest({"versionSummaries": [one, two]}) is NOT_PROVIDED
    assert latest({"versionSummaries": []}) is latest({"versionSummaries": None}) is latest({}) is None
    assert listed({"versionSummaries": [one, two]}) == Rows([one, two], 2)


def test_the_newest_version_of_a_model_is_found_by_time_then_number() -> None:
    def version(number: int, moment: str) -> Any:
        return {"modelVersionId": number, "createTime": moment}

    early, late = "2023-09-22T22:41:11+08:00", "2023-10-01T00:00:00+08:00"
    assert qianfan.newest_version({"modelVersionList": [version(2, early), version(1, late)]}) == version(1, late)
    assert qianfan.newest_version({"modelVersionList": [version(2, late), version(1, late)]}) == version(2, late)
    assert qianfan.newest_version({"modelVersionList": None}) is None


TRAIN = {"trainSourceExtra": {"taskId": 8753, "taskName": "cmc_rlhf", "iterationVersion": 1, "runId": 4973}}


@pytest.mark.parametrize("extra", [TRAIN, json.dumps(TRAIN)], ids=["object", "text"])
def test_a_source_extra_is_an_object_or_json_text(extra: Any) -> None:
    value = project_field(qianfan.SOURCE, {"sourceType": "Train", "sourceExtra": extra})
    assert value == {
        "type": "TRAINING",
        "type_name": "Train",
        "task_id": "8753",
        "task_name": "cmc_rlhf",
        "run_id": "4973",
        "iteration": 1,
        "details": TRAIN,
    }


@pytest.mark.parametrize("extra", [None, "", {}])
def test_a_version_without_a_source_type_or_extra_has_no_source(extra: Any) -> None:
    assert qianfan.SOURCE.read({"sourceExtra": extra}) is None


def test_only_a_trained_version_has_trainings() -> None:
    task = {"trainSourceExtra": {"runIdStr": "task-1"}}
    (training,) = project_field(
        qianfan.TRAINED_WITH, {"sourceType": "Train", "algorithm": "bloomz", "sourceExtra": task}
    )
    assert training["name"] == "bloomz"
    assert training["algorithm"] == {"lookup": "algorithm", "keys": ["task-1"]}
    assert qianfan.TRAINED_WITH.read({"sourceType": "PlatformPreset", "algorithm": "bloomz"}) is None
    (old,) = project_field(qianfan.TRAINED_WITH, {"sourceType": "Train", "sourceExtra": TRAIN})
    assert old["algorithm"] is old["algorithm_version"] is None


def test_tags_are_labels_without_values() -> None:
    read = [project_field(qianfan.TAGS, {"tags": tags}) for tags in (["demo"], [], None, "demo")]
    assert read == [[{"key": "demo"}], [], None, None]


def test_a_catalog_with_missing_lists_contains_the_other_entries() -> None:
    scale = {"parameterScale": "LoRA"}
    document = {
        "result": [
            {"model": "a", "supportTrainMode": None},
            {"model": "b", "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": None}]},
            {"model": "c", "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": [scale]}]},
            None,
        ]
    }
    (entry,) = qianfan.catalog_entries(document)
    assert qianfan.entry_key(entry) == "c:SFT:LoRA"
    assert project(qianfan.ALGORITHM, entry)["versions"]["rows"][0]["spec"] == {"hyper_parameters": None}
    assert qianfan.catalog_entries({"result": None}) == qianfan.catalog_entries({}) == []


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"checkType": "range", "checkValue": [1, 50]}, (None, "1", "50", False)),
        ({"checkType": "range", "checkValue": [1e-06, 4e-05]}, (None, "1e-06", "4e-05", False)),
        ({"checkType": "range", "checkValue": [1]}, (None, None, None, False)),
        ({"checkType": "choice", "checkValue": [512, "a"]}, (["512", "a"], None, None, False)),
        ({"checkType": "mult_choice", "checkValue": ["q_proj"]}, (["q_proj"], None, None, True)),
        ({"checkType": "choice", "checkValue": None}, (None, None, None, False)),
    ],
)
def test_a_check_becomes_a_range_or_a_choice(check: Any, expected: tuple[Any, ...]) -> None:
    (parameter,) = project_field(
        qianfan.SPEC["hyper_parameters"], {"supportHyperParameterConfig": [{"key": "epoch", **check}]}
    )
    allowed = parameter["range"]
    assert (allowed["enum"], allowed["minimum"], allowed["maximum"], allowed["multiple"]) == expected
