"""Pages of lists as Relay connections: arguments, participating streams, the merged page, and its coverage."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, zip_longest
from operator import lt
from typing import Any, Final, NamedTuple

from gateway.catalog.bounds import Bounds
from gateway.catalog.calls import Calls
from gateway.catalog.cursors import Cursor, CursorScope
from gateway.catalog.entity_state import EntityState
from gateway.catalog.filters import (
    Filter,
    ListFilter,
    deciding_filters,
    parse_filter,
    plan_filter,
    record_value,
    selected_lists,
    time_range,
)
from gateway.catalog.ids import VERSIONS, Ref
from gateway.catalog.list_rows import ListPage, ListRows, Resolve, following_page, version_reference
from gateway.catalog.merge import Page, Row, RowCursors, StreamReader, merge
from gateway.catalog.orders import Order, SortKey
from gateway.catalog.prepared_rows import RowEncoder, records_bytes
from gateway.catalog.query_plan import BoundCall, EntityPlan, VersionList, row_supplies
from gateway.catalog.record_readers import Record, raise_failure
from gateway.catalog.registry import Registry, error_record
from gateway.catalog.selection import (
    FieldRequest,
    Selection,
    initial_rows,
    sub_selection,
)
from gateway.errors import BadInput, NoRegistryAnswered, NotFound, RegistryError, RegistryRejected
from gateway.memory_budget import MEMO_CHARACTERS
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Raw, Rows
from gateway.registries.kind import Call, Kind, Stream
from gateway.upstream.cache import DerivedValues
from gateway.upstream.caching_client import Answer

FIELDS_OF_ROWS: Final = ("nodes", "edges", "total_count", "total", "coverage")
"""The fields of a connection that need its rows. All other fields, such as ``page_info``, need them only if more than
``__typename`` is selected below."""

TOTAL_COUNT, TOTAL = FieldRequest("total_count"), FieldRequest("total")

FACETS: Final = "facets"
"""The field of a connection that `gateway.catalog.facets` resolves."""

DEFAULT_SIZE: Final = 20
MAX_SIZE: Final = 100

MOST_PAGES: Final = 100
"""The number of pages of one list to read for a page, unless a scan needs more full ones."""

DEFAULT_ORDER: Final = Order()

CACHED_STREAMS: Final = 4
"""The number of `SelectedStreams` to cache for one field."""

numbers = count()

# Arguments


@dataclass(frozen=True, slots=True)
class ListArguments:
    """The arguments of a connection: the scope of its cursors, the page size, the start position, and the filter."""

    scope: CursorScope
    size: int
    start: Cursor | None
    filter: Filter

    @classmethod
    def of(cls, name: str, request: FieldRequest, registries: Container[str], max_size: int) -> "ListArguments":
        """Parse the arguments of the list called ``name``.

        Raises `BadInput` for a page size above ``max_size`` and for an invalid filter or order, and `InvalidCursor`.
        """
        values: dict[str, Any] = dict(request.arguments)
        size = values["first"]
        if not 1 <= size <= max_size:
            raise BadInput(f"`first` must be between 1 and {max_size}, not {size}.")
        frozen = values.get("filter") or ()
        by = dict(values.get("order_by") or ())
        order = Order(by["field"].lower(), by["direction"] == "DESC") if by else DEFAULT_ORDER
        wanted = parse_filter(frozen, registries) if frozen else {}
        scope = CursorScope(name, order, frozen)
        after = values.get("after") or None  # clients send an empty text for the first page
        return cls(scope, size, None if after is None else scope.decode(after), wanted)


def needs_rows(selection: Selection) -> bool:
    """Whether the selection of a connection needs rows. Facets and ``__typename`` do not."""
    return any(
        request.field in FIELDS_OF_ROWS or (below and request.field != FACETS) for request, below in selection.items()
    )


def needs_count(selection: Selection) -> bool:
    """Whether the selection of a connection needs the number of its rows."""
    return TOTAL_COUNT in selection or TOTAL in selection or TOTAL_COUNT in sub_selection(selection, "coverage")


def empty(selection: Selection) -> Record:
    """Return the record of a connection of which only ``__typename`` is selected."""
    return {request.key: {} for request in selection}


def row_cursors(selection: Selection) -> RowCursors:
    """Return of which rows the selection of a connection needs the cursors."""
    if FieldRequest("cursor") in sub_selection(selection, "edges"):
        return RowCursors.ALL
    ends = {FieldRequest("start_cursor"), FieldRequest("end_cursor")}
    return RowCursors.NONE if ends.isdisjoint(sub_selection(selection, "page_info")) else RowCursors.ENDS


# Reading limits of lists


class ReadStrategy(NamedTuple):
    """How a list is read for one page.

    ``native`` is true if the registry returns the requested order, ``costly`` if the filter needs a call for each row.
    ``rows`` is the maximum number of rows to read, and ``pages`` that of pages, for registries whose pages are smaller
    than requested or have no rows.
    """

    native: bool
    costly: bool
    rows: int
    pages: int


def read_strategy(
    bounds: Bounds, kind: Kind, layout: EntityLayout, call: Call | None, applied: ListFilter, order: Order
) -> ReadStrategy:
    """Return how a list of rows in a layout is read."""
    native = is_native(call, order)
    costly = not supplies_all(kind, layout, applied.needs)
    scanned = bool(applied.tests) or not native
    most = bounds.detail_rows if costly else bounds.rows
    rows = most if scanned else max(most, 2 * MAX_SIZE)
    full_pages = 1 if call is None or call.paging is None else -(-rows // call.paging.rows)
    return ReadStrategy(native, costly, rows, max(full_pages, min(MOST_PAGES, bounds.calls // 4)))


def supplies_all(kind: Kind, layout: EntityLayout, selection: Selection) -> bool:
    """Whether every list row in a layout supplies all fields of a selection, cached with the selection."""
    key = "supplied", kind, layout
    supplied: bool | None = selection.plans.get(key)
    if supplied is None:
        supplied = all(row_supplies(kind, layout, request, below) for request, below in selection.items())
        selection.plans[key] = supplied
    return supplied


def is_native(call: Call | None, order: Order) -> bool:
    """Whether a list arrives in an order."""
    return call is not None and (order.field, order.descending) in call.orders


def order_parameters(call: Call, order: Order) -> Mapping[str, Any]:
    """Return the parameters that request an order. If the list does not support it, the gateway sorts the rows."""
    native = call.orders.get((order.field, order.descending))
    if native is None and call.unsorted is not None:
        return call.unsorted
    return native if native is not None else next(iter(call.orders.values()), {})


def is_beyond(last: Sequence[tuple[SortKey, Ref]], arguments: ListArguments, native: bool) -> bool:
    """Whether a list that is sorted by creation time has passed the requested time range."""
    order = arguments.scope.order
    if not native or order.field != "created_at" or "created_at" not in arguments.filter or not last:
        return False
    start, end = time_range(arguments.filter["created_at"])
    limit = start if order.descending else end
    return limit is not None and last[0][0][0] == 0 and last[0][0][:2] > order.key_of(limit.isoformat(), "")[:2]


def is_included(registry: Registry, wanted: Filter) -> bool:
    """Whether a filter includes a registry."""
    return registry.name in wanted.get("registries", (registry.name,)) and registry.kind.name in wanted.get(
        "kinds", (registry.kind.name,)
    )


def first_call(registry: str, stream: Stream, applied: ListFilter, order: Order) -> BoundCall:
    """Return the call for the first page of a stream."""
    parameters = stream.parameters(order_parameters(stream.call, order), dict(applied.parameters))
    return BoundCall(registry, stream.call, (), tuple(sorted(parameters.items())))


# Planned lists


class PlannedStream(NamedTuple):
    """One list of a registry that may have rows for a page: the filter as the list applies it, and how it is read."""

    registry: Registry
    stream: Stream
    layout: EntityLayout
    applied: ListFilter
    strategy: ReadStrategy
    first: BoundCall
    """The call for the first page."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectedStreams:
    """The streams of a merged list that a filter and an order select.

    ``registries`` are the names of the registries that the filter includes and that have such lists. ``streams`` are
    those of their lists of which a row can match the filter.
    """

    registries: Sequence[str]
    streams: Sequence[PlannedStream]

    @classmethod
    def of(
        cls, entity: str, wanted: Filter, order: Order, registries: Mapping[str, Registry], bounds: Bounds
    ) -> "SelectedStreams":
        """Select the streams for a filter and an order."""
        names, streams = dict[str, None](), []
        for name, registry in registries.items():
            kind = registry.kind
            for stream in kind.streams if is_included(registry, wanted) else ():
                call, rows = stream.call, stream.call.rows
                if stream.entity != entity or rows is None or rows.layout is None:
                    continue
                names[name] = None
                for selected, part in selected_lists(stream, wanted):
                    applied = plan_filter(kind, entity, call, stream.constants, part).sorted_by(order.path)
                    if not applied.impossible:
                        strategy = read_strategy(bounds, kind, rows.layout, call, applied, order)
                        first = first_call(name, selected, applied, order)
                        streams.append(PlannedStream(registry, selected, rows.layout, applied, strategy, first))
        return cls([*names], streams)


