"""Filters of lists: each is a predicate over unified fields, and a list may push it down to its registry.

A registry's list may apply a filter itself (`Call.filters`). The gateway tests every row again, since vendors match
loosely. So what is pushed down must select at least the rows that pass.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import compress
from math import inf, nan
from operator import eq, itemgetter
from typing import Any, Final, TypeVar
from unicodedata import normalize

from gateway.catalog.ids import quoted
from gateway.catalog.orders import microseconds
from gateway.catalog.search import contains_all, searchable_texts, words_of
from gateway.catalog.selection import NO_FIELDS, FieldRequest, Selection, to_camel_case
from gateway.errors import BadInput
from gateway.registries.fields import TIME_CACHE_SIZE
from gateway.registries.kind import Call, FilterPushdown, Kind, Stream

Filter = Mapping[str, Any]
"""The filters that a client set, by name: text, enum values, and nested filters for labels and ranges."""


Path = tuple[str, ...]
Passes = Callable[[Any], bool]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class FilterTest:
    """A filter as a test of rows.

    ``paths`` are the fields that it reads. ``operand`` is a function from a record to what the filter compares, the
    same for all wanted values. ``condition`` is a function from the wanted value to a test of operands. ``monotone`` is
    true if a row that passes without some of the values passes with them, too.
    """

    paths: tuple[Path, ...]
    operand: Callable[[Any], Any]
    condition: Callable[[Any], Passes]
    monotone: bool = False

    def predicate(self, wanted: Any) -> Passes:
        """Return a function that reports whether a record passes with a wanted value."""
        operand, condition = self.operand, self.condition(wanted)
        return lambda record: condition(operand(record))


def equals(*path: str) -> FilterTest:
    """The field equals the wanted value. Texts that differ only in Unicode composition are equal."""
    read = value_reader(path)
    return FilterTest((path,), lambda record: composed(read(record)), lambda wanted: partial(eq, composed(wanted)))


def is_word(*path: str) -> FilterTest:
    """The field is the wanted word of a vocabulary, in any case."""
    read = value_reader(path)

    def word(record: Any) -> str | None:
        value = read(record)
        return None if value is None else folded(value)

    return FilterTest((path,), word, lambda wanted: partial(eq, folded(wanted)))


def any_of(one: FilterTest) -> FilterTest:
    """The test holds for one of the wanted values."""

    def condition(wanted: Sequence[Any]) -> Passes:
        conditions = [*map(one.condition, wanted)]
        return lambda operand: any(holds(operand) for holds in conditions)

    return FilterTest(one.paths, one.operand, condition)


def within(*path: str) -> FilterTest:
    """The field is a time in the wanted range, which includes ``from`` and excludes ``to``."""
    read = value_reader(path)

    def time(record: Any) -> float:
        value = read(record)
        return nan if value is None else microseconds(value)

    def condition(wanted: Filter) -> Passes:
        start, end = time_range(wanted)
        first = -inf if start is None else microseconds(start.isoformat())
        last = inf if end is None else microseconds(end.isoformat())
        return lambda time: first <= time < last

    return FilterTest((path,), time, condition)


def time_range(wanted: Filter) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end of a range."""
    start, end = wanted.get("from"), wanted.get("to")
    return (
        None if start is None else parse_time(start),
        None if end is None else parse_time(end),
    )


parse_time = lru_cache(TIME_CACHE_SIZE)(datetime.fromisoformat)


def value_reader(path: Path) -> Callable[[Any], Any]:
    """Return a function from a record to its value at a path of fields, None below a null."""
    return itemgetter(path[0]) if len(path) == 1 else lambda record: record_value(record, path)


def record_value(record: Any, path: Path) -> Any:
    """Return the value at a path of fields in a record, None below a null."""
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record


def composed(value: Any) -> Any:
    """Return a text composed (NFC), in which an accent is part of its letter, and any other value as it is."""
    return normalize("NFC", value) if isinstance(value, str) and not value.isascii() else value


def folded(text: str) -> str:
    """Return a text without the differences that a search ignores: case and Unicode composition.

    Source: Unicode Standard, D145 (canonical caseless matching). All forms of the Turkish i are one letter, too.
    """
    if text.isascii():
        return text.lower()
    plain = normalize("NFD", normalize("NFD", text).casefold()).replace("i\u0307", "i").replace("ı", "i")
    return normalize("NFC", plain)


