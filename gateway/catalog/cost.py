"""The cost of an operation in upstream calls and objects, computed from its query plan before any call is made.

The estimate walks each plan with placeholder references: one row represents all rows of a page, one version the
versions of each row. It assumes that answers lack every optional field, that ids have no object, and that filters match
few rows, and ignores cached answers and retries. So the cost is an upper bound, except for the sizes below.

Some sizes are unknown before execution and are assumed: pages have the requested size, few rows of a list have equal
sort values, and lists inside an object have `ASSUMED_ITEMS` items. If an operation needs more calls than estimated, the
limit on calls stops it with an error.
"""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.catalog.bounds import Bounds
from gateway.catalog.calls import Calls
from gateway.catalog.cursors import FIRST_PAGE
from gateway.catalog.facets import facet_groups, pages_of_facets
from gateway.catalog.filters import Filter, ListFilter, plan_filter
from gateway.catalog.ids import VERSIONS, Ref, is_owner
from gateway.catalog.list_rows import is_canonical
from gateway.catalog.lists import (
    FACETS,
    ListArguments,
    PlannedList,
    ReadStrategy,
    needs_rows,
    read_strategy,
)
from gateway.catalog.query_plan import (
    CREATED_AT,
    AliasedVersionResolver,
    BomResolver,
    BoundCall,
    ChildResolver,
    Choice,
    DeferredResolver,
    EntityPlan,
    Fetch,
    ListedVersionResolver,
    NamedVersionResolver,
    OwnerResolver,
    Resolver,
    Sources,
    ValueResolver,
    VersionList,
    VersionsResolver,
    bind,
    choose_calls,
    lookup_plan,
)
from gateway.catalog.registry import Registry
from gateway.catalog.selection import (
    EXISTS,
    Bindings,
    FieldRequest,
    Selection,
    initial_rows,
    sub_selection,
    to_camel_case,
)
from gateway.errors import BadInput, QueryTooExpensive, ResponseTooLarge
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Field, Rows
from gateway.registries.kind import Call, Keys
from gateway.telemetry.events import CallRecord

ASSUMED_ITEMS: Final = 4
"""The assumed number of items in a list whose size is unknown: the versions of a model whose registry returns all of
them at once, or the algorithms that a version was trained with."""


