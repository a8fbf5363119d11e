"""Pages of objects as Relay connections: which streams take part, one merged page, and how complete it is."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from gateway.catalog.cursors import Cursor, Question
from gateway.catalog.filters import Sieve, checked, moments, sieve
from gateway.catalog.ids import Ref
from gateway.catalog.order import Order
from gateway.catalog.plan import Bound, told
from gateway.catalog.registry import Registry, error_record
from gateway.catalog.selection import Ask, Selection, under
from gateway.catalog.streams import Page, Reader, merge
from gateway.errors import BadInput, NoRegistryAnswered, NotFound, RegistryError
from gateway.registries.fields import Field, Raw, Rows, Shape
from gateway.registries.kind import Call, Kind, Part, Stream

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation, Record

NEED_ROWS = ("nodes", "edges", "total_count", "coverage")
DEFAULT_SIZE, LARGEST_SIZE = 20, 100

IN_A_ROW = Call(name="", service="", path="")
"""Stands for the call of versions that a list told: whole, in no order."""

Learn = Callable[[Shape, Raw], Ref | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one connection."""

    question: Question
    size: int
    start: Cursor | None
    wanted: Mapping[str, Any]
    selection: Selection

    @classmethod
    def of(cls, listed: str, ask: Ask, selection: Selection, registries: Mapping[str, Registry]) -> "Asked":
        """From a field's arguments. Raises `BadInput` for a size, filter or order that makes no sense, and
        `InvalidCursor`."""
        size, after = ask.argument("first"), ask.argument("after")
        if not 1 <= size <= LARGEST_SIZE:
            raise BadInput(f"`first` must be between 1 and {LARGEST_SIZE}, not {size}.")
        frozen = ask.argument("filter") or ()
        wanted = checked(frozen, registries)
        by = dict(ask.argument("order_by") or ())
        order = Order(by["field"].lower(), by["direction"] == "DESC") if by else Order()
        question = Question(f"{listed} {frozen!r}", order)
        return cls(question, size, None if after is None else question.decode(after), wanted, selection)

    @property
    def needs_rows(self) -> bool:
        """Whether anything but type names is asked."""
        return any(below or ask.field in NEED_ROWS for ask, below in self.selection.items())

    def empty(self) -> "Record":
        """A connection of which only type names are asked."""
        return {ask.key: {} for ask in self.selection}


async def listing(
    operation: "Operation", entity: str, ask: Ask, selection: Selection
) -> tuple["Record", list[RegistryError]]:
    """One merged page of all registries' objects of a type, and what failed on the way.

    Raises `BadInput` and `InvalidCursor` for arguments that make no sense, `NoRegistryAnswered` when all failed.
    """
    asked = Asked.of(entity, ask, selection, operation.registries)
    if not asked.needs_rows:
        return asked.empty(), []
    readers: dict[str, list[Reader]] = {}
    for registry in operation.registries.values():
        if takes_part(registry, asked.wanted):
            for stream in registry.kind.streams:
                if stream.entity == entity:
                    readers.setdefault(registry.name, [])
                    reader = stream_reader(operation, registry, stream, asked)
                    readers[registry.name] += [] if reader is None else [reader]
    record = await page(operation, readers, asked)
    flat = [reader for own in readers.values() for reader in own]
    failures = {reader.registry: reader.error for reader in flat if reader.error is not None}
    if flat and all(reader.error is not None for reader in flat):
        raise NoRegistryAnswered(failures)
    return record, list(failures.values())


def takes_part(registry: Registry, wanted: Mapping[str, Any]) -> bool:
    """Whether a registry is among those that the filter names."""
    return registry.name in wanted.get("registries", (registry.name,)) and registry.kind.name in wanted.get(
        "kinds", (registry.kind.name,)
    )


def stream_reader(operation: "Operation", registry: Registry, stream: Stream, asked: Asked) -> Reader | None:
    """The reader of one of a registry's lists; None when nothing in it can pass the filter."""
    sifted = sieve(registry.kind, stream.entity, stream.call, stream.facts, asked.wanted)
    if sifted.impossible:
        return None
    call = stream.call
    rows = call.rows
    assert rows is not None
    parameters = {**dict(stream.fixed), **order_parameters(call, asked.question.order), **dict(sifted.parameters)}
    bound = Bound(registry.name, call, (), tuple(sorted(parameters.items())))
    markers: dict[int, int | str | None] = {1: 1}

    async def read(number: int) -> Rows:
        marked = call.paging is not None and call.paging.marked
        document = await operation.ask(bound._replace(page=markers[number] if marked else number))
        found: Rows = rows.read(document)
        markers[number + 1] = found.next
        return found

    name = f"{registry.name}/{stream.name}"
    return reader(
        operation, registry, name, call, rows, read, sifted, asked, partial(operation.learn_row, registry.name)
    )


def filtering(kind: Kind, ref: Ref, ask: Ask) -> Field | None:
    """The list of versions of a call that applies some of what is asked for itself, if there is one."""
    names = {name for name, _ in ask.argument("filter") or ()}
    for call in kind.calls:
        for part in call.parts:
            if part.shape.entity == ref.entity and names & call.filters.keys():
                return part.shape.fields.get("versions")
    return None


def teller(kind: Kind, field: Field) -> tuple[Call, Part | None]:
    """The call whose answer has this list of versions, and where; a list's row that has it whole needs none."""
    for call in kind.calls:
        for part in call.parts:
            if part.shape.fields.get("versions") is field:
                return call, part
    return IN_A_ROW, None


