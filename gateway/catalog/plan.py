"""The plan: which upstream calls answer what is asked, and no more of them than needed."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.catalog.ids import VERSIONS, Ref
from gateway.catalog.selection import DEFERRED, EXISTS, STREAMED_ROWS, FieldRequest, Selection
from gateway.registries.fields import ABSENT, EntityLayout, Field, Table
from gateway.registries.kind import Call, Keys, Kind

ALL: Final = ((), (0,), (0, 1))
"""What a call takes that needs all of an object's keys, by how many there are."""


class Bound(NamedTuple):
    """A call with everything that makes it one request: registry, keys, a stream's own parameters, page."""

    registry: str
    call: Call
    keys: Keys = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    page: int | str | None = 1

    def __str__(self) -> str:
        said = [*self.keys, *(f"{name}={value}" for name, value in self.fixed)]
        return f"{self.registry} {self.call.name}({', '.join(said)}{f' page {self.page}' if self.page != 1 else ''})"


def keys_of(ref: Ref, call: Call) -> Keys:
    """The keys that a call about an object is made with."""
    keys = ref.keys
    return keys if call.takes == ALL[len(keys)] else call.keys(keys)


class Want(NamedTuple):
    """One field wanted of one object, and the calls that can supply it, preferred ones first."""

    ref: Ref
    ask: FieldRequest
    candidates: tuple[Bound, ...]


def supplies(table: Table, ask: FieldRequest, selection: Selection) -> bool:
    """Whether a table tells everything that is asked of one of its fields."""
    field: Field | None = table.get(ask.field)
    return field is not None and says(field, selection)


def says(field: Field, selection: Selection) -> bool:
    """Whether a field tells everything that is asked of its value."""
    if field is ABSENT or field.table is None:
        return True
    return all(supplies(field.table, inner, below) for inner, below in selection.items())


def tells(shape: EntityLayout, ask: FieldRequest, selection: Selection) -> bool:
    """Whether a form of an object tells what is asked of it."""
    if ask == EXISTS:
        return True
    if ask.field in ("id", "native_id"):
        return shape.whole
    if ask.field == "version":
        return supplies(shape.fields, FieldRequest("versions"), selection)
    return supplies(shape.fields, ask, selection)


def told(kind: Kind, shape: EntityLayout, ask: FieldRequest, selection: Selection) -> bool:
    """Whether a row of this form tells what is asked of it, without a further call."""
    if ask.field in (DEFERRED.field, STREAMED_ROWS) or ask.field in kind.absent[shape.entity]:
        return True
    field = shape.fields.get(ask.field)
    if field is None or field.shape is None:
        return supplies(shape.fields, ask, selection)
    return field.instead is None and all(told(kind, field.shape, inner, below) for inner, below in selection.items())


def filtering(kind: Kind, entity: str, ask: FieldRequest) -> Field | None:
    """The list of versions of a call that applies some of what is asked for itself, if there is one."""
    wanted = ask.argument("filter")
    if not wanted:
        return None
    names = {name for name, _ in wanted}
    for call in kind.calls:
        for part in call.parts:
            if part.shape.entity == entity and names & call.filters.keys():
                return part.shape.fields.get("versions")
    return None


def candidates(
    kind: Kind, ref: Ref, ask: FieldRequest, selection: Selection, tried: Collection[Bound]
) -> tuple[Bound, ...]:
    """The calls that can supply a field of this object and were not tried for it yet."""
    return bounds(ref, tellers(kind, ref.entity, ask.field, selection), (), (), tried)


def bounds(
    ref: Ref, own: Sequence[Call], versions: Iterable[Ref], of_owner: Sequence[Call], tried: Collection[Bound]
) -> tuple[Bound, ...]:
    """An object's own calls and those of its versions, but for those that were tried."""
    found = [Bound(ref.registry, call, keys_of(ref, call)) for call in own]
    for version in versions:
        found += [Bound(ref.registry, call, keys_of(version, call)) for call in of_owner]
    return tuple([one for one in found if one not in tried]) if tried else tuple(found)


