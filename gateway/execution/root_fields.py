"""The root fields: how each one asks the catalog. Every way of executing an operation answers them with this table."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import strawberry
from graphql.pyutils import Path

from gateway.catalog.connections import listing
from gateway.catalog.course import Trip
from gateway.catalog.ids import Ref
from gateway.catalog.operation import Operation
from gateway.catalog.selection import FieldRequest, Selection, under
from gateway.errors import BadInput, GatewayError
from gateway.execution.context import OperationContext
from gateway.execution.entity_references import admitted, entities
from gateway.execution.selection import arguments, asked, selection
from gateway.schema.directives import KEYS


class Sought(NamedTuple):
    """The object of a global id, what is asked of it, and the short course to it, if there is one."""

    ref: Ref
    selection: Selection
    trip: Trip | None


class Posed(Protocol):
    """What is asked at one root field: the field with its arguments, the arguments as they were sent, and what is asked
    of its value (of an interface's or union's value as far as it concerns one type). Each raises `GraphQLError` where
    something does not fit. ``sought`` is the object of the global id among the arguments, of a type if one is expected;
    it raises `InvalidId`, too."""

    @property
    def ask(self) -> FieldRequest: ...

    @property
    def arguments(self) -> Mapping[str, Any]: ...

    def selection(self, type_name: str | None = None) -> Selection: ...

    def sought(self, operation: Operation, entity: str | None) -> Sought: ...


class Asking(NamedTuple):
    """One root field of one operation: where it stands in the answer, and what it asks."""

    context: OperationContext
    path: Path
    posed: Posed

    @property
    def operation(self) -> Operation:
        return self.context.operation


@dataclass(frozen=True, slots=True)
class Resolving:
    """What is asked at the field that a resolver stands for."""

    info: strawberry.Info[Any, Any]

    @property
    def ask(self) -> FieldRequest:
        return asked(self.info)

    @property
    def arguments(self) -> Mapping[str, Any]:
        return arguments(self.info)

    def selection(self, type_name: str | None = None) -> Selection:
        return selection(self.info, type_name)

    def sought(self, operation: Operation, entity: str | None) -> Sought:
        return sought(self, operation, entity)


async def answer(info: strawberry.Info[Any, Any]) -> Any:
    """The value of the root field that a resolver stands for."""
    return await ROOTS[info._raw_info.field_name](Asking(info.context, info.path, Resolving(info)))


def one(asking: Asking, entity: str | None = None) -> Awaitable[Any]:
    """The object of a global id, null when there is none."""
    return asking.operation.entity(*asking.posed.sought(asking.operation, entity))


def sought(posed: Posed, operation: Operation, entity: str | None) -> Sought:
    """The object of the global id that is asked for, checked before anything of it reaches a registry."""
    ref = admitted(operation.registries, posed.ask.argument("id"), entity)
    selection = posed.selection(ref.entity)
    return Sought(ref, selection, Trip.of(operation, ref, selection))


async def several(asking: Asking) -> Any:
    """The objects of several global ids; an error takes the place of its own object only."""
    ids = asking.posed.ask.argument("ids")
    most = asking.operation.bounds.ids
    if len(ids) > most:
        raise BadInput(f"`ids` may hold at most {most} ids, not {len(ids)}.")
    return await asyncio.gather(*[found_or_error(asking, text) for text in ids])


async def found_or_error(asking: Asking, text: str) -> Any:
    try:
        ref = admitted(asking.operation.registries, text)
        return await asking.operation.entity(ref, asking.posed.selection(ref.entity))
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
    return not wanted or FieldRequest("state") in under(wanted, "coverage")


async def configured(asking: Asking) -> Any:
    """The configured registries."""
    return [registry.record() for registry in asking.operation.registries.values()]


async def referred(asking: Asking) -> Any:
    """The objects that other subgraphs refer to."""
    selections = {name: asking.posed.selection(name) for name in KEYS}
    return await entities(asking.operation, asking.posed.arguments["representations"], selections)


ROOTS: Mapping[str, Callable[[Asking], Awaitable[Any]]] = {
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
"""What gives the value of each root field, once it is awaited: a record, or records."""
