"""Time that passes at once, and registries that answer in it as a test wants."""

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
    """Instead of waiting for a time, passes it."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits for something that will never happen"
            self.passed += max(0.0, timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """The outcome of a coroutine in a loop whose time starts at 0 and never waits; no task may be left behind."""

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
    """A registry that answers as told: by a function, and with the times of all calls kept."""

    answering: Answering
    times: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def send(self, destination: Destination, request: Request) -> Any:
        self.times.append(now())
        self.timeouts.append(destination.timeout)
        return await self.answering(destination, request)


def in_turn(*outcomes: Any) -> Scripted:
    """Answers these one after the other, the last for ever; an exception is raised, at once."""
    left = list(outcomes)

    async def answering(destination: Destination, request: Request) -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Scripted(answering)


def guard(
    sender: Any,
    *,
    retry: RetrySettings | None = None,
    quota: QuotaSettings | None = None,
    breaker: BreakerSettings | None = None,
    hedging: bool = False,
    random: Callable[[], float] = lambda: 0.5,
) -> ResilientClient:
    """A guard with the defaults but for what is given; by default chance is always a half."""
    return ResilientClient(
        sender,
        retry or RetrySettings(),
        quota or QuotaSettings(),
        breaker or BreakerSettings(),
        HedgingSettings(enabled=hedging),
        random=random,
    )
