"""MLflow Model Registry: settings, calls, filters and errors.

Other products answer in the same format: GitLab, managed MLflow, and servers in front of it that expect a bearer token.
Sources: the REST API reference, and `mlflow.utils.search_utils` and the stores of the packages mlflow 3.17 and 3.18.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from unicodedata import normalize

from gateway import errors
from gateway.config.settings import (
    Quota,
    Secret,
    StaticCredentialsSettings,
    password_setting,
    setting,
    token_setting,
    username_setting,
)
from gateway.registries.fields import EntityLayout, Field, Raw, as_list, as_object, as_text, at
from gateway.registries.kind import (
    ABSENCE_STATUSES,
    KEY_TEXT,
    Call,
    EntityInAnswer,
    FilterPushdown,
    Keys,
    Kind,
    Paging,
    Stream,
    holds_list_if_any,
    holds_object,
    object_at,
)
from gateway.registries.mlflow_tables import (
    ALIASES_OF_VERSION,
    LOGGED_MODEL,
    MODEL,
    MODEL_ABSENT,
    PROMPT_TAG,
    RUN,
    VERSION,
    VERSION_ABSENT,
    VERSIONS,
    aliases_of_version,
    models,
)
from gateway.registries.signatures import static_authorization
from gateway.upstream.messages import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSettings(StaticCredentialsSettings):
    """One MLflow tracking server, or one of its workspaces."""

    endpoint: str = setting(
        "Address of the tracking server.",
        variables=("MLFLOW_TRACKING_URI",),
        url=True,
        path=True,
        example="https://mlflow.example.com",
    )
    username: str = username_setting("MLFLOW_TRACKING_USERNAME")
    password: Secret = password_setting("MLFLOW_TRACKING_PASSWORD")
    token: Secret = token_setting("MLFLOW_TRACKING_TOKEN")
    workspace: str = setting(
        "Workspace to read, where the server has workspaces. Empty: the server's default workspace.",
        default="",
        variables=("MLFLOW_WORKSPACE",),
        pattern="[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    )


# Filters

COMPATIBLE = (0x37E, 0x1FEF, 0x212A, *range(0xF900, 0xFB00), *range(0x2F800, 0x2FA20))
TWINS = frozenset(normalize("NFC", chr(code)) for code in COMPATIBLE)
"""The characters that others are equivalent to, such as ``K`` to the Kelvin sign. The gateway finds both."""

WIDE_LETTERS = frozenset("afiklnstAFIKLNST")
"""The letters that are a part of other characters without their case, such as ``fi`` of a ligature."""


def is_safe(character: str) -> bool:
    """Whether a character can stand in a quoted text. MLflow cannot escape quotes, and its parser knows ``\\'``."""
    return character.isprintable() and character not in "'\"`\\"


def has_no_twin(character: str) -> bool:
    """Whether MLflow finds a character exactly where the gateway does."""
    return (character.isascii() or "一" <= character <= "\u9fff") and is_safe(character) and character not in TWINS


def equals(name: str, text: str, is_exact: Callable[[str], bool]) -> str:
    """Return a condition for rows with a text. Characters that are not exact may be any: more rows may match then."""
    if all(map(is_exact, text)):
        return f"{name} = '{text}'"
    return f"{name} LIKE '{''.join(character if is_exact(character) else '%' for character in text)}'"


def name_contains(part: str) -> Mapping[str, Any] | None:
    """Return the condition for names that contain a text in any case. None if it would match every name."""
    exact = [has_no_twin(character) and character not in WIDE_LETTERS for character in part]
    pattern = "".join(character if plain else "%" for character, plain in zip(part, exact, strict=True))
    return {"filter": f"name ILIKE '%{pattern}%'"} if any(exact) else None


def has_label(wanted: Raw) -> Mapping[str, Any] | None:
    """Return the condition for rows with a tag. None for keys that are not exact, and for the tag of prompts."""
    key, value = wanted["key"], wanted.get("value")
    if not all(map(has_no_twin, key)) or key == PROMPT_TAG:
        return None
    return {"filter": f"tags.`{key}` LIKE '%'" if value is None else equals(f"tags.`{key}`", value, has_no_twin)}


LABEL = FilterPushdown(has_label, exact=False)


# Calls

API = "/api/2.0/mlflow"


def call(name: str, path: str, **options: Any) -> Call:
    """Return a call of the tracking server."""
    return Call(name=name, service="tracking", path=f"{API}/{path}", **options)


def rows(read: Callable[[Raw], Any], layout: EntityLayout) -> Field:
    return Field((), read, layout=layout)


def by_token(size: int) -> Paging:
    return Paging("page_token", "max_results", rows=size, by_marker=True)


def own_versions(document: Any, keys: Keys) -> Raw:
    """Return the versions of a model in an answer, without those of models with similar names."""
    listed = as_list(document.get("model_versions")) or []
    own = [row for row in listed if not isinstance(row, Mapping) or as_text(row.get("name")) == keys[0]]
    return document if len(own) == len(listed) else {**document, "model_versions": own}


def aliases_in_model(document: Any, keys: Keys) -> Raw | None:
    """Return the aliases of a version in the answer for its model."""
    model = as_object(document.get("registered_model"))
    return None if model is None else {"aliases": aliases_of_version(model, keys[1])}


