"""Baidu Qianfan: the model repository in both generations, and the fine-tuning catalogue.

Sources: the product's API pages, its error code tables, and the official SDK.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway import errors
from gateway.config.settings import Credentials, RegistrySettings, Secret, setting
from gateway.registries import qianfan_v2
from gateway.registries.fields import EntityLayout, Field, Raw, Rows, as_integer, as_object, as_objects, as_text, at
from gateway.registries.kind import (
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
    whole,
)
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
    entries,
    entry,
    entry_key,
    entry_version,
    versions,
)
from gateway.registries.signatures import bce_auth_v1, bce_prefix, timestamp
from gateway.upstream.messages import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class QianfanSettings(RegistrySettings):
    """One account of Baidu Qianfan."""

    access_key: str = setting("IAM access key.", default="", key=True, variables=("QIANFAN_ACCESS_KEY",))
    secret_key: Secret = setting("IAM secret key.", default=Secret(""), key=True, variables=("QIANFAN_SECRET_KEY",))
    security_token: Secret = setting("STS token, when the key is a temporary one.", default=Secret(""))
    endpoint: str = setting("Qianfan address.", default="https://qianfan.baidubce.com", url=True, path=True)
    api: str = setting("Generation of the model repository's API: v1 or v2.", default="v1", pattern="v1|v2")


# Calls

PAGED = Paging("pageNo", "pageSize")


def rows(shape: EntityLayout) -> Field:
    """The rows of a list answer."""
    return Field(
        (),
        lambda raw: Rows(as_objects(at(raw, ("result", "items"))) or [], as_integer(at(raw, ("result", "total")))),
        shape=shape,
    )


def id_value(key: str) -> int | str:
    """Number ids travel as numbers, text ids as text."""
    return int(key) if key.isdigit() else key


def same(raw: Raw, names: tuple[str, str], key: str) -> bool:
    """Whether a raw object has this id, under its text id or its number."""
    return key in {as_text(raw.get(name)) for name in names}


def version_of_model(document: Any, keys: Keys) -> Raw | None:
    listed = versions(as_object(at(document, ("result",))) or {})
    return next((raw for raw in listed if same(raw, ("modelVersionIdStr", "modelVersionId"), keys[1])), None)


def version_detail(document: Any, keys: Keys) -> Raw | None:
    """The version, if it belongs to the model that the id names."""
    raw = at(document, ("result",))
    if not isinstance(raw, Mapping):
        return None
    nameless = not keys[0].isdigit() and not raw.get("modelIdStr")
    return raw if nameless or same(raw, ("modelIdStr", "modelId"), keys[0]) else None


def list_filters(types: Mapping[int, str]) -> Mapping[str, FilterPushdown]:
    """What both lists filter by themselves: a part of the name, and the numbers of a type."""
    return {
        "name_contains": FilterPushdown(lambda value: {"nameFilter": value}, exact=False),
        "name_equals": FilterPushdown(lambda value: {"nameFilter": value}, exact=False),
        "type": FilterPushdown(
            lambda value: (
                {"modelType": numbers}
                if (numbers := tuple(number for number, word in types.items() if word == value))
                else None
            )
        ),
    }


REPOSITORY = "/wenxinworkshop/modelrepo"

MODEL_DETAIL = Call(
    name="modelDetail",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/modelDetail",
    takes=(0,),
    parameters=lambda keys: {"modelId": id_value(keys[0])},
    parts=(whole(MODEL, "result"), EntityInAnswer(VERSION, version_of_model)),
    promise=holds_object("result", key="modelId"),
)
MODEL_VERSION_DETAIL = Call(
    name="modelVersionDetail",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/modelVersionDetail",
    takes=(1,),
    parameters=lambda keys: {"modelVersionId": id_value(keys[0])},
    parts=(EntityInAnswer(VERSION_DETAIL, version_detail),),
    promise=holds_object("result", key="modelVersionId"),
)
USER_LIST = Call(
    name="userList",
    service="console",
    method="POST",
    path=f"{REPOSITORY}/model/user/list",
    rows=rows(USER_MODEL),
    promise=holds_list("result", "items", total=("result", "total")),
    paging=PAGED,
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
    promise=holds_list("result", "items", total=("result", "total")),
    paging=PAGED,
    filters=list_filters(PRESET_TYPES),
)
FINE_TUNING_CATALOGUE = Call(
    name="DescribeFineTuningSupportModels",
    service="console",
    method="POST",
    path="/v2/finetuning",
    query={"Action": "DescribeFineTuningSupportModels"},
    parts=(EntityInAnswer(ALGORITHM, entry), EntityInAnswer(ALGORITHM_VERSION, entry_version)),
    rows=Field((), lambda raw: Rows(entries(raw), len(entries(raw))), shape=ALGORITHM),
    promise=holds_list("result"),
    lifetime="catalogues",
)
FINE_TUNING_TASK = Call(
    name="DescribeFineTuningTask",
    service="console",
    method="POST",
    path="/v2/finetuning",
    query={"Action": "DescribeFineTuningTask"},
    takes=(0,),
    parameters=lambda keys: {"taskId": keys[0]},
    promise=holds_object("result", key="model"),
)


def task_algorithm(document: Any, keys: Keys) -> Keys | None:
    """The catalogue entry that a training task used."""
    task = at(document, ("result",))
    key = entry_key(task) if isinstance(task, Mapping) else None
    return None if key is None else (key,)


def task_algorithm_version(document: Any, keys: Keys) -> Keys | None:
    entry_keys = task_algorithm(document, keys)
    return None if entry_keys is None else (*entry_keys, "1")


# Signature and errors

SIGNATURE_SECONDS = 300


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """bce-auth-v1 headers over content-type, host, x-bce-date and the STS token; source: Baidu AI Cloud,
    authentication V1."""
    date = timestamp(now)
    signed = {"content-type": "application/json", "host": host, "x-bce-date": date}
    if credentials.token:
        signed["x-bce-security-token"] = credentials.token.reveal()
    prefix = bce_prefix(credentials.key, date, SIGNATURE_SECONDS)
    names, signature = bce_auth_v1(
        credentials.secret.reveal(), prefix, request.method, request.path, request.query, signed
    )
    return {**signed, "Authorization": f"{prefix}/{names}/{signature}"}


NUMBERS: Mapping[int, type[errors.RegistryError]] = {
    **dict.fromkeys((13, 14, 15, 110, 111), errors.RegistryUnauthenticated),
    **dict.fromkeys((6, 336004), errors.RegistryForbidden),
    **dict.fromkeys((4, 17, 18, 19, 336501, 336502), errors.RegistryThrottled),
    **dict.fromkeys((1, 2, 336000, 336100, 500000), errors.RegistryUnavailable),
    **dict.fromkeys((3, 100, 336001, 336002, 336003, 336005, 336101, 336104, 336105), errors.RegistryRejected),
}
"""error_code of the first generation, which comes with status 200."""

CODES: Mapping[str, type[errors.RegistryError]] = {
    "AccessDenied": errors.RegistryForbidden,
    "InternalError": errors.RegistryUnavailable,
    "InvalidAccessKeyId": errors.RegistryUnauthenticated,
    "InvalidHTTPAuthHeader": errors.RegistryUnauthenticated,
    "InvalidVersion": errors.RegistryRejected,
    "NoSuchKey": errors.NotFound,
    "OptInRequired": errors.RegistryForbidden,
    "RequestExpired": errors.RegistryUnauthenticated,
    "SignatureDoesNotMatch": errors.RegistryUnauthenticated,
    "429": errors.RegistryThrottled,
}
"""code of the second generation and of the front gate; others are decided by the status."""

MISSING = re.compile(r"not (exist|found)", re.IGNORECASE)


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """The error of an answer: an error_code even in a 200, a code without a result, else the status."""
    document = response.document if isinstance(response.document, dict) else {}
    number = as_integer(document.get("error_code")) or None
    code = as_text(document.get("code")) or response.headers.get("x-bce-error-code")
    kind: type[errors.RegistryError]
    if number is not None:
        missing = MISSING.search(as_text(document.get("error_msg")) or "")
        kind = NUMBERS.get(number, errors.NotFound if missing else errors.RegistryRejected)
    elif response.status >= 400 or (code is not None and "result" not in document):
        kind = CODES.get(code or "") or errors.by_status(response.status)
    else:
        return None
    return kind(
        registry,
        vendor_code=code if number is None else str(number),
        request_id=as_text(document.get("log_id") or document.get("requestId"))
        or response.headers.get("x-bce-request-id"),
    )


MODEL_ID = re.compile(r"am-[A-Za-z0-9]{1,64}")
VERSION_ID = re.compile(r"amv-[A-Za-z0-9]{1,64}")
ENTRY_KEY = re.compile(rf"(?=.+:.+:.+){KEY_TEXT.pattern}")


def or_number(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(rf"{pattern.pattern}|[1-9][0-9]{{0,17}}")


QIANFAN: Kind = Kind(
    name="QIANFAN",
    title="Baidu Qianfan",
    settings=QianfanSettings,
    services=lambda settings: {"console": settings.endpoint},
    keys={
        "Model": (or_number(MODEL_ID),),
        "ModelVersion": (or_number(MODEL_ID), or_number(VERSION_ID)),
        "Algorithm": (ENTRY_KEY,),
        "AlgorithmVersion": (ENTRY_KEY, re.compile("1")),
    },
    canonical={"Model": (MODEL_ID,), "ModelVersion": (MODEL_ID, VERSION_ID)},
    named=frozenset({"AlgorithmVersion"}),
    calls=(MODEL_VERSION_DETAIL, MODEL_DETAIL, FINE_TUNING_CATALOGUE),
    streams=(
        Stream("user", "Model", USER_LIST, facts={"ownership": "OWN"}),
        Stream("preset", "Model", PRESET_LIST, facts={"ownership": "PLATFORM"}),
        Stream("catalogue", "Algorithm", FINE_TUNING_CATALOGUE),
    ),
    lookups={
        "algorithm": Lookup(FINE_TUNING_TASK, "Algorithm", task_algorithm),
        "algorithm_version": Lookup(FINE_TUNING_TASK, "AlgorithmVersion", task_algorithm_version),
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
