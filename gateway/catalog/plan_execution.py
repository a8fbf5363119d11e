"""Execution of query plans: sends upstream calls and fills records from their answers.

The plan of many entities, such as the rows of a page, runs for all of them together: plain loops over readers and
cached answers, then one `gather` for pending calls. A call is sent as soon as its keys are known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.bill_of_materials import bill_of_materials, failure_in
from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.calls import Answers, Calls, Outcome, gather
from gateway.catalog.cursors import FIRST_PAGE
from gateway.catalog.entity_state import EntityState
from gateway.catalog.facets import FacetReading
from gateway.catalog.ids import Ref, is_owner
from gateway.catalog.list_rows import ListPage, is_canonical
from gateway.catalog.lists import (
    FACETS,
    INCOMPLETE,
    FirstPage,
    PlannedList,
    VersionsPage,
    merged_page,
    needs_rows,
    versions_page,
)
from gateway.catalog.merge import ReadRows
from gateway.catalog.orders import Order
from gateway.catalog.prepared_rows import RowEncoder
from gateway.catalog.query_plan import (
    CREATED_AT,
    AliasedVersionResolver,
    BomResolver,
    BoundCall,
    ChildResolver,
    Choice,
    DeferredResolver,
    EntityPlan,
    ExistenceResolver,
    Fetch,
    IdResolver,
    ListedVersionResolver,
    NamedVersionResolver,
    NullResolver,
    OwnerResolver,
    OwnerValueResolver,
    RegistryResolver,
    Resolver,
    ValueResolver,
    VersionList,
    VersionsResolver,
    bind,
    choose_calls,
    lookup_plan,
)
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import EXISTS, FieldRequest, Selection
from gateway.errors import BadInput, InvalidId, NotFound, RegistryError, RegistryListCut, RegistryListIncomplete
from gateway.registries.fields import NOT_PROVIDED, Field, Rows, as_moment
from gateway.registries.kind import Call, Keys, Lookup
from gateway.upstream.caching_client import ANY, Answer, Freshness
from gateway.upstream.single_flight import SingleFlight

DEFERRED_FIELD: Final = 5
"""The rows that are processed in the time of loading one deferred field."""

Waits = list[Awaitable[None]]
Continue = Callable[[Waits], None]


class PlanExecution(Calls):
    """The execution of one operation's plans: its calls, and the entities that their answers fill.

    Executions that share ``answers`` share their calls.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        bounds: Bounds = DEFAULT_BOUNDS,
        freshness: Freshness = ANY,
        answers: Answers | None = None,
    ) -> None:
        super().__init__(registries, bounds, freshness, answers)
        self._not_found: set[Ref] = set()
        self._pages: dict[Hashable, VersionsPage] = {}
        self._first_pages: dict[tuple[int, VersionList], tuple[FirstPage | None, int]] = {}
        self._pages_under_way: SingleFlight[Hashable, VersionsPage] = SingleFlight(cancel_abandoned=True)
        self._choices: list[tuple[Sequence[Sequence[BoundCall]], asyncio.Future[dict[BoundCall, None]]]] = []

    # Root fields

    async def entity(self, ref: Ref, selection: Selection) -> Record | None:
        """Return the record of an object, None if the registry has no such object. Raises `RegistryError`."""
        registry = self.registries[ref.registry]
        plan = EntityPlan.of(registry.kind, ref.entity, selection.with_existence)
        entity, waits = EntityState(ref, {}), Waits()
        self.resolve(plan.variant(is_canonical(registry.kind, ref)), [entity], waits)
        await gather(waits)
        record = take_existence(entity.record)
        if isinstance(record, RegistryError):
            raise record
        return record

    async def entities(self, requests: Sequence[tuple[Ref, Selection]]) -> list[Record | Exception | None]:
        """Return the records of several objects in their order, with None or an error for objects without a record."""
        records: Record = {}
        waits = Waits()
        for at, (ref, selection) in enumerate(requests):
            plan = EntityPlan.of(self.registries[ref.registry].kind, ref.entity, selection.with_existence)
            self._set_entity(records, FieldRequest(str(at)), plan, EntityState(ref, {}), waits)
        await gather(waits)
        return [records[str(at)] for at in range(len(requests))]

    async def page(
        self, planned: PlannedList, selection: Selection, encode: RowEncoder | None = None
    ) -> tuple[Record, list[RegistryError]]:
        """Return one merged page, and the failures of registries. Raises `NoRegistryAnswered` if all lists failed.

        A page with rows does not fail with its facets. ``nodes`` that need no further call are encoded with ``encode``.
        """
        requests = {request: self._bound(request) for request in selection if request.field == FACETS}
        if not requests:
            return await merged_page(self, self.resolve, planned, selection, encode)
        reading = FacetReading(self)
        facets = asyncio.create_task(reading.facets(planned.entity, requests, planned.arguments.filter))
        page = asyncio.create_task(merged_page(self, self.resolve, planned, selection, encode))
        await gather([facets, page])
        record, failures = page.result()
        if not needs_rows(selection):
            reading.require_answer()
        if "coverage" in record:
            reading.add_to_coverage(record["coverage"])
        reported = {failure.registry for failure in failures}
        failures += [failure for name, failure in reading.failures().items() if name not in reported]
        return record | facets.result(), failures

    # Plans

    def resolve(self, plan: EntityPlan, entities: Sequence[EntityState], waits: Waits) -> None:
        """Run a plan for several entities as far as possible without waiting. Appends the rest to ``waits``."""
        groups: dict[int, tuple[Selection, list[EntityState]]] = {}
        related: list[Continue] = []
        children: dict[EntityPlan, list[EntityState]] = {}
        read, resolvers = plan.reader.read, plan.resolvers
        for entity in entities:
            entity.record.update(read(entity.sources[0][0] if entity.sources else {}, entity.ref))
            missing = plan.missing
            if resolvers:
                unresolved = [
                    resolver.request
                    for resolver in resolvers
                    if not self._resolve_field(plan, resolver, entity, children, related)
                ]
                missing = plan.still_missing(unresolved)
            if missing:
                groups.setdefault(id(missing), (missing, []))[1].append(entity)
        for missing, members in groups.values():
            self._fetch_missing(plan, missing, members, waits)
        for child_plan, members in children.items():
            self.resolve(child_plan, members, waits)
        for start in related:
            start(waits)

    def _fetch_missing(
        self, plan: EntityPlan, missing: Selection, entities: Sequence[EntityState], waits: Waits
    ) -> None:
        """Run the step for the missing fields of entities."""
        present = [entity for entity in entities if entity.ref not in self._not_found] if self._not_found else entities
        if len(present) < len(entities):
            for entity in entities:
                if entity.ref in self._not_found:
                    entity.record.update(unavailable(missing))
        step = plan.step(missing)
        for entity in present if step.unavailable else ():
            entity.record.update(unavailable(step.unavailable))
        if step.fetches:
            self._send(step.fetches, present, waits)
        if step.choices:
            self._choose(plan, step.choices, present, waits)

    def _send(self, fetches: Sequence[Fetch], entities: Sequence[EntityState], waits: Waits) -> None:
        """Send the calls for entities, and continue with those whose outcome is available."""
        ready: dict[Fetch, list[tuple[EntityState, Outcome | None]]] = {fetch: [] for fetch in fetches}
        for entity in entities:
            for fetch, received in ready.items():
                bound = bound_call(fetch, entity)
                outcome = None if bound is None else self.start(bound)
                if isinstance(outcome, asyncio.Future):
                    waits.append(self._receive_later(fetch, entity, outcome))
                else:
                    received.append((entity, outcome))
        for fetch, received in ready.items():
            if received:
                self._receive(fetch, received, waits)

    async def _receive_later(self, fetch: Fetch, entity: EntityState, task: "asyncio.Future[Answer]") -> None:
        outcome: Outcome
        try:
            outcome = await asyncio.shield(task)
        except RegistryError as error:
            outcome = error.with_traceback(None)
        waits = Waits()
        self._receive(fetch, [(entity, outcome)], waits)
        await gather(waits)

    def _receive(self, fetch: Fetch, received: Sequence[tuple[EntityState, Outcome | None]], waits: Waits) -> None:
        """Continue with entities whose call has an outcome, or None if they do not refer to what it returns."""
        located: list[EntityState] = []
        not_located: list[EntityState] = []
        for entity, outcome in received:
            if isinstance(outcome, Answer):
                raw = fetch.part.locate(outcome.document, target(entity, fetch.through_version).keys)
                if raw is not None:
                    located.append(entity.with_source(raw, outcome.derived))
                    continue
            elif outcome is not None and not isinstance(outcome, NotFound):
                entity.record.update(dict.fromkeys([request.key for request in fetch.fields], outcome))
                continue
            elif outcome is not None and fetch.is_entity:
                self._not_found.add(entity.ref)
            not_located.append(entity)
        if located:
            self.resolve(fetch.then, located, waits)
        if not_located:
            self.resolve(fetch.otherwise, not_located, waits)

    def _choose(
        self, plan: EntityPlan, choices: Sequence[Choice], entities: Sequence[EntityState], waits: Waits
    ) -> None:
        """Choose between calls that can supply the same fields.

        Prefers a call that the operation has made. Other choices are decided together with all that are open in this
        turn of the event loop.
        """
        open_choices: list[tuple[EntityState, Choice, list[BoundCall]]] = []
        decided: list[tuple[EntityState, Choice, int]] = []
        for entity in entities:
            for choice in choices:
                calls = [bind(target(entity, through_version), call) for call, through_version in choice.calls]
                made = next((at for at, bound in enumerate(calls) if bound in self.answers), None)
                if made is None:
                    open_choices.append((entity, choice, calls))
                else:
                    decided.append((entity, choice, made))
        self._send_decided(plan, decided, waits)
        if open_choices:
            waits.append(self._send_chosen(plan, open_choices))

    async def _send_chosen(
        self, plan: EntityPlan, choices: Sequence[tuple[EntityState, Choice, list[BoundCall]]]
    ) -> None:
        chosen = await self._choice([calls for _, _, calls in choices])
        decided = [
            (entity, choice, next(at for at, bound in enumerate(calls) if bound in chosen))
            for entity, choice, calls in choices
        ]
        waits = Waits()
        self._send_decided(plan, decided, waits)
        await gather(waits)

    def _send_decided(self, plan: EntityPlan, decided: Sequence[tuple[EntityState, Choice, int]], waits: Waits) -> None:
        """Send the decided calls, each once for all fields that it supplies to an entity."""
        supplied: dict[tuple[int, tuple[Call, bool]], tuple[EntityState, dict[FieldRequest, Selection]]] = {}
        for entity, choice, at in decided:
            supplied.setdefault((id(entity), choice.calls[at]), (entity, {}))[1].update(choice.fields)
        fetches: dict[Fetch, list[EntityState]] = {}
        for (_, call), (entity, fields) in supplied.items():
            fetches.setdefault(plan.fetch(*call, plan.selection.part(fields)), []).append(entity)
        for fetch, members in fetches.items():
            self._send([fetch], members, waits)

    def _choice(self, alternatives: Sequence[Sequence[BoundCall]]) -> "asyncio.Future[dict[BoundCall, None]]":
        """Return the calls chosen in this turn of the event loop, for these alternatives and all others."""
        loop = asyncio.get_running_loop()
        if not self._choices:
            loop.call_soon(self._decide)
        future: asyncio.Future[dict[BoundCall, None]] = loop.create_future()
        self._choices.append((alternatives, future))
        return future

    def _decide(self) -> None:
        choices, self._choices = self._choices, []
        alternatives = [calls for group, _ in choices for calls in group]
        chosen = dict.fromkeys(choose_calls(alternatives, self.answers.keys()))
        for _, future in choices:
            if not future.done():
                future.set_result(chosen)

    # Fields

    def _resolve_field(
        self,
        plan: EntityPlan,
        resolver: Resolver,
        entity: EntityState,
        children: dict[EntityPlan, list[EntityState]],
        related: list[Continue],
    ) -> bool:
        """Resolve a field of an entity from its sources or its reference. Returns False if it needs a call.

        Appends entities in the field to ``children``, and functions that run after the entity's own calls are sent to
        ``related``.
        """
        request, record = resolver.request, entity.record
        match resolver:
            case VersionsResolver():
                return self._versions(plan, resolver, entity, related)
            case ChildResolver():
                return self._child(plan, resolver, entity, children, related)
            case ValueResolver():
                return self._value(plan, resolver, entity, children, related)
            case ListedVersionResolver():
                return self._listed_version(plan, resolver, entity, children)
            case AliasedVersionResolver():
                self._aliased_version(plan, resolver, entity, children)
            case OwnerValueResolver():
                record[request.key] = resolver.read(entity.owner[resolver.at][0], entity.ref.keys[-1])
            case OwnerResolver():
                described = [raw for layout, raw in zip(plan.sources, entity.sources, strict=True) if layout.owner]
                owner = EntityState(entity.ref.owner, {}, (*entity.owner, *described), version=entity.ref)
                related.append(lambda waits: self._set_entity(record, request, resolver.plan, owner, waits))
            case NamedVersionResolver() if self._bound(request).argument("name") is None:
                record[request.key] = name_or_alias()
            case NamedVersionResolver():
                version, version_plan = self._named_version(plan, resolver, entity)
                related.append(lambda waits: self._set_entity(record, request, version_plan, version, waits))
            case RegistryResolver():
                record[request.key] = self.registries[entity.ref.registry].record()
            case IdResolver():
                ref = self._canonical(plan, entity)
                record[request.key] = str(ref) if request.field == "id" else ref.keys[-1]
            case NullResolver():
                record[request.key] = None
            case ExistenceResolver():
                if not exists(plan, entity):
                    return False
                record[request.key] = True
            case BomResolver():
                related.append(lambda waits: self._bom(plan, resolver, entity, waits))
            case DeferredResolver():
                record[request.key] = Deferred(self, plan, entity, resolver.below)
        return True

    def _canonical(self, plan: EntityPlan, entity: EntityState) -> Ref:
        """Return the canonical reference of an entity, its own reference if no source contains the key."""
        if plan.canonical:
            return entity.ref
        ref = entity.ref
        for layout, (raw, _) in zip(plan.sources, entity.sources, strict=True):
            if layout.is_entity:
                owner = layout.parent(raw)
                keys: Keys = (ref.keys[0] if owner is None else owner,) if len(ref.keys) > 1 else ()
                return Ref(ref.registry, ref.entity, (*keys, layout.key(raw) or ref.keys[-1]))
        return ref

    def _set_entity(
        self, record: Record, request: FieldRequest, plan: EntityPlan, entity: EntityState, waits: Waits
    ) -> None:
        """Put an entity into a record: None if it does not exist, an error if that is unknown."""
        registry = self.registries[entity.ref.registry]
        try:
            registry.validate(entity.ref)
        except InvalidId:
            record[request.key] = None
            return
        inner = Waits()
        self.resolve(plan.variant(is_canonical(registry.kind, entity.ref)), [entity], inner)
        if inner:
            waits.append(self._set_entity_later(record, request, entity, inner))
        else:
            record[request.key] = take_existence(entity.record)

    async def _set_entity_later(self, record: Record, request: FieldRequest, entity: EntityState, inner: Waits) -> None:
        try:
            await gather(inner)
        except Exception as error:
            record[request.key] = error
        else:
            record[request.key] = take_existence(entity.record)

    def _bom(self, plan: EntityPlan, resolver: BomResolver, entity: EntityState, waits: Waits) -> None:
        """Fetch the fields of a bill of materials, and put the document into the record."""
        version = EntityState(entity.ref, {}, entity.sources, entity.owner, entity.version)
        inner = Waits()
        self.resolve(plan.with_selection(resolver.below), [version], inner)

        async def put_document() -> None:
            await gather(inner)
            failure = failure_in(version.record)
            entity.record[resolver.request.key] = failure or self._document(version)

        waits.append(put_document())

    def _document(self, version: EntityState) -> Mapping[str, Any]:
        """Return the bill of materials of a version, from the answers of its registry."""
        name = version.ref.registry
        now = self.registries[name].now()
        received = self.received(name)
        times = [now - answer.age if answer.origin is None else answer.origin.stored_at for answer in received]
        oldest = min(times, default=now)
        return bill_of_materials(version.ref, version.record, oldest, max(0.0, now - oldest))

    def _named_version(
        self, plan: EntityPlan, resolver: NamedVersionResolver, entity: EntityState
    ) -> tuple[EntityState, EntityPlan]:
        """Return a version by name, with the raw object of a source if it is the latest version there."""
        name = self._bound(resolver.request).argument("name")
        ref = entity.ref.version(name)
        for at, latest, version_plan in resolver.latest:
            raw = latest.read(entity.sources[at][0])
            if isinstance(raw, Mapping) and latest.layout is not None and latest.layout.key(raw) == name:
                return EntityState(ref, {}, ((raw, None),), entity.sources), version_plan
        return EntityState(ref, {}, (), entity.sources), resolver.plan

    def _listed_version(
        self,
        plan: EntityPlan,
        resolver: ListedVersionResolver,
        entity: EntityState,
        children: dict[EntityPlan, list[EntityState]],
    ) -> bool:
        name = self._bound(resolver.request).argument("name")
        if name is None:
            entity.record[resolver.request.key] = name_or_alias()
            return True
        for at, listed, child_plan in resolver.lists:
            rows = listed.read(entity.sources[at][0])
            if rows is not NOT_PROVIDED:
                assert listed.layout is not None
                name_of = listed.layout.fields["name"].read
                raw = next((row for row in rows.items if name_of(row) == name), None)
                self._add_child(plan, resolver.request, entity, listed, raw, child_plan, children)
                return True
        return False

    def _aliased_version(
        self,
        plan: EntityPlan,
        resolver: AliasedVersionResolver,
        entity: EntityState,
        children: dict[EntityPlan, list[EntityState]],
    ) -> None:
        request = self._bound(resolver.request)
        entity.record[resolver.request.key] = None if request.argument("name") is None else name_or_alias()
        for at, aliases, child_plan in resolver.lists[:1] if request.argument("name") is None else ():
            assert aliases.table is not None
            name_of, version = aliases.table["name"].read, aliases.table["version"]
            for item in aliases.read(entity.sources[at][0]) or ():
                if name_of(item) == request.argument("alias"):
                    raw = version.read(item)
                    self._add_child(plan, resolver.request, entity, version, raw, child_plan, children)
                    break

    def _child(
        self,
        plan: EntityPlan,
        resolver: ChildResolver,
        entity: EntityState,
        children: dict[EntityPlan, list[EntityState]],
        related: list[Continue],
    ) -> bool:
        for at, field, child_plan in resolver.children:
            raw = field.read(entity.sources[at][0])
            if raw is NOT_PROVIDED:
                continue
            if isinstance(raw, Rows):
                related.append(after_calls(self._newest, plan, resolver, entity, field, child_plan, raw))
            else:
                self._add_child(plan, resolver.request, entity, field, raw, child_plan, children)
            return True
        return False

    def _add_child(
        self,
        plan: EntityPlan,
        request: FieldRequest,
        entity: EntityState,
        field: Field,
        raw: Any,
        child_plan: EntityPlan,
        children: dict[EntityPlan, list[EntityState]],
    ) -> EntityState | None:
        """Put a version of a source into the record; None if the source has none."""
        assert field.layout is not None
        key = None if raw is None else field.layout.key(raw)
        if key is None:
            entity.record[request.key] = None
            return None
        child = EntityState(self._canonical(plan, entity).version(key), {}, ((raw, None),), entity.sources)
        entity.record[request.key] = child.record
        children.setdefault(child_plan.variant(is_canonical(plan.kind, child.ref)), []).append(child)
        return child

    async def _newest(
        self,
        plan: EntityPlan,
        resolver: ChildResolver,
        entity: EntityState,
        field: Field,
        child_plan: EntityPlan,
        rows: Rows,
    ) -> None:
        """Put the newest of several versions into the record, after reading their creation times."""
        request, record = resolver.request, entity.record
        listed = next(layout for layout in plan.sources if layout.fields.get(request.field) is field)
        versions_field = listed.fields.get("versions")
        if versions_field is not None and not rows.is_whole:
            record[request.key] = await self._first_version(plan, entity, versions_field, resolver.below, rows)
            return
        versions: list[EntityState] = []
        groups: dict[EntityPlan, list[EntityState]] = {}
        for raw in rows.items:
            holder = EntityState(entity.ref, {}, entity.sources, entity.owner)
            child = self._add_child(plan, request, holder, field, raw, plan.child(field, CREATED_AT), groups)
            versions += [] if child is None else [child]
        await self._run(groups)
        times = [(child.record["created_at"], child) for child in versions]
        failed = next((time for time, _ in times if isinstance(time, RegistryError)), None)
        if failed is not None or not times:
            record[request.key] = failed
            return
        newest = max(times, key=lambda row: (as_moment(row[0]), row[1].ref))[1]
        chosen = EntityState(newest.ref, {}, newest.sources, newest.owner)
        record[request.key] = chosen.record
        await self._run({child_plan.variant(is_canonical(plan.kind, chosen.ref)): [chosen]})

    async def _first_version(
        self, plan: EntityPlan, entity: EntityState, versions_field: Field, below: Selection, first: Rows
    ) -> Record | Exception | None:
        """Return the newest version in a list with several pages, or the error that leaves it open."""
        page = await versions_page(
            self,
            self.resolve,
            entity,
            self._canonical(plan, entity),
            FieldRequest("versions", (("first", 1),)),
            Selection.of({FieldRequest("nodes"): below}),
            plan.version_list(versions_field),
            first,
        )
        if not isinstance(page, dict):
            return page
        newest: Record | None = next(iter(page["nodes"]), None)
        return page.get(INCOMPLETE, newest)

    async def _run(self, groups: Mapping[EntityPlan, Sequence[EntityState]]) -> None:
        waits = Waits()
        for plan, entities in groups.items():
            self.resolve(plan, entities, waits)
        await gather(waits)

    def _versions(
        self, plan: EntityPlan, resolver: VersionsResolver, entity: EntityState, related: list[Continue]
    ) -> bool:
        request, record = self._bound(resolver.request), entity.record
        key = resolver.request.key
        if resolver.filtered is not None:
            versions, first = resolver.filtered, None
        else:
            for at, versions in resolver.lists:
                raw, derived = entity.sources[at]
                if derived is not None and plan.canonical:
                    first_page, size = self._first_page(resolver, request, versions)
                    page = None if first_page is None else first_page.record(entity.ref, raw, derived, size)
                    if page is not None:
                        record[key] = page
                        return True
                rows = versions.field.read(raw)
                if rows is NOT_PROVIDED:
                    continue
                first = rows
                break
            else:
                return False
        canonical = self._canonical(plan, entity)
        same = canonical, request, id(resolver.below), versions

        async def put_page() -> None:
            if same not in self._pages:
                self._pages[same], _ = await self._pages_under_way.run(
                    same,
                    lambda: versions_page(
                        self, self.resolve, entity, canonical, request, resolver.below, versions, first
                    ),
                )
            record[key] = self._pages[same]

        related.append(after_calls(put_page))
        return True

    def _first_page(
        self, resolver: VersionsResolver, request: FieldRequest, versions: VersionList
    ) -> tuple[FirstPage | None, int]:
        """Return how to build the pages of objects from one answer each, None if that may not do, and their size."""
        key = id(resolver), versions
        first_page = self._first_pages.get(key)
        if first_page is None:
            planned = FirstPage.of(versions, request, resolver.below, self.bounds.page_rows)
            first_page = self._first_pages[key] = planned, request.argument("first")
        return first_page

    def _value(
        self,
        plan: EntityPlan,
        resolver: ValueResolver,
        entity: EntityState,
        children: dict[EntityPlan, list[EntityState]],
        related: list[Continue],
    ) -> bool:
        for at, field in resolver.fields:
            value = field.read(entity.sources[at][0])
            if value is not NOT_PROVIDED:
                entity.record[resolver.request.key] = self._project(
                    plan, entity, field, value, resolver.below, children, related
                )
                return True
        return False

    def _project(
        self,
        plan: EntityPlan,
        entity: EntityState,
        field: Field,
        value: Any,
        selection: Selection,
        children: dict[EntityPlan, list[EntityState]],
        related: list[Continue],
    ) -> Any:
        """Reduce a value to its sub-selection. Starts lookups for fields that need them, and adds versions in it to
        ``children``."""
        if field.table is None or value is None:
            return value
        if isinstance(value, list):
            return [self._project(plan, entity, field, item, selection, children, related) for item in value]
        record: Record = {}
        for request, below in selection.items():
            inner = field.table[request.field]
            read = inner.read(value)
            if inner.lookup is not None and read is not None:
                name = entity.ref.registry
                related.append(after_calls(self._look_up, record, request, name, inner.lookup, read, below))
            elif inner.layout is not None:
                holder = EntityState(entity.ref, record, entity.sources, entity.owner)
                self._add_child(plan, request, holder, inner, read, plan.child(inner, below), children)
            else:
                record[request.key] = self._project(plan, entity, inner, read, below, children, related)
        return record

    async def _look_up(
        self, record: Record, request: FieldRequest, registry: str, name: str, keys: Keys, selection: Selection
    ) -> None:
        """Find the entity that a value refers to, and put it into the record."""
        kind = self.registries[registry].kind
        lookup = kind.lookups[name]
        try:
            document, entity_keys = await self._found(registry, lookup, keys)
        except NotFound:
            record[request.key] = None
            return
        except RegistryError as error:
            record[request.key] = error.with_traceback(None)
            return
        if entity_keys is None:
            record[request.key] = None
            return
        rows = lookup.call.rows
        layout = None if rows is None else rows.layout
        raw = None
        if rows is not None and layout is not None:
            raw = next((row for row in rows.read(document).items if layout.key(row) == entity_keys[0]), None)
        layouts = () if raw is None or layout is None else (layout,)
        raws = () if raw is None else ((raw, None),)
        plan = lookup_plan(kind, lookup, selection, layouts)
        ref = Ref(registry, lookup.entity, entity_keys)
        entity = EntityState(ref, {}, raws) if is_owner(ref.entity) else EntityState(ref, {}, (), raws)
        waits = Waits()
        self._set_entity(record, request, plan, entity, waits)
        await gather(waits)

    async def _found(self, registry: str, lookup: Lookup, keys: Keys) -> tuple[Any, Keys | None]:
        """Return the answer of a lookup that contains the entity, and its keys; None if no page contains it.

        Raises `RegistryError`, also if the list is incomplete: the entity may be among the missing rows.
        """
        call, at, reading = lookup.call, FIRST_PAGE, ReadRows()
        while True:
            answer = await self.call(BoundCall(registry, call, call.keys(keys), page=at.page))
            entity_keys = lookup.find(answer.document, keys)
            if entity_keys is not None or call.rows is None or call.paging is None:
                return answer.document, entity_keys
            rows, page = ListPage.from_answer(answer, self.registries[registry], call.rows, Order())
            following = reading.add(at, page.filtered(call, at.page, rows, ()))
            if following is None and not reading.is_incomplete:
                return answer.document, None
            if following is None:
                raise RegistryListIncomplete(registry)
            if following.offset >= self.bounds.rows:
                raise RegistryListCut(registry)
            at = following

    def _bound(self, request: FieldRequest) -> FieldRequest:
        """Return a request with the values of the operation's variables."""
        return self.bindings[request] if request.is_template else request


