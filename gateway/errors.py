"""The errors that the gateway raises on purpose, with the stable codes that clients see in ``extensions.code``.

GatewayError
├── BadInput                     BAD_USER_INPUT             an argument has a value that the gateway cannot use
│   ├── InvalidCursor            INVALID_CURSOR             a cursor is malformed, or of another list, filter or order
│   └── InvalidId                INVALID_ID                 an id is not one that this gateway issued
├── Unauthenticated              UNAUTHENTICATED            the API key or bearer token is missing or not valid
│   └── IssuerUnavailable        ISSUER_UNAVAILABLE         the issuer's keys, which the token needs, cannot be fetched
├── UnknownOperation             OPERATION_RESOLUTION_FAILURE  the document does not have exactly one such operation
├── QueryTooComplex              QUERY_TOO_COMPLEX          the document is larger or deeper than allowed
├── QueryTooExpensive            QUERY_TOO_EXPENSIVE        the operation may need more upstream calls than allowed
│   └── ResponseTooLarge         QUERY_TOO_EXPENSIVE        the response may hold more objects than allowed
├── QueryTooSlow                 QUERY_TOO_EXPENSIVE        the operation processes rows beyond its deadline
├── PersistedQueryNotFound       PERSISTED_QUERY_NOT_FOUND  the gateway has no document with this hash
├── PersistedQueryNotSupported   PERSISTED_QUERY_NOT_SUPPORTED  the gateway does not store documents
├── PersistedQueryMismatch       PERSISTED_QUERY_MISMATCH   the hash is not that of the document in the request
├── DocumentNotTrusted           DOCUMENT_NOT_TRUSTED       the document is not on the gateway's list of documents
├── Forbidden                    FORBIDDEN                  the caller does not have the permission
├── TooManyRequests              TOO_MANY_REQUESTS          the caller exceeds its rate or its parallel requests
├── TooManySubscriptions         TOO_MANY_SUBSCRIPTIONS     the limit on active subscriptions is reached
├── RegistryBadValue             REGISTRY_BAD_VALUE         the registry's value is not one that the field can have
├── NoRegistryAnswered           NO_REGISTRY_ANSWERED       every registry that a list needs failed
└── RegistryError                                           a call to one registry failed
    ├── RegistryTimeout          REGISTRY_TIMEOUT           the response was not complete within the timeout
    ├── RegistryUnreachable      REGISTRY_UNREACHABLE       the connection failed or broke
    ├── RegistryUnavailable      REGISTRY_UNAVAILABLE       the registry reported a failure of its own
    │   └── RegistryCircuitOpen  REGISTRY_UNAVAILABLE       the circuit breaker is open after repeated failures
    ├── RegistryThrottled        REGISTRY_THROTTLED         the registry limits the rate of calls
    ├── RegistryBusy             REGISTRY_BUSY              the gateway's quota of calls to the registry is in use
    ├── RegistryUnauthenticated  REGISTRY_UNAUTHENTICATED   the registry does not accept the configured credentials
    │   └── RegistryCredentialsMissing  REGISTRY_UNAUTHENTICATED  no valid credentials from their source
    ├── RegistryForbidden        REGISTRY_FORBIDDEN         the configured credentials lack the permission
    ├── RegistryRejected         REGISTRY_REJECTED          the registry rejected the request as invalid
    ├── RegistryBadAnswer        REGISTRY_BAD_ANSWER        the response does not have the documented structure
    ├── RegistryAnswerTooLarge   REGISTRY_ANSWER_TOO_LARGE  the response is larger than allowed
    ├── RegistryNotCached        REGISTRY_NOT_CACHED        the client wanted a cached response, and there is none
    ├── RegistryListCut          LIST_INCOMPLETE            the list has more rows than the gateway reads at once
    ├── RegistryListIncomplete   LIST_INCOMPLETE            the registry did not send every row that it has
    └── NotFound                 (clients never see it)     the object does not exist in the registry: the field is null

GraphQL itself refuses documents with GRAPHQL_PARSE_FAILED or GRAPHQL_VALIDATION_FAILED. Requests that do not follow
GraphQL over HTTP fail with BAD_REQUEST, NOT_ACCEPTABLE, METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT,
BATCH_TOO_LARGE or UNSUPPORTED_MEDIA_TYPE. Unexpected failures have INTERNAL_SERVER_ERROR.
"""

from enum import StrEnum
from typing import Any, ClassVar