Alike = tuple[Mapping[FieldRequest, Selection], Sequence[Call], Sequence[Call]]
"""Asks that the same calls tell: of the object itself, and of its versions."""


def options(
    kind: Kind, ref: Ref, selection: Selection, tried: Collection[Bound], versions: Iterable[Ref]
) -> list[tuple[Mapping[FieldRequest, Selection], tuple[Bound, ...]]]:
    """What is asked of an object, in parts, each with the calls that can supply it and were not tried for the object
    yet: its own, and those of its ``versions`` that the operation asks for, where their forms tell of their owner."""
    name = kind, ref.entity, "alike", bool(versions)
    found: Sequence[Alike] | None = selection.known.get(name)
    if found is None:
        found = selection.known[name] = alike(kind, ref.entity, selection, bool(versions))
    return [(asks, bounds(ref, own, versions, of_owner, tried)) for asks, own, of_owner in found]


def alike(kind: Kind, entity: str, selection: Selection, with_versions: bool) -> Sequence[Alike]:
    parts: dict[tuple[tuple[Call, ...], tuple[Call, ...]], dict[FieldRequest, Selection]] = {}
    for ask, below in selection.items():
        own = tuple(tellers(kind, entity, ask.field, below))
        of_owner = tellers(kind, VERSIONS[entity], ask.field, below, of_owner=True) if with_versions else ()
        parts.setdefault((own, tuple(of_owner)), {})[ask] = below
    return [(asks, own, of_owner) for (own, of_owner), asks in parts.items()]


def tellers(kind: Kind, entity: str, field: str, selection: Selection, of_owner: bool = False) -> Sequence[Call]:
    """The calls that tell what is asked of an object of this type, or of the one that it belongs to."""
    name = kind, entity, field, of_owner
    found: Sequence[Call] | None = selection.known.get(name)
    if found is None:
        describing = (kind.describing_owners if of_owner else kind.describing)[entity]
        found = [
            call for call, forms in describing if any(tells(form, FieldRequest(field), selection) for form in forms)
        ]
        selection.known[name] = found
    return found


Sure = tuple[Sequence[tuple[Call, Selection]], Selection]
"""Calls, each with what is taken from its answer, and what is left."""


def sure(kind: Kind, entity: str, selection: Selection) -> Sure:
    """The calls that every plan makes for an object of which nothing is known: those without an alternative. What they
    tell, too, is taken from them."""
    name = kind, entity
    found: Sure | None = selection.known.get(name)
    if found is None:
        options = {ask: tellers(kind, entity, ask.field, below) for ask, below in selection.items()}
        alone = {calls[0] for calls in options.values() if len(calls) == 1}
        groups: dict[Call, dict[FieldRequest, Selection]] = {}
        left: dict[FieldRequest, Selection] = {}
        for ask, calls in options.items():
            call = next((call for call in calls if call in alone), None)
            (left if call is None else groups.setdefault(call, {}))[ask] = selection[ask]
        found = [(call, selection.part(group)) for call, group in groups.items()], selection.part(left)
        selection.known[name] = found
    return found


def plan(wants: Sequence[Want], made: Collection[Bound] = ()) -> Mapping[Want, Bound]:
    """Choose a call for every want, as few calls as possible; calls that are ``made`` already cost nothing.

    Calls without an alternative come first, then those that serve most of what is left: with the tables of one
    registry (a version is told by its own call or by its model's) that is the minimum.
    """
    chosen: dict[Bound, None] = dict.fromkeys(made)
    chosen |= dict.fromkeys(want.candidates[0] for want in wants if len(want.candidates) == 1)
    while True:
        left = [want for want in wants if not any(bound in chosen for bound in want.candidates)]
        if not left:
            break
        served = Counter(bound for want in left for bound in want.candidates)
        best = max(served.values())
        chosen[next(bound for want in left for bound in want.candidates if served[bound] == best)] = None
    return {want: next(bound for bound in want.candidates if bound in chosen) for want in wants}
