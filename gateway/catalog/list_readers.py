"""Readers of registries' lists: a stream's own parameters, its share of a filter, raw rows as keys and references."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.catalog.bounds import Bounds
from gateway.catalog.cursors import Cursor, Question
from gateway.catalog.filters import Filter, Sieve, checked, moments, sieve
from gateway.catalog.ids import Ref
from gateway.catalog.merge import Page, Reader, Row
from gateway.catalog.orders import Order
from gateway.catalog.plan import Bound, told
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import LONGEST, FieldRequest, Selection
from gateway.catalog.told import Told
from gateway.errors import BadInput, NotFound, RegistryError, RegistryRejected
from gateway.registries.fields import EntityLayout, Field, Rows
from gateway.registries.kind import Call, EntityInAnswer, Kind, Stream

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation

NEED_ROWS = ("nodes", "edges", "total_count", "coverage")
DEFAULT_SIZE, LARGEST_SIZE = 20, 100

MOST_ASKED: Final = 1000
"""Arguments of lists that are remembered with what they mean."""

IN_A_ROW = Call(name="", service="", path="")
"""Stands for the call of versions that a list told: whole, in no order."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A list as it is read: its name for cursors, its call, the field of its rows, and how to get a page: what it is,
    and what its rows tell."""

    name: str
    call: Call
    field: Field
    read: Callable[[int], Awaitable[tuple[Rows, Told]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one connection."""

    question: Question
    size: int
    start: Cursor | None
    wanted: Mapping[str, Any]
    selection: Selection

    @classmethod
    def of(
        cls, listed: str, ask: FieldRequest, selection: Selection, registries: Mapping[str, Registry], most: int
    ) -> "Asked":
        """From a field's arguments. Raises `BadInput` for a size of more rows than ``most``, for a filter or order that
        makes no sense, and `InvalidCursor`."""
        after = ask.argument("after")
        lasting = ask if after is None else ask.without("after")  # a cursor comes once, and may be long
        meant = arguments if lasting.length <= LONGEST else arguments.__wrapped__
        size, filtered, wanted, order = meant(lasting, tuple(registries), most)
        question = Question(f"{listed} {filtered}", order)
        return cls(question, size, None if after is None else question.decode(after), wanted, selection)

    @property
    def needs_rows(self) -> bool:
        """Whether anything but type names is asked."""
        return any(below or ask.field in NEED_ROWS for ask, below in self.selection.items())

    def empty(self) -> Record:
        """A connection of which only type names are asked."""
        return {ask.key: {} for ask in self.selection}


@lru_cache(MOST_ASKED)
def arguments(ask: FieldRequest, registries: tuple[str, ...], most: int) -> tuple[int, str, Filter, Order]:
    """The arguments of a list, but for its cursor: its size, filter in one spelling and as what is wanted, and order.
    Raises `BadInput`."""
    size = ask.argument("first")
    if not 1 <= size <= most:
        raise BadInput(f"`first` must be between 1 and {most}, not {size}.")
    frozen = ask.argument("filter") or ()
    by = dict(ask.argument("order_by") or ())
    order = Order(by["field"].lower(), by["direction"] == "DESC") if by else Order()
    return size, repr(frozen), checked(frozen, registries), order


def stream_reader(operation: "Operation", registry: Registry, stream: Stream, asked: Asked) -> Reader | None:
    """The reader of one of a registry's lists; None when nothing in it can pass the filter."""
    sifted = sieve(registry.kind, stream.entity, stream.call, stream.facts, asked.wanted)
    if sifted.impossible:
        return None
    call = stream.call
    rows, order = call.rows, asked.question.order
    assert rows is not None
    shape = rows.shape
    assert shape is not None
    bound = first_call(registry.name, stream, sifted, asked)
    markers: dict[int, int | str | None] = {1: 1}

    async def read(number: int) -> tuple[Rows, Told]:
        marked = call.paging is not None and call.paging.marked
        try:
            answer = await operation.answer(bound._replace(page=markers[number] if marked else number))
        except NotFound as error:  # an object may not be there, a list always is
            raise RegistryRejected(registry.name, vendor_code=error.vendor_code, request_id=error.request_id) from None
        found, told = Told.by(answer, registry, rows, shape, order)
        markers[number + 1] = found.next
        operation.learn_page(told)
        return found, told

    listed = Listed(f"{registry.name}/{stream.name}", call, rows, read)
    return reader(operation, registry, listed, sifted, asked)


def first_call(registry: str, stream: Stream, sifted: Sieve, asked: Asked) -> Bound:
    """The call for a stream's first page."""
    ordered = order_parameters(stream.call, asked.question.order)
    parameters = {**dict(stream.fixed), **ordered, **dict(sifted.parameters)}
    return Bound(registry, stream.call, (), tuple(sorted(parameters.items())))


