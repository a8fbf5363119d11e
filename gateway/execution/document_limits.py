"""Size limits: fields, aliases, directives and depth of an operation with its fragments expanded."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from graphql import (
    DefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from gateway.config.settings import LimitsSettings
from gateway.errors import QueryTooComplex

INTROSPECTION = ("__schema", "__type")
MAX_NESTING = 200
"""The maximum depth of selection sets to measure, with fragments expanded."""


class Size(NamedTuple):
    """The size of a selection set with fragments expanded. The depth of introspection fields counts as 1."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    root_fields: int = 0

    def plus(self, other: "Size") -> "Size":
        """Return the size of a selection set that contains both."""
        total = Size(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))
        return total._replace(depth=max(self.depth, other.depth))


MESSAGES = {
    "fields": "selects {} fields, fragments expanded",
    "aliases": "has {} aliases, fragments expanded",
    "directives": "has {} directives, fragments expanded",
    "depth": "nests {} levels deep",
    "root_fields": "selects {} root fields",
}


class SizeMeter:
    """Measures the operations of one document. Each fragment is measured once, however often it is spread."""

    def __init__(self, definitions: Iterable[DefinitionNode]) -> None:
        self._fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
        self._measured: dict[str, Size] = {}
        self._level = 0

    def size(self, operation: OperationDefinitionNode) -> Size:
        size = self._selections(operation.selection_set)
        return size._replace(directives=size.directives + len(operation.directives or ()))

    def _selections(self, selection_set: SelectionSetNode | None) -> Size:
        """Raises `QueryTooComplex` below `MAX_NESTING`."""
        self._level += 1
        if self._level > MAX_NESTING:
            raise QueryTooComplex(f"The query nests more than {MAX_NESTING} selection sets, fragments expanded.")
        size = Size()
        for node in selection_set.selections if selection_set else ():
            size = size.plus(self._selection(node))
        self._level -= 1
        return size

    def _selection(self, node: SelectionNode) -> Size:
        match node:
            case FragmentSpreadNode():
                inner = self._spread(node.name.value)
            case FieldNode():
                inner = self._selections(node.selection_set)
                depth = 1 if node.name.value in INTROSPECTION else inner.depth + 1
                aliases = inner.aliases + (node.alias is not None)
                inner = Size(inner.fields + 1, aliases, inner.directives, depth, root_fields=1)
            case InlineFragmentNode():
                inner = self._selections(node.selection_set)
            case _:
                raise TypeError(type(node))
        return inner._replace(directives=inner.directives + len(node.directives or ()))

    def _spread(self, name: str) -> Size:
        """Return the size of a fragment. Unknown fragments and cycles count as empty; validation rejects them."""
        if name not in self._measured:
            self._measured[name] = Size()
            fragment = self._fragments.get(name)
            self._measured[name] = self._selections(fragment.selection_set if fragment else None)
        return self._measured[name]


def check_sizes(
    operations: Mapping[str | None, OperationDefinitionNode], meter: SizeMeter, limits: LimitsSettings
) -> None:
    """Raises `QueryTooComplex` for the first operation that is larger than the limits allow."""
    for operation in operations.values():
        for excess in excesses(meter.size(operation), limits):
            raise QueryTooComplex(excess)


def excesses(size: Size, limits: LimitsSettings) -> Iterator[str]:
    """Yield a message for each limit that a size exceeds."""
    for name, message in MESSAGES.items():
        count, allowed = getattr(size, name), getattr(limits, name)
        if count > allowed:
            yield f"The query {message.format(count)}; {allowed} are allowed."
