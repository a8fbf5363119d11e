"""Counters of calls, and faults as clients see them."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from gateway.twins import Corpus, Twins, serving

Send = Callable[..., Coroutine[Any, Any, aiohttp.ClientResponse]]


async def set_faults(http: aiohttp.ClientSession, twins: Twins, faults: object) -> tuple[int, str]:
    answer = await http.put(f"{twins.url}/_twin/faults", data=json.dumps(faults))
    return answer.status, await answer.text()


async def test_successful_and_failed_calls_are_counted_until_a_reset(
    twins: Twins, http: aiohttp.ClientSession, call_pai: Send, call_qianfan: Send
) -> None:
    twins.faults.replace({"userList": {"status": 500}})
    await call_pai()
    await call_pai(secret="not-the-secret")
    await call_qianfan("/wenxinworkshop/modelrepo/model/user/list")
    counted = await (await http.get(f"{twins.url}/_twin/calls")).json()
    assert counted == {"calls": {"ListModels": 2, "userList": 1}}
    assert (await http.delete(f"{twins.url}/_twin/calls")).status == 204
    assert await (await http.get(f"{twins.url}/_twin/calls")).json() == {"calls": {}}


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([], "Faults must be an object of call names."),
        ({"ListModel": {}}, "Unknown call ListModel; known calls: *, Describe"),
        ({"ListModels": 503}, "The fault of ListModels must be an object."),
        ({"ListModels": {"code": "x"}}, "Unknown field code of a fault; known fields: body, content_type, drip"),
        ({"ListModels": {"status": "503"}}, 'status of ListModels must be an HTTP status from 200 to 599, not "503".'),
        ({"*": {"latency": -1}}, "latency of * must be a number of seconds, not -1."),
        ({"*": {"times": 0}}, "times of * must be a positive whole number, not 0."),
        ({"*": {"drop": "after"}}, 'drop of * must be "before" or "body", not "after".'),
        ({"*": {"headers": {"a": 1}}}, 'headers of * must be an object of texts, not {"a": 1}.'),
        ({"*": {"hang": 1}}, "hang of * must be true or false, not 1."),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, str) else "",
)
async def test_an_invalid_fault_is_refused_with_a_message(
    twins: Twins, http: aiohttp.ClientSession, call_pai: Send, faults: object, message: str
) -> None:
    await set_faults(http, twins, {"ListModels": {"status": 503}})
    status, text = await set_faults(http, twins, faults)
    assert status == 400
    assert text.startswith(message)
    assert (await call_pai()).status == 503, "the active faults stay"


async def test_unknown_control_paths_and_malformed_faults_are_refused(
    twins: Twins, http: aiohttp.ClientSession
) -> None:
    assert (await http.get(f"{twins.url}/_twin/nothing")).status == 404
    assert (await http.put(f"{twins.url}/_twin/faults", data=b"{")).status == 400


async def test_the_fault_of_a_call_takes_precedence_over_the_common_fault(
    twins: Twins, http: aiohttp.ClientSession, call_pai: Send
) -> None:
    assert (await set_faults(http, twins, {"*": {"status": 500}, "GetModel": {"status": 403}}))[0] == 204
    assert (await call_pai()).status == 500
    assert (await call_pai("GetModel", "/api/v1/models/model-rbvg5wzljzjhc9ks92")).status == 403
    assert (await set_faults(http, twins, {}))[0] == 204
    assert (await call_pai()).status == 200


async def test_a_fault_can_be_limited_to_a_number_of_calls(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"status": 503, "times": 2}})
    assert [(await call_pai()).status for _ in range(4)] == [503, 503, 200, 200]


async def test_errors_have_the_format_of_the_cloud(twins: Twins, call_pai: Send, call_qianfan: Send) -> None:
    twins.faults.replace(
        {
            "ListModels": {"error": "Throttling.User", "status": 429, "headers": {"x-acs-retry-after": "1000"}},
            "modelDetail": {"error": "18"},
            "userList": {"error": "AccessDenied"},
            "DescribeModel": {"error": "InternalError", "message": "Again, please."},
        }
    )
    answer = await call_pai()
    assert (answer.status, (await answer.json())["Code"]) == (429, "Throttling.User")
    assert answer.headers["x-acs-retry-after"] == "1000"
    answer = await call_qianfan(body={"modelId": 5862})
    body = await answer.json()
    assert (answer.status, body["error_code"], body["error_msg"]) == (200, 18, "Open api qps request limit reached")
    answer = await call_qianfan("/wenxinworkshop/modelrepo/model/user/list")
    assert (answer.status, answer.headers["X-Bce-Error-Code"]) == (403, "AccessDenied")
    answer = await call_qianfan("/v2/model", {"modelId": "amv-x"}, "DescribeModel")
    assert (answer.status, (await answer.json())["message"]) == (500, "Again, please.")


async def test_an_invalid_signature_is_refused_even_with_a_fault(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"*": {"status": 503}})
    assert (await call_pai(secret="not-the-secret")).status == 400


async def test_a_fault_can_replace_the_body(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"body": "<html>卡住了", "content_type": "text/html; charset=utf-8"}})
    answer = await call_pai()
    assert (answer.status, answer.content_type, await answer.text()) == (200, "text/html", "<html>卡住了")
    twins.faults.replace({"ListModels": {"body": "[1", "status": 502}})
    answer = await call_pai()
    assert (answer.status, await answer.text()) == (502, "[1")


@pytest.mark.parametrize("kind", ["before", "body"])
async def test_a_fault_can_drop_the_connection(twins: Twins, call_pai: Send, kind: str) -> None:
    twins.faults.replace({"ListModels": {"drop": kind}})
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        await (await call_pai()).read()


async def test_a_fault_can_redirect(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"redirect": "http://169.254.169.254/"}})
    answer = await call_pai()
    assert (answer.status, answer.headers["Location"]) == (302, "http://169.254.169.254/")


async def test_a_gzip_bomb_expands_to_json_of_the_requested_size(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"gzip_bomb": 3_000_000}})
    body = await (await call_pai()).read()
    assert len(body) == 3_000_000
    assert json.loads(body) == {}


@pytest.mark.parametrize("http", [{"auto_decompress": False}], indirect=True)
async def test_a_gzip_bomb_is_small_on_the_wire(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"gzip_bomb": 3_000_000}})
    compressed = await (await call_pai()).read()
    assert len(compressed) < 10_000
    assert len(gzip.decompress(compressed)) == 3_000_000


async def test_a_truncated_gzip_body_cannot_be_decompressed(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"truncated_gzip": True}})
    answer = await call_pai()
    assert answer.headers["Content-Encoding"] == "gzip"
    with pytest.raises((aiohttp.ClientPayloadError, json.JSONDecodeError)):
        json.loads(await answer.read())


async def test_a_dripping_body_arrives_in_pieces_and_complete(twins: Twins, call_pai: Send) -> None:
    twins.faults.replace({"ListModels": {"drip": 2_000_000}})
    pieces = [piece async for piece in (await call_pai(query={"PageSize": "100"})).content.iter_any()]
    assert len(pieces) > 1
    assert len(json.loads(b"".join(pieces))["Models"]) > 10


@pytest.mark.parametrize("fault", [{"hang": True}, {"latency": 3600}], ids=["hang", "latency"])
async def test_a_client_can_time_out_a_hanging_call(twins: Twins, call_pai: Send, fault: dict[str, Any]) -> None:
    twins.faults.replace({"ListModels": fault})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call_pai(), 0.05)
    twins.faults.clear()
    assert (await call_pai()).status == 200


async def wait_for_a_call(http: aiohttp.ClientSession, url: str) -> None:
    """Wait until the twins have received a call."""
    while not (await (await http.get(f"{url}/_twin/calls")).json())["calls"]:
        pass


async def test_replacing_the_faults_disconnects_hanging_calls(
    twins: Twins, http: aiohttp.ClientSession, call_qianfan: Send
) -> None:
    twins.faults.replace({"modelDetail": {"hang": True}})
    waiting = asyncio.create_task(call_qianfan(body={"modelId": 5862}))
    await wait_for_a_call(http, twins.url)
    twins.faults.clear()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting


async def test_stopped_twins_close_every_socket(http: aiohttp.ClientSession) -> None:
    async with serving(corpus=Corpus(0)) as stopped:
        stopped.faults.replace({"modelDetail": {"hang": True}})
        waiting = asyncio.create_task(http.post(f"{stopped.url}/wenxinworkshop/modelrepo/modelDetail"))
        await wait_for_a_call(http, stopped.url)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{stopped.url}/_twin/calls")


async def test_two_servers_of_twins_have_separate_corpora() -> None:
    async with serving(models=0) as one, serving(corpus=Corpus(0, references=False)) as other:
        assert one.port != other.port
        assert len(one.corpus.pai_models) == 3
        assert len(other.corpus.pai_models) == 0