StreamsOfField = dict[Hashable, SelectedStreams]
"""The selected streams of one list field, by all that they depend on."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedList:
    """A merged list with the values of its arguments, and the streams that are read for a page.

    ``entity`` is the type of its rows.
    """

    entity: str
    arguments: ListArguments
    selected: SelectedStreams

    @classmethod
    def of(
        cls,
        entity: str,
        request: FieldRequest,
        registries: Mapping[str, Registry],
        bounds: Bounds,
        cached: StreamsOfField,
    ) -> "PlannedList":
        """Plan a list of all objects of a type. Raises `BadInput` and `InvalidCursor` for invalid arguments.

        ``cached`` belongs to the field. New values of filters that only decide which rows pass select no new streams.
        """
        arguments = ListArguments.of(entity, request, registries, bounds.page_rows)
        wanted, order, frozen = arguments.filter, arguments.scope.order, arguments.scope.filter
        deciding = deciding_filters(entity, tuple([registry.kind for registry in registries.values()]))
        values = [(name, value if name in deciding else None) for name, value in frozen or () if name in wanted]
        key = tuple(registries), order, tuple(values)
        selected = cached.get(key)
        if selected is None:
            selected = SelectedStreams.of(entity, wanted, order, registries, bounds)
            if len(repr(values)) <= MEMO_CHARACTERS:
                if len(cached) == CACHED_STREAMS:
                    cached.clear()
                cached[key] = selected
        return cls(entity, arguments, selected)


FetchRows = Callable[[int | str], Awaitable[tuple[Rows, ListPage]]]
"""Returns a page of a list by its number or marker: the rows as the registry sent them, and as a `ListPage`."""

INCOMPLETE: Final = "incomplete"
"""The record key of the error of a connection that has only a part of its rows, and does not show its coverage."""


class MergedList:
    """Builds one merged page from the readers of its streams."""

    def __init__(
        self, rows: ListRows, arguments: ListArguments, selection: Selection, encode: RowEncoder | None = None
    ) -> None:
        self.rows, self.calls = rows, rows.calls
        self.arguments, self.selection, self.encode = arguments, selection, encode
        self.readers: dict[str, list[StreamReader]] = {}

    def add_stream(self, planned: PlannedStream) -> None:
        """Add a list of a registry."""
        registry, stream, layout, applied, strategy, first = planned
        call, field, native = stream.call, stream.call.rows, strategy.native
        assert field is not None
        calls, rows, order = self.calls, self.rows, self.arguments.scope.order

        async def fetch_rows(at: int | str) -> tuple[Rows, ListPage]:
            try:
                answer = await calls.call(first._replace(page=at))
            except NotFound as error:  # a list always exists, so the request was wrong
                raise RegistryRejected(
                    registry.name, vendor_code=error.vendor_code, request_id=error.request_id
                ) from None
            raw_rows, page = ListPage.from_answer(answer, registry, field, order, native)
            if answer.origin is not None:
                rows.cache(page, answer.derived)
            return raw_rows, page

        reader = self._reader(registry, f"{registry.name}/{stream.name}", call, layout, fetch_rows, applied, strategy)
        self.readers.setdefault(registry.name, []).append(reader)

    def add_versions(
        self, registry: Registry, owner: EntityState, canonical: Ref, versions: VersionList, first: Rows | None
    ) -> None:
        """Add the versions of an object.

        ``canonical`` is the canonical reference of the object. ``first`` is the first page of the unfiltered list, if
        it is available already.
        """
        calls, arguments, call, layout = self.calls, self.arguments, versions.call, versions.layout
        readers = self.readers.setdefault(registry.name, [])
        ref = owner.ref
        applied = plan_filter(registry.kind, VERSIONS[ref.entity], call, {}, arguments.filter)
        if applied.impossible:
            return
        parameters = applied.parameters if first is None else ()

        async def fetch_rows(at: int | str) -> tuple[Rows, ListPage]:
            rows = first if at == 1 and first is not None else await further_rows(at)
            reference = partial(version_reference, layout, canonical)
            order = arguments.scope.order
            return rows, ListPage.of(
                registry.name, registry.kind, layout, order, rows.items, reference, is_native(call, order)
            )

        async def further_rows(at: int | str) -> Rows:
            if call is None or versions.part is None:
                return Rows([], 0)
            answer = await calls.call(BoundCall(ref.registry, call, call.keys(ref.keys), parameters, at))
            located = versions.part.locate(answer.document, ref.keys)
            return Rows([], 0) if located is None else versions.field.read(located)

        order = arguments.scope.order
        strategy = read_strategy(calls.bounds, registry.kind, layout, call, applied, order)
        readers.append(self._reader(registry, registry.name, call, layout, fetch_rows, applied, strategy))

    def _reader(
        self,
        registry: Registry,
        name: str,
        call: Call | None,
        layout: EntityLayout,
        fetch_rows: FetchRows,
        applied: ListFilter,
        strategy: ReadStrategy,
    ) -> StreamReader:
        """Return the reader of a list, which applies the filter to each page."""
        rows, arguments, order = self.rows, self.arguments, self.arguments.scope.order

        async def fetch_page(at: int | str) -> Page:
            raw_rows, page = await fetch_rows(at)
            await rows.calls.count_rows(len(page.rows))
            rows.add(page)
            keyed: Sequence[Row] = page.rows
            if strategy.costly:
                records = await rows.records(keyed, applied.needs)
                for record in records:
                    raise_failure(record)
                if order.path is not None:
                    values = [record_value(record, order.path) for record in records]
                    keyed = [
                        (order.key_of(value, key[2]), ref) for value, (key, ref) in zip(values, keyed, strict=True)
                    ]
                operands = applied.operands(records)
            else:
                operands = await rows.operands(page, applied) if applied.tests else []
            passing = applied.select(keyed, operands, arguments.filter)
            return page.filtered(call, at, raw_rows, passing, is_beyond(keyed[-1:], arguments, strategy.native))

        return StreamReader(
            registry.name,
            name,
            fetch_page,
            sorted=strategy.native,
            max_rows=strategy.rows,
            max_pages=strategy.pages,
            keyless=order.path is None and order.field not in layout.fields,
            lazy=strategy.costly,
            exact=applied.exact,
            counts=not strategy.native or (bool(applied.tests) and arguments.start is None),
        )

    async def record(self) -> Record:
        """Read and merge the streams. Returns the record of the connection."""
        arguments, selection = self.arguments, self.selection
        readers = [reader for own in self.readers.values() for reader in own]
        if arguments.start is not None:
            for reader in readers:
                reader.start(arguments.start)
        rows, marks, more, end = await merge(readers, arguments.size, row_cursors(selection))
        counted = needs_count(selection)
        if counted:
            await asyncio.gather(*[reader.count() for reader in readers])
        self.calls.partial |= any(reader.failure is not None for reader in readers)
        encode = arguments.scope.encode
        cursors = [*map(encode, marks)]
        record: Record = {
            "page_info": {
                "has_next_page": more,
                "has_previous_page": arguments.start is not None,
                "start_cursor": cursors[0] if cursors else None,
                "end_cursor": cursors[-1] if cursors else None if end is None else encode(end),
            },
        }
        if counted:
            record["total_count"] = total_count(readers)
        if TOTAL in selection:
            record["total"] = total(readers)
        if FieldRequest("nodes") in selection:
            first, each = initial_rows(sub_selection(selection, "nodes"))
            record["nodes"] = await self.rows.nodes(rows, each, first, self.encode)
        if FieldRequest("edges") in selection:
            first, each = initial_rows(sub_selection(selection, "edges"))
            node = each.get(FieldRequest("node"))
            nodes = [{} for _ in rows] if node is None else await self.rows.nodes(rows, node, first)
            record["edges"] = [{"node": node, "cursor": text} for node, text in zip_longest(nodes, cursors)]
        if FieldRequest("coverage") in selection:
            record["coverage"] = [
                {"registry": self.calls.registries[name].record(), **coverage(own, self.calls.received(name))}
                for name, own in self.readers.items()
            ]
        return record

    def failures(self) -> dict[str, RegistryError]:
        """Return the first failure of each registry. Raises `NoRegistryAnswered` if all registries failed."""
        found = {name: failures(own) for name, own in self.readers.items()}
        first = {name: errors[0] for name, errors in found.items() if errors}
        readers = [reader for own in self.readers.values() for reader in own]
        if readers and all(reader.error is not None for reader in readers):
            raise NoRegistryAnswered(first)
        return first


def total_count(readers: Sequence[StreamReader]) -> int | None:
    """Return the number of rows in all streams, None unless every stream has an exact count."""
    counts = [reader.total for reader in readers]
    return None if None in counts else sum(count for count in counts if count is not None)


def total(readers: Sequence[StreamReader]) -> Record | None:
    """Return the number of rows in all streams, or at least. None if a list was not read from its start."""
    counts = [reader.least for reader in readers]
    if None in counts:
        return None
    relation = "AT_LEAST" if total_count(readers) is None else "EXACT"
    return {"count": sum(count for count in counts if count is not None), "relation": relation}


def failures(readers: Sequence[StreamReader]) -> list[RegistryError]:
    """Return why rows of the lists may be missing; failed calls come first."""
    failed = [reader.error for reader in readers if reader.error is not None]
    incomplete = [failure for reader in readers if reader.error is None and (failure := reader.failure) is not None]
    return [*failed, *incomplete]


def shows_coverage(selection: Selection) -> bool:
    """Whether the selection of a connection shows the state of each registry's part."""
    return not selection or FieldRequest("state") in sub_selection(selection, "coverage")


