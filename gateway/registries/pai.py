"""Alibaba PAI: settings, calls, signature and errors of AIWorkSpace (models) and PaiStudio (algorithms).

Sources: the API references of AIWorkSpace 2021-02-04 and PaiStudio 2022-01-12, and the official Python SDKs.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from gateway import errors
from gateway.config.settings import (
    Credentials,
    Quota,
    RegistrySettings,
    Secret,
    credentials_setting,
    role_setting,
    setting,
)
from gateway.memory_budget import memo
from gateway.registries.fields import Field, Raw, Rows, as_objects, as_text, at
from gateway.registries.kind import (
    ABSENCE_STATUSES,
    KEY_TEXT,
    Call,
    ErrorCodes,
    FilterPushdown,
    Keys,
    Kind,
    Lookup,
    Paging,
    Stream,
    error_by_code,
    holds_list,
    holds_object,
    list_of_word,
    native_value,
    object_at,
    same_value,
    word,
)
from gateway.registries.pai_credentials import (
    KEY_SOURCES,
    ROLE_VARIABLES,
    Role,
    Sts,
    assume_role,
    loading,
    sts_of,
)
from gateway.registries.pai_tables import (
    ALGORITHM,
    ALGORITHM_VERSION,
    APPROVALS,
    FORMATS,
    FRAMEWORKS,
    LISTED_ALGORITHM,
    LISTED_ALGORITHM_VERSION,
    MODEL,
    SOURCES,
    VERSION,
    native_values,
    newest_version,
    rows,
    version_list,
)
from gateway.registries.signatures import acs3_canonical_request, acs3_sign, timestamp
from gateway.upstream.credential_sources import AssumeRole, Load, SourceContext
from gateway.upstream.messages import Request, Response, header_number
from gateway.upstream.url_encoding import CACHE_SIZE


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
    credentials_from: str = credentials_setting("default", *KEY_SOURCES)
    profile: str = setting(
        "Profile in the file of the CLI or the SDKs. Empty: the one that `ALIBABA_CLOUD_PROFILE` names, or else the "
        "current one of the CLI, or `default` of the SDKs.",
        default="",
        example="production",
    )
    assume_role: str = role_setting(r"acs:ram::[0-9]+:role/[\w.@-]+", "acs:ram::1234567890:role/model-reader")
    vpc: bool = setting("Whether to use the addresses inside a VPC, also for the token service.", default=False)
    models_endpoint: str = setting(
        "AIWorkSpace address. Empty: that of the region.",
        default="",
        url=True,
        path=True,
        example="https://aiworkspace.cn-hangzhou.aliyuncs.com",
    )
    algorithms_endpoint: str = setting(
        "PaiStudio address. Empty: that of the region.",
        default="",
        url=True,
        path=True,
        example="https://pai.cn-hangzhou.aliyuncs.com",
    )
    sts_endpoint: str = setting(
        "Address of the token service, for `assume_role`, `rrsa` and profiles. Empty: `https://sts.aliyuncs.com`, or "
        "that of the region with `vpc`.",
        default="",
        url=True,
        example="https://sts.cn-hangzhou.aliyuncs.com",
    )


CENTRAL_REGIONS = frozenset(
    {"ap-northeast-2-pop", "ap-southeast-2", "cn-beijing-finance-1", "cn-beijing-finance-pop", "cn-beijing-gov-1",
     "cn-edge-1", "cn-fujian", "cn-hangzhou-finance", "cn-hongkong-finance-pop", "cn-huhehaote", "cn-qingdao",
     "cn-shanghai-inner", "cn-shenzhen-finance-1", "cn-shenzhen-inner", "cn-wuhan", "cn-yushanfang", "cn-zhangbei",
     "eu-west-1", "eu-west-1-oxs", "me-east-1", "rus-west-1-pop"}
)  # fmt: skip
"""The regions that AIWorkSpace serves at its central address.

