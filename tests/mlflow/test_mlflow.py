"""The official client and the gateway read the same from MLflow's own server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.filters import TESTS
from gateway.config.settings import Secret
from gateway.registries.mlflow import MlflowSettings
from tests.conftest import Client, served
from tests.conftest import settings as gateway_settings
from tests.mlflow.server import ADMIN, PASSWORD, MlflowServer, serving, serving_with_users

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with serving(tmp_path_factory.mktemp("mlflow"), 100) as running:
        yield running


@pytest.fixture(scope="session")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with serving_with_users(tmp_path_factory.mktemp("protected")) as running:
        yield running


@asynccontextmanager
async def gateway_over(server: MlflowServer, **options: Any) -> AsyncIterator[Client]:
    registry = MlflowSettings(name="mlflow", kind="mlflow", endpoint=server.url, **options)
    async with served(gateway_settings(registry)) as gateway:
        yield gateway


def milliseconds(text: str) -> int:
    """Return a time of the gateway as MLflow writes it."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def as_tags(labels: list[dict[str, str | None]]) -> dict[str | None, str]:
    return {label["key"]: label["value"] or "" for label in labels}


VERSION = """name description createdAt updatedAt stage stageName uri readiness source { runId }
    labels { key value } aliases parameters { name value } metrics
    evaluations { dataset { name digest } metrics { name value } }"""
MODELS = f"""query ($after: String) {{ models(first: 10, after: $after, orderBy: {{field: NAME, direction: ASC}}) {{
    nodes {{ id name description createdAt updatedAt labels {{ key value }} aliases {{ name version {{ name }} }}
        latestVersion {{ {VERSION} }} versions(first: 20) {{ totalCount nodes {{ {VERSION} }} }} }}
    pageInfo {{ hasNextPage endCursor }} coverage {{ state }} }} }}"""


async def read_all(gateway: Client) -> list[dict[str, Any]]:
    """Read all models of the gateway, page by page."""
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        models = (await gateway.query(MODELS, after=after)).data["models"]
        assert models["coverage"] == [{"state": "COMPLETE"}]
        nodes += models["nodes"]
        after = models["pageInfo"]["endCursor"]
        if not models["pageInfo"]["hasNextPage"]:
            return nodes


def as_client(version: dict[str, Any]) -> dict[str, Any]:
    """Return a version of the gateway in the form of the client's."""
    parameters, metrics, evaluations = version["parameters"], version["metrics"], version["evaluations"]
    return {
        "version": version["name"],
        "created": milliseconds(version["createdAt"]),
        "updated": milliseconds(version["updatedAt"]),
        "description": version["description"] or "",
        "stage": version["stageName"],
        "source": version["uri"],
        "status": version["readiness"],
        "run": "" if version["source"] is None else version["source"]["runId"],
        "tags": as_tags(version["labels"]),
        "aliases": version["aliases"],
        "params": None if parameters is None else {one["name"]: one["value"] for one in parameters},
        "metrics": None
        if metrics is None
        else {one["key"]: None if one["value"] == "NaN" else one["value"] for one in metrics},
        "evaluations": None
        if evaluations is None
        else {
            (one["dataset"] and (one["dataset"]["name"], one["dataset"]["digest"]), metric["name"]): metric["value"]
            for one in evaluations
            for metric in one["metrics"]
        },
    }


def last_values(version: dict[str, Any]) -> dict[str, Any]:
    """Return a version of the client with the last value of each metric of its logged model."""
    rows = sorted(version["evaluations"] or (), key=lambda row: row[3])
    values = {(name and (name, digest), key): value for name, digest, key, _, value in rows}
    return {**version, "evaluations": None if version["evaluations"] is None else values}