def coverage(readers: Sequence[StreamReader], received: Sequence[Answer]) -> Mapping[str, Any]:
    """Return the state, counts, age and error of a registry's part of a page."""
    failed = failures(readers)
    state = "COMPLETE"
    if failed:
        state = "UNAVAILABLE" if all(reader.error is not None for reader in readers) else "PARTIAL"
    elif any(answer.stale for answer in received):
        state = "STALE"
    return {
        "state": state,
        "total_count": total_count(readers),
        "rows_read": sum(reader.read for reader in readers),
        "age": max((answer.age for answer in received), default=None),
        "error": error_record(failed[0]) if failed else None,
    }


async def merged_page(
    calls: Calls, resolve: Resolve, planned: PlannedList, selection: Selection, encode: RowEncoder | None
) -> tuple[Record, list[RegistryError]]:
    """Return one merged page, with encoded ``nodes`` where possible, and why rows of registries may be missing.

    Raises `NoRegistryAnswered` if all registries failed.
    """
    if not needs_rows(selection):
        return empty(selection), []
    merged = MergedList(ListRows(calls, resolve), planned.arguments, selection, encode)
    merged.readers = {name: [] for name in planned.selected.registries}
    for stream in planned.selected.streams:
        merged.add_stream(stream)
    record = await merged.record()
    return record, [*merged.failures().values()]


