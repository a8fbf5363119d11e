"""What is left of some objects when what is known of them is settled, and waiting for it with few tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, TypeVar

from gateway.catalog.ids import Ref
from gateway.catalog.plan import Bound
from gateway.catalog.record_readers import Record
from gateway.catalog.selection import FieldRequest, Selection

T = TypeVar("T")
V = TypeVar("V")


class Missing(NamedTuple):
    """Fields of one object that no answer told yet, the record that they belong in, and how many answers told of the
    object then."""

    record: Record
    ref: Ref
    asks: Selection
    told: int


class Taking(NamedTuple):
    """Fields of one object that a call was chosen for, and the record that they belong in."""

    record: Record
    ref: Ref
    bound: Bound
    asks: Selection


class Putting(NamedTuple):
    """Another object that belongs into a record."""

    record: Record
    ask: FieldRequest
    ref: Ref
    asks: Selection


class Pending:
    """What is left of some objects: fields that are ``missing``, other objects to ``put`` into them, and other
    ``waits``; and how many things are ``coming`` that somebody sees to.

    It is over when all of it came, or at the first failure: it hears of nothing then. What is left of an object that
    is put into another one is a part of it, which can be over before.
    """

    __slots__ = ("_ended", "_tasks", "coming", "missing", "over", "put", "waits", "whole")

    def __init__(self, of: "Pending | None" = None) -> None:
        self.missing: list[Missing] = []
        self.put: list[Putting] = []
        self.waits: list[Coroutine[Any, Any, None]] = []
        self.coming = 0
        self.over = False
        self.whole: Pending | None = None if of is None else of.whole or of
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: Callable[[BaseException | None], None] | None = None

    def __bool__(self) -> bool:
        return bool(self.coming or self.missing or self.put or self.waits)

    def expect(
        self, future: "asyncio.Future[V]", came: "Callable[[Pending, T, asyncio.Future[V]], None]", word: T
    ) -> None:
        """Tell ``came`` of a future when it ends, with a word; what that raises ends all."""
        self.coming += 1
        future.add_done_callback(partial(self._hear, came, word))

    def expect_part(self, part: "Pending", came: "Callable[[Pending, T, BaseException | None], None]", word: T) -> None:
        """Tell ``came`` of a part when it is over, with a word and the failure that ended it, if one did."""
        self.coming += 1
        part._ended = partial(self._hear, came, word)

    def start(self) -> None:
        """Let all that waits go on by itself."""
        waits, self.waits = self.waits, []
        for wait in waits:
            task = asyncio.ensure_future(wait)
            (self.whole or self)._tasks.append(task)
            self.expect(task, done, None)

    async def close(self) -> None:
        """Wait until it is over. Raises the first failure at once."""
        if not self.coming and len(self.waits) == 1:
            await self.waits[0]
            return
        if self.waits:
            self.start()
        if self.coming:
            all_came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ended = partial(end, all_came)
            try:
                await all_came
            except asyncio.CancelledError:
                self.over = True
                for task in self._tasks:
                    task.cancel()
                raise

    def _hear(self, came: Callable[["Pending", T, Any], None], word: T, what: Any) -> None:
        if self.over or (self.whole is not None and self.whole.over):
            if isinstance(what, asyncio.Task) and not what.cancelled():
                what.exception()
            return
        failure: BaseException | None = None
        try:
            came(self, word, what)
        except (Exception, asyncio.CancelledError) as error:
            failure = error
        self.coming -= 1
        if failure is not None or not self.coming:
            self.over = True
            if self._ended is not None:
                self._ended(failure)


def done(_: Pending, __: None, task: "asyncio.Future[None]") -> None:
    task.result()


def end(future: "asyncio.Future[None]", failure: BaseException | None) -> None:
    """Let a future end as what it stands for did."""
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    elif isinstance(failure, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(failure)
