"""What executing an operation comes to but for values: worked out once for all who execute it in the same way."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphql import (
    SKIP,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    Undefined,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.collect_fields import CollectedFields, DeferUsage, FieldDetailsList, GroupedFieldSet

from gateway.catalog.selection import Selection
from gateway.execution.selection import freeze

LONGEST: Final = 1_000
"""Characters that the values of variables may have for a way to be kept: they are what a client sends."""


class Held(NamedTuple):
    """A field of a record: what takes its ``value`` from there, its type, and what is said of it when it is wrong."""

    value: Callable[[Any], Any]
    type: GraphQLOutputType
    info: GraphQLResolveInfo[Any]


class Way:
    """An operation with the ``values`` of the variables that more depends on than the arguments of its root fields.

    Who executes it keeps here what was worked out: its ``roots``, and whether one of them ``alone`` asks the catalog;
    the ``subfields`` below some fields; which fields are ``held``; the ``selections`` that stand for what is asked of
    root fields' values. Keys are identities, of the document's nodes or of lists that stand beside them.
    """

    __slots__ = ("alone", "held", "roots", "selections", "subfields", "values")

    def __init__(self, values: Hashable) -> None:
        self.values = values
        self.roots: tuple[GroupedFieldSet, Sequence[DeferUsage]] | None = None
        self.alone = False
        self.subfields: dict[tuple[GraphQLObjectType, int], tuple[FieldDetailsList, CollectedFields]] = {}
        self.held: dict[int, tuple[FieldDetailsList, Held | None]] = {}
        self.selections: dict[tuple[int, str | None], Selection] = {}


class Ways:
    """In which way each operation of one document was executed last: clients ask the same again."""

    __slots__ = ("_last", "_shaping")

    def __init__(self) -> None:
        self._shaping: dict[int, list[str]] = {}
        self._last: dict[int, Way] = {}

    def of(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
    ) -> Way:
        """The way in which an operation of the document is executed with coerced variables."""
        key = id(operation)
        if key not in self._shaping:
            self._shaping[key] = shaping(operation, fragments.values())
        values = tuple([freeze(variables.get(name, Undefined)) for name in self._shaping[key]])
        way = self._last.get(key)
        if way is None or way.values != values:
            way = Way(values)
            if len(repr(values)) <= LONGEST:
                self._last[key] = way
        return way


def shaping(operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]) -> list[str]:
    """The variables that more depends on than the arguments of an operation's root fields."""
    variables = Variables()
    visit(operation, variables)
    variables.in_fragment = True
    for fragment in fragments:
        visit(fragment, variables)
    return sorted(variables.names)


class Variables(Visitor):
    """Takes note of variables, but for those in the arguments of an operation's root fields."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.in_fragment = False

    def enter_variable_definition(self, _node: VariableDefinitionNode, *_: Any) -> Any:
        return SKIP

    def enter_variable(self, node: VariableNode, _key: Any, _parent: Any, _path: Any, ancestors: list[Any]) -> None:
        fields = sum(isinstance(one, FieldNode) for one in ancestors)
        if self.in_fragment or fields != 1 or any(isinstance(one, DirectiveNode) for one in ancestors):
            self.names.add(node.name.value)
