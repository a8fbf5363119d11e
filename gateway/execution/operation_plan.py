"""Operations with their plans: root fields with selections and compiled projections, bound to variables, with a cost.

The root fields depend on an operation of a document and on the variables that change its shape: those in ``@skip``,
``@include``, ``@defer``, ``@stream`` and filters of nested lists. They are cached, and used for all other variables.

The life of an operation, from its text to its result:

    Document           made from the text of a document, parsed, validated and measured. Cached by its tokens.
    PlannedOperation   made from one operation of a document; contains its root fields. Cached with the document.
    RootField          made from a planned operation and the variables that change its shape. Cached with it.
    PreparedOperation  made from a planned operation and an authorized request. Cached by body for anonymous callers.
    BoundOperation     made from a planned operation and coerced variables. Cached with the prepared operation.
    PlanExecution      made for each execution: its calls and entities. Not cached, but the answers of its calls are.
    OperationResult    made from the data and errors of an execution. Its body is cached in the response cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Final, cast

import strawberry
from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, gather_with_cancel
from strawberry.types.field import StrawberryField

from gateway.catalog.bounds import Bounds
from gateway.catalog.cache_tags import entity_tags
from gateway.catalog.cost import Cost, CostEstimate, RowsCosts
from gateway.catalog.ids import Ref
from gateway.catalog.lists import PlannedList, StreamsOfField
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Bindings, FieldRequest, Selection
from gateway.errors import BadInput, GatewayError, ResponseTooLarge
from gateway.execution.completion import Completion
from gateway.execution.document_limits import SizeMeter
from gateway.execution.entity_references import reference, reference_or_error, validated_ref
from gateway.execution.error_codes import assign_error_code
from gateway.execution.field_collection import TYPE_NAME, CollectedField, FieldCollector
from gateway.execution.field_metadata import VOLATILE, is_in_record
from gateway.execution.field_requests import PLANNED_ARGUMENTS, Variables, declaration, freeze, names_variable
from gateway.execution.incremental_directives import NAMES, IncrementalNode, check_directives
from gateway.execution.projection import ObjectProjectors, Projection, RowEncoder
from gateway.execution.request import OnError
from gateway.execution.response_size import PAGE_SIZE, FieldSize, ObjectCount
from gateway.execution.root_fields import LISTS, OBJECTS, ROOT_FIELDS, RootFieldContext
from gateway.execution.strawberry_context import OperationContext

CACHED_SHAPES: Final = 16
"""The number of shapes to cache for one operation: root fields for different values of such variables."""

OPERATION_BYTES, SHAPE_BYTES, FIELD_BYTES, CHARACTER_BYTES = 4_000, 4_000, 3_500, 40
"""The memory of an operation, of each of its shapes, of a field in a shape with its plans and its compiled projection,
and of a character in the values of the variables that select the shape."""


class PlannedOperation:
    """One operation of a valid document, with its root fields.

    ``projected`` is true if the compiled projection can execute it; Strawberry executes introspection, subscriptions
    and incremental delivery. ``cacheable`` is true if the response changes only when the answers of the registries
    change. ``variables`` are the names of those that it declares. ``size`` is the memory of its plans in bytes.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self.schema, self.operation = schema, operation
        self.fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        root = schema.get_root_type(operation.operation)
        assert root is not None
        self.root = root
        reading = DocumentReader(schema)
        for node in (operation, *self.fragments.values()):
            visit(node, reading)
        is_query = operation.operation is OperationType.QUERY
        self.projected = is_query and not operation.directives and reading.supported
        self.cacheable = is_query and not reading.volatile
        self.shaping = sorted(reading.shaping)
        self.incremental = reading.incremental
        self.variables = [definition.variable.name.value for definition in operation.variable_definitions or ()]
        self.size = OPERATION_BYTES
        self._fields = SizeMeter(document.definitions).size(operation).fields
        self._roots: dict[tuple[Any, ...], Sequence[RootField]] = {}

    def roots(self, variables: VariableValues) -> "Sequence[RootField]":
        """Return the root fields. Raises `GraphQLError` for a directive whose variable has no value."""
        # A variable without a value differs from null: the default of the directive's argument takes its place.
        shape = tuple([freeze(variables.coerced.get(name, Undefined)) for name in self.shaping])
        roots = self._roots.get(shape)
        if roots is None:
            if len(self._roots) == CACHED_SHAPES:
                self._roots.clear()
                self.size = OPERATION_BYTES
            collector = FieldCollector.of(self.schema, self.fragments, self.operation, variables)
            roots = self._roots[shape] = [RootField(field) for field in collector.root_fields(self.root)]
            self.size += SHAPE_BYTES + FIELD_BYTES * self._fields + CHARACTER_BYTES * len(repr(shape))
        return roots

    def bind(self, variables: VariableValues) -> "BoundOperation":
        """Bind coerced variables to the operation. Raises `GraphQLError` if a directive becomes invalid with them."""
        check_directives(self.incremental, variables)
        return BoundOperation(self, variables)


