"""The field tables of MLflow: enumeration values, and the layouts of models, versions, runs and logged models.

JSON is made from Protocol Buffers: unset fields and empty lists are left out. Times are in milliseconds. Sources: the
REST API reference, and the entities and stores of the packages mlflow 3.17 and 3.18.
"""

import re
from typing import Any

from gateway.registries.fields import (
    ABSENT,
    EntityLayout,
    Field,
    Raw,
    Rows,
    absent,
    as_integer,
    as_list,
    as_measure,
    as_objects,
    as_text,
    as_texts,
    at,
    computed,
    enum,
    extra,
    field,
    fixed,
    gathered,
    metric,
    milliseconds,
    nested,
    nested_list,
    text,
)

PROMPT_TAG = "mlflow.prompt.is_prompt"
"""The tag of prompts, which MLflow stores as registered models."""

STATES = {"pendingregistration": "CREATING", "ready": "READY", "failedregistration": "FAILED"}
STAGES = {"staging": "STAGING", "production": "PRODUCTION", "archived": "ARCHIVED"}
NO_STAGE = "None"
"""The stage of a version that is in none."""

LOGGED_MODEL_URI = re.compile(r"models:/(m-[0-9A-Za-z]+)")


def present(key: str, table: Any) -> Field:
    """A list of value objects that is left out when it is empty."""
    return Field((key,), lambda raw: as_objects(raw.get(key, [])), table)


def tags(raw: Raw) -> dict[str | None, str | None]:
    """Return the tags of a model or version by key."""
    return {as_text(tag.get("key")): as_text(tag.get("value")) for tag in as_objects(raw.get("tags")) or []}


LABELS = present("tags", {"key": text("key"), "value": text("value")})
PARAMETERS = {"name": text("key"), "value": text("value")}


# Versions

to_stage = enum("current_stage", STAGES).read


def stage(raw: Raw) -> str | None:
    return None if raw.get("current_stage") == NO_STAGE else to_stage(raw)


def run(raw: Raw) -> tuple[str] | None:
    """Return the key of the run that produced a version."""
    run_id = as_text(raw.get("run_id"))
    return None if run_id is None else (run_id,)


def logged_model(raw: Raw) -> tuple[str] | None:
    """Return the key of the logged model that a version was registered from."""
    found = LOGGED_MODEL_URI.fullmatch(as_text(raw.get("source")) or "")
    return None if found is None else (found[1],)


VERSION_FIELDS = {
    "name": text("version"),
    "description": text("description"),
    "uri": text("source"),
    "readiness": enum("status", STATES),
    "status_message": text("status_message"),
    "stage": computed("current_stage", read=stage),
    "stage_name": text("current_stage"),
    "source": Field(
        ("run_id", "run_link"),
        lambda raw: None if run(raw) is None else raw,
        {
            "type": fixed("TRAINING"),
            **absent("type_name", "native_id", "region", "workspace_id", "kind", "task_id", "task_name"),
            "run_id": text("run_id"),
            "iteration": ABSENT,
            "details": Field((), lambda raw: {key: raw[key] for key in ("run_id", "run_link") if raw.get(key)}),
        },
    ),
    "labels": LABELS,
    "owner": gathered(
        "user_id",
        table={"native_id": ABSENT, "name": text("user_id"), "account_id": ABSENT, "tenant_id": ABSENT},
    ),
    "created_at": milliseconds("creation_timestamp"),
    "updated_at": milliseconds("last_updated_timestamp"),
}


NAMED_MODEL = EntityLayout("Model", lambda raw: as_text(raw.get("name")), {"name": text("name")})
"""The model of a version, in the form of the version."""


def version_layout(fields: dict[str, Field]) -> EntityLayout:
    """Return a layout of a version with these fields in addition to those of every form."""
    merged = {**VERSION_FIELDS, **fields}
    return EntityLayout(
        "ModelVersion",
        lambda raw: as_text(raw.get("version")),
        {**merged, **extra(merged, "version", "name", "aliases")},
        lambda raw: as_text(raw.get("name")),
        owner=NAMED_MODEL,
        references={"run": run, "logged model": logged_model},
    )


LISTED_VERSION = version_layout({})
"""A version in a list, which never contains the version's aliases."""
VERSION = version_layout({"aliases": Field(("aliases",), lambda raw: as_texts(raw.get("aliases", [])))})

RUN = EntityLayout(
    "ModelVersion",
    lambda raw: None,
    {
        "parameters": Field((), lambda raw: as_objects(at(raw, ("data", "params"))) or [], PARAMETERS),
        "metrics": Field((), lambda raw: as_list(at(raw, ("data", "metrics"))) or []),
    },
    is_entity=False,
)
"""The run that produced a version."""


