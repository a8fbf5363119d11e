"""Alibaba PAI: models of AIWorkSpace 2021-02-04, algorithms of PaiStudio 2022-01-12.

Sources: the products' API references and the official Python SDKs' models.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from gateway import errors
from gateway.config.settings import Credentials, RegistrySettings, Secret, setting
from gateway.registries.fields import NOT_PROVIDED, Field, as_integer, as_objects, as_text, at
from gateway.registries.kind import (
    KEY_TEXT,
    Call,
    FilterPushdown,
    Keys,
    Kind,
    Lookup,
    Paging,
    Stream,
    equal,
    holds_list,
    holds_object,
    spelled,
    whole,
)
from gateway.registries.pai_tables import (
    ALGORITHM,
    ALGORITHM_ITEM,
    ALGORITHM_VERSION,
    ALGORITHM_VERSION_ITEM,
    APPROVALS,
    FORMATS,
    FRAMEWORKS,
    MODEL,
    SOURCES,
    VERSION,
    listed,
    newest,
    one_spelling,
    rows,
)
from gateway.registries.signatures import REMEMBERED, acs3_form, acs3_signature, timestamp
from gateway.upstream.messages import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class PaiSettings(RegistrySettings):
    """One account and region of Alibaba PAI."""

    region: str = setting(
        "Region of the account; data are regional.",
        variables=("ALIBABA_CLOUD_REGION_ID", "ALIBABA_CLOUD_REGION"),
        pattern=r"[a-z]{2}-[a-z0-9-]+",
        example="cn-hangzhou",
    )
    access_key_id: str = setting("AccessKey id.", default="", key=True, variables=("ALIBABA_CLOUD_ACCESS_KEY_ID",))
    access_key_secret: Secret = setting(
        "AccessKey secret.", default=Secret(""), key=True, variables=("ALIBABA_CLOUD_ACCESS_KEY_SECRET",)
    )
    security_token: Secret = setting(
        "STS token, when the key is a temporary one.",
        default=Secret(""),
        variables=("ALIBABA_CLOUD_SECURITY_TOKEN",),
    )
    models_endpoint: str = setting(
        "AIWorkSpace address.", default="https://aiworkspace.{region}.aliyuncs.com", url=True, path=True
    )
    algorithms_endpoint: str = setting(
        "PaiStudio address.", default="https://pai.{region}.aliyuncs.com", url=True, path=True
    )


# Calls

PAGED = Paging("PageNumber", "PageSize")


BY_CREATION = {
    ("created_at", True): {"SortBy": "GmtCreateTime", "Order": "DESC"},
    ("created_at", False): {"SortBy": "GmtCreateTime", "Order": "ASC"},
}
FORMAT_WORDS = one_spelling(
    FORMATS, "OfflineModel", "SavedModel", "TorchScript", "XGBoost", "PMML", "AlinkModel", "ONNX"
)
FRAMEWORK_WORDS = one_spelling(FRAMEWORKS, "XGBoost", "Keras", "Caffe", "Alink", "Xflow", "TensorFlow")
APPROVAL_WORDS = one_spelling(APPROVALS, "Pending", "Approved", "Rejected")
SOURCE_WORDS = one_spelling(SOURCES, "Custom", "PAIFlow", "TrainingService")
ALGORITHM_FILTERS = {
    "name_contains": FilterPushdown(lambda value: {"AlgorithmName": value}, exact=False),
    "name_equals": FilterPushdown(lambda value: {"AlgorithmName": value}, exact=False),
    "provider": equal("AlgorithmProvider"),
    "workspace_id": equal("WorkspaceId"),
}

LIST_MODELS = Call(
    name="ListModels",
    service="models",
    path="/api/v1/models",
    rows=rows("Models", MODEL),
    promise=holds_list("Models", total=("TotalCount",)),
    paging=PAGED,
    orders=BY_CREATION,
    filters={
        "search": FilterPushdown(lambda value: {"Query": value}, exact=False),
        "name_contains": FilterPushdown(lambda value: {"ModelName": value}, exact=False),
        "name_equals": FilterPushdown(lambda value: {"ModelName": f'"{value}"'}, exact=False),
        "type": equal("ModelType"),
        "domain": equal("Domain"),
        "task": equal("Task"),
        "origin": equal("Origin"),
        "provider": equal("Provider"),
        "workspace_id": equal("WorkspaceId"),
        "label": FilterPushdown(lambda value: {"Label": value["key"]}, exact=False),
    },
)
GET_MODEL = Call(
    name="GetModel",
    service="models",
    path="/api/v1/models/{0}",
    takes=(0,),
    parts=(whole(MODEL),),
    promise=holds_object(key="ModelId"),
)
LIST_MODEL_VERSIONS = Call(
    name="ListModelVersions",
    service="models",
    path="/api/v1/models/{0}/versions",
    takes=(0,),
    parameters=lambda keys: BY_CREATION["created_at", True],
    parts=(whole(listed("Model", ("versions", rows("Versions", VERSION)))),),
    promise=holds_list("Versions", total=("TotalCount",)),
    paging=PAGED,
    orders={("created_at", True): {}},
    filters={
        "format": spelled("FormatType", FORMAT_WORDS),
        "framework": spelled("FrameworkType", FRAMEWORK_WORDS),
        "approval": spelled("ApprovalStatus", APPROVAL_WORDS),
        "source_type": spelled("SourceType", SOURCE_WORDS),
        "label": FilterPushdown(lambda value: {"Label": value["key"]}, exact=False),
    },
)
GET_MODEL_VERSION = Call(
    name="GetModelVersion",
    service="models",
    path="/api/v1/models/{0}/versions/{1}",
    takes=(0, 1),
    parts=(whole(VERSION),),
    promise=holds_object(key="VersionName"),
)
LIST_ALGORITHMS = Call(
    name="ListAlgorithms",
    service="algorithms",
    path="/api/v1/algorithms",
    rows=rows("Algorithms", ALGORITHM_ITEM),
    promise=holds_list("Algorithms", total=("TotalCount",)),
    paging=PAGED,
    filters=ALGORITHM_FILTERS,
)
GET_ALGORITHM = Call(
    name="GetAlgorithm",
    service="algorithms",
    path="/api/v1/algorithms/{0}",
    takes=(0,),
    parts=(whole(ALGORITHM),),
    promise=holds_object(key="AlgorithmId"),
)
LIST_ALGORITHM_VERSIONS = Call(
    name="ListAlgorithmVersions",
    promise=holds_list("AlgorithmVersions", total=("TotalCount",)),
    service="algorithms",
    path="/api/v1/algorithms/{0}/versions",
    takes=(0,),
    parts=(
        whole(
            listed(
                "Algorithm",
                ("versions", rows("AlgorithmVersions", ALGORITHM_VERSION_ITEM)),
                ("latest_version", Field((), newest, shape=ALGORITHM_VERSION_ITEM, instead=NOT_PROVIDED)),
            )
        ),
    ),
    paging=PAGED,
)
GET_ALGORITHM_VERSION = Call(
    name="GetAlgorithmVersion",
    service="algorithms",
    path="/api/v1/algorithms/{0}/versions/{1}",
    takes=(0, 1),
    parts=(whole(ALGORITHM_VERSION),),
    promise=holds_object(key="AlgorithmVersion"),
)
FIND_ALGORITHM = Call(
    name="ListAlgorithms",
    service="algorithms",
    path="/api/v1/algorithms",
    takes=(0, 1),
    parameters=lambda keys: (
        {"AlgorithmName": keys[0], "AlgorithmProvider": keys[1]} if keys[1] else {"AlgorithmName": keys[0]}
    ),
    rows=rows("Algorithms", ALGORITHM_ITEM),
    promise=holds_list("Algorithms", total=("TotalCount",)),
    paging=PAGED,
)


def algorithm_named(document: Any, keys: Keys) -> Keys | None:
    """The algorithm of exactly this name and provider (the upstream filter is fuzzy), and its version if asked."""
    for row in as_objects(at(document, ("Algorithms",))) or []:
        if (as_text(row.get("AlgorithmName")), as_text(row.get("AlgorithmProvider")) or "") == keys[:2]:
            key = as_text(row.get("AlgorithmId"))
            return None if key is None else (key, *keys[2:])
    return None


# Signature and errors

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
VERSIONS = {"models": "2021-02-04", "algorithms": "2022-01-12"}


DATE, NONCE = "\0date", "\0nonce"
"""Stand for what differs each time: nothing that is sent holds such a character."""


@lru_cache(REMEMBERED)
def form(request: Request, host: str, key: str, token: str) -> tuple[Mapping[str, str], str, tuple[str, str, str]]:
    """What is the same each time that a request is signed: its headers, the beginning of its authorization, and its
    canonical form before the date, from there to the nonce, and after that."""
    payload = hashlib.sha256(request.body).hexdigest() if request.body else EMPTY_SHA256
    signed = {
        "host": host,
        "x-acs-action": request.call,
        "x-acs-version": VERSIONS[request.service],
        "x-acs-date": DATE,
        "x-acs-signature-nonce": NONCE,
        "x-acs-content-sha256": payload,
    }
    if token:
        signed |= {"x-acs-security-token": token, "x-acs-accesskey-id": key}
    names, canonical = acs3_form(request.method, request.path, request.query, signed, payload)
    before, _, rest = canonical.partition(DATE)
    between, _, after = rest.partition(NONCE)
    authorization = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={names},Signature="
    return {**signed, "accept": "application/json"}, authorization, (before, between, after)


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """ACS3-HMAC-SHA256 headers; source: Alibaba Cloud, "V3 request body and signature mechanism"."""
    token = credentials.token.reveal()
    formed = form.__wrapped__ if token else form  # a token does not last: nothing with one is remembered
    headers, authorization, (before, between, after) = formed(request, host, credentials.key, token)
    date = timestamp(now)
    signature = acs3_signature(credentials.secret.reveal(), f"{before}{date}{between}{nonce}{after}")
    changing = {"x-acs-date": date, "x-acs-signature-nonce": nonce, "Authorization": f"{authorization}{signature}"}
    return {**headers, **changing}


CODES: tuple[tuple[str, type[errors.RegistryError]], ...] = (
    (r"Throttling(\..+)?", errors.RegistryThrottled),
    (
        r"InvalidAccessKeyId\..+|InvalidSecurityToken\..+|SignatureDoesNotMatch",
        errors.RegistryUnauthenticated,
    ),
    (
        r"InvalidTimeStamp\..+|SignatureNonceUsed|InvalidSignatureMethod|MissingAccessKeyId",
        errors.RegistryUnauthenticated,
    ),
    (r"NoPermission|Forbidden.*", errors.RegistryForbidden),
    (r"InvalidApi\.NotFound", errors.RegistryRejected),
    (r"InternalError|ServiceUnavailable", errors.RegistryUnavailable),
)
"""Vendor codes as the product's error tables list them; what they leave open is decided by the status."""

