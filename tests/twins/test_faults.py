"""The switches: what was asked is counted, and every fault looks to a client as it would in the wild."""

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


async def test_calls_are_counted_since_the_last_reset_whether_good_or_not(
    twins: Twins, http: aiohttp.ClientSession, pai: Send, baidu: Send
) -> None:
    twins.faults.replace({"userList": {"status": 500}})
    await pai()
    await pai(secret="not-the-secret")
    await baidu("/wenxinworkshop/modelrepo/model/user/list")
    counted = await (await http.get(f"{twins.url}/_twin/calls")).json()
    assert counted == {"calls": {"ListModels": 2, "userList": 1}}
    assert (await http.delete(f"{twins.url}/_twin/calls")).status == 204
    assert await (await http.get(f"{twins.url}/_twin/calls")).json() == {"calls": {}}


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ([], "Faults are an object of call names."),
        ({"ListModel": {}}, "There is no call ListModel; known are *, Describe"),
        ({"ListModels": 503}, "The fault of ListModels is an object."),
        ({"ListModels": {"code": "x"}}, "A fault has no code; known are body, content_type, drip"),
        ({"ListModels": {"status": "503"}}, 'status of ListModels is an HTTP status from 200 to 599, not "503".'),
        ({"*": {"latency": -1}}, "latency of * is a number of seconds, not -1."),
        ({"*": {"times": 0}}, "times of * is a positive whole number, not 0."),
        ({"*": {"drop": "after"}}, 'drop of * is "before" or "body", not "after".'),
        ({"*": {"headers": {"a": 1}}}, 'headers of * is an object of texts, not {"a": 1}.'),
        ({"*": {"hang": 1}}, "hang of * is true or false, not 1."),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, str) else "",
)
async def test_a_fault_that_is_not_understood_is_refused_in_plain_words(
    twins: Twins, http: aiohttp.ClientSession, pai: Send, faults: object, says: str
) -> None:
    await set_faults(http, twins, {"ListModels": {"status": 503}})
    status, text = await set_faults(http, twins, faults)
    assert status == 400
    assert text.startswith(says)
    assert (await pai()).status == 503, "the faults in force stay"


async def test_unknown_switches_and_malformed_faults_are_refused(twins: Twins, http: aiohttp.ClientSession) -> None:
    assert (await http.get(f"{twins.url}/_twin/nothing")).status == 404
    assert (await http.put(f"{twins.url}/_twin/faults", data=b"{")).status == 400


async def test_a_call_has_its_own_fault_before_the_common_one_until_cleared(
    twins: Twins, http: aiohttp.ClientSession, pai: Send
) -> None:
    assert (await set_faults(http, twins, {"*": {"status": 500}, "GetModel": {"status": 403}}))[0] == 204
    assert (await pai()).status == 500
    assert (await pai("GetModel", "/api/v1/models/model-rbvg5wzljzjhc9ks92")).status == 403
    assert (await set_faults(http, twins, {}))[0] == 204
    assert (await pai()).status == 200


async def test_a_fault_can_be_for_the_first_calls_only(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"status": 503, "times": 2}})
    assert [(await pai()).status for _ in range(4)] == [503, 503, 200, 200]


async def test_errors_are_worded_as_the_cloud_words_them(twins: Twins, pai: Send, baidu: Send) -> None:
    twins.faults.replace(
        {
            "ListModels": {"error": "Throttling.User", "status": 429, "headers": {"x-acs-retry-after": "1000"}},
            "modelDetail": {"error": "18"},
            "userList": {"error": "AccessDenied"},
            "DescribeModel": {"error": "InternalError", "message": "Again, please."},
        }
    )
    answer = await pai()
    assert (answer.status, (await answer.json())["Code"]) == (429, "Throttling.User")
    assert answer.headers["x-acs-retry-after"] == "1000"
    answer = await baidu(body={"modelId": 5862})
    body = await answer.json()
    assert (answer.status, body["error_code"], body["error_msg"]) == (200, 18, "Open api qps request limit reached")
    answer = await baidu("/wenxinworkshop/modelrepo/model/user/list")
    assert (answer.status, answer.headers["X-Bce-Error-Code"]) == (403, "AccessDenied")
    answer = await baidu("/v2/model", {"modelId": "amv-x"}, "DescribeModel")
    assert (answer.status, (await answer.json())["message"]) == (500, "Again, please.")


