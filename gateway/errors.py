"""Everything that can go wrong on purpose, with the stable codes that clients see in ``extensions.code``.

GatewayError
├── BadInput                     BAD_USER_INPUT             an argument has a value that cannot be used
│   ├── InvalidCursor            INVALID_CURSOR             a cursor of another list, filter or order, or none at all
│   └── InvalidId                INVALID_ID                 an id that this gateway never gave out
├── Unauthenticated              UNAUTHENTICATED            no API key or bearer token, or one that is not accepted
├── UnknownOperation             OPERATION_RESOLUTION_FAILURE  the document has no such operation, or several
├── QueryTooComplex              QUERY_TOO_COMPLEX          a document larger or deeper than allowed
├── QueryTooExpensive            QUERY_TOO_EXPENSIVE        an operation that may cost more upstream calls than allowed
├── PersistedQueryNotFound       PERSISTED_QUERY_NOT_FOUND  no document of that hash is known here
├── PersistedQueryNotSupported   PERSISTED_QUERY_NOT_SUPPORTED  documents are not remembered here
├── PersistedQueryMismatch       PERSISTED_QUERY_MISMATCH   a hash that is not the one of the document beside it
├── DocumentNotTrusted           DOCUMENT_NOT_TRUSTED       not one of the documents that this gateway executes
├── Forbidden                    FORBIDDEN                  this caller may not do this
├── TooManyRequests              TOO_MANY_REQUESTS          more at once, or more per second, than one caller may ask
├── TooManySubscriptions         TOO_MANY_SUBSCRIPTIONS     as many subscriptions run as may
├── NoRegistryAnswered           NO_REGISTRY_ANSWERED       every registry a list needs has failed
└── RegistryError                                           one registry could not do its part
    ├── RegistryTimeout          REGISTRY_TIMEOUT           no whole answer within the registry's time
    ├── RegistryUnreachable      REGISTRY_UNREACHABLE       no connection, or it broke
    ├── RegistryUnavailable      REGISTRY_UNAVAILABLE       the registry says that it failed
    │   └── RegistryResting      REGISTRY_UNAVAILABLE       it failed so often that it is not asked for a while
    ├── RegistryThrottled        REGISTRY_THROTTLED         the registry limits the rate of calls
    ├── RegistryBusy             REGISTRY_BUSY              no place among the calls it permits came free in time
    ├── RegistryUnauthenticated  REGISTRY_UNAUTHENTICATED   the registry does not accept the configured key
    │   └── RegistryKeyless      REGISTRY_UNAUTHENTICATED   the file or command of its key gives none that is good now
    ├── RegistryForbidden        REGISTRY_FORBIDDEN         the configured key may not do this
    ├── RegistryRejected         REGISTRY_REJECTED          the registry calls the request wrong
    ├── RegistryBadAnswer        REGISTRY_BAD_ANSWER        the answer is not what was promised
    ├── RegistryAnswerTooLarge   REGISTRY_ANSWER_TOO_LARGE  the answer is larger than allowed
    ├── RegistryNotCached        REGISTRY_NOT_CACHED        only a kept answer was wanted, and there is none
    └── NotFound                 (never seen by clients)    the registry has no such object: the field is null

Documents that GraphQL itself refuses have GRAPHQL_PARSE_FAILED or GRAPHQL_VALIDATION_FAILED; HTTP requests that are
none of GraphQL have BAD_REQUEST, NOT_ACCEPTABLE, METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT,
BATCH_TOO_LARGE or UNSUPPORTED_MEDIA_TYPE; what was not foreseen is INTERNAL_SERVER_ERROR.
"""

from enum import StrEnum
from typing import Any, ClassVar

LONGEST_MESSAGE = 400


def shortened(message: str) -> str:
    """A message of GraphQL's own, which repeats of the document whatever stands in it."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"


class GatewayError(Exception):
    """Base of every error that is raised on purpose; its text is meant for the caller."""

    code: ClassVar[str]

    @property
    def extensions(self) -> dict[str, Any]:
        """What goes into the error's ``extensions`` in a GraphQL answer."""
        return {"code": self.code}


class BadInput(GatewayError):
    code = "BAD_USER_INPUT"


class InvalidCursor(BadInput):
    code = "INVALID_CURSOR"


class InvalidId(BadInput):
    code = "INVALID_ID"


class Unauthenticated(GatewayError):
    """``reason`` is for the audit log alone: who is not let in is not told why."""

    code = "UNAUTHENTICATED"

    def __init__(self, reason: str) -> None:
        super().__init__("A valid API key or bearer token is needed.")
        self.reason = reason