def has_one_spelling(text: str) -> bool:
    """Whether all texts that are equal for `folded` differ in upper and lower case only.

    Registries may compare other texts byte by byte, so the gateway does not leave these filters to them.
    """
    if text.isascii():
        return True
    is_composed_only = normalize("NFC", text) == normalize("NFD", text) == text
    return is_composed_only and text.casefold() == text.lower() and "ı" not in text


def labels_of(record: Any) -> tuple[tuple[str, str | None], ...]:
    """Return the keys and values of the labels of a record."""
    return tuple([(composed(label["key"]), composed(label["value"])) for label in record["labels"] or ()])


def has_label(wanted: Filter) -> Passes:
    key, value = composed(wanted["key"]), composed(wanted.get("value"))
    return lambda labels: any(own == key and value in (None, its) for own, its in labels)


def has_labels(wanted: Filter) -> Passes:
    """Return the test for all of some labels and any of others."""
    needed, allowed = ([has_label(one) for one in wanted.get(name, ())] for name in ("all_of", "any_of"))
    return lambda labels: (
        all(holds(labels) for holds in needed) and (not allowed or any(holds(labels) for holds in allowed))
    )


def texts_of_model(record: Any) -> Iterator[str | None]:
    """Yield the texts in which a search for models looks."""
    yield from (record["name"], record["description"], record["native_id"])
    for label in record["labels"] or ():
        yield from (label["key"], label["value"])


def texts_of_algorithm(record: Any) -> Iterator[str | None]:
    """Yield the texts in which a search for algorithms looks."""
    yield from (record["name"], record["display_name"], record["description"], record["native_id"])


def search(texts_of: Callable[[Any], Iterable[str | None]], *paths: Path) -> FilterTest:
    """Every word of the wanted text occurs in one of the texts of a row."""
    return FilterTest(paths, lambda record: searchable_texts(texts_of(record)), contains_all, monotone=True)


def has_part(wanted: str) -> Passes:
    part = folded(wanted)
    return lambda text: part in text


LABELS = (("labels", "key"), ("labels", "value"))
NAME_CONTAINS = FilterTest((("name",),), lambda record: folded(record["name"] or ""), has_part)

TESTS: Mapping[str, Mapping[str, FilterTest]] = {
    "Model": {
        "ownership": equals("ownership"),
        "search": search(texts_of_model, ("name",), ("description",), ("native_id",), *LABELS),
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "type": is_word("type"),
        "domain": is_word("domain"),
        "task": is_word("task"),
        "origin": is_word("origin"),
        "provider": is_word("provider"),
        "workspace_id": equals("workspace_id"),
        "label": FilterTest(LABELS, labels_of, has_label),
        "owner": equals("owner", "native_id"),
        "created_at": within("created_at"),
        "updated_at": within("updated_at"),
        "latest_version_created_at": within("latest_version", "created_at"),
        "framework": equals("latest_version", "framework"),
        "format": equals("latest_version", "format"),
        "readiness": equals("latest_version", "readiness"),
        "approval": equals("latest_version", "approval"),
    },
    "ModelVersion": {
        "format": equals("format"),
        "framework": equals("framework"),
        "source_type": equals("source", "type"),
        "approval": equals("approval"),
        "readiness": equals("readiness"),
        "label": FilterTest(LABELS, labels_of, has_label),
    },
    "Algorithm": {
        "search": search(texts_of_algorithm, ("name",), ("display_name",), ("description",), ("native_id",)),
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "provider": is_word("provider"),
        "workspace_id": equals("workspace_id"),
    },
    "AlgorithmVersion": {},
}
"""The filters of each list, except `REGISTRY_FILTERS`, which select registries."""

SINGLE: Mapping[str, str] = {
    "types": "type",
    "domains": "domain",
    "tasks": "task",
    "origins": "origin",
    "providers": "provider",
    "frameworks": "framework",
    "formats": "format",
    "readinesses": "readiness",
    "approvals": "approval",
    "source_types": "source_type",
}
"""The filters for any of several values, with those for one of them."""

TESTS = {
    entity: {
        **tests,
        **{several: any_of(tests[one]) for several, one in SINGLE.items() if one in tests},
        **({"labels": FilterTest(LABELS, labels_of, has_labels)} if "label" in tests else {}),
    }
    for entity, tests in TESTS.items()
}