# Versions of one object

VersionsPage = Record | BadInput | RegistryError | None
"""A page of an object's versions, None if the object does not exist, or the error of the page."""


async def versions_page(
    calls: Calls,
    resolve: Resolve,
    owner: EntityState,
    canonical: Ref,
    request: FieldRequest,
    selection: Selection,
    versions: VersionList,
    first: Rows | None,
) -> VersionsPage:
    """Return a page of an object's versions.

    The parameters are those of `MergedList.add_versions`.
    """
    try:
        arguments = ListArguments.of(f"versions of {owner.ref}", request, calls.registries, calls.bounds.page_rows)
    except BadInput as error:
        return error
    if not needs_rows(selection):
        return empty(selection)
    merged = MergedList(ListRows(calls, resolve, owner, versions.owner), arguments, selection)
    merged.add_versions(calls.registries[owner.ref.registry], owner, canonical, versions, first)
    record = await merged.record()
    readers = [reader for own in merged.readers.values() for reader in own]
    failure = next(iter(failures(readers)), None)
    if failure is None or all(reader.error is None for reader in readers):
        incomplete = {} if failure is None or shows_coverage(selection) else {INCOMPLETE: failure}
        return record | incomplete
    return None if isinstance(failure, NotFound) else failure


SIMPLE_FIELDS: Final = {FieldRequest("nodes"), FieldRequest("page_info"), FieldRequest("total_count")}


