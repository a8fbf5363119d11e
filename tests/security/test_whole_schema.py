"""Random queries over the whole schema and random faults of the clouds cause only documented errors."""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    IntValueNode,
    NameNode,
    ObjectFieldNode,
    ObjectValueNode,
    StringValueNode,
    Visitor,
    print_ast,
    print_schema,
    visit,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from gateway import errors
from gateway.config.settings import BreakerSettings, RetrySettings
from gateway.execution.entity_references import ENTITY_KEYS
from gateway.schema.schema import GRAPHQL_SCHEMA
from tests.conftest import World, two_clouds

EXAMPLES = int(os.environ.get("SECURITY_EXAMPLES", "100"))
"""Number of queries; set it higher for a longer run."""

FAULTS: list[dict[str, Any]] = [
    {}, {"status": 500}, {"status": 503, "error": "ServiceUnavailable"}, {"status": 429, "error": "Throttling.User"},
    {"status": 403, "error": "Forbidden"}, {"status": 404}, {"status": 400, "error": "InvalidParameter"},
    {"status": 401}, {"drop": "before"}, {"drop": "body"}, {"body": "<html>secret-host.example</html>"}, {"body": ""},
    {"body": "[]"}, {"body": "null"}, {"body": "{}"}, {"body": '{"Models": 1, "result": "x"}'},
    {"body": '{"Models": [1, null, {}], "result": {"modelList": [null, 1, {}], "list": {}}}'},
    {"body": '{"Models": {"a": []}, "TotalCount": "x", "result": []}'}, {"gzip_bomb": 20_000_000},
    {"truncated_gzip": True}, {"redirect": "http://169.254.169.254/"}, {"content_type": "text/html"},
    {"status": 200, "body": '{"error_code": 336000, "error_msg": "secret-host.example"}'}, {"hang": True},
    {"headers": {"Content-Type": "application/json; charset=utf-16"}}, {"status": 204}, {"latency": 0.01},
]  # fmt: skip

IDS = ["pai:model/nothing", "pai:algorithm/nothing", "qianfan:model/am-gggg4444hhhh", "nowhere:model/x", "..", ""]

CODES = {*re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", str(errors.__doc__))} - {"INTERNAL_SERVER_ERROR", "NOT_FOUND"}
"""Every documented code of clients, without the one for internal errors."""

LEAKS = re.compile(r"secret-host|169\.254|127\.0\.0\.1|Traceback|File \"|test-access-key|test-bce|object at 0x")
"""Texts that no response may contain: hosts, credentials, Python."""


class KnownValues(Visitor):
    """Replaces most texts by ids that exist or look similar, and most numbers by small ones."""

    def __init__(self, ids: list[str], seed: int) -> None:
        super().__init__()
        self.ids, self.rng = ids, random.Random(seed)  # noqa: S311

    def enter_string_value(self, node: StringValueNode, *_: Any) -> StringValueNode | None:
        return StringValueNode(value=self.rng.choice(self.ids)) if self.rng.random() < 0.8 else None

    def enter_int_value(self, node: IntValueNode, *_: Any) -> IntValueNode | None:
        return IntValueNode(value=str(self.rng.randint(1, 20))) if self.rng.random() < 0.8 else None


def reference(name: str) -> ObjectValueNode:
    fields = {"__typename": name, "id": IDS[0]}
    return nodes.Object([ObjectFieldNode(name=NameNode(value=k), value=nodes.String(v)) for k, v in fields.items()])


TIMES = ["2024-05-20T08:30:45Z", "2024-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59", "yesterday"]
QUERIES: st.SearchStrategy[Any] = queries(
    print_schema(GRAPHQL_SCHEMA),
    custom_scalars={
        "DateTime": st.sampled_from(TIMES).map(nodes.String),
        "Long": st.integers().map(nodes.Int),
        "JSON": st.just(nodes.String("x")),
        "_Any": st.sampled_from([*ENTITY_KEYS, "Nothing"]).map(reference),
    },
    print_ast=lambda document: document,
)


@asynccontextmanager
async def failing() -> AsyncIterator[World]:
    """Serve both clouds and a gateway without a cache, with short timeouts and a tolerant circuit breaker."""
    sections = {"retry": RetrySettings(attempts=2, backoff=0.0), "breaker": BreakerSettings(failures=20, window=0.1)}
    async with two_clouds(models=12, sections=sections, timeout=0.3) as world:
        yield world


@pytest.mark.timeout(3600)
def test_random_queries_and_faults_cause_only_documented_errors() -> None:
    seen: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(stack.enter_async_context(failing()))
        first = runner.run(world.gateway.query("{ models { nodes { id latestVersion { id } } } }"))
        existing_ids = [
            one["id"] for node in first.data["models"]["nodes"] for one in (node, node["latestVersion"]) if one
        ]

        async def send(document: DocumentNode, faults: list[dict[str, Any]]) -> None:
            for cloud, fault in zip((world.pai, world.qianfan), faults, strict=True):
                cloud.faults.replace({"*": fault} if fault else {})
            # The server does not run while examples are generated, so an idle connection could end meanwhile.
            options: dict[str, Any] = {"json": {"query": print_ast(document)}, "headers": {"Connection": "close"}}
            answer = await world.gateway.request("POST", **options)
            assert answer.status == 200
            assert set(answer.codes) <= CODES
            assert not LEAKS.search(str(answer.body.get("errors")))
            seen.update(answer.codes)
            seen["data"] += any((answer.body.get("data") or {}).values())

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 100, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(
            QUERIES,
            st.lists(st.one_of(st.just({}), st.sampled_from(FAULTS)), min_size=2, max_size=2),
            st.integers(0, 1_000),
        )
        def random_query(document: DocumentNode, faults: list[dict[str, Any]], seed: int) -> None:
            runner.run(send(visit(document, KnownValues([*existing_ids, *IDS], seed)), faults))

        try:
            random_query()
        finally:
            runner.run(stack.aclose())
    print(f"{EXAMPLES} queries, with data or errors: {dict(seen.most_common())}")
    assert {"data", "INVALID_ID", "BAD_USER_INPUT"} <= seen.keys()
    assert any(code.startswith("REGISTRY_") for code in seen)