Source: the table of endpoints of alibabacloud-aiworkspace20210204, without Alibaba's own test regions. The table also
sends ap-southeast-5 to an address inside a VPC, and PaiStudio's sends cn-hangzhou to another domain; the published API
metadata have regional addresses for both, as for all other regions.
"""


def services(settings: PaiSettings) -> Mapping[str, str]:
    """Return the addresses of AIWorkSpace and PaiStudio: those in the settings, or else those of the region."""
    region, network = settings.region, "-vpc" if settings.vpc else ""
    central = region in CENTRAL_REGIONS and not settings.vpc
    models = "aiworkspace.aliyuncs.com" if central else f"aiworkspace{network}.{region}.aliyuncs.com"
    return {
        "models": settings.models_endpoint or f"https://{models}",
        "algorithms": settings.algorithms_endpoint or f"https://pai{network}.{region}.aliyuncs.com",
    }


def sts(settings: PaiSettings, context: SourceContext) -> Sts:
    """Return the token service of a registry."""
    return sts_of(context, settings.sts_endpoint, settings.region, settings.vpc)


def cloud_key(settings: PaiSettings, context: SourceContext) -> Load | None:
    """Return how to load the access key that Alibaba Cloud supplies, None if the settings name no such source."""
    if not settings.credentials_from:
        return None
    return loading(context, settings.credentials_from, sts(settings, context), settings.profile)


def assumed_role(settings: PaiSettings, context: SourceContext) -> AssumeRole | None:
    """Return how to assume the role in the settings, None if they have no role."""
    if not settings.assume_role:
        return None
    return partial(assume_role, context, sts(settings, context), Role(settings.assume_role))


# Calls

BY_NUMBER = Paging("PageNumber", "PageSize")


BY_CREATION = {
    ("created_at", True): {"SortBy": "GmtCreateTime", "Order": "DESC"},
    ("created_at", False): {"SortBy": "GmtCreateTime", "Order": "ASC"},
}
NATIVE_FORMATS = native_values(
    FORMATS, "OfflineModel", "SavedModel", "TorchScript", "XGBoost", "PMML", "AlinkModel", "ONNX"
)
NATIVE_FRAMEWORKS = native_values(FRAMEWORKS, "XGBoost", "Keras", "Caffe", "Alink", "Xflow", "TensorFlow")
NATIVE_APPROVALS = native_values(APPROVALS, "Pending", "Approved", "Rejected")
NATIVE_SOURCES = native_values(SOURCES, "Custom", "PAIFlow", "TrainingService")
PROVIDERS = ("pai", "huggingface")
TYPES = ("Checkpoint", "LoRA", "Endpoint")
ORIGINS = ("ModelScope", "HuggingFace", "Civitai")
DOMAINS = ("aigc", "audio", "cv", "llm", "multi-modal", "nlp")
TASKS = (
    "auto-speech-recognition", "chat", "fill-mask", "image-classification", "image-object-detection",
    "image-segmentation", "information-extraction", "named-entity-recognition", "question-answering",
    "sentence-similarity", "summarization", "text-classification", "text-generation", "text-to-image-synthesis",
    "text-to-speech", "text-to-video-synthesis", "token-classification", "translation", "visual-question-answering",
    "zero-shot-classification",
)  # fmt: skip
"""The vendor's words in the vendor's spelling. Its lists compare words letter by letter."""
ALGORITHM_FILTERS = {
    "name_contains": FilterPushdown(lambda value: {"AlgorithmName": value}, exact=False),
    "name_equals": FilterPushdown(lambda value: {"AlgorithmName": value}, exact=False),
    "provider": list_of_word("AlgorithmProvider", *PROVIDERS),
    "workspace_id": same_value("WorkspaceId"),
}

LIST_MODELS = Call(
    name="ListModels",
    service="models",
    path="/api/v1/models",
    rows=rows("Models", MODEL),
    is_complete=holds_list("Models", total=("TotalCount",)),
    paging=BY_NUMBER,
    orders=BY_CREATION,
    filters={
        "name_contains": FilterPushdown(lambda value: {"ModelName": value}, exact=False),
        "name_equals": FilterPushdown(lambda value: {"ModelName": f'"{value}"'}, exact=False),
        "type": word("ModelType", *TYPES),
        "domain": word("Domain", *DOMAINS),
        "task": word("Task", *TASKS),
        "origin": word("Origin", *ORIGINS),
        "provider": list_of_word("Provider", *PROVIDERS),
        "workspace_id": same_value("WorkspaceId"),
        "label": FilterPushdown(lambda value: {"Label": value["key"]}, exact=False),
    },
)
GET_MODEL = Call(
    name="GetModel",
    service="models",
    path="/api/v1/models/{0}",
    key_positions=(0,),
    entities=(object_at(MODEL),),
    is_complete=holds_object(key="ModelId"),
)
LIST_MODEL_VERSIONS = Call(
    name="ListModelVersions",
    service="models",
    path="/api/v1/models/{0}/versions",
    key_positions=(0,),
    parameters=lambda keys: BY_CREATION["created_at", True],
    entities=(object_at(version_list("Model", ("versions", rows("Versions", VERSION)))),),
    is_complete=holds_list("Versions", total=("TotalCount",)),
    paging=BY_NUMBER,
    orders={("created_at", True): {}},
    filters={
        "format": native_value("FormatType", NATIVE_FORMATS),
        "framework": native_value("FrameworkType", NATIVE_FRAMEWORKS),
        "approval": native_value("ApprovalStatus", NATIVE_APPROVALS),
        "source_type": native_value("SourceType", NATIVE_SOURCES),
        "label": FilterPushdown(lambda value: {"Label": value["key"]}, exact=False),
    },
)
GET_MODEL_VERSION = Call(
    name="GetModelVersion",
    service="models",
    path="/api/v1/models/{0}/versions/{1}",
    key_positions=(0, 1),
    entities=(object_at(VERSION),),
    is_complete=holds_object(key="VersionName"),
)
LIST_ALGORITHMS = Call(
    name="ListAlgorithms",
    service="algorithms",
    path="/api/v1/algorithms",
    rows=rows("Algorithms", LISTED_ALGORITHM),
    is_complete=holds_list("Algorithms", total=("TotalCount",)),
    paging=BY_NUMBER,
    filters=ALGORITHM_FILTERS,
)
GET_ALGORITHM = Call(
    name="GetAlgorithm",
    service="algorithms",
    path="/api/v1/algorithms/{0}",
    key_positions=(0,),
    entities=(object_at(ALGORITHM),),
    is_complete=holds_object(key="AlgorithmId"),
)
LIST_ALGORITHM_VERSIONS = Call(
    name="ListAlgorithmVersions",
    is_complete=holds_list("AlgorithmVersions", total=("TotalCount",)),
    service="algorithms",
    path="/api/v1/algorithms/{0}/versions",
    key_positions=(0,),
    entities=(
        object_at(
            version_list(
                "Algorithm",
                ("versions", rows("AlgorithmVersions", LISTED_ALGORITHM_VERSION)),
                ("latest_version", Field((), newest_version, layout=LISTED_ALGORITHM_VERSION, fallback=Rows)),
            )
        ),
    ),
    paging=BY_NUMBER,
)
GET_ALGORITHM_VERSION = Call(
    name="GetAlgorithmVersion",
    service="algorithms",
    path="/api/v1/algorithms/{0}/versions/{1}",
    key_positions=(0, 1),
    entities=(object_at(ALGORITHM_VERSION),),
    is_complete=holds_object(key="AlgorithmVersion"),
)
FIND_ALGORITHM = Call(
    name="ListAlgorithms",
    service="algorithms",
    path="/api/v1/algorithms",
    key_positions=(0, 1),
    parameters=lambda keys: (
        {"AlgorithmName": keys[0], "AlgorithmProvider": keys[1]} if keys[1] else {"AlgorithmName": keys[0]}
    ),
    rows=rows("Algorithms", LISTED_ALGORITHM),
    is_complete=holds_list("Algorithms", total=("TotalCount",)),
    paging=BY_NUMBER,
)


def find_algorithm(document: Any, keys: Keys) -> Keys | None:
    """Return the keys of the algorithm with this name and provider, and of its version if ``keys`` contain one.

    The filter of ListAlgorithms matches loosely, so this compares name and provider exactly.
    """
    for row in as_objects(at(document, ("Algorithms",))) or []:
        if (as_text(row.get("AlgorithmName")), as_text(row.get("AlgorithmProvider")) or "") == keys[:2]:
            key = as_text(row.get("AlgorithmId"))
            return None if key is None else (key, *keys[2:])
    return None


# Signature and errors

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
API_VERSIONS = {"models": "2021-02-04", "algorithms": "2022-01-12"}


DATE_PLACEHOLDER, NONCE_PLACEHOLDER = "\0date", "\0nonce"
"""Placeholders for the values that differ in every request. No part of a request contains a null character."""


def signing_parts(
    request: Request, host: str, key: str, token: str
) -> tuple[Mapping[str, str], str, tuple[str, str, str]]:
    """Compute the parts of a signed request that do not depend on the time and the nonce.

    Returns the headers, the start of the Authorization header, and the canonical request in three parts: before the
    date, between date and nonce, and after the nonce.
    """
    payload = hashlib.sha256(request.body).hexdigest() if request.body else EMPTY_SHA256
    signed = {
        "host": host,
        "x-acs-action": request.call,
        "x-acs-version": API_VERSIONS[request.service],
        "x-acs-date": DATE_PLACEHOLDER,
        "x-acs-signature-nonce": NONCE_PLACEHOLDER,
        "x-acs-content-sha256": payload,
    }
    if token:
        signed |= {"x-acs-security-token": token, "x-acs-accesskey-id": key}
    names, canonical = acs3_canonical_request(request.method, request.path, request.query, signed, payload)
    before, _, rest = canonical.partition(DATE_PLACEHOLDER)
    between, _, after = rest.partition(NONCE_PLACEHOLDER)
    authorization = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={names},Signature="
    return {**signed, "accept": "application/json"}, authorization, (before, between, after)


cached_signing_parts = memo(CACHE_SIZE, lambda request, *_: request.length)(signing_parts)


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """Return the headers of an ACS3-HMAC-SHA256 signature.

    Source: Alibaba Cloud, "V3 request body and signature mechanism".
    """
    token = credentials.token.reveal()
    parts_of = signing_parts if token else cached_signing_parts  # security tokens expire soon: no use to cache
    headers, authorization, (before, between, after) = parts_of(request, host, credentials.key, token)
    date = timestamp(now)
    signature = acs3_sign(credentials.secret.reveal(), f"{before}{date}{between}{nonce}{after}")
    return {
        **headers,
        "x-acs-date": date,
        "x-acs-signature-nonce": nonce,
        "Authorization": f"{authorization}{signature}",
    }


ERROR_CODES: ErrorCodes = (
    (r"Throttling(\..+)?", errors.RegistryThrottled),
    (
        r"Invalid(AccessKeyId|SecurityToken|Signature)(\..+)?|SignatureDoesNotMatch|IncompleteSignature",
        errors.RegistryUnauthenticated,
    ),
    (
        r"(Invalid|Illegal)Time[Ss]tamp(\..+)?|SignatureNonceUsed|InvalidSignatureMethod|MissingAccessKeyId",
        errors.RegistryUnauthenticated,
    ),
    (r"NoPermission|Forbidden.*", errors.RegistryForbidden),
    (r"Invalid(Api|Action|Product|RegionId|Version)(\.NotFound)?", errors.RegistryRejected),
    (r"InternalError|ServiceUnavailable", errors.RegistryUnavailable),
)
"""From the products' error tables."""