def after_calls(function: Callable[..., Awaitable[None]], *arguments: Any) -> Continue:
    """Return a function that starts a coroutine after the calls of its entity are sent."""
    return lambda waits: waits.append(function(*arguments))


def name_or_alias() -> BadInput:
    """Return the error of a version that is requested by neither its name nor an alias, or by both."""
    return BadInput("`version` needs either `name` or `alias`.")


def bound_call(fetch: Fetch, entity: EntityState) -> BoundCall | None:
    """Return the request of a fetch for an entity, None if the entity does not refer to what it returns."""
    if fetch.reference is None:
        return bind(target(entity, fetch.through_version), fetch.call)
    at, read = fetch.reference
    keys = read(entity.sources[at][0])
    return None if keys is None else BoundCall(entity.ref.registry, fetch.call, fetch.call.keys(keys))


def target(entity: EntityState, through_version: bool) -> Ref:
    """Return the reference for a call: the entity, or the version through which it was requested."""
    if not through_version:
        return entity.ref
    assert entity.version is not None
    return entity.version


def unavailable(requests: "Selection | Sequence[FieldRequest]") -> Record:
    """Return the values of fields that no call supplies."""
    return {request.key: False if request == EXISTS else None for request in requests}


def exists(plan: EntityPlan, entity: EntityState) -> bool:
    """Whether an entity certainly exists: a source contains it or one of its versions."""
    for layout, (raw, _) in zip(plan.sources, entity.sources, strict=True):
        lists = [] if layout.is_entity else [listed.read(raw) for listed in layout.fields.values()]
        if layout.is_entity or any(isinstance(rows, Rows) and rows.items for rows in lists):
            return True
    return False


def take_existence(record: Record) -> Record | RegistryError | None:
    """Remove `EXISTS` from a record. Returns None if its entity does not exist, the failure if that is unknown."""
    existence = record.pop(EXISTS.field)
    if isinstance(existence, RegistryError):
        return existence
    return record if existence else None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The deferred fields of an entity. Each is fetched when it is first read."""

    execution: PlanExecution
    plan: EntityPlan
    entity: EntityState
    selection: Selection

    async def load(self, key: Any) -> Any:
        """Return the value of a field by its record key. Raises KeyError for a field that was not requested."""
        await self.execution.count_rows(DEFERRED_FIELD)
        request = {request.key: request for request in self.selection}[key]
        plan, entity = self.plan, self.entity
        part = plan.with_selection(self.selection.part({request: self.selection[request]}))
        waits = Waits()
        self.execution.resolve(
            part, [EntityState(entity.ref, entity.record, entity.sources, entity.owner, entity.version)], waits
        )
        await gather(waits)
        return entity.record[key]
