"""Which registries supply a field: read off the registries' tables and added to the field's description."""

from strawberry.types.base import get_object_definition

from gateway.graph.types import Algorithm, AlgorithmVersion, Model, ModelVersion
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT
from gateway.registries.kind import Kind

ENTITIES = (Model, ModelVersion, Algorithm, AlgorithmVersion)


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


def name_suppliers() -> None:
    """Name the suppliers in the description of every field that not all registries supply."""
    for entity in ENTITIES:
        by_kind = {kind.title: supplied(kind, entity.__name__) for kind in KINDS.values()}
        for field in get_object_definition(entity, strict=True).fields:
            titles = [title for title, names in by_kind.items() if field.python_name in names]
            if titles and len(titles) < len(by_kind):
                field.description = f"{field.description} Supplied by {' and '.join(titles)} only."