BUSINESS_CODE = re.compile(r"[0-9]{9}")
"""Matches the codes of AIWorkSpace's own errors."""

NOT_FOUND_CODE = re.compile(
    r"(Entity|Resource)Not(Exist|Found)(\.(Model|Algorithm)(Version)?)?"
    r"|(Invalid)?(Model|Algorithm)(Version)?(Id|Name)?\.?Not(Exist|Found)"
)
"""Matches codes by name that report a missing object of the graph. Something else can be missing, too: a workspace."""

NOT_FOUND_MESSAGE = re.compile(r"not (exist|found)", re.IGNORECASE)
"""Matches messages that report a missing object under a numeric code."""


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """Return the error that a response reports, by its code or else its HTTP status. None if it is successful."""
    document = response.document if isinstance(response.document, dict) else {}
    code = as_text(document.get("Code") or document.get("code"))
    if code is None and not document:
        code = xml_text(response.body, "Code")
    if response.status < 400 and code is None:
        return None
    request_id = as_text(document.get("RequestId") or document.get("requestId"))
    missing = response.status in ABSENCE_STATUSES and reports_absence(response.status, code or "", document)
    return (errors.NotFound if missing else error_by_code(ERROR_CODES, code or "", response.status))(
        registry,
        vendor_code=code,
        request_id=request_id or xml_text(response.body, "RequestId") or response.headers.get("x-acs-request-id"),
        retry_after=retry_after(response),
    )


