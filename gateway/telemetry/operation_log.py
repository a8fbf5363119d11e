"""One operation and one HTTP exchange, as logs, figures and traces tell of them."""

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from gateway.telemetry.events import Call, SettledCalls, Tally
from gateway.telemetry.request_ids import Identity

LONGEST = 100
NAME = re.compile(rf"[_A-Za-z][_0-9A-Za-z]{{0,{LONGEST - 1}}}")
"""Names of operations that are told: GraphQL's own, of a length that a log bears."""


@dataclass(slots=True)
class Exchange:
    """One HTTP request or WebSocket, by its ASGI ``scope``, and the status of its answer."""

    identity: Identity
    scope: MutableMapping[str, Any]
    status: int | None = None

    @property
    def method(self) -> str:
        return str(self.scope.get("method", "GET"))

    @property
    def path(self) -> str | None:
        """Where a route has it."""
        return self.scope["path"] if "endpoint" in self.scope else None


@dataclass(slots=True)
class OperationReport:
    """One operation; whoever answers it fills in what it learns.

    ``document`` is the SHA-256 of its text, ``caller`` the configured name of whom it is answered for; ``codes`` are
    those of its errors; ``answered`` says whether any of its data are there; ``seconds`` is the time that it took since
    it ``started``. Neither the text nor the variables are ever part of it.
    """

    type: str = "unknown"
    name: str | None = None
    document: str | None = None
    caller: str | None = None
    calls: Sequence[Call] = ()
    codes: tuple[str, ...] = ()
    answered: bool = False
    cancelled: bool = False
    started: float = field(default_factory=perf_counter)
    seconds: float = 0.0

    def anew(self) -> "OperationReport":
        """The same operation once more, of which nothing is known yet."""
        return OperationReport(self.type, self.name, self.document, self.caller)

    @property
    def outcome(self) -> str:
        """``ok``; ``partial``: data and errors; ``failed``: errors alone; ``cancelled`` before there was an answer."""
        if self.cancelled:
            return "cancelled"
        if not self.codes:
            return "ok"
        return "partial" if self.answered else "failed"

    @property
    def tally(self) -> Tally:
        return self.calls.tally if isinstance(self.calls, SettledCalls) else Tally.of(self.calls)

    def told(self) -> Mapping[str, Any]:
        """What a log line says of it."""
        return {
            **asked(self.type, self.name, self.document, self.caller, self.outcome),
            "duration_ms": round(self.seconds * 1000, 3),
            **given(self.tally, counted(self.codes).items()),
        }


def asked(type: str, name: str | None, document: str | None, caller: str | None, outcome: str) -> Mapping[str, Any]:
    """The part of a line that operations which are asked again have in common."""
    return {
        "operation_type": type,
        "operation_name": name if name and NAME.fullmatch(name) else None,
        "document": document,
        "caller": caller,
        "outcome": outcome,
    }


def given(tally: Tally, errors: Iterable[tuple[str, int]]) -> Mapping[str, Any]:
    """The part of a line that operations which are answered from the same sources have in common."""
    answers = {"unanswered" if state is None else state.value: times for state, times in tally.states}
    return {"upstream_calls": tally.attempts, "answers": answers, "errors": dict(errors)}


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word is there."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found
