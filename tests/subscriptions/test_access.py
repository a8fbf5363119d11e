"""Who may see a version may watch it, and no longer than that."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.catalog.operation import DEFAULT_BOUNDS, Answers, Operation
from gateway.catalog.watching import Watches
from gateway.errors import Forbidden
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


@dataclass(frozen=True, slots=True)
class Expiring(Scene):
    """The scene of a caller whose key is good for seven seconds; ``expire`` gives what it may do after that."""

    expire: Callable[[], Operation] | None = None

    def operation(self, answers: Answers | None = None) -> Operation:
        if now() < 7:
            return Operation(self.registries, self.bounds, self.wanted, answers)
        assert self.expire is not None
        return self.expire()


def watched(expire: Callable[[], Operation]) -> tuple[list[Any], int]:
    """The results of a subscription of such a caller, and how many still watch when it has ended."""
    watches = Watches(SubscriptionSettings(interval=5.0), random=lambda: 0.5)
    documents, persisted = Documents(CORE, LIMITS, True), Persisted(DocumentsSettings())
    executor = Executor(SCHEMA, documents, persisted, Gate(LIMITS), Observer(TelemetrySettings()), watches)

    async def main() -> list[Any]:
        cloud = in_turn(document(), document(), document(VersionDescription="secret"), document("Approved"))
        scene = Expiring({"pai": registry(cloud)}, DEFAULT_BOUNDS, ANY, frozenset(), expire=expire)
        prepared = executor.prepare(Asked(WATCH.replace("model-watched", "model-1")), scene)
        assert isinstance(prepared, Prepared)
        return [json.loads(result.body) async for result in executor.stream(prepared, scene)]

    return simulate(main()), watches.size


def no_longer() -> Operation:
    raise Forbidden("The key has expired.")


def test_a_caller_whose_access_ends_is_told_so_and_nothing_more() -> None:
    results, left = watched(no_longer)
    assert results[0] == {"data": {"modelVersionChanged": {"approval": "PENDING"}}}
    assert results[1]["data"] == {"modelVersionChanged": None}
    assert [error["extensions"]["code"] for error in results[1]["errors"]] == ["FORBIDDEN"]
    assert (len(results), left) == (2, 0)


def test_a_caller_who_loses_a_registry_no_longer_knows_its_ids() -> None:
    results, left = watched(lambda: Operation({}))
    assert [error["extensions"]["code"] for error in results[1]["errors"]] == ["INVALID_ID"]
    assert (len(results), left) == (2, 0)