MAX_TEXT_LENGTH = 256
"""The maximum length of a text filter in characters, since it becomes part of an upstream URL."""

MAX_VALUES = 100
"""The maximum number of values in a filter for any of several."""

REGISTRY_FILTERS = ("registries", "kinds")
RANGES = ("created_at", "updated_at", "latest_version_created_at")
STRUCTURED = ("label", *RANGES)


def parse_filter(arguments: Iterable[tuple[str, Any]], registries: Container[str]) -> Filter:
    """Return the filter of an argument. A search without a word is no condition.

    Raises `BadInput` for a value that is empty, too long or contradictory.
    """
    wanted = {name: structured(name, value) for name, value in arguments}
    if "search" in wanted and not words_of(wanted["search"]):
        del wanted["search"]
    for name, value in wanted.items():
        problem = problem_of(name, value)
        if problem is not None:
            raise BadInput(f"`filter.{to_camel_case(name)}`{problem}")
    for name in wanted.get("registries", ()):
        if name not in registries:
            raise BadInput(f"`filter.registries`: there is no registry {quoted(name)}.")
    return wanted


def problem_of(name: str, value: Any) -> str | None:
    """Return what is wrong with the value of a filter, None if it is valid."""
    several = value.values() if name == "labels" else [value]
    if not value or () in several or (isinstance(value, tuple) and "" in value):
        return " is empty; leave it out to not filter by it."
    if any(len(text) > MAX_TEXT_LENGTH for text in texts_in(value)):
        return f" is longer than {MAX_TEXT_LENGTH} characters."
    if any(isinstance(values, tuple) and len(values) > MAX_VALUES for values in several):
        return f" has more than {MAX_VALUES} values."
    if name in RANGES:
        start, end = time_range(value)
        if start is not None and end is not None and start >= end:
            return ": `from` must be before `to`."
    return None


def structured(name: str, value: Any) -> Any:
    """Return a frozen value with its objects as dictionaries."""
    if name == "labels":
        return {part: tuple(map(dict, labels)) for part, labels in value}
    return dict(value) if name in STRUCTURED else value


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)


