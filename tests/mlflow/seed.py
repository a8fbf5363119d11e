"""Fill an MLflow server with the official client, and print what the client reads from it, as JSON.

Usage: seed.py ADDRESS NAMES, where NAMES is the number of models with unusual names.
"""

import json
import math
import sys
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

TEAMS = ({"team": "nlp", "空": ""}, {"team": 'it\'s "50%" of a\\b_c', "a b.c": "是"}, {"x/y:z": "` \"'\\\\", "-": "%"})
NAMES = (
    "BERT-base",
    "bert_base",
    "bert%base",
    'it\'s "the" `best` \\ 100%_ ?#&+',
    "'",
    "''",
    '"',
    "\\",
    "%",
    "_",
    "模型",
    "模型-甲",
    "團隊 模型",
    "\uf900 and \u8c48",
    "\uf900",
    "Größe",
    "GRÖSSE",
    "ﬁne-tuned",
    "\u212aelvin",
    "Kelvin",
    "e\u0301te",
    "été",
    "İstanbul",
    "' OR name != '",
    "x' AND tags.`team` = 'nlp",
    "\U0001f600",
    "n" * 256,
    "名" * 256,
)


def seed(client: MlflowClient, names: int) -> None:
    experiment = client.create_experiment("experiment")
    client.create_registered_model("empty")
    client.create_registered_model("router", tags=TEAMS[0], description="Routes tickets.")
    run = client.create_run(experiment)
    run_id = run.info.run_id
    client.log_param(run_id, "learning_rate", "0.01")
    for step, value in enumerate((0.5, 0.75)):
        client.log_metric(run_id, "accuracy", value, step=step)
    client.log_metric(run_id, "loss", math.nan)
    logged = client.create_logged_model(experiment, name="router", source_run_id=run_id, params={"depth": "3"})
    values = (("f1", 0.5, 0, "test"), ("f1", 0.75, 1, "test"), ("f1", 0.25, 0, "train"), ("size", 7.0, 0, None))
    client.log_batch(
        run_id,
        metrics=[
            Metric(key, value, 1_700_000_000_000 + number, step, logged.model_id, dataset, dataset and f"d-{dataset}")
            for number, (key, value, step, dataset) in enumerate(values)
        ],
    )
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_model_version("router", "s3://files/1", description="The first one.")
    client.create_model_version("router", "s3://files/2", run_id=run_id, run_link="https://ci.example.com/7")
    client.create_model_version("router", f"models:/{logged.model_id}", run_id=run_id, model_id=logged.model_id)
    for number, tags in enumerate(TEAMS, 4):
        client.create_model_version("router", f"s3://files/{number}", tags=tags)
    for version, stage in (("1", "Production"), ("2", "Staging"), ("4", "Archived")):
        client.transition_model_version_stage("router", version, stage)
    for alias, version in (("champion", "2"), ("best", "2"), ("challenger", "5")):
        client.set_registered_model_alias("router", alias, version)
    for number, name in enumerate(NAMES[:names]):
        client.create_registered_model(name, tags=TEAMS[number % len(TEAMS)])
        client.create_model_version(name, f"s3://files/of/{number}", tags={"number": str(number)})
    client.update_registered_model("empty", "Changed last.")
    mlflow.genai.register_prompt("prompt", "Hello {{name}}")


def everything(search: Any) -> list[Any]:
    """Return all rows of a search."""
    rows: list[Any] = []
    token = None
    while True:
        page = search(max_results=7, page_token=token)
        rows += page
        token = page.token
        if not token:
            return rows


def read(client: MlflowClient) -> dict[str, Any]:
    """Return what the client reads: models by name with their versions, and the names in two orders."""
    versions: dict[str, list[dict[str, Any]]] = {}
    for row in everything(client.search_model_versions):
        found = client.get_model_version(row.name, row.version)
        versions.setdefault(row.name, []).append(
            {
                "version": str(row.version),
                "created": row.creation_timestamp,
                "updated": row.last_updated_timestamp,
                "description": row.description,
                "stage": row.current_stage,
                "source": row.source,
                "status": row.status,
                "run": row.run_id,
                "tags": row.tags,
                "aliases": sorted(found.aliases),
                **details(client, row),
            }
        )
    models = {
        row.name: {
            "description": row.description,
            "created": row.creation_timestamp,
            "updated": row.last_updated_timestamp,
            "tags": row.tags,
            "aliases": {alias: str(version) for alias, version in row.aliases.items()},
            "versions": versions.get(row.name, []),
        }
        for row in everything(client.search_registered_models)
    }
    orders = {
        order: [row.name for row in client.search_registered_models(order_by=[order], max_results=1000)]
        for order in ("last_updated_timestamp ASC", "last_updated_timestamp DESC")
    }
    return {"models": models, "orders": orders}


def details(client: MlflowClient, row: Any) -> dict[str, Any]:
    """Return the parameters and metrics of a version's run, and the metrics of its logged model."""
    run = client.get_run(row.run_id) if row.run_id else None
    _, _, logged_id = row.source.partition("models:/")
    logged = client.get_logged_model(logged_id) if logged_id else None
    return {
        "params": run and run.data.params,
        "metrics": run and {key: None if math.isnan(value) else value for key, value in run.data.metrics.items()},
        "evaluations": logged
        and [[one.dataset_name, one.dataset_digest, one.key, one.step, one.value] for one in logged.metrics],
    }


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    seed(MlflowClient(), int(sys.argv[2]))
    print(json.dumps(read(MlflowClient())))
