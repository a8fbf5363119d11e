"""What happens on the way to registries, told as it happens by those it happens to.

The upstream knows `Events` only; who counts, traces or logs them overrides what is told. Registries and calls are told
by their names, times in seconds.
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
    """How a question to a registry was answered."""

    HIT = "hit"  # what is kept is fresh
    STALE = "stale"  # what is kept is older, and a refresh runs behind
    STALE_ON_ERROR = "stale_on_error"  # what is kept is older, and the registry failed
    SHARED = "shared"  # somebody else was asking the same
    MISS = "miss"  # the registry was asked
    FAILED = "failed"  # not at all


@dataclass(slots=True)
class Call:
    """One question of an operation to a registry.

    ``state`` is None until it is answered; ``code`` says why it failed; ``seconds`` is the time until then;
    ``attempts`` counts the requests that were sent for it: none for what is kept, or what others asked for.
    """

    registry: str
    name: str
    state: State | None = None
    code: str | None = None
    seconds: float = 0.0
    attempts: int = 0

    def ended(self, seconds: float, error: Exception | None = None) -> None:
        """Note how it was answered, or why not; that there is no such object is an answer."""
        if error is None or isinstance(error, NotFound):
            self.state = self.state or State.MISS
        elif isinstance(error, RegistryError):
            self.state, self.code = State.FAILED, error.code
        self.seconds = seconds


CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)
"""The question on whose behalf things happen; None for what is done for nobody, such as a refresh."""


class Tally(NamedTuple):
    """The questions of an operation in figures: requests that were sent for them, and how often each state came."""

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
    """Questions of which nothing changes any more: they are counted once."""

    @cached_property
    def tally(self) -> Tally:
        return Tally.of(self)


@dataclass(slots=True, eq=False)
class Attempt:
    """Around one request on the wire: the HTTP status of its answer, how many went before it for the same question,
    and the span that it is of a trace, if it is one."""

    facts: "Events"
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
        self.facts.attempted(self, error)


class Events:
    """Hears everything and does nothing with it but count requests at the question concerned."""

    def attempt(self, registry: str, call: str, method: str) -> Attempt:
        """Around one request on the wire; the sender fills in the status. How it ends is the outcome."""
        current = CURRENT.get()
        if current is None:
            return Attempt(self, registry, call)
        current.attempts += 1
        return Attempt(self, registry, call, current.attempts - 1)

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        """A request on the wire came to its end, or was given up."""

    def answered(self, registry: str, call: str, state: State) -> None:
        """A question was answered, from what is kept or by the registry."""

    def again(self, answers: Mapping[tuple[str, str, State], int]) -> None:
        """Questions were answered as often as told here, all at once and on behalf of nobody."""

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        """A question was given up, after all attempts or before the first."""

    def refreshed(self, registry: str, call: str) -> None:
        """A refresh was started behind a stale answer."""

    def waited(self, registry: str, seconds: float) -> None:
        """A request got its place in the quota."""

    def retried(self, registry: str, call: str) -> None:
        """A request is sent once more, since the last one failed."""

    def hedged(self, registry: str, call: str) -> None:
        """A second request is sent beside a slow one."""

    def opened(self, registry: str) -> None:
        """A registry's circuit opened: it is left alone."""

    def leased(self, seconds: float) -> None:
        """Waiting for the lease on a question, which another replica may hold, came to its end."""

    def shared_cache_failed(self) -> None:
        """The cache that replicas share did not do what it was asked."""


NO_EVENTS = Events()
"""For whoever has nobody to tell."""
