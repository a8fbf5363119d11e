"""Reports of operations and HTTP exchanges, the common input of logs, metrics and traces."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from gateway.telemetry.events import CallRecord, SettledCalls, Tally
from gateway.telemetry.request_ids import Identity

MAX_NAME_LENGTH = 100
OPERATION_NAME = re.compile(rf"[_A-Za-z][_0-9A-Za-z]{{0,{MAX_NAME_LENGTH - 1}}}")
"""Operation names that are logged: valid in GraphQL, and not too long."""


@dataclass(slots=True)
class Exchange:
    """One HTTP request or WebSocket connection: its ASGI ``scope``, and the status of the response."""

    identity: Identity
    scope: MutableMapping[str, Any]
    status: int | None = None

    @property
    def method(self) -> str:
        return str(self.scope.get("method", "GET"))

    @property
    def path(self) -> str | None:
        """The path if it belongs to a route. Other paths are left out, since clients choose them."""
        return self.scope["path"] if "endpoint" in self.scope else None


@dataclass(slots=True)
class OperationReport:
    """One operation. The pipeline fills in the fields while it runs.

    ``document`` is the SHA-256 of the document's text, ``caller`` the configured name of the caller, ``calls`` the
    upstream calls, ``codes`` the codes of all errors. ``answered`` is true if the response has any data. ``seconds`` is
    the duration since ``started``. The text of the document and the variables are never included.
    """

    type: str = "unknown"
    name: str | None = None
    document: str | None = None
    caller: str | None = None
    calls: Sequence[CallRecord] = ()
    codes: tuple[str, ...] = ()
    answered: bool = False
    cancelled: bool = False
    started: float = field(default_factory=perf_counter)
    seconds: float = 0.0

    def for_repetition(self) -> "OperationReport":
        """Return a report for another execution of the same operation."""
        return OperationReport(self.type, self.name, self.document, self.caller)

    @property
    def outcome(self) -> str:
        """``ok``, ``partial`` (data and errors), ``failed`` (errors only) or ``cancelled`` (no response)."""
        if self.cancelled:
            return "cancelled"
        if not self.codes:
            return "ok"
        return "partial" if self.answered else "failed"

    @property
    def tally(self) -> Tally:
        return self.calls.tally if isinstance(self.calls, SettledCalls) else Tally.of(self.calls)

    def fields(self) -> Mapping[str, Any]:
        """Return the fields of the log line."""
        return {
            **request_fields(self.type, self.name, self.document, self.caller, self.outcome),
            "duration_ms": round(self.seconds * 1000, 3),
            **result_fields(self.tally, Counter(self.codes).items()),
        }


def request_fields(
    type: str, name: str | None, document: str | None, caller: str | None, outcome: str
) -> Mapping[str, Any]:
    """Return the fields that repeat when an operation is executed again."""
    return {
        "operation_type": type,
        "operation_name": name if name and OPERATION_NAME.fullmatch(name) else None,
        "document": document,
        "caller": caller,
        "outcome": outcome,
    }


def result_fields(tally: Tally, errors: Iterable[tuple[str, int]]) -> Mapping[str, Any]:
    """Return the fields about upstream calls, and how often each error code occurred."""
    answers = {"unanswered" if state is None else state.value: count for state, count in tally.states}
    return {"upstream_calls": tally.attempts, "answers": answers, "errors": dict(errors)}
