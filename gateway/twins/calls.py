"""What a call of a cloud is, and what its handler is asked with."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.twins.corpus import Corpus
from gateway.twins.rows import Json
from gateway.twins.wire_formats import Dialect, Refused


@dataclass(frozen=True, slots=True)
class Ask:
    """A request after its signature was checked: path values, query, JSON body."""

    corpus: Corpus
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)


Handler = Callable[[Ask], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One line of a cloud's table; ``path`` has ``{Name}`` where PAI has an id, ``action`` is v2's query."""

    name: str
    dialect: Dialect
    path: str
    handler: Handler
    action: str = ""
    version: str = ""
    silent: bool = False

    @property
    def method(self) -> str:
        return "GET" if self.version else "POST"

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


def whole(text: str | None, name: str, default: int, largest: int | None = None) -> int:
    """A positive whole number of PAI's query."""
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= (largest or 2**31 - 1):
        raise Refused("InvalidParameter", f"The specified parameter {name} is not valid.")
    return int(text)


def cut(found: Sequence[int], number: int, size: int) -> Sequence[int]:
    return found[(number - 1) * size : number * size]