class GatewayError(Exception):
    """Base class of all errors that the gateway raises on purpose. The message is for the caller."""

    code: ClassVar[str]

    @property
    def extensions(self) -> dict[str, Any]:
        """The ``extensions`` of the error in a GraphQL response."""
        return {"code": self.code}


class BadInput(GatewayError):
    code = "BAD_USER_INPUT"


class InvalidCursor(BadInput):
    code = "INVALID_CURSOR"


class InvalidId(BadInput):
    code = "INVALID_ID"


class Unauthenticated(GatewayError):
    """``reason`` is for the audit log only; the caller does not see it."""

    code = "UNAUTHENTICATED"

    def __init__(self, reason: str, message: str = "This request needs a valid API key or bearer token.") -> None:
        super().__init__(message)
        self.reason = reason


class IssuerUnavailable(Unauthenticated):
    """Whether the token is valid is not known. ``retry_after`` is the time until it may be, in seconds."""

    code = "ISSUER_UNAVAILABLE"

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "the issuer's keys cannot be fetched",
            "The token cannot be verified at the moment, because its issuer is unavailable.",
        )
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return {"code": self.code, "retryAfter": round(self.retry_after, 3)}


class UnknownOperation(GatewayError):
    code = "OPERATION_RESOLUTION_FAILURE"


class QueryTooComplex(GatewayError):
    code = "QUERY_TOO_COMPLEX"


class QueryTooExpensive(GatewayError):
    """``cost`` is the number of upstream calls that the operation may need, ``allowed`` the limit."""

    code = "QUERY_TOO_EXPENSIVE"
    template: ClassVar = "This query may need {cost} upstream calls; the limit is {allowed}."

    def __init__(self, cost: int, allowed: int) -> None:
        super().__init__(self.template.format(cost=cost, allowed=allowed))
        self.cost, self.allowed = cost, allowed

    @property
    def extensions(self) -> dict[str, Any]:
        return {"code": self.code, "cost": self.cost, "allowed": self.allowed}


class ResponseTooLarge(QueryTooExpensive):
    """``cost`` is the number of objects that the response may hold, ``allowed`` the limit."""

    template: ClassVar = "The response to this query may hold {cost} objects; the limit is {allowed}."


class QueryTooSlow(GatewayError):
    """``seconds`` is the time that one operation may take."""

    code = "QUERY_TOO_EXPENSIVE"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"This query was stopped because it took more than {seconds:g} seconds.")


class PersistedQueryNotFound(GatewayError):
    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")


class PersistedQueryNotSupported(GatewayError):
    code = "PERSISTED_QUERY_NOT_SUPPORTED"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotSupported")


class PersistedQueryMismatch(GatewayError):
    code = "PERSISTED_QUERY_MISMATCH"


class DocumentNotTrusted(GatewayError):
    code = "DOCUMENT_NOT_TRUSTED"


class Forbidden(GatewayError):
    code = "FORBIDDEN"