async def put_versions(
    operation: "Operation", record: "Record", ask: Ask, ref: Ref, field: Field, first: Rows | None, selection: Selection
) -> None:
    """Put a page of an object's versions into its record; ``first`` are those that an answer told, unfiltered."""
    try:
        asked = Asked.of(f"versions of {ref}", ask, selection, operation.registries)
    except BadInput as error:
        record[ask.key] = error
        return
    if not asked.needs_rows:
        record[ask.key] = asked.empty()
        return
    registry = operation.registries[ref.registry]
    call, part = teller(registry.kind, field)
    sifted = sieve(registry.kind, ref.version("").entity, call, {}, asked.wanted)
    parameters = sifted.parameters if first is None else ()
    bound = Bound(ref.registry, call, tuple(ref.keys[i] for i in call.takes), parameters)

    async def read(number: int) -> Rows:
        if number == 1 and first is not None:
            return first
        located = None if part is None else part.locate(await operation.ask(bound._replace(page=number)), ref.keys)
        return field.read(located) if located is not None else Rows([], 0)

    readers = []
    if not sifted.impossible:
        readers.append(
            reader(
                operation,
                registry,
                registry.name,
                call,
                field,
                read,
                sifted,
                asked,
                partial(operation.learn_child, ref),
            )
        )
    filled = await page(operation, {registry.name: readers}, asked)
    failed = next((one.error for one in readers if one.error is not None), None)
    record[ask.key] = filled if failed is None else None if isinstance(failed, NotFound) else failed


def reader(
    operation: "Operation",
    registry: Registry,
    name: str,
    call: Call,
    field: Field,
    read: Callable[[int], Awaitable[Rows]],
    sifted: Sieve,
    asked: Asked,
    learn: Learn,
) -> Reader:
    """The reader of a list: raw rows become keys and references, and are tested where the filter asks for it."""
    shape, order = field.shape, asked.question.order
    assert shape is not None
    needs = sifted.needs
    dear = not all(told(registry.kind, shape, ask, below) for ask, below in needs.items())

    async def ask(number: int) -> Page:
        rows = await read(number)
        keyed = [(order.key(ref, shape, raw), ref) for raw in rows.items if (ref := learn(shape, raw)) is not None]
        more = bool(rows.items) and follows(call, rows, number) and not beyond(keyed[-1:], asked, native)
        passing = keyed
        if needs:
            records: list[Record] = [{} for _ in keyed]
            await operation.fill([(record, ref, needs) for record, (_, ref) in zip(records, keyed, strict=True)])
            for record in records:
                raise_failure(record)
            passing = [row for row, record in zip(keyed, records, strict=True) if sifted.passes(record)]
        ends = (keyed[0][0], keyed[-1][0]) if keyed else None
        return Page(passing, ends, len(rows.items), rows.total, more and ends is not None)

    native = (order.field, order.falling) in call.orders
    return Reader(
        registry.name,
        name,
        ask,
        sorted=native,
        bound=operation.bounds.detail_rows if dear else operation.bounds.rows,
        keyless=order.field not in shape.fields,
        lazy=dear,
        exact=sifted.exact,
    )


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


def raise_failure(record: "Record") -> None:
    """Raise the failure that kept a row's fields from being known."""
    for value in record.values():
        if isinstance(value, RegistryError):
            raise value
        if isinstance(value, dict):
            raise_failure(value)


async def page(operation: "Operation", readers: Mapping[str, list[Reader]], asked: Asked) -> "Record":
    """The connection record of one merged page."""
    flat = [reader for own in readers.values() for reader in own]
    if asked.start is not None:
        for one in flat:
            one.start(asked.start)
    rows, more = await merge(flat, asked.size)
    nodes: list[Record] = [{} for _ in rows]
    ends: list[Record] = [{} for _ in rows]
    wanted = []
    for records, below in (
        (nodes, asked.selection.get(Ask("nodes"))),
        (ends, under(asked.selection, "edges").get(Ask("node"))),
    ):
        if below is not None:
            wanted += [(record, ref, below) for record, ((_, ref), _) in zip(records, rows, strict=True)]
    await operation.fill(wanted)
    spelled = [asked.question.encode(cursor) for _, cursor in rows] if asks_cursors(asked.selection) else []
    return {
        "nodes": nodes,
        "edges": [{"node": node, "cursor": text} for node, text in zip_longest(ends, spelled)],
        "page_info": {
            "has_next_page": more,
            "has_previous_page": asked.start is not None,
            "start_cursor": next(iter(spelled), None),
            "end_cursor": next(reversed(spelled), None),
        },
        "total_count": counted(flat),
        "coverage": [
            {"registry": operation.registries[name].record(), **coverage(own)} for name, own in readers.items()
        ],
    }


def asks_cursors(selection: Selection) -> bool:
    info = under(selection, "page_info")
    return bool({Ask("start_cursor"), Ask("end_cursor")} & info.keys() or Ask("cursor") in under(selection, "edges"))


def counted(readers: Sequence[Reader]) -> int | None:
    """How many rows there are in all, None unless every stream counts exactly."""
    counts = [reader.total for reader in readers]
    return None if None in counts else sum(count for count in counts if count is not None)


def coverage(readers: Sequence[Reader]) -> Mapping[str, Any]:
    """How much of a registry a page stands on."""
    failed = [reader.error for reader in readers if reader.error is not None]
    state = "COMPLETE"
    if failed or any(reader.cut for reader in readers):
        state = "UNAVAILABLE" if len(failed) == len(readers) else "PARTIAL"
    return {
        "state": state,
        "total_count": counted(readers),
        "rows_read": sum(reader.read for reader in readers),
        "age": None if state == "UNAVAILABLE" else 0.0,
        "error": error_record(failed[0]) if failed else None,
    }
