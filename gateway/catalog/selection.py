"""Selections: the fields that an operation requests of one object, independent of aliases, fragments and directives."""

from collections.abc import Hashable, Mapping
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

CACHED_SELECTIONS: Final = 500
"""The number of interned selections to cache, nested ones included."""

MAX_ARGUMENTS_LENGTH: Final = 1_000
"""The maximum length of all arguments in an interned selection, in characters. Clients choose their length."""

TEMPLATE: Final = "$"
"""The name of the argument that represents all but the planned arguments of a template. Its value is their text."""


class FieldRequest(NamedTuple):
    """One requested field with its arguments: name and value pairs, sorted by name, hashable.

    A request whose arguments depend on variables is a *template*. Plans and records use the template, and `Bindings`
    contain the request with the values of one operation.
    """

    field: str
    arguments: tuple[tuple[str, Hashable], ...] = ()

    @property
    def key(self) -> "str | FieldRequest":
        """The key of the value in a record: the name, or the request itself for a field with arguments."""
        return self if self.arguments else self.field

    @property
    def is_template(self) -> bool:
        return bool(self.arguments) and self.arguments[0][0] == TEMPLATE

    @property
    def length(self) -> int:
        """The length of the arguments, in characters."""
        return len(repr(self.arguments)) if self.arguments else 0

    def argument(self, name: str) -> Any:
        for argument, value in self.arguments:
            if argument == name:
                return value
        return None

    def without(self, name: str) -> "FieldRequest":
        """Return the same request without one argument."""
        return self._replace(arguments=tuple([argument for argument in self.arguments if argument[0] != name]))


Bindings = dict[FieldRequest, FieldRequest]
"""The requests of one operation with the values of its variables, by template."""

EXISTS = FieldRequest("__exists")
"""Requests whether the object exists."""

DEFERRED = FieldRequest("__deferred")
"""Requests the fields that ``@defer`` allows to deliver later. They are its sub-selection."""

STREAMED_ROWS = "__streamed_rows"
"""The name of a request below a streamed list. Its argument ``first`` is the number of rows to deliver immediately."""


class Frozen(tuple[tuple[FieldRequest, Any], ...]):
    """A selection as a sorted, hashable value. It computes its hash once."""

    @cached_property
    def hash(self) -> int:
        return super().__hash__()

    @cached_property
    def length(self) -> int:
        """The length of all arguments in it, in characters."""
        return sum(request.length + below.length for request, below in self)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class Selection(dict[FieldRequest, "Selection"]):
    """Requested fields, each with its sub-selection. Leaves have an empty one, as do objects with only ``__typename``.

    Immutable by convention. ``plans`` caches the plans for it.
    """

    @classmethod
    def of(cls, requests: Mapping[FieldRequest, Any]) -> "Selection":
        """Convert nested mappings."""
        return cls({request: cls.of(below) for request, below in requests.items()})

    @cached_property
    def frozen(self) -> Frozen:
        requests = sorted(self, key=lambda request: (request.field, repr(request.arguments)))
        return Frozen((request, self[request].frozen) for request in requests)

    @cached_property
    def fields(self) -> int:
        """The number of fields, nested ones included."""
        return sum(1 + below.fields for below in self.values())

    @cached_property
    def with_existence(self) -> "Selection":
        """The same fields and `EXISTS`."""
        return Selection({EXISTS: NO_FIELDS, **self})

    @cached_property
    def templates(self) -> tuple[FieldRequest, ...]:
        """The requests whose arguments depend on variables, nested ones included."""
        own = tuple(request for request in self if request.is_template)
        return sum((below.templates for below in self.values()), own)

    def has(self, *names: str) -> bool:
        """Whether a field with one of the names is requested, here or below."""
        return any(request.field in names or below.has(*names) for request, below in self.items())

    def part(self, requests: "Mapping[FieldRequest, Selection]") -> "Selection":
        """Return the selection of some of the fields; ``self`` if these are all."""
        if len(requests) == len(self):
            return self
        names = tuple(requests)
        part: Selection | None = self.plans.get(names)
        if part is None:
            part = self.plans[names] = Selection(requests)
        return part

    @cached_property
    def plans(self) -> dict[Hashable, Any]:
        """The cached plans and readers for this selection, by all else that they depend on."""
        return {}


NO_FIELDS = Selection()


def intern(selection: Selection) -> Selection:
    """Return the shared instance of a selection, so that equal selections share plans and readers."""
    return interned(selection.frozen) if selection.frozen.length <= MAX_ARGUMENTS_LENGTH else selection


@lru_cache(CACHED_SELECTIONS)
def interned(frozen: Frozen) -> Selection:
    return Selection({request: interned(below) if below else NO_FIELDS for request, below in frozen})


def sub_selection(selection: Selection, *path: str) -> Selection:
    """Return the selection below a path of fields without arguments, an empty one if it was not requested."""
    for name in path:
        selection = selection.get(FieldRequest(name), NO_FIELDS)
    return selection


def initial_rows(selection: Selection) -> tuple[int | None, Selection]:
    """Return the number of rows to deliver immediately, None for all, and the selection of each row."""
    for request in selection:
        if request.field == STREAMED_ROWS:
            rows = {field: below for field, below in selection.items() if field is not request}
            return request.argument("first"), Selection(rows)
    return None, selection


def to_camel_case(name: str) -> str:
    """Convert the name of a field or argument to its name in the schema."""
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))
