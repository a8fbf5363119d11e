"""Checks of the arguments of ``@defer`` and ``@stream``, some of which graphql-core checks only during execution.

Source: the incremental delivery proposal of 2023.
"""

from collections.abc import Iterable
from typing import Any, Final

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLError,
    GraphQLStreamDirective,
    InlineFragmentNode,
    IntValueNode,
    NullValueNode,
    ValidationRule,
    get_directive_values,
)
from graphql.execution.values import VariableValues

INCREMENTAL: Final = (GraphQLDeferDirective, GraphQLStreamDirective)
NAMES: Final = frozenset(directive.name for directive in INCREMENTAL)

IncrementalNode = FieldNode | FragmentSpreadNode | InlineFragmentNode
"""A node that can have one of the directives."""


class StreamCountRule(ValidationRule):
    """Reports an ``initialCount`` of null or below 0, unless it is a variable."""

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        for argument in node.arguments or () if node.name.value == GraphQLStreamDirective.name else ():
            value = argument.value
            negative = isinstance(value, IntValueNode) and value.value.startswith("-") and value.value != "-0"
            if argument.name.value == "initialCount" and (negative or isinstance(value, NullValueNode)):
                self.report_error(invalid_count(node))


def check_directives(nodes: Iterable[IncrementalNode], variables: VariableValues) -> None:
    """Check the directives of nodes with the values of variables. Raises `GraphQLError` for the first invalid one."""
    for node in nodes:
        for directive in INCREMENTAL:
            values = get_directive_values(directive, node, variables) or {}
            count = values.get("initialCount", 0)
            if count is None or count < 0:
                raise invalid_count(node)


def invalid_count(node: DirectiveNode | IncrementalNode) -> GraphQLError:
    return GraphQLError("Argument 'initialCount' of directive '@stream' must be a number of rows, 0 or more.", node)
