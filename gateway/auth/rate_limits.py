"""How much one caller may ask: operations a second, and at once."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from gateway.config.settings import LimitsSettings
from gateway.errors import TooManyRequests

MOST_CALLERS: Final = 10_000

OPEN: Final = nullcontext()


@dataclass(slots=True)
class Account:
    """What a caller has left: operations of this second (they come back with time), and those that run."""

    left: float
    at: float
    running: int = 0


class CallerRateLimiter:
    """Lets operations in, caller by caller; those without a name are not counted."""

    def __init__(self, limits: LimitsSettings, now: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.now = limits, now
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def let_in(self, caller: str | None) -> AbstractContextManager[None]:
        """Around one operation, from its beginning to its end. Raises `TooManyRequests`."""
        return OPEN if caller is None else self._counted(caller)

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        account = self._account(caller)
        if account.running >= self.limits.in_flight:
            raise TooManyRequests(f"{self.limits.in_flight} operations of this caller are running.", 1.0)
        if account.left < 1:
            rate = self.limits.requests_per_second
            raise TooManyRequests(f"This caller may ask {rate:g} operations a second.", (1 - account.left) / rate)
        account.left -= 1
        account.running += 1
        try:
            yield
        finally:
            account.running -= 1

    def _account(self, caller: str) -> Account:
        now, rate = self.now(), self.limits.requests_per_second
        account = self._accounts.setdefault(caller, Account(max(rate, 1.0), now))
        account.left = min(max(rate, 1.0), account.left + (now - account.at) * rate)
        account.at = now
        self._accounts.move_to_end(caller)
        while len(self._accounts) > MOST_CALLERS:
            self._accounts.popitem(last=False)
        return account
