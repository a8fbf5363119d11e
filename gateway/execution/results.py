"""Results of operations: the response as JSON, with error codes, upstream calls and cache lifetime."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from graphql import GraphQLError

from gateway.catalog.plan_execution import PlanExecution
from gateway.errors import GatewayError
from gateway.execution.documents import relocate
from gateway.execution.error_codes import assign_error_code
from gateway.execution.response_cache import CachedResponse
from gateway.execution.strawberry_context import OperationContext
from gateway.telemetry.events import CallRecord, CallState
from gateway.telemetry.operation_log import OperationReport


class RequestErrors(Exception):
    """Errors that prevent the execution of an operation (GraphQL specification, "Request errors")."""

    def __init__(self, errors: Iterable[GraphQLError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


class CacheLifetime(NamedTuple):
    """The age of a response and its remaining freshness, in seconds. ``age`` is None without upstream answers."""

    age: float | None
    fresh_for: float


class OperationResult(NamedTuple):
    """The result of one operation.

    ``body`` is the response as JSON, ``codes`` are those of its errors. ``executed`` is false for a refused request;
    ``retry_after`` is then the number of seconds after which a retry can succeed. ``lifetime`` is None for a response
    that clients must not cache. ``answered`` is true if any field of ``data`` has a value. ``cached`` is the entry of
    the response cache that contains the body. ``age`` is that of the oldest upstream answer in it, in seconds, also if
    ``lifetime`` is None.
    """

    body: bytes
    codes: tuple[str, ...] = ()
    executed: bool = False
    calls: Sequence[CallRecord] = ()
    lifetime: CacheLifetime | None = None
    retry_after: float | None = None
    answered: bool = False
    cached: CachedResponse | None = None
    age: float | None = None

    @property
    def shared(self) -> "OperationResult":
        """The same result for a caller that shared the execution of another caller, without calls of its own."""
        return self._replace(calls=[replace(call, state=CallState.SHARED, attempts=0) for call in self.calls])


def executed(
    context: OperationContext, data: Any, errors: Sequence[GraphQLError], extensions: Mapping[str, Any] | None = None
) -> OperationResult:
    """Return the result of an executed operation. The failures of its context are among the errors."""
    body: dict[str, Any] = {"data": data}
    relocate(errors, context.text)
    if errors or context.failures:
        body["errors"] = [error.formatted for error in (*errors, *context.take_failures())]
    if extensions is not None:
        body["extensions"] = extensions
    return payload(context, body, codes(body.get("errors", ())))


def payload(context: OperationContext, body: Mapping[str, Any], codes: tuple[str, ...]) -> OperationResult:
    """Return the result with this response body, for an operation or for one of its payloads."""
    execution = context.execution
    answered = any(value is not None for value in (body.get("data") or {}).values())
    lifetime = lifetime_of(execution)
    cacheable = None if codes or execution.partial else lifetime
    calls = list(execution.calls)
    return OperationResult(orjson.dumps(body), codes, True, calls, cacheable, answered=answered, age=lifetime.age)


def lifetime_of(execution: PlanExecution) -> CacheLifetime:
    """Return the age of the oldest answer, and the time until the first answer is stale."""
    received = execution.received()
    if not received:
        return CacheLifetime(None, 0.0)
    return CacheLifetime(max([answer.age for answer in received]), min([answer.fresh_for for answer in received]))


def cached(response: CachedResponse) -> OperationResult:
    """Return the result for a cached response."""
    dependencies = response.dependencies
    lifetime = CacheLifetime(*dependencies.lifetime())
    answered, age = response.answered, lifetime.age
    return OperationResult(response.body, (), True, dependencies.calls, lifetime, None, answered, response, age)


def refused(error: Exception) -> OperationResult:
    """Return the result of an operation that was not executed. An unexpected error is logged and masked."""
    if isinstance(error, RequestErrors):
        shown: tuple[GraphQLError, ...] = error.errors
    else:
        extensions = error.extensions if isinstance(error, GatewayError) else None
        message = str(error) if isinstance(error, GatewayError) else ""
        shown = (GraphQLError(message, original_error=error, extensions=extensions),)
    for graphql_error in shown:
        assign_error_code(graphql_error)
    formatted = [graphql_error.formatted for graphql_error in shown]
    body = orjson.dumps({"errors": formatted})
    return OperationResult(body, codes(formatted), retry_after=getattr(error, "retry_after", None))


def codes(errors: Iterable[Any]) -> tuple[str, ...]:
    """Return the codes of formatted errors."""
    return tuple(error["extensions"]["code"] for error in errors)


def add_to_report(report: OperationReport, result: OperationResult) -> OperationResult:
    """Add a result to the report of its operation. Returns the result."""
    report.codes += result.codes
    report.answered |= result.answered
    if result.executed:
        report.calls = result.calls
    return result
