"""Who may see a version may watch it, and no longer than that."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.operation import DEFAULT_BOUNDS
from gateway.catalog.watching import Watches
from gateway.errors import Unauthenticated
from gateway.graph.documents import Documents
from gateway.graph.schema import CORE, SCHEMA
from gateway.settings import DocumentsSettings, LimitsSettings, SubscriptionSettings, TelemetrySettings
from gateway.telemetry.observer import Observer
from gateway.upstream.source import ANY
from gateway.web.executor import Executor, Prepared, Scene
from gateway.web.gate import Gate
from gateway.web.persisted import Persisted
from gateway.web.requests import Asked
from tests.subscriptions.conftest import WATCH
from tests.subscriptions.test_watching import document, registry
from tests.upstream.simulated import in_turn, now, simulate

LIMITS = LimitsSettings()


def watched(afterwards: Callable[[Scene], Scene]) -> tuple[list[Any], int]:
    """The results of a subscription of a caller who has another scene after seven seconds, and how many still watch
    when it has ended."""
    watches = Watches(SubscriptionSettings(interval=5.0), random=lambda: 0.5)
    documents, persisted = Documents(CORE, LIMITS, True), Persisted(DocumentsSettings())
    executor = Executor(SCHEMA, documents, persisted, Gate(LIMITS), Observer(TelemetrySettings()), watches)

    async def main() -> list[Any]:
        cloud = in_turn(document(), document(), document(VersionDescription="secret"), document("Approved"))
        scene = Scene({"pai": registry(cloud)}, DEFAULT_BOUNDS, ANY, frozenset({"raw"}))

        async def enter() -> Scene:
            return scene if now() < 7 else afterwards(scene)

        query = WATCH.replace("model-watched", "model-1").replace("approval", "approval raw")
        prepared = executor.prepare(Asked(query), scene)
        assert isinstance(prepared, Prepared)
        return [json.loads(result.body) async for result in executor.stream(prepared, scene, enter)]

    return simulate(main()), watches.size


def expired(scene: Scene) -> Scene:
    raise Unauthenticated("a key that has expired")


@pytest.mark.parametrize(
    ("afterwards", "code"),
    [
        (expired, Unauthenticated.code),
        (lambda scene: replace(scene, registries={}), "INVALID_ID"),
        (lambda scene: replace(scene, roles=frozenset()), "FORBIDDEN"),
    ],
    ids=["key expired", "registry no longer visible", "no longer allowed to see `raw`"],
)
def test_a_caller_whose_access_ends_is_told_so_and_nothing_more(
    afterwards: Callable[[Scene], Scene], code: str
) -> None:
    results, left = watched(afterwards)
    assert results[0]["data"]["modelVersionChanged"]["approval"] == "PENDING"
    assert results[1]["data"] == {"modelVersionChanged": None}
    assert [error["extensions"]["code"] for error in results[1]["errors"]] == [code]
    assert (len(results), left) == (2, 0)