def newest_first(versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(versions, key=lambda version: (-version["created"], version["version"]))


async def check_rows(server: MlflowServer, gateway: Client) -> None:
    """Check that the gateway has the rows of the client."""
    nodes = await read_all(gateway)
    assert [node["name"] for node in nodes] == sorted(server.models)
    for node in nodes:
        model = server.models[node["name"]]
        assert (node["description"] or "") == model["description"]
        assert (milliseconds(node["createdAt"]), milliseconds(node["updatedAt"])) == (
            model["created"],
            model["updated"],
        )
        assert as_tags(node["labels"]) == model["tags"]
        assert {alias["name"]: alias["version"]["name"] for alias in node["aliases"]} == model["aliases"]
        expected = newest_first([last_values(version) for version in model["versions"]])
        assert node["versions"]["totalCount"] == len(expected)
        assert [as_client(version) for version in node["versions"]["nodes"]] == expected
        newest = max(expected, key=lambda version: int(version["version"]), default=None)
        assert (node["latestVersion"] and as_client(node["latestVersion"])) == newest


async def test_the_client_and_the_gateway_give_the_same_rows(server: MlflowServer) -> None:
    assert len(server.models) > 25
    assert "prompt" not in server.models
    async with gateway_over(server) as gateway:
        await check_rows(server, gateway)


async def test_a_server_with_users_gives_the_same_rows(protected: MlflowServer) -> None:
    async with gateway_over(protected, username=ADMIN, password=Secret(PASSWORD)) as gateway:
        await check_rows(protected, gateway)


@pytest.mark.parametrize(
    "credentials", [{}, {"username": ADMIN, "password": Secret("guessed")}, {"token": Secret("guessed")}]
)
async def test_a_server_with_users_refuses_others(protected: MlflowServer, credentials: dict[str, Any]) -> None:
    async with gateway_over(protected, **credentials) as gateway:
        answer = await gateway.query("{ models { nodes { name } } }")
    [failure] = answer.body["errors"][0]["extensions"]["registries"]
    assert failure["code"] == "REGISTRY_UNAUTHENTICATED"


async def test_a_workspace_that_the_server_does_not_have_is_an_error(server: MlflowServer) -> None:
    async with gateway_over(server, workspace="elsewhere") as gateway:
        answer = await gateway.query('{ model(id: "mlflow:model/router") { name } }')
    assert answer.codes == ["REGISTRY_REJECTED"]


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_the_gateway_sorts_by_the_last_change_as_the_server_does(server: MlflowServer, direction: str) -> None:
    async with gateway_over(server) as gateway:
        answer = await gateway.query(
            f"""{{ models(first: 100, orderBy: {{field: UPDATED_AT, direction: {direction}}}) {{
                nodes {{ name updatedAt }} coverage {{ state }} }} }}"""
        )
    models = answer.data["models"]
    assert models["coverage"] == [{"state": "COMPLETE"}]
    names = server.orders[f"last_updated_timestamp {direction}"]
    assert sorted(node["name"] for node in models["nodes"]) == sorted(names)
    assert [milliseconds(node["updatedAt"]) for node in models["nodes"]] == [
        server.models[name]["updated"] for name in names
    ]


async def test_every_object_is_found_by_its_id(server: MlflowServer) -> None:
    async with gateway_over(server) as gateway:
        listed = await gateway.query("{ models(first: 100) { nodes { id name latestVersion { id } } } }")
        for node in listed.data["models"]["nodes"]:
            versions = [version["version"] for version in server.models[node["name"]]["versions"]]
            answer = await gateway.query(
                """query ($model: ID!, $version: ID!) {
                    model(id: $model) { name versions(first: 50) { nodes { name } } }
                    modelVersion(id: $version) { name model { name } } }""",
                model=node["id"],
                version=node["latestVersion"]["id"] if node["latestVersion"] else f"{node['id']}/version/1",
            )
            assert answer.data["model"]["name"] == node["name"]
            assert sorted(row["name"] for row in answer.data["model"]["versions"]["nodes"]) == sorted(versions)
            newest = max(versions, key=int, default=None)
            found = newest and {"name": newest, "model": {"name": node["name"]}}
            assert answer.data["modelVersion"] == found


async def test_what_does_not_exist_is_null(server: MlflowServer) -> None:
    async with gateway_over(server) as gateway:
        answer = await gateway.query("""{
            model(id: "mlflow:model/nothing") { name }
            modelVersion(id: "mlflow:model/router/version/99") { name }
            router: model(id: "mlflow:model/router") {
                version(name: "99") { name }
                latest: version(alias: "none") { name } }
        }""")
    assert answer.data == {"model": None, "modelVersion": None, "router": {"version": None, "latest": None}}


# Filters

PIECES = [
    *("'", '"', "`", "\\", "%", "_", "'' OR ''='", " AND name != '", "%'", "\\'", "--", "/*", ";"),
    *("BERT", "bert", "e", "st", "fi", "i", "K", "k", "n", " ", "é", "模型", "型", "豈", "甲", "名", "\U0001f600"),
]
TEXTS = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8"), max_size=3), min_size=1, max_size=4
).map("".join)


