"""Response formats of each cloud API for successes and errors, and the tables of error codes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import orjson

from gateway.twins.rows import Json

WireFormat = Literal["AIWorkSpace", "PaiStudio", "v1", "v2", "MLflow"]
JSON_TYPE = "application/json;charset=utf-8"

PAI_CODES: Mapping[str, tuple[int, str]] = {
    "IncompleteSignature": (400, "The request signature does not conform to the standard."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "InvalidAccessKeyId.Inactive": (400, "Specified access key is disabled."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidApi.NotFound": (404, "Specified api is not found, please check your url and method."),
    "InvalidParameter": (400, "The specified parameter is not valid."),
    "InvalidSecurityToken.Expired": (400, "Specified SecurityToken is expired."),
    "InvalidSecurityToken.Malformed": (400, "Specified SecurityToken is malformed."),
    "InvalidSignatureMethod": (400, "Specified signature method is not supported."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "NoPermission": (403, "You are not authorized to perform this operation."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": (400, "Specified signature is not matched with our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    "Throttling": (400, "Request was denied due to request throttling."),
    "Throttling.Api": (400, "Request was denied due to api flow control."),
    "Throttling.User": (400, "Request was denied due to user flow control."),
    "UnsupportedHTTPMethod": (400, "This http method is not supported."),
}
V1_CODES: Mapping[str, str] = {
    "1": "Unknown error",
    "2": "Service temporarily unavailable",
    "3": "Unsupported openapi method",
    "4": "Open api request limit reached",
    "6": "No permission to access data",
    "14": "IAM Certification failed",
    "17": "Open api daily request limit reached",
    "18": "Open api qps request limit reached",
    "110": "Access token invalid or no longer valid",
    "336000": "Internal error",
    "336002": "invalid json",
    "336003": "invalid param",
    "336100": "server high load",
    "500000": "internal error",
    "500004": "model not found",
}
V2_CODES: Mapping[str, tuple[int, str]] = {
    "AccessDenied": (403, "Access denied."),
    "InappropriateJSON": (
        400,
        "The JSON you provided was well-formed and valid, but not appropriate for this operation.",
    ),
    "InternalError": (500, "We encountered an internal error Please try again."),
    "InvalidAccessKeyId": (403, "NotFound, cause: Could not find credential."),
    "InvalidHTTPAuthHeader": (
        400,
        "The HTTP authorization header is invalid. Consult the service documentation for details.",
    ),
    "InvalidHTTPRequest": (400, "There was an error in the body of your HTTP request."),
    "InvalidURI": (400, "Could not parse the specified URI."),
    "MalformedJSON": (400, "The JSON you provided was not well-formed."),
    "NoSuchKey": (404, "The resource you requested does not exist"),
    "OptInRequired": (403, "A subscription for the service is required."),
    "RequestExpired": (400, "Request has expired."),
    "ServiceUnavailable": (503, "The service is temporarily unavailable."),
    "SignatureDoesNotMatch": (403, "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match"),
    "TooManyRequests": (429, "Too many requests."),
}
AUTHENTICATION_CODES = frozenset(
    (
        "AccessDenied",
        "InvalidAccessKeyId",
        "InvalidHTTPAuthHeader",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
    )
)
MLFLOW_CODES: Mapping[str, tuple[int, str]] = {
    "BAD_REQUEST": (400, "Bad request"),
    "CUSTOMER_UNAUTHORIZED": (401, "The credentials are invalid."),
    "DEADLINE_EXCEEDED": (504, "The operation timed out."),
    "ENDPOINT_NOT_FOUND": (404, "The requested URL was not found on the server."),
    "INTERNAL_ERROR": (500, "Internal error"),
    "INVALID_PARAMETER_VALUE": (400, "Invalid parameter"),
    "INVALID_STATE": (500, "Invalid state"),
    "NOT_FOUND": (404, "Not found"),
    "PERMISSION_DENIED": (403, "Permission denied"),
    "REQUEST_LIMIT_EXCEEDED": (429, "Too many requests"),
    "RESOURCE_DOES_NOT_EXIST": (404, "The resource does not exist."),
    "RESOURCE_EXHAUSTED": (429, "Too many requests"),
    "TEMPORARILY_UNAVAILABLE": (503, "The service is temporarily unavailable."),
    "UNAUTHENTICATED": (
        401,
        "You are not authenticated. Please see "
        "https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow on how to authenticate.",
    ),
}
CODES_BY_STATUS = {
    "pai": {400: "InvalidParameter", 403: "NoPermission", 404: "InvalidApi.NotFound", 429: "Throttling.User"}
    | {503: "ServiceUnavailable"},
    "qianfan": {400: "InappropriateJSON", 403: "AccessDenied", 404: "NoSuchKey", 429: "TooManyRequests"}
    | {503: "ServiceUnavailable"},
    "mlflow": {400: "BAD_REQUEST", 401: "CUSTOMER_UNAUTHORIZED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND"}
    | {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"},
}
INTERNAL_ERRORS = {"pai": "InternalError", "qianfan": "InternalError", "mlflow": "INTERNAL_ERROR"}


class CloudError(Exception):
    """An error with the cloud's own code."""

    def __init__(self, code: str, message: str | None = None, status: int | None = None) -> None:
        super().__init__(code, message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE


def is_pai(wire_format: WireFormat) -> bool:
    return wire_format in ("AIWorkSpace", "PaiStudio")


def success_answer(wire_format: WireFormat, result: object, omits_request_id: bool = False) -> Answer:
    """Return a successful answer. ``omits_request_id`` leaves PAI's request id out of the body."""
    if wire_format == "MLflow":
        return Answer(200, orjson.dumps(result, option=orjson.OPT_INDENT_2), content_type="application/json")
    if is_pai(wire_format):
        request_id = str(uuid.uuid4()).upper()
        body = result if omits_request_id else {"RequestId": request_id, **_mapping(result)}
        return Answer(200, orjson.dumps(body), {"x-acs-request-id": request_id})
    request_id = str(uuid.uuid4())
    name, value = ("log_id", _log_id(request_id)) if wire_format == "v1" else ("requestId", request_id)
    return Answer(200, orjson.dumps({name: value, "result": result}), {"x-bce-request-id": request_id})


def error_answer(wire_format: WireFormat, error: CloudError, host: str = "", xml: bool = False) -> Answer:
    if wire_format == "MLflow":
        return _mlflow(error)
    if is_pai(wire_format):
        return _pai(wire_format, error, host, xml)
    request_id = str(uuid.uuid4())
    headers = {"x-bce-request-id": request_id}
    if wire_format == "v1" and error.code.isdigit():
        message = error.message or V1_CODES.get(error.code, "Unknown error")
        body: Json = {"log_id": _log_id(request_id), "error_code": int(error.code), "error_msg": message}
        return Answer(error.status or 200, orjson.dumps(body), headers)
    status, text = V2_CODES.get(error.code, (400, "The request was refused."))
    text = error.message or text
    if error.code in AUTHENTICATION_CODES:
        headers |= {"X-Bce-Error-Code": error.code, "X-Bce-Error-Message": text}
    body = {"requestId": request_id, "code": error.code, "message": text}
    return Answer(error.status or status, orjson.dumps(body), headers)


def error_for_status(wire_format: WireFormat, status: int, message: str | None) -> CloudError:
    """Return the error that an HTTP status alone stands for."""
    vendor = "mlflow" if wire_format == "MLflow" else "pai" if is_pai(wire_format) else "qianfan"
    return CloudError(CODES_BY_STATUS[vendor].get(status, INTERNAL_ERRORS[vendor]), message, status)


def _mlflow(error: CloudError) -> Answer:
    """Return an error of MLflow. The one about missing credentials is a text, as its basic-auth app sends it."""
    status, text = MLFLOW_CODES.get(error.code, (400, "The request was refused."))
    status, text = error.status or status, error.message or text
    if error.code == "UNAUTHENTICATED":
        headers = {"WWW-Authenticate": 'Basic realm="mlflow"'}
        return Answer(status, text.encode(), headers, "text/html; charset=utf-8")
    body = {"error_code": error.code, "message": text}
    return Answer(status, orjson.dumps(body), content_type="application/json")


def _pai(wire_format: WireFormat, error: CloudError, host: str, xml: bool) -> Answer:
    request_id = str(uuid.uuid4()).upper()
    status, text = PAI_CODES.get(error.code, (400, "The request was refused."))
    body = {
        "RequestId": request_id,
        "HostId": host,
        "Code": error.code,
        "Message": error.message or text,
    }
    headers = {"x-acs-request-id": request_id}
    if xml:
        fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in body.items())
        text = f"<?xml version='1.0' encoding='UTF-8'?><Error>{fields}</Error>"
        return Answer(error.status or status, text.encode(), headers, "text/xml;charset=utf-8")
    query = urlencode({"q": error.code, "product": wire_format, "requestId": request_id})
    body["Recommend"] = f"https://api.aliyun.com/troubleshoot?{query}"
    return Answer(error.status or status, orjson.dumps(body), headers)


def _log_id(request_id: str) -> str:
    return str(uuid.UUID(request_id).int % 10**10)


def _mapping(result: object) -> Json:
    if not isinstance(result, dict):
        raise TypeError(result)
    return result
