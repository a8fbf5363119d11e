"""The root fields: how each one asks the catalog. Every way of executing an operation answers them with this table."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import strawberry
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from gateway.catalog.connections import listing
from gateway.catalog.ids import Ref, parse, spoken
from gateway.catalog.operation import Operation
from gateway.catalog.selection import Ask, Selection, under
from gateway.errors import BadInput, GatewayError, InvalidId
from gateway.graph.context import Context
from gateway.graph.selected import Chosen, current

MOST_IDS = 100


@dataclass(frozen=True, slots=True)
class Asking:
    """One root field of one operation: where it stands in the answer, and what is asked of it."""

    context: Context
    field: Chosen
    variables: VariableValues
    path: Path

    @property
    def operation(self) -> Operation:
        return self.context.operation

    @property
    def ask(self) -> Ask:
        """The field with its arguments. Raises `GraphQLError` for arguments that do not fit."""
        return self.field.ask(self.variables)

    def selection(self, type_name: str | None = None) -> Selection:
        """What is asked of its value; of an interface's value, as far as it concerns one type."""
        return self.field.selection(self.variables, type_name)


def answer(info: strawberry.Info[Any, Any]) -> Any:
    """The value of the root field that a resolver stands for."""
    field, variables = current(info)
    return ROOTS[field.name](Asking(info.context, field, variables, info.path))


def admitted(operation: Operation, text: str, entity: str | None = None) -> Ref:
    """The reference of a global id, checked before anything of it reaches a registry.

    Raises `InvalidId` for an id this graph cannot have given out, or of another type than expected.
    """
    ref = parse(text)
    registry = operation.registries.get(ref.registry)
    if registry is None:
        raise InvalidId(f"{spoken(text)} names a registry that this graph does not have.")
    registry.admit(ref)
    if entity not in (None, ref.entity):
        raise InvalidId(f"{spoken(text)} is the id of a {ref.entity}, not of a {entity}.")
    return ref


async def one(asking: Asking, entity: str | None = None) -> Any:
    """The object of a global id, null when there is none."""
    return await found(asking, asking.ask.argument("id"), entity)


async def several(asking: Asking) -> Any:
    """The objects of several global ids; an error takes the place of its own object only."""
    ids = asking.ask.argument("ids")
    if len(ids) > MOST_IDS:
        raise BadInput(f"`ids` may hold at most {MOST_IDS} ids, not {len(ids)}.")
    return await asyncio.gather(*(found_or_error(asking, text) for text in ids))


async def found(asking: Asking, text: str, entity: str | None = None) -> Any:
    ref = admitted(asking.operation, text, entity)
    return await asking.operation.entity(ref, asking.selection(ref.entity))


async def found_or_error(asking: Asking, text: str) -> Any:
    try:
        return await found(asking, text)
    except GatewayError as error:
        return error


async def many(asking: Asking, entity: str) -> Any:
    """A merged page of all registries. A failure that the client cannot see in its coverage becomes an error."""
    wanted = asking.selection()
    record, failures = await listing(asking.operation, entity, asking.ask, wanted)
    if not shows_state(wanted):
        asking.context.failures += [(asking.path, failure) for failure in failures]
    return record


def shows_state(wanted: Selection) -> bool:
    """Whether the client sees which registries a connection stands on."""
    return not wanted or Ask("state") in under(wanted, "coverage")


def configured(asking: Asking) -> Any:
    """The configured registries."""
    return [registry.record() for registry in asking.operation.registries.values()]


ROOTS: Mapping[str, Callable[[Asking], Any]] = {
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
