"""A wrong clock of the gateway: operators read by how many seconds, callers see the code alone."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from gateway import twins
from gateway.app import probe
from tests.conftest import pai, qianfan, served, settings

MODELS = {pai: "pai:model/model-rbvg5wzljzjhc9ks92", qianfan: "qianfan:model/5862"}


@pytest.mark.parametrize("make", [pai, qianfan])
@pytest.mark.parametrize(("hours", "side"), [(1, "behind"), (-1, "ahead of")])
async def test_a_wrong_clock_is_reported_in_seconds_to_operators_only(
    make: Callable[..., Any], hours: int, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with twins.serving() as twin:
        twin.now = lambda: datetime.now(UTC) + timedelta(hours=hours)
        [result] = await probe(settings(make(twin.url)))
        async with served(settings(make(twin.url))) as gateway:
            answer = await gateway.query("query ($id: ID!) { model(id: $id) { name } }", id=MODELS[make])
    reasons = [f"the gateway's clock is {seconds} s {side} the registry's" for seconds in (3599, 3600, 3601)]
    assert result.problem is not None
    assert any(reason in result.problem for reason in reasons)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all(any(reason in warning for reason in reasons) for warning in warnings)
    [error] = answer.body["errors"]
    assert error["message"] == f'Registry "{result.name}" does not accept the configured credentials.'
    assert error["extensions"].keys() == {"code", "registry", "retryable", "vendorCode", "requestId"}
    assert error["extensions"]["code"] == "REGISTRY_UNAUTHENTICATED"


@pytest.mark.parametrize("code", ["IllegalTimestamp", "InvalidTimeStamp.Expired", "InvalidTimestamp"])
async def test_every_code_for_a_wrong_time_has_the_hint(code: str) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = {"Code": code, "Message": "The timestamp is not valid.", "RequestId": "1"}
        return web.json_response(body, status=400, headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        [result] = await probe(settings(pai(url)))
        async with served(settings(pai(url))) as gateway:
            answered = await gateway.query("query ($id: ID!) { model(id: $id) { name } }", id=MODELS[pai])
    finally:
        await runner.cleanup()
    assert result.problem is not None
    assert "s ahead of the registry's" in result.problem
    assert answered.codes == ["REGISTRY_UNAUTHENTICATED"]