class TooManyRequests(GatewayError):
    """``retry_after`` is the time to wait, in seconds."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return {"code": self.code, "retryAfter": round(self.retry_after, 3)}


class TooManySubscriptions(GatewayError):
    code = "TOO_MANY_SUBSCRIPTIONS"


class RegistryBadValue(GatewayError):
    """A value of a registry that the type of its field cannot represent, such as a number out of range."""

    code = "REGISTRY_BAD_VALUE"

    def __init__(self) -> None:
        super().__init__("The registry sent a value that this field cannot represent.")


class NoRegistryAnswered(GatewayError):
    code = "NO_REGISTRY_ANSWERED"

    def __init__(self, causes: "dict[str, RegistryError]") -> None:
        super().__init__("All registries failed: " + "; ".join(str(cause) for cause in causes.values()))
        self.causes = causes

    @property
    def extensions(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "retryable": any(cause.retryable for cause in self.causes.values()),
            "registries": [cause.extensions for cause in self.causes.values()],
        }


class Cause(StrEnum):
    """Why a request got no response, for logs, metrics and `gateway check`. Callers only see the error code."""

    NAME_NOT_RESOLVED = "name not resolved"
    CONNECTION_REFUSED = "connection refused"
    CONNECTION_FAILED = "connection failed"
    UNTRUSTED_CERTIFICATE = "untrusted certificate"
    WRONG_HOST_NAME = "wrong host name"
    TLS_FAILED = "TLS handshake failed"
    PROXY_REFUSED = "proxy refused"
    CONNECT_TIMEOUT = "connect timeout"
    READ_TIMEOUT = "read timeout"
    CONNECTION_RESET = "connection reset"


class RegistryError(GatewayError):
    """A call to one registry failed.

    ``registry`` is the configured name of the registry. ``retryable`` is true if the same request can succeed later.
    ``retry_after`` is in seconds, None if unknown. ``request_id`` and ``vendor_code`` are the vendor's, for support
    requests. The error omits the vendor's message, which may repeat signed content. Subclasses set ``problem``, the
    predicate of the message; its subject is the registry. ``cause`` is why there was no response, ``detail`` what else
    helps to find the reason; only operators see them.
    """

    problem: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        registry: str,
        *,
        vendor_code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        cause: Cause | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(f'Registry "{registry}" {self.problem}.')
        self.registry = registry
        self.vendor_code = vendor_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.cause = cause
        self.detail = detail

    @property
    def reason(self) -> str:
        """Why the call failed, for operators: the cause, the detail and the vendor's code, as far as known."""
        return ", ".join(filter(None, (self.cause, self.detail, self.vendor_code)))

    @property
    def extensions(self) -> dict[str, Any]:
        optional = {
            "vendorCode": self.vendor_code,
            "requestId": self.request_id,
            "retryAfter": self.retry_after,
        }
        known = {name: value for name, value in optional.items() if value is not None}
        return {"code": self.code, "registry": self.registry, "retryable": self.retryable, **known}


class RegistryTimeout(RegistryError):
    code, problem, retryable = "REGISTRY_TIMEOUT", "did not respond in time", True


class RegistryUnreachable(RegistryError):
    code, problem, retryable = "REGISTRY_UNREACHABLE", "is unreachable", True


class RegistryUnavailable(RegistryError):
    code, problem, retryable = "REGISTRY_UNAVAILABLE", "is unavailable", True


class RegistryCircuitOpen(RegistryUnavailable):
    problem = "failed repeatedly; the gateway has paused calls to it"


class RegistryThrottled(RegistryError):
    code, problem, retryable = "REGISTRY_THROTTLED", "is limiting the rate of calls", True


class RegistryBusy(RegistryError):
    code, problem, retryable = "REGISTRY_BUSY", "already receives as many calls as the gateway may send", True


class RegistryUnauthenticated(RegistryError):
    code, problem = "REGISTRY_UNAUTHENTICATED", "does not accept the configured credentials"


class RegistryCredentialsMissing(RegistryUnauthenticated):
    problem, retryable = "has no valid credentials at the moment", True


class RegistryForbidden(RegistryError):
    code, problem = "REGISTRY_FORBIDDEN", "denies the configured credentials access"


class RegistryRejected(RegistryError):
    code, problem = "REGISTRY_REJECTED", "rejected the request"


class RegistryBadAnswer(RegistryError):
    code, problem = "REGISTRY_BAD_ANSWER", "sent a response that the gateway cannot read"


class RegistryAnswerTooLarge(RegistryError):
    code, problem = "REGISTRY_ANSWER_TOO_LARGE", "sent a response that is larger than the gateway allows"


class RegistryNotCached(RegistryError):
    code, problem = "REGISTRY_NOT_CACHED", "has no cached response, and the request allows only cached ones"


class RegistryListCut(RegistryError):
    code = "LIST_INCOMPLETE"
    problem = "has more rows in this list than the gateway reads at once"


class RegistryListIncomplete(RegistryError):
    code = "LIST_INCOMPLETE"
    problem = "did not send its whole list: rows are missing, have no id, or moved while they were read"


class NotFound(RegistryError):
    code, problem = "NOT_FOUND", "has no such object"


def by_status(status: int) -> type[RegistryError]:
    """Return the error type for an HTTP status, for responses without a known vendor code.

    A 404 is `RegistryBadAnswer`: any server sends it for any wrong address. Only the vendor's own error body, which the
    kinds of registry know, reports that an object does not exist.
    """
    by_status_code: dict[int, type[RegistryError]] = {
        401: RegistryUnauthenticated,
        403: RegistryForbidden,
        404: RegistryBadAnswer,
        408: RegistryTimeout,
        429: RegistryThrottled,
    }
    return by_status_code.get(status, RegistryUnavailable if status >= 500 else RegistryRejected)