MISSING = re.compile(r"not (exist|found)", re.IGNORECASE)


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """The error of an answer: by its Code, else by its status. Business codes are nine digits."""
    document = response.document if isinstance(response.document, dict) else {}
    code = as_text(document.get("Code") or document.get("code"))
    if code is None and not document:
        code = in_xml(response.body, "Code")
    if response.status < 400 and code is None:
        return None
    message = as_text(document.get("Message") or document.get("message")) or ""
    return error_type(response.status, code or "", message)(
        registry,
        vendor_code=code,
        request_id=as_text(document.get("RequestId") or document.get("requestId"))
        or in_xml(response.body, "RequestId")
        or response.headers.get("x-acs-request-id"),
        retry_after=retry_after(response),
    )


def error_type(status: int, code: str, message: str) -> type[errors.RegistryError]:
    for pattern, kind in CODES:
        if re.fullmatch(pattern, code):
            return kind
    if status == 404 or (re.fullmatch(r"\d{9}", code) and MISSING.search(message)):
        return errors.NotFound
    return errors.by_status(status)


def in_xml(body: bytes, element: str) -> str | None:
    """The text of an element in the gateway's XML error form."""
    if not body.startswith(b"<?xml"):
        return None
    found = re.search(rf"<{element}>([^<]*)</{element}>", body.decode(errors="replace"))
    return found[1] if found else None


