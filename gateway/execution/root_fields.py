"""Resolvers of the root fields, for Strawberry and for the compiled projection."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from graphql.pyutils import Path

from gateway.catalog.bounds import Bounds
from gateway.catalog.lists import PlannedList, shows_coverage
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.prepared_rows import RowEncoder
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import BadInput
from gateway.execution.entity_references import entities_or_errors, ref_or_error, reference_or_error, validated_ref
from gateway.execution.strawberry_context import OperationContext

OBJECTS: Final[Mapping[str, str | None]] = {
    "node": None,
    "model": "Model",
    "modelVersion": "ModelVersion",
    "modelVersionChanged": "ModelVersion",
    "algorithm": "Algorithm",
    "algorithmVersion": "AlgorithmVersion",
}
"""The root fields that return the object of an id, with its type, None if it can have any type."""

LISTS: Final[Mapping[str, str]] = {"models": "Model", "algorithms": "Algorithm"}
"""The root fields that return a merged page, with the type of its objects."""


class RequestedField(Protocol):
    """A root field of an operation: its request, its coerced arguments, and the selection of its value.

    ``selection`` needs a type name for an interface or union. ``planned_list`` also raises `BadInput` and
    `InvalidCursor`. Each raises `GraphQLError` for an argument with an invalid variable.
    """

    @property
    def request(self) -> FieldRequest: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    def selection(self, type_name: str | None = None) -> Selection: ...

    def planned_list(self, entity: str, registries: Mapping[str, Registry], bounds: Bounds) -> PlannedList: ...


class RootFieldContext(NamedTuple):
    """One root field of one operation, and its path in the response."""

    context: OperationContext
    path: Path
    field: RequestedField
    encode: RowEncoder | None = None
    """Encodes the rows of a merged page; None for records."""

    @property
    def execution(self) -> PlanExecution:
        return self.context.execution


async def resolve_object(root: RootFieldContext, entity: str | None = None) -> Any:
    """Return the record of a global id, None if there is no such object."""
    ref = validated_ref(root.execution.registries, root.field.request.argument("id"), entity)
    return await root.execution.entity(ref, root.field.selection(ref.entity))


async def resolve_nodes(root: RootFieldContext) -> Any:
    """Return the records of several global ids. An error replaces only its own object."""
    ids = root.field.request.argument("ids")
    max_ids = root.execution.bounds.ids
    if len(ids) > max_ids:
        raise BadInput(f"`ids` may contain at most {max_ids} ids, not {len(ids)}.")
    references = [ref_or_error(root.execution.registries, text) for text in ids]
    return await entities_or_errors(root.execution, references, root.field.selection)


async def resolve_list(root: RootFieldContext, entity: str) -> Any:
    """Return a merged page of all registries. Without ``coverage { state }``, failures become errors beside it."""
    selection = root.field.selection()
    planned = root.field.planned_list(entity, root.execution.registries, root.execution.bounds)
    record, failures = await root.execution.page(planned, selection, root.encode)
    if not shows_coverage(selection):
        root.context.failures += [(root.path, failure) for failure in failures]
    return record


async def resolve_registries(root: RootFieldContext) -> Any:
    """Return the records of the configured registries."""
    return [registry.record() for registry in root.execution.registries.values()]


async def resolve_entities(root: RootFieldContext) -> Any:
    """Return the records of the objects that other subgraphs refer to."""
    representations = root.field.arguments["representations"]
    max_references = root.execution.bounds.references
    if len(representations) > max_references:
        raise BadInput(f"`representations` may contain at most {max_references}, not {len(representations)}.")
    references = [reference_or_error(root.execution.registries, representation) for representation in representations]
    return await entities_or_errors(root.execution, references, root.field.selection)


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
"""The resolver of each root field. It returns one record or several."""
