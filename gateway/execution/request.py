"""GraphQL requests, independent of the transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class OnError(Enum):
    """What an error of a field does, as a request chooses.

    Source: GraphQL specification, the proposed request parameter ``onError``.
    """

    NULL = "NULL"
    """The field is null, even if its type is not nullable."""
    PROPAGATE = "PROPAGATE"
    """The nearest nullable field is null."""
    ABORT = "ABORT"
    """There is no data."""


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of one operation, as a client sends them.

    ``is_safe`` is true for a method that must not change anything (RFC 9110, section 9.2.1). ``is_own`` is true for a
    document of the gateway or its operator, which needs no trust.
    """

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    is_safe: bool = False
    is_own: bool = False
    on_error: OnError = OnError.PROPAGATE


class InvalidRequest(Exception):
    """Raised for a malformed GraphQL request. ``status`` and ``headers`` are those of the HTTP response."""

    def __init__(self, status: int, reason: str, code: str = "BAD_REQUEST", **headers: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.headers = status, code, headers


class InvalidParameters(InvalidRequest):
    """Raised for a request that is readable, but is not one of GraphQL over HTTP."""

    def __init__(self, reason: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(400, reason, code)
