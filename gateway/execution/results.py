"""What comes of operations: responses as JSON, refusals among them, and what they were made of."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from graphql import GraphQLError

from gateway.catalog.operation import Operation
from gateway.errors import GatewayError
from gateway.execution.context import OperationContext
from gateway.execution.error_codes import assign_error_code
from gateway.telemetry.events import State
from gateway.telemetry.operation_log import OperationReport


class Result(NamedTuple):
    """What came of an operation: the response as JSON, the codes of its errors, and what it was made of.

    Without an operation the request was refused, and nothing was executed; ``retry_after`` says in how many seconds
    it may be asked again; ``answered`` whether any field of its data is there; ``shared`` whether it was made for
    somebody else who asked the same at the same time.
    """

    body: bytes
    codes: tuple[str, ...] = ()
    operation: Operation | None = None
    retry_after: float | None = None
    answered: bool = False
    shared: bool = False


def refusal(*errors: GraphQLError, retry_after: float | None = None) -> Result:
    """A response without data."""
    formatted = [error.formatted for error in errors]
    return Result(orjson.dumps({"errors": formatted}), codes(formatted), retry_after=retry_after)


def refused(error: GatewayError) -> Result:
    shown = GraphQLError(str(error), original_error=error, extensions=error.extensions)
    return refusal(shown, retry_after=getattr(error, "retry_after", None))


def unforeseen(cause: Exception) -> Result:
    """The refusal of what the gateway failed at: no more than an id, by which its log knows why."""
    error = GraphQLError("", original_error=cause)
    assign_error_code(error)
    return refusal(error)


def codes(formatted: Any) -> tuple[str, ...]:
    return tuple(error["extensions"]["code"] for error in formatted)


def noted(report: OperationReport, result: Result) -> Result:
    """The result, after the report has noted what came of the operation."""
    report.codes += result.codes
    report.answered |= result.answered
    if result.operation is not None:
        calls = result.operation.calls
        report.calls = (
            [replace(call, state=State.SHARED, attempts=0) for call in calls] if result.shared else list(calls)
        )
    return result


def outcome(data: Any, errors: Any, context: OperationContext, extensions: Mapping[str, Any] | None = None) -> Result:
    """The response of an executed operation, with the failures that only errors can show."""
    body: dict[str, Any] = {"data": data}
    told: tuple[str, ...] = ()
    if errors or context.failures:
        body["errors"] = formatted = [error.formatted for error in (*errors, *context.unseen())]
        told = codes(formatted)
    if extensions is not None:
        body["extensions"] = extensions
    return made(body, told, context)


def made(body: Mapping[str, Any], codes: tuple[str, ...], context: OperationContext) -> Result:
    """A response, or a part of one, with what it was made of."""
    answered = any(value is not None for value in (body.get("data") or {}).values())
    return Result(orjson.dumps(body), codes, context.operation, None, answered)
