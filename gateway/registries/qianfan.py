"""Baidu Qianfan: settings, calls, signature and errors of the model repository and the fine-tuning catalog.

The model repository has two generations of its API. This module contains v1 and the kinds of both; the tables and calls
of v2 are in `gateway.registries.qianfan_v2`. Sources: the API pages, the error code tables, and the official SDK.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from gateway import errors
from gateway.config.settings import Credentials, RegistrySettings, Secret, role_setting, setting
from gateway.registries import qianfan_v2
from gateway.registries.fields import EntityLayout, Field, Raw, Rows, as_integer, as_object, as_text, at
from gateway.registries.kind import (
    ABSENCE_STATUSES,
    KEY_TEXT,
    Call,
    EntityInAnswer,
    FilterPushdown,
    Keys,
    Kind,
    Lookup,
    Paging,
    Stream,
    holds_list,
    holds_object,
    object_at,
)
from gateway.registries.qianfan_credentials import assume_role
from gateway.registries.qianfan_tables import (
    ALGORITHM,
    ALGORITHM_VERSION,
    MODEL,
    PRESET_MODEL,
    PRESET_TYPES,
    USER_MODEL,
    USER_TYPES,
    VERSION,
    VERSION_DETAIL,
    catalog_rows,
    entry_key,
    find_entry,
    find_entry_version,
    versions,
)
from gateway.registries.signatures import bce_auth_v1, bce_prefix, timestamp
from gateway.upstream.credential_sources import AssumeRole, SourceContext
from gateway.upstream.messages import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class QianfanSettings(RegistrySettings):
    """One account of Baidu Qianfan."""

    access_key: str = setting("IAM access key.", default="", key=True, variables=("QIANFAN_ACCESS_KEY",))
    secret_key: Secret = setting("IAM secret key.", default=Secret(""), key=True, variables=("QIANFAN_SECRET_KEY",))
    security_token: Secret = setting("STS token, when the key is a temporary one.", default=Secret(""))
    assume_role: str = role_setting(r"[\w-]+", "model-reader")
    sts_endpoint: str = setting("Address of the token service.", default="https://sts.bj.baidubce.com", url=True)
    endpoint: str = setting("Qianfan address.", default="https://qianfan.baidubce.com", url=True, path=True)
    api: str = setting("Generation of the model repository's API: v1 or v2.", default="v1", pattern="v1|v2")


def assumed_role(settings: QianfanSettings, context: SourceContext) -> AssumeRole | None:
    """Return how to assume the role in the settings, which belongs to the account in the settings."""
    if not settings.assume_role:
        return None
    return partial(assume_role, context, settings.sts_endpoint, settings.account, settings.assume_role)


# Calls

BY_NUMBER = Paging("pageNo", "pageSize")


def rows(layout: EntityLayout) -> Field:
    """The rows of a list response."""
    return Field(
        (),
        lambda raw: Rows.of(at(raw, ("result", "items")), as_integer(at(raw, ("result", "total")))),
        layout=layout,
    )


def id_value(key: str) -> int | str:
    """Return an id as the API expects it: numeric ids as numbers, others as text."""
    return int(key) if key.isdigit() else key


def has_id(raw: Raw, names: tuple[str, str], key: str) -> bool:
    """Return whether a raw object has this id as its text id or its numeric id."""
    return key in {as_text(raw.get(name)) for name in names}


def find_version(document: Any, keys: Keys) -> Raw | None:
    """Return the version with this id from the details of its model."""
    listed = versions(as_object(at(document, ("result",))) or {})
    return next((raw for raw in listed.items if has_id(raw, ("modelVersionIdStr", "modelVersionId"), keys[1])), None)


def find_version_detail(document: Any, keys: Keys) -> Raw | None:
    """Return the version, None if it belongs to another model than its key."""
    raw = at(document, ("result",))
    if not isinstance(raw, Mapping):
        return None
    lacks_text_id = not keys[0].isdigit() and not raw.get("modelIdStr")
    return raw if lacks_text_id or has_id(raw, ("modelIdStr", "modelId"), keys[0]) else None


def list_filters(types: Mapping[int, str]) -> Mapping[str, FilterPushdown]:
    """Return the filters of a list: part of the name, and type. A type can have several numbers."""

    def numbers(wanted: Sequence[str]) -> Mapping[str, Any] | None:
        """Return the numbers of types. None if a type may be a number without a name, or if no type has a number."""
        names = {one.lower() for one in wanted}
        found = tuple(number for number, name in types.items() if name.lower() in names)
        return {"modelType": found} if found and not any(map(str.isdigit, wanted)) else None

    return {
        "name_contains": FilterPushdown(lambda value: {"nameFilter": value}, exact=False),
        "name_equals": FilterPushdown(lambda value: {"nameFilter": value}, exact=False),
        "type": FilterPushdown(lambda value: numbers([value])),
        "types": FilterPushdown(numbers),
    }


REPOSITORY = "/wenxinworkshop/modelrepo"

MODEL_DETAIL = Call(
    name="modelDetail",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/modelDetail",
    key_positions=(0,),
    parameters=lambda keys: {"modelId": id_value(keys[0])},
    entities=(object_at(MODEL, "result"), EntityInAnswer(VERSION, find_version)),
    is_complete=holds_object("result", key="modelId"),
)
MODEL_VERSION_DETAIL = Call(
    name="modelVersionDetail",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/modelVersionDetail",
    key_positions=(1,),
    parameters=lambda keys: {"modelVersionId": id_value(keys[0])},
    entities=(EntityInAnswer(VERSION_DETAIL, find_version_detail),),
    is_complete=holds_object("result", key="modelVersionId"),
)
USER_LIST = Call(
    name="userList",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/model/user/list",
    rows=rows(USER_MODEL),
    is_complete=holds_list("result", "items", total=("result", "total")),
    paging=BY_NUMBER,
    orders={
        ("created_at", True): {"orderBy": "create_time", "order": "desc"},
        ("created_at", False): {"orderBy": "create_time", "order": "asc"},
    },
    filters=list_filters(USER_TYPES),
)
PRESET_LIST = Call(
    name="presetList",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/model/preset/list",
    rows=rows(PRESET_MODEL),
    is_complete=holds_list("result", "items", total=("result", "total")),
    paging=BY_NUMBER,
    filters=list_filters(PRESET_TYPES),
)
FINE_TUNING_CATALOGUE = Call(
    name="DescribeFineTuningSupportModels",
    service="console",
    method="POST",
    path="/v2/finetuning",
    query={"Action": "DescribeFineTuningSupportModels"},
    entities=(EntityInAnswer(ALGORITHM, find_entry), EntityInAnswer(ALGORITHM_VERSION, find_entry_version)),
    rows=Field((), catalog_rows, layout=ALGORITHM),
    is_complete=holds_list("result"),
    cache_family="catalogues",
)
FINE_TUNING_TASK = Call(
    name="DescribeFineTuningTask",
    service="console",
    method="POST",
    path="/v2/finetuning",
    query={"Action": "DescribeFineTuningTask"},
    key_positions=(0,),
    parameters=lambda keys: {"taskId": keys[0]},
    is_complete=holds_object("result", key="model"),
)


def find_task_algorithm(document: Any, keys: Keys) -> Keys | None:
    """Return the key of the catalog entry that a training task used."""
    task = at(document, ("result",))
    key = entry_key(task) if isinstance(task, Mapping) else None
    return None if key is None else (key,)


def find_task_algorithm_version(document: Any, keys: Keys) -> Keys | None:
    """Return the keys of the only version of the catalog entry that a training task used."""
    entry_keys = find_task_algorithm(document, keys)
    return None if entry_keys is None else (*entry_keys, "1")


# Signature and errors

SIGNATURE_SECONDS = 300
"""The validity of a signature, in seconds."""


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """Return the headers of a bce-auth-v1 signature over content-type, host, x-bce-date and the STS token.

    Source: Baidu AI Cloud, authentication V1.
    """
    date = timestamp(now)
    signed = {"content-type": "application/json", "host": host, "x-bce-date": date}
    if credentials.token:
        signed["x-bce-security-token"] = credentials.token.reveal()
    prefix = bce_prefix(credentials.key, date, SIGNATURE_SECONDS)
    names, signature = bce_auth_v1(
        credentials.secret.reveal(), prefix, request.method, request.path, request.query, signed
    )
    return {**signed, "Authorization": f"{prefix}/{names}/{signature}"}


ERROR_NUMBERS: Mapping[int, type[errors.RegistryError]] = {
    **dict.fromkeys((13, 14, 15, 110, 111), errors.RegistryUnauthenticated),
    **dict.fromkeys((6, 336004), errors.RegistryForbidden),
    **dict.fromkeys((4, 17, 18, 19, 336501, 336502), errors.RegistryThrottled),
    **dict.fromkeys((1, 2, 336000, 336100, 500000), errors.RegistryUnavailable),
    **dict.fromkeys((3, 100, 336001, 336002, 336003, 336005, 336101, 336104, 336105), errors.RegistryRejected),
}
"""The errors by ``error_code`` of v1, which the API sends with HTTP status 200."""

ERROR_CODES: Mapping[str, type[errors.RegistryError]] = {
    "AccessDenied": errors.RegistryForbidden,
    "InternalError": errors.RegistryUnavailable,
    "InvalidAccessKeyId": errors.RegistryUnauthenticated,
    "InvalidHTTPAuthHeader": errors.RegistryUnauthenticated,
    "InvalidHTTPRequest": errors.RegistryRejected,
    "InvalidURI": errors.RegistryRejected,
    "InvalidVersion": errors.RegistryRejected,
    "OptInRequired": errors.RegistryForbidden,
    "RequestExpired": errors.RegistryUnauthenticated,
    "SignatureDoesNotMatch": errors.RegistryUnauthenticated,
    "429": errors.RegistryThrottled,
}
"""The errors by ``code`` of v2 and of the cloud's API gateway. The HTTP status decides about other codes."""

