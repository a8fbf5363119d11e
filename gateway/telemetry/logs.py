"""Log lines: one for each record, as JSON or for a person, with the request that it belongs to.

What is logged under ``fields`` of a record's ``extra`` becomes fields of its line. Of an exception its type and its
place are told and never its text, which may hold what a client or a registry sent.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, TextIO

import orjson

from gateway.config.settings import TelemetrySettings
from gateway.telemetry.events import Tally
from gateway.telemetry.operation_log import LONGEST, OperationReport, asked, counted, given
from gateway.telemetry.request_ids import CURRENT, Identity

UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
UNPRINTABLE |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that end a line, drive a terminal, or turn text around, and what is written in their place."""


PAUSE: Final = 0.05
"""Seconds for which lines are gathered."""

MOST: Final = 200
"""Lines that are gathered: what is written at once should stay in the processor's cache."""

KEPT: Final = 1000
"""Parts of lines that are kept as text."""

BLANK: Final = vars(logging.LogRecord("gateway.operations", logging.INFO, __file__, 0, "", (), None))


class Line(logging.LogRecord):
    """The record of an operation, made without looking where it comes from."""

    report: OperationReport

    def __init__(self, report: OperationReport) -> None:
        self.__dict__ = own = BLANK.copy()
        own["report"], own["msg"] = report, f"{report.type} {report.outcome}"
        own["created"] = now = time.time()
        own["msecs"] = now % 1 * 1000

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.report.told()


@lru_cache(maxsize=2)
def second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


@lru_cache(maxsize=2)
def moment(milliseconds: int) -> str:
    """The time of a line, as text."""
    return f"{second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


def clean(text: str) -> str:
    return text if text.isprintable() else text.translate(UNPRINTABLE)


@dataclass(slots=True)
class Ended:
    """An operation and when it ended, in seconds since 1970; the line is made when it is written. What was asked of
    registries may change meanwhile."""

    at: float
    identity: Identity
    report: OperationReport
    tally: Tally


class Format(logging.Formatter):
    """A form of lines: how one begins and ends, and how fields are told.

    Operations are many and their lines are much alike: what several have in common is kept as text.
    """

    line: ClassVar[str]
    """Of the time, and of all that follows."""
    operation: ClassVar[str]
    """Of the time, the opening, both ids, what was asked, how long it took, and what was given."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = lru_cache(KEPT)(self._both)
        self._given = lru_cache(KEPT)(lambda tally, errors: clean(self.fields(given(tally, errors))))

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {}
        identity = CURRENT.get()
        if identity is not None:
            told |= {"request_id": identity.request_id, "trace_id": identity.trace_id}
        told |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
            told |= {"exception": kind.__qualname__, "places": places}
        opening = self.opening(record.levelname.lower(), record.name, record.getMessage())
        return clean(self.line % (moment(int(record.created * 1000)), opening + self.fields(told)))

    def told(self, ended: Ended) -> str:
        """The line of an operation."""
        report, identity = ended.report, ended.identity
        name = report.name if report.name is None or len(report.name) <= LONGEST else None
        opening, asked = self._asked(report.type, name, report.document, report.caller, report.outcome)
        return self.operation % (
            moment(int(ended.at * 1000)),
            opening,
            identity.request_id,
            identity.trace_id,
            asked,
            report.seconds * 1000,
            self._given(ended.tally, tuple(counted(report.codes).items()) if report.codes else ()),
        )

    def _both(self, type: str, name: str | None, document: str | None, caller: str | None, outcome: str) -> list[str]:
        opening = self.opening("info", BLANK["name"], f"{type} {outcome}")
        return [clean(opening), clean(self.fields(asked(type, name, document, caller, outcome)))]

    def opening(self, level: str, logger: str, message: str) -> str:
        """What stands after the time."""
        raise NotImplementedError

    def fields(self, told: Mapping[str, Any]) -> str:
        """What stands after others."""
        raise NotImplementedError


class Json(Format):
    """One JSON object a line."""

    line = '{"time":"%s"%s}'
    operation = '{"time":"%s"%s,"request_id":"%s","trace_id":"%s"%s,"duration_ms":%.3f%s}'

    def opening(self, level: str, logger: str, message: str) -> str:
        return self.fields({"level": level, "logger": logger, "message": message})

    def fields(self, told: Mapping[str, Any]) -> str:
        return "," + orjson.dumps(told, default=str).decode()[1:-1] if told else ""


class Console(Format):
    """Time, level, message, and the fields behind it; what is empty is not told."""

    line = "%s%s"
    operation = "%s%s request_id=%s trace_id=%s%s duration_ms=%.3f%s"

    def opening(self, level: str, logger: str, message: str) -> str:
        return f" {level:<7} {logger} {message}"

    def fields(self, told: Mapping[str, Any]) -> str:
        return "".join(f" {name}={shown(one)}" for name, one in told.items() if one or one == 0 or type(one) is str)


def shown(value: Any) -> str:
    """A value of a field, as short as it can be read."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{one}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


FORMATS: dict[str, type[Format]] = {"console": Console, "json": Json}


class Gathered(logging.StreamHandler[TextIO]):
    """Writes lines together, those of `PAUSE` seconds of a running loop; warnings, and what is before them, at once."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self.formatter = self.form = form
        self._lines: list[str | Ended] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.gather(self.form.format(record))
            if record.levelno >= logging.WARNING:
                self.flush()
        except Exception:
            self.handleError(record)

    def gather(self, line: str | Ended) -> None:
        with self.lock or nullcontext():
            self._lines.append(line)
            waiting = len(self._lines)
        if waiting >= MOST:
            self.flush()
        elif waiting == 1:
            try:
                asyncio.get_running_loop().call_later(PAUSE, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(map(self._written, lines)))
            super().flush()

    def _written(self, line: str | Ended) -> str:
        if isinstance(line, str):
            return line + "\n"
        try:
            return self.form.told(line) + "\n"
        except Exception:
            self.handleError(Line(line.report))
            return ""


def tell(logger: logging.Logger, report: OperationReport) -> None:
    """Log an operation at level info, as ``logger.handle(Line(report))`` does, with a record only for who needs it."""
    identity = CURRENT.get()
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if identity is not None and isinstance(handler, Gathered):
                handler.gather(Ended(time.time(), identity, report, report.tally))
            elif handler.level <= logging.INFO:
                handler.handle(Line(report))
        at = at.parent if at.propagate else None


def configure(settings: TelemetrySettings) -> None:
    """Send every record of the process to standard error. The level is the gateway's own; libraries, which may say
    more than a log should hold, are heard from warnings on."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line tells them
    handler = Gathered(FORMATS[settings.log_format]())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("gateway").setLevel(level)