SEARCH_MODELS = call(
    "SearchRegisteredModels",
    "registered-models/search",
    rows=rows(models, MODEL),
    is_complete=holds_list_if_any("registered_models", "next_page_token"),
    paging=by_token(1000),
    orders={
        ("updated_at", True): {"order_by": "last_updated_timestamp DESC"},
        ("updated_at", False): {"order_by": "last_updated_timestamp ASC"},
    },
    unsorted={"order_by": "name ASC"},
    filters={
        "name_equals": FilterPushdown(lambda value: {"filter": equals("name", value, has_no_twin)}, exact=False),
        "name_contains": FilterPushdown(name_contains, exact=False),
        "label": LABEL,
    },
    joined={"filter": " AND "},
)
GET_MODEL = call(
    "GetRegisteredModel",
    "registered-models/get",
    key_positions=(0,),
    parameters=lambda keys: {"name": keys[0]},
    entities=(object_at(MODEL, "registered_model"), EntityInAnswer(ALIASES_OF_VERSION, aliases_in_model, True)),
    is_complete=holds_object("registered_model", key="name"),
)
SEARCH_VERSIONS = call(
    "SearchModelVersions",
    "model-versions/search",
    key_positions=(0,),
    parameters=lambda keys: {"filter": equals("name", keys[0], is_safe), "order_by": "creation_timestamp DESC"},
    entities=(EntityInAnswer(VERSIONS, own_versions, always_present=True),),
    is_complete=holds_list_if_any("model_versions", "next_page_token"),
    paging=by_token(200),
    orders={("created_at", True): {}},
    filters={"label": LABEL},
    joined={"filter": " AND "},
)
GET_VERSION = call(
    "GetModelVersion",
    "model-versions/get",
    key_positions=(0, 1),
    parameters=lambda keys: {"name": keys[0], "version": keys[1]},
    entities=(object_at(VERSION, "model_version"),),
    is_complete=holds_object("model_version", key="version"),
)
GET_RUN = call(
    "GetRun",
    "runs/get",
    key_positions=(0,),
    follows="run",
    parameters=lambda keys: {"run_id": keys[0]},
    entities=(object_at(RUN, "run"),),
    is_complete=lambda document: isinstance(at(document, ("run", "info")), Mapping),
)
GET_LOGGED_MODEL = call(
    "GetLoggedModel",
    "logged-models/{0}",
    key_positions=(0,),
    follows="logged model",
    entities=(object_at(LOGGED_MODEL, "model"),),
    is_complete=lambda document: isinstance(at(document, ("model", "info")), Mapping),
)


# Errors

NOT_FOUND_CODES: Final = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
CODES: Mapping[str, type[errors.RegistryError]] = {
    "UNAUTHENTICATED": errors.RegistryUnauthenticated,
    "CUSTOMER_UNAUTHORIZED": errors.RegistryUnauthenticated,
    "PERMISSION_DENIED": errors.RegistryForbidden,
    "REQUEST_LIMIT_EXCEEDED": errors.RegistryThrottled,
    "RESOURCE_EXHAUSTED": errors.RegistryThrottled,
    "INVALID_PARAMETER_VALUE": errors.RegistryRejected,
    "BAD_REQUEST": errors.RegistryRejected,
    "ENDPOINT_NOT_FOUND": errors.RegistryRejected,
    "FEATURE_DISABLED": errors.RegistryRejected,
    "RESOURCE_DOES_NOT_EXIST": errors.RegistryRejected,
    "NOT_FOUND": errors.RegistryRejected,
    "TEMPORARILY_UNAVAILABLE": errors.RegistryUnavailable,
    "DEADLINE_EXCEEDED": errors.RegistryUnavailable,
    "INTERNAL_ERROR": errors.RegistryUnavailable,
    "INVALID_STATE": errors.RegistryUnavailable,
}
"""The errors by ``error_code``. The HTTP status decides about other codes."""


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """Return the error that a response reports, by its code or else its HTTP status. None if it is successful.

    Only an object can be missing: a missing workspace is an error of every call.
    """
    code = as_text(at(response.document, ("error_code",)))
    if response.status < 400 and code is None:
        return None
    message = as_text(at(response.document, ("message",))) or ""
    is_absence = code in NOT_FOUND_CODES and response.status in ABSENCE_STATUSES and not message.startswith("Workspace")
    error = errors.NotFound if is_absence else CODES.get(code or "") or errors.by_status(response.status)
    return error(registry, vendor_code=code, request_id=response.headers.get("x-request-id"))


# The kind

NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f/:]{1,256}")
"""A name. MLflow refuses only ``/`` and ``:``; requests carry names in the query."""


MLFLOW = Kind(
    name="MLFLOW",
    title="MLflow",
    description="MLflow Model Registry, or a server with the same API: registered models and their versions.",
    settings=MlflowSettings,
    services=lambda settings: {"tracking": settings.endpoint},
    keys={
        "Model": (NAME,),
        "ModelVersion": (NAME, re.compile("[1-9][0-9]{0,9}")),
        "Algorithm": (KEY_TEXT,),
        "AlgorithmVersion": (KEY_TEXT, KEY_TEXT),
    },
    calls=(GET_MODEL, GET_VERSION, SEARCH_VERSIONS, GET_RUN, GET_LOGGED_MODEL),
    streams=(Stream("own", "Model", SEARCH_MODELS, constants={"ownership": "OWN"}),),
    keyed_by_name=frozenset({"ModelVersion"}),
    probe=replace(SEARCH_MODELS, paging=by_token(1)),
    absent={
        "Model": MODEL_ABSENT,
        "ModelVersion": VERSION_ABSENT,
        "Algorithm": frozenset(),
        "AlgorithmVersion": frozenset(),
    },
    credentials=lambda settings: settings.credentials,
    sign=static_authorization,
    # MLflow has no quota. Databricks allows 40 calls of the registry per second and workspace.
    quota=Quota(requests_per_second=36),
    headers=lambda settings: {"X-MLFLOW-WORKSPACE": settings.workspace} if settings.workspace else {},
    check=check,
)
