"""Filters of lists: each is a predicate over unified fields, and a list may push it down to its registry.

A registry's list may apply a filter itself (`Call.filters`). The gateway tests every row again, since vendors match
loosely.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, reduce
from math import inf
from typing import Any, Final
from unicodedata import normalize

from gateway.catalog.ids import quoted
from gateway.catalog.orders import microseconds
from gateway.catalog.selection import NO_FIELDS, FieldRequest, Selection, to_camel_case
from gateway.errors import BadInput
from gateway.registries.fields import TIME_CACHE_SIZE
from gateway.registries.kind import Call, Kind

Filter = Mapping[str, Any]
"""The filters that a client set, by name: text, enum values, and nested filters for labels and ranges."""


Path = tuple[str, ...]
Passes = Callable[[Any], bool]


@dataclass(frozen=True, slots=True, eq=False)
class FilterTest:
    """A filter as a test: the fields of a row that it reads, and a function from the wanted value to a predicate."""

    paths: tuple[Path, ...]
    predicate: Callable[[Any], Passes]


def equals(*path: str) -> FilterTest:
    """The field equals the wanted value. Texts that differ only in Unicode composition are equal."""
    if len(path) == 1:
        [name] = path
        return FilterTest((path,), lambda wanted: lambda record: is_same(record[name], wanted))
    return FilterTest((path,), lambda wanted: lambda record: is_same(record_value(record, path), wanted))


def within(name: str) -> FilterTest:
    """The field is a time in the wanted range, which includes ``from`` and excludes ``to``."""

    def predicate(wanted: Filter) -> Passes:
        start, end = time_range(wanted)
        first = -inf if start is None else microseconds(start.isoformat())
        last = inf if end is None else microseconds(end.isoformat())

        def passes(record: Any) -> bool:
            time = record[name]
            return time is not None and first <= microseconds(time) < last

        return passes

    return FilterTest(((name,),), predicate)


def time_range(wanted: Filter) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end of a range."""
    start, end = wanted.get("from"), wanted.get("to")
    return (
        None if start is None else parse_time(start),
        None if end is None else parse_time(end),
    )


parse_time = lru_cache(TIME_CACHE_SIZE)(datetime.fromisoformat)


