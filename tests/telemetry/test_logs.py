"""Log lines: one for each operation, valid JSON, with the request's id and without secrets."""

import asyncio
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import BreakerSettings, CacheSettings, LimitsSettings, RetrySettings
from gateway.config.settings import TelemetrySettings as Telemetry
from gateway.telemetry.events import CallRecord, CallState
from gateway.telemetry.logs import FORMATS, configure
from gateway.telemetry.observer import Observer
from gateway.telemetry.operation_log import OperationReport
from gateway.telemetry.request_ids import CURRENT, Identity
from tests.conftest import World, two_clouds

MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
SECRETS = (
    twins.PAI_KEY_ID,
    twins.PAI_SECRET,
    twins.PAI_STS_TOKEN,
    twins.QIANFAN_ACCESS_KEY,
    twins.QIANFAN_SECRET_KEY,
)


class Text(io.StringIO):
    """Log output, with the lines that handlers still buffer."""

    def getvalue(self) -> str:
        for handler in logging.getLogger().handlers:
            handler.flush()
        return super().getvalue()


@contextmanager
def written(log_format: str = "json", log_level: str = "info") -> Iterator[io.StringIO]:
    """The log output of the gateway and all libraries within the context, as `gateway serve` writes it."""
    root, gateway = logging.getLogger(), logging.getLogger("gateway")
    before = root.handlers[:], root.level, gateway.level
    text = Text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", text)
        configure(Telemetry(log_format=log_format, log_level=log_level))
    try:
        yield text
        text.getvalue()
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        gateway.setLevel(before[2])


def lines(text: io.StringIO, logger: str = "gateway.operations") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, text.getvalue().splitlines()) if line["logger"] == logger]


async def test_an_operation_is_one_line_with_its_outcome_and_cost() -> None:
    query = "query Both($id: ID!) { model(id: $id) { name versions { nodes { name } } } }"
    variables = {"id": "pai:model/model-rbvg5wzljzjhc9ks92"}
    async with two_clouds(sections={"cache": CacheSettings(objects=600.0)}) as world:
        with written() as text:
            body = {"query": query, "operationName": "Both", "variables": variables}
            first = await world.gateway.request("POST", json=body, headers={"x-request-id": "mine-1"})
            await world.gateway.request("POST", json=body)
            cold, warm = lines(text)
    assert cold["request_id"] == "mine-1" == first.headers["x-request-id"]
    assert cold.pop("duration_ms") > 0
    assert {name: cold[name] for name in cold if name not in ("time", "request_id", "trace_id")} == {
        "pid": os.getpid(),
        "level": "info",
        "logger": "gateway.operations",
        "message": "query ok",
        "operation_type": "query",
        "operation_name": "Both",
        "document": hashlib.sha256(query.encode()).hexdigest(),
        "caller": None,
        "outcome": "ok",
        "upstream_calls": 2,
        "answers": {"miss": 2},
        "errors": {},
    }
    assert (warm["upstream_calls"], warm["answers"]) == (0, {"hit": 2})
    assert warm["request_id"] != cold["request_id"]
    assert variables["id"] not in text.getvalue()


async def test_the_line_of_an_operation_counts_errors_and_requests_to_registries() -> None:
    async with two_clouds(sections={"retry": RetrySettings(attempts=2, backoff=0.001)}) as world:
        world.pai.faults.replace({"*": {"status": 503}})
        with written() as text:
            await world.gateway.query("{ models(first: 2) { nodes { id } } }")
            (line,) = lines(text)
            attempts = lines(text, "gateway.upstream")
    assert (line["outcome"], line["errors"]) == ("partial", {"REGISTRY_UNAVAILABLE": 1})
    assert line["upstream_calls"] == sum((world.pai.calls + world.qianfan.calls).values()) == len(attempts) + 2
    assert line["answers"] == {"miss": 2, "failed": 2}
    assert {attempt["request_id"] for attempt in attempts} == {line["request_id"]}


