"""Those who ask registries: each waits for an answer of its own, and is told of as soon as that has come."""

import asyncio
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, cast

from gateway.errors import NotFound, RegistryError, RegistryForbidden, RegistryRejected, RegistryUnauthenticated
from gateway.telemetry.events import CURRENT, Events, State
from gateway.upstream.cache import Cache
from gateway.upstream.messages import Destination, Request

if TYPE_CHECKING:
    from gateway.upstream.caching_client import Answer, Freshness

FINAL = (RegistryUnauthenticated, RegistryForbidden, RegistryRejected)
"""Errors that an old answer must not hide: the account may not, or may no longer, see it."""


class Asking:
    """One who asks a registry, for a question of an operation or for none, and waits for the answer, which comes into
    ``sent``; ``joined`` says whether somebody else was asking the same."""

    __slots__ = ("call", "facts", "joined", "question", "registry", "sent", "started")

    def __init__(self, registry: str, call: str, facts: Events) -> None:
        self.registry, self.call, self.facts, self.joined = registry, call, facts, False
        self.question, self.started = CURRENT.get(), perf_counter()
        self.sent: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def come(self, answer: "Answer") -> None:
        """An answer came."""
        if self.joined:
            self.tell(answer, State.SHARED)
        else:
            self.end(answer)

    def fail(self, error: Exception) -> None:
        """None will come."""
        self.end(error)

    def give_up(self) -> None:
        """Nobody knows whether one would."""
        self.sent.cancel()

    def tell(self, answer: "Answer", state: State) -> None:
        """Hand over the answer that was found, with where it came from, and tell of it."""
        if self.sent.cancelled():
            return
        self.facts.answered(self.registry, self.call, state)
        if self.question is not None:
            self.question.state = state
        if answer.document is None:
            self.end(NotFound(self.registry))
        else:
            self.end(answer if answer.state is state else replace(answer, state=state))

    def end(self, outcome: "Answer | Exception") -> None:
        """Hand over the answer, or why there is none, unless nobody waits any more; how it went is noted before."""
        error = outcome if isinstance(outcome, Exception) else None
        if self.question is not None:
            self.question.ended(perf_counter() - self.started, error)
        if self.sent.done():
            return
        if error is None:
            self.sent.set_result(cast("Answer", outcome))
        else:
            self.sent.set_exception(error)
            self.sent.exception()  # nobody need look at it


class Seeking(Asking):
    """One who asks where answers are kept: the ``family`` of lifetimes, when it was asked, what is ``wanted``, and what
    is ``kept`` already, though it is old."""

    __slots__ = ("at", "counts", "destination", "family", "kept", "key", "request", "wanted")

    def __init__(
        self, destination: Destination, request: Request, family: str, wanted: "Freshness", cache: Cache, facts: Events
    ) -> None:
        super().__init__(destination.registry, request.call, facts)
        self.destination, self.request, self.family, self.wanted = destination, request, family, wanted
        self.key, self.at, self.counts = destination.scope.key(request), cache.now(), cache.counts
        self.kept: Answer | None = None

    def come(self, answer: "Answer") -> None:
        self.tell(answer, State.SHARED if self.joined else answer.state)

    def fail(self, error: Exception) -> None:
        kept, hides = self.kept, isinstance(error, RegistryError) and not isinstance(error, FINAL)
        if kept is not None and hides and self.wanted.accepts(kept.age):
            self.counts["stale_on_error"] += 1
            self.tell(kept, State.STALE_ON_ERROR)
        else:
            self.end(error)
