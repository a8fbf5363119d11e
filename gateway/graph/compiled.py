"""Compiled operations: a validated document becomes, once, a function from variables to an answer.

It does what executing the operation does, without walking the document again: the same root functions load the
records (`gateway.graph.roots`), and functions written for the selection project them. Introspection, subscriptions
and incremental delivery are left to Strawberry's executor; so is a field that is not just held by a record.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
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

from gateway.graph.chosen import TYPE_NAME, Choice, Chosen, varying
from gateway.graph.completion import Completion
from gateway.graph.context import Context
from gateway.graph.described import MOMENTARY, in_record
from gateway.graph.documents import Document
from gateway.graph.faults import present
from gateway.graph.projection import Projector, projector
from gateway.graph.roots import ROOTS, Asking
from gateway.graph.selected import declaration

MOST_WAYS: Final = 64
"""Outcomes of an operation's directives that are kept ready."""


def compiled(schema: GraphQLSchema, document: Document, operation: OperationDefinitionNode) -> "Compiled | None":
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
    return Compiled(schema, root, operation, fragments, sorted(read.directed), lasting)


class Reading(Visitor):
    """Reads a document for what compiling it depends on: whether all of it is ``covered``, whether it asks for what is
    ``momentary``, and the variables that directives name."""

    def __init__(self, schema: GraphQLSchema) -> None:
        super().__init__()
        below = declared(schema)
        not_held = {name for name, field in below if not in_record(field)}
        self.known = ROOTS.keys() | {TYPE_NAME} | {name for name, _ in below} - not_held
        self.changing = {name for name, field in below if MOMENTARY in field.metadata}
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


class Compiled:
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

    async def answer(self, variables: VariableValues, context: Context) -> ExecutionResult:
        """The operation's answer for coerced variables: as the executor gives it, with errors as clients see them."""
        completion = Completion(variables)
        try:
            data = await self._data(completion, context)
        except GraphQLError as error:
            completion.errors.append(error)
            data = None
        for failure in completion.errors:
            present(failure)
        return ExecutionResult(data, completion.errors or None)

    async def _data(self, completion: Completion, context: Context) -> dict[str, Any]:
        """The root fields' answers. Raises the `GraphQLError` that leaves nothing of them."""
        fields = self._fields(completion.variables)
        answers = [one.answer(completion, context) for one in fields]
        completed = [await answers[0]] if len(answers) == 1 else await gather_with_cancel(*answers)
        return {one.chosen.key: value for one, value in zip(fields, completed, strict=True)}

    def _fields(self, variables: VariableValues) -> "list[RootField]":
        way = tuple(variables.coerced.get(name) for name in self.directed)
        if way not in self._ways:
            if len(self._ways) == MOST_WAYS:
                self._ways.clear()
            details = {name: FragmentDetails(definition) for name, definition in self.fragments.items()}
            choice = Choice(self.schema, self.fragments, details, self.operation, variables)
            self._ways[way] = [RootField(one) for one in choice.roots(self.root)]
        return self._ways[way]


class RootField:
    """One root field: what it asks, and how its value is projected."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self._project: Projector | None = None
        self._varying: list[Chosen] = []

    async def answer(self, completion: Completion, context: Context) -> Any:
        """Its answer. Raises a located `GraphQLError` where null cannot stand for it."""
        chosen, variables = self.chosen, completion.variables
        if chosen.name == TYPE_NAME:
            return chosen.parent.name
        path = Path(None, chosen.key, chosen.parent.name)
        try:
            value = ROOTS[chosen.name](
                Asking(
                    context,
                    path,
                    partial(chosen.ask, variables),
                    partial(chosen.arguments, variables),
                    partial(chosen.selection, variables),
                )
            )
            if isawaitable(value):
                value = await value
        except Exception as error:
            value = error
        return self._completed(value, completion)

    def _completed(self, value: Any, completion: Completion) -> Any:
        with suppress(Exception):  # whatever it is, completion says it in the answer
            return self._projected(value, completion.variables)
        return completion.item(self.chosen.definition.type, self.chosen, value, (self.chosen.key,))

    def _projected(self, value: Any, variables: VariableValues) -> Any:
        if self._project is None:
            below = (one for runtime in self.chosen.types for one in self.chosen.below(runtime.name))
            self._varying = list(varying(below))
            self._project = projector(self.chosen, self._varying)
        return self._project(value, [one.ask(variables).key for one in self._varying])
