"""How an answer comes about, as data: the calls that a plan foresees, and those that were made.

Nothing of it tells addresses, credentials or raw answers.
"""

from collections.abc import Mapping
from typing import Any

from gateway.catalog.cost import Cost
from gateway.catalog.operation import Operation
from gateway.catalog.plan import Bound
from gateway.telemetry.events import Call


def planned(cost: Cost, allowed: int) -> Mapping[str, Any]:
    """The plan of an operation before it is executed, and what it costs."""
    return {"plan": [line._asdict() for line in cost], "cost": {"forecast": cost.calls, "allowed": allowed}}


def made(operation: Operation, cost: Cost) -> Mapping[str, Any]:
    """The calls of an executed operation, in the order in which they left, and what they came to; times in
    milliseconds."""
    calls = [told(bound, call) for bound, call in zip(operation.answers, operation.calls, strict=False)]
    said = {"calls": len(calls), "forecast": cost.calls, "allowed": operation.bounds.calls}
    return {"calls": calls, "cost": said}


def told(bound: Bound, call: Call) -> Mapping[str, Any]:
    """One call: for what, and how it was answered."""
    how = {"state": call.state, "milliseconds": round(call.seconds * 1000, 3), "attempts": call.attempts}
    code = {} if call.code is None else {"code": call.code}
    return {"registry": call.registry, "call": call.name, "keys": list(bound.keys), **how, **code}
