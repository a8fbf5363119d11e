"""Metrics that can be compared: one form for all registries, for many versions in one query; methods of algorithms."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway import twins
from gateway.twins import Corpus
from tests.answering import answering
from tests.conftest import demo, mlflow, pai, qianfan, served, settings
from tests.test_pages import clouds_of
from tests.upstream.raw_registry import response

EVALUATIONS = "evaluations { dataset { nativeId uri name digest } metrics { name value text } }"


async def test_every_filled_object_of_metrics_has_evaluations() -> None:
    query = 'query ($after: String) { models(first: 50, after: $after, filter: {registries: ["pai"]}) { '
    query += f"nodes {{ versions(first: 20) {{ nodes {{ metrics {EVALUATIONS} }} }} }} }} }}"
    async with clouds_of(Corpus(100)) as world:
        models = (await world.gateway.query(query)).data["models"]["nodes"]
    versions = [version for model in models for version in model["versions"]["nodes"]]
    assert any(version["metrics"] for version in versions)
    for version in versions:
        assert (version["evaluations"] is None) == (not version["metrics"])
        for evaluation in version["evaluations"] or ():
            for metric in evaluation["metrics"]:
                assert (metric["value"] is None) != (metric["text"] is None)
    flat = [version for version in versions if version["metrics"] and "accuracy" in version["metrics"]]
    for version in flat:
        [evaluation] = version["evaluations"]
        assert evaluation["dataset"] is None
        assert {metric["name"]: metric["value"] or metric["text"] for metric in evaluation["metrics"]} == {
            name: value or None for name, value in version["metrics"].items()
        }


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ('{"accuracy": 0.245}', [("accuracy", 0.245, None)]),
        ('{"accuracy": "0.2"}', [("accuracy", 0.2, None)]),
        ('"{\\"accuracy\\": \\"good\\"}"', [("accuracy", None, "good")]),
        ('{"accuracy": [1, 2]}', [("accuracy", None, "[1,2]")]),
    ],
)
async def test_a_flat_metric_has_its_value_or_its_text(metrics: str, found: list[Any]) -> None:
    body = f'{{"VersionName": "1", "Metrics": {metrics}}}'
    async with answering(lambda target: response(body.encode())) as gateway:
        answer = await gateway.query(f'{{ modelVersion(id: "pai:model/model-1/version/1") {{ {EVALUATIONS} }} }}')
    [evaluation] = answer.data["modelVersion"]["evaluations"]
    assert [(one["name"], one["value"], one["text"]) for one in evaluation["metrics"]] == found


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
async def test_a_number_that_json_cannot_carry_is_in_the_text(number: str) -> None:
    body = f'{{"VersionName": "1", "Metrics": {{"loss": {number}}}}}'
    async with answering(lambda target: response(body.encode())) as gateway:
        answer = await gateway.query(
            '{ modelVersion(id: "pai:model/model-1/version/1") { evaluations { metrics { name text } } } }'
        )
    assert answer.data["modelVersion"]["evaluations"] == [{"metrics": [{"name": "loss", "text": number}]}]


async def test_the_metrics_of_twenty_versions_are_one_query() -> None:
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=Corpus(60, mlflow_models=60)))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        gateway = await stack.enter_async_context(served(settings(*registries)))
        listed = """{ models(first: 100, filter: {registries: ["%s"]}) {
          nodes { id versions(first: 100) { nodes { id } } } } }"""
        query = (
            f"query ($id: ID!) {{ model(id: $id) {{ name versions(first: 20) {{ nodes {{ name {EVALUATIONS} }} }} }} }}"
        )
        for registry, per_version in (("pai", 0), ("mlflow", 1)):
            models = (await gateway.query(listed % registry)).data["models"]["nodes"]
            longest = max(models, key=lambda model: len(model["versions"]["nodes"]))
            twin.calls.clear()
            answer = await gateway.request(
                "POST",
                json={"query": query, "variables": {"id": longest["id"]}},
                headers={"X-Gateway-Plan": "include"},
            )
            nodes = answer.data["model"]["versions"]["nodes"]
            assert len(nodes) == min(20, len(longest["versions"]["nodes"])) > 1
            cost = answer.body["extensions"]["cost"]
            assert sum(twin.calls.values()) == cost["calls"] <= cost["forecast"] == 2 + 20 * per_version


async def test_qianfan_algorithms_have_a_method_and_a_scale() -> None:
    query = """{ algorithms(first: 100) { nodes { name registryName method scale }
      facets(fields: [METHOD, SCALE]) { field exact values { value count } } } }"""
    async with demo() as gateway:
        page = (await gateway.query(query)).data["algorithms"]
    for row in page["nodes"]:
        if row["registryName"] == "qianfan":
            assert row["name"].split("/")[-2:] == [row["method"], row["scale"]]
        else:
            assert (row["method"], row["scale"]) == (None, None)
    for facet in page["facets"]:
        assert facet["exact"]
        found = {value["value"]: value["count"] for value in facet["values"]}
        assert found == Counter(row[facet["field"].lower()] for row in page["nodes"] if row[facet["field"].lower()])
