"""Facets of merged lists: the values of a field over the rows that match a filter, each with its number of rows.

A facet is counted over the filter without the conditions on its own field, as search engines do. So the lists are read
without filters that registries would apply: one pass over their pages, which are then cached, serves every filter. The
rows are read up to the limit of a scan. A value that a list row lacks is not fetched; the facet is not exact then.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from gateway.catalog.bounds import Bounds
from gateway.catalog.calls import Calls, gather
from gateway.catalog.filters import (
    SINGLE,
    Filter,
    FilterTest,
    ListFilter,
    Passes,
    Path,
    folded,
    needed_fields,
    plan_filter,
    selected_lists,
    selecting_pushdown,
)
from gateway.catalog.list_rows import ListPage
from gateway.catalog.lists import (
    DEFAULT_ORDER,
    ReadStrategy,
    coverage,
    first_call,
    is_included,
    is_native,
    read_strategy,
)
from gateway.catalog.merge import Page, StreamReader
from gateway.catalog.query_plan import BoundCall
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry, error_record
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import BadInput, NoRegistryAnswered, NotFound, RegistryError, RegistryRejected
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Field, Raw, Rows
from gateway.registries.kind import Kind, Stream
from gateway.upstream.cache import DerivedValues

VALUE_BYTES: Final = 30
"""The memory of a value in a cached column."""

NATIVE_ID: Final = ("native_id",)
"""The path of the id in the registry, which is that of a row's reference."""

UNKNOWN: Final = object()
"""The value of a field that a row lacks, and that only a further call could supply."""


class FacetField(NamedTuple):
    """A field that has facets: the filters on it, and where its values are: at a path of a row, or in the registry."""

    filters: tuple[str, ...]
    path: Path = ()
    of_registry: Callable[[Registry], str] | None = None


def word(name: str, several: str) -> FacetField:
    return FacetField((name, several), (name,))


def of_latest_version(name: str, several: str) -> FacetField:
    return FacetField((name, several), ("latest_version", name))


OF_REGISTRY: Final = {
    "REGISTRY": FacetField(("registries",), of_registry=lambda registry: registry.name),
    "KIND": FacetField(("kinds",), of_registry=lambda registry: registry.kind.name),
}
FIELDS: Final[Mapping[str, Mapping[str, FacetField]]] = {
    "Model": {
        **OF_REGISTRY,
        "OWNERSHIP": FacetField(("ownership",), ("ownership",)),
        "TYPE": word("type", "types"),
        "DOMAIN": word("domain", "domains"),
        "TASK": word("task", "tasks"),
        "FRAMEWORK": of_latest_version("framework", "frameworks"),
        "FORMAT": of_latest_version("format", "formats"),
        "PROVIDER": word("provider", "providers"),
        "ORIGIN": word("origin", "origins"),
        "LABEL_KEY": FacetField(("label", "labels"), ("labels", "key")),
        "APPROVAL": of_latest_version("approval", "approvals"),
        "READINESS": of_latest_version("readiness", "readinesses"),
    },
    "Algorithm": {
        **OF_REGISTRY,
        "PROVIDER": word("provider", "providers"),
        "METHOD": FacetField((), ("method",)),
        "SCALE": FacetField((), ("scale",)),
    },
}
"""The fields that have facets, by the type of the rows."""


# Plan


class FacetList(NamedTuple):
    """One list of a registry as facets read it: with the tests of a filter, and the call for its first page."""

    registry: Registry
    stream: Stream
    layout: EntityLayout
    applied: ListFilter
    strategy: ReadStrategy
    first: BoundCall


class FacetGroup(NamedTuple):
    """Facets that are counted over the same rows: their fields, and the lists that can contain such rows."""

    fields: tuple[str, ...]
    lists: tuple[FacetList, ...]


