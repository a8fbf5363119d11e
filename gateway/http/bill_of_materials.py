"""The endpoint for bills of materials: `GET /bom/<id>` returns the document of one model version.

Source: CycloneDX 1.6, "Media Types"; RFC 9110, sections 9.3.2 (HEAD) and 13.1.2 (``If-None-Match``).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.catalog.bill_of_materials import AGE
from gateway.errors import Forbidden, InvalidId, RegistryNotCached, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.request import GraphQLRequest, InvalidRequest
from gateway.execution.results import OperationResult
from gateway.http.authentication import RequestAuthenticator, denied
from gateway.http.caching_headers import etag, is_current, lifetime_headers, tag_headers
from gateway.http.disconnection import ClientDisconnected, while_connected
from gateway.http.negotiation import header
from gateway.http.responses import CREDENTIALS, STATUSES

MEDIA_TYPE: Final = "application/vnd.cyclonedx+json; version=1.6"
QUERY: Final = "query BillOfMaterials($id: ID!) { modelVersion(id: $id) { bom } }"
OTHER_STATUSES: Final = {InvalidId.code: 404, RegistryNotCached.code: 504}


class BillOfMaterialsEndpoint:
    """The endpoint for callers with the role ``read``. Each request is one operation of the pipeline.

    A registry that fails leads to status 503 if a later request can succeed, else to 502: no document lacks what a
    failed call would have supplied.
    """

    def __init__(self, pipeline: Pipeline, authenticator: RequestAuthenticator, tag_header: str = "") -> None:
        self.pipeline, self.authenticator, self.tag_header = pipeline, authenticator, tag_header

    async def handle(self, request: Request) -> Response:
        try:
            context = replace(await self.authenticator.context(request), plan_mode=None, shows_tags=False)
            variables = {"id": request.path_params["id"]}
            operation = GraphQLRequest(QUERY, variables=variables, is_safe=True, is_own=True)
            result = await while_connected(request.receive, self.pipeline.run(operation, context))
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        except InvalidRequest as error:
            return refused(error.status, str(error), error.code)
        except ClientDisconnected:
            return Response(status_code=499)  # nobody receives it
        body = orjson.loads(result.body)
        if result.codes:
            return failed(result, body["errors"][0])
        version = body["data"]["modelVersion"]
        if version is None:
            return refused(404, "There is no such model version.", "NOT_FOUND")
        if not context.freshness.store:
            result = result._replace(lifetime=None)
        headers = dict((*lifetime_headers(result.lifetime), *tag_headers(self.tag_header, result)))
        if context.caller is not None:
            headers["vary"] = CREDENTIALS
        headers["etag"] = tag = etag(orjson.dumps(without_age(version["bom"])))
        if is_current(tag, header(request.headers, "if-none-match")):
            return Response(status_code=304, headers=headers)
        return Response(orjson.dumps(version["bom"]), headers={**headers, "content-type": MEDIA_TYPE})


def failed(result: OperationResult, error: Mapping[str, Any]) -> Response:
    """Return the response to an operation with an error."""
    extensions = error["extensions"]
    code = extensions["code"]
    status = {**STATUSES, **OTHER_STATUSES}.get(code)
    if status is None:
        status = 422 if "registry" not in extensions else 503 if extensions["retryable"] else 502
    return refused(status, error["message"], code, extensions.get("retryAfter", result.retry_after))


def refused(status: int, message: str, code: str, retry_after: float | None = None) -> Response:
    """Return a response without a document. ``retry_after`` is in seconds."""
    headers = {"cache-control": "no-store"}
    if retry_after is not None:
        headers["retry-after"] = str(math.ceil(retry_after))
    return JSONResponse({"error": message, "code": code}, status, headers)


def without_age(bom: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a document without its age, which changes while the document stays the same."""
    metadata = bom["metadata"]
    properties = [each for each in metadata["properties"] if each["name"] != AGE]
    return {**bom, "metadata": {**metadata, "properties": properties}}
