"""MLflow's twin over HTTP. `tests.mlflow.test_twin` compares it with MLflow's own server and client."""

import base64
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from gateway.config.settings import CatalogSettings, Secret
from gateway.twins import MLFLOW_PASSWORD, MLFLOW_USERNAME, Corpus, Twins, serving
from tests.conftest import Client, mlflow, pai, qianfan, served, settings

API = "/api/2.0/mlflow/"
MODELS, VERSIONS, MODEL = "registered-models/search", "model-versions/search", "registered-models/get"
VERSION, ALIAS, RUN = "model-versions/get", "registered-models/alias", "runs/get"
OWN_MODELS: tuple[dict[str, Any], ...] = (
    {"name": "a", "tags": [{"key": "team", "value": "nlp"}]},
    {"name": "B_b", "tags": [{"key": "team", "value": "NLP"}, {"key": "a b", "value": ""}]},
    {"name": "Bxb", "tags": [{"key": "team", "value": "it's"}]},
    {"name": "模型%"},
    {"name": "prompt", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
)


def own_corpus() -> Corpus:
    """Return a corpus of a few models, in which the order of names is not the order of changes."""
    corpus = Corpus(0, references=False)
    for number, model in enumerate(OWN_MODELS):
        times = {"creation_timestamp": 1_000 + number, "last_updated_timestamp": 9_000 - number // 2}
        versions = [
            {
                "name": model["name"],
                "version": str(n),
                "current_stage": "None",
                "source": f"s3://{n}",
                "run_id": f"r{n}",
            }
            | {"creation_timestamp": 1_000 * n + number, "last_updated_timestamp": 9_000 + number}
            | ({"tags": model["tags"]} if model["name"] == "prompt" else {})
            for n in range(1, number + 1)
        ]
        corpus.mlflow_models.insert(model | times | {"versions": versions})
    return corpus


@pytest.fixture
async def twins() -> AsyncIterator[Twins]:
    async with serving(corpus=Corpus(0, references=False, mlflow_models=60)) as running:
        yield running


@pytest.fixture
async def small() -> AsyncIterator[Twins]:
    async with serving(corpus=own_corpus()) as running:
        yield running


async def get(twins: Twins, path: str, *parameters: tuple[str, str], **options: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(twins.url + API + path, params=parameters, **options) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def names(twins: Twins, *parameters: tuple[str, str]) -> list[str]:
    status, found = await get(twins, MODELS, *parameters)
    assert status == 200, found
    return [row["name"] for row in found.get("registered_models", [])]


async def numbers(twins: Twins, *parameters: tuple[str, str]) -> list[str]:
    status, found = await get(twins, VERSIONS, *parameters)
    assert status == 200, found
    return [f"{row['name']}/{row['version']}" for row in found.get("model_versions", [])]


# Rows


def test_the_rows_do_not_depend_on_the_other_registries() -> None:
    alone, beside = Corpus(0, references=False, mlflow_models=40), Corpus(30, mlflow_models=40)
    assert [row.item for row in alone.mlflow_models] == [row.item for row in beside.mlflow_models]
    assert beside.digest() != Corpus(30).digest()
    assert len(Corpus(30).mlflow_models) == 0


def test_rows_are_found_by_name_in_the_order_of_their_creation() -> None:
    rows = list(Corpus(0, mlflow_models=150).mlflow_models)
    table = Corpus(0, mlflow_models=150).mlflow_models
    assert all(before.created < after.created for before, after in pairwise(rows))
    for row in rows:
        found = table.find(row.name)
        assert found is not None
        assert found.item == row.item
    assert table.find(f"{rows[3].name}0") is None
    assert table.find("credit-score-150") is None


def test_rows_use_no_memory_until_they_are_read() -> None:
    tracemalloc.start()
    try:
        corpus = Corpus(0, mlflow_models=100_000)
        partition = corpus.mlflow_models.partition("")
        deep = [partition.at(position).item for position in range(99_900, 100_000)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(deep) == 100
    assert peak < 4_000_000


def test_the_irregularities_of_mlflow_occur() -> None:
    rows = list(Corpus(0, mlflow_models=200).mlflow_models)
    versions = [version for row in rows for version in row.versions]
    assert {"READY", "PENDING_REGISTRATION", "FAILED_REGISTRATION"} == {version["status"] for version in versions}
    assert {"None", "Staging", "Production", "Archived"} == {version["current_stage"] for version in versions}
    assert {len(row.item.get("latest_versions", ())) for row in rows} >= {0, 1, 2, 3, 4}
    common = set.intersection(*(set(row.item) for row in rows))
    assert common == {"name", "creation_timestamp", "last_updated_timestamp"}
    assert any("'" in row.name for row in rows)
    assert any("%" in row.name for row in rows)
    assert any("`" in row.name for row in rows)
    assert any(not row.name.isascii() for row in rows)
    assert any(not version["run_id"] for version in versions)
    assert any(version["source"].startswith("models:/m-") for version in versions)
    assert not any("aliases" in version for version in versions)


async def test_every_run_and_logged_model_of_a_version_is_found(twins: Twins) -> None:
    versions = [version for row in twins.corpus.mlflow_models for version in row.versions]
    values = []
    for version in versions:
        if version["run_id"]:
            status, found = await get(twins, RUN, ("run_id", version["run_id"]))
            assert (status, found["run"]["info"]["run_id"]) == (200, version["run_id"])
            values += [metric["value"] for metric in found["run"]["data"]["metrics"]]
        if version["source"].startswith("models:/"):
            model_id = version["source"].removeprefix("models:/")
            status, found = await get(twins, f"logged-models/{model_id}")
            assert (status, found["model"]["info"]["source_run_id"]) == (200, version["run_id"])
    assert "NaN" in values
    assert any(isinstance(value, float) for value in values)


# Lists


@pytest.mark.parametrize("path", [MODELS, VERSIONS])
async def test_pages_by_token_together_are_all_rows(twins: Twins, path: str) -> None:
    _, whole = await get(twins, path, ("max_results", "1000"))
    [(name, expected)] = whole.items()
    walked: list[Any] = []
    token = ""
    while True:
        status, page = await get(twins, path, ("max_results", "7"), ("page_token", token))
        assert status == 200
        walked += page[name]
        if "next_page_token" not in page:
            break
        token = page["next_page_token"]
    assert walked == expected
    assert len(walked) == sum(len(row.versions) if path == VERSIONS else 1 for row in twins.corpus.mlflow_models)


async def test_models_have_the_latest_version_of_each_stage_and_their_aliases(twins: Twins) -> None:
    _, answer = await get(twins, MODELS)
    for row in answer["registered_models"]:
        found = twins.corpus.mlflow_models.find(row["name"])
        assert found is not None
        stages = {version["current_stage"]: version["version"] for version in found.versions}
        assert {v["current_stage"]: v["version"] for v in row.get("latest_versions", [])} == stages
        for item in row.get("aliases", []):
            alone = await get(twins, VERSION, ("name", row["name"]), ("version", item["version"]))
            assert item["alias"] in alone[1]["model_version"]["aliases"]
            assert await get(twins, ALIAS, ("name", row["name"]), ("alias", item["alias"])) == alone
        if found.versions:
            _, latest = await get(twins, ALIAS, ("name", row["name"]), ("alias", "latest"))
            assert latest["model_version"]["version"] == found.versions[-1]["version"]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((), ["B_b", "Bxb", "a", "模型%"]),
        (("name DESC",), ["模型%", "a", "Bxb", "B_b"]),
        (("last_updated_timestamp",), ["Bxb", "模型%", "B_b", "a"]),
        (("timestamp DESC",), ["B_b", "a", "Bxb", "模型%"]),
        (("last_updated_timestamp desc", "name DESC"), ["a", "B_b", "模型%", "Bxb"]),
    ],
)
async def test_models_are_sorted(small: Twins, orders: tuple[str, ...], expected: list[str]) -> None:
    assert await names(small, *(("order_by", order) for order in orders)) == expected


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((), ["模型%/3", "模型%/2", "模型%/1", "Bxb/2", "Bxb/1", "B_b/1"]),
        (("creation_timestamp",), ["B_b/1", "Bxb/1", "模型%/1", "Bxb/2", "模型%/2", "模型%/3"]),
        (("version_number DESC", "name DESC"), ["模型%/3", "模型%/2", "Bxb/2", "模型%/1", "Bxb/1", "B_b/1"]),
    ],
)
async def test_versions_are_sorted(small: Twins, orders: tuple[str, ...], expected: list[str]) -> None:
    assert await numbers(small, *(("order_by", order) for order in orders)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = 'a'", ["a"]),
        ('name="a"', ["a"]),
        ("name != 'a'", ["B_b", "Bxb", "模型%"]),
        ("name LIKE 'B_b'", ["B_b", "Bxb"]),
        ("name LIKE 'b%'", []),
        ("name ilike 'b%'", ["B_b", "Bxb"]),
        ("name LIKE '%型%'", ["模型%"]),
        ("name IN ('a', \"Bxb\")", ["Bxb", "a"]),
        ("name NOT IN ('a','Bxb')", ["B_b", "模型%"]),
        ("name = 'nothing'", []),
        ("name = 'a' AND name = 'Bxb'", []),
        ("tags.team = 'nlp'", ["a"]),
        ("tag.`team` ILIKE 'nlp'", ["B_b", "a"]),
        ("tags.\"team\" != 'nlp'", ["B_b", "Bxb"]),
        ("tags.`a b` LIKE '%'", ["B_b"]),
        ("tags.`a b` = '' and name LIKE 'B%'", ["B_b"]),
        ('tags.team = "it\'s"', ["Bxb"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["prompt"]),
        ("tags.`mlflow.prompt.is_prompt` != 'true' AND name = 'a'", ["a"]),
        ("name = 'prompt'", []),
    ],
)
async def test_models_are_filtered(small: Twins, text: str, expected: list[str]) -> None:
    assert await names(small, ("filter", text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = '模型%' AND version_number >= 2", ["模型%/3", "模型%/2"]),
        ("version_number = '3'", ["模型%/3"]),
        ("run_id = 'r2'", ["模型%/2", "Bxb/2"]),
        ("run_id IN ('r3', 'r9')", ["模型%/3"]),
        ("source_path LIKE 's3://_' AND name LIKE 'B%' AND version_number < 2", ["Bxb/1", "B_b/1"]),
        ("tags.team = 'nlp'", []),
    ],
)
async def test_versions_are_filtered(small: Twins, text: str, expected: list[str]) -> None:
    assert await numbers(small, ("filter", text)) == expected