async def test_a_bad_signature_is_refused_even_under_a_fault(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"*": {"status": 503}})
    assert (await pai(secret="not-the-secret")).status == 400


async def test_a_body_can_be_anything(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"body": "<html>卡住了", "content_type": "text/html; charset=utf-8"}})
    answer = await pai()
    assert (answer.status, answer.content_type, await answer.text()) == (200, "text/html", "<html>卡住了")
    twins.faults.replace({"ListModels": {"body": "[1", "status": 502}})
    answer = await pai()
    assert (answer.status, await answer.text()) == (502, "[1")


@pytest.mark.parametrize("kind", ["before", "body"])
async def test_a_dropped_connection_is_a_client_error(twins: Twins, pai: Send, kind: str) -> None:
    twins.faults.replace({"ListModels": {"drop": kind}})
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        await (await pai()).read()


async def test_a_redirect_points_elsewhere(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"redirect": "http://169.254.169.254/"}})
    answer = await pai()
    assert (answer.status, answer.headers["Location"]) == (302, "http://169.254.169.254/")


async def test_a_gzip_bomb_expands_to_json_of_the_size_asked_for(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"gzip_bomb": 3_000_000}})
    body = await (await pai()).read()
    assert len(body) == 3_000_000
    assert json.loads(body) == {}


@pytest.mark.parametrize("http", [{"auto_decompress": False}], indirect=True)
async def test_a_gzip_bomb_is_small_on_the_wire(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"gzip_bomb": 3_000_000}})
    packed = await (await pai()).read()
    assert len(packed) < 10_000
    assert len(gzip.decompress(packed)) == 3_000_000


async def test_a_truncated_gzip_body_does_not_unpack(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"truncated_gzip": True}})
    answer = await pai()
    assert answer.headers["Content-Encoding"] == "gzip"
    with pytest.raises((aiohttp.ClientPayloadError, json.JSONDecodeError)):
        json.loads(await answer.read())


async def test_a_dripping_body_comes_in_pieces_and_whole(twins: Twins, pai: Send) -> None:
    twins.faults.replace({"ListModels": {"drip": 2_000_000}})
    pieces = [piece async for piece in (await pai(query={"PageSize": "100"})).content.iter_any()]
    assert len(pieces) > 1
    assert len(json.loads(b"".join(pieces))["Models"]) > 10


@pytest.mark.parametrize("fault", [{"hang": True}, {"latency": 3600}], ids=["hang", "latency"])
async def test_a_call_that_never_comes_back_can_be_given_up(twins: Twins, pai: Send, fault: dict[str, Any]) -> None:
    twins.faults.replace({"ListModels": fault})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pai(), 0.05)
    twins.faults.clear()
    assert (await pai()).status == 200


async def counted(http: aiohttp.ClientSession, url: str) -> None:
    """Come back when the twin has been asked something."""
    while not (await (await http.get(f"{url}/_twin/calls")).json())["calls"]:
        pass


async def test_a_hanging_call_is_cut_when_the_fault_is_replaced(
    twins: Twins, http: aiohttp.ClientSession, baidu: Send
) -> None:
    twins.faults.replace({"modelDetail": {"hang": True}})
    waiting = asyncio.create_task(baidu(body={"modelId": 5862}))
    await counted(http, twins.url)
    twins.faults.clear()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting


async def test_a_stopped_twin_closes_every_socket(http: aiohttp.ClientSession) -> None:
    async with serving(corpus=Corpus(0)) as stopped:
        stopped.faults.replace({"modelDetail": {"hang": True}})
        waiting = asyncio.create_task(http.post(f"{stopped.url}/wenxinworkshop/modelrepo/modelDetail"))
        await counted(http, stopped.url)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await waiting
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{stopped.url}/_twin/calls")


async def test_two_twins_stand_side_by_side_with_their_own_corpora() -> None:
    async with serving(models=0) as one, serving(corpus=Corpus(0, references=False)) as other:
        assert one.port != other.port
        assert len(one.corpus.pai_models) == 3
        assert len(other.corpus.pai_models) == 0