class UnknownOperation(GatewayError):
    code = "OPERATION_RESOLUTION_FAILURE"


class QueryTooComplex(GatewayError):
    code = "QUERY_TOO_COMPLEX"


class QueryTooExpensive(GatewayError):
    """``cost`` is how many upstream calls an operation may cost, ``allowed`` how many it may make."""

    code = "QUERY_TOO_EXPENSIVE"

    def __init__(self, cost: int, allowed: int) -> None:
        super().__init__(f"The query may cost {cost} upstream calls; {allowed} are allowed.")
        self.cost, self.allowed = cost, allowed

    @property
    def extensions(self) -> dict[str, Any]:
        return {"code": self.code, "cost": self.cost, "allowed": self.allowed}


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
    """``retry_after`` is in seconds."""

    code = "TOO_MANY_REQUESTS"

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return {"code": self.code, "retryAfter": round(self.retry_after, 3)}


class TooManySubscriptions(GatewayError):
    code = "TOO_MANY_SUBSCRIPTIONS"


class NoRegistryAnswered(GatewayError):
    code = "NO_REGISTRY_ANSWERED"

    def __init__(self, causes: "dict[str, RegistryError]") -> None:
        super().__init__("No registry answered: " + "; ".join(str(cause) for cause in causes.values()))
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
    """One registry could not do its part.

    ``registry`` is its configured name; ``retryable`` says whether the same request may succeed later;
    ``retry_after`` is in seconds where the registry named a time; ``request_id`` and ``vendor_code`` are the
    vendor's own, for a support ticket. The vendor's message is never part of it: it may echo what was signed.
    ``cause`` is why there was no response, for operators alone.
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
    ) -> None:
        super().__init__(f'Registry "{registry}" {self.problem}.')
        self.registry = registry
        self.vendor_code = vendor_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.cause = cause

    @property
    def extensions(self) -> dict[str, Any]:
        optional = {
            "vendorCode": self.vendor_code,
            "requestId": self.request_id,
            "retryAfter": self.retry_after,
        }
        said = {name: value for name, value in optional.items() if value is not None}
        return {"code": self.code, "registry": self.registry, "retryable": self.retryable, **said}


class RegistryTimeout(RegistryError):
    code, problem, retryable = "REGISTRY_TIMEOUT", "did not answer in time", True


class RegistryUnreachable(RegistryError):
    code, problem, retryable = "REGISTRY_UNREACHABLE", "cannot be reached", True


class RegistryUnavailable(RegistryError):
    code, problem, retryable = "REGISTRY_UNAVAILABLE", "is not available", True


class RegistryResting(RegistryUnavailable):
    problem = "has failed too often and is left alone for a while"


class RegistryThrottled(RegistryError):
    code, problem, retryable = "REGISTRY_THROTTLED", "limits the rate of calls", True


class RegistryBusy(RegistryError):
    code, problem, retryable = "REGISTRY_BUSY", "has its quota of calls in use", True


class RegistryUnauthenticated(RegistryError):
    code, problem = "REGISTRY_UNAUTHENTICATED", "does not accept the configured credentials"


class RegistryKeyless(RegistryUnauthenticated):
    problem, retryable = "has no credentials that are good now", True


class RegistryForbidden(RegistryError):
    code, problem = "REGISTRY_FORBIDDEN", "does not permit this to the configured credentials"


class RegistryRejected(RegistryError):
    code, problem = "REGISTRY_REJECTED", "rejected the request"


class RegistryBadAnswer(RegistryError):
    code, problem = "REGISTRY_BAD_ANSWER", "sent an answer that cannot be understood"


class RegistryAnswerTooLarge(RegistryError):
    code, problem = "REGISTRY_ANSWER_TOO_LARGE", "sent an answer that is larger than allowed"


class RegistryNotCached(RegistryError):
    code, problem = "REGISTRY_NOT_CACHED", "has no kept answer, and only such a one is wanted"


class NotFound(RegistryError):
    code, problem = "NOT_FOUND", "has no such object"


def by_status(status: int) -> type[RegistryError]:
    """The error that an HTTP status means where the vendor's own code does not tell more."""
    by_number: dict[int, type[RegistryError]] = {
        401: RegistryUnauthenticated,
        403: RegistryForbidden,
        404: NotFound,
        408: RegistryTimeout,
        429: RegistryThrottled,
    }
    return by_number.get(status, RegistryUnavailable if status >= 500 else RegistryRejected)
