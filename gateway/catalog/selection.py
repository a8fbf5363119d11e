"""What an operation selects of one object, without GraphQL's spelling: no aliases, fragments or directives."""

from collections.abc import Hashable, Mapping
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

CACHED_SELECTIONS: Final = 1_000
"""Interned selections, nested ones included."""

LONGEST_ARGUMENTS: Final = 10_000
"""Characters that the arguments of an interned selection may have: clients choose their length."""

TEMPLATE: Final = "$"
"""Name of the only argument of a request whose arguments depend on variables; its value is their source text."""


class FieldRequest(NamedTuple):
    """One requested field with its arguments: name and value pairs, sorted by name, hashable.

    Where the arguments depend on variables, the request is a *template*: plans and records use it as it is, and
    `Bindings` gives the values for one operation.
    """

    field: str
    arguments: tuple[tuple[str, Hashable], ...] = ()

    @property
    def key(self) -> "str | FieldRequest":
        """Where a record holds the value: plain fields under their name, fields with arguments under the request."""
        return self if self.arguments else self.field

    @property
    def is_template(self) -> bool:
        return bool(self.arguments) and self.arguments[0][0] == TEMPLATE

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
        """The same request without one argument."""
        return self._replace(arguments=tuple([one for one in self.arguments if one[0] != name]))


Bindings = Mapping[FieldRequest, FieldRequest]
"""For each template of an operation the request with the values of the operation's variables."""

EXISTS = FieldRequest("__exists")
"""Requests whether the object exists."""

DEFERRED = FieldRequest("__deferred")
"""Its sub-selection is what ``@defer`` lets come after the rest of the object."""

STREAMED_ROWS = "__streamed_rows"
"""Field of the request, below a list, whose argument ``first`` is the number of rows to deliver before the rest."""


class Frozen(tuple[tuple[FieldRequest, Any], ...]):
    """A selection as a hashable value in one order; it computes its hash once."""

    @cached_property
    def hash(self) -> int:
        return super().__hash__()

    @cached_property
    def length(self) -> int:
        """Characters of all arguments in it."""
        return sum(request.length + below.length for request, below in self)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class Selection(dict[FieldRequest, "Selection"]):
    """Requested fields, each with its sub-selection; empty for leaves and where only ``__typename`` is requested.

    Immutable by convention. Plans that were made for it are cached in ``plans``.
    """

    @classmethod
    def of(cls, requests: Mapping[FieldRequest, Any]) -> "Selection":
        """From nested mappings."""
        return cls({request: cls.of(below) for request, below in requests.items()})

    @cached_property
    def frozen(self) -> Frozen:
        requests = sorted(self, key=lambda request: (request.field, repr(request.arguments)))
        return Frozen((request, self[request].frozen) for request in requests)

    @cached_property
    def with_existence(self) -> "Selection":
        """The same fields, and whether the object exists."""
        return Selection({EXISTS: NO_FIELDS, **self})

    def part(self, requests: "Mapping[FieldRequest, Selection]") -> "Selection":
        """Some of the fields, in the same order; this very selection where these are all."""
        if len(requests) == len(self):
            return self
        names = tuple(requests)
        found: Selection | None = self.plans.get(names)
        if found is None:
            found = self.plans[names] = Selection(requests)
        return found

    @cached_property
    def plans(self) -> dict[Hashable, Any]:
        """Plans and readers made for this selection, by what else they depend on."""
        return {}


NO_FIELDS = Selection()


def intern(selection: Selection) -> Selection:
    """The one selection of this value, so that documents that select the same share plans and readers."""
    return interned(selection.frozen) if selection.frozen.length <= LONGEST_ARGUMENTS else selection


@lru_cache(CACHED_SELECTIONS)
def interned(frozen: Frozen) -> Selection:
    return Selection({request: interned(below) if below else NO_FIELDS for request, below in frozen})


def sub_selection(selection: Selection, *path: str) -> Selection:
    """The selection below a path of fields without arguments; empty where it was not requested."""
    for name in path:
        selection = selection.get(FieldRequest(name), NO_FIELDS)
    return selection


def initial_rows(selection: Selection) -> tuple[int | None, Selection]:
    """How many rows of a list to deliver before the rest, None for all of them; and the selection of each row."""
    for request in selection:
        if request.field == STREAMED_ROWS:
            return request.argument("first"), Selection(
                {one: below for one, below in selection.items() if one is not request}
            )
    return None, selection
