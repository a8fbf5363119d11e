"""The order of rows by their keys, and keys as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.orders import LOWEST_WITHOUT_VALUE, Descending, Order, SortKey
from gateway.registries.fields import ABSENT, EntityLayout, text, time

NEWEST_FIRST, OLDEST_FIRST = Order("created_at", True), Order("created_at", False)
A_TO_Z, Z_TO_A = Order("name", False), Order("name", True)
ORDERS = [Order(field, descending) for field in ("created_at", "updated_at", "name") for descending in (True, False)]

times = st.datetimes(datetime(1970, 1, 1), datetime(2170, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)
texts = st.text(min_size=1)
ids = st.text(max_size=9)
orders = st.sampled_from(ORDERS)


def values(order: Order) -> st.SearchStrategy[str | None]:
    return st.none() | (texts if order.field == "name" else times)


def keys(order: Order) -> st.SearchStrategy[SortKey]:
    return st.builds(order.key_of, values(order), ids)


orders_and_keys = orders.flatmap(lambda order: st.tuples(st.just(order), keys(order)))
"""An order and a key of that order."""


@st.composite
def orders_and_rows(draw: st.DrawFn) -> tuple[Order, list[tuple[str | None, str]]]:
    """An order, and values with ids; some values are equal and some are missing."""
    order = draw(orders)
    few = st.sampled_from(draw(st.lists(values(order), min_size=1, max_size=6)))
    return order, draw(st.lists(st.tuples(few | values(order), ids), max_size=20))


# The order of rows


@given(orders_and_rows())
def test_rows_are_sorted_by_value_then_by_id_with_missing_values_last(
    drawn: tuple[Order, list[tuple[str | None, str]]],
) -> None:
    order, rows = drawn
    by_id = sorted(rows, key=lambda row: row[1])
    by_value = [row for row in by_id if row[0] is not None]
    parse = str if order.field == "name" else datetime.fromisoformat
    by_value.sort(key=lambda row: parse(str(row[0])), reverse=order.descending)  # sorting is stable in both directions
    assert sorted(rows, key=lambda row: order.key_of(*row)) == by_value + [row for row in by_id if row[0] is None]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (NEWEST_FIRST, ["c", "b1", "b2", "a", "none1", "none2"]),
        (OLDEST_FIRST, ["a", "b1", "b2", "c", "none1", "none2"]),
    ],
    ids=str,
)
def test_times_are_sorted_newest_or_oldest_first(order: Order, expected: Sequence[str]) -> None:
    created = {
        "none2": None,
        "b2": "2024-05-01T08:00:00+08:00",
        "a": "2024-04-30T23:59:59.999999Z",
        "c": "2024-05-01T00:00:00.000001Z",
        "none1": None,
        "b1": "2024-05-01T00:00:00Z",
    }
    assert sorted(created, key=lambda id: order.key_of(created[id], id)) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (A_TO_Z, ["0", "1", "1x", "2", "3", "4", "5", "none"]),
        (Z_TO_A, ["5", "4", "3", "2", "1x", "1", "0", "none"]),
    ],
    ids=str,
)
def test_names_are_sorted_by_their_code_points(order: Order, expected: Sequence[str]) -> None:
    """Capitals, small letters, accents, in every language; a prefix comes before longer names."""
    named = {"3": "é", "1x": "Zz", "5": "𝄞", "none": None, "1": "Z", "4": "模型", "2": "a", "0": "A"}
    assert sorted(named, key=lambda id: order.key_of(named[id], id)) == expected


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_ties_are_sorted_by_ascending_id_in_both_directions(order: Order) -> None:
    value = "same" if order.field == "name" else "2024-05-01T00:00:00Z"
    for tied in (value, None):
        assert sorted("cab", key=lambda id, tied=tied: order.key_of(tied, id)) == ["a", "b", "c"]


@given(orders_and_keys)
def test_the_lowest_key_without_a_value_separates_rows_with_and_without_values(drawn: tuple[Order, SortKey]) -> None:
    _, key = drawn
    assert (key < LOWEST_WITHOUT_VALUE) == (key[0] == 0)


def test_the_default_order_is_newest_first() -> None:
    assert Order() == NEWEST_FIRST


@given(texts, texts)
def test_descending_text_compares_in_reverse(one: str, other: str) -> None:
    assert (Descending(one) < Descending(other)) == (one > other)
    assert (Descending(one) <= Descending(other)) == (one >= other)
    assert (Descending(one) > Descending(other)) == (one < other)
    assert (Descending(one) >= Descending(other)) == (one <= other)
    assert (Descending(one) == Descending(other)) == (one == other)


# The key of a row

REF = Ref("r", "Model", ("m",))
SHAPE = EntityLayout(
    "Model", lambda raw: raw["id"], {"name": text("Name"), "created_at": time("Created"), "updated_at": ABSENT}
)
RAW = {"id": "m", "Name": "模型", "Created": "2024-05-01 08:00:00.5"}
MICROSECONDS = 1_714_521_600_500_000


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (OLDEST_FIRST, (0, MICROSECONDS, "r:model/m")),
        (NEWEST_FIRST, (0, -MICROSECONDS, "r:model/m")),
        (A_TO_Z, (0, "模型", "r:model/m")),
        (Z_TO_A, (0, Descending("模型"), "r:model/m")),
    ],
    ids=str,
)
def test_a_row_is_sorted_by_the_unified_field_and_its_global_id(order: Order, key: SortKey) -> None:
    """A time without a zone is in China Standard Time."""
    assert order.keys(SHAPE)(RAW, str(REF)) == key


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("raw", [{}, {"Name": "", "Created": ""}, {"Name": None, "Created": "0000-00-00 00:00:00"}])
def test_a_row_with_an_empty_field_has_no_value(order: Order, raw: dict[str, Any]) -> None:
    assert order.keys(SHAPE)(raw, str(REF)) == (1, 0, "r:model/m")


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_row_of_a_layout_without_the_field_has_no_value(order: Order) -> None:
    assert order.keys(EntityLayout("Model", lambda raw: None, {}))(RAW, str(REF)) == (1, 0, "r:model/m")


# Keys as JSON


@given(orders_and_keys)
def test_a_key_can_be_converted_to_json_and_back(drawn: tuple[Order, SortKey]) -> None:
    order, key = drawn
    restored = order.from_json(orjson.loads(orjson.dumps(order.to_json(key))))
    assert restored == key
    assert type(restored[1]) is type(key[1])


@given(orders.flatmap(lambda order: st.tuples(st.just(order), st.lists(keys(order), max_size=9))))
def test_keys_from_json_have_the_same_order(drawn: tuple[Order, list[SortKey]]) -> None:
    order, originals = drawn
    restored = [order.from_json(order.to_json(key)) for key in originals]
    assert sorted(restored) == sorted(originals)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_missing_key_is_null_in_json(order: Order) -> None:
    assert order.to_json(None) is None
    assert order.from_json(None) is None


@given(orders_and_keys, orders)
def test_a_key_of_a_name_is_not_a_key_of_a_time_nor_the_reverse(drawn: tuple[Order, SortKey], other: Order) -> None:
    order, key = drawn
    if key[0] == 0 and (order.field == "name") != (other.field == "name"):
        with pytest.raises(ValueError, match="not a key of this order"):
            other.from_json(order.to_json(key))


NOT_KEYS = {
    "an empty list": [],
    "too short": [0, 1],
    "too long": [0, 1, "x", 2],
    "a text": "abc",
    "an object": {"a": 0, "b": 1, "c": "x"},
    "neither with a value nor without": [2, 0, "x"],
    "a nested list": [[], 0, "x"],
    "an id that is a number": [0, 0, 5],
    "an id that is missing": [0, 0, None],
    "a value that is missing": [0, None, "x"],
    "a fraction": [0, 0.5, "x"],
    "a value in a list": [0, [1], "x"],
    "text where there is no value": [1, "x", "x"],
}
SIMILAR_TO_KEYS = {
    "a number": 5,
    "true": True,
    "a truth for a moment": [0, True, "x"],
    "a value where there is none": [1, 5, "x"],
}


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("case", NOT_KEYS)
def test_json_that_is_not_a_key_is_refused(case: str, order: Order) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        order.from_json(NOT_KEYS[case])  # type: ignore[arg-type]


@pytest.mark.parametrize("case", SIMILAR_TO_KEYS)
def test_json_that_resembles_a_key_is_refused(case: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        NEWEST_FIRST.from_json(SIMILAR_TO_KEYS[case])  # type: ignore[arg-type]
