"""Compiled operations: a validated document becomes, once, a function from variables to an answer.

It does what executing the operation does, without walking the document again: the same root functions load the
records (`gateway.execution.root_fields`), and functions written for the selection project them. Introspection,
subscriptions and incremental delivery are left to Strawberry's own execution; so is a field that is not just held by a
record.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from graphql import (
    DirectiveNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, gather_with_cancel
from strawberry.types.field import StrawberryField

from gateway.catalog.bounds import Bounds
from gateway.catalog.operation import Operation
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.execution.completion import Completion
from gateway.execution.context import OperationContext
from gateway.execution.documents import Document
from gateway.execution.error_codes import assign_error_code
from gateway.execution.field_collection import TYPE_NAME, CollectedField, FieldCollector, varying
from gateway.execution.projection import Projector, projector
from gateway.execution.root_fields import ROOTS, Asking, Sought, sought
from gateway.execution.selection import declaration
from gateway.schema.fields import MOMENTARY, in_record

MOST_WAYS: Final = 64
"""Outcomes of an operation's directives that are kept ready."""


def compiled(
    schema: GraphQLSchema, document: Document, operation: OperationDefinitionNode
) -> "CompiledOperation | None":
    """An operation of a valid document, compiled; None where it asks for what compiled operations do not cover."""
    fragments = {
        definition.name.value: definition
        for definition in document.node.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    read = Reading(schema)
    for node in (operation, *fragments.values()):
        visit(node, read)
    root = schema.query_type
    lasting = not read.momentary
    if operation.operation is not OperationType.QUERY or operation.directives or not read.covered or root is None:
        return None
    return CompiledOperation(schema, root, operation, fragments, sorted(read.directed), lasting)


class Reading(Visitor):
    """Reads a document for what compiling it depends on: whether all of it is ``covered``, whether it asks for what is
    ``momentary``, and the variables that directives name."""

    def __init__(self, schema: GraphQLSchema) -> None:
        super().__init__()
        below = declared(schema)
        not_held = {name for name, field in below if not in_record(field)}
        self.known = ROOTS.keys() | {TYPE_NAME} | {name for name, _ in below} - not_held
        self.changing = changing(schema)
        self.covered, self.momentary = True, False
        self.directed: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.covered &= node.name.value in self.known
        self.momentary |= node.name.value in self.changing

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: Any) -> None:
        self.covered &= not node.directives and not node.variable_definitions

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        self.covered &= node.name.value in ("include", "skip")
        values = [argument.value for argument in node.arguments or ()]
        self.directed |= {value.name.value for value in values if isinstance(value, VariableNode)}


def declared(schema: GraphQLSchema) -> list[tuple[str, StrawberryField]]:
    """All fields below the roots, by name."""
    roots = schema.query_type, schema.mutation_type, schema.subscription_type
    return [
        (name, declaration(field))
        for one in schema.type_map.values()
        if isinstance(one, GraphQLObjectType) and one not in roots and not one.name.startswith("__")
        for name, field in one.fields.items()
    ]


def changing(schema: GraphQLSchema) -> set[str]:
    """The names of the fields that are of the moment."""
    return {name for name, field in declared(schema) if MOMENTARY in field.metadata}