async def test_an_incremental_response_is_one_line_with_the_errors_of_all_parts() -> None:
    query = """{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") {
        name ... @defer { versions(first: 1) { nodes { name } } } } }"""
    async with two_clouds() as world:
        world.pai.faults.replace({"ListModelVersions": {"status": 503}})
        with written() as text:
            accept = {"Accept": "multipart/mixed, application/json"}
            answer = await world.gateway.request("POST", json={"query": query}, headers=accept)
            (line,) = lines(text)
    assert answer.headers["content-type"].startswith("multipart/mixed")
    assert (line["outcome"], line["errors"]) == ("partial", {"REGISTRY_UNAVAILABLE": 1})
    assert (line["upstream_calls"], line["answers"]) == (2, {"miss": 1, "failed": 1})


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("query", ["query Named { registries { name } }", "{ nothing }", "{ registries { name }"])
async def test_other_log_handlers_receive_the_same_line(log_format: str, query: str) -> None:
    other = io.StringIO()
    listening = logging.StreamHandler(other)
    listening.setFormatter(FORMATS[log_format]())
    async with two_clouds() as world:
        with written(log_format) as text:
            logging.getLogger("gateway").addHandler(listening)
            await world.gateway.query(query)
            logging.getLogger("gateway").removeHandler(listening)
            own = text.getvalue()
    assert without_times(own) == without_times(other.getvalue())
    assert own.count("\n") == other.getvalue().count("\n") == 1


def without_times(line: str) -> str:
    return re.sub(r"[\d-]+T[\d:.]+Z|(?<=duration_ms.)[\d.:]+", "", line)


async def test_line_breaks_in_a_callers_name_are_escaped() -> None:
    report = OperationReport("query", caller='"odd"\n\u2028')
    with written() as text:
        token = CURRENT.set(Identity.of([]))
        with Observer(Telemetry()).operation(report):
            pass
        CURRENT.reset(token)
    (line,) = text.getvalue().splitlines()
    assert json.loads(line)["caller"] == '"odd"\n\u2028'


async def test_a_line_that_cannot_be_encoded_does_not_lose_other_lines() -> None:
    with written() as text:
        token = CURRENT.set(Identity.of([]))
        for caller in ("one", "\ud800", "another"):
            with Observer(Telemetry()).operation(OperationReport(caller=caller)):
                pass
        CURRENT.reset(token)
        written_lines = [line for line in text.getvalue().splitlines() if line.startswith("{")]
    assert [json.loads(line)["caller"] for line in written_lines] == ["one", "another"]


async def test_a_buffered_line_shows_the_state_at_the_end_of_the_operation() -> None:
    call = CallRecord("pai", "GetModel")
    with written() as text:
        token = CURRENT.set(Identity.of([(b"x-request-id", b"mine")]))
        with Observer(Telemetry()).operation(OperationReport(calls=[call])):
            pass
        CURRENT.reset(token)
        call.state, call.attempts = CallState.MISS, 3
        (line,) = lines(text)
    assert (line["request_id"], line["answers"], line["upstream_calls"]) == ("mine", {"unanswered": 1}, 0)


async def test_each_operation_of_a_batch_is_a_line() -> None:
    async with two_clouds(sections={"limits": LimitsSettings(batch=3)}) as world:
        with written() as text:
            batch = [{"query": MODEL}, {"query": "{ nothing }"}]
            await world.gateway.request("POST", json=batch, headers={"x-request-id": "both"})
            operations = lines(text)
    assert sorted(line["outcome"] for line in operations) == ["failed", "ok"]
    assert {line["request_id"] for line in operations} == {"both"}


async def test_the_line_of_a_refused_document_contains_nothing_that_the_client_wrote() -> None:
    async with two_clouds() as world:
        with written() as text:
            for name in ("Evil\nname", "N" * 101, "a b"):
                await world.gateway.request("POST", json={"query": "{ secret_thing }", "operationName": name})
            refused = lines(text)
    assert [(line["outcome"], line["operation_name"], line["upstream_calls"]) for line in refused] == [
        ("failed", None, 0)
    ] * 3
    assert "secret_thing" not in text.getvalue()
    assert len(text.getvalue().splitlines()) == 3


