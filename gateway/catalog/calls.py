"""The calls of one operation: each is made once, within the time that it has, and no more of them than it may."""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.catalog.bounds import Bounds
from gateway.catalog.plan import Bound
from gateway.catalog.registry import Registry
from gateway.errors import QueryTooExpensive, RegistryError, RegistryTimeout
from gateway.telemetry.events import CURRENT, Call, State
from gateway.upstream.caching_client import Answer, Freshness

Answers = dict[Bound, asyncio.Future[Answer]]
"""Calls that were made, each with its answer or on the way to it."""


class Calls:
    """The calls that were made, with their ``answers``, and how each went. Whoever is given the same ``answers`` shares
    them."""

    def __init__(
        self, registries: Mapping[str, Registry], bounds: Bounds, wanted: Freshness, answers: Answers | None
    ) -> None:
        self.registries, self.bounds, self.wanted = registries, bounds, wanted
        self.answers: Answers = {} if answers is None else answers
        self.calls: list[Call] = []
        self._ends = asyncio.get_running_loop().time() + bounds.seconds
        self._under_way: dict[asyncio.Future[Answer], str] = {}
        self._end: asyncio.TimerHandle | None = None

    async def answer(self, bound: Bound) -> Answer:
        """A call's answer. Raises `RegistryError`, and `QueryTooExpensive` for one call too many."""
        sent = self.send(bound)
        return sent.result() if sent.done() else await asyncio.shield(sent)

    def send(self, bound: Bound) -> asyncio.Future[Answer]:
        """A call's answer when it comes, which is at once for one that is at hand."""
        sent = self.answers.get(bound)
        if sent is None:
            self.answers[bound] = sent = self._sent(bound)
        return sent

    def received(self, registry: str | None = None) -> list[Answer]:
        """The answers that came, of one registry or of all."""
        return [
            sent.result()
            for bound, sent in self.answers.items()
            if registry in (None, bound.registry) and sent.done() and not sent.cancelled() and sent.exception() is None
        ]

    def _sent(self, bound: Bound) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        if len(self.answers) >= self.bounds.calls:
            return failed(QueryTooExpensive(len(self.answers) + 1, self.bounds.calls))
        call = Call(bound.registry, bound.call.name)
        self.calls.append(call)
        registry = self.registries[bound.registry]
        answer = registry.at_hand(bound, self.wanted)
        if answer is not None:
            call.state = State.HIT
            sent: asyncio.Future[Answer] = loop.create_future()
            sent.set_result(answer)
            return sent
        if loop.time() >= self._ends:
            call.state, call.code = State.FAILED, RegistryTimeout.code
            return failed(RegistryTimeout(bound.registry))
        before = CURRENT.set(call)
        try:
            sent = registry.ask(bound, self.wanted)
        finally:
            CURRENT.reset(before)
        if not sent.done():
            self._under_way[sent] = bound.registry
            sent.add_done_callback(self._came)
            if self._end is None:
                self._end = loop.call_at(self._ends, self._time_out)
        return sent

    def _came(self, sent: asyncio.Future[Answer]) -> None:
        del self._under_way[sent]
        if not self._under_way and self._end is not None:
            self._end.cancel()
            self._end = None

    def _time_out(self) -> None:
        """Wait no longer; calls that are under way may still be of use to others."""
        self._end = None
        for sent, registry in self._under_way.items():
            fail(sent, RegistryTimeout(registry))


def failed(error: Exception) -> asyncio.Future[Any]:
    """What has failed already."""
    sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    fail(sent, error)
    return sent


def fail(sent: asyncio.Future[Any], error: Exception) -> None:
    """Let a future fail that nobody may be waiting for, if it has not ended."""
    if not sent.done():
        sent.set_exception(error)
        sent.exception()


def at_once(sent: asyncio.Future[Answer]) -> Answer | RegistryError | None:
    """What came of a call; None where that has to be awaited, or to be raised."""
    if not sent.done() or sent.cancelled():
        return None
    error = sent.exception()
    return sent.result() if error is None else error if isinstance(error, RegistryError) else None
