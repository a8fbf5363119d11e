"""The query plan: which upstream calls supply a selection, in which order, and how each field is resolved.

A plan depends on the selection, including the filters of its lists of versions, the kind of registry, the layouts in
which an entity is already available, and whether its reference is canonical. It does not depend on the values of other
arguments. It is built once, cached with the selection, and used for the cost, the dry run and the execution.

    EntityPlan        the fields of one entity: its reader, a `Resolver` for each field that it does not read, and the
                      missing fields
    FetchStep         Parallel: a `Fetch` for each call that missing fields need, and a `Choice` between calls
    Fetch             one call, the fields it supplies, and Sequence: the plan that runs when the answer arrives
    VersionsResolver  ForEach: a page of versions; `gateway.catalog.lists` makes the plan of its rows

IfMissing: if an answer lacks a field (`NOT_PROVIDED`, or an entity that is not in the answer), another `FetchStep`
fetches it.

The merged lists of the root fields are not nodes: `gateway.catalog.lists` reads them, and runs an `EntityPlan` for the
rows.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from gateway.catalog.ids import VERSIONS, Ref, is_owner
from gateway.catalog.record_readers import FROM_REFERENCE, RecordReader
from gateway.catalog.selection import DEFERRED, EXISTS, NO_FIELDS, STREAMED_ROWS, FieldRequest, Selection
from gateway.registries.fields import ABSENT, NOT_PROVIDED, EntityLayout, Field, Raw, Rows, Table
from gateway.registries.kind import Call, EntityInAnswer, Keys, Kind, Lookup

ALL_KEYS: Final = ((), (0,), (0, 1))
"""The ``Call.key_positions`` of a call that needs all keys of an entity, by the number of keys."""

C = TypeVar("C", bound=Hashable)

numbers = count()


class BoundCall(NamedTuple):
    """One upstream request: a call with its registry, keys and page.

    ``fixed`` are the parameters of a list: those that select it, its order, and the filters that the registry applies.
    """

    registry: str
    call: Call
    keys: Keys = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    page: int | str | None = 1

    def __str__(self) -> str:
        arguments = [*self.keys, *(f"{name}={value}" for name, value in self.fixed)]
        page = f" page {self.page}" if self.page != 1 else ""
        return f"{self.registry} {self.call.name}({', '.join(arguments)}{page})"


def keys_of(ref: Ref, call: Call) -> Keys:
    """Return the keys that a call for an entity needs."""
    keys = ref.keys
    return keys if call.key_positions == ALL_KEYS[len(keys)] else call.keys(keys)


def bind(ref: Ref, call: Call) -> BoundCall:
    """Bind a call to an entity."""
    return BoundCall(ref.registry, call, keys_of(ref, call))


# Fields supplied by calls and layouts


def supplies(table: Table, request: FieldRequest, selection: Selection) -> bool:
    """Whether a table supplies a field with its complete sub-selection."""
    field: Field | None = table.get(request.field)
    return field is not None and supplies_value(field, selection)


def supplies_value(field: Field, selection: Selection) -> bool:
    """Whether a field supplies its complete sub-selection."""
    if field is ABSENT or field.table is None:
        return True
    return all(supplies(field.table, inner, below) for inner, below in selection.items())


def layout_supplies(layout: EntityLayout, request: FieldRequest, selection: Selection) -> bool:
    """Whether a layout can supply a field of its entity."""
    if request == EXISTS:
        return layout.is_entity or "versions" in layout.fields
    if request.field in ("id", "native_id"):
        return layout.is_entity
    if request.field == "version" and request.argument("alias") is not None:
        return "aliases" in layout.fields
    if request.field == "version":
        return supplies(layout.fields, FieldRequest("versions"), selection)
    return supplies(layout.fields, request, selection)


def row_supplies(kind: Kind, layout: EntityLayout, request: FieldRequest, selection: Selection) -> bool:
    """Whether every list row in a layout supplies a field, without a further call."""
    if request.field in (DEFERRED.field, STREAMED_ROWS) or request.field in kind.absent[layout.entity]:
        return True
    if request.field in FROM_REFERENCE:
        return layout.is_entity
    field = layout.fields.get(request.field)
    if field is None or field.layout is None:
        return supplies(layout.fields, request, selection)
    return field.fallback is None and all(
        row_supplies(kind, field.layout, inner, below) for inner, below in selection.items()
    )


def filtered_list(kind: Kind, entity: str, request: FieldRequest) -> Field | None:
    """Return the list of versions whose call applies part of the requested filter itself, None if there is none."""
    wanted = request.argument("filter")
    if not wanted:
        return None
    names = {name for name, _ in wanted}
    for call in kind.calls:
        for part in call.entities:
            if part.layout.entity == entity and names & call.filters.keys():
                return part.layout.fields.get("versions")
    return None


def list_call(kind: Kind, versions: Field) -> tuple[Call, EntityInAnswer] | None:
    """Return the call that returns a list of versions, and its position in the answer. None for a list inside a row."""
    for call in kind.calls:
        for part in call.entities:
            if part.layout.fields.get("versions") is versions:
                return call, part
    return None


def suppliers(
    kind: Kind, entity: str, request: FieldRequest, selection: Selection, of_owner: bool = False
) -> Sequence[Call]:
    """Return the calls that can supply a field of an entity.

    With ``of_owner``, ``entity`` is a version and the field one of its owner: the calls return both.
    """
    calls = (kind.owner_calls_by_entity if of_owner else kind.calls_by_entity)[entity]
    return [call for call, layouts in calls if any(layout_supplies(layout, request, selection) for layout in layouts)]


def choose_calls(alternatives: Sequence[Sequence[C]], made: Collection[C] = ()) -> list[C]:
    """Choose one call from each list of alternatives, with as few different calls as possible.

    Each list is in order of preference. ``made`` are calls that the operation has made already. The algorithm is
    greedy: first calls without an alternative, then those in most of the remaining lists. For the tables of one
    registry (a version is supplied by its own call or by that of its model) the result is the minimum.
    """
    chosen: dict[C, None] = dict.fromkeys(made)
    chosen |= dict.fromkeys(calls[0] for calls in alternatives if len(calls) == 1)
    while True:
        left = [calls for calls in alternatives if not any(call in chosen for call in calls)]
        if not left:
            break
        counts = Counter(call for calls in left for call in calls)
        most = max(counts.values())
        chosen[next(call for calls in left for call in calls if counts[call] == most)] = None
    return [next(call for call in calls if call in chosen) for calls in alternatives]


# Nodes


Sources = tuple[EntityLayout, ...]
"""The layouts in which an entity is available, in the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """How to resolve a field that the reader does not read.

    ``certain`` is true if the resolver always sets a value or an error, so that the field needs no further call.
    """

    request: FieldRequest
    below: Selection
    certain: bool


