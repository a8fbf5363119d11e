"""Null without an error means that the registry itself says that there is no such object."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.app import probe
from gateway.config.settings import RetrySettings
from tests.answering import answering, registry_answering
from tests.conftest import pai, qianfan, settings
from tests.upstream.raw_registry import response

KINDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "pai": (
        pai,
        (
            '{ model(id: "pai:model/model-1") { name } }',
            '{ modelVersion(id: "pai:model/model-1/version/1") { name } }',
            '{ algorithm(id: "pai:algorithm/algo-1") { name } }',
            '{ algorithmVersion(id: "pai:algorithm/algo-1/version/1") { name } }',
            '{ node(id: "pai:model/model-1") { id } }',
        ),
    ),
    "qianfan": (
        qianfan,
        (
            '{ model(id: "qianfan:model/am-1") { name } }',
            '{ modelVersion(id: "qianfan:model/am-1/version/amv-1") { name } }',
            '{ algorithm(id: "qianfan:algorithm/a:b:c") { name } }',
        ),
    ),
    "qianfan v2": (
        lambda url: qianfan(url, api="v2"),
        (
            '{ model(id: "qianfan:model/am-1") { name } }',
            '{ modelVersion(id: "qianfan:model/am-1/version/amv-1") { name } }',
        ),
    ),
}
CASES = [(kind, query) for kind, (_, queries) in KINDS.items() for query in queries]

FOREIGN = {
    "HTML": b"<html><h1>Not Found</h1></html>",
    "nothing": b"",
    "text": b"404 page not found",
    "an empty object": b"{}",
    "a list": b"[]",
    "a message alone": b'{"message": "no Route matched with those values", "request_id": "1"}',
    "a web framework": b'{"timestamp": 1, "status": 404, "error": "Not Found", "path": "/api/v1/models"}',
    "a cluster": b'{"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404}',
    "a storage": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><RequestId>1</RequestId></Error>",
    "an error that is an object": b'{"error": {"code": 404, "message": "model not found"}}',
    "a number as the code": b'{"code": 404, "message": "Not Found", "requestId": "1"}',
    "a number as the code, capital": b'{"Code": 404, "Message": "Not Found", "RequestId": "1"}',
    "a number as text": b'{"code": "404", "message": "Not Found", "requestId": "1"}',
    "a name of a status": b'{"code": "NOT_FOUND", "message": "model not found", "requestId": "1"}',
    "a name of a status, capital": b'{"Code": "NotFound", "Message": "Not Found", "RequestId": "1"}',
    "another product's code": b'{"code": "RouteNotFound", "message": "not found", "requestId": "1"}',
    "a list as the code": b'{"Code": [404], "RequestId": "1", "code": [404], "requestId": "1"}',
    "an object as the code": b'{"Code": {"a": 1}, "RequestId": "1", "code": {"a": 1}, "requestId": "1"}',
    "true as the code": b'{"Code": true, "RequestId": "1", "code": true, "requestId": "1"}',
    "the own code, but no request id": b'{"Code": "EntityNotExist", "code": "NoSuchKey", "message": "not found"}',
    "an error code without a log id": b'{"error_code": 404, "error_msg": "404 page not found"}',
}


@pytest.mark.parametrize("body", FOREIGN)
@pytest.mark.parametrize(("kind", "query"), CASES)
async def test_a_404_of_another_server_is_an_error_and_not_absence(kind: str, query: str, body: str) -> None:
    async with answering(lambda target: response(FOREIGN[body], status="404 Not Found"), KINDS[kind][0]) as gateway:
        answer = await gateway.query(query)
    assert list(answer.body["data"].values()) == [None]
    assert answer.codes == ["REGISTRY_BAD_ANSWER"]


@pytest.mark.parametrize(("kind", "query"), CASES)
async def test_a_code_in_a_header_alone_is_not_absence(kind: str, query: str) -> None:
    answer = response(FOREIGN["HTML"], "x-bce-error-code: NoSuchKey", status="404 Not Found")
    async with answering(lambda target: answer, KINDS[kind][0]) as gateway:
        assert (await gateway.query(query)).codes == ["REGISTRY_BAD_ANSWER"]


FAILURES = {
    "401 Unauthorized": "REGISTRY_UNAUTHENTICATED",
    "403 Forbidden": "REGISTRY_FORBIDDEN",
    "429 Too Many Requests": "REGISTRY_THROTTLED",
    "500 Internal Server Error": "REGISTRY_UNAVAILABLE",
    "502 Bad Gateway": "REGISTRY_UNAVAILABLE",
}
NOT_FOUND_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("pai", {"RequestId": "1", "Code": "201600003", "Message": "upstream host not found"}),
    ("pai", {"RequestId": "1", "Code": "EntityNotExist.Model", "Message": "not found"}),
    ("pai", {"requestId": "1", "code": "201600003", "message": "permission not found"}),
    ("qianfan", {"log_id": "1", "error_code": 500004, "error_msg": "model not found"}),
    ("qianfan", {"error_code": 404, "error_msg": "404 page not found"}),
    ("qianfan v2", {"requestId": "1", "code": "NoSuchKey", "message": "not found"}),
]


@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize(("kind", "body"), NOT_FOUND_BODIES)
async def test_a_status_of_failure_is_never_absence(kind: str, body: Any, status: str) -> None:
    make, queries = KINDS[kind]
    answer = response(json.dumps(body).encode(), status=status)
    async with answering(lambda target: answer, make, retry=RetrySettings(attempts=1)) as gateway:
        assert (await gateway.query(queries[0])).codes == [FAILURES[status]]


OTHER_CODES = {
    "InvalidAccessKeyId": "REGISTRY_UNAUTHENTICATED",
    "InvalidSecurityToken": "REGISTRY_UNAUTHENTICATED",
    "InvalidSignature": "REGISTRY_UNAUTHENTICATED",
    "InvalidTimeStamp": "REGISTRY_UNAUTHENTICATED",
    "IncompleteSignature": "REGISTRY_UNAUTHENTICATED",
    "EntityNotExist.Workspace": "REGISTRY_BAD_ANSWER",
    "WorkspaceNotFound": "REGISTRY_BAD_ANSWER",
    "EndpointNotFound": "REGISTRY_BAD_ANSWER",
    "Model": "REGISTRY_BAD_ANSWER",
}


@pytest.mark.parametrize("code", OTHER_CODES)
async def test_another_code_of_the_registry_is_not_absence(code: str) -> None:
    make, queries = KINDS["pai"]
    body = json.dumps({"RequestId": "1", "Code": code, "Message": "not found"}).encode()
    async with answering(lambda target: response(body, status="404 Not Found"), make) as gateway:
        assert (await gateway.query(queries[0])).codes == [OTHER_CODES[code]]


OWN_BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("pai", "404 Not Found", {"RequestId": "1", "Code": "EntityNotExist.Model", "Message": "m"}),
    ("pai", "404 Not Found", {"RequestId": "1", "Code": "ModelNotFound", "Message": "m"}),
    ("pai", "404 Not Found", {"requestId": "1", "code": "201600003", "message": "m"}),
    ("pai", "400 Bad Request", {"RequestId": "1", "Code": "201600003", "Message": "The model does not exist."}),
    ("qianfan", "200 OK", {"log_id": 1, "error_code": 500004, "error_msg": "model not found"}),
    ("qianfan", "404 Not Found", {"log_id": "1", "error_code": 500004, "error_msg": "model not found"}),
    ("qianfan v2", "404 Not Found", {"requestId": "1", "code": "NoSuchModel", "message": "m"}),
]


@pytest.mark.parametrize(("kind", "status", "body"), OWN_BODIES)
async def test_every_form_of_the_registrys_own_absence_is_null_without_an_error(
    kind: str, status: str, body: Any
) -> None:
    make, queries = KINDS[kind]
    async with answering(lambda target: response(json.dumps(body).encode(), status=status), make) as gateway:
        assert list((await gateway.query(queries[0])).data.values()) == [None]


OWN = {
    "pai": {"RequestId": "1", "HostId": "h", "Code": "201600003", "Message": "The model does not exist."},
    "qianfan": {"requestId": "1", "code": "NoSuchKey", "message": "The resource you requested does not exist"},
    "qianfan v2": {"requestId": "1", "code": "NoSuchKey", "message": "The resource you requested does not exist"},
}


@pytest.mark.parametrize(("kind", "query"), CASES)
async def test_a_404_of_the_registry_is_null_without_an_error(kind: str, query: str) -> None:
    body = json.dumps(OWN[kind]).encode()
    async with answering(lambda target: response(body, status="404 Not Found"), KINDS[kind][0]) as gateway:
        assert list((await gateway.query(query)).data.values()) == [None]


WRONG_ADDRESS = [
    ("pai", {"RequestId": "1", "Code": "InvalidApi.NotFound", "Message": "Specified api is not found."}),
    ("pai", {"RequestId": "1", "Code": "InvalidAction.NotFound", "Message": "Specified api is not found."}),
    ("pai", {"RequestId": "1", "Code": "InvalidVersion", "Message": "Specified parameter Version is not valid."}),
    ("qianfan", {"requestId": "1", "code": "InvalidVersion", "message": "not found"}),
    ("qianfan v2", {"requestId": "1", "code": "InvalidURI", "message": "not found"}),
]


@pytest.mark.parametrize(("kind", "error"), WRONG_ADDRESS)
async def test_an_operation_that_does_not_exist_is_not_an_absent_object(kind: str, error: Any) -> None:
    make, queries = KINDS[kind]
    body = json.dumps(error).encode()
    async with answering(lambda target: response(body, status="404 Not Found"), make) as gateway:
        assert (await gateway.query(queries[0])).codes == ["REGISTRY_REJECTED"]


STATUSES = {
    "404 Not Found": "sent a response that the gateway cannot read",
    "401 Unauthorized": "does not accept the configured credentials",
    "403 Forbidden": "denies the configured credentials access",
    "429 Too Many Requests": "is limiting the rate of calls",
    "502 Bad Gateway": "is unavailable",
    "400 Bad Request": "rejected the request",
}


@pytest.mark.parametrize("make", [pai, qianfan])
@pytest.mark.parametrize("status", STATUSES)
async def test_operators_read_that_the_error_is_not_the_registrys_own(
    status: str, make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with registry_answering(lambda target: response(FOREIGN["HTML"], status=status)) as url:
        [result] = await probe(settings(make(url)))
    reason = f"status {status[:3]} without the registry's own error"
    assert result.problem == f'Registry "{result.name}" {STATUSES[status]}. ({reason})'
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"cause {reason}" in record.getMessage()


async def test_the_command_check_names_a_response_that_is_no_json() -> None:
    async with registry_answering(lambda target: response(FOREIGN["HTML"])) as url:
        [result] = await probe(settings(pai(url)))
    assert result.problem == (
        'Registry "pai" sent a response that the gateway cannot read. '
        "(status 200 without the JSON document of this call)"
    )
