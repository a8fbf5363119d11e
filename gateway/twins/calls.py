"""Calls of the clouds' APIs: their table entries and requests."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.twins.corpus import Corpus
from gateway.twins.rows import Json
from gateway.twins.wire_formats import CloudError, WireFormat


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A request with valid credentials: path parameters, query and JSON body. ``pairs`` has repeated parameters too."""

    corpus: Corpus
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)
    pairs: Sequence[tuple[str, str]] = ()


Handler = Callable[[CallRequest], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a cloud's API.

    ``path`` has a placeholder ``{Name}`` for each id in it. ``action`` is the query parameter of Qianfan v2.
    ``version`` is the API version of PAI.
    """

    name: str
    wire_format: WireFormat
    path: str
    handler: Handler
    action: str = ""
    version: str = ""
    omits_request_id: bool = False

    @property
    def method(self) -> str:
        return "POST" if self.wire_format in ("v1", "v2") else "GET"

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


def positive_integer(text: str | None, name: str, default: int, largest: int | None = None) -> int:
    """Return a query parameter of PAI as a positive integer. Raises `CloudError` if it is invalid."""
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= (largest or 2**31 - 1):
        raise CloudError("InvalidParameter", f"The specified parameter {name} is not valid.")
    return int(text)


def page_slice(found: Sequence[int], number: int, size: int) -> Sequence[int]:
    return found[(number - 1) * size : number * size]
