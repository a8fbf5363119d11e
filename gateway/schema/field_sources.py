"""Which registries supply a field and where a filter is applied: read off the registries' tables, for descriptions."""

from collections.abc import Iterable, Iterator

from strawberry.types.base import get_object_definition

from gateway.catalog.filters import REGISTRY_FILTERS, TESTS, needed_fields, never_supplied
from gateway.catalog.query_plan import row_supplies
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT, EntityLayout
from gateway.registries.kind import Call, Kind
from gateway.schema.inputs import AlgorithmFilter, ModelFilter, ModelVersionFilter
from gateway.schema.types import Algorithm, AlgorithmVersion, Model, ModelVersion

ENTITIES = (Model, ModelVersion, Algorithm, AlgorithmVersion)
FILTERS = {"Model": ModelFilter, "ModelVersion": ModelVersionFilter, "Algorithm": AlgorithmFilter}


def supplied(kind: Kind, entity: str) -> set[str]:
    """The fields of an entity that some call of a kind supplies."""
    shapes = [part.shape for call in kind.calls for part in call.parts]
    shapes += [call.rows.shape for stream in kind.streams if (call := stream.call).rows and call.rows.shape]
    return {
        name
        for shape in shapes
        if shape.entity == entity
        for name, field in shape.fields.items()
        if field is not ABSENT
    }


def lists(kind: Kind, entity: str) -> Iterator[tuple[Call, EntityLayout, Iterable[str]]]:
    """The lists of an entity: the call, the form of its rows, and what its parameters fix already."""
    for stream in kind.streams:
        if stream.entity == entity and stream.call.rows is not None and stream.call.rows.shape is not None:
            yield stream.call, stream.call.rows.shape, stream.facts
    for call in kind.calls:
        for part in call.parts:
            field = part.shape.fields.get("versions")
            if field is not None and field.shape is not None and field.shape.entity == entity:
                yield call, field.shape, ()


def applied(kind: Kind, entity: str, name: str) -> str:
    """Where a kind of registry has a filter applied."""
    test = TESTS[entity][name]
    if all(never_supplied(kind, entity, path) for path in test.paths):
        return "never matches"
    here = [(call, shape) for call, shape, facts in lists(kind, entity) if name not in facts]
    if all(name in call.filters for call, _ in here):
        return "filters itself"
    needs = needed_fields((test,))
    if all(row_supplies(kind, shape, ask, below) for _, shape in here for ask, below in needs.items()):
        return "is filtered by the gateway, over the rows read"
    return "is filtered by the gateway, with a further call for some rows read"


def describe() -> None:
    """Add to descriptions which registries supply a field, and where a filter is applied."""
    for entity in ENTITIES:
        by_kind = {kind.title: supplied(kind, entity.__name__) for kind in KINDS.values()}
        for field in get_object_definition(entity, strict=True).fields:
            titles = [title for title, names in by_kind.items() if field.python_name in names]
            if titles and len(titles) < len(by_kind):
                field.description = f"{field.description} Supplied by {' and '.join(titles)} only."
    for name, filters in FILTERS.items():
        for field in get_object_definition(filters, strict=True).fields:
            if field.python_name not in REGISTRY_FILTERS:
                said = [f"{kind.title} {applied(kind, name, field.python_name)}" for kind in KINDS.values()]
                field.description = f"{field.description} {'; '.join(said)}."
