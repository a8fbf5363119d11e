"""The short course: one object alone, where it is settled beforehand what each answer has to tell of it.

Nothing is planned or looked for then; the record is read from the answers. Where one of them fails or tells less than
it should, there is no record, and the operation goes its usual way, with the calls that were made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.catalog.connections import InOne, in_one, page_in_one
from gateway.catalog.ids import OWNERS, Ref
from gateway.catalog.knowledge import is_canonical
from gateway.catalog.plan import Bound, keys_of, says, sure
from gateway.catalog.record_readers import Reading, Record
from gateway.catalog.selection import EXISTS, FieldRequest, Selection
from gateway.catalog.told import keep
from gateway.errors import RegistryError
from gateway.registries.fields import NOT_PROVIDED, Field
from gateway.registries.kind import Call, EntityInAnswer, Kind
from gateway.upstream.caching_client import Answer

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation

OWNER: Final = {"model", "algorithm"}


@dataclass(frozen=True, slots=True)
class Telling:
    """What one call's answer has to tell: the object itself, as far as it stands there, and pages of its versions."""

    call: Call
    part: EntityInAnswer
    reading: Reading
    versions: Sequence[tuple[FieldRequest, Selection, Field]]


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """All that is asked of an object of one type: the calls that have to tell it, and how the one that it belongs to is
    read from the answer. What is known of the object beforehand is read with the first answer."""

    tellings: Sequence[Telling]
    owner: tuple[FieldRequest, Reading] | None
    _steps: dict[int, "Steps | None"] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, kind: Kind, entity: str, selection: Selection) -> "Course | None":
        """For objects under canonical references; None where answers leave something to settle."""
        name = kind, entity, "course"
        found: Course | None = selection.known.get(name)
        if found is None and name not in selection.known:
            found = selection.known[name] = planned(kind, entity, selection)
        return found

    def steps(self, operation: "Operation", kind: Kind) -> "Steps | None":
        """Each call's telling, and how pages of versions are made of it, where that takes no more than the answer."""
        most = operation.bounds.page_rows
        if most not in self._steps:
            found = []
            for one in self.tellings:
                pages = [(ask, field, in_one(operation, kind, field, ask, below)) for ask, below, field in one.versions]
                found.append((one, [(ask, field, how) for ask, field, how in pages if how is not None]))
            whole = all(len(pages) == len(one.versions) for one, pages in found)
            keep(self._steps, most, found if whole else None)
        return self._steps[most]


Steps = Sequence[tuple[Telling, Sequence[tuple[FieldRequest, Field, InOne]]]]


@dataclass(frozen=True, slots=True, eq=False)
class Trip:
    """The course to one object: all that is the same each time that it is asked for of the same registries, as far as
    they are read."""

    ref: Ref
    owner: Ref | None
    course: Course
    steps: Steps
    bounds: Sequence[Bound]

    @classmethod
    def of(cls, operation: "Operation", ref: Ref, selection: Selection) -> "Trip | None":
        """None where there is no short course."""
        kind = operation.registries[ref.registry].kind
        course = Course.of(kind, ref.entity, selection.existing) if is_canonical(kind, ref) else None
        steps = None if course is None else course.steps(operation, kind)
        if course is None or steps is None:
            return None
        bounds = [Bound(ref.registry, one.call, keys_of(ref, one.call)) for one, _ in steps]
        return cls(ref, None if course.owner is None else ref.owner, course, steps, bounds)

    async def run(self, operation: "Operation") -> Record | None:
        """The record of the object, of which nothing is known; None if it cannot be had so. Raises what an operation
        cannot go on from."""
        if self.owner is not None:
            operation.versions[self.owner] = {self.ref: None}
        sent = [operation.send(bound) for bound in self.bounds]
        try:
            for one in sent:
                if not one.done():
                    await one  # whoever gives up waiting gives up the operation
            return self._read(operation, [one.result() for one in sent])
        except RegistryError:
            return None

    def _read(self, operation: "Operation", answers: Sequence[Answer]) -> Record | None:
        ref, record = self.ref, Record()
        for (one, pages), answer in zip(self.steps, answers, strict=True):
            raw = one.part.locate(answer.document, ref.keys)
            if raw is None:
                return None
            record |= one.reading.read(raw, ref)
            for ask, listed, how in pages:
                rows = listed.read(raw)
                page = None if rows is NOT_PROVIDED else page_in_one(operation, ref, how, rows, answer.derived)
                if page is None:
                    return None
                record[ask.key] = page
            if self.owner is not None and self.course.owner is not None:
                ask, reading = self.course.owner
                record[ask.key] = reading.read(raw, self.owner)
        operation.hear(ref, self.owner, self.bounds, answers)
        return record


def planned(kind: Kind, entity: str, selection: Selection) -> Course | None:
    beforehand = Reading.of(selection, kind, entity, None, canonical=True)
    calls, left = sure(kind, entity, beforehand.untold)
    if left or not calls or any(ask.field not in OWNER for ask in beforehand.rest):
        return None
    unknown = beforehand.untold.keys() | beforehand.rest.keys()
    known = {ask: below for ask, below in selection.items() if ask not in unknown}
    (first, group), *others = calls
    calls = [(first, selection.part({**known, **group})), *others]
    tellings = [telling(kind, entity, call, group) for call, group in calls]
    told = [one for one in tellings if one is not None]
    owners = [reading_of_owner(kind, entity, told, below) for below in beforehand.rest.values()]
    if len(told) < len(tellings) or None in owners or len(owners) > 1:
        return None
    owner = next(((ask, reading) for ask, reading in zip(beforehand.rest, owners, strict=True) if reading), None)
    return Course(told, owner)


def telling(kind: Kind, entity: str, call: Call, group: Selection) -> Telling | None:
    """What a call's answer has to tell; None if it may leave something open."""
    parts = [part for part in call.parts if part.shape.entity == entity]
    if len(parts) != 1:
        return None
    [part] = parts
    if EXISTS in group and not part.shape.whole:
        return None
    beside = group.part({ask: below for ask, below in group.items() if ask != EXISTS})
    reading = Reading.of(beside, kind, entity, part.shape, canonical=True)
    field = part.shape.fields.get("versions")
    if not reading.rest:
        return Telling(call, part, reading, ())
    if field is None or any(ask.field != "versions" or not says(field, below) for ask, below in reading.rest.items()):
        return None
    return Telling(call, part, reading, [(ask, below, field) for ask, below in reading.rest.items()])


def reading_of_owner(kind: Kind, entity: str, tellings: Sequence[Telling], selection: Selection) -> Reading | None:
    """How the object that a version belongs to is read from the one answer about the version; None where that may leave
    something open, or the version's key may be one that its owner cannot have."""
    name = OWNERS[entity]
    if len(tellings) != 1 or kind.keys[name] != kind.keys[entity][:1]:
        return None
    [one] = tellings
    shape = one.part.shape.owner
    if shape is None or not shape.whole or any(part.shape.entity == name for part in one.call.parts):
        return None
    reading = Reading.of(selection, kind, name, shape, canonical=True)
    return None if reading.rest else reading
