"""MLflow's official client reads the twin, and the twin answers as MLflow's own server does."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import twins
from gateway.config.settings import Secret
from gateway.twins import Corpus
from tests import environments
from tests.mlflow.server import HERE, QUIET, MlflowServer, serving
from tests.mlflow.test_mlflow import check_rows, gateway_over

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages

READ = """
import json, sys
import mlflow
from tests.mlflow.seed import read
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
found = read(client)
for name, model in found["models"].items():
    for alias, version in model["aliases"].items():
        assert client.get_model_version_by_alias(name, alias).version == version, (name, alias)
print(json.dumps(found))
"""
LOGIN = {"MLFLOW_TRACKING_USERNAME": twins.MLFLOW_USERNAME, "MLFLOW_TRACKING_PASSWORD": twins.MLFLOW_PASSWORD}


def read_by_client(url: str, **variables: str) -> MlflowServer:
    """Read everything with the official client. A failed call fails the test."""
    python = environments.interpreter(HERE / "requirements.txt", HERE / "build" / "venv")
    environment = {**os.environ, **QUIET, **variables, "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run([python, "-c", READ, url], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return MlflowServer(url, **json.loads(done.stdout))


STATES = {"PENDING_REGISTRATION": "CREATING", "FAILED_REGISTRATION": "FAILED", "READY": "READY"}


async def test_the_client_and_the_gateway_read_the_same_rows_from_the_twin() -> None:
    async with twins.serving(corpus=Corpus(0, references=False, mlflow_models=24)) as twin:
        twin.mlflow_login.required = True
        read = await asyncio.to_thread(read_by_client, twin.url, **LOGIN)
        rows = {row.name: row for row in twin.corpus.mlflow_models}
        assert set(read.models) == set(rows)
        assert {name: len(model["versions"]) for name, model in read.models.items()} == {
            name: len(row.versions) for name, row in rows.items()
        }
        for version in (version for model in read.models.values() for version in model["versions"]):
            version["status"] = STATES[version["status"]]
        login = {"username": twins.MLFLOW_USERNAME, "password": Secret(twins.MLFLOW_PASSWORD)}
        async with gateway_over(read, **login) as gateway:
            await check_rows(read, gateway)


# The twin and the server

API = "/api/2.0/mlflow/"
MODELS, VERSIONS, MODEL = "registered-models/search", "model-versions/search", "registered-models/get"
IS_PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"
MODEL_FILTERS = (
    *("name = 'router'", 'name="router"', "name != 'router'", "name = 'nothing'", "name = ''", "name LIKE 'bert%'"),
    *("name ILIKE 'BERT%'", "name LIKE 'bert_base'", "name LIKE '%\\%'", "name IN ('router','empty')", "name IN ()"),
    *("name NOT IN ('router', \"empty\")", "name = 'it''s'", "name = 'a\\' AND name = 'b'", "name = ''''", "name"),
    *('name = "\'"', "name = 'router' OR name = 'b'", "name > 'a'", "name = 4", "name = router", "foo = 'x'"),
    *("NAME = 'router'", "tags.team = 'nlp'", "tag.team = 'nlp'", "tags.`team` != 'nlp'", "tags.\"team\" = 'nlp'"),
    *("tags.`a b.c` LIKE '%'", "tags.`x/y:z` LIKE '%'", "tags.空 = ''", "tags.`空` = ''", "tags.- = '%'"),
    *("name = 'router' and tags.`team` LIKE 'n%' AND tags.team != 'x'", "tags.team='nlp'AND name='router'"),
    *("name = 'router' AND name = 'empty'", "tags.a b = 'x'", "metrics.x = 'a'", "tags.team IN ('nlp')"),
    *("tags.team > 'a'", "tags.team = nlp", "tags.`team = 'nlp'", IS_PROMPT, "name = 'prompt'"),
    *("tags.`mlflow.prompt.is_prompt` = 'false'", "tags.`mlflow.prompt.is_prompt` != 'true'"),
    *("tags.`mlflow.prompt.is_prompt` != 'false'", "name\n=\n'router'", "(name = 'router')", "name = 'a'; name = 'b'"),
)
VERSION_FILTERS = (
    *("run_id = ''", "run_id != ''", "run_id IN ('')", "source_path LIKE 's3%'", "source_path IN ('s3://files/1')"),
    *("version_number > 3", "version_number = '3'", "version_number = 3.5", "version_number LIKE '3'"),
    *("version_number IN (3)", "version_number = 'x'", "version_number <= 2 AND name = 'router'"),
)
ORDERS = (
    *(("name",), ("name DESC",), ("name desc",), ("last_updated_timestamp",), ("last_updated_timestamp DESC",)),
    *(("timestamp DESC",), ("last_updated_timestamp DESC", "name DESC"), ("creation_timestamp DESC",)),
    *(("version_number DESC",), ("name DESC", "version_number ASC"), ("name", "name DESC"), ("foo",), ("run_id",)),
    *(("name SIDEWAYS",), ("name ASC DESC",), ("source_path",), ("NAME",), ("",)),
)
REQUESTS: list[tuple[str, list[tuple[str, str]]]] = [
    *((path, []) for path in (MODELS, VERSIONS, MODEL, "runs/get")),
    *((path, [("filter", text)]) for path in (MODELS, VERSIONS) for text in MODEL_FILTERS + VERSION_FILTERS),
    *((path, [("order_by", clause) for clause in order]) for path in (MODELS, VERSIONS) for order in ORDERS),
    *((path, [("max_results", size)]) for path in (MODELS, VERSIONS) for size in ("1", "2", "1000", "200001", "x")),
    *((path, [("page_token", text)]) for path in (MODELS, VERSIONS) for text in ("xx", "e30=", "eyJvZmZzZXQiOiAzfQ==")),
    *((MODEL, [("name", name)]) for name in ("router", "empty", "prompt", "nothing", "")),
    *(
        ("model-versions/get", [("name", name), ("version", version)])
        for name in ("router", "empty", "nothing", "")
        for version in ("1", "2", "01", "77", "x", "")
    ),
    *(
        ("registered-models/alias", [("name", name), ("alias", alias)])
        for name in ("router", "empty", "nothing", "")
        for alias in ("best", "latest", "nothing", "Best", "")
    ),
    *(("runs/get", [("run_id", "nothing")]), ("logged-models/nothing", [])),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder: Path = tmp_path_factory.mktemp("compared")
    with serving(folder, 5) as running:
        yield running


async def answer(http: aiohttp.ClientSession, url: str, path: str, query: list[tuple[str, str]]) -> tuple[int, Any]:
    """Return the status with the body, in which lists without an order are sorted, or with the code of an error."""
    async with http.get(url + API + path, params=query) as response:
        body = await response.json()
    if "error_code" in body:
        return response.status, body["error_code"]
    for model in body.get("registered_models", [body.get("registered_model", {})]):
        for name in ("latest_versions", "tags", "aliases"):
            model.get(name, []).sort(key=str)
    return response.status, body


async def copied(http: aiohttp.ClientSession, url: str) -> Corpus:
    """Return a corpus with the models, prompts and versions of a server."""
    rows, versions = [], []
    for condition in ("", IS_PROMPT):
        rows += (await answer(http, url, MODELS, [("filter", condition)]))[1]["registered_models"]
        found = await answer(http, url, VERSIONS, [("filter", condition), ("order_by", "version_number")])
        versions += found[1]["model_versions"]
    corpus = Corpus(0, references=False)
    for row in rows:
        head = {name: value for name, value in row.items() if name != "latest_versions"}
        own = [version for version in versions if version["name"] == row["name"]]
        corpus.mlflow_models.insert(head | {"versions": own})
    return corpus


async def test_the_twin_answers_as_the_server_does(server: MlflowServer) -> None:
    async with (
        aiohttp.ClientSession() as http,
        twins.serving(corpus=await copied(http, server.url)) as twin,
    ):
        assert len(twin.corpus.mlflow_models) == len(server.models) + 1
        differences = {}
        for path, query in REQUESTS:
            expected, found = [await answer(http, url, path, query) for url in (server.url, twin.url)]
            if found != expected:
                differences[path, *query] = (expected, found)
        assert differences == {}
