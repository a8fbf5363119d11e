"""One operation over the catalog: plans what is wanted, asks for it once, and fills records with what came back.

Everything wanted at the same moment, from any root field, is planned together; each call is made at most once; a
call leaves as soon as its keys are known and waits for none that it does not need.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog import connections
from gateway.catalog.ids import Ref
from gateway.catalog.plan import EXISTS, Bound, Want, candidates, plan, supplies
from gateway.catalog.reading import Reading
from gateway.catalog.registry import Registry
from gateway.catalog.selection import LATER, Ask, Frozen, Selection, freeze
from gateway.catalog.told import Told, row
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

Missing = tuple[Record, Ref, Selection]
"""Fields of one object that no answer told yet, and the record that they belong in."""

Derived = dict[Any, Any]
"""What was worked out from an answer, for all who share it."""

Said = tuple[Shape, Raw, Derived | None]
"""What an answer said of an object: in which form, and what was worked out from the answer, if it is about this object.
"""

Answers = dict[Bound, asyncio.Future[Answer]]
"""Calls that were made, each with its answer or on the way to it."""


@dataclass(slots=True)
class Open:
    """What is left of some objects when what is known of them is settled: what is ``missing``, and other ``waits``."""

    missing: list[Missing] = field(default_factory=list)
    waits: list[Awaitable[None]] = field(default_factory=list)


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
        self._frozen: dict[int, tuple[Selection, Frozen]] = {}
        self._unread: dict[Ref, Told] = {}
        self._known: dict[Ref, list[Said]] = {}
        self._learned = 0
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
        left = Open()
        for record, ref, selection in asked:
            self._settle_all(record, ref, selection, left)
        await self._close(left)
        return not left.waits

    async def records(self, refs: Sequence[Ref], selection: Selection) -> tuple[list[Record], bool]:
        """What is asked of several objects, as records that must not be changed, and whether it was known before.

        Where a page tells it all and nothing else is known of an object, its record is shared by all who read it.
        """
        frozen = self.frozen(selection)
        unread, page, filled = self._unread, None, None
        found: list[Record] = []
        asked: list[tuple[Record, Ref, Selection]] = []
        made: list[tuple[dict[Ref, Record], Ref, Record]] = []
        for ref in refs:
            told = unread.get(ref)
            if told is not page:
                page, filled = told, None if told is None else told.filled(frozen)
            record = None if filled is None else filled.get(ref)
            if record is None:
                record = {}
                asked.append((record, ref, selection))
                if filled is not None:
                    made.append((filled, ref, record))
            found.append(record)
        known = await self.fill(asked)
        if known:
            for filled, ref, record in made:
                filled[ref] = record
        return found, known

    def told_records(self, told: Told, refs: Sequence[Ref], selection: Selection) -> list[Record] | None:
        """What is asked of some objects of a page that tells of them first; None if it does not tell all of that."""
        self.learn_page(told)
        records: list[Record] = [{} for _ in refs]
        left = Open()
        for record, ref in zip(records, refs, strict=True):
            self._settle_all(record, ref, selection, left)
        return None if left.missing else records

    def frozen(self, selection: Selection) -> Frozen:
        """A selection of this operation as a value that can be looked up."""
        known = self._frozen.get(id(selection))
        if known is None:
            known = self._frozen[id(selection)] = selection, freeze(selection)
        return known[1]

    def _settle_all(self, record: Record, ref: Ref, selection: Selection, left: Open) -> None:
        """Settle what is known; the rest is ``left``."""
        record["__typename"] = ref.entity
        rest = self._read_values(record, ref, selection)
        missing = {ask: below for ask, below in rest.items() if not self._settle(record, ref, ask, below, left)}
        if missing:
            left.missing.append((record, ref, rest if len(missing) == len(rest) else missing))

    def _read_values(self, record: Record, ref: Ref, selection: Selection) -> Selection:
        """Put the plain values into the record that the first answer about the object tells; returns what is left."""
        known = self._said(ref)
        if not known:
            return selection
        shape, raw, _ = known[0]
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

    def _settle(self, record: Record, ref: Ref, ask: Ask, selection: Selection, left: Open) -> bool:
        """Put one field into the record if all that it needs is known; nested objects are ``left``."""
        registry = self.registries[ref.registry]
        name = ask.field
        if name == "registry_name":
            record[name] = ref.registry
        elif name == "registry":
            record[name] = registry.record()
        elif name in ("id", "native_id"):
            canonical = self.canonical(ref)
            if canonical is None:
                return False
            record[name] = str(canonical) if name == "id" else canonical.keys[-1]
        elif name in ("model", "algorithm"):
            self._versions.setdefault(ref.owner, {})[ref] = None
            left.waits.append(self._put(record, ask, ref.owner, selection))
        elif name == "version" and ref.version("").entity in registry.kind.named:
            left.waits.append(self._put(record, ask, self._named(ref, ask.argument("name")), selection))
        elif name in registry.kind.absent[ref.entity]:
            record[name] = None
        elif name == "versions" and (field := connections.filtering(registry.kind, ref, ask)) is not None:
            left.waits.append(connections.put_versions(self, record, ask, ref, field, None, selection))
        elif name == EXISTS.field:
            return self._settle_existence(record, ref)
        elif name == LATER.field:
            record[name] = Later(self, record, ref, selection)
        else:
            return self._settle_from_sources(record, ref, ask, selection, left)
        return True

    def _settle_existence(self, record: Record, ref: Ref) -> bool:
        for shape, raw, _ in self._said(ref):
            lists = [] if shape.whole else [field.read(raw) for field in shape.fields.values()]
            if shape.whole or any(isinstance(rows, Rows) and rows.items for rows in lists):
                record[EXISTS.field] = True
                return True
        return False

    def _settle_from_sources(self, record: Record, ref: Ref, ask: Ask, selection: Selection, left: Open) -> bool:
        name = "versions" if ask.field == "version" else ask.field
        for shape, raw, derived in self._said(ref):
            if not supplies(shape.fields, Ask(name), selection):
                continue
            field = shape.fields[name]
            value = field.read(raw)
            if value is UNSAID:
                continue
            if field.shape is None:
                record[ask.key] = self._project(ref, field, value, selection, left)
            elif ask.field == "versions":
                kept = connections.told_versions(self, ref, ask, selection, field, value, derived)
                if kept is not None:
                    record[ask.key] = kept
                    return True
                left.waits.append(connections.put_versions(self, record, ask, ref, field, value, selection))
            elif ask.field == "version":
                name_of = field.shape.fields["name"].read
                found = next((row for row in value.items if name_of(row) == ask.argument("name")), None)
                self._settle_child(record, ask, ref, field.shape, found, selection, left)
            elif isinstance(value, Rows):
                left.waits.append(self._put_newest(record, ask, ref, field.shape, value, selection))
            else:
                self._settle_child(record, ask, ref, field.shape, value, selection, left)
            return True
        return False

    def _settle_child(
        self, record: Record, ask: Ask, ref: Ref, shape: Shape, raw: Raw | None, selection: Selection, left: Open
    ) -> None:
        child = None if raw is None else self.learn_child(ref, shape, raw)
        if child is None:
            record[ask.key] = None
        else:
            nested: Record = {}
            record[ask.key] = nested
            self._settle_all(nested, child, selection, left)

    def _project(self, ref: Ref, field: Field, value: Any, selection: Selection, left: Open) -> Any:
        """The value of a field that is no entity: converted, nested objects cut down to what is asked."""
        if field.table is None or value is None:
            return value
        if isinstance(value, list):
            return [self._project(ref, field, item, selection, left) for item in value]
        record: Record = {}
        for ask, below in selection.items():
            inner = field.table[ask.field]
            read = inner.read(value)
            if inner.lookup is not None and read is not None:
                left.waits.append(self._look_up(record, ask, ref.registry, inner.lookup, read, below))
            else:
                record[ask.key] = self._project(ref, inner, read, below, left)
        return record

    # Knowledge

    def learn(self, ref: Ref, shape: Shape, raw: Raw, derived: Derived | None = None) -> None:
        """Remember what an answer said of an object; ``derived`` is what was worked out from the answer, if it is
        about this object."""
        self._said(ref)
        known = self._known.setdefault(ref, [])
        if all(raw is not said for _, said, _ in known):
            known.append((shape, raw, derived))
            self._learned += 1
            if shape.owner is not None:
                self.learn(ref.owner, shape.owner, raw)

    def learn_page(self, told: Told) -> None:
        """Remember what a page of a list said of its objects, when something of them is asked."""
        self._learned += 1
        for ref, raw in told.raws.items():
            before = self._unread.setdefault(ref, told) if ref not in self._known else None
            if before is not told:
                self.learn(ref, told.shape, raw)

    def _said(self, ref: Ref) -> Sequence[Said]:
        """What answers said of an object, in the order in which they came."""
        told = self._unread.pop(ref, None) if self._unread else None
        if told is not None:
            self.learn(ref, told.shape, told.raws[ref])
        return self._known.get(ref, ())

    def hears_first_of(self, told: Told) -> bool:
        """Whether nothing is known of these objects but what this page tells."""
        unread = self._unread
        return self._known.keys().isdisjoint(told.raws) and all(unread.get(ref, told) is told for ref in told.raws)

    def learn_child(self, ref: Ref, shape: Shape, raw: Raw) -> Ref | None:
        """Remember a version that an answer about its owner described; None when it has no key."""
        key = shape.key(raw)
        if key is None:
            return None
        child = (self.canonical(ref) or ref).version(key)
        self.learn(child, shape, raw)
        return child

    def learn_row(self, registry: str, shape: Shape, raw: Raw) -> None:
        """Remember an object that a list described, if it has a key."""
        ref = row(registry, shape, raw)
        if ref is not None:
            self.learn(ref, shape, raw)

    def canonical(self, ref: Ref) -> Ref | None:
        """The reference under which its registry knows the object best; None while that is not known."""
        patterns = self.registries[ref.registry].kind.canonical.get(ref.entity)
        if patterns is None or all(p.fullmatch(key) for p, key in zip(patterns, ref.keys, strict=True)):
            return ref
        for shape, raw, _ in self._said(ref):
            if shape.whole:
                owner = shape.parent(raw)
                keys = (ref.keys[0] if owner is None else owner,) if len(ref.keys) > 1 else ()
                return Ref(ref.registry, ref.entity, (*keys, shape.key(raw) or ref.keys[-1]))
        return None

    def _named(self, ref: Ref, name: str) -> Ref:
        """The version of that name, where names are keys; what the latest version is known to be is not asked again."""
        child = ref.version(name)
        if not self._said(child):
            for shape, raw, _ in self._said(ref):
                latest = shape.fields.get("latest_version")
                if latest is None or latest.shape is None:
                    continue
                said = latest.read(raw)
                if isinstance(said, Mapping) and latest.shape.key(said) == name:
                    self.learn(child, latest.shape, said)
        return child

    # Calls

    async def _close(self, left: Open) -> None:
        """See to everything that is left."""
        if left.missing:
            left.waits.append(self._fetch(left.missing, self._learned))
        await gather(left.waits)

    async def _fetch(self, missing: Sequence[Missing], learned: int) -> None:
        """Ask for what is missing of several objects, unless something was ``learned`` since that tells it: calls are
        chosen together with all others who want something now."""
        wants: list[Want] = []
        asked: list[tuple[Missing, list[Want]]] = []
        left = Open()
        for record, ref, asks in missing:
            own: list[Want] = []
            for ask, below in asks.items():
                if self._learned != learned and self._settle(record, ref, ask, below, left):
                    continue
                options = self._options(ref, ask, below)
                if options:
                    own.append(Want(ref, ask, options))
                else:
                    record[ask.key] = False if ask == EXISTS else None
            if own:
                wants += own
                asked.append(((record, ref, asks), own))
        if wants:
            left.waits.append(self._take_chosen(wants, asked))
        await gather(left.waits)

    def _options(self, ref: Ref, ask: Ask, selection: Selection) -> tuple[Bound, ...]:
        """The calls that may tell a field of an object."""
        if ref in self._missing:
            return ()
        tried = self._tried.setdefault(ref, set())
        kind = self.registries[ref.registry].kind
        return candidates(kind, ref, ask, selection, tried, self._versions.get(ref, ()))

    async def _take_chosen(self, wants: list[Want], asked: Sequence[tuple[Missing, list[Want]]]) -> None:
        """Wait for the plan, and take each field from the call that was chosen for it; at once where it is answered."""
        chosen = await self._choose(wants)
        left, later = Open(), []
        for (record, ref, asks), own in asked:
            groups: dict[Bound, dict[Ask, Selection]] = {}
            for want in own:
                groups.setdefault(chosen[want], {})[want.ask] = asks[want.ask]
            for bound, group in groups.items():
                taken = asks if len(group) == len(asks) else group
                answer = at_once(self._send(bound))
                if answer is None:
                    later.append((record, ref, bound, taken))
                else:
                    self._take(record, ref, bound, taken, answer, left)
        left.waits += [self._take_later(*one) for one in later]
        await self._close(left)

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
        for bound in dict.fromkeys(chosen.values()):
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
        if not sent.done():
            await asyncio.wait((sent,), timeout=self.ends - asyncio.get_running_loop().time())
            if not sent.done():
                raise RegistryTimeout(bound.registry)
        return sent.result()

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

    async def _take_later(self, record: Record, ref: Ref, bound: Bound, asks: Selection) -> None:
        """Settle some fields of an object from one call's answer when it comes."""
        answer: Answer | RegistryError
        try:
            answer = await self.answer(bound)
        except RegistryError as error:
            answer = error
        left = Open()
        self._take(record, ref, bound, asks, answer, left)
        await self._close(left)

    def _take(
        self, record: Record, ref: Ref, bound: Bound, asks: Selection, answer: Answer | RegistryError, left: Open
    ) -> None:
        """Settle some fields of an object from one call's answer, and look elsewhere for what it did not tell."""
        if isinstance(answer, NotFound):
            if any(part.shape.whole and part.shape.entity == ref.entity for part in bound.call.parts):
                self._missing.add(ref)
        elif isinstance(answer, RegistryError):
            record.update({ask.key: answer for ask in asks})
            return
        elif bound not in self._tried[ref]:
            for one in (ref, *self._versions.get(ref, ())):
                self._learn_answer(one, bound, answer)
        self._tried[ref].add(bound)
        self._settle_all(record, ref, asks, left)

    def _learn_answer(self, ref: Ref, bound: Bound, answer: Answer) -> None:
        """Remember what a call's answer says of an object, if it is one that the call was made for."""
        for part in bound.call.parts:
            if part.shape.entity == ref.entity and bound.keys == tuple(ref.keys[i] for i in bound.call.takes):
                raw = part.locate(answer.document, ref.keys)
                if raw is not None:
                    self.learn(ref, part.shape, raw, answer.derived)
                    canonical = self.canonical(ref)
                    if canonical is not None and canonical != ref:
                        self.learn(canonical, part.shape, raw, answer.derived)

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


def at_once(sent: asyncio.Future[Answer]) -> Answer | RegistryError | None:
    """What came of a call; None where that has to be awaited."""
    if not sent.done() or sent.cancelled():
        return None
    error = sent.exception()
    return sent.result() if error is None else error if isinstance(error, RegistryError) else None


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
