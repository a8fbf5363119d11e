"""Adaptive rate limiter: bounds the rate and the concurrency of an account's calls of one name.

A registry's real limit may be unknown, and other clients may share it. The rate therefore falls when the registry
throttles, and successful calls raise it along a curve like TCP CUBIC (RFC 9438): quickly towards the rate that was too
high, slowly around it, then faster. A linear rise from 0.7 to 1 times a strict limit would use only 0.85 of it on
average.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from gateway.config.settings import Quota
from gateway.errors import RegistryBusy, RegistryThrottled

logger = logging.getLogger("gateway.upstream")

BURST_SECONDS = 0.1
"""Burst size in seconds of the rate. At 45 calls per second, no second has more than 45 + 0.1 * 45 = 49.5 calls."""

IDLE_SECONDS = 1.0
"""Seconds without a call after which calls may borrow tokens of the next second."""

THROTTLED_FACTOR = 0.7
"""Factor of the rate after a throttled call."""

ATTRIBUTION_SECONDS = 1.0
"""Seconds after the rate is lowered in which further throttled calls are attributed to the rate before it."""

RECOVERY_SECONDS = 30.0
"""Seconds of full use until the rate is back at the value from which it fell."""

CURVE_EXPONENT = 7
"""Odd exponent of the curve. A higher one keeps the rate near the throttled one for longer."""

MIN_RATE = 1.0
"""Lowest rate in calls per second."""

RECOVERED = float("inf")
"""Progress of a rate that has not fallen, or has recovered."""

ONE_TOKEN = 1 - 1e-6
"""One token, less the rounding error."""


class Clock:
    """Clock and timers of the running event loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


class RateLimiter:
    """Rate limiter of one account's calls of one name; ``rate`` is the current limit in calls per second."""

    def __init__(self, quota: Quota, clock: Clock) -> None:
        self.quota, self.clock = quota, clock
        self.in_flight = 0
        self._throttled_rate = quota.requests_per_second
        self._set_rate(self._throttled_rate)
        self._lowered_at, self._progress = float("-inf"), RECOVERED
        self._tokens, self._refilled_at = float("inf"), clock.now()
        self._sent: deque[float] = deque([float("-inf")], maxlen=max(1, int(quota.requests_per_second)))
        self._borrows = False
        self._queues: tuple[dict[asyncio.Future[bool], None], ...] = ({}, {})
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_at_minimum(self) -> bool:
        """Whether the rate is at its minimum."""
        return self.rate <= MIN_RATE

    @property
    def waiting(self) -> int:
        """Number of queued calls."""
        return sum(map(len, self._queues))

    def try_acquire(self, now: float, *, refresh: bool) -> bool:
        """Let a call start if none is queued before it and the limits allow it. End it with `release`."""
        interactive, refreshes = self._queues
        if interactive or (refresh and refreshes) or self.in_flight >= self.quota.in_flight:
            return False
        self._refill(now)
        return self._take(refresh)

    def release(self, error: BaseException | None) -> None:
        """End a call; its outcome adjusts the rate."""
        if error is None:
            if self._progress != RECOVERED:
                self._raise_rate()
        elif isinstance(error, RegistryThrottled):
            self._lower_rate()
        self._free_slot()

    def _raise_rate(self) -> None:
        self._refill(self.clock.now())
        self._progress += 1 / self.rate
        self._set_rate(self._curve())
        if self.rate == self.quota.requests_per_second:
            self._progress = RECOVERED

    def _lower_rate(self) -> None:
        now = self.clock.now()
        if now - self._lowered_at >= ATTRIBUTION_SECONDS:
            self._refill(now)
            self._throttled_rate, self._lowered_at, self._progress = self.rate, now, 0.0
            self._set_rate(self._curve())
            logger.info("Throttled at %.1f calls per second. The rate falls to %.1f.", self._throttled_rate, self.rate)

    def _curve(self) -> float:
        """Return the rate after ``_progress`` seconds of full use since it was lowered."""
        distance = (self._progress / RECOVERY_SECONDS - 1) ** CURVE_EXPONENT  # -1 at first, 0 after the recovery
        wanted = self._throttled_rate * (1 + (1 - THROTTLED_FACTOR) * distance)
        return min(self.quota.requests_per_second, max(MIN_RATE, wanted))

    def _set_rate(self, rate: float) -> None:
        self.rate, self._capacity = rate, max(1.0, BURST_SECONDS * rate)

    async def acquire(self, registry: str, *, refresh: bool, max_wait: float) -> None:
        """Wait until a call may start, in order of arrival. Refreshes start only when no other call is queued.

        ``max_wait`` is in seconds; that of the quota applies, too. Raises `RegistryBusy`.
        """
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._queues[refresh]
        queue[turn] = None
        self._start_queued()
        if turn.done():
            return
        timer = self.clock.later(min(max_wait, self.quota.max_wait), partial(self._time_out, turn))
        try:
            started = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self._tokens += 1
                self._free_slot()
            raise
        finally:
            timer.cancel()
            queue.pop(turn, None)
        if not started:
            raise RegistryBusy(registry, retry_after=round((self.waiting + 1) / self.rate, 3))

    @staticmethod
    def _time_out(turn: "asyncio.Future[bool]") -> None:
        if not turn.done():
            turn.set_result(False)

    def _free_slot(self) -> None:
        self.in_flight -= 1
        if self._queues[0] or self._queues[1]:
            self._start_queued()

    def _refill(self, now: float) -> None:
        tokens, capacity = self._tokens + (now - self._refilled_at) * self.rate, self._capacity
        self._tokens = min(tokens, capacity)
        self._refilled_at = now

    def _start_queued(self) -> None:
        """Start the queued calls that the limits allow; if tokens are lacking, continue when the next one is due."""
        self._refill(self.clock.now())
        for refreshes, queue in enumerate(self._queues):
            while queue and self.in_flight < self.quota.in_flight:
                turn = next(iter(queue))
                if not turn.done():
                    if not self._take(bool(refreshes)):
                        self._schedule()
                        return
                    turn.set_result(True)
                del queue[turn]

    def _take(self, refresh: bool) -> bool:
        """Take a token that is available or may be borrowed."""
        self._borrows = self._may_borrow()
        if self._tokens < ONE_TOKEN and (refresh or not self._borrows):
            return False
        self._tokens -= 1
        self._sent.append(self._refilled_at)
        self.in_flight += 1
        return True

    def _may_borrow(self) -> bool:
        """Whether a call may borrow a token of the next second.

        After an idle second, one second's calls may start at once, such as those for the rows of a page.
        """
        sent, since = self._sent, self._refilled_at - IDLE_SECONDS
        if not self._borrows and sent[-1] > since:
            return False
        count = max(1, int(self.rate))
        return len(sent) < count or sent[-count] <= since

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self.clock.later(max(0.001, (1 - self._tokens) / self.rate), self._due)

    def _due(self) -> None:
        self._timer = None
        self._start_queued()
