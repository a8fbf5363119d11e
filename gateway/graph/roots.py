"""The root fields: how each one asks the catalog. Every way of executing an operation answers them with this table."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple, Protocol, cast

import strawberry
from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type, is_abstract_type
from graphql.pyutils import Path

from gateway.begun import together
from gateway.catalog.basis import Basis, Key
from gateway.catalog.bounds import Bounds
from gateway.catalog.connections import listing
from gateway.catalog.operation import Operation
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Ask, Selection, shared, under
from gateway.errors import BadInput, GatewayError
from gateway.graph.context import Context
from gateway.graph.directives import KEYS
from gateway.graph.entities import admitted, entities
from gateway.graph.findings import Finding
from gateway.graph.selected import arguments, asked, selection
from gateway.graph.ways import Way


class Posed(Protocol):
    """What is asked at one root field: the field with its arguments, the arguments as they were sent, and what is asked
    of its value (of an interface's or union's value as far as it concerns one type). Each raises `GraphQLError` where
    something does not fit."""

    @property
    def ask(self) -> Ask: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    def selection(self, type_name: str | None = None) -> Selection: ...


class Asking(NamedTuple):
    """One root field of one operation: where it stands in the answer, and what it asks."""

    context: Context
    path: Path
    posed: Posed

    @property
    def operation(self) -> Operation:
        return self.context.operation


@dataclass(frozen=True, slots=True)
class Resolving:
    """What is asked at the field that a resolver stands for; what was worked out for it before is known in the ``way``
    of its operation."""

    info: strawberry.Info[Any, Any]
    way: Way

    @property
    def ask(self) -> Ask:
        return asked(self.info)

    @property
    def arguments(self) -> Mapping[str, Any]:
        return arguments(self.info)

    def selection(self, type_name: str | None = None) -> Selection:
        known, key = self.way.selections, (id(self.info._raw_info.field_nodes[0]), type_name)
        if key not in known:
            known[key] = shared(selection(self.info, type_name))
        return known[key]


async def answer(info: strawberry.Info[Any, Any]) -> Any:
    """The value of the root field that a resolver stands for."""
    context: Context = info.context
    raw = info._raw_info
    way = context.ways.of(raw.operation, raw.fragments, cast(dict[str, Any], raw.variable_values))
    asking = Asking(context, info.path, Resolving(info, way))
    key = (
        None
        if context.findings is None
        else key_of(raw.field_name, asking.posed, types(raw), asking.operation.registries, asking.operation.bounds)
    )
    return await find(raw.field_name, asking, key, alone=way.alone)


def types(info: GraphQLResolveInfo[Any]) -> Sequence[GraphQLObjectType]:
    """The types of object that the value of a root field can have."""
    named = get_named_type(info.return_type)
    return info.schema.get_possible_types(named) if is_abstract_type(named) else [cast(GraphQLObjectType, named)]


def key_of(
    name: str, posed: Posed, types: Iterable[GraphQLObjectType], registries: Mapping[str, Registry], bounds: Bounds
) -> Key:
    """Names what a root field finds: what is asked, and of whom. Registries are told apart by identity."""
    asked = tuple([posed.selection(one.name).frozen for one in types])
    return Key(name, posed.ask, asked, tuple(map(id, registries.values())), bounds)


async def find(name: str, asking: Asking, key: Key | None, *, alone: bool) -> Any:
    """The value of a root field: what was found before under the ``key``, or what the catalog finds now. Raises what
    keeps it from being found. ``alone`` says that the operation asks the catalog nothing else."""
    findings, operation = asking.context.findings, asking.operation
    if findings is not None and key is not None:
        before = findings.find(key, operation.wanted)
        if before is not None:
            operation.reuse(before.basis)
            return before.value
    value = ROOTS[name](asking)
    if isawaitable(value):
        value = await value
    if findings is not None and key is not None and alone and not operation.partial:
        basis = Basis.of(operation)
        if basis is not None:
            findings.keep(key, Finding(value, basis))
    return value


def one(asking: Asking, entity: str | None = None) -> Awaitable[Any]:
    """The object of a global id, null when there is none."""
    return found(asking, asking.posed.ask.argument("id"), entity)


async def several(asking: Asking) -> Any:
    """The objects of several global ids; an error takes the place of its own object only."""
    ids = asking.posed.ask.argument("ids")
    most = asking.operation.bounds.ids
    if len(ids) > most:
        raise BadInput(f"`ids` may hold at most {most} ids, not {len(ids)}.")
    return await together(found_or_error(asking, text) for text in ids)


def found(asking: Asking, text: str, entity: str | None = None) -> Awaitable[Any]:
    ref = admitted(asking.operation.registries, text, entity)
    return asking.operation.entity(ref, asking.posed.selection(ref.entity))


async def found_or_error(asking: Asking, text: str) -> Any:
    try:
        return await found(asking, text)
    except GatewayError as error:
        return error


async def many(asking: Asking, entity: str) -> Any:
    """A merged page of all registries. A failure that the client cannot see in its coverage becomes an error."""
    wanted = asking.posed.selection()
    record, failures = await listing(asking.operation, entity, asking.posed.ask, wanted)
    if not shows_state(wanted):
        asking.context.failures += [(asking.path, failure) for failure in failures]
    return record


def shows_state(wanted: Selection) -> bool:
    """Whether the client sees which registries a connection stands on."""
    return not wanted or Ask("state") in under(wanted, "coverage")


def configured(asking: Asking) -> Any:
    """The configured registries."""
    return [registry.record() for registry in asking.operation.registries.values()]


async def referred(asking: Asking) -> Any:
    """The objects that other subgraphs refer to."""
    selections = {name: asking.posed.selection(name) for name in KEYS}
    return await entities(asking.operation, asking.posed.arguments["representations"], selections)


ROOTS: Mapping[str, Callable[[Asking], Any]] = {
    "_entities": referred,
    "algorithm": partial(one, entity="Algorithm"),
    "algorithmVersion": partial(one, entity="AlgorithmVersion"),
    "algorithms": partial(many, entity="Algorithm"),
    "model": partial(one, entity="Model"),
    "modelVersion": partial(one, entity="ModelVersion"),
    "models": partial(many, entity="Model"),
    "node": one,
    "nodes": several,
    "registries": configured,
}
"""What gives the value of each root field: a record, records, or an awaitable of them."""
