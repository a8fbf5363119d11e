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


LATER = Ask("__later")
"""Below it stands what is asked of an object but may come after the rest of it."""

ROWS_LATER = "__rows_later"
"""Field of the ask, below a list, whose argument ``first`` tells how many rows must come before the rest."""

Selection = Mapping[Ask, "Selection"]
"""Asked fields, each with what is asked of its value; empty for leaves and for objects asked by ``__typename`` only."""

Frozen = tuple[tuple[Ask, Any], ...]
"""A selection as a value that can be looked up."""


def freeze(selection: Selection) -> Frozen:
    return tuple([(ask, freeze(below)) for ask, below in selection.items()]) if selection else ()


def thaw(frozen: Frozen) -> Selection:
    """The selection that was frozen."""
    return {ask: thaw(below) for ask, below in frozen}


def under(selection: Selection, *path: str) -> Selection:
    """The selection below a path of fields without arguments; empty where it was not asked for."""
    for name in path:
        selection = selection.get(Ask(name), {})
    return selection


def rows_now(selection: Selection) -> tuple[int | None, Selection]:
    """How many rows of a list must come before the rest, None for all of them; and what is asked of each row."""
    for ask in selection:
        if ask.field == ROWS_LATER:
            return ask.argument("first"), {one: below for one, below in selection.items() if one is not ask}
    return None, selection