class CostLine(NamedTuple):
    """One upstream call of a plan: the first path in the response that needs it, the maximum number of times, and the
    reason."""

    path: str
    registry: str
    call: str
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """The upstream calls of an operation, and the objects in its response.

    ``lines`` are the calls that do not depend on the rows of merged lists; all of them count. ``layouts`` contains, for
    each merged list, the cost of its rows in each possible layout. All rows of a page can have the same layout, so only
    the most expensive one counts. ``objects`` is the maximum number of objects.
    """

    lines: tuple[CostLine, ...] = ()
    layouts: tuple[tuple["Cost", ...], ...] = ()
    objects: int = 0

    @property
    def calls(self) -> int:
        """The maximum number of calls."""
        return sum(line.times for line in self.lines) + sum(
            max((layout.calls for layout in layouts), default=0) for layouts in self.layouts
        )

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both operations."""
        return Cost(self.lines + other.lines, self.layouts + other.layouts, self.objects + other.objects)

    def __iter__(self) -> Iterator[CostLine]:
        yield from self.lines
        for layouts in self.layouts:
            for layout in layouts:
                yield from layout


Lines = dict[BoundCall, CostLine]

RowsCosts = dict[Hashable, "RowsCost"]
"""Cached costs of the rows of one field that returns a merged page, by all that they depend on."""

CACHED_COSTS: Final = 4
"""The number of costs of rows to cache for one field, each for another page size, other lists or numbers of pages."""


class RowsCost(NamedTuple):
    """The calls for the rows of a merged page: those that are made once, and those of each possible layout."""

    once: Lines
    layouts: tuple[Lines, ...]


@dataclass(slots=True)
class CostEstimate:
    """Adds up the cost of an operation, root field by root field.

    ``many`` maps each placeholder key to the number of objects that it represents. A call without placeholder keys is
    made once per operation. ``objects`` is the number of objects in the response.
    """

    registries: Mapping[str, Registry]
    bounds: Bounds
    bindings: Bindings = dataclasses.field(default_factory=dict)
    many: dict[str, int] = dataclasses.field(default_factory=dict)
    objects: int = 0
    _once: Lines = dataclasses.field(default_factory=dict)
    _layouts: list[tuple[Lines, ...]] = dataclasses.field(default_factory=list)
    _lines: Lines = dataclasses.field(default_factory=dict)
    _one_by_one: set[Ref] = dataclasses.field(default_factory=set)
    _seen: set[tuple[Any, ...]] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        self._lines = self._once

    @property
    def cost(self) -> Cost:
        """The total cost so far."""
        layouts = tuple(tuple(Cost(sorted_lines(lines)) for lines in layouts) for layouts in self._layouts)
        return Cost(sorted_lines(self._once), layouts, self.objects)

    def add_entity(self, path: str, ref: Ref, selection: Selection) -> None:
        """Add an object with a given reference; ``path`` is its response key."""
        kind = self.registries[ref.registry].kind
        plan = EntityPlan.of(kind, ref.entity, selection.with_existence)
        self._plan(path, ref, plan.variant(is_canonical(kind, ref)))

    def add_list(self, path: str, planned: PlannedList, selection: Selection, cached: RowsCosts) -> None:
        """Add a merged page of all objects of a type; ``path`` is its response key.

        The calls for its rows are computed once for each size, the lists that are read and the number of their pages,
        and put into ``cached``, which belongs to the field.
        """
        arguments = planned.arguments
        for request in selection:
            if request.field == FACETS:
                self._add_facets(f"{path}.{FACETS}", planned.entity, self._bound(request), arguments.filter)
        if not needs_rows(selection):
            return
        lists: list[tuple[str, Hashable, Hashable, int]] = []
        for registry, stream, _, applied, strategy, first in planned.selected.streams:
            name = f"{registry.name}/{stream.name}"
            start, pages = pages_read(name, stream.call, strategy, applied, arguments)
            self._count(path, first._replace(page=start), f"list {stream.name}", pages)
            lists.append((name, applied.tests, applied.reads, pages))
        key = arguments.size, *lists
        rows = cached.get(key)
        if rows is None:
            rows = self._rows_of_list(path, planned, selection, [pages for *_, pages in lists])
            if not self.bindings:  # what the rows need does not depend on variables
                if len(cached) == CACHED_COSTS:
                    cached.clear()
                cached[key] = rows
        for bound, line in rows.once.items():
            self._add_line(self._once, bound, line)
        self._layouts.append(rows.layouts)

    def _add_facets(self, path: str, entity: str, request: FieldRequest, wanted: Filter) -> None:
        """Add the pages that facets read. A list that several of them read is read once."""
        for group in facet_groups(entity, request.argument("fields"), wanted, self.registries, self.bounds):
            for listed in group.lists:
                self._count(path, listed.first, f"facets of list {listed.stream.name}", pages_of_facets(listed))

    def _rows_of_list(
        self, path: str, planned: PlannedList, selection: Selection, pages_of_streams: Sequence[int]
    ) -> RowsCost:
        """Return the cost of the calls for the rows of a merged page."""
        estimate = CostEstimate(self.registries, self.bounds, self.bindings)
        entity, layouts = planned.entity, dict[tuple[str, EntityLayout], Lines]()
        for (registry, stream, layout, applied, *_), pages in zip(
            planned.selected.streams, pages_of_streams, strict=True
        ):
            kind, name, rows = registry.kind, f"{registry.name}/{stream.name}", pages * length(stream.call)
            read = Ref(registry.name, entity, (estimate._placeholder(f"{path} read of {name}", rows),))
            estimate._plan(path, read, EntityPlan.of(kind, entity, applied.needs, (layout,)))
            if (registry.name, layout) not in layouts:
                estimate._lines = layouts[registry.name, layout] = {}
                row = Ref(registry.name, entity, (estimate._placeholder(f"{path} of {name}", planned.arguments.size),))
                estimate._rows(path, row, (layout,), (), selection)
                estimate._lines = estimate._once
        return RowsCost(estimate._once, tuple(layouts.values()))

    # Plans

    def _plan(self, path: str, ref: Ref, plan: EntityPlan, version: Ref | None = None) -> None:
        """Add the cost of a plan: its resolvers, then the calls for fields that are or may be missing."""
        state = id(self._lines), ref, id(plan), version
        if state in self._seen:
            return
        self._seen.add(state)
        for resolver in plan.resolvers:
            self._resolver(path, ref, plan, resolver)
        missing = plan.still_missing([resolver.request for resolver in plan.resolvers if not resolver.certain])
        if not missing:
            return
        step = plan.step(missing)
        fetches = [(fetch, self._bind(ref, version, fetch)) for fetch in step.fetches]
        fetches += self._chosen(ref, version, plan, step.choices, [bound for _, bound in fetches])
        reasons: dict[BoundCall, list[str]] = {}
        for fetch, bound in fetches:
            reasons.setdefault(bound, []).extend(map(reason_of, fetch.fields))
        for bound, fields in reasons.items():
            self._count(path, bound, ", ".join(fields))
        for fetch, _ in fetches:
            self._plan(path, ref, fetch.then, version)
            if not fetch.certain:
                self._plan(path, ref, fetch.otherwise, version)

    def _bind(self, ref: Ref, version: Ref | None, fetch: Fetch) -> BoundCall:
        """Return the call of a fetch for an object, or for the one thing that each object refers to."""
        if fetch.reference is None:
            return bind(ref if version is None or not fetch.through_version else version, fetch.call)
        return BoundCall(ref.registry, fetch.call, (self._part(ref, fetch.call.follows, 1),))

    def _chosen(
        self, ref: Ref, version: Ref | None, plan: EntityPlan, choices: tuple[Choice, ...], made: list[BoundCall]
    ) -> list[tuple[Fetch, BoundCall]]:
        """Return the calls for an object's choices. If the object represents many, their calls are chosen together,
        unless the objects are resolved one by one: one call may serve all of them."""
        if not choices:
            return []

        def target(through_version: bool) -> Ref:
            return version if through_version and version is not None else ref

        def times(bound: BoundCall) -> int:
            return self._objects(bound.keys)

        alternatives = [[bind(target(through), call) for call, through in choice.calls] for choice in choices]
        wide = [[bound for bound in calls if times(bound) == min(map(times, calls))] for calls in alternatives]
        plans = [choose_calls(alternatives, made)]
        if ref not in self._one_by_one:
            plans.append(choose_calls(wide, made))
        chosen = min(plans, key=lambda calls: sum(map(times, set(calls))))
        return [
            (plan.fetch(*choice.calls[calls.index(bound)], choice.fields), bound)
            for choice, calls, bound in zip(choices, alternatives, chosen, strict=True)
        ]

    def _resolver(self, path: str, ref: Ref, plan: EntityPlan, resolver: Resolver) -> None:
        request, below = resolver.request, resolver.below
        inner = f"{path}.{to_camel_case(request.field)}"
        match resolver:
            case DeferredResolver():
                self._plan(path, ref, plan.with_selection(below))
            case BomResolver():
                self._plan(inner, ref, plan.with_selection(below))
            case OwnerResolver():
                self._plan(inner, ref.owner, resolver.plan, ref)
            case NamedVersionResolver():
                if (name := self._bound(request).argument("name")) is not None:
                    self._plan(inner, ref.version(name), resolver.plan)
            case ListedVersionResolver() | AliasedVersionResolver():
                for _, field, child_plan in resolver.lists:
                    self._plan(inner, ref.version(self._part(ref, str(request), 1)), child_plan)
                    if field.fallback is not NOT_PROVIDED:
                        break
            case ChildResolver():
                for _, field, child_plan in resolver.children:
                    several = field.fallback is Rows
                    child = ref.version(self._part(ref, str(request), ASSUMED_ITEMS if several else 1))
                    for row_plan in (plan.child(field, CREATED_AT), child_plan) if several else (child_plan,):
                        self._plan(inner, child, row_plan)
                    if field.fallback is not NOT_PROVIDED:
                        break
            case VersionsResolver() if resolver.filtered is not None:
                self._versions(inner, ref, request, resolver.filtered, below, listed=False)
            case VersionsResolver():
                for _, versions in resolver.lists:
                    self._versions(inner, ref, request, versions, below, listed=True)
                    if versions.field.fallback is not NOT_PROVIDED:
                        break
            case ValueResolver():
                for _, field in resolver.fields:
                    self._value(inner, ref, plan, field, below)
                    if field.fallback is not NOT_PROVIDED:
                        break

    def _value(self, path: str, ref: Ref, plan: EntityPlan, field: Field, selection: Selection) -> None:
        """Add the versions in a value, and the objects that it refers to by a lookup."""
        table = field.table or {}
        for request, below in selection.items() if table else ():
            inner = table[request.field]
            if inner.layout is not None:
                child = ref.version(self._part(ref, path, ASSUMED_ITEMS))
                self._plan(f"{path}.{to_camel_case(request.field)}", child, plan.child(inner, below))
                continue
            if inner.lookup is None:
                self._value(path, ref, plan, inner, below)
                continue
            kind = self.registries[ref.registry].kind
            lookup = kind.lookups[inner.lookup]
            key = self._part(ref, path, ASSUMED_ITEMS)
            bound = BoundCall(ref.registry, lookup.call, tuple(key for _ in lookup.call.key_positions))
            self._count(path, bound, to_camel_case(inner.lookup))
            rows = lookup.call.rows
            sources: Sources = () if rows is None or rows.layout is None else (rows.layout,)
            keys = (key,) if is_owner(lookup.entity) else (key, key)
            plan = lookup_plan(kind, lookup, below, sources)
            self._plan(f"{path}.{to_camel_case(request.field)}", Ref(ref.registry, lookup.entity, keys), plan)

    # Lists

    def _versions(
        self, path: str, ref: Ref, request: FieldRequest, versions: VersionList, below: Selection, *, listed: bool
    ) -> None:
        """Add a page of an object's versions. ``listed`` is true if their first page is available already."""
        bound_request = self._bound(request)
        represents_many = any(key in self.many for key in ref.keys)  # a cursor would belong to only one of them
        try:
            arguments = ListArguments.of(
                f"versions of {ref}",
                bound_request.without("after") if represents_many else bound_request,
                self.registries,
                self.bounds.page_rows,
            )
        except BadInput:
            return
        kind, call, layout = versions.kind, versions.call, versions.layout
        applied = plan_filter(kind, VERSIONS[ref.entity], call, {}, arguments.filter)
        if applied.impossible or not needs_rows(below):
            return
        strategy = read_strategy(self.bounds, kind, layout, call, applied, arguments.scope.order)
        resumed = bound_request.argument("after") is not None
        start, pages = pages_read(ref.registry, call, strategy, applied, arguments, resumed)
        if call is not None:
            bound = BoundCall(ref.registry, call, call.keys(ref.keys), () if listed else applied.parameters)
            if listed and start == FIRST_PAGE.page:
                self._count(path, bound._replace(page=2), "further pages", pages - 1)
            else:
                self._count(path, bound._replace(page=start), "list", pages)
        read = ref.version(self._part(ref, f"read for {request}", pages * length(call)))
        self._plan(path, read, EntityPlan.of(kind, layout.entity, applied.needs, (layout,), owner=versions.owner))
        row = ref.version(self._part(ref, str(request), arguments.size))
        self._rows(path, row, (layout,), versions.owner, below)

    def _rows(self, path: str, row: Ref, sources: Sources, owner: Sources, selection: Selection) -> None:
        """Add the rows of a page (ForEach)."""
        kind = self.registries[row.registry].kind
        nodes, edges = (initial_rows(sub_selection(selection, name)) for name in ("nodes", "edges"))
        if nodes[0] is not None or edges[0] is not None:
            self._one_by_one.add(row)
        node = sub_selection(edges[1], "node")
        self._plan(f"{path}.nodes", row, EntityPlan.of(kind, row.entity, nodes[1], sources, owner=owner))
        self._plan(f"{path}.edges.node", row, EntityPlan.of(kind, row.entity, node, sources, owner=owner))

    def _bound(self, request: FieldRequest) -> FieldRequest:
        return self.bindings[request] if request.is_template else request

    # Counting

    def _placeholder(self, key: str, times: int) -> str:
        """Return a key that represents a number of objects."""
        self.many[key] = times
        return key

    def _part(self, ref: Ref, name: str, times: int) -> str:
        """Return a key that represents a number of objects for each object that ``ref`` represents."""
        return self._placeholder(f"{'/'.join(ref.keys)} {name}", times * self._objects(ref.keys))

    def _objects(self, keys: Keys) -> int:
        return max((self.many.get(key, 1) for key in keys), default=1)

    def _count(self, path: str, bound: BoundCall, reason: str, pages: int = 1) -> None:
        objects = self._objects(bound.keys)
        lines = self._lines if any(key in self.many for key in bound.keys) else self._once
        if pages:
            multiples = [f"{pages} pages"] if pages > 1 else []
            multiples += [f"for each of {objects}"] if objects > 1 else []
            multiples += [f"if all rows are of {bound.registry}"] if lines is not self._once else []
            reasons = ", ".join([reason, *multiples])
            self._add_line(lines, bound, CostLine(path, bound.registry, bound.call.name, pages * objects, reasons))

    def _add_line(self, lines: Lines, bound: BoundCall, line: CostLine) -> None:
        """Add a line, unless the same call is there at least as many times."""
        if bound not in lines or lines[bound].times < line.times:
            lines[bound] = line