@dataclass(frozen=True, slots=True)
class RegistryResolver(Resolver):
    """Resolves the configured registry, with its current status."""


@dataclass(frozen=True, slots=True)
class IdResolver(Resolver):
    """Resolves the id of an entity whose reference may not be canonical, from a layout that contains its key."""


@dataclass(frozen=True, slots=True)
class ExistenceResolver(Resolver):
    """Resolves whether an entity exists if only lists of its versions are available: it does if a list has a row."""


@dataclass(frozen=True, slots=True)
class DeferredResolver(Resolver):
    """Resolves deferred fields (``@defer``): they are fetched when they are first read."""


@dataclass(frozen=True, slots=True)
class NullResolver(Resolver):
    """Resolves a related object that a kind of registry never has, to null."""


@dataclass(frozen=True, slots=True)
class OwnerResolver(Resolver):
    """Resolves the model or algorithm that a version belongs to."""

    plan: "EntityPlan"


@dataclass(frozen=True, slots=True)
class NamedVersionResolver(Resolver):
    """Resolves a version by name, for kinds whose names are keys.

    ``latest`` are the sources that contain the latest version, which may be the requested one.
    """

    plan: "EntityPlan"
    latest: Sequence[tuple[int, Field, "EntityPlan"]]


@dataclass(frozen=True, slots=True)
class ListedVersionResolver(Resolver):
    """Resolves a version by name from a list of versions in a source; each list has the plan for its rows."""

    lists: Sequence[tuple[int, Field, "EntityPlan"]]


