"""Events of calls to registries, and the calls of an operation.

The upstream reports to `Events`. Metrics, traces and logs override its methods. Registries and calls are given by name,
times in seconds.
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


class State(StrEnum):
    """How a call was answered."""

    HIT = "hit"  # from the cache, fresh
    STALE = "stale"  # from the cache, while a refresh runs
    STALE_ON_ERROR = "stale_on_error"  # from the cache, since the registry failed
    SHARED = "shared"  # by the request of another caller
    MISS = "miss"  # by the registry
    FAILED = "failed"  # not at all


@dataclass(slots=True)
class Call:
    """One call of an operation to a registry.

    ``state`` is None until there is an answer; ``code`` is the code of the error; ``seconds`` is the time until then.
    ``attempts`` counts the requests sent for this call: none if the answer was cached or fetched for another caller.
    """

    registry: str
    name: str
    state: State | None = None
    code: str | None = None
    seconds: float = 0.0
    attempts: int = 0

    def ended(self, seconds: float, error: Exception | None = None) -> None:
        """Record the end of the call. `NotFound` is an answer."""
        if error is None or isinstance(error, NotFound):
            self.state = self.state or State.MISS
        elif isinstance(error, RegistryError):
            self.state, self.code = State.FAILED, error.code
        self.seconds = seconds


CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)
"""The call for which requests are sent; None for those of no operation, such as refreshes."""


class Tally(NamedTuple):
    """Totals over calls: requests sent, and the number of calls by state."""

    attempts: int
    states: tuple[tuple[State | None, int], ...]

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Self:
        attempts = 0
        states: dict[State | None, int] = {}
        for call in calls:
            attempts += call.attempts
            states[call.state] = states.get(call.state, 0) + 1
        return cls(attempts, tuple(states.items()))


class SettledCalls(list[Call]):
    """Calls that have ended; their totals are computed once."""

    @cached_property
    def tally(self) -> Tally:
        return Tally.of(self)


@dataclass(slots=True, eq=False)
class Attempt:
    """Context of one request: the HTTP status of its response, the number of ``earlier`` requests of the same call, and
    its trace span, if there is one."""

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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.span is not None:
            self.span.__exit__(kind, error, trace)
        self.events.attempted(self, error)


class Events:
    """Receiver of events that only counts the requests of each call."""

    def attempt(self, registry: str, call: str, method: str) -> Attempt:
        """Return the context of one request. The sender sets the status; an exception is the outcome."""
        current = CURRENT.get()
        if current is None:
            return Attempt(self, registry, call)
        current.attempts += 1
        return Attempt(self, registry, call, current.attempts - 1)

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        """A request ended, failed or was cancelled."""

    def answered(self, registry: str, call: str, state: State) -> None:
        """A call was answered, from the cache or by the registry."""

    def again(self, answers: Mapping[tuple[str, str, State], int]) -> None:
        """Calls were answered again, this many times each, by a cached response."""

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        """A call failed, after all attempts or before the first."""

    def refreshed(self, registry: str, call: str) -> None:
        """A refresh of a stale answer was started."""

    def waited(self, registry: str, seconds: float) -> None:
        """A request passed the rate limiter, after this many seconds."""

    def retried(self, registry: str, call: str) -> None:
        """A request is retried."""

    def reconnected(self, registry: str, call: str) -> None:
        """A request is sent again on a new connection, since an idle one ended when it was used."""

    def hedged(self, registry: str, call: str) -> None:
        """A second request is sent in parallel to a slow one."""

    def opened(self, registry: str) -> None:
        """A registry's circuit breaker opened."""

    def leased(self, seconds: float) -> None:
        """The wait for the lease on an answer ended, after this many seconds."""

    def shared_cache_failed(self) -> None:
        """An operation of the shared cache failed."""


NO_EVENTS = Events()
"""Receiver that ignores all events."""
