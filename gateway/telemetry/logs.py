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
from functools import lru_cache
from typing import Any, Final, TextIO

import orjson

from gateway.settings import TelemetrySettings
from gateway.telemetry.identity import CURRENT

UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
UNPRINTABLE |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that end a line, drive a terminal, or turn text around, and what is written in their place."""


PAUSE: Final = 0.05


BLANK: Final = vars(logging.LogRecord("", logging.INFO, __file__, 0, "", (), None))


class Line(logging.LogRecord):
    """A record at level info with ``fields``, made for every operation: without looking where it comes from."""

    def __init__(self, name: str, message: str, fields: Mapping[str, Any]) -> None:
        now = time.time()
        own = {"name": name, "msg": message, "fields": fields, "created": now, "msecs": now % 1 * 1000}
        self.__dict__ = {**BLANK, **own}


def described(record: logging.LogRecord) -> dict[str, Any]:
    """A record as values, by their names on the line."""
    identity = CURRENT.get()
    line: dict[str, Any] = {
        "time": f"{second(int(record.created))}.{int(record.msecs):03}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if identity is not None:
        line |= {"request_id": identity.request_id, "trace_id": identity.trace_id}
    line |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
        line |= {"exception": kind.__qualname__, "places": places}
    return line


@lru_cache(maxsize=2)
def second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def clean(text: str) -> str:
    return text if text.isprintable() else text.translate(UNPRINTABLE)


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(orjson.dumps(described(record), default=str).decode())


class Console(logging.Formatter):
    """Time, level, message, and the fields behind it."""

    def format(self, record: logging.LogRecord) -> str:
        line = described(record)
        parts = [line.pop("time"), f"{line.pop('level'):<7}", line.pop("logger"), line.pop("message")]
        for name, value in line.items():
            if type(value) is str:
                parts.append(f"{name}={value}")
            elif value or value == 0:  # what is empty is not told
                parts.append(f"{name}={shown(value)}")
        return clean(" ".join(parts))


def shown(value: Any) -> str:
    """A value of a field, as short as it can be read."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{one}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


FORMATS: dict[str, type[logging.Formatter]] = {"console": Console, "json": Json}


class Gathered(logging.StreamHandler[TextIO]):
    """Writes lines together, those of `PAUSE` seconds of a running loop; warnings, and what is before them, at once."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
            if record.levelno >= logging.WARNING:
                self.flush()
            elif len(self._lines) == 1:
                asyncio.get_running_loop().call_later(PAUSE, self.flush)
        except RuntimeError:
            self.flush()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join([*lines, ""]))
            super().flush()


def configure(settings: TelemetrySettings) -> None:
    """Send every record of the process to standard error. The level is the gateway's own; libraries, which may say
    more than a log should hold, are heard from warnings on."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line tells them
    handler = Gathered()
    handler.setFormatter(FORMATS[settings.log_format]())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("gateway").setLevel(level)