@pytest.mark.parametrize("log_format", FORMATS)
async def test_secrets_and_hosts_are_never_logged(log_format: str) -> None:
    faults: list[dict[str, Any]] = [
        {},
        {"status": 503},
        {"status": 429, "error": "Throttling.User"},
        {"status": 403, "error": "NoPermission"},
        {"status": 400, "error": "SignatureDoesNotMatch"},
        {"drop": "before"},
        {"redirect": "http://127.0.0.1:9/else"},
        {"truncated_gzip": True},
        {"body": "<html>no json</html>"},
    ]
    sections = {
        "retry": RetrySettings(attempts=2, backoff=0.001),
        "breaker": BreakerSettings(failures=20),
        "cache": CacheSettings(objects=0.0, lists=0.0, stale=0.0),
    }
    with written(log_format, "debug") as text:
        async with two_clouds(sections=sections) as world:
            for fault in faults:
                for cloud in (world.pai, world.qianfan):
                    cloud.faults.replace({"*": fault})
                await asyncio.gather(*map(world.gateway.query, (MODEL, "{ models(first: 2) { nodes { id } } }")))
            hosts = [cloud.url.removeprefix("http://") for cloud in (world.pai, world.qianfan)]
    log = text.getvalue()
    assert len(log.splitlines()) > 3 * len(faults)
    assert "REGISTRY_UNREACHABLE" in log
    for secret in (*SECRETS, *hosts, "127.0.0.1", "Signature=", "x-bce-", "Authorization", "Traceback"):
        assert secret not in log


async def test_a_json_record_is_one_line_with_readable_chinese() -> None:
    with written() as text:
        logging.getLogger("gateway.test").warning("工单\n分类\x1b[31m\u2028助手", extra={"fields": {"名": "值"}})
    (line,) = text.getvalue().splitlines()
    assert "工单" in line
    assert "值" in line
    assert "\x1b" not in line
    assert "\u2028" not in line
    assert json.loads(line)["message"] == "工单\n分类\x1b[31m\u2028助手"


async def test_a_console_record_is_one_line() -> None:
    with written("console") as text:
        logging.getLogger("gateway.test").warning("one\ntwo\x9b31m", extra={"fields": {"a": {"b": 1}, "none": None}})
    (line,) = text.getvalue().splitlines()
    assert line.endswith("warning gateway.test one\\x0atwo\\x9b31m a=b:1")


async def test_an_exception_is_logged_with_its_type_and_place_but_not_its_text() -> None:
    with written() as text:
        try:
            raise LookupError("what a client sent")
        except LookupError:
            logging.getLogger("gateway.test").exception("Failed")
    line = json.loads(text.getvalue())
    assert line["exception"] == "LookupError"
    assert line["places"][-1].endswith(test_an_exception_is_logged_with_its_type_and_place_but_not_its_text.__name__)
    assert "what a client sent" not in text.getvalue()


async def test_libraries_log_from_warning_on_at_any_level() -> None:
    with written(log_level="debug") as text:
        logging.getLogger("aiohttp.client").info("http://host/?token=1")
        logging.getLogger("gateway.test").debug("logged")
    assert [json.loads(line)["message"] for line in text.getvalue().splitlines()] == ["logged"]


async def test_operations_are_not_logged_above_level_info(world: World) -> None:
    with written(log_level="warning") as text:
        await world.gateway.query(MODEL)
    assert text.getvalue() == ""


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_line_with_half_a_surrogate_pair_is_written(log_format: str) -> None:
    with written(log_format) as text:
        logging.getLogger("gateway.auth").error("%s cannot be read", "caf\udce9")
        text.getvalue().encode()
    assert r"caf\udce9 cannot be read" in text.getvalue().replace("\\\\", "\\")