def reports_absence(status: int, code: str, document: Raw) -> bool:
    """Whether an error says that the object does not exist.

    It does in a 404 with the code of a business error, or with the name of such a code in the product's own form. With
    another status, the message of a business error decides.
    """
    if BUSINESS_CODE.fullmatch(code):
        message = as_text(document.get("Message") or document.get("message")) or ""
        return status == 404 or NOT_FOUND_MESSAGE.search(message) is not None
    own_form = document.get("Code") == code and isinstance(document.get("RequestId"), str)
    return status == 404 and own_form and NOT_FOUND_CODE.fullmatch(code) is not None


def xml_text(body: bytes, element: str) -> str | None:
    """Return the text of an element of an XML error body, as the cloud's API gateway sends it."""
    if not body.startswith(b"<?xml"):
        return None
    content = re.search(rf"<{element}>([^<]*)</{element}>", body.decode(errors="replace"))
    return content[1] if content else None


def retry_after(response: Response) -> float | None:
    """Return the time to wait in seconds. The header ``x-acs-retry-after`` is in milliseconds."""
    milliseconds = header_number(response.headers.get("x-acs-retry-after", ""))
    return None if milliseconds is None else milliseconds / 1000


KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

PAI = Kind(
    name="PAI",
    title="Alibaba PAI",
    description="Alibaba Cloud PAI: models from AIWorkSpace, algorithms from PaiStudio.",
    settings=PaiSettings,
    services=services,
    keys={
        "Model": (KEY,),
        "ModelVersion": (KEY, KEY_TEXT),
        "Algorithm": (KEY,),
        "AlgorithmVersion": (KEY, KEY_TEXT),
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
        Stream("own", "Model", LIST_MODELS, constants={"ownership": "OWN", "provider": None}),
        Stream("public", "Model", LIST_MODELS, defaults=(("Provider", "pai"),), constants={"ownership": "PLATFORM"}),
        Stream("own", "Algorithm", LIST_ALGORITHMS, constants={"provider": None}),
        Stream("public", "Algorithm", LIST_ALGORITHMS, defaults=(("AlgorithmProvider", "pai"),)),
    ),
    lookups={
        "algorithm": Lookup(FIND_ALGORITHM, "Algorithm", find_algorithm),
        "algorithm_version": Lookup(FIND_ALGORITHM, "AlgorithmVersion", find_algorithm),
    },
    keyed_by_name=frozenset({"ModelVersion", "AlgorithmVersion"}),
    response_keys=frozenset({"RequestId"}),
    probe=LIST_MODELS,
    absent={
        "Model": frozenset({"aliases"}),
        "ModelVersion": frozenset(
            {
                "aliases",
                "stage",
                "stage_name",
                "status_message",
                "parameters",
                "license_id",
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
        "Algorithm": frozenset({"method", "scale"}),
        "AlgorithmVersion": frozenset(),
    },
    credentials=lambda settings: Credentials(
        settings.access_key_id, settings.access_key_secret, settings.security_token
    ),
    cloud_key=cloud_key,
    assumed_role=assumed_role,
    role_variables=ROLE_VARIABLES,
    quota=Quota(requests_per_second=45),  # of the 50 that are documented for each region, call and account
    sign=sign,
    check=check,
)