def versions_reader(
    operation: "Operation", registry: Registry, ref: Ref, field: Field, first: Rows | None, asked: Asked
) -> Reader | None:
    """The reader of an object's versions; None when none can pass the filter."""
    call, part = teller(registry.kind, field)
    sifted = sieve(registry.kind, ref.version("").entity, call, {}, asked.wanted)
    if sifted.impossible:
        return None
    parameters = sifted.parameters if first is None else ()
    shape = field.shape
    assert shape is not None
    bound = Bound(ref.registry, call, call.keys(ref.keys), parameters)

    async def read(number: int) -> tuple[Rows, Told]:
        rows = first if number == 1 and first is not None else await rows_of(number)
        name = partial(operation.learn_child, ref, shape)
        return rows, Told.of(registry.kind, shape, asked.question.order, rows.items, name)

    async def rows_of(number: int) -> Rows:
        answer = None if part is None else await operation.answer(bound._replace(page=number))
        located = None if part is None or answer is None else part.locate(answer.document, ref.keys)
        return field.read(located) if located is not None else Rows([], 0)

    return reader(operation, registry, Listed(registry.name, call, field, read), sifted, asked)


def teller(kind: Kind, field: Field) -> tuple[Call, EntityInAnswer | None]:
    """The call whose answer has this list of versions, and where; a list's row that has it whole needs none."""
    for call in kind.calls:
        for part in call.parts:
            if part.shape.fields.get("versions") is field:
                return call, part
    return IN_A_ROW, None


def reader(operation: "Operation", registry: Registry, listed: Listed, sifted: Sieve, asked: Asked) -> Reader:
    """The reader of a list: raw rows become keys and references, and are tested where the filter asks for it."""
    shape, call, order = listed.field.shape, listed.call, asked.question.order
    assert shape is not None
    needs = sifted.needs
    reach = reach_of(operation.bounds, registry.kind, shape, call, sifted, order)

    async def ask(number: int) -> Page:
        rows, page = await listed.read(number)
        keyed = page.rows
        more = bool(rows.items) and follows(call, rows, number) and not beyond(keyed[-1:], asked, reach.native)
        passing: Sequence[Row] = keyed
        if needs:
            records, known = await operation.records([ref for _, ref in keyed], needs)
            for record in () if known else records:
                raise_failure(record)
            passes = sifted.passing()
            passing = [row for row, record in zip(keyed, records, strict=True) if passes(record)]
        ends = (keyed[0][0], keyed[-1][0]) if keyed else None
        return Page(passing, ends, len(rows.items), rows.total, more and ends is not None)

    return Reader(
        registry.name,
        listed.name,
        ask,
        sorted=reach.native,
        bound=reach.rows,
        keyless=order.field not in shape.fields,
        lazy=reach.dear,
        exact=sifted.exact,
    )


class Reach(NamedTuple):
    """How far a list is read: whether it comes in the wanted order, whether a row costs calls of its own before it is
    known to pass, and how many rows are read at most; one that is neither sorted nor filtered here ends with its
    page of the merge."""

    native: bool
    dear: bool
    rows: int


def reach_of(bounds: Bounds, kind: Kind, shape: EntityLayout, call: Call, sifted: Sieve, order: Order) -> Reach:
    """How far a list of rows of this form is read."""
    native = (order.field, order.falling) in call.orders
    dear = not all(told(kind, shape, ask, below) for ask, below in sifted.needs.items())
    searched = bool(sifted.tests) or not native
    most = bounds.detail_rows if dear else bounds.rows
    return Reach(native, dear, most if searched else max(most, 2 * LARGEST_SIZE))


def order_parameters(call: Call, order: Order) -> Mapping[str, Any]:
    """The parameters that make a list come in an order, or in any of those it can."""
    native = call.orders.get((order.field, order.falling))
    return native if native is not None else next(iter(call.orders.values()), {})


def follows(call: Call, rows: Rows, number: int) -> bool:
    """Whether a page is not the last one."""
    if call.paging is None:
        return False
    if call.paging.marked:
        return rows.next is not None
    if rows.total is None:
        return len(rows.items) >= call.paging.rows
    return number * call.paging.rows < rows.total


def beyond(last: Sequence[tuple[Any, Ref]], asked: Asked, native: bool) -> bool:
    """Whether a list that comes in the order of creation has left the range that is asked for."""
    order = asked.question.order
    if not native or order.field != "created_at" or "created_at" not in asked.wanted or not last:
        return False
    start, end = moments(asked.wanted["created_at"])
    limit = start if order.falling else end
    return limit is not None and last[0][0][:2] > order.key_of(limit.isoformat(), "")[:2]


def raise_failure(record: Record) -> None:
    """Raise the failure that kept a row's fields from being known."""
    for value in record.values():
        if isinstance(value, RegistryError):
            raise value
        if isinstance(value, dict):
            raise_failure(value)