class DocumentReader(Visitor):
    """Reads the properties of a document that its root fields depend on.

    ``supported`` is true if the compiled projection can execute it, ``volatile`` if it selects a volatile field.
    ``shaping`` are the variables that change the shape of the operation. ``incremental`` are the nodes with ``@defer``
    or ``@stream``.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        super().__init__()
        fields = declared_fields(schema)
        resolved = {name for name, field in fields if not is_in_record(field)}
        self.known = ROOT_FIELDS.keys() | {TYPE_NAME} | {name for name, _ in fields} - resolved
        self.volatile_fields = volatile_fields(schema)
        self.supported, self.volatile = True, False
        self.shaping: set[str] = set()
        self.incremental: list[IncrementalNode] = []

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.supported &= node.name.value in self.known
        self.volatile |= node.name.value in self.volatile_fields

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: Any) -> None:
        self.supported &= not node.directives and not node.variable_definitions

    def enter_directive(self, node: DirectiveNode, _key: Any, _parent: Any, _path: Any, ancestors: list[Any]) -> None:
        if node.name.value in NAMES:
            self.incremental.append(ancestors[-1])
        self.supported &= node.name.value in ("include", "skip")
        for argument in node.arguments or ():
            self._add_variables(argument)

    def enter_argument(self, node: ArgumentNode, _key: Any, _parent: Any, _path: Any, ancestors: list[Any]) -> None:
        fields = [ancestor for ancestor in ancestors if isinstance(ancestor, FieldNode)]
        nested = len(fields) > 1 or any(isinstance(ancestor, FragmentDefinitionNode) for ancestor in ancestors)
        if node.name.value in PLANNED_ARGUMENTS and nested and names_variable(node.value):
            self._add_variables(node)

    def _add_variables(self, node: ArgumentNode) -> None:
        variables = Variables()
        visit(node.value, variables)
        self.shaping |= variables.names


def declared_fields(schema: GraphQLSchema) -> list[tuple[str, StrawberryField]]:
    """Return all fields of object types except root types, by name."""
    roots = schema.query_type, schema.mutation_type, schema.subscription_type
    return [
        (name, declaration(field))
        for named in schema.type_map.values()
        if isinstance(named, GraphQLObjectType) and named not in roots and not named.name.startswith("__")
        for name, field in named.fields.items()
    ]


def volatile_fields(schema: GraphQLSchema) -> set[str]:
    """Return the names of fields whose values can change while the answers of the registries stay the same."""
    return {name for name, field in declared_fields(schema) if VOLATILE in field.metadata}


class RootField:
    """One root field, the templates below it, and its compiled projection."""

    def __init__(self, field: CollectedField) -> None:
        self.field = field
        self.path = Path(None, field.key, field.parent.name)
        self.streams: StreamsOfField = {}
        self.rows_costs: RowsCosts = {}

    @cached_property
    def size(self) -> FieldSize:
        """The size of the value. Raises `GraphQLError` for a directive whose variable has no value."""
        return FieldSize.of(self.field)

    @cached_property
    def templates(self) -> Mapping[FieldRequest, CollectedField]:
        """The templates, each with one field. Raises `GraphQLError` for a directive whose variable has no value."""
        return {template.request: template for template in self.field.templates()}

    @cached_property
    def projection(self) -> Projection:
        return Projection(self.field)

    @cached_property
    def row_encoder(self) -> RowEncoder | None:
        """The encoder of the rows in ``nodes`` of a merged page. None if the field has several or none of them."""
        entity = LISTS.get(self.field.name)
        if entity is None:
            return None
        nodes = [inner for page in self.field.types for inner in self.field.below(page.name) if inner.name == "nodes"]
        return RowEncoder(self.projection.objects[nodes[0], entity]) if len(nodes) == 1 else None


class BoundOperation:
    """An operation with the values of its variables."""

    def __init__(self, planned: PlannedOperation, variables: VariableValues) -> None:
        self.planned, self.variables = planned, variables

    @cached_property
    def roots(self) -> "list[BoundField]":
        """The root fields. Raises `GraphQLError` for a directive whose variable has no value."""
        return [BoundField(root, self.variables) for root in self.planned.roots(self.variables)]

    @cached_property
    def by_key(self) -> "dict[str, BoundField]":
        """The root fields by response key."""
        return {root.field.key: root for root in self.roots}

    def cost(self, registries: Mapping[str, Registry], bounds: Bounds) -> Cost:
        """Return the maximum cost of the operation. A field with invalid arguments costs nothing."""
        estimate = CostEstimate(registries, bounds)
        with suppress(GraphQLError):
            for root in self.roots:
                with suppress(GraphQLError):
                    estimate.bindings |= root.bindings
                    root.add_cost(estimate)
        return estimate.cost

    async def execute(self, context: OperationContext, on_error: OnError = OnError.PROPAGATE) -> ExecutionResult:
        """Execute the operation with the compiled projection. Errors in the result have their codes."""
        errors: list[GraphQLError] = []
        count = ObjectCount(context.execution.bounds.objects)
        data = None
        try:
            if len(self.roots) == 1:
                [only] = self.roots
                data = {only.field.key: await only.execute(errors, count, context, on_error)}
            else:
                values = await gather_with_cancel(
                    *(root.execute(errors, count, context, on_error) for root in self.roots)
                )
                data = {root.field.key: value for root, value in zip(self.roots, values, strict=True)}
        except GraphQLError as error:
            errors.append(error.with_traceback(None))
        if on_error is OnError.ABORT and (errors or context.failures):
            errors, data = errors[:1], None
            context.failures = [] if errors else context.failures[:1]
        for failure in errors:
            assign_error_code(failure)
        return ExecutionResult(data, errors or None)


def tags_of_fields(
    bound: BoundOperation, registries: Mapping[str, Registry], tags: Sequence[str]
) -> Mapping[str, Sequence[str] | Sequence[Sequence[str]]]:
    """Return the ``extensions`` with the cache tags of an operation without errors, for routers.

    ``apolloEntityCacheTags`` has a list for each representation of the only field ``_entities``, ``apolloCacheTags``
    those of all other fields. Source: Apollo Router, "Response cache invalidation".
    """
    entities = [root for root in bound.roots if root.field.name == "_entities"]
    if len(entities) != 1:
        return {"apolloCacheTags": tags}
    [root] = entities
    refs = [reference(registries, representation) for representation in root.arguments["representations"]]
    by_entity = [entity_tags(ref, root.selection(ref.entity), tags) for ref in refs]
    others = {} if len(bound.roots) == 1 else {"apolloCacheTags": tags}
    return {"apolloEntityCacheTags": by_entity, **others}


async def resolve_root_field(info: strawberry.Info[Any, Any]) -> Any:
    """Resolve the root field that Strawberry is executing."""
    context: OperationContext = info.context
    return await bound_operation(info).by_key[str(info.path.key)].resolve(context)


def bound_operation(info: strawberry.Info[Any, Any]) -> BoundOperation:
    """Return the operation that Strawberry is executing, from the context or planned on first use."""
    context: OperationContext = info.context
    bound = context.bound
    if not isinstance(bound, BoundOperation):
        raw = info._raw_info
        coerced = cast(dict[str, Any], raw.variable_values)  # Strawberry passes only the coerced values on
        planned = PlannedOperation(raw.schema, context.document, raw.operation)
        bound = context.bound = planned.bind(VariableValues(sources={}, coerced=coerced))
    return bound


class BoundField:
    """One root field with the values of the operation's variables."""

    def __init__(self, root: RootField, variables: VariableValues) -> None:
        self.root, self.field, self.variables = root, root.field, variables
        self._planned_list: tuple[Mapping[str, Registry], PlannedList] | None = None

    @cached_property
    def request(self) -> FieldRequest:
        """The request. Like the methods below, raises `GraphQLError` for an argument with an invalid variable."""
        return self.field.bound_request(self.variables)

    @cached_property
    def bindings(self) -> Bindings:
        """The requests of the templates below the field."""
        return {template: field.bound_request(self.variables) for template, field in self.root.templates.items()}

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        return self.field.arguments(self.variables)

    def selection(self, type_name: str | None = None) -> Selection:
        """Return the selection of the value; for an interface, that of one type."""
        return self.field.selection(type_name)

    def planned_list(self, entity: str, registries: Mapping[str, Registry], bounds: Bounds) -> PlannedList:
        """Return the plan of the list that the field returns, computed once for its cost and its execution.

        Raises `BadInput` and `InvalidCursor` for invalid arguments, too.
        """
        if self._planned_list is None or self._planned_list[0] is not registries:
            planned = PlannedList.of(entity, self.request, registries, bounds, self.root.streams)
            self._planned_list = registries, planned
        return self._planned_list[1]

    async def resolve(self, context: OperationContext, encode: RowEncoder | None = None) -> Any:
        """Resolve the value of the field. Raises the error of a field without a value."""
        context.execution.bindings |= self.bindings
        return await ROOT_FIELDS[self.field.name](RootFieldContext(context, self.root.path, self, encode))

    async def execute(
        self, errors: list[GraphQLError], count: ObjectCount, context: OperationContext, on_error: OnError
    ) -> Any:
        """Return the field's part of the response, append its errors and count its objects.

        Raises a located `GraphQLError` if the field is null but must not be, and for each error with `OnError.ABORT`.
        """
        if self.field.name == TYPE_NAME:
            return self.field.parent.name
        value: Any
        try:
            value = await self.resolve(context, self.root.row_encoder)
        except GatewayError as error:
            value = error.with_traceback(None)
        except Exception as error:
            value = error
        counted = count.total
        projectors: ObjectProjectors = {}
        try:
            projectors = self.root.projection.objects
            return self.root.projection.value(value, count.items)
        except ResponseTooLarge as error:
            value = error
        except Exception:  # completion below reports the error
            count.total = counted
        completion = Completion(errors, count, projectors, on_error)
        return completion.item(self.field.definition.type, self.field, value, (self.field.key,))

    def add_cost(self, estimate: CostEstimate) -> None:
        """Add the calls and objects of the field."""
        name, key = self.field.name, self.field.key
        if name in LISTS:
            with suppress(BadInput):  # execution reports invalid arguments
                planned = self.planned_list(LISTS[name], estimate.registries, estimate.bounds)
                estimate.add_list(key, planned, self.selection(), self.root.rows_costs)
        references = 0
        for ref in self._references(estimate.registries, estimate.bounds):
            estimate.add_entity(key, ref, self.selection(ref.entity))
            references += 1
        if self.field.types:
            page_size = partial(self._page_size, estimate.bounds.page_rows)
            size = self.root.size
            estimate.objects += references * size.each(page_size) if references else size.objects(page_size)

    def _page_size(self, max_rows: int, request: FieldRequest) -> int:
        """Return the page size of a connection, 0 if it is invalid."""
        bound = self.request if request == self.field.request else self.bindings.get(request, request)
        size: int = bound.argument(PAGE_SIZE)
        return size if 1 <= size <= max_rows else 0

    def _references(self, registries: Mapping[str, Registry], bounds: Bounds) -> Iterator[Ref]:
        """Yield the references in the arguments. Ignores invalid ones."""
        name = self.field.name
        if name == "_entities":
            representations = self.arguments["representations"]
            for representation in representations if len(representations) <= bounds.references else ():
                ref = reference_or_error(registries, representation)
                if isinstance(ref, Ref):
                    yield ref
        elif name in OBJECTS or name == "nodes":
            ids = self.arguments["ids"] if name == "nodes" else [self.arguments["id"]]
            for text in ids if len(ids) <= bounds.ids else ():
                with suppress(GatewayError):
                    yield validated_ref(registries, text, OBJECTS.get(name))
