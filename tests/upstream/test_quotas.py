"""The quota of a registry's calls: the default of its kind, unless the settings replace it."""

import asyncio
from typing import Any

import pytest

from gateway.catalog.registry import Registry
from gateway.config.settings import LimitsSettings, QuotaSettings
from gateway.registries import KINDS
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Destination
from tests.conftest import mlflow, pai, qianfan
from tests.sagemaker.conftest import sagemaker
from tests.upstream.simulated import Scripted, request, resilient_client, simulate

URL = "http://127.0.0.1:9"


def destination(kind: str, **options: Any) -> Destination:
    """Return the destination of a registry of a kind."""
    if kind == "sagemaker":
        settings: Any = sagemaker(URL, ("AKIATESTKEY", "secret", ""), **options)
    else:
        settings = {"pai": pai, "qianfan": qianfan, "mlflow": mlflow}[kind](URL, **options)
    return Registry(KINDS[kind].of(settings), settings, UncachedClient(None)).destination  # type: ignore[arg-type]


def started(to: Destination, quota: QuotaSettings) -> int:
    """Return how many of 60 calls start at once."""

    async def run() -> int:
        release = asyncio.Event()

        async def answering(*_: Any) -> Any:
            await release.wait()
            return {}

        sender = Scripted(answering)
        client = resilient_client(sender, quota=quota)
        calls = [asyncio.ensure_future(client.send(to, request())) for _ in range(60)]
        for _ in range(5):
            await asyncio.sleep(0)
        count = len(sender.times)
        release.set()
        await asyncio.gather(*calls, return_exceptions=True)
        return count

    return simulate(run())


@pytest.mark.parametrize(("kind", "count"), [("pai", 32), ("qianfan", 32), ("mlflow", 32), ("sagemaker", 16)])
def test_without_settings_the_quota_is_that_of_the_kind(kind: str, count: int) -> None:
    assert started(destination(kind), QuotaSettings()) == count


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_replaces_a_part_of_the_quota_of_every_kind(kind: str) -> None:
    assert started(destination(kind), QuotaSettings(in_flight=5)) == 5
    assert started(destination(kind), QuotaSettings(requests_per_second=7)) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_of_the_registry_replaces_the_others(kind: str) -> None:
    quota = QuotaSettings(requests_per_second=50, in_flight=10)
    assert started(destination(kind, in_flight=12), quota) == 12
    assert started(destination(kind, requests_per_second=4), quota) == 4
    assert started(destination(kind, requests_per_second=50, in_flight=40), QuotaSettings()) == 40


@pytest.mark.parametrize("kind", KINDS)
def test_the_calls_for_the_rows_of_the_largest_page_start_within_the_longest_wait(kind: str) -> None:
    quota = KINDS[kind].quota
    assert quota.requests_per_second * (1 + quota.max_wait) > LimitsSettings().page_rows
