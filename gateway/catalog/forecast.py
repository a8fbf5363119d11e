"""What an operation costs at most, in upstream calls, worked out before any of them is made.

The operation is planned as `gateway.catalog.operation` plans it, with the same functions, but over objects that stand
for many: one row for all rows of a page, one version for the versions of each row. What may go wrong does: an answer
that may leave a field open leaves it open, an id names nothing, a filter lets hardly a row pass. What was kept or asked
before is not counted on, and calls that are sent again are not counted.

What nobody can know beforehand is taken for granted: that pages are as long as they were asked for, few rows of a list
share one moment, no rows vanish between two pages, and what one answer names another has; `UNCOUNTED` stands for lists
inside an object. An operation that meets worse ends with an error at its limit (`Bounds.calls`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog.bounds import Bounds
from gateway.catalog.connections import takes_part
from gateway.catalog.cost import Cost, Line
from gateway.catalog.filters import Sieve, camel, sieve
from gateway.catalog.ids import Ref
from gateway.catalog.indirect import CREATED
from gateway.catalog.list_readers import Asked, Reach, first_call, reach_of, teller
from gateway.catalog.plan import Bound, Want, candidates, filtering, plan, supplies
from gateway.catalog.registry import Registry
from gateway.catalog.selection import DEFERRED, EXISTS, FieldRequest, Selection, rows_now, under
from gateway.errors import BadInput
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Field, Rows
from gateway.registries.kind import Call, Keys

UNCOUNTED = 4
"""How many versions a model is taken to have on average, where its registry sends them all at once and each may cost a
call; and how many algorithms a version was trained with."""


Known = Mapping[Ref, tuple[tuple[EntityLayout, bool], ...]]
"""The forms in which objects are known, and whether it is sure that they are."""

Sink = dict[Bound, Line]


@dataclass(slots=True)
class Forecast:
    """The cost of an operation, put together root field by root field.

    ``many`` says for how many native keys a made-up one stands. A call with none of those among its keys is made once
    in the whole operation.
    """

    registries: Mapping[str, Registry]
    bounds: Bounds
    many: dict[str, int] = field(default_factory=dict)
    _once: Sink = field(default_factory=dict)
    _forms: list[tuple[Sink, ...]] = field(default_factory=list)
    _sink: Sink = field(default_factory=dict)
    _apart: set[Ref] = field(default_factory=set)
    _seen: dict[Any, Selection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sink = self._once

    @property
    def cost(self) -> Cost:
        """The cost of everything that was added."""
        groups = tuple(tuple(Cost(in_order(form)) for form in forms) for forms in self._forms)
        return Cost(in_order(self._once), groups)

    def entity(self, path: str, ref: Ref, selection: Selection) -> None:
        """Add one object that the client names; ``path`` is the response key it is answered under."""
        self._object(path, ref, selection, {}, exists=True)

    def listing(self, path: str, entity: str, ask: FieldRequest, selection: Selection) -> None:
        """Add one merged page of all registries' objects of a type; one that will be refused costs nothing."""
        try:
            asked = Asked.of(entity, ask, selection, self.registries, self.bounds.page_rows)
        except BadInput:
            return
        forms: dict[tuple[str, EntityLayout], Sink] = {}
        for registry in self.registries.values() if asked.needs_rows else ():
            for stream in registry.kind.streams if takes_part(registry, asked.wanted) else ():
                call, rows = stream.call, stream.call.rows
                if stream.entity != entity or rows is None or rows.shape is None:
                    continue
                sifted = sieve(registry.kind, entity, call, stream.facts, asked.wanted)
                if sifted.impossible:
                    continue
                name = f"{registry.name}/{stream.name}"
                known = ((rows.shape, True),)
                reach = reach_of(self.bounds, registry.kind, rows.shape, call, sifted, asked.question.order)
                start, pages = span(name, call, reach, sifted, asked)
                first = first_call(registry.name, stream, sifted, asked)._replace(page=start)
                self._count(path, first, f"list {stream.name}", pages)
                read = Ref(registry.name, entity, (self._many(f"{path} read of {name}", pages * length(call)),))
                self._object(path, read, sifted.needs, {read: known})
                if (registry.name, rows.shape) not in forms:
                    self._sink = forms[registry.name, rows.shape] = {}
                    row = Ref(registry.name, entity, (self._many(f"{path} of {name}", asked.size),))
                    self._nodes(path, row, {row: known}, asked)
                    self._sink = self._once
        self._forms.append(tuple(forms.values()))

    # Objects

    def _object(self, path: str, ref: Ref, selection: Selection, known: Known, exists: bool = False) -> None:
        """Add what an object costs: the calls that are planned for it, then those for what they may leave open."""
        if not (selection or exists):
            return
        state = (id(self._sink), ref, id(selection), exists, frozenset(known.items()))
        if state in self._seen:
            return
        self._seen[state] = selection
        kind, listed = self.registries[ref.registry].kind, ref in known
        tried: set[Bound] = set()
        pending: Mapping[FieldRequest, Selection] = selection.existing if exists else selection
        while pending:
            pending = {ask: below for ask, below in pending.items() if not self._settled(path, ref, ask, below, known)}
            options = {ask: candidates(kind, ref, ask, below, tried) for ask, below in pending.items()}
            pending = {ask: below for ask, below in pending.items() if options[ask]}
            chosen: dict[Bound, list[str]] = {}
            for want, bound in self._planned([Want(ref, ask, options[ask]) for ask in pending]).items():
                chosen.setdefault(bound, []).append("existence" if want.ask == EXISTS else camel(want.ask.field))
            for bound, wanted in chosen.items():
                self._count(path, bound, ", ".join(wanted))
                tried.add(bound)
                told = ((part.shape, listed or part.sure) for part in bound.call.parts)
                mine = tuple((shape, sure) for shape, sure in told if shape.entity == ref.entity)
                known = {**known, ref: (*known.get(ref, ()), *mine)}

    def _planned(self, wants: list[Want]) -> Mapping[Want, Bound]:
        """The calls for an object. Where it stands for many, these are planned together, unless they come one by one:
        one call may tell of all."""
        if wants and wants[0].ref in self._apart:
            return plan(wants)

        def times(bound: Bound) -> int:
            return self._of(bound.keys)

        wide = [
            want._replace(candidates=tuple(bound for bound in want.candidates if times(bound) == few))
            for want in wants
            for few in [min(map(times, want.candidates))]
        ]
        plans = plan(wants), dict(zip(wants, plan(wide).values(), strict=True))
        return min(plans, key=lambda chosen: sum(map(times, set(chosen.values()))))

    def _settled(self, path: str, ref: Ref, ask: FieldRequest, below: Selection, known: Known) -> bool:
        """Add what is asked below a field, and tell whether the field itself is known for sure."""
        kind, name = self.registries[ref.registry].kind, ask.field
        if name == EXISTS.field:
            return is_whole(ref, known)
        if name in ("id", "native_id"):
            return kind.is_canonical(ref.entity, ref.keys) or is_whole(ref, known)
        if ask == DEFERRED:
            self._object(path, ref, below, known)
        elif name in ("model", "algorithm"):
            self._object(step(path, ask), ref.owner, below, known, exists=True)
        elif name == "version" and ref.version("").entity in kind.named:
            self._object(step(path, ask), ref.version(ask.argument("name")), below, known, exists=True)
        elif name in ("registry", "registry_name") or name in kind.absent[ref.entity]:
            pass
        elif name == "versions" and (field := filtering(kind, ref.entity, ask)) is not None:
            self._versions(step(path, ask), ref, ask, field, False, below, known)
        else:
            return any(self._told(path, ref, ask, below, known, *form) for form in known.get(ref, ()))
        return True

    def _told(
        self, path: str, ref: Ref, ask: FieldRequest, below: Selection, known: Known, shape: EntityLayout, sure: bool
    ) -> bool:
        """The same for a field that a form of the object may tell."""
        name = "versions" if ask.field == "version" else ask.field
        if not supplies(shape.fields, FieldRequest(name), below):
            return False
        field = shape.fields[name]
        if field.shape is None:
            if below:
                self._value(step(path, ask), ref, field, below)
        elif ask.field == "versions":
            self._versions(step(path, ask), ref, ask, field, True, below, known)
        else:
            several = field.instead is Rows
            child = ref.version(self._part(ref, str(ask), UNCOUNTED if several else 1))
            for selection in (CREATED, below) if several else (below,):
                self._object(step(path, ask), child, selection, {**known, child: ((field.shape, True),)})
        return sure and field.instead is not NOT_PROVIDED

    def _value(self, path: str, ref: Ref, field: Field, selection: Selection) -> None:
        """Add what is asked of other objects that a value names."""
        table = field.table or {}
        for ask, below in selection.items() if table else ():
            inner = table[ask.field]
            if inner.lookup is None:
                self._value(path, ref, inner, below)
                continue
            lookup = self.registries[ref.registry].kind.lookups[inner.lookup]
            key = self._part(ref, path, UNCOUNTED)
            bound = Bound(ref.registry, lookup.call, tuple(key for _ in lookup.call.takes))
            self._count(path, bound, camel(inner.lookup))
            owner = Ref(ref.registry, "Algorithm", (key,))
            found = owner if lookup.entity == owner.entity else owner.version(key)
            rows = lookup.call.rows
            known: Known = {} if rows is None or rows.shape is None else {owner: ((rows.shape, True),)}
            self._object(step(path, ask), found, below, known, exists=True)

    # Lists

    def _versions(
        self, path: str, ref: Ref, ask: FieldRequest, field: Field, told: bool, below: Selection, known: Known
    ) -> None:
        """Add a page of an object's versions; with ``told`` the first page of their list is there already."""
        try:
            resumable, most = self._resumable(ref, ask), self.bounds.page_rows
            asked = Asked.of(f"versions of {ref}", resumable, below, self.registries, most)
        except BadInput:
            return
        kind, shape = self.registries[ref.registry].kind, field.shape
        assert shape is not None
        call, _ = teller(kind, field)
        sifted = sieve(kind, ref.version("").entity, call, {}, asked.wanted)
        if sifted.impossible or not asked.needs_rows:
            return
        reach = reach_of(self.bounds, kind, shape, call, sifted, asked.question.order)
        start, pages = span(ref.registry, call, reach, sifted, asked, ask.argument("after") is not None)
        bound = Bound(ref.registry, call, tuple(ref.keys[i] for i in call.takes), () if told else sifted.parameters)
        if told and start == 1:
            self._count(path, bound._replace(page=2), "further pages", pages - 1)
        else:
            self._count(path, bound._replace(page=start), "list", pages)
        if shape.owner is not None:
            known = {**known, ref: (*known.get(ref, ()), (shape.owner, True))}
        read = ref.version(self._part(ref, f"read for {ask}", pages * length(call)))
        self._object(path, read, sifted.needs, {**known, read: ((shape, True),)})
        row = ref.version(self._part(ref, str(ask), asked.size))
        self._nodes(path, row, {**known, row: ((shape, True),)}, asked)

    def _nodes(self, path: str, row: Ref, known: Known, asked: Asked) -> None:
        nodes, edges = rows_now(under(asked.selection, "nodes")), rows_now(under(asked.selection, "edges"))
        if nodes[0] is not None or edges[0] is not None:
            self._apart.add(row)
        self._object(f"{path}.nodes", row, nodes[1], known)
        self._object(f"{path}.edges.node", row, under(edges[1], "node"), known)

    def _resumable(self, ref: Ref, ask: FieldRequest) -> FieldRequest:
        """The ask, without its cursor where the object stands for many: it belongs to one of them."""
        if not any(key in self.many for key in ref.keys):
            return ask
        return ask.without("after")

    # Counting

    def _many(self, key: str, times: int) -> str:
        """A key that stands for so many."""
        self.many[key] = times
        return key

    def _part(self, ref: Ref, name: str, times: int) -> str:
        """A key that stands for some objects of each that a reference stands for."""
        return self._many(f"{'/'.join(ref.keys)} {name}", times * self._of(ref.keys))

    def _of(self, keys: Keys) -> int:
        return max((self.many.get(key, 1) for key in keys), default=1)

    def _count(self, path: str, bound: Bound, why: str, pages: int = 1) -> None:
        objects = self._of(bound.keys)
        sink = self._sink if any(key in self.many for key in bound.keys) else self._once
        if pages and (bound not in sink or sink[bound].times < pages * objects):
            often = [f"{pages} pages"] if pages > 1 else []
            often += [f"for each of {objects}"] if objects > 1 else []
            often += [f"if all rows are of {bound.registry}"] if sink is not self._once else []
            reason = ", ".join([why, *often])
            sink[bound] = Line(path, bound.registry, bound.call.name, pages * objects, reason)