SIMILAR = (
    ("name_contains", "fi"),
    ("name_contains", "KELVIN"),
    ("name_contains", "istanbul"),
    ("name_contains", "\u8c48"),
    ("name_equals", "\u8c48"),
    ("name_equals", "Kelvin"),
    ("name_equals", "été"),
    ("name_contains", "grösse"),
)
"""Texts that the gateway finds in names with other characters."""


def found_by_client(server: MlflowServer, name: str, wanted: Any) -> set[str]:
    """Return the names of the models that match a filter, among the rows that the client reads."""
    matches = TESTS["Model"][name].predicate(wanted)
    records = {
        model: {"name": model, "labels": [{"key": key, "value": value or None} for key, value in row["tags"].items()]}
        for model, row in server.models.items()
    }
    return {model for model, record in records.items() if matches(record)}


def wanted_filters(server: MlflowServer) -> st.SearchStrategy[dict[str, Any]]:
    """Return filters whose values are parts of what the server has, or of what may break a condition."""
    names = st.sampled_from(sorted(server.models))
    parts = st.tuples(names, st.integers(0, 20), st.integers(1, 12)).map(lambda cut: cut[0][cut[1] : cut[1] + cut[2]])
    texts = (TEXTS | names | parts).filter(lambda text: 0 < len(text) <= 256)
    tags = sorted({tag for model in server.models.values() for tag in model["tags"].items()})
    keys, values = (st.sampled_from([tag[at] for tag in tags if tag[at]]) | TEXTS for at in (0, 1))
    filters = {
        "name_contains": texts,
        "name_equals": texts,
        "label": st.fixed_dictionaries({"key": keys}, optional={"value": values}),
    }
    return st.fixed_dictionaries({}, optional=filters).filter(bool)


def test_no_value_of_a_filter_breaks_out_or_changes_what_is_found(server: MlflowServer) -> None:
    spelled = {"name_contains": "nameContains", "name_equals": "nameEquals"}

    async def check(gateway: Client, filters: dict[str, Any]) -> None:
        answer = await gateway.query(
            """query ($filter: ModelFilter) { models(first: 100, filter: $filter) {
                totalCount nodes { name } coverage { state } } }""",
            filter={spelled.get(name, name): value for name, value in filters.items()},
        )
        models = answer.data["models"]
        expected = set.intersection(*(found_by_client(server, *item) for item in filters.items()))
        assert {node["name"] for node in models["nodes"]} == expected
        assert models["totalCount"] == len(models["nodes"]) == len(expected)
        assert models["coverage"] == [{"state": "COMPLETE"}]

    with asyncio.Runner() as runner:
        opened = gateway_over(server)
        gateway = runner.run(opened.__aenter__())

        @given(wanted_filters(server))
        @settings(max_examples=150, deadline=None)
        def check_any(filters: dict[str, Any]) -> None:
            runner.run(check(gateway, filters))

        try:
            for name, value in SIMILAR:
                runner.run(check(gateway, {name: value}))
            check_any()
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def test_a_label_filter_finds_only_versions_of_the_model(server: MlflowServer) -> None:
    router = server.models["router"]["versions"]
    labels = {label for row in router for label in row["tags"].items()} | {("number", "0"), ("number", "3")}
    text = """query ($label: LabelFilter!) { models(first: 100) { nodes { name
        versions(first: 50, filter: {label: $label}) { totalCount nodes { name } } } } }"""
    async with gateway_over(server) as gateway:
        for key, value in sorted(label for label in labels if label[1]):
            answer = await gateway.query(text, label={"key": key, "value": value})
            for node in answer.data["models"]["nodes"]:
                rows = server.models[node["name"]]["versions"]
                own = {row["version"] for row in rows if row["tags"].get(key) == value}
                assert {row["name"] for row in node["versions"]["nodes"]} == own
