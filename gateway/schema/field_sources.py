"""Additions to descriptions: the kinds of registry that supply a field, and where each filter is applied.

Both are derived from the tables of the kinds.
"""

from collections.abc import Iterable, Iterator, Sequence

from strawberry.types.base import get_object_definition

from gateway.catalog.filters import REGISTRY_FILTERS, SINGLE, TESTS, is_never_supplied, needed_fields
from gateway.catalog.ids import VERSIONS
from gateway.catalog.query_plan import row_supplies
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT, EntityLayout
from gateway.registries.kind import Call, Kind
from gateway.schema.inputs import AlgorithmFilter, ModelFilter, ModelVersionFilter
from gateway.schema.types import Algorithm, AlgorithmVersion, Model, ModelVersion

ENTITIES = (Model, ModelVersion, Algorithm, AlgorithmVersion)
FILTERS = {"Model": ModelFilter, "ModelVersion": ModelVersionFilter, "Algorithm": AlgorithmFilter}


def supplied_fields(kind: Kind, entity: str) -> set[str]:
    """Return the fields of an entity that at least one call of a kind supplies."""
    layouts = [part.layout for call in kind.calls for part in call.entities]
    layouts += [call.rows.layout for stream in kind.streams if (call := stream.call).rows and call.rows.layout]
    return {
        name
        for layout in layouts
        if layout.entity == entity
        for name, field in layout.fields.items()
        if field is not ABSENT
    }


def list_calls(kind: Kind, entity: str) -> Iterator[tuple[Call, EntityLayout, Iterable[str]]]:
    """Yield the calls that list an entity, each with the layout of its rows and the fields that all rows share."""
    for stream in kind.streams:
        if stream.entity == entity and stream.call.rows is not None and stream.call.rows.layout is not None:
            yield stream.call, stream.call.rows.layout, stream.constants
    for call in kind.calls:
        for part in call.entities:
            field = part.layout.fields.get("versions")
            if field is not None and field.layout is not None and field.layout.entity == entity:
                yield call, field.layout, ()


NEVER = "Never matches {}, for lack of this information."
UPSTREAM = "Applied by {}."
UPSTREAM_LOOSELY = "Applied by {}, and again by the gateway."
ONE_UPSTREAM = "A single value is applied by {}."
READ = "For {}, the gateway filters the rows that it reads."
CALLS = "For {}, the gateway filters the rows that it reads and needs another upstream call for some."


def filter_note(kind: Kind, entity: str, name: str) -> str | None:
    """Return a sentence about where a filter is applied for a kind of registry.

    None if the value is fixed for each list, so that the filter only chooses lists, and for a kind without such lists.
    """
    test = TESTS[entity][name]
    if not supplied_fields(kind, entity):
        return None
    if is_never_supplied(kind, entity, test):
        return NEVER
    calls = [(call, layout) for call, layout, shared in list_calls(kind, entity) if name not in shared]
    if not calls:
        return None
    pushdowns = [call.filters.get(name) for call, _ in calls]
    if None not in pushdowns:
        return UPSTREAM if all(pushdown and pushdown.exact for pushdown in pushdowns) else UPSTREAM_LOOSELY
    if entity in VERSIONS and all(SINGLE.get(name, "") in call.filters for call, _ in calls):
        return ONE_UPSTREAM
    needs = needed_fields((test,))
    if all(row_supplies(kind, layout, request, below) for _, layout in calls for request, below in needs.items()):
        return READ
    return CALLS


def listed(titles: Sequence[str]) -> str:
    """Join names as in a sentence."""
    return " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))


def add_to_descriptions() -> None:
    """Append to the descriptions which kinds supply a field and where a filter is applied."""
    for entity in ENTITIES:
        by_kind = {kind.title: names for kind in KINDS.values() if (names := supplied_fields(kind, entity.__name__))}
        for field in get_object_definition(entity, strict=True).fields:
            titles = [title for title, names in by_kind.items() if field.python_name in names]
            if titles and len(titles) < len(by_kind):
                field.description = f"{field.description} Supplied only by {listed(titles)}; null otherwise."
    for name, filters in FILTERS.items():
        for field in get_object_definition(filters, strict=True).fields:
            if field.python_name not in REGISTRY_FILTERS:
                notes = {kind.title: filter_note(kind, name, field.python_name) for kind in KINDS.values()}
                by_note = {note: [title for title in notes if notes[title] == note] for note in notes.values() if note}
                sentences = [note.format(listed(titles)) for note, titles in by_note.items()]
                field.description = " ".join([str(field.description), *sentences])