def in_order(sink: Sink) -> tuple[Line, ...]:
    """The lines from the root fields downwards."""
    return tuple(sorted(sink.values(), key=lambda line: line.path.count(".")))


def is_whole(ref: Ref, known: Known) -> bool:
    """Whether an object is surely known in a form that proves it."""
    return any(shape.whole and sure for shape, sure in known.get(ref, ()))


def step(path: str, ask: FieldRequest) -> str:
    return f"{path}.{camel(ask.field)}"


def length(call: Call) -> int:
    """How many rows a page of a list has."""
    return UNCOUNTED if call.paging is None else call.paging.rows


def span(name: str, call: Call, reach: Reach, sifted: Sieve, asked: Asked, resumed: bool = False) -> tuple[int, int]:
    """The page that a list is read from, and how many pages are read at most.

    The last row of a page is held back until the next one is read. A list that goes on after a cursor may have given
    out most of its first page, and looks at the page before when its first row was the last one given out.
    """
    if call.paging is None:
        return 1, 1
    start = 1 if asked.start is None or not reach.native else asked.start.pages.get(name, 1)
    resumed = resumed or asked.start is not None
    if reach.native and not sifted.tests:
        return start, -(-(asked.size + 1) // call.paging.rows) + resumed + (start > 1)
    return start, -(-reach.rows // call.paging.rows) + (start > 1)