def retry_after(response: Response) -> float | None:
    """``x-acs-retry-after`` is in milliseconds."""
    milliseconds = as_integer(response.headers.get("x-acs-retry-after"))
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1000


MODEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

PAI = Kind(
    name="PAI",
    title="Alibaba PAI",
    settings=PaiSettings,
    services=lambda settings: {
        "models": settings.models_endpoint,
        "algorithms": settings.algorithms_endpoint,
    },
    keys={
        "Model": (MODEL_KEY,),
        "ModelVersion": (MODEL_KEY, KEY_TEXT),
        "Algorithm": (MODEL_KEY,),
        "AlgorithmVersion": (MODEL_KEY, KEY_TEXT),
    },
    calls=(
        GET_MODEL,
        LIST_MODEL_VERSIONS,
        GET_MODEL_VERSION,
        GET_ALGORITHM,
        LIST_ALGORITHM_VERSIONS,
        GET_ALGORITHM_VERSION,
    ),
    streams=(
        Stream("own", "Model", LIST_MODELS, facts={"ownership": "OWN", "provider": None}),
        Stream("public", "Model", LIST_MODELS, (("Provider", "pai"),), {"ownership": "PLATFORM"}),
        Stream("own", "Algorithm", LIST_ALGORITHMS, facts={"provider": None}),
        Stream("public", "Algorithm", LIST_ALGORITHMS, (("AlgorithmProvider", "pai"),)),
    ),
    lookups={
        "algorithm": Lookup(FIND_ALGORITHM, "Algorithm", algorithm_named),
        "algorithm_version": Lookup(FIND_ALGORITHM, "AlgorithmVersion", algorithm_named),
    },
    named=frozenset({"ModelVersion", "AlgorithmVersion"}),
    envelope=frozenset({"RequestId"}),
    probe=LIST_MODELS,
    absent={
        "Model": frozenset(),
        "ModelVersion": frozenset(
            {
                "readiness",
                "base_model",
                "io_mode",
                "io_length",
                "input_schema",
                "output_schema",
                "license",
                "copyright",
                "deploy_targets",
                "supported_operations",
                "properties",
            }
        ),
        "Algorithm": frozenset(),
        "AlgorithmVersion": frozenset(),
    },
    credentials=lambda settings: Credentials(
        settings.access_key_id, settings.access_key_secret, settings.security_token
    ),
    sign=sign,
    check=check,
)
