"""Log output: one line per record, as JSON or for the console, with the request's ids.

The mapping ``fields`` in a record's ``extra`` becomes fields of its line. An exception is logged with its type and
stack, never with its text, which may contain data of a client or a registry.
"""

import asyncio
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, TextIO

import orjson

from gateway.config.settings import TelemetrySettings
from gateway.telemetry.events import Tally
from gateway.telemetry.operation_log import MAX_NAME_LENGTH, OperationReport, request_fields, result_fields
from gateway.telemetry.request_ids import CURRENT, Identity

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
ESCAPES |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Replacements of characters that end a line, control a terminal, or change the direction of text."""

FLUSH_INTERVAL: Final = 0.05
"""Seconds for which lines are buffered."""

MAX_BUFFERED_LINES: Final = 200
"""Lines that are buffered at most, so that the text of one write fits into the processor's cache."""

CACHED_FRAGMENTS: Final = 1000
"""Rendered parts of lines that are cached."""

RECORD_TEMPLATE: Final = vars(logging.LogRecord("gateway.operations", logging.INFO, __file__, 0, "", (), None))


class OperationRecord(logging.LogRecord):
    """The log record of an operation, created without the cost of inspecting the stack."""

    report: OperationReport

    def __init__(self, report: OperationReport) -> None:
        self.__dict__ = attributes = RECORD_TEMPLATE.copy()
        attributes["report"], attributes["msg"] = report, f"{report.type} {report.outcome}"
        attributes["created"] = now = time.time()
        attributes["msecs"] = now % 1 * 1000

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.report.fields()


@lru_cache(maxsize=2)
def format_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=2)
def format_time(milliseconds: int) -> str:
    """Return a time since 1970 as ISO 8601 in UTC."""
    return f"{format_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


def escape(text: str) -> str:
    return text if text.isprintable() else text.translate(ESCAPES)


@dataclass(slots=True)
class FinishedOperation:
    """An operation whose line is rendered when the buffer is flushed.

    ``ended_at`` is in seconds since 1970. ``tally`` is a copy, because the calls may change before the flush.
    """

    ended_at: float
    identity: Identity
    report: OperationReport
    tally: Tally


