"""Hears everything of one application, and counts, traces and logs it."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from gateway.settings import TelemetrySettings
from gateway.telemetry.facts import Attempt
from gateway.telemetry.identity import CURRENT, Identity
from gateway.telemetry.metrics import OPERATIONS, Metrics
from gateway.telemetry.report import Exchange, Report
from gateway.telemetry.traces import Traces, Untraced

logger = logging.getLogger("gateway.operations")


class Observer(Metrics):
    """The figures, traces and operation lines of one application. Raises `SettingsError` when it cannot trace."""

    def __init__(self, settings: TelemetrySettings) -> None:
        super().__init__()
        self.traces = Traces(settings.traces) if settings.traces else Untraced()

    @contextmanager
    def request(self, headers: Iterable[tuple[bytes, bytes]], method: str) -> Iterator[Exchange]:
        """Around one HTTP request or WebSocket; all that is told meanwhile belongs to it."""
        exchange = Exchange(Identity.of(headers), method)
        with self.traces.request(exchange):
            token = CURRENT.set(exchange.identity)
            try:
                yield exchange
            finally:
                CURRENT.reset(token)
                self.exchanges.labels(exchange.status or "none").inc()

    @contextmanager
    def operation(self, report: Report) -> Iterator[None]:
        """Around one operation, which counts and is logged as its report says when it ends."""
        self.in_progress.inc()
        try:
            with self.traces.operation(report):
                yield
        except asyncio.CancelledError:
            report.cancelled = True
            raise
        finally:
            self.in_progress.dec()
            report.seconds = perf_counter() - report.started
            kind = report.type if report.type in OPERATIONS else "unknown"
            self.operations.labels(kind, report.outcome).inc()
            self.operation_times.labels(kind).observe(report.seconds)
            for code, times in report.codes.items():
                self.operation_errors.labels(code).inc(times)
            if logger.isEnabledFor(logging.INFO):
                logger.info("%s %s", report.type, report.outcome, extra={"fields": report.told()})

    @contextmanager
    def attempt(self, registry: str, call: str, method: str) -> Iterator[Attempt]:
        with (
            super().attempt(registry, call, method) as attempt,
            self.traces.attempt(registry, call, method, attempt),
        ):
            yield attempt