def record_value(record: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path of fields in a record, None below a null."""
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record


def is_same(value: Any, wanted: Any) -> bool:
    """Whether values are equal. Texts are compared composed (NFC): an accent may be part of its letter or follow it."""
    if value == wanted:
        return True
    texts = isinstance(value, str) and isinstance(wanted, str) and not (value.isascii() and wanted.isascii())
    return texts and normalize("NFC", value) == normalize("NFC", wanted)


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


def contains(text: str | None, part: str) -> bool:
    """Whether a text contains a folded part."""
    return text is not None and part in folded(text)


def full_text(wanted: str) -> Passes:
    """Full-text search as PAI defines it: in name, domain, task, and keys and values of labels."""
    part = folded(wanted)

    def passes(record: Any) -> bool:
        labels = [text for label in record["labels"] or () for text in (label["key"], label["value"])]
        return any(contains(text, part) for text in (record["name"], record["domain"], record["task"], *labels))

    return passes


def has_label(wanted: Filter) -> Passes:
    key, value = wanted["key"], wanted.get("value")
    return lambda record: any(
        is_same(label["key"], key) and (value is None or is_same(label["value"], value))
        for label in record["labels"] or ()
    )


def has_name_part(wanted: str) -> Passes:
    part = folded(wanted)
    return lambda record: contains(record["name"], part)


LABELS = (("labels", "key"), ("labels", "value"))
NAME_CONTAINS = FilterTest((("name",),), has_name_part)

TESTS: Mapping[str, Mapping[str, FilterTest]] = {
    "Model": {
        "ownership": equals("ownership"),
        "search": FilterTest((("name",), ("domain",), ("task",), *LABELS), full_text),
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "type": equals("type"),
        "domain": equals("domain"),
        "task": equals("task"),
        "origin": equals("origin"),
        "provider": equals("provider"),
        "workspace_id": equals("workspace_id"),
        "label": FilterTest(LABELS, has_label),
        "owner": equals("owner", "native_id"),
        "created_at": within("created_at"),
        "updated_at": within("updated_at"),
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
        "label": FilterTest(LABELS, has_label),
    },
    "Algorithm": {
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "provider": equals("provider"),
        "workspace_id": equals("workspace_id"),
    },
    "AlgorithmVersion": {},
}
"""The filters of each list, except `REGISTRY_FILTERS`, which select registries."""

MAX_TEXT_LENGTH = 256
"""The maximum length of a text filter in characters, since it becomes part of an upstream URL."""

REGISTRY_FILTERS = ("registries", "kinds")
STRUCTURED = ("label", "created_at", "updated_at")


def parse_filter(arguments: Iterable[tuple[str, Any]], registries: Container[str]) -> Filter:
    """Return the filter of an argument. Raises `BadInput` for a value that is empty, too long or contradictory."""
    wanted = {name: dict(value) if name in STRUCTURED else value for name, value in arguments}
    for name, value in wanted.items():
        if value in ("", (), {}):
            raise BadInput(f"`filter.{to_camel_case(name)}` is empty; leave it out to not filter by it.")
        texts = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(text, str) and len(text) > MAX_TEXT_LENGTH for text in texts):
            raise BadInput(f"`filter.{to_camel_case(name)}` is longer than {MAX_TEXT_LENGTH} characters.")
    for name in wanted.get("registries", ()):
        if name not in registries:
            raise BadInput(f"`filter.registries`: there is no registry {quoted(name)}.")
    for name in ("created_at", "updated_at"):
        start, end = time_range(wanted.get(name, {}))
        if start is not None and end is not None and start >= end:
            raise BadInput(f"`filter.{to_camel_case(name)}`: `from` must be before `to`.")
    return wanted


@dataclass(frozen=True)
class ListFilter:
    """A filter for one list: the ``parameters`` that push it down, and the ``tests`` that the gateway runs.

    ``exact`` is true if the registry counts only matching rows, ``impossible`` if no row can match.
    """

    parameters: tuple[tuple[str, Any], ...] = ()
    tests: tuple[tuple[FilterTest, Any], ...] = ()
    exact: bool = True
    impossible: bool = False

    @cached_property
    def needs(self) -> Selection:
        """The fields of a row that the tests read."""
        return needed_fields(tuple([test for test, _ in self.tests])) if self.tests else NO_FIELDS

    def predicate(self) -> Passes:
        """Return a function that reports whether a record passes all tests."""
        return reduce(both, [test.predicate(wanted) for test, wanted in self.tests])


def both(first: Passes, second: Passes) -> Passes:
    return lambda record: first(record) and second(record)


IMPOSSIBLE: Final = ListFilter(impossible=True)


@lru_cache
def needed_fields(tests: tuple[FilterTest, ...]) -> Selection:
    """Return the fields that tests read."""
    needs: dict[FieldRequest, dict[FieldRequest, Any]] = {}
    for test in tests:
        for first, *rest in test.paths:
            below = needs.setdefault(FieldRequest(first), {})
            below |= {FieldRequest(name): {} for name in rest}
    return Selection.of(needs)


def plan_filter(kind: Kind, entity: str, call: Call | None, constants: Mapping[str, Any], wanted: Filter) -> ListFilter:
    """Plan a filter for one list of a registry; ``constants`` are the fields with the same value in all of its rows."""
    pushdowns = {} if call is None else call.filters
    parameters: dict[str, Any] = {}
    tests: list[tuple[FilterTest, Any]] = []
    exact = True
    if any(name in wanted and not is_same(value, wanted[name]) for name, value in constants.items()):
        return IMPOSSIBLE
    for name, value in wanted.items():
        if name not in REGISTRY_FILTERS and name not in constants:
            test = TESTS[entity][name]
            if is_never_supplied(kind, entity, test):
                return IMPOSSIBLE
            pushdown = pushdowns.get(name) if is_pushable(value) else None
            pushed = None if pushdown is None else pushdown.parameters(value)
            if call is None or pushdown is None or pushed is None or not fits(call, pushed, parameters):
                exact = False
            else:
                parameters = call.combined(parameters, pushed)
                exact = exact and pushdown.exact
            tests.append((test, value))
    return ListFilter(tuple(sorted(parameters.items())), tuple(tests), exact)


def fits(call: Call, pushed: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether a call can apply a filter together with those in ``parameters``."""
    return all(name not in parameters or name in call.joined for name in pushed)


def is_pushable(value: Any) -> bool:
    """Whether a registry compares all texts in a filter's value as the gateway does."""
    texts = value.values() if isinstance(value, dict) else [value]
    return all(has_one_spelling(text) for text in texts if isinstance(text, str))


@lru_cache(1000)
def is_never_supplied(kind: Kind, entity: str, test: FilterTest) -> bool:
    """Whether a kind of registry supplies none of the fields that a test reads."""

    def is_absent(path: Path) -> bool:
        if path[0] == "latest_version":
            return path[1] in kind.absent["ModelVersion"]
        return path[0] in kind.absent[entity]

    return all(map(is_absent, test.paths))