class CompiledOperation:
    """One operation, with all that was worked out for it: for each outcome of its directives, its root fields.

    The answer of a ``lasting`` one stays the same while the registries' answers do.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        root: GraphQLObjectType,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        directed: Sequence[str],
        lasting: bool,
    ) -> None:
        self.schema, self.root, self.operation, self.fragments = schema, root, operation, fragments
        self.directed, self.lasting = directed, lasting
        self._ways: dict[tuple[Any, ...], list[RootField]] = {}

    def posed(self, variables: VariableValues) -> "BoundOperation":
        """The operation with coerced variables."""
        return BoundOperation(self, variables)

    def roots(self, variables: VariableValues) -> "list[RootField]":
        """The fields at the root. Raises `GraphQLError` for a directive whose variable has no value."""
        way = tuple(variables.coerced.get(name) for name in self.directed)
        if way not in self._ways:
            if len(self._ways) == MOST_WAYS:
                self._ways.clear()
            details = {name: FragmentDetails(definition) for name, definition in self.fragments.items()}
            choice = FieldCollector(self.schema, self.fragments, details, self.operation, variables)
            self._ways[way] = [RootField(one) for one in choice.roots(self.root)]
        return self._ways[way]


class RootField:
    """One root field, and how its value is projected once that is known."""

    def __init__(self, chosen: CollectedField) -> None:
        self.chosen = chosen
        self.path = Path(None, chosen.key, chosen.parent.name)

    @cached_property
    def varying(self) -> list[CollectedField]:
        """The fields below whose arguments depend on variables."""
        return list(varying(one for runtime in self.chosen.types for one in self.chosen.below(runtime.name)))

    @cached_property
    def project(self) -> Projector:
        return projector(self.chosen, self.varying)


class BoundOperation:
    """An operation with its variables: what it asks is worked out when it is first asked, for all who ask it again."""

    def __init__(self, compiled: CompiledOperation, variables: VariableValues) -> None:
        self.compiled, self.variables = compiled, variables

    @cached_property
    def roots(self) -> "list[BoundField]":
        return [BoundField(root, self.variables) for root in self.compiled.roots(self.variables)]

    async def answer(self, context: OperationContext) -> ExecutionResult:
        """The operation's answer: as the executor gives it, with errors as clients see them."""
        errors: list[GraphQLError] = []
        data = None
        try:
            if len(self.roots) == 1:
                [only] = self.roots
                data = {only.chosen.key: await only.answer(errors, context)}
            else:
                answers = await gather_with_cancel(*(one.answer(errors, context) for one in self.roots))
                data = {one.chosen.key: value for one, value in zip(self.roots, answers, strict=True)}
        except GraphQLError as error:
            errors.append(error)
        for failure in errors:
            assign_error_code(failure)
        return ExecutionResult(data, errors or None)


class BoundField:
    """One root field with the operation's variables."""

    def __init__(self, root: RootField, variables: VariableValues) -> None:
        self.root, self.chosen, self.variables = root, root.chosen, variables
        self._selections: dict[str | None, Selection] = {}
        self._sought: tuple[Mapping[str, Registry], Bounds, Sought] | None = None

    @cached_property
    def ask(self) -> FieldRequest:
        """Raises `GraphQLError`, as all that follow, for an argument that its variable gives no fitting value."""
        return self.chosen.ask(self.variables)

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        return self.chosen.arguments(self.variables)

    @cached_property
    def keys(self) -> Sequence[Any]:
        """Where records hold the fields whose arguments depend on variables."""
        return [one.ask(self.variables).key for one in self.root.varying]

    def selection(self, type_name: str | None = None) -> Selection:
        """What is asked of its value; of an interface's value, as far as it concerns one type."""
        if type_name not in self._selections:
            self._selections[type_name] = self.chosen.selection(self.variables, type_name)
        return self._selections[type_name]

    async def answer(self, errors: list[GraphQLError], context: OperationContext) -> Any:
        """Its answer; its errors go to ``errors``. Raises a located `GraphQLError` where it cannot be null."""
        if self.chosen.name == TYPE_NAME:
            return self.chosen.parent.name
        try:
            value = await ROOTS[self.chosen.name](Asking(context, self.root.path, self))
        except Exception as error:
            value = error
        try:
            return self.root.project(value, self.keys)
        except Exception:  # whatever it is, completion says it in the answer
            completion = Completion(self.variables, errors)
        return completion.item(self.chosen.definition.type, self.chosen, value, (self.chosen.key,))

    def sought(self, operation: Operation, entity: str | None) -> Sought:
        """The object that is asked for, once for all who ask it of the same registries."""
        registries, bounds = operation.registries, operation.bounds
        if self._sought is None or self._sought[0] is not registries or self._sought[1] is not bounds:
            self._sought = registries, bounds, sought(self, operation, entity)
        return self._sought[2]
