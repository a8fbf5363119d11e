"""Events of upstream calls.

The upstream clients report to `Events` and know nothing of metrics, traces or logs; an observer overrides its methods.
Registries and calls are identified by name. Times are in seconds.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Self

from gateway.errors import NotFound, RegistryError


class CallState(StrEnum):
    """How an upstream call was answered."""

    HIT = "hit"  # fresh from the cache
    STALE = "stale"  # stale from the cache, with a refresh in the background
    STALE_ON_ERROR = "stale_on_error"  # stale from the cache, because the registry failed
    SHARED = "shared"  # by an identical call already in flight
    MISS = "miss"  # by the registry
    FAILED = "failed"  # not answered


@dataclass(slots=True)
class CallRecord:
    """One upstream call of an operation.

    ``state`` is None until the call ends. ``code`` is the error code of a failure. ``seconds`` is the duration.
    ``attempts`` counts the requests sent for this call: 0 if the cache or another call in flight answered it.
    ``started`` is the time of `perf_counter` at its start.
    """

    registry: str
    name: str
    state: CallState | None = None
    code: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    started: float = field(default_factory=perf_counter, compare=False)

    def ended(self, seconds: float, error: Exception | None = None) -> None:
        """Record how the call ended. `NotFound` counts as an answer."""
        if error is None or isinstance(error, NotFound):
            self.state = self.state or CallState.MISS
        elif isinstance(error, RegistryError):
            self.state, self.code = CallState.FAILED, error.code
        self.seconds = seconds


CURRENT: ContextVar[CallRecord | None] = ContextVar("call", default=None)
"""The call that is being made; None for work without an operation, such as a background refresh."""


class Tally(NamedTuple):
    """Totals of an operation's calls: the number of requests sent, and how often each state occurred."""

    attempts: int
    states: tuple[tuple[CallState | None, int], ...]

    @classmethod
    def of(cls, calls: Iterable[CallRecord]) -> Self:
        attempts = 0
        states: dict[CallState | None, int] = {}
        for call in calls:
            attempts += call.attempts
            states[call.state] = states.get(call.state, 0) + 1
        return cls(attempts, tuple(states.items()))


class SettledCalls(list[CallRecord]):
    """Calls that have all ended, so that their tally can be cached."""

    @cached_property
    def tally(self) -> Tally:
        return Tally.of(self)


@dataclass(slots=True, eq=False)
class Attempt:
    """Context manager around one HTTP request to a registry.

    ``status`` is the HTTP status of the response. ``earlier`` is the number of requests sent before for the same call.
    ``span`` is the trace span, if traces are on.
    """

    events: "Events"
    registry: str
    call: str
    earlier: int = 0
    status: int | None = None
    span: AbstractContextManager[None] | None = None
    started: float = field(default_factory=perf_counter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.span is not None:
            self.span.__exit__(error_type, error, trace)
        self.events.attempted(self, error)


class Events:
    """Receives the events. This base class only counts the attempts of the current call."""

    def attempt(self, registry: str, call: str, method: str) -> Attempt:
        """Return a context manager around one HTTP request. The sender sets its ``status``."""
        current = CURRENT.get()
        if current is None:
            return Attempt(self, registry, call)
        current.attempts += 1
        return Attempt(self, registry, call, current.attempts - 1)

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        """An HTTP request ended or was cancelled."""

    def answered(self, registry: str, call: str, state: CallState) -> None:
        """A call was answered by the cache or by the registry."""

    def answered_from_cache(self, answers: Mapping[tuple[str, str, CallState], int]) -> None:
        """A cached response answered calls; ``answers`` maps registry, call and state to their number."""

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        """A call failed for good, after all attempts or before the first."""

    def refreshed(self, registry: str, call: str) -> None:
        """A background refresh of a stale response started."""

    def waited(self, registry: str, seconds: float) -> None:
        """A request passed the rate limit after waiting for ``seconds``."""

    def retried(self, registry: str, call: str) -> None:
        """A request is repeated after a failure."""

    def reconnected(self, registry: str, call: str) -> None:
        """A request is sent again on a new connection, because an idle one had ended when it was used."""

    def hedged(self, registry: str, call: str) -> None:
        """A second request is sent because the first is slow."""

    def opened(self, registry: str) -> None:
        """The circuit breaker of a registry opened."""

    def leased(self, seconds: float) -> None:
        """The wait for the lease on a call, which another replica may hold, ended after ``seconds``."""

    def shared_cache_failed(self) -> None:
        """An operation of the shared cache failed."""


NO_EVENTS = Events()
"""Events that nobody observes."""