NOT_FOUND_CODE = re.compile(r"NoSuch(Key|Model|ModelSet|Resource|Task)|(Model|ModelSet|Resource|Task)Not(Exist|Found)")
"""Matches codes of v2 that report a missing object."""

NOT_FOUND_MESSAGE = re.compile(r"not (exist|found)", re.IGNORECASE)
"""Matches messages of v1 that report a missing object."""


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """Return the error that a response reports, None if it is successful.

    v1 reports errors by ``error_code``, also with status 200; v2 by ``code`` without ``result``; others by HTTP status.
    """
    document = response.document if isinstance(response.document, dict) else {}
    number = as_integer(document.get("error_code")) or None
    code = as_text(document.get("code")) or response.headers.get("x-bce-error-code")
    if number is None and response.status < 400 and (code is None or "result" in document):
        return None
    known = ERROR_CODES.get(code or "") if number is None else ERROR_NUMBERS.get(number)
    missing = response.status in ABSENCE_STATUSES and reports_absence(document, number)
    kind = known or (errors.NotFound if missing else errors.by_status(response.status))
    return kind(
        registry,
        vendor_code=code if number is None else str(number),
        request_id=as_text(document.get("log_id") or document.get("requestId"))
        or response.headers.get("x-bce-request-id"),
    )