@dataclass(frozen=True, slots=True)
class AliasedVersionResolver(Resolver):
    """Resolves a version by alias from the aliases in a source; each list has the plan for the version.

    There are no lists for a kind without aliases.
    """

    lists: Sequence[tuple[int, Field, "EntityPlan"]]


@dataclass(frozen=True, slots=True)
class OwnerValueResolver(Resolver):
    """Resolves a value of a version that a source of its owner supplies; ``read`` is in `EntityLayout.of_versions`."""

    at: int
    read: Callable[[Raw, str], Any]


@dataclass(frozen=True, slots=True)
class ValueResolver(Resolver):
    """Resolves a value with fields that need a lookup, or a value that a source may not contain."""

    fields: Sequence[tuple[int, Field]]


@dataclass(frozen=True, slots=True)
class ChildResolver(Resolver):
    """Resolves an entity inside the entity, such as the latest version.

    A source may contain a list instead; the entity is then the newest row. ``newest`` are the plans that read the
    creation time of the rows.
    """

    children: Sequence[tuple[int, Field, "EntityPlan"]]
    newest: Sequence["EntityPlan"]


@dataclass(frozen=True, slots=True)
class VersionsResolver(Resolver):
    """Resolves a page of versions (ForEach).

    ``lists`` are the lists in sources, which contain the first rows. ``filtered`` is a list whose call applies the
    filter; it is used instead of them.
    """

    lists: Sequence[tuple[int, "VersionList"]]
    filtered: "VersionList | None"


@dataclass(frozen=True, eq=False)
class VersionList:
    """A list of versions in a field of a layout.

    ``call`` returns the list, and ``part`` is its position in the answer; both are None for a list inside a row of
    another list. ``owner`` are the sources of the versions' owner.
    """

    kind: Kind
    field: Field
    layout: EntityLayout
    call: Call | None
    part: EntityInAnswer | None
    owner: Sources


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """One call and the ``fields`` of an entity that its answer supplies.

    ``then`` is the plan when the answer contains the entity, ``otherwise`` when it does not; a ``certain`` fetch always
    contains it. With ``through_version`` the call returns a version together with its owner, and the entity is the
    owner. ``reference`` is the source that refers to what the call returns, and reads the keys.
    """

    call: Call
    part: EntityInAnswer
    fields: Selection
    through_version: bool
    certain: bool
    then: "EntityPlan"
    otherwise: "EntityPlan"
    reference: tuple[int, Callable[[Raw], Keys | None]] | None = None

    @property
    def is_entity(self) -> bool:
        """Whether "not found" means that the entity itself does not exist."""
        return self.part.layout.is_entity and not self.through_version and not self.call.misses


@dataclass(frozen=True, slots=True)
class Choice:
    """Fields that any one of several calls can supply, in order of preference, each with `Fetch.through_version`."""

    fields: Selection
    calls: tuple[tuple[Call, bool], ...]


@dataclass(frozen=True, slots=True)
class FetchStep:
    """The step for missing fields: ``fetches`` in parallel with one call for each of the ``choices``.

    ``unavailable`` are the fields that no remaining call supplies.
    """

    fetches: tuple[Fetch, ...]
    choices: tuple[Choice, ...]
    unavailable: tuple[FieldRequest, ...]


