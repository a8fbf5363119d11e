"""The calls of one operation: each is made once, within the time that it has, and no more of them than it may."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.catalog.bounds import Bounds
from gateway.catalog.plan import Bound
from gateway.catalog.registry import Registry
from gateway.errors import QueryTooExpensive, RegistryError, RegistryTimeout
from gateway.telemetry.facts import Call, State
from gateway.upstream.source import Answer, Freshness

if TYPE_CHECKING:
    from gateway.catalog.basis import Basis

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
        self.reused: list[Basis] = []
        self.calls: list[Call] = []
        self._ends = asyncio.get_running_loop().time() + bounds.seconds
        self._under_way: dict[Bound, asyncio.Task[None]] = {}
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

    def reuse(self, basis: "Basis") -> None:
        """Note that something is given again that was made of answers before."""
        if basis not in self.reused:
            self.reused.append(basis)
            self.calls += basis.calls

    def received(self, registry: str | None = None) -> list[Answer]:
        """The answers that came, of one registry or of all; one stands for all that something was made of before."""
        return [basis.answer for basis in self.reused] + [
            sent.result()
            for bound, sent in self.answers.items()
            if registry in (None, bound.registry) and sent.done() and not sent.cancelled() and sent.exception() is None
        ]

    def _sent(self, bound: Bound) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[Answer] = loop.create_future()
        if len(self.answers) >= self.bounds.calls:
            fail(sent, QueryTooExpensive(len(self.answers) + 1, self.bounds.calls))
            return sent
        call = Call(bound.registry, bound.call.name)
        self.calls.append(call)
        answer = self.registries[bound.registry].at_hand(bound, self.wanted)
        if answer is None and loop.time() >= self._ends:
            call.state, call.code = State.FAILED, RegistryTimeout.code
            fail(sent, RegistryTimeout(bound.registry))
        elif answer is None:
            self._under_way[bound] = loop.create_task(self._ask(bound, call, sent))
            if self._end is None:
                self._end = loop.call_at(self._ends, self._time_out)
        else:
            call.state = State.HIT
            sent.set_result(answer)
        return sent

    async def _ask(self, bound: Bound, call: Call, sent: asyncio.Future[Answer]) -> None:
        """Ask, and note how it went."""
        try:
            with call.under_way():
                answer = await self.registries[bound.registry].ask(bound, self.wanted)
            if not sent.done():
                sent.set_result(answer)
        except Exception as error:
            fail(sent, error)
        finally:
            sent.cancel()
            del self._under_way[bound]
            if not self._under_way and self._end is not None:
                self._end.cancel()
                self._end = None

    def _time_out(self) -> None:
        """Wait no longer; calls that are under way may still be of use to others."""
        self._end = None
        for bound in self._under_way:
            fail(self.answers[bound], RegistryTimeout(bound.registry))


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
