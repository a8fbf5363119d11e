"""Which rows a list is asked for: every filter as a test over unified fields, and the question it asks of a stream.

A registry's list may apply a filter itself (`Call.filters`); every row is tested again all the same, since upstream
matching is fuzzy.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from gateway.catalog.ids import spoken
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import BadInput
from gateway.registries.fields import MOST_TIMES
from gateway.registries.kind import Call, Kind

Filter = Mapping[str, Any]
"""Filters that are set, by name: text, words, `Filter`s of their own for labels and ranges."""


Path = tuple[str, ...]
Passes = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Test:
    """A filter as a test: the fields of a row that it looks at, and for a wanted value what says whether a record
    passes."""

    paths: tuple[Path, ...]
    wants: Callable[[Any], Passes]


def equals(*path: str) -> Test:
    """The field is exactly the wanted value."""
    if len(path) == 1:
        [name] = path
        return Test((path,), lambda wanted: lambda record: bool(record[name] == wanted))
    return Test((path,), lambda wanted: lambda record: value_at(record, path) == wanted)


def within(name: str) -> Test:
    """The field is a moment in the wanted range: ``from`` is part of it, ``to`` is not."""

    def wants(wanted: Filter) -> Passes:
        start, end = moments(wanted)

        def passes(record: Any) -> bool:
            if record[name] is None:
                return False
            moment = instant(record[name])
            return (start is None or moment >= start) and (end is None or moment < end)

        return passes

    return Test(((name,),), wants)


def moments(wanted: Filter) -> tuple[datetime | None, datetime | None]:
    """The ends of a range."""
    start, end = wanted.get("from"), wanted.get("to")
    return (
        None if start is None else instant(start),
        None if end is None else instant(end),
    )


instant = lru_cache(MOST_TIMES)(datetime.fromisoformat)


def value_at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record


def contains(text: str | None, part: str) -> bool:
    return text is not None and part.casefold() in text.casefold()


def found(wanted: str) -> Passes:
    """Full text as PAI defines it: name, domain, task, and keys and values of labels."""

    def passes(record: Any) -> bool:
        labels = [said for label in record["labels"] or () for said in (label["key"], label["value"])]
        return any(contains(said, wanted) for said in (record["name"], record["domain"], record["task"], *labels))

    return passes


def labelled(wanted: Filter) -> Passes:
    return lambda record: any(
        label["key"] == wanted["key"] and wanted.get("value") in (None, label["value"])
        for label in record["labels"] or ()
    )


LABELS = (("labels", "key"), ("labels", "value"))
NAME_CONTAINS = Test((("name",),), lambda wanted: lambda record: contains(record["name"], wanted))

TESTS: Mapping[str, Mapping[str, Test]] = {
    "Model": {
        "ownership": equals("ownership"),
        "search": Test((("name",), ("domain",), ("task",), *LABELS), found),
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "type": equals("type"),
        "domain": equals("domain"),
        "task": equals("task"),
        "origin": equals("origin"),
        "provider": equals("provider"),
        "workspace_id": equals("workspace_id"),
        "label": Test(LABELS, labelled),
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
        "label": Test(LABELS, labelled),
    },
    "Algorithm": {
        "name_contains": NAME_CONTAINS,
        "name_equals": equals("name"),
        "provider": equals("provider"),
        "workspace_id": equals("workspace_id"),
    },
    "AlgorithmVersion": {},
}
"""Every filter of every list. Which registries take part is not a test: `registries` and `kinds` choose streams."""

LONGEST_TEXT = 256
"""Characters of a text to filter by: upstream it is a part of an address."""

CHOOSING = ("registries", "kinds")
STRUCTURED = ("label", "created_at", "updated_at")


def checked(frozen: Iterable[tuple[str, Any]], registries: Container[str]) -> Filter:
    """The filter of an argument. Raises `BadInput` where it makes no sense."""
    wanted = {name: dict(value) if name in STRUCTURED else value for name, value in frozen}
    for name, value in wanted.items():
        if value in ("", (), {}):
            raise BadInput(f"`filter.{camel(name)}` is empty; leave it out to not filter by it.")
        texts = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(text, str) and len(text) > LONGEST_TEXT for text in texts):
            raise BadInput(f"`filter.{camel(name)}` is longer than {LONGEST_TEXT} characters.")
    for name in wanted.get("registries", ()):
        if name not in registries:
            raise BadInput(f"`filter.registries`: there is no registry {spoken(name)}.")
    for name in ("created_at", "updated_at"):
        start, end = moments(wanted.get(name, {}))
        if start is not None and end is not None and start >= end:
            raise BadInput(f"`filter.{camel(name)}`: `from` must be before `to`.")
    return wanted


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


@dataclass(frozen=True, slots=True)
class Sieve:
    """A filter as one list applies it: what its call is asked for, and what is tested here.

    ``exact`` says that the upstream's count counts just the rows that pass, ``impossible`` that none can.
    """

    parameters: tuple[tuple[str, Any], ...] = ()
    tests: tuple[tuple[Test, Any], ...] = ()
    exact: bool = True
    impossible: bool = False

    @property
    def needs(self) -> Selection:
        """The fields of a row that the tests look at."""
        return needs_of(tuple(test for test, _ in self.tests))

    def passing(self) -> Passes:
        """What says whether a record passes."""
        tests = [test.wants(wanted) for test, wanted in self.tests]
        return tests[0] if len(tests) == 1 else lambda record: all(passes(record) for passes in tests)


@lru_cache
def needs_of(tests: tuple[Test, ...]) -> Selection:
    """The fields that tests look at."""
    needs: dict[FieldRequest, dict[FieldRequest, Any]] = {}
    for test in tests:
        for first, *rest in test.paths:
            below = needs.setdefault(FieldRequest(first), {})
            below |= {FieldRequest(name): {} for name in rest}
    return Selection.of(needs)


def sieve(kind: Kind, entity: str, call: Call, facts: Mapping[str, Any], wanted: Filter) -> Sieve:
    """How a list of a registry applies a filter; ``facts`` are what all of its rows have in common."""
    parameters: dict[str, Any] = {}
    tests: list[tuple[Test, Any]] = []
    exact, impossible = True, False
    for name, value in wanted.items():
        if name in CHOOSING:
            continue
        test = TESTS[entity][name]
        if name in facts:
            impossible = impossible or facts[name] != value
        elif all(never_said(kind, entity, path) for path in test.paths):
            impossible = True
        else:
            push = call.filters.get(name)
            pushed = None if push is None else push.parameters(value)
            if push is None or pushed is None:
                exact = False
            else:
                parameters |= pushed
                exact = exact and push.exact
            tests.append((test, value))
    return Sieve(tuple(sorted(parameters.items())), tuple(tests), exact, impossible)


def never_said(kind: Kind, entity: str, path: Path) -> bool:
    """Whether a kind of registry never supplies a field."""
    if path[0] == "latest_version":
        return path[1] in kind.absent["ModelVersion"]
    return path[0] in kind.absent[entity]
