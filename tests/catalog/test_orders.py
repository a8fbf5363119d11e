"""In what order rows stand: their keys against the documented order, and keys that travel as JSON."""

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

moments = st.datetimes(datetime(1970, 1, 1), datetime(2170, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)
texts = st.text(min_size=1)
ids = st.text(max_size=9)
orders = st.sampled_from(ORDERS)


def values(order: Order) -> st.SearchStrategy[str | None]:
    return st.none() | (texts if order.field == "name" else moments)


def keys(order: Order) -> st.SearchStrategy[SortKey]:
    return st.builds(order.key_of, values(order), ids)


keyed = orders.flatmap(lambda order: st.tuples(st.just(order), keys(order)))
"""An order, and a key of it."""


@st.composite
def orders_and_rows(draw: st.DrawFn) -> tuple[Order, list[tuple[str | None, str]]]:
    """Values with their ids; some share a value, and some have none."""
    order = draw(orders)
    few = st.sampled_from(draw(st.lists(values(order), min_size=1, max_size=6)))
    return order, draw(st.lists(st.tuples(few | values(order), ids), max_size=20))


# How rows stand


@given(orders_and_rows())
def test_rows_stand_by_value_then_by_id_and_without_a_value_last(
    asked: tuple[Order, list[tuple[str | None, str]]],
) -> None:
    order, rows = asked
    by_id = sorted(rows, key=lambda row: row[1])
    by_value = [row for row in by_id if row[0] is not None]
    meant = str if order.field == "name" else datetime.fromisoformat
    by_value.sort(key=lambda row: meant(str(row[0])), reverse=order.descending)  # ties stay as they are, either way
    assert sorted(rows, key=lambda row: order.key_of(*row)) == by_value + [row for row in by_id if row[0] is None]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (NEWEST_FIRST, ["c", "b1", "b2", "a", "none1", "none2"]),
        (OLDEST_FIRST, ["a", "b1", "b2", "c", "none1", "none2"]),
    ],
    ids=str,
)
def test_moments_stand_newest_or_oldest_first(order: Order, expected: Sequence[str]) -> None:
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
def test_names_stand_by_their_code_points(order: Order, expected: Sequence[str]) -> None:
    """Capitals before small letters, accents after both, no language's own rules; a name stands before longer ones."""
    named = {"3": "é", "1x": "Zz", "5": "𝄞", "none": None, "1": "Z", "4": "模型", "2": "a", "0": "A"}
    assert sorted(named, key=lambda id: order.key_of(named[id], id)) == expected


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_ties_are_sorted_by_id_from_the_lowest_whichever_way_values_go(order: Order) -> None:
    value = "same" if order.field == "name" else "2024-05-01T00:00:00Z"
    for tied in (value, None):
        assert sorted("cab", key=lambda id, tied=tied: order.key_of(tied, id)) == ["a", "b", "c"]


@given(keyed)
def test_what_is_not_read_yet_stands_between_values_and_none(asked: tuple[Order, SortKey]) -> None:
    _, key = asked
    assert (key < LOWEST_WITHOUT_VALUE) == (key[0] == 0)


def test_the_newest_stand_first_unless_asked_otherwise() -> None:
    assert Order() == NEWEST_FIRST


@given(texts, texts)
def test_descending_text_compares_the_other_way_round(one: str, other: str) -> None:
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
    """A time without a zone is China's, as everywhere."""
    assert order.keys(SHAPE)(RAW, str(REF)) == key


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("raw", [{}, {"Name": "", "Created": ""}, {"Name": None, "Created": "0000-00-00 00:00:00"}])
def test_a_row_that_does_not_say_stands_among_those_without_a_value(order: Order, raw: dict[str, Any]) -> None:
    assert order.keys(SHAPE)(raw, str(REF)) == (1, 0, "r:model/m")


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_list_whose_rows_never_say_stands_among_those_without_a_value(order: Order) -> None:
    assert order.keys(EntityLayout("Model", lambda raw: None, {}))(RAW, str(REF)) == (1, 0, "r:model/m")


# Keys as JSON


@given(keyed)
def test_a_key_survives_its_travel_as_json(asked: tuple[Order, SortKey]) -> None:
    order, key = asked
    travelled = order.from_json(orjson.loads(orjson.dumps(order.to_json(key))))
    assert travelled == key
    assert type(travelled[1]) is type(key[1])


@given(orders.flatmap(lambda order: st.tuples(st.just(order), st.lists(keys(order), max_size=9))))
def test_keys_that_travelled_sort_as_before(asked: tuple[Order, list[SortKey]]) -> None:
    order, some = asked
    travelled = [order.from_json(order.to_json(key)) for key in some]
    assert sorted(travelled) == sorted(some)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_no_key_stays_no_key(order: Order) -> None:
    assert order.to_json(None) is None
    assert order.from_json(None) is None


@given(keyed, orders)
def test_a_key_of_a_name_is_none_of_a_moment_and_the_other_way_round(
    asked: tuple[Order, SortKey], other: Order
) -> None:
    order, key = asked
    if key[0] == 0 and (order.field == "name") != (other.field == "name"):
        with pytest.raises(ValueError, match="not a key of this order"):
            other.from_json(order.to_json(key))


NONE_AT_ALL = {
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
LOOKS_LIKE_ONE = {
    "a number": 5,
    "true": True,
    "a truth for a moment": [0, True, "x"],
    "a value where there is none": [1, 5, "x"],
}


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("case", NONE_AT_ALL)
def test_what_is_no_key_is_refused(case: str, order: Order) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        order.from_json(NONE_AT_ALL[case])  # type: ignore[arg-type]


@pytest.mark.parametrize("case", LOOKS_LIKE_ONE)
def test_what_only_resembles_a_key_is_refused(case: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        NEWEST_FIRST.from_json(LOOKS_LIKE_ONE[case])  # type: ignore[arg-type]