async def test_an_empty_list_is_an_empty_object(small: Twins) -> None:
    assert await get(small, MODELS, ("filter", "name = 'nothing'")) == (200, {})
    assert await get(small, VERSIONS, ("filter", "name = 'a'")) == (200, {})


# Errors


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        (MODEL, {"name": "nothing"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (MODEL, {}, 400, "INVALID_PARAMETER_VALUE"),
        (VERSION, {"name": "a", "version": "9"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (VERSION, {"name": "a", "version": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        (VERSION, {"name": "a"}, 400, "INVALID_PARAMETER_VALUE"),
        (ALIAS, {"name": "Bxb", "alias": "nothing"}, 400, "INVALID_PARAMETER_VALUE"),
        (ALIAS, {"name": "a", "alias": "latest"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (RUN, {"run_id": "nothing"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("logged-models/m-nothing", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("nothing", {}, 404, "ENDPOINT_NOT_FOUND"),
        *(
            (MODELS, parameters, 400, "INVALID_PARAMETER_VALUE")
            for parameters in (
                {"max_results": "1001"},
                {"max_results": "x"},
                {"order_by": "creation_timestamp"},
                {"order_by": "name UP"},
                {"page_token": "xx"},
                {"page_token": base64.b64encode(b"{}").decode()},
                {"filter": "name"},
                {"filter": "name = a"},
                {"filter": "name = 'a"},
                {"filter": "name = 'a' OR name = 'b'"},
                {"filter": "name > 'a'"},
                {"filter": "name IN (a)"},
                {"filter": "version_number > 1"},
                {"filter": "metrics.x = 'a'"},
                {"filter": "tags.x IN ('a')"},
                {"filter": "tags.`x = 'a'"},
            )
        ),
        (VERSIONS, {"max_results": "0"}, 400, "INVALID_PARAMETER_VALUE"),
        (VERSIONS, {"max_results": "200001"}, 400, "INVALID_PARAMETER_VALUE"),
        (VERSIONS, {"filter": "version_number = 'x'"}, 400, "INVALID_PARAMETER_VALUE"),
        (VERSIONS, {"order_by": "run_id"}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
async def test_an_invalid_request_has_the_error_of_mlflow(
    small: Twins, path: str, parameters: dict[str, str], status: int, code: str
) -> None:
    found, body = await get(small, path, *parameters.items())
    assert (found, body["error_code"]) == (status, code)
    assert set(body) == {"error_code", "message"}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 503}, 503, "TEMPORARILY_UNAVAILABLE"),
        ({"status": 429}, 429, "REQUEST_LIMIT_EXCEEDED"),
        ({"status": 500}, 500, "INTERNAL_ERROR"),
        ({"error": "PERMISSION_DENIED"}, 403, "PERMISSION_DENIED"),
        ({"error": "RESOURCE_EXHAUSTED", "message": "Slow down"}, 429, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_faults_have_the_error_codes_of_mlflow(
    twins: Twins, fault: dict[str, Any], status: int, code: str
) -> None:
    twins.faults.replace({"SearchRegisteredModels": fault | {"times": 1}})
    found, body = await get(twins, MODELS)
    assert (found, body["error_code"]) == (status, code)
    assert body["message"] == fault.get("message", body["message"])
    assert (await get(twins, MODELS, ("max_results", "1")))[0] == 200
    assert twins.calls == {"SearchRegisteredModels": 2}


RIGHT = aiohttp.encode_basic_auth(MLFLOW_USERNAME, MLFLOW_PASSWORD, "utf-8")
WRONG = aiohttp.encode_basic_auth(MLFLOW_USERNAME, "guessed", "utf-8")


@pytest.mark.parametrize(
    ("required", "sent", "accepted"),
    [
        (False, None, True),
        (False, RIGHT, True),
        (False, WRONG, False),
        (False, "Bearer guessed", False),
        (True, None, False),
        (True, RIGHT, True),
        (True, WRONG, False),
    ],
)
async def test_credentials_are_checked_and_can_be_required(
    twins: Twins, http: aiohttp.ClientSession, required: bool, sent: str | None, accepted: bool
) -> None:
    twins.mlflow_login.required = required
    headers = {"Authorization": sent} if sent else {}
    async with http.get(f"{twins.url}{API}{MODEL}", params={"name": "nothing"}, headers=headers) as answer:
        assert answer.status == (404 if accepted else 401)
        assert ("www-authenticate" in answer.headers) is not accepted
        assert (await answer.text()).startswith("{" if accepted else "You are not authenticated.")


async def test_only_get_is_allowed(twins: Twins, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{twins.url}{API}{MODELS}") as answer:
        assert (answer.status, (await answer.json())["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


# The gateway over the twin

PAGE = """{ models(first: 20, filter: {registries: ["mlflow"]}) {
    nodes { name aliases { name version { name aliases } } latestVersion { name stage } } coverage { state } } }"""
COVERAGE = "{ models(first: 9) { nodes { registryName } coverage { registry { name } state error { code } } } }"


@asynccontextmanager
async def gateway_over(twins: Twins) -> AsyncIterator[Client]:
    async with served(settings(*(registry(twins.url) for registry in (pai, qianfan, mlflow)))) as gateway:
        yield gateway


async def test_a_page_with_aliases_costs_one_call(twins: Twins) -> None:
    async with gateway_over(twins) as gateway:
        models = (await gateway.query(PAGE)).data["models"]
    assert twins.calls == {"SearchRegisteredModels": 1}
    assert models["coverage"] == [{"state": "COMPLETE"}]
    aliased = [alias for node in models["nodes"] for alias in node["aliases"]]
    assert aliased
    assert all(alias["name"] in alias["version"]["aliases"] for alias in aliased)
    newest = sorted(twins.corpus.mlflow_models, key=lambda row: row.created, reverse=True)[:20]
    assert [node["name"] for node in models["nodes"]] == [row.name for row in newest]
    assert [node["latestVersion"] and node["latestVersion"]["name"] for node in models["nodes"]] == [
        row.versions[-1]["version"] if row.versions else None for row in newest
    ]


async def test_a_failure_of_mlflow_leaves_the_other_registries_complete() -> None:
    async with serving(corpus=Corpus(40, mlflow_models=20)) as twins, gateway_over(twins) as gateway:
        twins.faults.replace({"SearchRegisteredModels": {"error": "TEMPORARILY_UNAVAILABLE"}})
        models = (await gateway.query(COVERAGE)).data["models"]
        assert {node["registryName"] for node in models["nodes"]} == {"pai", "qianfan"}
        assert [(one["registry"]["name"], one["state"], one["error"]) for one in models["coverage"]] == [
            ("pai", "COMPLETE", None),
            ("qianfan", "COMPLETE", None),
            ("mlflow", "UNAVAILABLE", {"code": "REGISTRY_UNAVAILABLE"}),
        ]
        twins.faults.clear()
        models = (await gateway.query(COVERAGE)).data["models"]
        assert {node["registryName"] for node in models["nodes"]} == {"pai", "qianfan", "mlflow"}
        assert {one["state"] for one in models["coverage"]} == {"COMPLETE"}


async def test_wrong_credentials_are_an_error_of_mlflow_alone(twins: Twins) -> None:
    wrong = mlflow(twins.url, password=Secret("guessed"))
    async with served(settings(pai(twins.url), wrong)) as gateway:
        models = (await gateway.query(COVERAGE)).data["models"]
    assert [one["error"] for one in models["coverage"]] == [None, {"code": "REGISTRY_UNAUTHENTICATED"}]


@pytest.mark.parametrize(("rows", "calls"), [(1000, 1), (3000, 3), (3100, 4), (10_000, 4)])
async def test_a_list_of_which_the_gateway_reads_only_a_part_is_partial(rows: int, calls: int) -> None:
    """MLflow cannot sort by creation, so the gateway reads the list up to its bound. A sorted list needs one page."""
    query = """query ($field: ModelOrderField!) { models(first: 9, orderBy: {field: $field, direction: DESC}) {
        totalCount nodes { id } pageInfo { hasNextPage } coverage { state rowsRead totalCount error { code } } } }"""
    corpus, catalog = Corpus(0, references=False, mlflow_models=3100), CatalogSettings(scan_rows=rows)
    async with serving(corpus=corpus) as twins, served(settings(mlflow(twins.url), catalog=catalog)) as gateway:
        models = (await gateway.query(query, field="CREATED_AT")).data["models"]
        assert twins.calls == {"SearchRegisteredModels": calls}
        complete = rows >= 3100
        total = 3100 if complete else None
        [part] = models["coverage"]
        assert part == {
            "state": "COMPLETE" if complete else "PARTIAL",
            "rowsRead": min(rows, 3100),
            "totalCount": total,
            "error": None if complete else {"code": "LIST_INCOMPLETE"},
        }
        assert (models["totalCount"], len(models["nodes"]), models["pageInfo"]["hasNextPage"]) == (total, 9, True)
        beside = await gateway.query("{ models(first: 9) { nodes { id } } }")
        assert beside.codes == ([] if complete else ["LIST_INCOMPLETE"])
        assert beside.body["data"]["models"]["nodes"] == models["nodes"]
        [part] = (await gateway.query(query, field="UPDATED_AT")).data["models"]["coverage"]
        assert part == {"state": "COMPLETE", "rowsRead": 1000, "totalCount": None, "error": None}
