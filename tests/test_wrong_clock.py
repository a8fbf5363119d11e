"""A wrong clock of the gateway: operators read by how many seconds, callers see the code alone."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