@dataclass(frozen=True)
class ListFilter:
    """A filter for one list: the ``parameters`` that push it down, and the ``tests`` that the gateway runs.

    ``tests`` are the names of filters with their tests, whose values are those of each operation. ``exact`` is true if
    the registry counts only matching rows, ``impossible`` if no row can match. ``reads`` are further fields that the
    gateway reads from every row, to sort them.
    """

    parameters: tuple[tuple[str, Any], ...] = ()
    tests: tuple[tuple[str, FilterTest], ...] = ()
    exact: bool = True
    impossible: bool = False
    reads: tuple[Path, ...] = ()

    @cached_property
    def needs(self) -> Selection:
        """The fields that are read from a row: by the tests, and to sort it."""
        return needed_fields(tuple([test for _, test in self.tests]), self.reads)

    def sorted_by(self, path: Path | None) -> "ListFilter":
        """Return the same filter for rows that are sorted by the value at a path, None for one that lists sort by."""
        return self if path is None else replace(self, reads=(path,))

    def operands(self, records: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Return what the tests compare: for each test, the operands of all records."""
        return [[*map(test.operand, records)] for _, test in self.tests]

    def select(self, rows: Sequence[T], operands: Sequence[Sequence[Any]], wanted: Filter) -> Sequence[T]:
        """Return the rows that pass all tests with the values of a filter.

        ``operands`` has, for each test, those of all rows.
        """
        results = [
            map(test.condition(wanted[name]), column) for (name, test), column in zip(self.tests, operands, strict=True)
        ]
        if not results:
            return rows
        return [*compress(rows, results[0] if len(results) == 1 else map(all, zip(*results, strict=True)))]


IMPOSSIBLE: Final = ListFilter(impossible=True)


@lru_cache
def needed_fields(tests: tuple[FilterTest, ...], paths: tuple[Path, ...] = ()) -> Selection:
    """Return the fields that tests read, and those at further paths."""
    needs: dict[FieldRequest, dict[FieldRequest, Any]] = {}
    for first, *rest in [*(path for test in tests for path in test.paths), *paths]:
        below = needs.setdefault(FieldRequest(first), {})
        below |= {FieldRequest(name): {} for name in rest}
    return Selection.of(needs) if needs else NO_FIELDS


def plan_filter(kind: Kind, entity: str, call: Call | None, constants: Mapping[str, Any], wanted: Filter) -> ListFilter:
    """Plan a filter for one list of a registry; ``constants`` are the fields with the same value in all of its rows."""
    pushdowns = {} if call is None else call.filters
    parameters: dict[str, Any] = {}
    tests: list[tuple[str, FilterTest]] = []
    exact = True
    for name, value in wanted.items():
        if name in REGISTRY_FILTERS:
            continue
        test = TESTS[entity][name]
        if all(path[0] in constants for path in test.paths):
            if not test.predicate(value)(constants):
                return IMPOSSIBLE
            continue
        if is_never_supplied(kind, entity, test):
            return IMPOSSIBLE
        conditions, is_whole = [(name, value)], True
        if name not in pushdowns:
            conditions, is_whole = single_conditions(name, value)
        exact = exact and is_whole
        for one, part in conditions:
            pushdown = pushdowns.get(one) if is_pushable(part) else None
            pushed = None if pushdown is None else pushdown.parameters(part)
            if call is None or pushdown is None or pushed is None or not fits(call, pushed, parameters):
                exact = False
            else:
                parameters = call.combined(parameters, pushed)
                exact = exact and pushdown.exact
        tests.append((name, test))
    return ListFilter(tuple(sorted(parameters.items())), tuple(tests), exact)


@lru_cache(1000)
def deciding_filters(entity: str, kinds: tuple[Kind, ...]) -> frozenset[str]:
    """Return the filters whose values decide which lists are read, or how they are called.

    The values of all others only decide which rows pass: filters that no list applies itself, and that no list has as
    a constant.
    """
    streams = [stream for kind in kinds for stream in kind.streams if stream.entity == entity]
    deciding = [
        name
        for name, test in TESTS[entity].items()
        for stream in streams
        if not stream.call.filters.keys().isdisjoint((name, "label" if name == "labels" else SINGLE.get(name, name)))
        or all(path[0] in stream.constants for path in test.paths)
    ]
    return frozenset([*REGISTRY_FILTERS, *deciding])


def single_conditions(name: str, value: Any) -> tuple[list[tuple[str, Any]], bool]:
    """Return the filters for single values that every row must pass, and whether they are the whole filter."""
    if name == "labels":
        allowed = value.get("any_of", ())
        needed = [*value.get("all_of", ()), *(allowed if len(allowed) == 1 else ())]
        return [("label", label) for label in needed], len(allowed) < 2
    if name in SINGLE:
        return ([(SINGLE[name], value[0])], True) if len(value) == 1 else ([], False)
    return [(name, value)], True


def selected_lists(stream: Stream, wanted: Filter) -> list[tuple[Stream, Filter]]:
    """Return the lists that a filter selects in place of a stream, each with the filter for its rows.

    If a parameter of the filter replaces one that selects the stream, such as the provider of public models, each value
    selects another list of the registry.
    """
    for name, values in wanted.items() if stream.defaults else ():
        pushdown = selecting_pushdown(stream, SINGLE.get(name, ""))
        if pushdown is not None and len(values) > 1:
            lists = {repr(pushdown.parameters(value)): value for value in values}
            return [
                (replace(stream, name=f"{stream.name} {value}"), {**wanted, name: (value,)}) for value in lists.values()
            ]
    return [(stream, wanted)]


def selecting_pushdown(stream: Stream, name: str) -> FilterPushdown | None:
    """Return the pushdown of a filter that replaces a parameter that selects the stream, None for other filters."""
    pushdown = stream.call.filters.get(name)
    return pushdown if pushdown is not None and pushdown.selects in dict(stream.defaults) else None


def fits(call: Call, pushed: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether a call can apply a filter together with those in ``parameters``."""
    return all(name not in parameters or name in call.joined for name in pushed)


def is_pushable(value: Any) -> bool:
    """Whether a registry compares all texts in a filter's value as the gateway does."""
    return all(map(has_one_spelling, texts_in(value)))


@lru_cache(1000)
def is_never_supplied(kind: Kind, entity: str, test: FilterTest) -> bool:
    """Whether a kind of registry supplies none of the fields that a test reads."""

    def is_absent(path: Path) -> bool:
        if path[0] == "latest_version":
            return path[1] in kind.absent["ModelVersion"]
        return path[0] in kind.absent[entity]

    return all(map(is_absent, test.paths))
