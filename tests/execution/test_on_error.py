"""The request parameter ``onError``: what an error of a field does."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from gateway.catalog.plan_execution import PlanExecution
from gateway.execution.request import OnError
from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from gateway.execution.strawberry_context import OperationContext
from tests.catalog.clouds import DOCUMENTS, FakeClouds
from tests.conftest import World
from tests.execution.comparison import bind, compile_document
from tests.execution.test_compiled import COMPLETE_RECORD, INVALID_VALUES, RECORD_QUERY

MODEL = '{ registries { name } model(id: "pai:model/m") { name } }'
LIST = "{ models(first: 2) { nodes { id } } }"


def executed(values: dict[str, Any], on_error: OnError) -> tuple[Any, Sequence[Any]]:
    """Execute a query for a record with these values. Returns data and formatted errors."""

    async def root(root_field: RootFieldContext) -> Any:
        return {**COMPLETE_RECORD, **values}

    async def run() -> tuple[Any, Sequence[Any]]:
        planned = compile_document(RECORD_QUERY)
        assert planned is not None
        context = OperationContext(DOCUMENTS.read(RECORD_QUERY).node, PlanExecution(FakeClouds().registries))
        result = await bind(RECORD_QUERY, planned, {}).execute(context, on_error)
        return orjson.loads(orjson.dumps(result.data)), [error.formatted for error in result.errors or ()]

    with patch.dict(ROOT_FIELDS, {"model": root}):
        return asyncio.run(run())


@pytest.mark.parametrize("values", INVALID_VALUES.values(), ids=INVALID_VALUES)
def test_null_leaves_each_error_at_its_own_field(values: dict[str, Any]) -> None:
    data, errors = executed(values, OnError.NULL)
    propagated, propagated_errors = executed(values, OnError.PROPAGATE)
    assert bool(errors) == bool(propagated_errors)
    for error in errors:
        value = data
        for key in error["path"]:
            value = value[key]
        assert value is None
    paths = [error["path"] for error in errors]
    assert len(paths) == len({str(path) for path in paths})
    assert all(error["path"] in paths for error in propagated_errors)
    if not errors:
        assert data == propagated


@pytest.mark.parametrize("values", INVALID_VALUES.values(), ids=INVALID_VALUES)
def test_abort_returns_one_error_and_no_data(values: dict[str, Any]) -> None:
    data, errors = executed(values, OnError.ABORT)
    propagated, propagated_errors = executed(values, OnError.PROPAGATE)
    if propagated_errors:
        assert data is None
        assert len(errors) == 1
    else:
        assert (data, errors) == (propagated, [])


async def test_a_failing_registry_with_each_choice(world: World) -> None:
    world.pai.faults.replace({"*": {"status": 503}})
    for query, data in ((MODEL, {"registries": [{"name": "pai"}, {"name": "qianfan"}], "model": None}), (LIST, ...)):
        for on_error in ("NULL", "PROPAGATE", None, "ABORT"):
            body = {"query": query, "onError": on_error}
            answer = await world.gateway.request("POST", json=body)
            assert answer.codes == ["REGISTRY_UNAVAILABLE"]
            if on_error == "ABORT":
                assert answer.body["data"] is None
            elif data is not ...:
                assert answer.body["data"] == data
            else:
                assert len(answer.body["data"]["models"]["nodes"]) == 2


async def test_choices_that_cannot_be_made_are_refused(world: World) -> None:
    answer = await world.gateway.request("POST", json={"query": MODEL, "onError": "IGNORE"})
    assert (answer.status, answer.body["errors"][0]["message"]) == (
        400,
        "`onError` must be NULL, PROPAGATE, ABORT, or absent.",
    )
    body = {"query": "{ models(first: 1) { nodes { id ... @defer { name } } } }", "onError": "ABORT"}
    answer = await world.gateway.request("POST", json=body, headers={"Accept": "multipart/mixed"})
    assert "`onError: PROPAGATE` only" in str(answer.body)
    answer = await world.gateway.request("POST", json=body)
    assert answer.codes == [], "a whole answer"
    world.pai.faults.replace({"*": {"status": 503}})
    answer = await world.gateway.request("GET", params={"query": MODEL, "onError": "ABORT"})
    assert answer.body["data"] is None
