"""What a query is said to cost before anything is sent, beside what it then costs."""

import asyncio
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse, validate
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from gateway.catalog.cost import Cost
from gateway.catalog.operation import DEFAULT_BOUNDS, Bounds
from gateway.graph.forecast import forecast
from tests.catalog.clouds import Clouds
from tests.catalog.test_selection_property import GRAPH, Question, plain, questions, slow, two_spellings


def foreseen(query: str, bounds: Bounds = DEFAULT_BOUNDS, **variables: Any) -> Cost:
    """The forecast of the only operation of a document."""
    document = parse(query)
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return forecast(document, operation, variables, Clouds().registries, bounds)


# No operation makes more calls than were foreseen


def made(document: str) -> int:
    assume(validate(GRAPH, parse(document)) == [])
    clouds = Clouds()
    asyncio.run(clouds.execute(document))
    return len(clouds.calls)


@settings(slow, max_examples=300)
@given(two_spellings())
def test_objects_cost_no_more_than_foreseen_however_they_are_asked_for(spellings: tuple[str, str]) -> None:
    said_plainly, said_otherwise = spellings
    cost = foreseen(said_plainly).calls
    assert made(said_plainly) <= cost
    assert foreseen(said_otherwise).calls == cost


@settings(slow, phases=[Phase.generate], max_examples=300)
@given(questions("ModelConnection"), questions("AlgorithmConnection"), st.integers(1, 3))
def test_lists_and_all_below_them_cost_no_more_than_foreseen(models: Question, algorithms: Question, first: int) -> None:
    document = (
        f"{{ a: models(first: {first}) {plain(models)} b: algorithms {plain(algorithms)} c: models {plain(models)} }}"
    )
    assert made(document) <= foreseen(document).calls
