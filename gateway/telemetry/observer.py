"""Hears everything of one application, and counts, traces and logs it."""

import asyncio
import logging
from collections.abc import Iterable
from time import perf_counter
from types import TracebackType

from gateway.settings import TelemetrySettings
from gateway.telemetry.facts import Attempt
from gateway.telemetry.identity import CURRENT, Identity
from gateway.telemetry.logs import Line
from gateway.telemetry.metrics import OPERATIONS, Metrics
from gateway.telemetry.report import Exchange, Report, counted
from gateway.telemetry.traces import Traces, Untraced

logger = logging.getLogger("gateway.operations")


class Observer(Metrics):
    """The figures, traces and operation lines of one application. Raises `SettingsError` when it cannot trace."""

    def __init__(self, settings: TelemetrySettings) -> None:
        super().__init__()
        self.traces = Traces(settings.traces) if settings.traces else Untraced()

    def request(self, headers: Iterable[tuple[bytes, bytes]], method: str) -> "Heard":
        """Around one HTTP request or WebSocket; all that is told meanwhile belongs to it."""
        return Heard(self, Exchange(Identity.of(headers), method))

    def operation(self, report: Report) -> "Told":
        """Around one operation, which counts and is logged as its report says when it ends."""
        return Told(self, report)

    def attempt(self, registry: str, call: str, method: str) -> Attempt:
        attempt = super().attempt(registry, call, method)
        attempt.span = self.traces.attempt(registry, call, method, attempt)
        if attempt.span is not None:
            attempt.span.__enter__()
        return attempt

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        if attempt.span is not None:
            attempt.span.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        super().attempted(attempt, error)


# What every request passes is written as classes: generators cost it several microseconds.


class Heard:
    """Around one HTTP exchange."""

    __slots__ = ("exchange", "observer", "span", "token")

    def __init__(self, observer: Observer, exchange: Exchange) -> None:
        self.observer, self.exchange = observer, exchange

    def __enter__(self) -> Exchange:
        self.span = self.observer.traces.request(self.exchange)
        self.span.__enter__()
        self.token = CURRENT.set(self.exchange.identity)
        return self.exchange

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        CURRENT.reset(self.token)
        self.observer.exchanged(self.exchange.status)
        self.span.__exit__(kind, error, trace)


class Told:
    """Around one operation."""

    __slots__ = ("observer", "report", "span")

    def __init__(self, observer: Observer, report: Report) -> None:
        self.observer, self.report = observer, report

    def __enter__(self) -> None:
        self.observer.in_progress += 1
        self.span = self.observer.traces.operation(self.report)
        self.span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        observer, report = self.observer, self.report
        report.cancelled = isinstance(error, asyncio.CancelledError)
        report.seconds = perf_counter() - report.started
        observer.in_progress -= 1
        observer.ended(report.type if report.type in OPERATIONS else "unknown", report.outcome, report.seconds)
        for code, times in counted(report.codes).items() if report.codes else ():
            observer.operation_errors.labels(code).inc(times)
        if logger.isEnabledFor(logging.INFO):
            logger.handle(Line(logger.name, f"{report.type} {report.outcome}", report.told()))
        self.span.__exit__(kind, error, trace)