@dataclass(eq=False)
class EntityPlan:
    """How to resolve the selected fields of one entity that is available in some ``sources``.

    ``owner`` are the layouts in which its owner is available, ``tried`` the calls that have been made for these fields.
    ``canonical`` is true if the reference is certainly the one that the registry uses, ``listed`` if the entity is
    known to exist, ``of_version`` if it is the owner of a requested version. ``number`` identifies the plan; no other
    ever has the same.
    """

    kind: Kind
    entity: str
    selection: Selection
    sources: Sources
    owner: Sources
    tried: frozenset[Call]
    canonical: bool
    listed: bool
    of_version: bool
    number: int = dataclasses.field(default_factory=numbers.__next__)
    _steps: dict[tuple[FieldRequest, ...], FetchStep] = dataclasses.field(default_factory=dict)
    _fetches: dict[tuple[Call, bool, tuple[FieldRequest, ...]], Fetch] = dataclasses.field(default_factory=dict)

    def variant(self, canonical: bool) -> "EntityPlan":
        """Return the plan for canonical references, or for those that may not be canonical."""
        return self if canonical == self.canonical else self._derive(self.selection, canonical=canonical)

    def with_selection(self, selection: Selection) -> "EntityPlan":
        """Return the plan for other fields of the same entity."""
        return self._derive(selection, tried=frozenset())

    def _derive(
        self,
        selection: Selection,
        *,
        sources: Sources | None = None,
        tried: frozenset[Call] | None = None,
        canonical: bool | None = None,
    ) -> "EntityPlan":
        return EntityPlan.of(
            self.kind,
            self.entity,
            selection,
            self.sources if sources is None else sources,
            owner=self.owner,
            tried=self.tried if tried is None else tried,
            canonical=self.canonical if canonical is None else canonical,
            listed=self.listed,
            of_version=self.of_version,
        )

    @classmethod
    def of(
        cls,
        kind: Kind,
        entity: str,
        selection: Selection,
        sources: Sources = (),
        *,
        owner: Sources = (),
        tried: frozenset[Call] = frozenset(),
        canonical: bool = True,
        listed: bool | None = None,
        of_version: bool = False,
    ) -> "EntityPlan":
        """Return the plan, cached with the selection."""
        exists = bool(sources) if listed is None else listed
        key = "plan", kind, entity, sources, owner, tried, canonical, exists, of_version
        plan: EntityPlan | None = selection.plans.get(key)
        if plan is None:
            plan = selection.plans[key] = cls(
                kind, entity, selection, sources, owner, tried, canonical, exists, of_version
            )
        return plan

    @cached_property
    def reader(self) -> RecordReader:
        """The reader of the first source. Resolvers read the other sources."""
        layout = self.sources[0] if self.sources else None
        return RecordReader.of(self.selection, self.kind, self.entity, layout, self.canonical)

    @cached_property
    def resolvers(self) -> tuple[Resolver, ...]:
        """The resolvers of the fields that the reader does not read, except `missing`.

        A resolver may call for a related object or, if it is not ``certain``, leave a field to a further call.
        """
        resolvers = (self._resolver(request, below) for request, below in self.reader.rest.items())
        return tuple(resolver for resolver in resolvers if resolver is not None)

    @cached_property
    def missing(self) -> Selection:
        """The fields that always need a call."""
        resolved = {resolver.request for resolver in self.resolvers}
        return self.selection.part(
            {request: below for request, below in self.reader.rest.items() if request not in resolved}
        )

    @cached_property
    def is_read(self) -> bool:
        """Whether the reader resolves all fields."""
        return not self.reader.rest

    @cached_property
    def is_repeatable(self) -> bool:
        """Whether equal answers lead to an equal record: it has no status of the registry, and nothing comes later."""
        return not self.selection.has("registry", DEFERRED.field)

    def still_missing(self, unresolved: Sequence[FieldRequest]) -> Selection:
        """Return the fields that need a call if the resolvers of ``unresolved`` found no value."""
        if not unresolved:
            return self.missing
        names = {*unresolved, *self.missing}
        return self.selection.part({request: below for request, below in self.selection.items() if request in names})

    def step(self, missing: Selection) -> FetchStep:
        """Return the step for missing fields."""
        names = tuple(missing)
        step = self._steps.get(names)
        if step is None:
            step = self._steps[names] = self._plan_step(missing)
        return step

    def fetch(self, call: Call, through_version: bool, fields: Selection) -> Fetch:
        """Return the node for a chosen call and its fields."""
        key = call, through_version, tuple(fields)
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = self._plan_fetch(call, through_version, fields)
        return fetch

    def _plan_fetch(self, call: Call, through_version: bool, fields: Selection) -> Fetch:
        entity = VERSIONS[self.entity] if through_version else self.entity
        part = next(part for part in call.entities if part.layout.entity == entity)
        layout = part.layout.owner if through_version else part.layout
        assert layout is not None
        tried = self.tried | {call}
        then = self._derive(fields, sources=(layout, *self.sources), tried=tried)
        otherwise = self._derive(fields, tried=tried)
        reference = next(
            ((at, read) for at, layout in enumerate(self.sources) if (read := layout.references.get(call.follows))),
            None,
        )
        certain = (self.listed and not call.misses) or part.always_present
        return Fetch(call, part, fields, through_version, certain, then, otherwise, reference)

    def _plan_step(self, missing: Selection) -> FetchStep:
        alternatives: dict[FieldRequest, tuple[tuple[Call, bool], ...]] = {}
        for request, below in missing.items():
            calls = [(call, False) for call in self._callable(suppliers(self.kind, self.entity, request, below))]
            if self.of_version:
                version = VERSIONS[self.entity]
                calls += [(call, True) for call in suppliers(self.kind, version, request, below, of_owner=True)]
            alternatives[request] = tuple(call for call in calls if call[0] not in self.tried)
        certain = {candidates[0] for candidates in alternatives.values() if len(candidates) == 1}
        fetches: dict[tuple[Call, bool], dict[FieldRequest, Selection]] = {}
        choices: dict[tuple[tuple[Call, bool], ...], dict[FieldRequest, Selection]] = {}
        unavailable = []
        for request, candidates in alternatives.items():
            call = next((call for call in candidates if call in certain), None)
            if call is not None:
                fetches.setdefault(call, {})[request] = missing[request]
            elif candidates:
                choices.setdefault(candidates, {})[request] = missing[request]
            else:
                unavailable.append(request)
        return FetchStep(
            tuple(self.fetch(*call, missing.part(fields)) for call, fields in fetches.items()),
            tuple(Choice(missing.part(fields), calls) for calls, fields in choices.items()),
            tuple(unavailable),
        )

    def _callable(self, calls: Sequence[Call]) -> Sequence[Call]:
        """Return the calls. One that follows a reference is replaced by those that supply the reference, if no source
        does."""
        available: dict[Call, None] = {}
        for call in calls:
            if not call.follows or any(call.follows in layout.references for layout in self.sources):
                available[call] = None
            else:
                known = self.kind.calls_by_entity[self.entity]
                available |= dict.fromkeys(
                    first for first, layouts in known if any(call.follows in layout.references for layout in layouts)
                )
        return [*available]

    # Resolvers

    def _resolver(self, request: FieldRequest, below: Selection) -> Resolver | None:
        """Return the resolver of a field, None if only a call can supply the field."""
        name = request.field
        if name == "registry":
            return RegistryResolver(request, below, True)
        if name in ("id", "native_id"):
            return IdResolver(request, below, True) if any(layout.is_entity for layout in self.sources) else None
        if name in ("model", "algorithm"):
            return OwnerResolver(request, below, True, self._owner_plan(below))
        if name == "version" and request.argument("alias") is not None:
            return self._aliased_version(request, below)
        if name == "version" and VERSIONS[self.entity] in self.kind.keyed_by_name:
            return self._named_version(request, below)
        if name in self.kind.absent[self.entity]:
            return NullResolver(request, below, True)
        for at, layout in enumerate(self.owner):
            if name in layout.of_versions:
                return OwnerValueResolver(request, below, True, at, layout.of_versions[name])
        if request == EXISTS:
            return self._existence(request)
        if request == DEFERRED:
            return DeferredResolver(request, below, True)
        if name == "versions":
            return self._versions(request, below)
        field_name = "versions" if name == "version" else name
        fields = [
            (at, field)
            for at, layout in enumerate(self.sources)
            if (field := layout.fields.get(field_name)) is not None and supplies_value(field, below)
        ]
        if not fields:
            return None
        certain = any(field.fallback is not NOT_PROVIDED for _, field in fields)
        if fields[0][1].layout is None:
            return ValueResolver(request, below, certain, fields)
        children = [(at, field, self.child(field, below)) for at, field in fields]
        if name == "version":
            return ListedVersionResolver(request, below, certain, children)
        newest = [self.child(field, CREATED_AT) for _, field, _ in children if field.fallback is Rows]
        return ChildResolver(request, below, certain, children, newest)

    def _existence(self, request: FieldRequest) -> Resolver | None:
        certain = any(layout.is_entity for layout in self.sources)
        return ExistenceResolver(request, NO_FIELDS, certain) if self.sources else None

    def _owner_plan(self, below: Selection) -> "EntityPlan":
        described = tuple([layout.owner for layout in self.sources if layout.owner is not None])
        owner = next(name for name, version in VERSIONS.items() if version == self.entity)
        return EntityPlan.of(
            self.kind,
            owner,
            below.with_existence,
            self.owner + described,
            of_version=True,
        )

    def _named_version(self, request: FieldRequest, below: Selection) -> Resolver:
        selection = below.with_existence
        latest = [
            (at, field, self._version_plan(selection, (field.layout,)))
            for at, layout in enumerate(self.sources)
            if (field := layout.fields.get("latest_version")) is not None and field.layout is not None
        ]
        return NamedVersionResolver(request, below, True, self._version_plan(selection, ()), latest)

    def _aliased_version(self, request: FieldRequest, below: Selection) -> Resolver | None:
        lists = [
            (at, aliases, self.child(aliases.table["version"], below))
            for at, layout in enumerate(self.sources)
            if (aliases := layout.fields.get("aliases")) is not None and aliases.table is not None
        ]
        known = bool(lists) or "aliases" in self.kind.absent[self.entity]
        return AliasedVersionResolver(request, below, True, lists) if known else None

    def _version_plan(self, selection: Selection, sources: Sources) -> "EntityPlan":
        return EntityPlan.of(
            self.kind,
            VERSIONS[self.entity],
            selection,
            sources,
            owner=self.sources,
        )

    def child(self, field: Field, selection: Selection) -> "EntityPlan":
        """Return the plan for a version in a field of a source."""
        assert field.layout is not None
        return self._version_plan(selection, (field.layout,))

    def _versions(self, request: FieldRequest, below: Selection) -> Resolver | None:
        filtered = filtered_list(self.kind, self.entity, request)
        if filtered is not None:
            return VersionsResolver(request, below, True, (), self.version_list(filtered))
        lists = [
            (at, self.version_list(field), field.fallback is not NOT_PROVIDED)
            for at, layout in enumerate(self.sources)
            if (field := layout.fields.get("versions")) is not None
        ]
        if not lists:
            return None
        certain = any(list_certain for _, _, list_certain in lists)
        return VersionsResolver(request, below, certain, [(at, versions) for at, versions, _ in lists], None)

    def version_list(self, field: Field) -> VersionList:
        """Return the list of versions in a field of a source."""
        assert field.layout is not None
        call, part = list_call(self.kind, field) or (None, None)
        return VersionList(self.kind, field, field.layout, call, part, self.sources)


def lookup_plan(kind: Kind, lookup: Lookup, selection: Selection, layouts: Sources) -> EntityPlan:
    """Return the plan for an entity that a lookup finds.

    ``layouts`` are those of the rows of the lookup's answer, which are models or algorithms: the entity or its owner.
    """
    sources, owner = (layouts, ()) if is_owner(lookup.entity) else ((), layouts)
    return EntityPlan.of(kind, lookup.entity, selection.with_existence, sources, owner=owner)


CREATED_AT: Final = Selection.of({FieldRequest("created_at"): {}})
