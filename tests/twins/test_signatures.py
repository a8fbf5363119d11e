"""Signature checks of the twins: invalid requests are refused with the cloud's own error codes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from gateway.twins import Twins

Send = Callable[..., Coroutine[Any, Any, aiohttp.ClientResponse]]
Move = Callable[[float], None]

NOT_NOW = {"x-acs-date": "22 Nov 2026"}
WRONG_HASH = {"x-acs-content-sha256": "0" * 64}
UNSIGNED_TOKEN = {"x-acs-security-token": "test-security-token"}


async def test_the_answer_to_a_valid_signature_has_a_request_id(call_pai: Send, call_qianfan: Send) -> None:
    answer = await call_pai()
    assert answer.status == 200
    assert answer.headers["x-acs-request-id"] == (await answer.json())["RequestId"]
    answer = await call_qianfan(body={"modelId": 5862})
    assert answer.status == 200
    assert answer.headers["x-bce-request-id"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"headers": {"x-acs-action": None}}, 400, "MissingAction"),
        ({"headers": {"x-acs-version": None}}, 400, "MissingVersion"),
        ({"headers": {"x-acs-date": None}}, 400, "MissingDate"),
        ({"headers": {"x-acs-signature-nonce": None}}, 400, "MissingSignatureNonce"),
        ({"headers": {"x-acs-content-sha256": None}}, 400, "MissingContentSha256"),
        ({"unsigned": {"authorization": ""}}, 400, "MissingAccessKeyId"),
        ({"unsigned": {"authorization": "acs id:c2ln"}}, 400, "InvalidSignatureMethod"),
        ({"unsigned": {"authorization": "ACS3-HMAC-SHA256 Credential=id"}}, 400, "IncompleteSignature"),
        ({"headers": NOT_NOW}, 400, "InvalidTimeStamp.Format"),
        ({"key": "nobody"}, 404, "InvalidAccessKeyId.NotFound"),
        ({"secret": "not-the-secret"}, 400, "SignatureDoesNotMatch"),
        ({"headers": WRONG_HASH}, 400, "SignatureDoesNotMatch"),
        ({"unsigned": UNSIGNED_TOKEN}, 400, "SignatureDoesNotMatch"),
        ({"headers": {"x-acs-security-token": "other"}}, 400, "InvalidSecurityToken.Malformed"),
        ({"action": "GetModel"}, 404, "InvalidApi.NotFound"),
        ({"headers": {"x-acs-version": "2022-01-12"}}, 404, "InvalidApi.NotFound"),
        ({"path": "/api/v1/nothing"}, 404, "InvalidApi.NotFound"),
        ({"method": "DELETE"}, 400, "UnsupportedHTTPMethod"),
    ],
    ids=lambda value: str(value) if not isinstance(value, int) else "",
)
async def test_pai_refuses_an_invalid_request(call_pai: Send, changes: dict[str, Any], status: int, code: str) -> None:
    answer = await call_pai(**changes)
    body = await answer.json()
    assert (answer.status, body["Code"]) == (status, code)
    assert set(body) == {"RequestId", "HostId", "Code", "Message", "Recommend"}


@pytest.mark.parametrize(("skew", "accepted"), [(-890, True), (890, True), (-910, False), (910, False)])
async def test_pai_accepts_a_clock_within_fifteen_minutes(
    call_pai: Send, twins: Twins, move_clock: Move, skew: float, accepted: bool
) -> None:
    signed_at: dict[str, str | None] = {"x-acs-date": f"{twins.now():%Y-%m-%dT%H:%M:%SZ}"}
    move_clock(skew)
    answer = await call_pai(headers=signed_at)
    assert (await answer.json()).get("Code") == (None if accepted else "InvalidTimeStamp.Expired")


async def test_pai_refuses_a_repeated_nonce_within_fifteen_minutes(call_pai: Send, move_clock: Move) -> None:
    nonce: dict[str, str | None] = {"x-acs-signature-nonce": "once"}
    assert (await call_pai(headers=nonce)).status == 200
    again = await call_pai(headers=nonce)
    assert (again.status, (await again.json())["Code"]) == (400, "SignatureNonceUsed")
    move_clock(901)
    assert (await call_pai(headers=nonce)).status == 200


async def test_a_forged_request_does_not_use_up_a_nonce(call_pai: Send) -> None:
    nonce: dict[str, str | None] = {"x-acs-signature-nonce": "mine"}
    assert (await call_pai(headers=nonce, secret="forged")).status == 400
    assert (await call_pai(headers=nonce)).status == 200


async def test_an_error_is_xml_unless_the_client_accepts_json(call_pai: Send) -> None:
    answer = await call_pai(secret="not-the-secret", headers={"accept": "*/*"})
    assert answer.content_type == "text/xml"
    assert "<Code>SignatureDoesNotMatch</Code>" in await answer.text()


async def test_the_query_is_read_from_the_raw_target(call_pai: Send, twins: Twins) -> None:
    query = {"ModelName": "a+b c*d/e:f,g~h&i=j%k", "Query": "", "Label": "情感 🚀"}
    assert (await call_pai(query=query)).status == 200
    assert twins.calls == {"ListModels": 1}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"unsigned": {"authorization": ""}}, 403, "AccessDenied"),
        ({"unsigned": {"authorization": "Bearer token"}}, 400, "InvalidHTTPAuthHeader"),
        ({"signed": ("x-bce-date", "content-type")}, 400, "InvalidHTTPAuthHeader"),
        ({"key": "nobody"}, 403, "InvalidAccessKeyId"),
        ({"secret": "not-the-secret"}, 403, "SignatureDoesNotMatch"),
        ({"unsigned": {"content-type": "text/plain"}}, 403, "SignatureDoesNotMatch"),
    ],
    ids=lambda value: str(value) if not isinstance(value, int) else "",
)
async def test_qianfan_refuses_an_invalid_signature(
    call_qianfan: Send, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = await call_qianfan(**changes)
    body = await answer.json()
    assert (answer.status, body["code"]) == (status, code)
    assert (answer.headers["X-Bce-Error-Code"], answer.headers["X-Bce-Error-Message"]) == (code, body["message"])
    assert body["requestId"] == answer.headers["x-bce-request-id"]


async def test_qianfan_refuses_a_signature_after_the_lifetime_that_the_client_chose(
    call_qianfan: Send, twins: Twins, move_clock: Move
) -> None:
    signed_at = twins.now()
    move_clock(299)
    assert (await call_qianfan(body={"modelId": 5862}, stamp=signed_at)).status == 200
    move_clock(302)
    answer = await call_qianfan(body={"modelId": 5862}, stamp=signed_at)
    assert (answer.status, (await answer.json())["code"]) == (400, "RequestExpired")
    move_clock(-902)
    assert (await call_qianfan(stamp=signed_at)).headers["X-Bce-Error-Code"] == "RequestExpired"


async def test_qianfan_accepts_a_replay_and_signed_headers_in_any_order(call_qianfan: Send, twins: Twins) -> None:
    once = twins.now()
    orders = [("host", "x-bce-date", "content-type"), ("x-bce-date", "host"), ("host",), ("host",)]
    answers = await asyncio.gather(
        *(call_qianfan(body={"modelId": 5862}, signed=names, stamp=once) for names in orders)
    )
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"raw": b"{"}, 200, 336002),
        ({"raw": b"[]"}, 200, 336003),
        ({"body": {"modelId": True}}, 200, 336003),
        ({"path": "/wenxinworkshop/modelrepo/nothing"}, 200, 3),
        ({"path": "/v2/model", "action": "DescribeModel", "raw": b"{"}, 400, "MalformedJSON"),
        ({"path": "/v2/model", "action": "DescribeModel", "raw": b"[]"}, 400, "InappropriateJSON"),
        ({"path": "/v2/model", "action": "DescribeModel", "body": {"modelId": 7203}}, 400, "InappropriateJSON"),
        ({"path": "/v2/model", "action": "DescribeModel"}, 400, "InappropriateJSON"),
        ({"path": "/v2/model", "action": "DescribeModelSet"}, 400, "InappropriateJSON"),
        ({"path": "/v2/model", "action": "DescribeCustomModelSets", "body": {"marker": "x"}}, 400, "InappropriateJSON"),
        ({"path": "/v2/model", "action": "DescribeSystemModel", "body": {"modelId": "amv-x"}}, 404, "NoSuchKey"),
        ({"path": "/v2/model", "action": "DescribeNothing"}, 400, "InvalidURI"),
        ({"path": "/v2/finetuning", "action": "DescribeFineTuningTask", "body": {"taskId": "x"}}, 404, "NoSuchKey"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_qianfan_v1_and_v2_have_their_own_error_formats(
    call_qianfan: Send, request_: dict[str, Any], status: int, code: int | str
) -> None:
    answer = await call_qianfan(**request_)
    body = await answer.json()
    assert (answer.status, body.get("error_code", body.get("code"))) == (status, code)


async def test_system_sets_and_models_have_no_source_and_labels(call_qianfan: Send) -> None:
    answer = await call_qianfan("/v2/model", {"modelSetId": "am-ju3hi4ts39u9"}, "DescribeSystemModelSet")
    described = (await answer.json())["result"]
    assert "source" not in described
    assert described["modelIds"] == ["amv-qb8ijukaish3"]
    answer = await call_qianfan("/v2/model", {"modelId": "amv-qb8ijukaish3"}, "DescribeSystemModel")
    model = (await answer.json())["result"]
    assert (model["capabilities"], model["modelProviders"]) == (["function_call"], ["Baidu"])
    assert model["tokenLimitations"] == {"trivial": {"inputTokens": 7168}}
