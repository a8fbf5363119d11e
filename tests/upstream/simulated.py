"""An event loop with simulated time, and registries whose answers a test chooses."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.config.settings import BreakerSettings, Credentials, HedgingSettings, QuotaSettings, RetrySettings, Secret
from gateway.upstream.messages import Destination, Request, Scope, StaticCredentials
from gateway.upstream.resilient_client import ResilientClient

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Advances the time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "all tasks wait for something that never happens"
            self.passed += max(0.0, timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop whose time starts at 0 and passes without waiting; no task may be left over."""

    async def watched() -> T:
        outcome = await main
        for _ in range(3):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return outcome

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(watched())


def now() -> float:
    return asyncio.get_running_loop().time()


def destination(registry: str = "pai", timeout: float = 8.0, account: str = "account") -> Destination:
    return Destination(
        registry,
        Scope(account),
        {},
        timeout,
        0,
        lambda *_: {},
        lambda _: None,
        StaticCredentials(Credentials("", Secret(""))),
    )


def request(call: str = "ListModels") -> Request:
    return Request(call, "", "GET", "/")


Answering = Callable[[Destination, Request], Awaitable[Any]]


@dataclass
class Scripted:
    """A registry that answers by a function, and records time and timeout of each request."""

    answering: Answering
    times: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def send(self, destination: Destination, request: Request) -> Any:
        self.times.append(now())
        self.timeouts.append(destination.timeout)
        return await self.answering(destination, request)


def in_turn(*outcomes: Any) -> Scripted:
    """Return a registry that gives these answers in order, the last one repeatedly; exceptions are raised."""
    left = list(outcomes)

    async def answering(destination: Destination, request: Request) -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Scripted(answering)


def resilient_client(
    sender: Any,
    *,
    retry: RetrySettings | None = None,
    quota: QuotaSettings | None = None,
    breaker: BreakerSettings | None = None,
    hedging: bool = False,
    random: Callable[[], float] = lambda: 0.5,
) -> ResilientClient:
    """Return a resilient client with the default settings except those given. Random numbers are 0.5."""
    return ResilientClient(
        sender,
        retry or RetrySettings(),
        quota or QuotaSettings(),
        breaker or BreakerSettings(),
        HedgingSettings(enabled=hedging),
        random=random,
    )
