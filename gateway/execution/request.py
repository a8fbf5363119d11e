"""GraphQL requests, independent of the transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of one operation, as a client sends them.

    ``is_safe`` is true for a method that must not change anything (RFC 9110, section 9.2.1).
    """

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    is_safe: bool = False


class InvalidRequest(Exception):
    """Raised for a malformed GraphQL request. ``status`` and ``headers`` are those of the HTTP response."""

    def __init__(self, status: int, reason: str, code: str = "BAD_REQUEST", **headers: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.headers = status, code, headers


class InvalidParameters(InvalidRequest):
    """Raised for a request that is readable, but is not one of GraphQL over HTTP."""

    def __init__(self, reason: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(400, reason, code)
