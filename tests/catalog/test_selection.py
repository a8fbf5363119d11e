"""What is remembered with a selection: the same for all who ask the same, and never more than has bounds."""

import pytest

from gateway.catalog.connections import in_one
from gateway.catalog.operation import Operation
from gateway.catalog.selection import LONGEST, FieldRequest, Selection, shared
from gateway.registries import KINDS
from tests.catalog.clouds import Clouds


def asked(after: str) -> Selection:
    versions = FieldRequest("versions", (("after", after), ("first", 1)))
    return Selection.of({FieldRequest("name"): {}, versions: {FieldRequest("nodes"): {FieldRequest("name"): {}}}})


def test_equal_selections_are_one_in_whatever_order() -> None:
    other = Selection(reversed(asked("a").items()))
    assert shared(other) is shared(asked("a"))
    assert shared(other) == other
    assert shared(asked("b")) is not shared(asked("a"))


def test_long_arguments_are_not_remembered() -> None:
    long = asked("a" * LONGEST)
    assert shared(long) is long


@pytest.mark.parametrize("argument", [("after", "cursor"), ("filter", (("format", "ONNX"),)), ("first", 10**6)])
async def test_what_any_client_may_vary_is_not_remembered_with_a_selection(argument: tuple[str, object]) -> None:
    kind, selection = KINDS["pai"], Selection.of({FieldRequest("nodes"): {FieldRequest("name"): {}}})
    field = next(
        field
        for call in kind.calls
        for part in call.parts
        if part.shape.entity == "Model" and (field := part.shape.fields.get("versions")) is not None
    )
    operation = Operation(Clouds().registries)
    plain = FieldRequest("versions", (("first", 20),))
    assert in_one(operation, kind, field, plain, selection) is not None
    before = len(selection.known)
    varied = FieldRequest("versions", tuple(sorted({**dict(plain.arguments), **dict([argument])}.items())))
    assert in_one(operation, kind, field, varied, selection) is None
    assert len(selection.known) == before
