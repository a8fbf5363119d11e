"""How an answer comes about, as data: the calls that a plan foresees, and those that were made.

Nothing of it tells addresses, credentials or raw answers.
"""

from collections.abc import Mapping
from typing import Any

from gateway.catalog.cost import Cost
from gateway.catalog.operation import Operation
from gateway.catalog.plan import Bound
from gateway.errors import NotFound, QueryTooExpensive, RegistryError

TOLD = ("state", "seconds", "attempts")
"""What an answer tells of its way here."""


def planned(cost: Cost, allowed: int) -> Mapping[str, Any]:
    """The plan of an operation before it is executed, and what it costs."""
    return {"plan": [line._asdict() for line in cost], "cost": {"forecast": cost.calls, "allowed": allowed}}


def made(operation: Operation, cost: Cost) -> Mapping[str, Any]:
    """The calls of an executed operation, in the order in which they left, and what they came to."""
    calls = [call for bound in operation.answers if (call := told(operation, bound)) is not None]
    said = {"calls": len(calls), "forecast": cost.calls, "allowed": operation.bounds.calls}
    return {"calls": calls, "cost": said}


def told(operation: Operation, bound: Bound) -> Mapping[str, Any] | None:
    """One call: for what, and how it was answered; None for one that did not leave any more."""
    task = operation.answers[bound]
    call = {"registry": bound.registry, "call": bound.call.name, "keys": list(bound.keys)}
    if not task.done() or task.cancelled():
        return {**call, "state": "unanswered"}
    match task.exception():
        case None:
            answer = task.result()
            return {
                **call,
                "age": answer.age,
                **{name: getattr(answer, name) for name in TOLD if hasattr(answer, name)},
            }
        case QueryTooExpensive():
            return None
        case NotFound():
            return {**call, "state": "missing"}
        case RegistryError() as error:
            return {**call, "state": "failed", "code": error.code}
        case _:
            return {**call, "state": "failed"}
