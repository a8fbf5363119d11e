"""Rate limits per caller: operations per second, and operations at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from gateway.config.settings import LimitsSettings
from gateway.errors import TooManyRequests

MAX_CALLERS: Final = 10_000

UNLIMITED: Final = nullcontext()


@dataclass(slots=True)
class Budget:
    """What a caller may still do: ``tokens`` is the number of operations, refilled with time; ``updated_at`` is in
    seconds; ``running`` operations have not ended."""

    tokens: float
    updated_at: float
    running: int = 0


class CallerRateLimiter:
    """A token bucket for each caller with a name; anonymous callers have no limit."""

    def __init__(self, limits: LimitsSettings, now: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.now = limits, now
        self._budgets: LRUCache[str, Budget] = LRUCache(MAX_CALLERS)

    def operation(self, caller: str | None) -> AbstractContextManager[None]:
        """A context for one operation. Entering it raises `TooManyRequests`."""
        return UNLIMITED if caller is None else self._limited(caller)

    @contextmanager
    def _limited(self, caller: str) -> Iterator[None]:
        budget, rate = self._budget(caller), self.limits.requests_per_second
        if budget.running >= self.limits.in_flight:
            raise TooManyRequests(f"{self.limits.in_flight} operations of this caller are running.", 1.0)
        if budget.tokens < 1:
            raise TooManyRequests(f"This caller may run {rate:g} operations a second.", (1 - budget.tokens) / rate)
        budget.tokens -= 1
        budget.running += 1
        try:
            yield
        finally:
            budget.running -= 1

    def _budget(self, caller: str) -> Budget:
        """The budget of a caller, refilled."""
        now, rate = self.now(), self.limits.requests_per_second
        burst = max(rate, 1.0)
        budget = self._budgets.get(caller)
        if budget is None:
            budget = self._budgets[caller] = Budget(burst, now)
        budget.tokens = min(burst, budget.tokens + (now - budget.updated_at) * rate)
        budget.updated_at = now
        return budget
