"""The observer of an application: metrics, traces and operation logs in one object."""

import asyncio
import logging
from time import perf_counter
from types import TracebackType

from gateway.config.settings import TelemetrySettings
from gateway.telemetry.events import Attempt
from gateway.telemetry.logs import log_operation
from gateway.telemetry.metrics import OPERATIONS, Metrics
from gateway.telemetry.operation_log import OperationReport
from gateway.telemetry.tracing import Tracing

logger = logging.getLogger("gateway.operations")


class Observer(Metrics):
    """Counts, traces and logs what happens in one application.

    Raises `SettingsError` if the settings enable traces and OpenTelemetry is not installed.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        super().__init__()
        self.traces = Tracing(settings.traces) if settings.traces else None

    def operation(self, report: OperationReport) -> "ObservedOperation":
        """Return a context manager around one operation, which is counted, traced and logged when it ends."""
        return ObservedOperation(self, report)

    def ended(self, report: OperationReport) -> None:
        """Count and log an operation that ended."""
        report.seconds = seconds = perf_counter() - report.started
        type_label = report.type if report.type in OPERATIONS else "unknown"
        self.operations.of[type_label, report.outcome] += 1
        self.operation_times.add(seconds, type_label)
        for code in report.codes:
            self.operation_errors.add(code)
        if logger.isEnabledFor(logging.INFO):
            log_operation(logger, report)

    def attempt(self, registry: str, call: str, method: str) -> Attempt:
        attempt = super().attempt(registry, call, method)
        if self.traces is not None:
            attempt.span = self.traces.attempt(registry, call, method, attempt)
            attempt.span.__enter__()
        return attempt

    def close(self) -> None:
        """Send the remaining spans. This may block for up to `tracing.EXPORT_TIMEOUT` seconds."""
        if self.traces is not None:
            self.traces.close()


class ObservedOperation:
    """Context manager around one operation. A class, because a generator costs several times as much."""

    __slots__ = ("observer", "report", "span")

    def __init__(self, observer: Observer, report: OperationReport) -> None:
        self.observer, self.report = observer, report

    def __enter__(self) -> None:
        traces = self.observer.traces
        self.observer.in_progress += 1
        self.span = None if traces is None else traces.operation(self.report)
        if self.span is not None:
            self.span.__enter__()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.observer.in_progress -= 1
        if error is not None:
            self.report.cancelled = isinstance(error, asyncio.CancelledError)
        self.observer.ended(self.report)
        if self.span is not None:
            self.span.__exit__(error_type, error, trace)
