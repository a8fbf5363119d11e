"""The quota: how many calls of one name an account makes at once and per second, and who goes first.

A registry's true limit is not always known, and others may use it too. So the rate falls when the registry throttles,
and good answers bring it back along a curve like that of TCP CUBIC (RFC 9438): soon near the rate that was too much,
long around it, and then ever faster. A straight climb from 0.7 would leave a seventh of a strict limit unused.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from gateway.config.settings import QuotaSettings
from gateway.errors import RegistryBusy, RegistryThrottled

logger = logging.getLogger("gateway.upstream")

BURST = 0.1
"""Seconds of the rate that may go out at once: 45 a second then never exceed 50 in any one second."""

QUIET = 1.0
"""Seconds without a call after which the next ones may borrow from the second that follows."""

FALL = 0.7
"""What is left of the rate after a throttle."""

CALM = 1.0
"""Seconds after a fall in which throttles are put down to the rate before it."""

RECOVERY = 30.0
"""Seconds of full use until the rate is again what it was when it fell."""

POWER = 7
"""Odd; the higher, the longer the rate stays around the one that was too much."""

LOWEST = 1.0
"""Calls per second that are always permitted."""

WHOLE = float("inf")
"""Progress of a rate that has not fallen, or is again what it may be."""

ALMOST = 1 - 1e-6
"""A token, but for rounding."""


class Clock:
    """Monotonic seconds of the running loop, and what waits for them."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


class RateLimiter:
    """The quota of one account's calls of one name; ``rate`` is the calls per second that are permitted now."""

    def __init__(self, settings: QuotaSettings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.in_flight = 0
        self._limit = settings.requests_per_second
        self._set_rate(self._limit)
        self._fell, self._progress = float("-inf"), WHOLE
        self._tokens, self._counted = float("inf"), clock.now()
        self._sent: deque[float] = deque([float("-inf")], maxlen=max(1, int(settings.requests_per_second)))
        self._borrows = False
        self._queues: tuple[dict[asyncio.Future[bool], None], ...] = ({}, {})
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lowest(self) -> bool:
        """Whether the rate can fall no more."""
        return self.rate <= LOWEST

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return sum(map(len, self._queues))

    def enter(self, now: float, *, refresh: bool) -> bool:
        """Take a place for one call, if nobody is before and one is free; it is to be left."""
        before, refreshes = self._queues
        if before or (refresh and refreshes) or self.in_flight >= self.settings.in_flight:
            return False
        self._refill(now)
        return self._take(refresh)

    def leave(self, error: BaseException | None) -> None:
        """Give a place back; how the call ended tells how many more are permitted."""
        if error is None:
            if self._progress != WHOLE:
                self._rise()
        elif isinstance(error, RegistryThrottled):
            self._fall()
        self._leave()

    def _rise(self) -> None:
        self._refill(self.clock.now())
        self._progress += 1 / self.rate
        self._set_rate(self._curve())
        if self.rate == self.settings.requests_per_second:
            self._progress = WHOLE

    def _fall(self) -> None:
        now = self.clock.now()
        if now - self._fell >= CALM:
            self._refill(now)
            self._limit, self._fell, self._progress = self.rate, now, 0.0
            self._set_rate(self._curve())
            logger.info("Throttled at %.1f calls per second; going on with %.1f.", self._limit, self.rate)

    def _curve(self) -> float:
        wanted = self._limit * (1 + (1 - FALL) * (self._progress / RECOVERY - 1) ** POWER)
        return min(self.settings.requests_per_second, max(LOWEST, wanted))

    def _set_rate(self, rate: float) -> None:
        self.rate, self._most = rate, max(1.0, BURST * rate)

    async def wait(self, registry: str, *, refresh: bool, patience: float) -> None:
        """Get a place in turn, in order of arrival; refreshes only when nobody else waits.

        ``patience`` bounds waiting in seconds, as the settings do. Raises `RegistryBusy`.
        """
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._queues[refresh]
        queue[turn] = None
        self._let_in()
        if turn.done():
            return
        timer = self.clock.later(min(patience, self.settings.max_wait), partial(self._give_up, turn))
        try:
            let_in = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self._tokens += 1
                self._leave()
            raise
        finally:
            timer.cancel()
            queue.pop(turn, None)
        if not let_in:
            raise RegistryBusy(registry, retry_after=round((self.waiting + 1) / self.rate, 3))

    @staticmethod
    def _give_up(turn: "asyncio.Future[bool]") -> None:
        if not turn.done():
            turn.set_result(False)

    def _leave(self) -> None:
        self.in_flight -= 1
        if self._queues[0] or self._queues[1]:
            self._let_in()

    def _refill(self, now: float) -> None:
        tokens, most = self._tokens + (now - self._counted) * self.rate, self._most
        self._tokens = tokens if tokens < most else most
        self._counted = now

    def _let_in(self) -> None:
        """Let in all whom places and tokens allow; if it is a token that lacks, come back when it is due."""
        self._refill(self.clock.now())
        for refreshes, queue in enumerate(self._queues):
            while queue and self.in_flight < self.settings.in_flight:
                turn = next(iter(queue))
                if not turn.done():
                    if not self._take(bool(refreshes)):
                        self._come_back()
                        return
                    turn.set_result(True)
                del queue[turn]

    def _take(self, refresh: bool) -> bool:
        """Take a token that is there, or may be borrowed."""
        self._borrows = self._may_borrow()
        if self._tokens < ALMOST and (refresh or not self._borrows):
            return False
        self._tokens -= 1
        self._sent.append(self._counted)
        self.in_flight += 1
        return True

    def _may_borrow(self) -> bool:
        """Whether a call may use what the next second permits: after a quiet second as many as one second has, so
        that the details of a page leave at once."""
        sent, since = self._sent, self._counted - QUIET
        if not self._borrows and sent[-1] > since:
            return False
        many = max(1, int(self.rate))
        return len(sent) < many or sent[-many] <= since

    def _come_back(self) -> None:
        if self._timer is None:
            self._timer = self.clock.later(max(0.001, (1 - self._tokens) / self.rate), self._due)

    def _due(self) -> None:
        self._timer = None
        self._let_in()
