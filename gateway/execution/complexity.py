"""How large an operation is once its fragments are opened, measured before anything is done with it."""

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
LEVELS = 200
"""Selection sets that may stand in each other, fragments opened: measuring goes as deep."""


class Size(NamedTuple):
    """What a selection set comes to, fragments opened. Fields of introspection count, but nest no deeper."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    root_fields: int = 0

    def beside(self, other: "Size") -> "Size":
        """Both in the same selection set."""
        added = Size(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))
        return added._replace(depth=max(self.depth, other.depth))


WORDS = {
    "fields": "selects {} fields, fragments opened",
    "aliases": "has {} aliases, fragments opened",
    "directives": "has {} directives, fragments opened",
    "depth": "nests {} levels deep",
    "root_fields": "asks {} root fields",
}


class Ruler:
    """Measures the operations of one document; every fragment is opened once, however often it is spread."""

    def __init__(self, definitions: Iterable[DefinitionNode]) -> None:
        self._fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
        self._known: dict[str, Size] = {}
        self._level = 0

    def size(self, operation: OperationDefinitionNode) -> Size:
        whole = self._selections(operation.selection_set)
        return whole._replace(directives=whole.directives + len(operation.directives or ()))

    def _selections(self, selection_set: SelectionSetNode | None) -> Size:
        """Raises `QueryTooComplex` below `LEVELS`."""
        self._level += 1
        if self._level > LEVELS:
            raise QueryTooComplex(f"The query nests more than {LEVELS} selections, fragments opened.")
        size = Size()
        for node in selection_set.selections if selection_set else ():
            size = size.beside(self._selection(node))
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
        """Unknown fragments and circles are validation's to refuse."""
        if name not in self._known:
            self._known[name] = Size()
            fragment = self._fragments.get(name)
            self._known[name] = self._selections(fragment.selection_set if fragment else None)
        return self._known[name]


def check(operations: Mapping[str | None, OperationDefinitionNode], ruler: Ruler, limits: LimitsSettings) -> None:
    """Raises `QueryTooComplex` for the first operation that is larger than allowed."""
    for operation in operations.values():
        for excess in excesses(ruler.size(operation), limits):
            raise QueryTooComplex(excess)


def excesses(size: Size, limits: LimitsSettings) -> Iterator[str]:
    for name, words in WORDS.items():
        count, allowed = getattr(size, name), getattr(limits, name)
        if count > allowed:
            yield f"The query {words.format(count)}; {allowed} are allowed."
