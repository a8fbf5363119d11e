"""One operation over the catalog: plans what is wanted, asks for it once, and fills records with what came back.

Everything wanted at the same moment, from any root field, is planned together; each call is made at most once; a
call leaves as soon as its keys are known and waits for none that it does not need.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog import connections
from gateway.catalog.ids import Ref
from gateway.catalog.plan import EXISTS, Bound, Want, candidates, plan, supplies
from gateway.catalog.reading import Reading
from gateway.catalog.registry import Registry
from gateway.catalog.selection import LATER, Ask, Selection
from gateway.catalog.told import Frozen, Told, freeze, row
from gateway.catalog.waiting import gather
from gateway.errors import GatewayError, InvalidId, NotFound, QueryTooExpensive, RegistryError, RegistryTimeout
from gateway.registries.fields import UNSAID, Field, Raw, Rows, Shape, as_moment
from gateway.registries.kind import Keys
from gateway.telemetry.facts import Call, State
from gateway.upstream.source import ANY, Answer, Freshness

Record = dict[Any, Any]
"""An object as asked for: values by field, nested records, and errors where a value could not be had.

What was not asked for is not in it, so that reading it is an error and never a default.
"""

Waits = list[Awaitable[None]]

Answers = dict[Bound, asyncio.Future[Answer]]
"""Calls that were made, each with its answer or on the way to it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far lists are read that have to be sorted or filtered here: rows of one list for one page, and rows that
    cost a call of their own each; how many seconds an operation may take, and how many calls it may make; and how much
    may be asked at once: rows of a page, ids, and references of other subgraphs."""

    rows: int
    detail_rows: int
    seconds: float
    calls: int
    page_rows: int = 100
    ids: int = 100
    references: int = 2_000


DEFAULT_BOUNDS = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=1000)


class Operation:
    """The state of one operation: calls made, what is known of each object, and failures not yet shown.

    Operations that are given the same ``answers`` share their calls.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        bounds: Bounds = DEFAULT_BOUNDS,
        wanted: Freshness = ANY,
        answers: Answers | None = None,
    ) -> None:
        self.registries = registries
        self.bounds = bounds
        self.wanted = wanted
        self.ends = asyncio.get_running_loop().time() + bounds.seconds
        self.answers: Answers = {} if answers is None else answers
        self.reused: Answer | None = None
        self.calls: list[Call] = []
        self.partial = False
        self._readings: dict[tuple[int, Shape], Reading] = {}
        self._unread: dict[Ref, Told] = {}
        self._known: dict[Ref, list[tuple[Shape, Raw]]] = {}
        self._missing: set[Ref] = set()
        self._versions: dict[Ref, dict[Ref, None]] = {}
        self._tried: dict[Ref, set[Bound]] = {}
        self._wanted: list[tuple[list[Want], asyncio.Future[Mapping[Want, Bound]]]] = []

    # Objects

    async def entity(self, ref: Ref, selection: Selection) -> Record | None:
        """The object as a record; None when its registry has no such object. Raises the `RegistryError` otherwise."""
        record: Record = {}
        await self.fill([(record, ref, {EXISTS: {}, **selection})])
        exists = record.pop(EXISTS.field)
        if isinstance(exists, RegistryError):
            raise exists
        return record if exists else None

    async def fill(self, asked: list[tuple[Record, Ref, Selection]]) -> bool:
        """Put everything that is asked of several objects into their records; whether all of it was known before."""
        waits: Waits = []
        for record, ref, selection in asked:
            self._settle_all(record, ref, selection, waits)
        await gather(waits)
        return not waits

    async def records(self, wanted: Sequence[tuple[Ref, Selection]]) -> list[Record]:
        """What is asked of several objects, as records that must not be changed: where a page tells it all and nothing
        else is known of an object, its record is shared by all who read that page."""
        frozen: dict[int, Frozen] = {}
        found: list[Record] = []
        asked: list[tuple[Record, Ref, Selection]] = []
        made: list[tuple[dict[Ref, Record], Ref, Record]] = []
        for ref, selection in wanted:
            told = self._unread.get(ref)
            if told is not None and id(selection) not in frozen:
                frozen[id(selection)] = freeze(selection)
            filled = None if told is None else told.filled(frozen[id(selection)])
            record = None if filled is None else filled.get(ref)
            if record is None:
                record = {}
                asked.append((record, ref, selection))
                if filled is not None:
                    made.append((filled, ref, record))
            found.append(record)
        if await self.fill(asked):
            for filled, ref, record in made:
                filled[ref] = record
        return found

    def _settle_all(self, record: Record, ref: Ref, selection: Selection, waits: Waits) -> None:
        """Settle what is known, and start on the rest."""
        record["__typename"] = ref.entity
        rest = self._read_values(record, ref, selection)
        missing = {ask: below for ask, below in rest.items() if not self._settle(record, ref, ask, below, waits)}
        if missing:
            waits.append(self._fetch(record, ref, missing))

    def _read_values(self, record: Record, ref: Ref, selection: Selection) -> Selection:
        """Put the plain values into the record that the first answer about the object tells; returns what is left."""
        known = self._said(ref)
        if not known:
            return selection
        shape, raw = known[0]
        reading = self._readings.get((id(selection), shape))
        if reading is None:
            reading = Reading.of(selection, shape, self.registries[ref.registry].kind)
            self._readings[id(selection), shape] = reading
        rest = reading.rest
        for ask, read in reading.values:
            value = read(raw)
            if value is UNSAID:
                rest = {**rest, ask: {}}
            else:
                record[ask.field] = value
        return rest

    def _settle(self, record: Record, ref: Ref, ask: Ask, selection: Selection, waits: Waits) -> bool:
        """Put one field into the record if all that it needs is known; nested objects are started in ``waits``."""
        registry = self.registries[ref.registry]
        name = ask.field
        if name == "registry_name":
            record[name] = ref.registry
        elif name == "registry":
            record[name] = registry.record()
        elif name in ("id", "native_id"):
            canonical = self._canonical(ref)
            if canonical is None:
                return False
            record[name] = str(canonical) if name == "id" else canonical.keys[-1]
        elif name in ("model", "algorithm"):
            self._versions.setdefault(ref.owner, {})[ref] = None
            waits.append(self._put(record, ask, ref.owner, selection))
        elif name == "version" and ref.version("").entity in registry.kind.named:
            waits.append(self._put(record, ask, self._named(ref, ask.argument("name")), selection))
        elif name in registry.kind.absent[ref.entity]:
            record[name] = None
        elif name == "versions" and (field := connections.filtering(registry.kind, ref, ask)) is not None:
            waits.append(connections.put_versions(self, record, ask, ref, field, None, selection))
        elif name == EXISTS.field:
            return self._settle_existence(record, ref)
        elif name == LATER.field:
            record[name] = Later(self, record, ref, selection)
        else:
            return self._settle_from_sources(record, ref, ask, selection, waits)
        return True

    def _settle_existence(self, record: Record, ref: Ref) -> bool:
        for shape, raw in self._said(ref):
            lists = [] if shape.whole else [field.read(raw) for field in shape.fields.values()]
            if shape.whole or any(isinstance(rows, Rows) and rows.items for rows in lists):
                record[EXISTS.field] = True
                return True
        return False

    def _settle_from_sources(self, record: Record, ref: Ref, ask: Ask, selection: Selection, waits: Waits) -> bool:
        name = "versions" if ask.field == "version" else ask.field
        for shape, raw in self._said(ref):
            if not supplies(shape.fields, Ask(name), selection):
                continue
            field = shape.fields[name]
            value = field.read(raw)
            if value is UNSAID:
                continue
            if field.shape is None:
                record[ask.key] = self._project(ref, field, value, selection, waits)
            elif ask.field == "versions":
                waits.append(connections.put_versions(self, record, ask, ref, field, value, selection))
            elif ask.field == "version":
                name_of = field.shape.fields["name"].read
                found = next((row for row in value.items if name_of(row) == ask.argument("name")), None)
                self._settle_child(record, ask, ref, field.shape, found, selection, waits)
            elif isinstance(value, Rows):
                waits.append(self._put_newest(record, ask, ref, field.shape, value, selection))
            else:
                self._settle_child(record, ask, ref, field.shape, value, selection, waits)
            return True
        return False

    def _settle_child(
        self, record: Record, ask: Ask, ref: Ref, shape: Shape, raw: Raw | None, selection: Selection, waits: Waits
    ) -> None:
        child = None if raw is None else self.learn_child(ref, shape, raw)
        if child is None:
            record[ask.key] = None
        else:
            nested: Record = {}
            record[ask.key] = nested
            self._settle_all(nested, child, selection, waits)

    def _project(self, ref: Ref, field: Field, value: Any, selection: Selection, waits: Waits) -> Any:
        """The value of a field that is no entity: converted, nested objects cut down to what is asked."""
        if field.table is None or value is None:
            return value
        if isinstance(value, list):
            return [self._project(ref, field, item, selection, waits) for item in value]
        record: Record = {}
        for ask, below in selection.items():
            inner = field.table[ask.field]
            read = inner.read(value)
            if inner.lookup is not None and read is not None:
                waits.append(self._look_up(record, ask, ref.registry, inner.lookup, read, below))
            else:
                record[ask.key] = self._project(ref, inner, read, below, waits)
        return record

    # Knowledge

    def learn(self, ref: Ref, shape: Shape, raw: Raw) -> None:
        """Remember what an answer said of an object."""
        self._said(ref)
        known = self._known.setdefault(ref, [])
        if all(raw is not said for _, said in known):
            known.append((shape, raw))
            if shape.owner is not None:
                self.learn(ref.owner, shape.owner, raw)

    def learn_page(self, told: Told) -> None:
        """Remember what a page of a list said of its objects, when something of them is asked."""
        for ref in self._unread.keys() & told.raws.keys():
            self._said(ref)
        self._unread.update(dict.fromkeys(told.raws, told))

    def _said(self, ref: Ref) -> Sequence[tuple[Shape, Raw]]:
        """What answers said of an object, in the order in which they came."""
        told = self._unread.pop(ref, None)
        if told is not None:
            self.learn(ref, told.shape, told.raws[ref])
        return self._known.get(ref, ())

    def learn_child(self, ref: Ref, shape: Shape, raw: Raw) -> Ref | None:
        """Remember a version that an answer about its owner described; None when it has no key."""
        key = shape.key(raw)
        if key is None:
            return None
        child = (self._canonical(ref) or ref).version(key)
        self.learn(child, shape, raw)
        return child

    def learn_row(self, registry: str, shape: Shape, raw: Raw) -> None:
        """Remember an object that a list described, if it has a key."""
        ref = row(registry, shape, raw)
        if ref is not None:
            self.learn(ref, shape, raw)

    def _canonical(self, ref: Ref) -> Ref | None:
        """The reference under which its registry knows the object best; None while that is not known."""
        patterns = self.registries[ref.registry].kind.canonical.get(ref.entity)
        if patterns is None or all(p.fullmatch(key) for p, key in zip(patterns, ref.keys, strict=True)):
            return ref
        for shape, raw in self._said(ref):
            if shape.whole:
                owner = shape.parent(raw)
                keys = (ref.keys[0] if owner is None else owner,) if len(ref.keys) > 1 else ()
                return Ref(ref.registry, ref.entity, (*keys, shape.key(raw) or ref.keys[-1]))
        return None

    def _named(self, ref: Ref, name: str) -> Ref:
        """The version of that name, where names are keys; what the latest version is known to be is not asked again."""
        child = ref.version(name)
        if not self._said(child):
            for shape, raw in self._said(ref):
                latest = shape.fields.get("latest_version")
                if latest is None or latest.shape is None:
                    continue
                said = latest.read(raw)
                if isinstance(said, Mapping) and latest.shape.key(said) == name:
                    self.learn(child, latest.shape, said)
        return child

    # Calls

    async def _fetch(self, record: Record, ref: Ref, missing: Selection) -> None:
        """Ask for the missing fields of one object, unless they came in the meantime: calls are chosen together with
        all others who want something now."""
        tried = self._tried.setdefault(ref, set())
        kind = self.registries[ref.registry].kind
        wants: list[Want] = []
        asks: dict[Ask, Selection] = {}
        waits: Waits = []
        for ask, below in missing.items():
            if self._settle(record, ref, ask, below, waits):
                continue
            options = (
                () if ref in self._missing else candidates(kind, ref, ask, below, tried, self._versions.get(ref, ()))
            )
            if options:
                wants.append(Want(ref, ask, options))
                asks[ask] = below
            else:
                record[ask.key] = False if ask == EXISTS else None
        if wants:
            waits.append(self._take_chosen(record, ref, wants, asks))
        await gather(waits)

    async def _take_chosen(self, record: Record, ref: Ref, wants: list[Want], asks: Selection) -> None:
        """Wait for the plan, and take each field from the call that was chosen for it."""
        chosen = await self._choose(wants)
        groups: dict[Bound, dict[Ask, Selection]] = {}
        for want in wants:
            groups.setdefault(chosen[want], {})[want.ask] = asks[want.ask]
        await gather([self._take(record, ref, bound, group) for bound, group in groups.items()])

    def _choose(self, wants: list[Want]) -> asyncio.Future[Mapping[Want, Bound]]:
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(self._dispatch)
        future: asyncio.Future[Mapping[Want, Bound]] = loop.create_future()
        self._wanted.append((wants, future))
        return future

    def _dispatch(self) -> None:
        """Plan everything wanted since the last time, and send."""
        wanted, self._wanted = self._wanted, []
        chosen = plan([want for wants, _ in wanted for want in wants], self.answers.keys())
        for bound in chosen.values():
            self._send(bound)
        for _, future in wanted:
            if not future.done():
                future.set_result(chosen)

    async def ask(self, bound: Bound) -> Any:
        """The raw JSON of a call's answer, asked for once in an operation. Raises `RegistryError`."""
        return (await self.answer(bound)).document

    async def answer(self, bound: Bound) -> Answer:
        """A call's answer, asked for once in an operation. Raises `RegistryError`."""
        sent = self._send(bound)
        if sent.done() and not sent.cancelled() and sent.exception() is None:
            return sent.result()
        try:
            async with asyncio.timeout_at(self.ends):
                return await asyncio.shield(sent)
        except TimeoutError:
            raise RegistryTimeout(bound.registry) from None

    def received(self, registry: str | None = None) -> list[Answer]:
        """The answers that came, of one registry or of all; for an answer that was kept whole, one for all of them."""
        if self.reused is not None:
            return [self.reused]
        return [
            task.result()
            for bound, task in self.answers.items()
            if task.done() and not task.cancelled() and not task.exception() and registry in (None, bound.registry)
        ]

    def _send(self, bound: Bound) -> asyncio.Future[Answer]:
        sent = self.answers.get(bound)
        if sent is None:
            self.answers[bound] = sent = self._sent(bound)
        return sent

    def _sent(self, bound: Bound) -> asyncio.Future[Answer]:
        allowed = len(self.answers) < self.bounds.calls
        answer = self.registries[bound.registry].at_hand(bound, self.wanted) if allowed else None
        if answer is not None:
            self.calls.append(Call(bound.registry, bound.call.name, State.HIT))
            kept: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            kept.set_result(answer)
            return kept
        task = asyncio.ensure_future(self._call(bound) if allowed else self._too_many())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _call(self, bound: Bound) -> Answer:
        """Ask, and note how it went."""
        call = Call(bound.registry, bound.call.name)
        self.calls.append(call)
        with call.under_way():
            return await self.registries[bound.registry].ask(bound, self.wanted)

    async def _too_many(self) -> Answer:
        raise QueryTooExpensive(len(self.answers), self.bounds.calls)

    async def _take(self, record: Record, ref: Ref, bound: Bound, asks: Selection) -> None:
        """Settle some fields of an object from one call's answer, and look elsewhere for what it did not tell."""
        try:
            document = await self.ask(bound)
        except NotFound:
            if any(part.shape.whole and part.shape.entity == ref.entity for part in bound.call.parts):
                self._missing.add(ref)
        except RegistryError as error:
            record.update({ask.key: error for ask in asks})
            return
        else:
            if bound not in self._tried[ref]:
                for one in (ref, *self._versions.get(ref, ())):
                    self._learn_answer(one, bound, document)
        self._tried[ref].add(bound)
        waits: Waits = []
        self._settle_all(record, ref, asks, waits)
        await gather(waits)

    def _learn_answer(self, ref: Ref, bound: Bound, document: Any) -> None:
        """Remember what a call's answer says of an object, if it is one that the call was made for."""
        for part in bound.call.parts:
            if part.shape.entity == ref.entity and bound.keys == tuple(ref.keys[i] for i in bound.call.takes):
                raw = part.locate(document, ref.keys)
                if raw is not None:
                    self.learn(ref, part.shape, raw)
                    self.learn(self._canonical(ref) or ref, part.shape, raw)

    async def _put(self, record: Record, ask: Ask, ref: Ref, selection: Selection) -> None:
        """Put another object into a record, None when it does not or cannot exist, its error when it was not had."""
        try:
            self.registries[ref.registry].admit(ref)
            record[ask.key] = await self.entity(ref, selection)
        except InvalidId:
            record[ask.key] = None
        except GatewayError as error:
            record[ask.key] = error

    async def _put_newest(
        self, record: Record, ask: Ask, ref: Ref, shape: Shape, rows: Rows, selection: Selection
    ) -> None:
        """Put the version that was created last into a record; when each was is asked first."""
        created = Ask("created_at")
        versions: list[tuple[Record, Ref, Selection]] = [
            ({}, child, {created: {}}) for raw in rows.items if (child := self.learn_child(ref, shape, raw))
        ]
        await self.fill(versions)
        failed = next((one[created.key] for one, _, _ in versions if isinstance(one[created.key], RegistryError)), None)
        if failed is not None or not versions:
            record[ask.key] = failed
            return
        newest = max((as_moment(version[created.key]), child) for version, child, _ in versions)[1]
        record[ask.key] = nested = Record()
        await self.fill([(nested, newest, selection)])

    async def _look_up(
        self, record: Record, ask: Ask, registry: str, name: str, keys: Keys, selection: Selection
    ) -> None:
        """Put the object into a record that another one names only indirectly."""
        lookup = self.registries[registry].kind.lookups[name]
        try:
            document = await self.ask(Bound(registry, lookup.call, tuple(keys[i] for i in lookup.call.takes)))
        except NotFound:
            record[ask.key] = None
            return
        except RegistryError as error:
            record[ask.key] = error
            return
        rows = lookup.call.rows
        if rows is not None and rows.shape is not None:
            for raw in rows.read(document).items:
                self.learn_row(registry, rows.shape, raw)
        found = lookup.find(document, keys)
        if found is None:
            record[ask.key] = None
        else:
            await self._put(record, ask, Ref(registry, lookup.entity, found), selection)


@dataclass(frozen=True, slots=True)
class Later:
    """What an object was asked for that may come later: a field is loaded when it is first read."""

    operation: Operation
    record: Record
    ref: Ref
    selection: Selection

    async def load(self, key: Any) -> Any:
        """The value that the record then holds under the key. Raises KeyError for what was not asked for."""
        asked = {ask.key: ask for ask in self.selection}[key]
        await self.operation.fill([(self.record, self.ref, {asked: self.selection[asked]})])
        return self.record[key]
