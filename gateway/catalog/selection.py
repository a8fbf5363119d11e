"""What an operation asks of one object, free of GraphQL's spelling: no aliases, fragments or directives."""

from collections.abc import Hashable, Mapping
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

MOST: Final = 1_000
"""Selections that are kept, those below others among them."""

LONGEST: Final = 10_000
"""Characters that the arguments in a selection may have for it to be kept: they are what a client sends."""


class FieldRequest(NamedTuple):
    """One field asked for, and its arguments (name and value pairs, sorted by name, hashable)."""

    field: str
    arguments: tuple[tuple[str, Hashable], ...] = ()

    @property
    def key(self) -> "str | FieldRequest":
        """Where a record holds the answer: plain fields under their name, fields with arguments under the ask."""
        return self if self.arguments else self.field

    @property
    def length(self) -> int:
        """Characters of its arguments."""
        return len(repr(self.arguments)) if self.arguments else 0

    def argument(self, name: str) -> Any:
        for one, value in self.arguments:
            if one == name:
                return value
        return None

    def without(self, name: str) -> "FieldRequest":
        """The same without an argument."""
        return self._replace(arguments=tuple([one for one in self.arguments if one[0] != name]))


EXISTS = FieldRequest("__exists")
"""Asks whether the object is there at all."""

DEFERRED = FieldRequest("__later")
"""Below it stands what is asked of an object but may come after the rest of it."""

STREAMED_ROWS = "__rows_later"
"""Field of the ask, below a list, whose argument ``first`` tells how many rows must come before the rest."""


class Frozen(tuple[tuple[FieldRequest, Any], ...]):
    """A selection as a value that can be looked up, in one order: its hash is worked out once."""

    @cached_property
    def hash(self) -> int:
        return super().__hash__()

    @cached_property
    def length(self) -> int:
        """Characters of all arguments in it."""
        return sum(ask.length + below.length for ask, below in self)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class Selection(dict[FieldRequest, "Selection"]):
    """Asked fields, each with what is asked of its value; empty for leaves and where only ``__typename`` is asked.

    Not to be changed once it is made: it remembers what is worked out from it, for all who ask with it.
    """

    @classmethod
    def of(cls, asked: Mapping[FieldRequest, Any]) -> "Selection":
        """From mappings in each other."""
        return cls({ask: cls.of(below) for ask, below in asked.items()})

    @cached_property
    def frozen(self) -> Frozen:
        asks = sorted(self, key=lambda ask: (ask.field, repr(ask.arguments)))
        return Frozen((ask, self[ask].frozen) for ask in asks)

    @cached_property
    def existing(self) -> "Selection":
        """The same, and whether the object is there."""
        return Selection({EXISTS: NO_FIELDS, **self})

    def part(self, asks: "Mapping[FieldRequest, Selection]") -> "Selection":
        """Some of what is asked, in the same order; where it is all, this very selection."""
        if len(asks) == len(self):
            return self
        names = tuple(asks)
        found: Selection | None = self.known.get(names)
        if found is None:
            found = self.known[names] = Selection(asks)
        return found

    @cached_property
    def known(self) -> dict[Hashable, Any]:
        """What was worked out from it, by names."""
        return {}


NO_FIELDS = Selection()


def shared(selection: Selection) -> Selection:
    """The one selection of this value, for those who make theirs anew each time that they ask; one with long arguments
    is nobody else's."""
    return thawed(selection.frozen) if selection.frozen.length <= LONGEST else selection


@lru_cache(MOST)
def thawed(frozen: Frozen) -> Selection:
    return Selection({ask: thawed(below) if below else NO_FIELDS for ask, below in frozen})


def under(selection: Selection, *path: str) -> Selection:
    """The selection below a path of fields without arguments; empty where it was not asked for."""
    for name in path:
        selection = selection.get(FieldRequest(name), NO_FIELDS)
    return selection


def rows_now(selection: Selection) -> tuple[int | None, Selection]:
    """How many rows of a list must come before the rest, None for all of them; and what is asked of each row."""
    for ask in selection:
        if ask.field == STREAMED_ROWS:
            return ask.argument("first"), Selection({one: below for one, below in selection.items() if one is not ask})
    return None, selection
