"""Subscriptions need access to the version, and end with it."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.polling import VersionPollers
from gateway.config.settings import (
    AccessSettings,
    DocumentsSettings,
    LimitsSettings,
    SubscriptionSettings,
    TelemetrySettings,
)
from gateway.errors import Unauthenticated
from gateway.execution.documents import Documents
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request import GraphQLRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.response_cache import ResponseCache
from gateway.memory_budget import BoundedCache
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.telemetry.observer import Observer
from gateway.upstream.caching_client import ANY
from tests.auth.gateways import Clock, KeyFile
from tests.subscriptions.conftest import WATCH, Setup, eventually, setup_with
from tests.subscriptions.test_polling import document, registry
from tests.subscriptions.test_sockets import complete_message, connect, next_message
from tests.upstream.simulated import in_turn, now, simulate

LIMITS = LimitsSettings()


def results_of_subscription(later_context: Callable[[RequestContext], RequestContext]) -> tuple[list[Any], int]:
    """Return the results of a subscription whose context changes after seven seconds, and the number of subscriptions
    left at its end."""
    pollers = VersionPollers(SubscriptionSettings(interval=5.0), random=lambda: 0.5)
    pipeline = Pipeline(
        SCHEMA,
        Documents(GRAPHQL_SCHEMA, LIMITS, suggestions=True, cache=BoundedCache(10**8)),
        PersistedQueries(DocumentsSettings(), BoundedCache(10**8)),
        CallerRateLimiter(LIMITS),
        Observer(TelemetrySettings()),
        pollers,
        ResponseCache(BoundedCache(0)),
    )

    async def main() -> list[Any]:
        cloud = in_turn(document(), document(), document(VersionDescription="secret"), document("Approved"))
        context = RequestContext({"pai": registry(cloud)}, DEFAULT_BOUNDS, ANY, frozenset({"raw"}))

        async def authenticate() -> RequestContext:
            return context if now() < 7 else later_context(context)

        query = WATCH.replace("model-watched", "model-1").replace("approval", "approval raw")
        prepared = pipeline.prepare(GraphQLRequest(query), context)
        assert isinstance(prepared, PreparedOperation)
        return [json.loads(result.body) async for result in pipeline.stream(prepared, context, authenticate)]

    return simulate(main()), pollers.size


def expired(context: RequestContext) -> RequestContext:
    raise Unauthenticated("a key that has expired")


@pytest.mark.parametrize(
    ("later_context", "code"),
    [
        (expired, Unauthenticated.code),
        (lambda context: replace(context, registries={}), "INVALID_ID"),
        (lambda context: replace(context, roles=frozenset()), "FORBIDDEN"),
    ],
    ids=["key expired", "registry no longer visible", "no longer allowed to see `raw`"],
)
def test_the_end_of_access_ends_the_subscription_with_an_error(
    later_context: Callable[[RequestContext], RequestContext], code: str
) -> None:
    results, left = results_of_subscription(later_context)
    assert results[0]["data"]["modelVersionChanged"]["approval"] == "PENDING"
    assert results[1]["data"] == {"modelVersionChanged": None}
    assert [error["extensions"]["code"] for error in results[1]["errors"]] == [code]
    assert (len(results), left) == (2, 0)


@pytest.fixture
async def with_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[tuple[Setup, KeyFile, Clock]]:
    """A gateway with API keys, its key file and its clock."""
    key_file, clock = KeyFile(tmp_path / "keys.toml"), Clock()
    key_file.add()
    access = AccessSettings(mode="callers", keys=str(key_file.path))
    async with setup_with(monkeypatch, {}, clock, access=access) as setup:
        yield setup, key_file, clock


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_websocket_is_authenticated_by_its_handshake_or_its_initialization(
    with_keys: tuple[Setup, KeyFile, Clock],
) -> None:
    setup, key_file, _ = with_keys
    key = next(iter(key_file.entries))
    for headers, payload in ((bearer(key), None), ({}, bearer(key)), ({}, {"x-api-key": key})):
        async with connect(setup.gateway, initialized=False, headers=headers) as client:
            await client.send(type="connection_init", payload=payload)
            assert await client.receive() == {"type": "connection_ack"}
            await client.subscribe("1", WATCH)
            assert (await client.receive())["type"] == "next"
    for payload in (None, {}, bearer("nonsense"), {"authorization": ""}):
        async with connect(setup.gateway, initialized=False) as client:
            await client.send(type="connection_init", payload=payload)
            assert await client.close_code() == 4403


async def test_a_removed_key_ends_subscriptions_and_refuses_new_ones(
    with_keys: tuple[Setup, KeyFile, Clock],
) -> None:
    setup, key_file, clock = with_keys
    key = key_file.add("leaves")
    clock.seconds += 5
    stream = setup.gateway.session.post(
        f"{setup.gateway.url}/graphql", json={"query": WATCH}, headers={**bearer(key), "Accept": "text/event-stream"}
    )
    async with connect(setup.gateway, initialized=False) as client, stream as response:
        await client.send(type="connection_init", payload=bearer(key))
        assert await client.receive() == {"type": "connection_ack"}
        await client.subscribe("1", WATCH)
        assert await client.receive() == next_message("PENDING")
        await eventually(lambda: setup.pollers.size == 2)

        key_file.remove(key)
        clock.seconds += 5
        await setup.poll(VersionDescription="secret")
        last = (await client.receive())["payload"]
        assert (last["data"], codes_of(last)) == ({"modelVersionChanged": None}, ["UNAUTHENTICATED"])
        assert await client.receive() == complete_message()
        assert b"UNAUTHENTICATED" in await response.read()

        await client.subscribe("2", WATCH)
        assert codes_of(await client.receive(), "payload") == ["UNAUTHENTICATED"]
    await eventually(lambda: setup.pollers.size == 0)


async def test_a_caller_cannot_subscribe_to_an_invisible_registry(with_keys: tuple[Setup, KeyFile, Clock]) -> None:
    setup, key_file, clock = with_keys
    key = key_file.add("elsewhere", registries=("qianfan",))
    clock.seconds += 5
    async with connect(setup.gateway, headers=bearer(key)) as client:
        await client.subscribe("1", WATCH)
        assert codes_of(await client.receive(), "payload") == ["INVALID_ID"]
    assert setup.polls == 0


async def test_events_need_authentication(with_keys: tuple[Setup, KeyFile, Clock]) -> None:
    setup, _, _ = with_keys
    answer = await setup.gateway.request("POST", json={"query": WATCH}, headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])


def codes_of(answer: dict[str, Any], where: str = "errors") -> list[str]:
    return [error["extensions"]["code"] for error in answer[where]]
