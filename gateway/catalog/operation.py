"""One operation over the catalog: plans what is wanted, asks for it once, and fills records with what came back.

What one call alone can tell is asked at once; where there is a choice, everything wanted at the same moment, from any
root field, is planned together. Each call is made at most once; it leaves as soon as its keys are known and waits for
none that it does not need. What is at hand is taken at once.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.catalog import connections
from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.calls import Answers, Calls, at_once
from gateway.catalog.ids import Ref
from gateway.catalog.knowledge import Knowledge
from gateway.catalog.plan import Bound, Want, candidates, filtering, plan, supplies, sure
from gateway.catalog.reading import Reading, Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import EXISTS, LATER, Ask, Selection
from gateway.catalog.waiting import each, gather
from gateway.errors import GatewayError, InvalidId, NotFound, RegistryError
from gateway.registries.fields import UNSAID, Field, Raw, Rows, Shape, as_moment
from gateway.registries.kind import Keys
from gateway.upstream.source import ANY, Answer, Freshness

CREATED = Selection.of({Ask("created_at"): {}})


class Missing(NamedTuple):
    """Fields of one object that no answer told yet, the record that they belong in, and how many answers told of the
    object then."""

    record: Record
    ref: Ref
    asks: Selection
    told: int


class Taking(NamedTuple):
    """Fields of one object that a call was chosen for, and the record that they belong in."""

    record: Record
    ref: Ref
    bound: Bound
    asks: Selection


class Putting(NamedTuple):
    """Another object that belongs into a record."""

    record: Record
    ask: Ask
    ref: Ref
    asks: Selection


@dataclass(slots=True)
class Open:
    """What is left of some objects when what is known of them is settled: fields that are ``missing``, other objects to
    ``put`` into them, answers to ``take`` when they come, and other ``waits``."""

    missing: list[Missing] = field(default_factory=list)
    put: list[Putting] = field(default_factory=list)
    take: list[Taking] = field(default_factory=list)
    waits: list[Awaitable[None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.put or self.take or self.waits)


class Operation(Knowledge, Calls):
    """The state of one operation: calls made, what is known of each object, and whether a page is ``partial``.

    Operations that are given the same ``answers`` share their calls.
    """

    def __init__(
        self,
        registries: Mapping[str, Registry],
        bounds: Bounds = DEFAULT_BOUNDS,
        wanted: Freshness = ANY,
        answers: Answers | None = None,
    ) -> None:
        Knowledge.__init__(self, registries)
        Calls.__init__(self, registries, bounds, wanted, answers)
        self.partial = False
        self._missing: set[Ref] = set()
        self._versions: dict[Ref, dict[Ref, None]] = {}
        self._tried: dict[Ref, set[Bound]] = {}
        self._wanted: list[tuple[list[Want], asyncio.Future[Mapping[Want, Bound]]]] = []

    # Objects

    async def entity(self, ref: Ref, selection: Selection) -> Record | None:
        """The object as a record; None when its registry has no such object. Raises the `RegistryError` otherwise."""
        record: Record = {}
        await self.fill([(record, ref, selection.existing)])
        found = concluded(record)
        if isinstance(found, RegistryError):
            raise found
        return found

    async def fill(self, asked: Sequence[tuple[Record, Ref, Selection]]) -> bool:
        """Put everything that is asked of several objects into their records; whether all of it was known before."""
        left = Open()
        for record, ref, selection in asked:
            self._settle_all(record, ref, selection, left)
        if not left:
            return True
        await self._close(left)
        return False

    async def records(self, refs: Sequence[Ref], selection: Selection) -> tuple[list[Record], bool]:
        """What is asked of several objects, as records that must not be changed, and whether it was known before.

        Where a page tells it all and nothing else is known of an object, its record is shared by all who read it.
        """
        found: list[Record] = []
        asked: list[tuple[Record, Ref, Selection]] = []
        page, filled = None, None
        record: Record | None
        for ref in refs:
            told = self._unread.get(ref)
            if told is not page:
                page, filled = told, None if told is None else told.filled(selection)
            if told is None or filled is None:
                record = Record()
                asked.append((record, ref, selection))
            else:
                records, read = filled
                record = records.get(ref)
                if record is None:
                    record = records[ref] = read(told.raws[ref], ref)
            found.append(record)
        return found, not asked or await self.fill(asked)

    def _settle_all(self, record: Record, ref: Ref, selection: Selection, left: Open) -> None:
        """Settle what is known; the rest is ``left``."""
        said = self.said(ref)
        shape, raw = said[0][:2] if said else (None, {})
        kind = self.registries[ref.registry].kind
        reading = Reading.of(selection, kind, ref.entity, shape, kind.is_canonical(ref.entity, ref.keys))
        record.update(reading.read(raw, ref))
        missing = reading.untold
        if reading.rest:
            more = {
                ask: below for ask, below in reading.rest.items() if not self._settle(record, ref, ask, below, left)
            }
            if more:
                missing = selection.part({ask: selection[ask] for ask in selection if ask in missing or ask in more})
        if missing:
            left.missing.append(Missing(record, ref, missing, len(said)))

    def _settle(self, record: Record, ref: Ref, ask: Ask, selection: Selection, left: Open) -> bool:
        """Put one field into the record if all that it needs is known; nested objects are ``left``."""
        registry = self.registries[ref.registry]
        name = ask.field
        if name == "registry":
            record[name] = registry.record()
        elif name in ("id", "native_id"):
            canonical = self.canonical(ref)
            if canonical is None:
                return False
            record[name] = str(canonical) if name == "id" else canonical.keys[-1]
        elif name in ("model", "algorithm"):
            self._versions.setdefault(ref.owner, {})[ref] = None
            left.put.append(Putting(record, ask, ref.owner, selection))
        elif name == "version" and ref.version("").entity in registry.kind.named:
            left.put.append(Putting(record, ask, self.named(ref, ask.argument("name")), selection))
        elif name in registry.kind.absent[ref.entity]:
            record[name] = None
        elif name == "versions" and (field := filtering(registry.kind, ref.entity, ask)) is not None:
            left.waits.append(connections.put_versions(self, record, ask, ref, field, None, selection))
        elif ask == EXISTS:
            return self._settle_existence(record, ref)
        elif ask == LATER:
            record[name] = Later(self, record, ref, selection)
        else:
            return self._settle_from_sources(record, ref, ask, selection, left)
        return True

    def _settle_existence(self, record: Record, ref: Ref) -> bool:
        for shape, raw, _ in self.said(ref):
            lists = [] if shape.whole else [field.read(raw) for field in shape.fields.values()]
            if shape.whole or any(isinstance(rows, Rows) and rows.items for rows in lists):
                record[EXISTS.field] = True
                return True
        return False

    def _settle_from_sources(self, record: Record, ref: Ref, ask: Ask, selection: Selection, left: Open) -> bool:
        name = "versions" if ask.field == "version" else ask.field
        for shape, raw, derived in self.said(ref):
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
            record[ask.key] = nested = Record()
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

    # What is left

    async def _close(self, left: Open) -> None:
        """See to everything that is left."""
        self._advance(left)
        if left.take:
            left.waits.append(self._take_later(left.take))
        await gather(left.waits)

    def _advance(self, left: Open) -> None:
        """Go as far as it can be gone without waiting: ask for what is missing, and put what is known then."""
        while left.missing or left.put:
            missing, left.missing = left.missing, []
            if missing:
                self._fetch(missing, left)
            put, left.put = left.put, []
            for one in put:
                self._put(one, left)

    def _fetch(self, missing: Sequence[Missing], left: Open) -> None:
        """Ask for what is missing of several objects: at once where there is but one call that may tell it, or one that
        is made already; of others, together with all others who want something now."""
        wants: list[Want] = []
        asked: list[tuple[Missing, list[Want]]] = []
        for one in missing:
            record, ref, asks, told = one
            if len(self.said(ref)) > told:
                asks = asks.part(
                    {ask: below for ask, below in asks.items() if not self._settle(record, ref, ask, below, left)}
                )
            if not (ref in self._tried or ref in self._versions or ref in self._missing):
                calls, asks = sure(self.registries[ref.registry].kind, ref.entity, asks)
                for call, group in calls:
                    self._take_from(Taking(record, ref, Bound(ref.registry, call, call.keys(ref.keys)), group), left)
            own: list[Want] = []
            made: dict[Bound, dict[Ask, Selection]] = {}
            for ask, below in asks.items():
                options = self._options(ref, ask, below)
                bound = options[0] if len(options) == 1 else next((b for b in options if b in self.answers), None)
                if bound is not None:
                    made.setdefault(bound, {})[ask] = below
                elif options:
                    own.append(Want(ref, ask, options))
                else:
                    record[ask.key] = False if ask == EXISTS else None
            for bound, group_made in made.items():
                self._take_from(Taking(record, ref, bound, asks.part(group_made)), left)
            if own:
                wants += own
                asked.append((one, own))
        if wants:
            left.waits.append(self._take_chosen(wants, asked))

    def _options(self, ref: Ref, ask: Ask, selection: Selection) -> tuple[Bound, ...]:
        """The calls that may tell a field of an object."""
        if ref in self._missing:
            return ()
        kind = self.registries[ref.registry].kind
        return candidates(kind, ref, ask, selection, self._tried.get(ref, ()), self._versions.get(ref, ()))

    async def _take_chosen(self, wants: list[Want], asked: Sequence[tuple[Missing, list[Want]]]) -> None:
        """Wait for the plan, and take each field from the call that was chosen for it."""
        chosen = await self._choose(wants)
        left = Open()
        for (record, ref, asks, _), own in asked:
            groups: dict[Bound, dict[Ask, Selection]] = {}
            for want in own:
                groups.setdefault(chosen[want], {})[want.ask] = asks[want.ask]
            for bound, group in groups.items():
                self._take_from(Taking(record, ref, bound, asks.part(group)), left)
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
            self.send(bound)
        for _, future in wanted:
            if not future.done():
                future.set_result(chosen)

    # What comes

    def _take_from(self, taking: Taking, left: Open) -> None:
        """Take fields from a call's answer, if it is at hand."""
        answer = at_once(self.send(taking.bound))
        if answer is None:
            left.take.append(taking)
        else:
            self._take(taking, answer, left)

    async def _take_later(self, takings: Sequence[Taking]) -> None:
        """Settle fields of objects from answers, each when it comes."""
        closing: list[asyncio.Task[None]] = []

        def came(taking: Taking, sent: asyncio.Future[Answer]) -> None:
            left, answer = Open(), at_once(sent)
            self._take(taking, sent.result() if answer is None else answer, left)
            self._advance(left)
            if left:
                closing.append(asyncio.ensure_future(self._close(left)))

        await each([(taking, self.send(taking.bound)) for taking in takings], came)
        await gather(closing)

    def _take(self, taking: Taking, answer: Answer | RegistryError, left: Open) -> None:
        """Settle some fields of an object from one call's answer, and look elsewhere for what it did not tell."""
        record, ref, bound, asks = taking
        tried = self._tried.setdefault(ref, set())
        if isinstance(answer, NotFound):
            if any(part.shape.whole and part.shape.entity == ref.entity for part in bound.call.parts):
                self._missing.add(ref)
        elif isinstance(answer, RegistryError):
            record.update({ask.key: answer for ask in asks})
            return
        elif bound not in tried:
            for one in (ref, *self._versions.get(ref, ())):
                self.learn_answer(one, bound, answer)
        tried.add(bound)
        self._settle_all(record, ref, asks, left)

    def _put(self, putting: Putting, left: Open) -> None:
        """Put another object into a record, None when it does not or cannot exist, its error when it was not had."""
        record, ask, ref, selection = putting
        try:
            self.registries[ref.registry].admit(ref)
        except InvalidId:
            record[ask.key] = None
            return
        nested, below = Record(), Open()
        self._settle_all(nested, ref, selection.existing, below)
        self._advance(below)
        if below:
            left.waits.append(self._put_later(record, ask, nested, below))
        else:
            record[ask.key] = concluded(nested)

    async def _put_later(self, record: Record, ask: Ask, nested: Record, left: Open) -> None:
        try:
            await self._close(left)
            record[ask.key] = concluded(nested)
        except GatewayError as error:
            record[ask.key] = error

    async def _put_newest(
        self, record: Record, ask: Ask, ref: Ref, shape: Shape, rows: Rows, selection: Selection
    ) -> None:
        """Put the version that was created last into a record; when each was is asked first."""
        versions: list[tuple[Record, Ref, Selection]] = [
            ({}, child, CREATED) for raw in rows.items if (child := self.learn_child(ref, shape, raw))
        ]
        await self.fill(versions)
        times = [(version["created_at"], child) for version, child, _ in versions]
        failed = next((time for time, _ in times if isinstance(time, RegistryError)), None)
        if failed is not None or not times:
            record[ask.key] = failed
            return
        newest = max((as_moment(time), child) for time, child in times)[1]
        record[ask.key] = nested = Record()
        await self.fill([(nested, newest, selection)])

    async def _look_up(
        self, record: Record, ask: Ask, registry: str, name: str, keys: Keys, selection: Selection
    ) -> None:
        """Put the object into a record that another one names only indirectly."""
        lookup = self.registries[registry].kind.lookups[name]
        try:
            document = (await self.answer(Bound(registry, lookup.call, lookup.call.keys(keys)))).document
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
            left = Open(put=[Putting(record, ask, Ref(registry, lookup.entity, found), selection)])
            await self._close(left)


def concluded(record: Record) -> Record | RegistryError | None:
    """A record that says whether its object is there: None where not, the failure where that is not known."""
    exists = record.pop(EXISTS.field)
    return exists if isinstance(exists, RegistryError) else record if exists else None


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
        await self.operation.fill([(self.record, self.ref, Selection({asked: self.selection[asked]}))])
        return self.record[key]
