"""No property of the vendors' reference responses is lost: each is a field or part of ``extra``, and part of ``raw``.

The responses are those of PAI's GetModelVersion and GetAlgorithmVersion, of Qianfan's modelDetail, and of SageMaker's
DescribeModelPackage and DescribeModelPackageGroup. Keys that
identify the object or its owner become ids and relations instead of fields. Each test page lists them, so that the
tests find every other key that is lost.
"""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from gateway.registries import pai_tables, qianfan_tables, sagemaker_tables
from gateway.registries.fields import EntityLayout
from tests.registries.samples import project, sample


class Page(NamedTuple):
    """A reference page: the object of its example, its layout, and the keys that become ids and relations."""

    name: str
    raw: Callable[[], Any]
    layout: EntityLayout
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
    """Return the example of the page, completed with the parameters that only its tables contain."""
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
QIANFAN_VERSION = Page(
    "qianfan-model-version",
    lambda: qianfan_model()["modelVersionList"][0],
    qianfan_tables.VERSION,
    frozenset({"modelId", "modelName", "modelVersionId"}),
)
MODEL_PACKAGE = Page(
    "sagemaker-model-package",
    lambda: sample("sagemaker", "DescribeModelPackage"),
    sagemaker_tables.VERSION,
    frozenset({"ModelPackageGroupName"}),
)
MODEL_PACKAGE_GROUP = Page(
    "sagemaker-model-package-group",
    lambda: sample("sagemaker", "DescribeModelPackageGroup"),
    sagemaker_tables.MODEL,
    frozenset(),
)
PAGES = [MODEL_VERSION, ALGORITHM_VERSION, MODEL, QIANFAN_VERSION, MODEL_PACKAGE, MODEL_PACKAGE_GROUP]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        (MODEL_VERSION, PAI_MODEL_VERSION_KEYS),
        (ALGORITHM_VERSION, PAI_ALGORITHM_VERSION_KEYS),
        (MODEL, QIANFAN_MODEL_KEYS),
        (QIANFAN_VERSION, QIANFAN_VERSION_KEYS),
    ],
    ids=lambda value: value.name if isinstance(value, Page) else "",
)
def test_the_sample_has_every_parameter_of_the_page(page: Page, keys: str) -> None:
    assert set(page.raw()) == set(keys.split())


@every_page
def test_every_native_key_is_a_field_or_in_extra(page: Page) -> None:
    raw = page.raw()
    fields = {key for entry in page.layout.fields.values() for key in entry.keys}
    extra = page.layout.fields["extra"].read(raw) if "extra" in page.layout.fields else {}
    assert set(raw) - fields - set(extra) - page.identity == set()
    assert fields & set(extra) == set()
    assert {key: raw[key] for key in extra} == extra


@every_page
def test_raw_is_the_object_verbatim(page: Page) -> None:
    raw, unchanged = page.raw(), page.raw()
    value = page.layout.fields["raw"].read(raw)
    project(page.layout, raw)
    assert value is raw
    assert json.dumps(value) == json.dumps(unchanged)


@every_page
def test_a_new_native_key_is_in_extra_and_raw(page: Page) -> None:
    raw = page.raw() | {"NewKey": {"new": "value"}}
    if "extra" in page.layout.fields:
        assert page.layout.fields["extra"].read(raw)["NewKey"] == {"new": "value"}
    assert page.layout.fields["raw"].read(raw)["NewKey"] == {"new": "value"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values that are not objects or lists, and of empty ones."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    empty = True
    for step, inner in steps:
        empty = False
        yield from leaves(inner, (*path, step))
    if empty:
        yield path


def other_value(value: Any) -> Any:
    """Return a different value of the same type."""
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
        if path[0] not in page.identity and not (page is MODEL and path[-1] in QIANFAN_VERSION.identity)
    ],
)
def test_a_change_of_any_value_shows_in_the_record(page: Page, path: tuple[Any, ...]) -> None:
    """A field other than ``raw`` depends on every value, however deeply it is nested."""
    raw = page.raw()
    changed = copy.deepcopy(raw)
    container = changed
    for step in path[:-1]:
        container = container[step]
    container[path[-1]] = other_value(container[path[-1]])
    assert project(page.layout, changed) != project(page.layout, raw)