def reports_absence(document: Raw, number: int | None) -> bool:
    """Whether the body of an error, in the form of v1 or v2, says that the object does not exist."""
    if number is not None:
        message = as_text(document.get("error_msg")) or ""
        return bool(as_text(document.get("log_id"))) and NOT_FOUND_MESSAGE.search(message) is not None
    code, request_id = document.get("code"), document.get("requestId")
    return isinstance(code, str) and isinstance(request_id, str) and NOT_FOUND_CODE.fullmatch(code) is not None


MODEL_ID = re.compile(r"am-[A-Za-z0-9]{1,64}")
VERSION_ID = re.compile(r"amv-[A-Za-z0-9]{1,64}")
ENTRY_KEY = re.compile(rf"(?=.+:.+:.+){KEY_TEXT.pattern}")


def or_number(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Return a pattern that also matches numeric ids."""
    return re.compile(rf"{pattern.pattern}|[1-9][0-9]{{0,17}}")


QIANFAN: Kind = Kind(
    name="QIANFAN",
    title="Baidu Qianfan",
    description=("Baidu AI Cloud Qianfan: models from the model repository, algorithms from the fine-tuning catalog."),
    settings=QianfanSettings,
    services=lambda settings: {"console": settings.endpoint},
    keys={
        "Model": (or_number(MODEL_ID),),
        "ModelVersion": (or_number(MODEL_ID), or_number(VERSION_ID)),
        "Algorithm": (ENTRY_KEY,),
        "AlgorithmVersion": (ENTRY_KEY, re.compile("1")),
    },
    canonical={"Model": (MODEL_ID,), "ModelVersion": (MODEL_ID, VERSION_ID)},
    keyed_by_name=frozenset({"AlgorithmVersion"}),
    calls=(MODEL_VERSION_DETAIL, MODEL_DETAIL, FINE_TUNING_CATALOGUE),
    streams=(
        Stream("user", "Model", USER_LIST, constants={"ownership": "OWN"}),
        Stream("preset", "Model", PRESET_LIST, constants={"ownership": "PLATFORM"}),
        Stream("catalogue", "Algorithm", FINE_TUNING_CATALOGUE),
    ),
    lookups={
        "algorithm": Lookup(FINE_TUNING_TASK, "Algorithm", find_task_algorithm),
        "algorithm_version": Lookup(FINE_TUNING_TASK, "AlgorithmVersion", find_task_algorithm_version),
    },
    probe=USER_LIST,
    absent={
        "Model": frozenset(
            {
                "documentation_url",
                "provider",
                "origin",
                "domain",
                "task",
                "visibility",
                "workspace_id",
                "parameter_count",
                "aliases",
            }
        ),
        "ModelVersion": frozenset(
            {
                "uri",
                "format",
                "format_name",
                "approval",
                "metrics",
                "evaluations",
                "options",
                "training_spec",
                "inference_spec",
                "evaluation_spec",
                "compression_spec",
                "distillation_spec",
                "labels",
                "owner",
                "aliases",
                "stage",
                "stage_name",
                "status_message",
                "parameters",
            }
        ),
        "Algorithm": frozenset(
            {
                "display_name",
                "description",
                "provider",
                "workspace_id",
                "owner",
                "created_at",
                "updated_at",
            }
        ),
        "AlgorithmVersion": frozenset({"owner", "created_at", "updated_at"}),
    },
    credentials=lambda settings: Credentials(settings.access_key, settings.secret_key, settings.security_token),
    assumed_role=assumed_role,
    sign=sign,
    check=check,
    generation=lambda settings: QIANFAN_V2 if settings.api == "v2" else QIANFAN,
)


QIANFAN_V2: Kind = replace(
    QIANFAN,
    keys={**QIANFAN.keys, "Model": (MODEL_ID,), "ModelVersion": (MODEL_ID, VERSION_ID)},
    canonical={},
    calls=(qianfan_v2.DESCRIBE_MODEL, qianfan_v2.DESCRIBE_MODEL_SET, FINE_TUNING_CATALOGUE),
    streams=(*qianfan_v2.STREAMS, *(stream for stream in QIANFAN.streams if stream.entity == "Algorithm")),
    probe=qianfan_v2.CUSTOM_MODEL_SETS,
    absent={
        **QIANFAN.absent,
        "Model": QIANFAN.absent["Model"] | qianfan_v2.MODEL_ABSENT,
        "ModelVersion": QIANFAN.absent["ModelVersion"] | qianfan_v2.VERSION_ABSENT,
    },
)
