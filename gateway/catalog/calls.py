"""The upstream calls and rows of one operation: each call is made once, before the deadline and within the limit."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Final

from gateway.catalog.bounds import Bounds
from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Bindings
from gateway.errors import QueryTooExpensive, QueryTooSlow, RegistryError, RegistryTimeout
from gateway.telemetry.events import CURRENT, CallRecord, CallState
from gateway.upstream.cache import Origin
from gateway.upstream.caching_client import Answer, Freshness

ROWS_PER_TURN: Final = 500
"""The number of rows that one operation processes before other tasks run: a few milliseconds of CPU time."""

Outcome = Answer | RegistryError
Answers = dict[BoundCall, "Outcome | asyncio.Future[Answer]"]
"""The calls of an operation, each with its outcome or the future of the task that fetches it."""


class Calls:
    """The calls of one operation. Operations that share ``answers`` share the outcomes of their calls.

    ``calls`` records the state and duration of each call, in the same order. ``bindings`` are the arguments that depend
    on variables. ``partial`` is true if a list is incomplete. ``started`` is the time of `perf_counter` at the start of
    the operation.
    """

    def __init__(
        self, registries: Mapping[str, Registry], bounds: Bounds, freshness: Freshness, answers: Answers | None
    ) -> None:
        self.registries, self.bounds, self.freshness = registries, bounds, freshness
        self.answers: Answers = {} if answers is None else answers
        self.calls: list[CallRecord] = []
        self.bindings: Bindings = {}
        self.partial = False
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        self._ended = False
        self._recorded: list[BoundCall] | None = None
        self.started = perf_counter()
        self.deadline = asyncio.get_running_loop().time() + bounds.seconds
        self._rows_in_turn = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def count_rows(self, rows: int) -> None:
        """Count rows before they are processed, and let other tasks run after every `ROWS_PER_TURN`.

        Raises `QueryTooSlow` after the deadline.
        """
        if self._rows_in_turn < ROWS_PER_TURN:
            self._rows_in_turn += rows
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((rows, turn))
        if len(self._waiting) == 1:
            loop.call_soon(self._next_turn)
        await turn
        if loop.time() >= self.deadline:
            raise QueryTooSlow(self.bounds.seconds)

    def _next_turn(self) -> None:
        """Let as many waiting tasks go on as one turn of the event loop allows."""
        self._rows_in_turn = 0
        while self._waiting and self._rows_in_turn < ROWS_PER_TURN:
            rows, turn = self._waiting.popleft()
            if not turn.done():
                self._rows_in_turn += rows
                turn.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_turn)

    def start(self, bound: BoundCall) -> "Outcome | asyncio.Future[Answer]":
        """Start a call unless the operation has made it before. Returns its outcome if it is available, else a future.

        The future fails with `QueryTooExpensive` above the limit on calls.
        """
        if self._recorded is not None:
            self._recorded.append(bound)
        answer = self.answers.get(bound)
        if isinstance(answer, asyncio.Future):
            if answer.done() and not answer.cancelled():
                answer = self.answers[bound] = outcome(answer)
            elif answer not in self._tasks:  # of another operation, which may cancel it
                answer = None
        return self._start(bound) if answer is None else answer

    async def call(self, bound: BoundCall) -> Answer:
        """Return the answer of a call. Raises `RegistryError`, and `QueryTooExpensive` above the limit on calls."""
        answer = self.start(bound)
        if isinstance(answer, asyncio.Future):
            return await asyncio.shield(answer)
        if isinstance(answer, RegistryError):
            raise answer
        return answer

    @contextmanager
    def recording(self) -> Iterator[list[BoundCall]]:
        """Yield a list that receives the calls that are started meanwhile."""
        recorded: list[BoundCall] = []
        self._recorded = recorded
        try:
            yield recorded
        finally:
            self._recorded = None

    def reuse(self, dependencies: Sequence[tuple[BoundCall, Origin]]) -> bool:
        """Make calls from the cache. Returns False at the first whose answer is not fresh, or not of the same entry."""
        for bound, origin in dependencies:
            answer = self.answers.get(bound) or self._cached(bound)
            if not isinstance(answer, Answer) or answer.origin is not origin:
                return False
        return True

    def end(self) -> None:
        """Cancel the calls that are still running, and start no others. The operation has ended or been abandoned."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _expire(self) -> None:
        """Cancel the calls that are still running at the deadline."""
        self._expired = True
        for task in self._tasks:
            task.cancel()

    def received(self, registry: str | None = None) -> list[Answer]:
        """Return the answers received so far, of one registry or of all."""
        answers = []
        for bound, answer in self.answers.items():
            if registry is None or registry == bound.registry:
                if isinstance(answer, Answer):
                    answers.append(answer)
                elif isinstance(answer, asyncio.Future) and answer.done() and not answer.cancelled():
                    received = outcome(answer)
                    answers += [received] if isinstance(received, Answer) else []
        return answers

    def _start(self, bound: BoundCall) -> "Outcome | asyncio.Future[Answer]":
        if self._ended:
            raise asyncio.CancelledError
        if len(self.answers) >= self.bounds.calls:
            return failed(QueryTooExpensive(len(self.answers) + 1, self.bounds.calls))
        answer: Outcome | asyncio.Future[Answer] | None = self._cached(bound)
        if answer is not None:
            return answer
        call = CallRecord(bound.registry, bound.call.name)
        loop = asyncio.get_running_loop()
        if self._expired or loop.time() >= self.deadline:
            answer = RegistryTimeout(bound.registry)
            call.ended(0.0, answer)
        else:
            if self._timer is None:  # one for all calls of the operation
                self._timer = loop.call_at(self.deadline, self._expire)
            answer = task = loop.create_task(self._fetch(bound, call))
            self._tasks.add(task)
        self.calls.append(call)
        self.answers[bound] = answer
        return answer

    def _cached(self, bound: BoundCall) -> Answer | None:
        """Make a call from the cache, if the limit on calls allows it and a fresh answer is in memory."""
        if self._ended or len(self.answers) >= self.bounds.calls:
            return None
        answer = self.registries[bound.registry].cached(bound, self.freshness)
        if answer is not None:
            self.calls.append(CallRecord(bound.registry, bound.call.name, CallState.HIT))
            self.answers[bound] = answer
        return answer

    async def _fetch(self, bound: BoundCall, call: CallRecord) -> Answer:
        CURRENT.set(call)
        try:
            answer = await self.registries[bound.registry].fetch(bound, self.freshness)
        except BaseException as error:
            if isinstance(error, Exception):
                call.ended(perf_counter() - call.started, error)
            if self._fails(bound, error):
                raise RegistryTimeout(bound.registry) from None
            raise
        call.state = answer.state
        call.ended(perf_counter() - call.started)
        self.answers[bound] = answer
        return answer

    def _fails(self, bound: BoundCall, error: BaseException) -> bool:
        """Store the failure of the current task when that ends. Returns whether it was cancelled at the deadline."""
        # not in `_fetch`: the traceback of the failure refers to its frame, which would refer to the task
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(partial(self._failed, bound))
        return self._expired and isinstance(error, asyncio.CancelledError) and not task.uncancel()

    def _failed(self, bound: BoundCall, task: "asyncio.Task[Answer]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()  # asyncio would log it if nobody awaited the call
        if isinstance(error, RegistryError):  # the frames in its task and traceback refer to this object: a cycle
            self.answers[bound] = error.with_traceback(None)


def failed(error: Exception) -> "asyncio.Future[Answer]":
    """Return a future that has failed with an error."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    future.exception()
    return future


def outcome(task: "asyncio.Future[Answer]") -> Outcome:
    """Return the answer or the `RegistryError` of a finished call. Raises any other exception."""
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, RegistryError):
        return error
    raise error


async def gather(waits: Sequence[Awaitable[object]]) -> None:
    """Await all. Raises the first failure immediately and cancels the rest."""
    if len(waits) == 1:
        await waits[0]
    elif waits:
        tasks = [asyncio.ensure_future(awaitable) for awaitable in waits]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
