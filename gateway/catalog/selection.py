"""What an operation asks of one object, free of GraphQL's spelling: no aliases, fragments or directives."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple


class Ask(NamedTuple):
    """One field asked for, and its arguments (name and value pairs, sorted by name, hashable)."""

    field: str
    arguments: tuple[tuple[str, Hashable], ...] = ()

    @property
    def key(self) -> "str | Ask":
        """Where a record holds the answer: plain fields under their name, fields with arguments under the ask."""
        return self if self.arguments else self.field

    def argument(self, name: str) -> Any:
        return dict(self.arguments).get(name)


Selection = Mapping[Ask, "Selection"]
"""Asked fields, each with what is asked of its value; empty for leaves and for objects asked by ``__typename`` only."""


def under(selection: Selection, *path: str) -> Selection:
    """The selection below a path of fields without arguments; empty where it was not asked for."""
    for name in path:
        selection = selection.get(Ask(name), {})
    return selection