class LogFormat(logging.Formatter):
    """Base of the two formats.

    The lines of operations are frequent and similar, so their parts are rendered once and cached.
    """

    line: ClassVar[str]
    """Template of a line: the time, and the rest."""
    operation_line: ClassVar[str]
    """Template of an operation's line: time, prefix, request id, trace id, request fields, milliseconds, result
    fields."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = os.getpid()
        self._cached_request = lru_cache(CACHED_FRAGMENTS)(self._render_request)
        self._cached_result = lru_cache(CACHED_FRAGMENTS)(
            lambda tally, errors: escape(self.render(result_fields(tally, errors)))
        )

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {}
        identity = CURRENT.get()
        if identity is not None:
            fields |= {"request_id": identity.request_id, "trace_id": identity.trace_id}
        fields |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            error_type, _, trace = record.exc_info
            places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
            fields |= {"exception": error_type.__qualname__, "places": places}
        # half a surrogate pair, as in the name of a file that is not UTF-8, cannot be written
        message = record.getMessage().encode(errors="backslashreplace").decode()
        prefix = self.prefix(record.levelname.lower(), record.name, message)
        return escape(self.line % (format_time(int(record.created * 1000)), prefix + self.render(fields)))

    def format_operation(self, operation: FinishedOperation) -> str:
        """Return the line of an operation."""
        report, identity = operation.report, operation.identity
        name = report.name if report.name is None or len(report.name) <= MAX_NAME_LENGTH else None
        prefix, request = self._cached_request(report.type, name, report.document, report.caller, report.outcome)
        return self.operation_line % (
            format_time(int(operation.ended_at * 1000)),
            prefix,
            identity.request_id,
            identity.trace_id,
            request,
            report.seconds * 1000,
            self._cached_result(operation.tally, tuple(Counter(report.codes).items()) if report.codes else ()),
        )

    def _render_request(
        self, type: str, name: str | None, document: str | None, caller: str | None, outcome: str
    ) -> tuple[str, str]:
        prefix = self.prefix("info", RECORD_TEMPLATE["name"], f"{type} {outcome}")
        return escape(prefix), escape(self.render(request_fields(type, name, document, caller, outcome)))

    def prefix(self, level: str, logger: str, message: str) -> str:
        """Return the part of a line between the time and the fields."""
        raise NotImplementedError

    def render(self, fields: Mapping[str, Any]) -> str:
        """Return the fields as they follow other fields in a line."""
        raise NotImplementedError


class JsonFormat(LogFormat):
    """One JSON object per line."""

    line = '{"time":"%s"%s}'
    operation_line = '{"time":"%s"%s,"request_id":"%s","trace_id":"%s"%s,"duration_ms":%.3f%s}'

    def prefix(self, level: str, logger: str, message: str) -> str:
        return self.render({"pid": self.pid, "level": level, "logger": logger, "message": message})

    def render(self, fields: Mapping[str, Any]) -> str:
        return "," + orjson.dumps(fields, default=str).decode()[1:-1] if fields else ""


class ConsoleFormat(LogFormat):
    """Time, process id, level, logger, message, and ``name=value`` for each field that is not empty."""

    line = "%s%s"
    operation_line = "%s%s request_id=%s trace_id=%s%s duration_ms=%.3f%s"

    def prefix(self, level: str, logger: str, message: str) -> str:
        return f" {self.pid} {level:<7} {logger} {message}"

    def render(self, fields: Mapping[str, Any]) -> str:
        return "".join(
            f" {name}={format_value(value)}"
            for name, value in fields.items()
            if value or value == 0 or type(value) is str
        )


def format_value(value: Any) -> str:
    """Return a field's value for the console: a text with spaces in quotes."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{item}" for name, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    text = str(value)
    return orjson.dumps(text).decode() if " " in text else text


FORMATS: dict[str, type[LogFormat]] = {"console": ConsoleFormat, "json": JsonFormat}


class BufferedHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of `FLUSH_INTERVAL` seconds at once. A warning flushes the buffer immediately."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.formatter = self.log_format = log_format
        self._lines: list[str | FinishedOperation] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.buffer(self.log_format.format(record))
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:
            self.handleError(record)

    def buffer(self, line: str | FinishedOperation) -> None:
        with self.lock or nullcontext():
            self._lines.append(line)
            waiting = len(self._lines)
        if waiting >= MAX_BUFFERED_LINES:
            self.flush()
        elif waiting == 1:
            try:
                asyncio.get_running_loop().call_later(FLUSH_INTERVAL, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(map(self._render, lines)))
            super().flush()

    def _render(self, line: str | FinishedOperation) -> str:
        if isinstance(line, str):
            return line + "\n"
        try:
            return self.log_format.format_operation(line) + "\n"
        except Exception:
            self.handleError(OperationRecord(line.report))
            return ""


def log_operation(logger: logging.Logger, report: OperationReport) -> None:
    """Log an operation at level info, like ``logger.handle(OperationRecord(report))``.

    A record is only created for handlers other than `BufferedHandler`.
    """
    identity = CURRENT.get()
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            if identity is not None and isinstance(handler, BufferedHandler):
                handler.buffer(FinishedOperation(time.time(), identity, report, report.tally))
            elif handler.level <= logging.INFO:
                handler.handle(OperationRecord(report))
        current = current.parent if current.propagate else None


def configure(settings: TelemetrySettings) -> None:
    """Send the log records of the whole process to standard error.

    The configured level applies to the gateway. Libraries log from level warning on, since their debug output may
    contain secrets.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line shows them
    handler = BufferedHandler(FORMATS[settings.log_format]())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("gateway").setLevel(level)
