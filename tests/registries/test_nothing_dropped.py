"""The three reference pages, whole: every native key is a field or in ``extra``, and stands in ``raw`` verbatim.

The pages: PAI's model version, PAI's GetAlgorithmVersion, Qianfan's model detail. Keys that name the object or its
owner become ids and relations instead of fields; they are listed here, so that no other key can hide among them.
"""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from gateway.registries import pai_tables, qianfan_tables
from gateway.registries.fields import EntityLayout
from tests.registries.samples import project, sample


class Page(NamedTuple):
    """A reference page: how to get its object, the form that reads it, and the keys that are ids and relations."""

    name: str
    raw: Callable[[], Any]
    shape: EntityLayout
    identity: frozenset[str]


PAI_MODEL_VERSION_KEYS = (
    "VersionName GmtCreateTime GmtModifiedTime UserId OwnerId Uri VersionDescription Labels FormatType FrameworkType "
    "Options Metrics TrainingSpec InferenceSpec EvaluationSpec CompressionSpec SourceType SourceId ApprovalStatus "
    "ExtraInfo"
)
PAI_ALGORITHM_VERSION_KEYS = (
    "AlgorithmSpec AlgorithmId AlgorithmName AlgorithmProvider AlgorithmVersion GmtCreateTime GmtModifiedTime UserId "
    "TenantId"
)
QIANFAN_MODEL_KEYS = (
    "modelId modelName modelType source tags createUser createUserId createTime modifyTime description modelVersionList"
)
QIANFAN_VERSION_KEYS = (
    "modelId modelName modelVersionId version description sourceType sourceExtra modelNet framework algorithm state "
    "createTime modifyTime ioMode ioLength copyright license property deployResource supportOptions"
)


def qianfan_model() -> Any:
    """The page's example, and the parameters of its tables that the example leaves out."""
    model = sample("qianfan", "modelDetail_reference")["result"]
    version = model["modelVersionList"][0] | {"license": "Apache-2.0", "ioLength": "3K+1K"}
    return model | {"tags": ["demo"], "modelVersionList": [version]}


MODEL_VERSION = Page(
    "pai-model-version",
    lambda: sample("pai", "GetModelVersion_reference"),
    pai_tables.VERSION,
    frozenset(),
)
ALGORITHM_VERSION = Page(
    "pai-algorithm-version",
    lambda: sample("pai", "GetAlgorithmVersion_reference"),
    pai_tables.ALGORITHM_VERSION,
    frozenset({"AlgorithmId", "AlgorithmName", "AlgorithmProvider"}),
)
MODEL = Page("qianfan-model", qianfan_model, qianfan_tables.MODEL, frozenset({"modelId"}))
MODEL_S_VERSION = Page(
    "qianfan-model-version",
    lambda: qianfan_model()["modelVersionList"][0],
    qianfan_tables.VERSION,
    frozenset({"modelId", "modelName", "modelVersionId"}),
)
PAGES = [MODEL_VERSION, ALGORITHM_VERSION, MODEL, MODEL_S_VERSION]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        (MODEL_VERSION, PAI_MODEL_VERSION_KEYS),
        (ALGORITHM_VERSION, PAI_ALGORITHM_VERSION_KEYS),
        (MODEL, QIANFAN_MODEL_KEYS),
        (MODEL_S_VERSION, QIANFAN_VERSION_KEYS),
    ],
    ids=lambda value: value.name if isinstance(value, Page) else "",
)
def test_the_sample_has_every_parameter_of_the_page(page: Page, keys: str) -> None:
    assert set(page.raw()) == set(keys.split())


@every_page
def test_every_native_key_is_a_field_or_in_extra(page: Page) -> None:
    raw = page.raw()
    fields = {key for entry in page.shape.fields.values() for key in entry.keys}
    extra = page.shape.fields["extra"].read(raw) if "extra" in page.shape.fields else {}
    assert set(raw) - fields - set(extra) - page.identity == set()
    assert fields & set(extra) == set()
    assert {key: raw[key] for key in extra} == extra


@every_page
def test_raw_is_the_object_verbatim(page: Page) -> None:
    raw, kept = page.raw(), page.raw()
    said = page.shape.fields["raw"].read(raw)
    project(page.shape, raw)
    assert said is raw
    assert json.dumps(said) == json.dumps(kept)


@every_page
def test_what_a_later_release_adds_is_not_dropped(page: Page) -> None:
    raw = page.raw() | {"NewKey": {"of": "tomorrow"}}
    if "extra" in page.shape.fields:
        assert page.shape.fields["extra"].read(raw)["NewKey"] == {"of": "tomorrow"}
    assert page.shape.fields["raw"].read(raw)["NewKey"] == {"of": "tomorrow"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    empty = True
    for step, inner in steps:
        empty = False
        yield from leaves(inner, (*path, step))
    if empty:
        yield path


def another(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str) and value[:4].isdigit() and "T" in value:
        return f"1999{value[4:]}"
    if isinstance(value, list):
        return ["another"]
    return {"another": "value"} if isinstance(value, dict) else f"{value}-another"


@pytest.mark.parametrize(
    ("page", "path"),
    [
        pytest.param(page, path, id=f"{page.name}-{'.'.join(map(str, path))}")
        for page in PAGES
        for path in leaves(page.raw())
        if path[0] not in page.identity and not (page is MODEL and path[-1] in MODEL_S_VERSION.identity)
    ],
)
def test_a_change_of_any_value_shows_in_the_record(page: Page, path: tuple[Any, ...]) -> None:
    """However deep a value stands, some field beside ``raw`` tells it."""
    raw = page.raw()
    changed = copy.deepcopy(raw)
    spot = changed
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = another(spot[path[-1]])
    assert project(page.shape, changed) != project(page.shape, raw)