def evaluations(raw: Raw) -> list[Raw]:
    """Return the metrics of a logged model by dataset: of each metric the last value, by step and time."""
    latest: dict[tuple[str | None, str | None, str], Raw] = {}
    for measured in as_objects(at(raw, ("data", "metrics"))) or []:
        name = as_text(measured.get("key"))
        if name is not None:
            key = as_text(measured.get("dataset_name")), as_text(measured.get("dataset_digest")), name
            latest[key] = max(latest.get(key, measured), measured, key=moment)
    datasets: dict[tuple[str | None, str | None], list[Raw]] = {}
    for (dataset, digest, name), measured in latest.items():
        datasets.setdefault((dataset, digest), []).append({"key": name, "value": measured.get("value")})
    return [
        {"dataset": {"name": name, "digest": digest} if name or digest else None, "metrics": metrics}
        for (name, digest), metrics in datasets.items()
    ]


def moment(measured: Raw) -> tuple[int, int]:
    return as_integer(measured.get("step")) or 0, as_integer(measured.get("timestamp")) or 0


LOGGED_MODEL = EntityLayout(
    "ModelVersion",
    lambda raw: None,
    {
        "evaluations": Field(
            (),
            evaluations,
            {
                "dataset": nested(
                    "dataset",
                    {"native_id": ABSENT, "uri": ABSENT, "name": text("name"), "digest": text("digest")},
                ),
                "metrics": nested_list(
                    "metrics", {**metric(text("key"), "value"), "value": field("value", as_measure)}
                ),
            },
        ),
    },
    is_entity=False,
)
"""The logged model that a version was registered from."""


# Models

ALIASED_VERSION = EntityLayout("ModelVersion", lambda raw: as_text(raw.get("version")), {"name": text("version")})


def aliases(raw: Raw) -> list[Raw]:
    """Return the aliases of a model."""
    items = as_objects(raw.get("aliases")) or []
    return [item for item in items if as_text(item.get("alias")) and as_text(item.get("version"))]


def aliases_of_version(model: Raw, version: str) -> list[str]:
    """Return the aliases of a model that point to a version."""
    return sorted(as_text(item["alias"]) or "" for item in aliases(model) if as_text(item["version"]) == version)


def newest_version(raw: Raw) -> Raw | None:
    """Return the version with the highest number. The list contains the latest one of each stage."""
    versions = as_objects(raw.get("latest_versions")) or []
    return max(versions, key=lambda version: as_integer(version.get("version")) or 0, default=None)


MODEL_FIELDS = {
    "name": text("name"),
    "description": text("description"),
    "ownership": fixed("OWN"),
    "labels": LABELS,
    "aliases": Field(
        ("aliases",), aliases, {"name": text("alias"), "version": Field((), lambda raw: raw, layout=ALIASED_VERSION)}
    ),
    "created_at": milliseconds("creation_timestamp"),
    "updated_at": milliseconds("last_updated_timestamp"),
    "latest_version": Field(("latest_versions",), newest_version, layout=LISTED_VERSION),
}
MODEL = EntityLayout(
    "Model",
    lambda raw: as_text(raw.get("name")),
    {**MODEL_FIELDS, **extra(MODEL_FIELDS)},
    of_versions={"aliases": aliases_of_version},
)
ALIASES_OF_VERSION = EntityLayout(
    "ModelVersion", lambda raw: None, {"aliases": field("aliases", as_texts)}, is_entity=False
)
"""The aliases of a version in the answer for its model."""


def models(raw: Raw) -> Rows:
    """Return the models on a page, without prompts. MLflow itself leaves them out; not every compatible server does."""
    rows = Rows.of(raw.get("registered_models"), None, as_text(raw.get("next_page_token")))
    rows.items = [row for row in rows.items if PROMPT_TAG not in tags(row)]
    return rows


def versions(raw: Raw) -> Rows:
    """Return the versions on a page."""
    return Rows.of(raw.get("model_versions"), None, as_text(raw.get("next_page_token")))


VERSIONS = EntityLayout(
    "Model", lambda raw: None, {"versions": Field((), versions, layout=LISTED_VERSION)}, is_entity=False
)
"""The versions of a model, newest first, in place of the model."""

MODEL_ABSENT = frozenset(
    {"documentation_url", "domain", "origin", "owner", "parameter_count", "provider", "task", "type", "visibility",
     "workspace_id"}
)  # fmt: skip
VERSION_ABSENT = frozenset(
    {"approval", "base_model", "compression_spec", "copyright", "deploy_targets", "distillation_spec",
     "evaluation_spec", "format", "format_name", "framework", "framework_name", "inference_spec", "input_schema",
     "io_length", "io_mode", "license", "license_id", "options", "output_schema", "properties",
     "supported_operations", "trained_with", "training_spec"}
)  # fmt: skip
"""The fields that MLflow does not supply."""