def facet_groups(
    entity: str, fields: Iterable[str], wanted: Filter, registries: Mapping[str, Registry], bounds: Bounds
) -> list[FacetGroup]:
    """Return the facets of different fields, grouped by the conditions that are left of the filter."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(fields):
        own = FIELDS[entity][name].filters
        groups.setdefault(tuple(condition for condition in wanted if condition not in own), []).append(name)
    return [
        FacetGroup(tuple(names), tuple(facet_lists(entity, wanted, left, registries, bounds)))
        for left, names in groups.items()
    ]


def facet_lists(
    entity: str, wanted: Filter, left: Collection[str], registries: Mapping[str, Registry], bounds: Bounds
) -> Iterator[FacetList]:
    """Yield the lists of which a row can match the conditions ``left`` of a filter. No registry applies them.

    Among them are the lists that the other conditions of the filter select, such as those of its providers.
    """
    kept = {name: wanted[name] for name in left}
    others = [{**kept, name: value} for name, value in wanted.items() if name not in kept]
    for name, registry in registries.items():
        kind = registry.kind
        for stream in kind.streams if is_included(registry, kept) else ():
            call, rows = stream.call, stream.call.rows
            if stream.entity != entity or rows is None or rows.layout is None:
                continue
            filters = [kept, *(other for other in others if selects_lists(stream, other.keys() - kept.keys()))]
            for selected, part in [listed for one in filters for listed in selected_lists(stream, one)]:
                planned = plan_filter(kind, entity, call, stream.constants, part)
                applied = replace(planned, parameters=selecting_parameters(stream, part))
                strategy = read_strategy(bounds, kind, rows.layout, call, ListFilter(), DEFAULT_ORDER)
                strategy = strategy._replace(rows=bounds.rows)
                if not applied.impossible:
                    first = first_call(name, selected, applied, DEFAULT_ORDER)
                    yield FacetList(registry, selected, rows.layout, applied, strategy, first)


def selects_lists(stream: Stream, filters: Iterable[str]) -> bool:
    """Whether one of the filters selects another list in place of a stream, which then is only a part of the rows."""
    return any(selecting_pushdown(stream, SINGLE.get(name, name)) is not None for name in filters)


def selecting_parameters(stream: Stream, wanted: Filter) -> tuple[tuple[str, Any], ...]:
    """Return the parameters that a filter puts in place of those that select a stream."""
    parameters: dict[str, Any] = {}
    for name, value in wanted.items():
        pushdown = selecting_pushdown(stream, SINGLE.get(name, name))
        if pushdown is not None:
            parameters |= pushdown.parameters(value[0] if name in SINGLE else value) or {}
    return tuple(sorted(parameters.items()))


def pages_of_facets(listed: FacetList) -> int:
    """Return the maximum number of pages of a list that facets read."""
    paging = listed.stream.call.paging
    return 1 if paging is None else -(-listed.strategy.rows // paging.rows)


# Values of raw rows


def value_reader(kind: Kind, layout: EntityLayout, path: Path) -> Callable[[Raw], Any]:
    """Return a function from a raw row to the value at a path, None if it has none, or `UNKNOWN`."""
    name, *rest = path
    entry = layout.fields.get(name)
    if name in kind.absent[layout.entity]:
        return lambda raw: None
    if entry is None or entry.lookup is not None:
        return lambda raw: UNKNOWN
    return entry_reader(kind, entry, rest)


def entry_reader(kind: Kind, entry: Field, rest: Sequence[str]) -> Callable[[Raw], Any]:
    if not rest:
        return lambda raw: UNKNOWN if (value := entry.read(raw)) is NOT_PROVIDED else value
    if entry.layout is not None:
        inner = value_reader(kind, entry.layout, tuple(rest))
    else:
        assert entry.table is not None
        inner = entry.table[rest[0]].read

    def read(raw: Raw) -> Any:
        value = entry.read(raw)
        if value is None:
            return None
        if value is NOT_PROVIDED or isinstance(value, Rows):
            return UNKNOWN
        return [inner(item) for item in value] if isinstance(value, list) else inner(value)

    return read


@dataclass(frozen=True, slots=True)
class RowTest:
    """A test of a filter for raw rows in one layout."""

    paths: tuple[Path, ...]
    needs: Selection
    readers: Mapping[Path, Callable[[Raw], Any]]
    passes: Passes
    monotone: bool

    @classmethod
    def of(cls, kind: Kind, layout: EntityLayout, test: FilterTest, wanted: Any) -> "RowTest":
        readers = {path: value_reader(kind, layout, path) for path in test.paths if path != NATIVE_ID}
        return cls(test.paths, needed_fields((test,)), readers, test.predicate(wanted), test.monotone)

    def result(self, raw: Raw, layout: EntityLayout) -> bool | None:
        """Return whether a row passes, None if the row lacks a value that decides it."""
        values: dict[Path, Any] = {path: read(raw) for path, read in self.readers.items()}
        if NATIVE_ID in self.paths:
            values[NATIVE_ID] = layout.key(raw)
        unknown = [path for path, value in values.items() if value is UNKNOWN]
        if unknown and not self.monotone:
            return None
        values |= dict.fromkeys(unknown)
        passes = self.passes(
            {request.field: nested(values, request.field, below) for request, below in self.needs.items()}
        )
        return passes or (None if unknown else False)


def passes_all(tests: Iterable[RowTest], raw: Raw, layout: EntityLayout) -> bool | None:
    """Return whether a row passes all tests, None if it lacks a value that decides it."""
    passes: bool | None = True
    for test in tests:
        result = test.result(raw, layout)
        if result is False:
            return False
        passes = passes and result
    return passes


def nested(values: Mapping[Path, Any], name: str, below: Selection) -> Any:
    """Return the value of a field as in a record: an object or a list of objects if there is a selection below it."""
    if not below:
        return values[name,]
    parts = {inner.field: values[name, inner.field] for inner in below}
    lists = [part for part in parts.values() if isinstance(part, list)]
    if lists:
        return [dict(zip(parts, item, strict=True)) for item in zip(*parts.values(), strict=True)]
    return None if all(part is None for part in parts.values()) else parts


# Reading and counting


class FacetPage(NamedTuple):
    """A page of a list with the cached values that are derived from its answer."""

    page: ListPage
    derived: DerivedValues

    def column(self, path: Path) -> Sequence[Any]:
        """Return the values at a path, one for each row: a text, a tuple of texts, None or `UNKNOWN`. Cached."""
        page, key = self.page, ("facet", self.page.registry, self.page.layout, path)
        column: Sequence[Any] | None = self.derived.get(key)
        if column is None:
            values = map(value_reader(page.kind, page.layout, path), page.raws.values())
            column = [tuple(dict.fromkeys(value)) if isinstance(value, list) else value for value in values]
            self.derived.store(key, column, VALUE_BYTES * len(column))
        return column


@dataclass(eq=False)
class ListReading:
    """The rows of one list, read once for all facets."""

    listed: FacetList
    reader: StreamReader
    pages: list[FacetPage]

    @classmethod
    def of(cls, calls: Calls, listed: FacetList) -> "ListReading":
        registry, call, strategy = listed.registry, listed.stream.call, listed.strategy
        rows = call.rows
        assert rows is not None
        pages: list[FacetPage] = []
        native = is_native(call, DEFAULT_ORDER)

        async def fetch_page(at: int | str) -> Page:
            try:
                answer = await calls.call(listed.first._replace(page=at))
            except NotFound as error:  # a list always exists, so the request was wrong
                raise RegistryRejected(
                    registry.name, vendor_code=error.vendor_code, request_id=error.request_id
                ) from None
            raw_rows, page = ListPage.from_answer(answer, registry, rows, DEFAULT_ORDER, native)
            await calls.count_rows(len(page.rows))
            pages.append(FacetPage(page, answer.derived))
            return page.filtered(call, at, raw_rows, ())

        name = f"{registry.name}/{listed.stream.name}"
        reader = StreamReader(
            registry.name, name, fetch_page, sorted=False, max_rows=strategy.rows, max_pages=strategy.pages
        )
        return cls(listed, reader, pages)

    @property
    def is_whole(self) -> bool:
        """Whether all rows of the list were read."""
        return self.reader.failure is None


class FacetCount:
    """The values of one facet with their counts. Words that differ in case only are one value."""

    def __init__(self, facet: FacetField) -> None:
        self.facet = facet
        self.exact = True
        self.counts: Counter[str] = Counter()
        self.spellings: dict[str, Counter[str]] = {}

    def add(self, registry: Registry, page: FacetPage, rows: Sequence[int] | None) -> None:
        """Count the rows of a page at some positions, None for all of them."""
        if self.facet.of_registry is not None:
            self._count(self.facet.of_registry(registry), len(page.page.raws) if rows is None else len(rows))
            return
        column = page.column(self.facet.path)
        for value, count in Counter(column if rows is None else [column[row] for row in rows]).items():
            if value is UNKNOWN:
                self.exact = False
            elif value is not None:
                self._count(value, count)

    def _count(self, value: str | tuple[str, ...], count: int) -> None:
        texts = value if isinstance(value, tuple) else (value,)
        for word, spelled in {folded(text) if self._is_word else text: text for text in texts if text}.items():
            if count:
                self.counts[word] += count
                self.spellings.setdefault(word, Counter())[spelled] += count

    @property
    def _is_word(self) -> bool:
        return len(self.facet.path) == 1

    def values(self, first: int | None) -> list[Record]:
        """Return the values with their counts, the most frequent ones first, at most ``first`` of them."""
        spelled = {word: min(texts, key=lambda text: (-texts[text], text)) for word, texts in self.spellings.items()}
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], spelled[item[0]]))
        return [{"value": spelled[word], "count": count} for word, count in ordered[:first]]


@dataclass(eq=False)
class FacetReading:
    """The facets of one list field of an operation, and what was read for them."""

    calls: Calls
    readings: dict[BoundCall, ListReading] = field(default_factory=dict)

    async def facets(self, entity: str, requests: Mapping[FieldRequest, FieldRequest], wanted: Filter) -> Record:
        """Return the facets of requests, which are mapped to bound ones, by their keys.

        Instead of the facets of a request with an invalid argument, returns its `BadInput`. The lists are read, and
        their rows tested, once for all requests.
        """
        valid = [bound for bound in requests.values() if invalid_argument(bound) is None]
        fields = [name for bound in valid for name in bound.argument("fields")]
        groups = facet_groups(entity, fields, wanted, self.calls.registries, self.calls.bounds)
        await self._read([listed for group in groups for listed in group.lists])
        found: dict[str, FacetCount] = {}
        for group in groups:
            found |= await self._count(entity, group, wanted)
        return {request.key: invalid_argument(bound) or shown(bound, found) for request, bound in requests.items()}

    async def _read(self, lists: Iterable[FacetList]) -> None:
        """Read different lists."""
        different = {listed.first: listed for listed in lists}
        self.readings = {first: ListReading.of(self.calls, listed) for first, listed in different.items()}
        await gather([reading.reader.advance() for reading in self.readings.values()])
        self.calls.partial |= not all(reading.is_whole for reading in self.readings.values())

    async def _count(self, entity: str, group: FacetGroup, wanted: Filter) -> dict[str, FacetCount]:
        found = {name: FacetCount(FIELDS[entity][name]) for name in group.fields}
        seen: set[str] = set()
        for listed in group.lists:
            reading = self.readings[listed.first]
            kind, layout = listed.registry.kind, listed.layout
            tests = [RowTest.of(kind, layout, test, wanted[name]) for name, test in listed.applied.tests]
            certain = reading.is_whole
            for page in reading.pages:
                raws = page.page.raws
                await self.calls.count_rows(len(raws))
                rows = None
                if tests or not seen.isdisjoint(raws):
                    results = [passes_all(tests, raw, layout) if id not in seen else False for id, raw in raws.items()]
                    certain = certain and None not in results
                    rows = [row for row, result in enumerate(results) if result]
                seen.update(raws)
                for count in found.values():
                    count.add(listed.registry, page, rows)
            for count in found.values():
                count.exact = count.exact and certain and not selects_lists(listed.stream, count.facet.filters)
        return found

    def failures(self) -> dict[str, RegistryError]:
        """Return the first failed call of each registry."""
        failed: dict[str, RegistryError] = {}
        for reading in self.readings.values():
            if reading.reader.error is not None:
                failed.setdefault(reading.reader.registry, reading.reader.error)
        return failed

    def require_answer(self) -> None:
        """Raise `NoRegistryAnswered` if all lists failed."""
        readers = [reading.reader for reading in self.readings.values()]
        if readers and all(reader.error is not None for reader in readers):
            raise NoRegistryAnswered(self.failures())

    def add_to_coverage(self, entries: list[Record]) -> None:
        """Add the rows that were read and the failures to the coverage of a page.

        A registry that the page does not include, and that facets read, has no row on the page and gets an entry.
        """
        failed, listed = self.failures(), {entry["registry"]["name"] for entry in entries}
        readers: dict[str, list[StreamReader]] = {}
        for reading in self.readings.values():
            readers.setdefault(reading.reader.registry, []).append(reading.reader)
        unlisted = [self.calls.registries[name] for name in readers if name not in listed]
        entries += [{"registry": registry.record(), **coverage((), ())} for registry in unlisted]
        for entry in entries:
            name = entry["registry"]["name"]
            own, received = readers.get(name, []), coverage((), self.calls.received(name))
            entry["rows_read"] = max(entry["rows_read"], sum(reader.read for reader in own))
            entry["age"] = received["age"]
            if name in failed and entry["error"] is None:
                is_partial = name in listed or any(reader.error is None for reader in own)
                entry |= {"state": "PARTIAL" if is_partial else "UNAVAILABLE", "error": error_record(failed[name])}
            elif entry["state"] == "COMPLETE":
                entry["state"] = received["state"]


def invalid_argument(request: FieldRequest) -> BadInput | None:
    """Return the error of an invalid argument of a request for facets, None if all are valid."""
    first = request.argument("first")
    return None if first is None or first >= 1 else BadInput(f"`first` must be at least 1, not {first}.")


def shown(request: FieldRequest, found: Mapping[str, FacetCount]) -> list[Record]:
    """Return the records of the different fields of a request."""
    return [
        {"field": name, "exact": found[name].exact, "values": found[name].values(request.argument("first"))}
        for name in dict.fromkeys(request.argument("fields"))
    ]