@dataclass(frozen=True, slots=True, eq=False)
class FirstPage:
    """How to build a first page of versions, without filter and cursors, from the single answer that contains them.

    ``native`` is true if the registry returns the requested order. ``number`` identifies the instance; no other ever
    has the same.
    """

    order: Order
    plan: EntityPlan
    native: bool
    key: Callable[[Raw, str], SortKey]
    versions: VersionList
    number: int = field(default_factory=numbers.__next__)

    @classmethod
    def of(
        cls, versions: VersionList, request: FieldRequest, selection: Selection, max_size: int
    ) -> "FirstPage | None":
        """Return the instance for a selection and an order, cached with the selection.

        None if the page may need more than one answer.
        """
        if not 1 <= request.argument("first") <= max_size or request.argument("after") or request.argument("filter"):
            return None  # checked before the cache, which needs fewer entries then
        key = "first page", versions, request.argument("order_by")
        if key not in selection.plans:
            selection.plans[key] = cls._plan(versions, request, selection, max_size)
        first_page: FirstPage | None = selection.plans[key]
        return first_page

    @classmethod
    def _plan(
        cls, versions: VersionList, request: FieldRequest, selection: Selection, max_size: int
    ) -> "FirstPage | None":
        if (
            selection.keys() - SIMPLE_FIELDS
            or row_cursors(selection) is not RowCursors.NONE
            or not needs_rows(selection)
        ):
            return None
        layout = versions.layout
        rows, nodes = initial_rows(sub_selection(selection, "nodes"))
        plan = EntityPlan.of(versions.kind, layout.entity, nodes, (layout,), owner=versions.owner)
        if rows is not None or not plan.is_read:
            return None
        order = ListArguments.of("", request, (), max_size).scope.order
        return cls(order, plan, is_native(versions.call, order), order.keys(layout), versions)

    def record(self, owner: Ref, raw: Raw, derived: DerivedValues, size: int) -> Record | None:
        """Return the record of a page with at most ``size`` rows, cached with the answer and shared.

        None if the page needs more rows.
        """
        key = owner, self.number, size
        record: Record | None = derived.get(key)
        if record is None:
            rows = self.versions.field.read(raw)
            record = None if rows is NOT_PROVIDED else self._record(owner, rows, size)
            if record is not None:
                derived.store(key, record, records_bytes(self.plan, len(record["nodes"])))
        return record

    def _record(self, owner: Ref, rows: Rows, size: int) -> Record | None:
        ready = self._in_order(owner, rows.items)
        if ready is None:
            return None
        raws, refs = ready
        call, seen = self.versions.call, len(rows.items)
        following = following_page(call, 1, rows)
        more = following is not None and (isinstance(following, str) or rows.total != seen)
        counted = rows.total is None or (rows.total >= seen if more else rows.total == seen)
        if rows.left_out or rows.truncated or len(refs) < seen or not counted:
            return None  # `StreamReader` reports what is missing
        if more:
            if not self.native or not raws:
                return None
            last = self.key(rows.items[-1], "")
            if last[0] == 1 or sum(self.key(raw, "") < last for raw in raws) < size:
                return None  # a later page may contain rows that sort before the last of these
        return {
            "nodes": [*map(self.plan.reader.read, raws[:size], refs)],
            "page_info": {"has_next_page": len(raws) > size, "has_previous_page": False},
            "total_count": len(raws) if rows.total is None and not more else rows.total,
        }

    def _in_order(self, owner: Ref, items: Sequence[Raw]) -> tuple[Sequence[Raw], Sequence[Ref]] | None:
        """Return the rows in the requested order, with their references.

        None if two rows have the same key, if a key may not be canonical, or if the registry sent another order.
        """
        kind, layout = self.versions.kind, self.versions.layout
        if layout.entity not in kind.canonical:
            names = [name for raw in items if (name := layout.key(raw)) is not None]
            keys = [self.key(raw, "") for raw in items]
            if len({*names}) == len(items) and all(map(lt, keys, keys[1:])):
                uses_ref = self.plan.reader.uses_ref
                return items, [owner.version(name) for name in names] if uses_ref else [owner] * len(items)
        reference = partial(version_reference, layout, owner)
        page = ListPage.of(owner.registry, kind, layout, self.order, items, reference, self.native)
        if len(page.raws) != len(page.rows) or not page.is_canonical or page.disordered:
            return None
        ordered = sorted(page.rows)
        return [page.raws[key[2]] for key, _ in ordered], [ref for _, ref in ordered]
