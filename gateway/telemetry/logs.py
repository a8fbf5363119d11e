"""Log lines: one for each record, as JSON or for a person, with the request that it belongs to.

What is logged under ``fields`` of a record's ``extra`` becomes fields of its line. Of an exception its type and its
place are told and never its text, which may hold what a client or a registry sent.
"""

import logging
import time
import traceback
from typing import Any

import orjson

from gateway.settings import TelemetrySettings
from gateway.telemetry.identity import CURRENT

UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
UNPRINTABLE |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that end a line, drive a terminal, or turn text around, and what is written in their place."""


def described(record: logging.LogRecord) -> dict[str, Any]:
    """A record as values, by their names on the line."""
    identity = CURRENT.get()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    line: dict[str, Any] = {
        "time": f"{at}.{int(record.msecs):03}Z",
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
        fields = [f"{name}={shown(value)}" for name, value in line.items() if value not in (None, {}, [])]
        return clean(" ".join([*parts, *fields]))


def shown(value: Any) -> str:
    """A value of a field, as short as it can be read."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{one}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


FORMATS: dict[str, type[logging.Formatter]] = {"console": Console, "json": Json}


def configure(settings: TelemetrySettings) -> None:
    """Send every record of the process to standard error. The level is the gateway's own; libraries, which may say
    more than a log should hold, are heard from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[settings.log_format]())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("gateway").setLevel(level)