def sorted_lines(lines: Lines) -> tuple[CostLine, ...]:
    """Sort lines by the depth of their paths."""
    return tuple(sorted(lines.values(), key=lambda line: line.path.count(".")))


def reason_of(request: FieldRequest) -> str:
    return "existence" if request == EXISTS else to_camel_case(request.field)


def length(call: Call | None) -> int:
    """Return the number of rows on a page of a list."""
    return ASSUMED_ITEMS if call is None or call.paging is None else call.paging.rows


def pages_read(
    name: str,
    call: Call | None,
    strategy: ReadStrategy,
    applied: ListFilter,
    arguments: ListArguments,
    resumed: bool = False,
) -> tuple[int | str, int]:
    """Return the first page of a list to read, and the maximum number of pages.

    The last row of a page is held back until the next page is read. With a cursor, most rows of the first page may have
    been delivered before, and the previous page is read, too, if rows may have moved to it.
    """
    if call is None or call.paging is None:
        return 1, 1
    start = (FIRST_PAGE if arguments.start is None else arguments.start.pages.get(name, FIRST_PAGE)).page
    resumed = resumed or arguments.start is not None
    if strategy.native and not applied.tests:
        return start, -(-(arguments.size + 1) // call.paging.rows) + resumed + (start != FIRST_PAGE.page)
    return start, -(-strategy.rows // call.paging.rows) + (strategy.native and start != FIRST_PAGE.page)


def check_cost(cost: Cost, bounds: Bounds) -> None:
    """Raise `QueryTooExpensive` above the limit on calls, `ResponseTooLarge` above the limit on objects."""
    if cost.calls > bounds.calls:
        raise QueryTooExpensive(cost.calls, bounds.calls)
    if cost.objects > bounds.objects:
        raise ResponseTooLarge(cost.objects, bounds.objects)


# Plans as JSON-ready data, without addresses, credentials and raw answers


def planned_calls(cost: Cost, bounds: Bounds) -> Mapping[str, Any]:
    """Return the planned calls of an operation, and its cost."""
    return {"plan": [line._asdict() for line in cost], "cost": cost_record(cost, bounds)}


def made_calls(execution: Calls, cost: Cost) -> Mapping[str, Any]:
    """Return the calls of an executed operation, in the order in which they were sent; times in milliseconds."""
    calls = [
        call_record(bound, call, call.started - execution.started)
        for bound, call in zip(execution.answers, execution.calls, strict=False)
    ]
    return {"calls": calls, "cost": {"calls": len(calls), **cost_record(cost, execution.bounds)}}


def cost_record(cost: Cost, bounds: Bounds) -> Mapping[str, int]:
    return {
        "forecast": cost.calls,
        "allowed": bounds.calls,
        "rows": cost.objects,
        "allowedRows": bounds.objects,
    }


def call_record(bound: BoundCall, call: CallRecord, started_after: float) -> Mapping[str, Any]:
    outcome = {
        "state": call.state,
        "startedAfter": round(started_after * 1000, 3),
        "milliseconds": round(call.seconds * 1000, 3),
        "attempts": call.attempts,
    }
    code = {} if call.code is None else {"code": call.code}
    return {"registry": call.registry, "call": call.name, "keys": list(bound.keys), **outcome, **code}
