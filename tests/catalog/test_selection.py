"""Selections are interned by value, and do not cache plans for arguments that clients vary without limit."""

import pytest

from gateway.catalog.lists import FirstPage
from gateway.catalog.query_plan import EntityPlan, VersionsResolver
from gateway.catalog.selection import MAX_ARGUMENTS_LENGTH, FieldRequest, Selection, intern
from gateway.registries import KINDS


def selection(after: str) -> Selection:
    versions = FieldRequest("versions", (("after", after), ("first", 1)))
    return Selection.of({FieldRequest("name"): {}, versions: {FieldRequest("nodes"): {FieldRequest("name"): {}}}})


def test_equal_selections_are_interned_as_one_in_any_order() -> None:
    other = Selection(reversed(selection("a").items()))
    assert intern(other) is intern(selection("a"))
    assert intern(other) == other
    assert intern(selection("b")) is not intern(selection("a"))


def test_a_selection_with_long_arguments_is_not_interned() -> None:
    long = selection("a" * MAX_ARGUMENTS_LENGTH)
    assert intern(long) is long


@pytest.mark.parametrize("argument", [("after", "cursor"), ("filter", (("format", "ONNX"),)), ("first", 10**6)])
def test_arguments_that_clients_vary_are_not_cached_with_a_selection(argument: tuple[str, object]) -> None:
    kind, below = KINDS["pai"], Selection.of({FieldRequest("nodes"): {FieldRequest("name"): {}}})
    plain = FieldRequest("versions", (("first", 20),))
    plan = EntityPlan.of(kind, "Model", Selection({plain: below}))
    [fetch] = plan.step(plan.missing).fetches
    [versions] = fetch.then.resolvers
    assert isinstance(versions, VersionsResolver)
    [(_, listed)] = versions.lists
    assert FirstPage.of(listed, plain, below, 100) is not None
    before = len(below.plans)
    varied = FieldRequest("versions", tuple(sorted({**dict(plain.arguments), **dict([argument])}.items())))
    assert FirstPage.of(listed, varied, below, 100) is None
    assert len(below.plans) == before
