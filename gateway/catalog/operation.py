"""One operation over the catalog: plans what is wanted, asks for it once, and fills records with what came back.

What one call alone can tell is asked at once; where there is a choice, everything wanted at the same moment, from any
root field, is planned together. Each call is made at most once; it leaves as soon as its keys are known and waits for
none that it does not need. What is at hand is taken at once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.calls import Answers, Calls, at_once
from gateway.catalog.course import Trip
from gateway.catalog.ids import Ref
from gateway.catalog.knowledge import Knowledge
from gateway.catalog.pending import Missing, Pending, Putting, Taking
from gateway.catalog.plan import Bound, Want, keys_of, options, plan, sure
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import EXISTS, FieldRequest, Selection
from gateway.catalog.settlement import field, settle
from gateway.errors import GatewayError, InvalidId, NotFound, RegistryError
from gateway.upstream.caching_client import ANY, Answer, Freshness


class Operation(Knowledge, Calls):
    """The state of one operation: calls made, what is known of each object, and whether a page is ``partial``.

    Operations that are given the same ``answers`` share their calls. ``versions`` are those of each object that are
    asked for beside it: their answers may tell of it.
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
        self.versions: dict[Ref, dict[Ref, None]] = {}
        self._missing: set[Ref] = set()
        self._wanted: list[tuple[list[Want], asyncio.Future[Mapping[Want, Bound]]]] = []

    # Objects

    async def entity(self, ref: Ref, selection: Selection, trip: Trip | None = None) -> Record | None:
        """The object as a record; None when its registry has no such object. Raises the `RegistryError` otherwise.

        ``trip`` is the short course to it, where that was found before.
        """
        if not self.answers and not self.versions:
            trip = trip or Trip.of(self, ref, selection)
            read = None if trip is None else await trip.run(self)
            if read is not None:
                return read
        record, left = Record(), Pending()
        settle(self, record, ref, selection.existing, left)
        if left:
            self._advance(left)
            await left.close()
        found = concluded(record)
        if isinstance(found, RegistryError):
            raise found
        return found

    async def fill(self, asked: Sequence[tuple[Record, Ref, Selection]]) -> bool:
        """Put everything that is asked of several objects into their records; whether all of it was known before."""
        left = Pending()
        for record, ref, selection in asked:
            settle(self, record, ref, selection, left)
        if not left:
            return True
        self._advance(left)
        await left.close()
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

    def later(self, record: Record, ref: Ref, selection: Selection) -> "Later":
        """What is asked of an object, and loaded into its record when it is read."""
        return Later(self, record, ref, selection)

    # What is left

    def _advance(self, left: Pending) -> None:
        """Go as far as it can be gone without waiting: ask for what is missing, and put what is known then."""
        while left.missing or left.put:
            if left.missing:
                missing, left.missing = left.missing, []
                self._fetch(missing, left)
            if left.put:
                put, left.put = left.put, []
                for one in put:
                    self.put(one, left)

    def _fetch(self, missing: Sequence[Missing], left: Pending) -> None:
        """Ask for what is missing of several objects: at once where there is but one call that may tell it, or one that
        is made already; of others, together with all others who want something now."""
        wants: list[Want] = []
        asked: list[tuple[Missing, list[Want]]] = []
        for one in missing:
            record, ref, asks, told = one
            if len(self.said(ref)) > told:
                asks = asks.part(
                    {ask: below for ask, below in asks.items() if not field(self, record, ref, ask, below, left)}
                )
            kind = self.registries[ref.registry].kind
            if not (ref in self._tried or ref in self.versions or ref in self._missing):
                calls, asks = sure(kind, ref.entity, asks)
                for call, group in calls:
                    self._take_from(Taking(record, ref, Bound(ref.registry, call, keys_of(ref, call)), group), left)
                if not asks:
                    continue
            own: list[Want] = []
            made: dict[Bound, dict[FieldRequest, Selection]] = {}
            tried, versions = self.tried(ref), self.versions.get(ref, ())
            for alike, bounds in options(kind, ref, asks, tried, versions):
                able = () if ref in self._missing else bounds
                bound = able[0] if len(able) == 1 else next((b for b in able if b in self.answers), None)
                if bound is not None:
                    made.setdefault(bound, {}).update(alike)
                elif able:
                    own += [Want(ref, ask, able) for ask in alike]
                else:
                    record |= {ask.key: False if ask == EXISTS else None for ask in alike}
            for bound, group_made in made.items():
                self._take_from(Taking(record, ref, bound, asks.part(group_made)), left)
            if own:
                wants += own
                asked.append((one, own))
        if wants:
            left.waits.append(self._take_chosen(wants, asked))

    async def _take_chosen(self, wants: list[Want], asked: Sequence[tuple[Missing, list[Want]]]) -> None:
        """Wait for the plan, and take each field from the call that was chosen for it."""
        chosen = await self._choose(wants)
        left = Pending()
        for (record, ref, asks, _), own in asked:
            groups: dict[Bound, dict[FieldRequest, Selection]] = {}
            for want in own:
                groups.setdefault(chosen[want], {})[want.ask] = asks[want.ask]
            for bound, group in groups.items():
                self._take_from(Taking(record, ref, bound, asks.part(group)), left)
        self._advance(left)
        await left.close()

    def _choose(self, wants: list[Want]) -> asyncio.Future[Mapping[Want, Bound]]:
        loop = asyncio.get_running_loop()
        if not self._wanted:
            loop.call_soon(loop.call_soon, self._dispatch)  # after tasks that root fields have just started
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

    def _take_from(self, taking: Taking, left: Pending) -> None:
        """Take fields from a call's answer: now, if it is at hand, or when it comes."""
        sent = self.send(taking.bound)
        answer = at_once(sent) if sent.done() else None
        if answer is None:
            left.expect(sent, self._take_when_it_came, taking)
        else:
            self._take(taking, answer, left)

    def _take_when_it_came(self, left: Pending, taking: Taking, sent: asyncio.Future[Answer]) -> None:
        answer = at_once(sent)
        self._take(taking, sent.result() if answer is None else answer, left)
        if left.missing or left.put:
            self._advance(left)
        if left.waits:
            left.start()

    def _take(self, taking: Taking, answer: Answer | RegistryError, left: Pending) -> None:
        """Settle some fields of an object from one call's answer, and look elsewhere for what it did not tell."""
        record, ref, bound, asks = taking
        tried = self.tried(ref)
        if isinstance(answer, NotFound):
            if any(part.shape.whole and part.shape.entity == ref.entity for part in bound.call.parts):
                self._missing.add(ref)
        elif isinstance(answer, RegistryError):
            record |= {ask.key: answer for ask in asks}
            self._tried.setdefault(ref, set())
            return
        elif bound not in tried:
            self.learn_answer(ref, bound, answer)
            for version in self.versions.get(ref, ()):
                self.learn_answer(version, bound, answer)
        self._tried.setdefault(ref, set()).add(bound)
        settle(self, record, ref, asks, left)

    def put(self, putting: Putting, left: Pending) -> None:
        """Put another object into a record, None when it does not or cannot exist, its error when it was not had."""
        record, ask, ref, selection = putting
        try:
            self.registries[ref.registry].admit(ref)
        except InvalidId:
            record[ask.key] = None
            return
        nested, below = Record(), Pending(left)
        settle(self, nested, ref, selection.existing, below)
        self._advance(below)
        below.start()
        if below.coming:
            left.expect_part(below, put_when_it_came, (record, ask, nested))
        else:
            record[ask.key] = concluded(nested)


def put_when_it_came(_: Pending, putting: tuple[Record, FieldRequest, Record], failure: BaseException | None) -> None:
    """Put another object into a record, or the failure that kept it from being had."""
    record, ask, nested = putting
    if failure is None:
        record[ask.key] = concluded(nested)
    elif isinstance(failure, GatewayError):
        record[ask.key] = failure
    else:
        raise failure


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
