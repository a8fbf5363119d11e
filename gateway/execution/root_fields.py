"""The root fields: how each one reads the catalog, for Strawberry's resolvers and for the compiled projection."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from graphql.pyutils import Path

from gateway.catalog.operation import Operation
from gateway.catalog.selection import FieldRequest, Selection, sub_selection
from gateway.errors import BadInput
from gateway.execution.context import OperationContext
from gateway.execution.entity_references import entities_or_errors, ref_or_error, reference_or_error, validated_ref

OBJECTS: Final[Mapping[str, str | None]] = {
    "node": None,
    "model": "Model",
    "modelVersion": "ModelVersion",
    "modelVersionChanged": "ModelVersion",
    "algorithm": "Algorithm",
    "algorithmVersion": "AlgorithmVersion",
}
"""Root fields that return the object of an id, and its type where only one is allowed."""

LISTS: Final[Mapping[str, str]] = {"models": "Model", "algorithms": "Algorithm"}
"""Root fields that return a merged page, and the type of its objects."""


class RequestedField(Protocol):
    """A root field as it was requested: its request, its arguments as they were sent, and the selection of its value
    (of an interface's or union's value as far as it concerns one type). Each raises `GraphQLError` for an argument
    whose variable does not fit."""

    @property
    def request(self) -> FieldRequest: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    def selection(self, type_name: str | None = None) -> Selection: ...


class RootFieldContext(NamedTuple):
    """One root field of one operation, and its path in the answer."""

    context: OperationContext
    path: Path
    field: RequestedField

    @property
    def operation(self) -> Operation:
        return self.context.operation


async def resolve_object(root: RootFieldContext, entity: str | None = None) -> Any:
    """The object of a global id, null when there is none."""
    ref = validated_ref(root.operation.registries, root.field.request.argument("id"), entity)
    return await root.operation.entity(ref, root.field.selection(ref.entity))


async def resolve_nodes(root: RootFieldContext) -> Any:
    """The objects of several global ids; an error takes the place of its own object only."""
    ids = root.field.request.argument("ids")
    most = root.operation.bounds.ids
    if len(ids) > most:
        raise BadInput(f"`ids` may hold at most {most} ids, not {len(ids)}.")
    references = [ref_or_error(root.operation.registries, text) for text in ids]
    return await entities_or_errors(root.operation, references, root.field.selection)


async def resolve_list(root: RootFieldContext, entity: str) -> Any:
    """A merged page of all registries. A failure that its coverage does not show becomes an error beside it."""
    selection = root.field.selection()
    record, failures = await root.operation.page(entity, root.field.request, selection)
    if not shows_coverage(selection):
        root.context.failures += [(root.path, failure) for failure in failures]
    return record


def shows_coverage(selection: Selection) -> bool:
    """Whether the client sees how complete a connection is."""
    return not selection or FieldRequest("state") in sub_selection(selection, "coverage")


async def resolve_registries(root: RootFieldContext) -> Any:
    """The configured registries."""
    return [registry.record() for registry in root.operation.registries.values()]


async def resolve_entities(root: RootFieldContext) -> Any:
    """The objects that other subgraphs refer to."""
    representations = root.field.arguments["representations"]
    most = root.operation.bounds.references
    if len(representations) > most:
        raise BadInput(f"`representations` may hold at most {most}, not {len(representations)}.")
    references = [reference_or_error(root.operation.registries, one) for one in representations]
    return await entities_or_errors(root.operation, references, root.field.selection)


ROOT_FIELDS: dict[str, Callable[[RootFieldContext], Awaitable[Any]]] = {
    "_entities": resolve_entities,
    "algorithm": partial(resolve_object, entity="Algorithm"),
    "algorithmVersion": partial(resolve_object, entity="AlgorithmVersion"),
    "algorithms": partial(resolve_list, entity="Algorithm"),
    "model": partial(resolve_object, entity="Model"),
    "modelVersion": partial(resolve_object, entity="ModelVersion"),
    "models": partial(resolve_list, entity="Model"),
    "node": resolve_object,
    "nodes": resolve_nodes,
    "registries": resolve_registries,
}
"""The resolver of each root field: it returns a record, or records."""
