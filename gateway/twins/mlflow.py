"""MLflow's read calls of the model registry, and of the runs and logged models that versions come from.

Source: mlflow 3.18, whose server was asked for the answers to valid and invalid requests.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from gateway.twins.calls import Call, CallRequest
from gateway.twins.lazy_rows import SCAN_STRIDE, in_order
from gateway.twins.mlflow_filters import (
    INVALID,
    MODEL_COLUMNS,
    VERSION_COLUMNS,
    Condition,
    parse_filter,
    parse_orders,
)
from gateway.twins.rows import Json, MlflowModel
from gateway.twins.wire_formats import CloudError

NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"


def _required(request: CallRequest, name: str) -> str:
    text = request.query.get(name)
    if not text:
        problem = f"Missing value for required parameter '{name}'."
        raise CloudError(INVALID, f"{problem} See the API docs for more information about request parameters.")
    return text


def _page(request: CallRequest, size: int, largest: int) -> tuple[int, int]:
    """Return the offset and size of the requested page."""
    text = request.query.get("max_results", str(size))
    if not (text.isascii() and text.isdigit() and int(text) <= largest):
        problem = f"Invalid value \"{text}\" for parameter 'max_results' supplied: Hint: Value was of type 'str'."
        raise CloudError(INVALID, f"{problem} See the API docs for more information about request parameters.")
    if int(text) < 1:
        problem = f"Invalid value for max_results. It must be a positive integer, but got {text}"
        raise CloudError(INVALID, problem)
    token = request.query.get("page_token")
    try:
        offset = json.loads(base64.b64decode(token))["offset"] if token else 0
    except (binascii.Error, ValueError):
        raise CloudError(INVALID, "Invalid page token, could not base64-decode") from None
    except (KeyError, TypeError):
        raise CloudError(INVALID, "Invalid page token, parsed value must be a dict with an offset") from None
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise CloudError(INVALID, f"Invalid page token, offset must be an integer, got {offset}")
    return max(offset, 0), int(text)


def _listed(name: str, found: Sequence[Any], offset: int, size: int) -> Json:
    """Return a page of rows. An empty one has no field, and the last one no token."""
    page = found[offset : offset + size]
    token = base64.b64encode(json.dumps({"offset": offset + size}).encode()).decode()
    return ({name: page} if page else {}) | ({"next_page_token": token} if offset + size < len(found) else {})


def _named(request: CallRequest, conditions: Sequence[Condition]) -> list[MlflowModel] | None:
    """Return the one model or none that a condition names. None if no condition does."""
    names = [condition.value for condition in conditions if (condition.column, condition.operator) == ("name", "=")]
    if not names:
        return None
    model = request.corpus.mlflow_models.find(names[0])
    return [] if model is None else [model]


def _clauses(request: CallRequest) -> list[str]:
    return [text for name, text in request.pairs if name == "order_by"]


def _model(request: CallRequest) -> MlflowModel:
    name = _required(request, "name")
    model = request.corpus.mlflow_models.find(name)
    if model is None:
        raise CloudError(NOT_FOUND, f"Registered Model with name={name} not found")
    return model


async def search_registered_models(request: CallRequest) -> Json:
    offset, size = _page(request, 100, 1000)
    text, clauses = request.query.get("filter", ""), _clauses(request)
    conditions = parse_filter(text, MODEL_COLUMNS)
    order = parse_orders(clauses, MODEL_COLUMNS, "name")

    def matches(model: MlflowModel) -> bool:
        return all(condition.matches(model.head) for condition in conditions)

    table = request.corpus.mlflow_models
    named = _named(request, conditions)
    if named is not None:
        return _listed("registered_models", [model.item for model in named if matches(model)], offset, size)
    by_head = [(lambda model, key=key: key(model.head), falls) for key, falls in order]
    found = await table.matching("", (text, *clauses), matches, by_head)
    answer = _listed("registered_models", found, offset, size)
    if positions := answer.get("registered_models"):
        answer["registered_models"] = [table.partition("").at(position).item for position in positions]
    return answer


async def get_registered_model(request: CallRequest) -> Json:
    return {"registered_model": _model(request).item}


async def search_model_versions(request: CallRequest) -> Json:
    offset, size = _page(request, 200_000, 200_000)
    conditions = parse_filter(request.query.get("filter", ""), VERSION_COLUMNS)
    clauses = _clauses(request) or ["last_updated_timestamp DESC"]
    order = parse_orders(clauses, VERSION_COLUMNS, "name", "version_number DESC")
    models = _named(request, conditions)
    found: list[Json] = []
    for number, model in enumerate(request.corpus.mlflow_models if models is None else models):
        found += [version for version in model.versions if all(condition.matches(version) for condition in conditions)]
        if number % SCAN_STRIDE == SCAN_STRIDE - 1:
            await asyncio.sleep(0)
    return _listed("model_versions", in_order(found, order), offset, size)


async def get_model_version(request: CallRequest) -> Json:
    name, number = _required(request, "name"), _required(request, "version")
    if not (number.isascii() and number.isdigit()):
        raise CloudError(INVALID, f"Parameter 'version' must be an integer, got '{number}'.")
    model = request.corpus.mlflow_models.find(name)
    version = model.version(str(int(number))) if model else None
    if version is None:
        raise CloudError(NOT_FOUND, f"Model Version (name={name}, version={number}) not found")
    return {"model_version": version}


async def get_model_version_by_alias(request: CallRequest) -> Json:
    alias, model = _required(request, "alias"), _model(request)
    versions = {item["alias"]: item["version"] for item in model.head.get("aliases", ())}
    if alias == "latest" and not model.versions:
        raise CloudError(NOT_FOUND, f"Latest version not found for model {model.name}.")
    if alias == "latest":
        versions["latest"] = model.versions[-1]["version"]
    if alias not in versions:
        raise CloudError(INVALID, f"Registered model alias {alias} not found.")
    return {"model_version": model.version(versions[alias])}


async def get_run(request: CallRequest) -> Json:
    run_id = _required(request, "run_id")
    run = request.corpus.run(run_id)
    if run is None:
        raise CloudError(NOT_FOUND, f"Run with id={run_id} not found")
    return {"run": run}


async def get_logged_model(request: CallRequest) -> Json:
    model_id = request.path["model_id"]
    model = request.corpus.logged_model(model_id)
    if model is None:
        raise CloudError(NOT_FOUND, f"Logged model with ID '{model_id}' not found.")
    return {"model": model}


ROOT = "/api/2.0/mlflow/"
CALLS = (
    Call("GetLoggedModel", "MLflow", f"{ROOT}logged-models/{{model_id}}", get_logged_model),
    Call("GetModelVersion", "MLflow", f"{ROOT}model-versions/get", get_model_version),
    Call("GetModelVersionByAlias", "MLflow", f"{ROOT}registered-models/alias", get_model_version_by_alias),
    Call("GetRegisteredModel", "MLflow", f"{ROOT}registered-models/get", get_registered_model),
    Call("GetRun", "MLflow", f"{ROOT}runs/get", get_run),
    Call("SearchModelVersions", "MLflow", f"{ROOT}model-versions/search", search_model_versions),
    Call("SearchRegisteredModels", "MLflow", f"{ROOT}registered-models/search", search_registered_models),
)
