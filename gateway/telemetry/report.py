"""One operation and one HTTP exchange, as logs, figures and traces tell of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from gateway.telemetry.facts import Call
from gateway.telemetry.identity import Identity

NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,99}")
"""Names of operations that are told: GraphQL's own, of a length that a log bears."""


@dataclass(slots=True)
class Exchange:
    """One HTTP request or WebSocket and the status of its answer; ``path`` is set where a route has it."""

    identity: Identity
    method: str
    status: int | None = None
    path: str | None = None


@dataclass(slots=True)
class Report:
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

    @property
    def outcome(self) -> str:
        """``ok``; ``partial``: data and errors; ``failed``: errors alone; ``cancelled`` before there was an answer."""
        if self.cancelled:
            return "cancelled"
        if not self.codes:
            return "ok"
        return "partial" if self.answered else "failed"

    def told(self) -> Mapping[str, Any]:
        """What a log line says of it."""
        return {
            "operation_type": self.type,
            "operation_name": self.name if self.name and NAME.fullmatch(self.name) else None,
            "document": self.document,
            "caller": self.caller,
            "outcome": self.outcome,
            "duration_ms": round(self.seconds * 1000, 3),
            "upstream_calls": sum(call.attempts for call in self.calls),
            "answers": counted("unanswered" if call.state is None else call.state.value for call in self.calls),
            "errors": counted(self.codes),
        }


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word is there."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found
