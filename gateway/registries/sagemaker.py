"""Amazon SageMaker: settings, calls, signature and errors of the model registry and of training algorithms.

All operations are POST requests to ``/``, selected by the header ``X-Amz-Target``. Lists are paged by token; nothing
counts their rows. Packages without a group are not shown. Source: the service model ``sagemaker``, version 2017-07-24,
and its API reference.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from gateway.registries import sagemaker_credentials
from gateway.registries.fields import EntityLayout, Field, Raw, Rows, as_list, as_text
from gateway.registries.kind import (
    ABSENCE_STATUSES,
    Call,
    EntityInAnswer,
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
    native_value,
    object_at,
)
from gateway.registries.sagemaker_tables import (
    ABSENT_FIELDS,
    ALGORITHM,
    ALGORITHM_VERSION,
    LISTED_ALGORITHM,
    LISTED_MODEL,
    MODEL,
    ONLY_VERSION,
    SUMMARY,
    VERSION,
)
from gateway.registries.signatures import sigv4, sigv4_timestamp
from gateway.upstream.credential_sources import AssumeRole, Load, SourceContext
from gateway.upstream.messages import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class SageMakerSettings(RegistrySettings):
    """One account and region of Amazon SageMaker."""

    region: str = setting(
        "Region of the account; data are regional.", pattern=r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", example="eu-west-1"
    )
    account: str = setting(
        "Number of the account. It is part of the names of model packages.",
        pattern=r"[0-9]{12}",
        example="123456789012",
    )
    access_key_id: str = setting("Access key id.", default="", key=True)
    secret_access_key: Secret = setting("Secret access key.", default=Secret(""), key=True)
    session_token: Secret = setting("Session token, when the key is a temporary one.", default=Secret(""))
    credentials_from: str = credentials_setting(*sagemaker_credentials.PROVIDERS)
    profile: str = setting(
        "Profile in the files of the AWS CLI and SDKs. Empty: the one that `AWS_PROFILE` names, or else `default`.",
        default="",
        example="production",
    )
    assume_role: str = role_setting(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", "arn:aws:iam::123456789012:role/model-reader"
    )
    endpoint: str = setting(
        "SageMaker address. Empty: that of the region.",
        default="",
        url=True,
        path=True,
        example="https://api.sagemaker.eu-west-1.amazonaws.com",
    )


PARTITIONS = (
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
    ("", "aws", "amazonaws.com"),
)
"""The partitions of the cloud: start of their regions' names, name, and domain. Source: botocore, partitions.json."""


def partition(region: str) -> tuple[str, str]:
    """Return the name and the domain of a region's partition."""
    return next((name, domain) for start, name, domain in PARTITIONS if region.startswith(start))


def cloud_key(settings: SageMakerSettings, context: SourceContext) -> Load | None:
    """Return how to load the access key that the cloud supplies, None if the settings name no such source.

    Raises `SettingsError` if botocore is not installed.
    """
    if not settings.credentials_from:
        return None
    sagemaker_credentials.require_botocore("credentials_from")
    return partial(sagemaker_credentials.load, context, settings.credentials_from, settings.profile, settings.region)


def assumed_role(settings: SageMakerSettings, context: SourceContext) -> AssumeRole | None:
    """Return how to assume the role in the settings, None if they have no role.

    Raises `SettingsError` if botocore is not installed.
    """
    if not settings.assume_role:
        return None
    sagemaker_credentials.require_botocore("assume_role")
    return partial(sagemaker_credentials.assume_role, settings.assume_role, settings.region)


# Calls

ACCOUNT = "{account}"
"""Stands for the start of the names of the account's resources in a request. No key contains a brace."""


def with_settings(settings: SageMakerSettings, request: Request) -> Request:
    """Complete the name of a model package in a request, and name the region of its signature."""
    body = request.body
    if request.call == "DescribeModelPackage":
        name, _ = partition(settings.region)
        body = body.replace(ACCOUNT.encode(), f"arn:{name}:sagemaker:{settings.region}:{settings.account}".encode())
    return replace(request, body=body, region=settings.region)


def rows(key: str, layout: EntityLayout) -> Field:
    """The rows of a list response, with the token of the next page."""

    def read(raw: Raw) -> Rows:
        token = raw.get("NextToken") or None
        following = token if isinstance(token, str) else None
        return Rows.of(raw.get(key), None, following, truncated=token is not following)

    return Field((key,), read, layout=layout)


PACKAGES = rows("ModelPackageSummaryList", SUMMARY)


def newest(raw: Raw) -> Raw | Rows | None:
    """Return the first version of a list that is sorted by falling creation time, the rows if they lack it."""
    listed = PACKAGES.read(raw)
    first = next(iter(as_list(raw.get("ModelPackageSummaryList")) or []), None)
    if isinstance(first, Mapping) and SUMMARY.key(first) is not None:
        return first
    return listed if listed.items or listed.left_out or listed.next or listed.truncated else None


def holds_newest(document: Raw) -> bool:
    """Return whether a response contains the newest version, or reports that there is none."""
    return isinstance(document.get("ModelPackageSummaryList"), list) and not isinstance(newest(document), Rows)


def find_version(document: Raw, keys: Keys) -> Raw | None:
    """Return the version, None if it belongs to another model than its key."""
    return document if document.get("ModelPackageGroupName") == keys[0] else None


def part_of_name(value: str) -> Mapping[str, Any] | None:
    """Return the parameters of a filter for a name. It cannot find parts of names, since it distinguishes case."""
    return {"NameContains": value} if NAME.fullmatch(value) else None


def created(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a filter for a range of times since 1970. They exclude its ends, so it is longer."""
    ends = {"CreationTimeAfter": (value.get("from"), -1), "CreationTimeBefore": (value.get("to"), 1)}
    return {
        name: max(0.0, datetime.fromisoformat(end).timestamp() + seconds)
        for name, (end, seconds) in ends.items()
        if end is not None
    }


NAME = re.compile(r"(?=[A-Za-z0-9-]{1,63}\Z)[A-Za-z0-9](?:-*[A-Za-z0-9])*")
BY_TOKEN = Paging("NextToken", "MaxResults", rows=100, by_marker=True)
NEWEST_FIRST = {"SortBy": "CreationTime", "SortOrder": "Descending"}
ORDERS = {("created_at", True): NEWEST_FIRST, ("created_at", False): {**NEWEST_FIRST, "SortOrder": "Ascending"}}
BY_NAME = {"name_equals": FilterPushdown(part_of_name, exact=False)}


def operation(name: str, **options: Any) -> Call:
    """Return a call of an operation."""
    return Call(name=name, service="registry", method="POST", path="/", **options)


def versions_of(keys: Keys) -> Mapping[str, Any]:
    """Return the parameters that list the versions of a model, newest first."""
    return {"ModelPackageGroupName": keys[0], "ModelPackageType": "Versioned", **NEWEST_FIRST}


def packages(**fields: Field) -> tuple[EntityInAnswer, ...]:
    """The list of versions in a response, as fields of their model."""
    return (object_at(EntityLayout("Model", lambda raw: None, fields, is_entity=False)),)


LIST_GROUPS = operation(
    "ListModelPackageGroups",
    rows=rows("ModelPackageGroupSummaryList", LISTED_MODEL),
    is_complete=holds_list("ModelPackageGroupSummaryList"),
    paging=BY_TOKEN,
    orders=ORDERS,
    filters={**BY_NAME, "created_at": FilterPushdown(created, exact=False)},
)
DESCRIBE_GROUP = operation(
    "DescribeModelPackageGroup",
    key_positions=(0,),
    parameters=lambda keys: {"ModelPackageGroupName": keys[0]},
    entities=(object_at(MODEL),),
    is_complete=holds_object(key="ModelPackageGroupName"),
)
NEWEST_PACKAGE = operation(
    "ListModelPackages",
    key_positions=(0,),
    parameters=lambda keys: {**versions_of(keys), "MaxResults": 1},
    entities=packages(latest_version=Field((), lambda raw: newest(raw) if holds_newest(raw) else None, layout=SUMMARY)),
    is_complete=holds_newest,
)
LIST_PACKAGES = operation(
    "ListModelPackages",
    key_positions=(0,),
    parameters=versions_of,
    entities=packages(
        latest_version=Field((), newest, layout=SUMMARY, fallback=Rows),
        versions=PACKAGES,
    ),
    is_complete=holds_list("ModelPackageSummaryList"),
    paging=BY_TOKEN,
    orders={("created_at", True): {}},
    filters={
        "approval": native_value(
            "ModelApprovalStatus",
            {"PENDING": "PendingManualApproval", "APPROVED": "Approved", "REJECTED": "Rejected"},
        )
    },
)


def describe_package(spelled: Callable[[str], str], misses: bool) -> Call:
    """Return a call that describes a package by its resource name, in which the group's name has a spelling."""
    return operation(
        "DescribeModelPackage",
        key_positions=(0, 1),
        misses=misses,
        parameters=lambda keys: {
            "ModelPackageName": f"{ACCOUNT}:model-package/{spelled(keys[0])}/{keys[1]}",
            "IncludedData": "MetadataOnly",
        },
        entities=(EntityInAnswer(VERSION, find_version),),
        is_complete=holds_object(key="ModelPackageArn"),
    )


# Resource names have the spelling of the group since 2023, and were in lower case before.
DESCRIBE_PACKAGE, DESCRIBE_OLD_PACKAGE = describe_package(str, misses=True), describe_package(str.lower, misses=False)
LIST_ALGORITHMS = operation(
    "ListAlgorithms",
    rows=rows("AlgorithmSummaryList", LISTED_ALGORITHM),
    is_complete=holds_list("AlgorithmSummaryList"),
    paging=BY_TOKEN,
    orders=ORDERS,
    filters=BY_NAME,
)
DESCRIBE_ALGORITHM = operation(
    "DescribeAlgorithm",
    key_positions=(0,),
    parameters=lambda keys: {"AlgorithmName": keys[0]},
    entities=(object_at(ALGORITHM), object_at(ALGORITHM_VERSION)),
    is_complete=holds_object(key="AlgorithmName"),
)


def finds_algorithm(*version: str) -> Callable[[Raw, Keys], Keys | None]:
    """Return a function that finds the key of an algorithm in its description, followed by that of a version."""
    return lambda document, keys: None if (name := as_text(document.get("AlgorithmName"))) is None else (name, *version)


# Signature and errors


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """Return the headers of an AWS4-HMAC-SHA256 signature over all of them and the body."""
    time = sigv4_timestamp(now)
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": time,
        "x-amz-target": f"SageMaker.{request.call}",
    }
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token.reveal()
    secret, payload = credentials.secret.reveal(), hashlib.sha256(request.body).hexdigest()
    scope, names, signature = sigv4(
        secret, time, request.region, "sagemaker", request.method, request.path, request.query, headers, payload
    )
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**headers, "Authorization": authorization}


ERROR_CODES: ErrorCodes = (
    (r"Throttling|Throttled|TooManyRequests|RequestLimitExceeded|SlowDown", errors.RegistryThrottled),
    (
        r"UnrecognizedClient|InvalidClientTokenId|InvalidAccessKeyId|InvalidSignature|SignatureDoesNotMatch"
        r"|IncompleteSignature|MissingAuthenticationToken|ExpiredToken|RequestExpired|RequestInTheFuture",
        errors.RegistryUnauthenticated,
    ),
    (r"AccessDenied|NotAuthorized|UnauthorizedOperation|OptInRequired", errors.RegistryForbidden),
    (r"InternalFailure|InternalError|InternalServerError|ServiceUnavailable", errors.RegistryUnavailable),
    (r"Validation(Error)?|InvalidAction|UnknownOperation|Serialization|InvalidToken", errors.RegistryRejected),
)
"""The codes, without ``Exception`` at their end."""

NOT_FOUND_MESSAGE = re.compile(r"(does not exist|not found)\W*\Z", re.IGNORECASE)
"""Matches the end of the message of a validation error that reports a missing object."""


def check(registry: str, response: Response) -> errors.RegistryError | None:
    """Return the error that a response reports, by its code or else its HTTP status. None if it is successful.

    The code is in the body, behind a namespace, or in a header, in front of an address.
    """
    document = response.document if isinstance(response.document, dict) else {}
    sent = as_text(document.get("__type")) or response.headers.get("x-amzn-errortype")
    if response.status < 400 and sent is None:
        return None
    code = None if sent is None else sent.rpartition("#")[2].partition(":")[0]
    message = as_text(document.get("message") or document.get("Message")) or ""
    is_validation = code in ("ValidationException", "ValidationError")
    missing = code == "ResourceNotFound" or (is_validation and NOT_FOUND_MESSAGE.search(message) is not None)
    found = error_by_code(ERROR_CODES, (code or "").removesuffix("Exception"), response.status)
    error = errors.NotFound if missing and response.status in ABSENCE_STATUSES else found
    return error(registry, vendor_code=code, request_id=response.headers.get("x-amzn-requestid"))


SAGEMAKER = Kind(
    name="SAGEMAKER",
    title="Amazon SageMaker",
    description="Amazon SageMaker: models from model package groups, algorithms from the account.",
    settings=SageMakerSettings,
    services=lambda settings: {
        "registry": settings.endpoint or f"https://api.sagemaker.{settings.region}.{partition(settings.region)[1]}"
    },
    keys={
        "Model": (NAME,),
        "ModelVersion": (NAME, re.compile("[1-9][0-9]{0,8}")),
        "Algorithm": (NAME,),
        "AlgorithmVersion": (NAME, re.compile(ONLY_VERSION)),
    },
    keyed_by_name=frozenset({"ModelVersion", "AlgorithmVersion"}),
    calls=(
        DESCRIBE_GROUP,
        NEWEST_PACKAGE,
        LIST_PACKAGES,
        DESCRIBE_PACKAGE,
        DESCRIBE_OLD_PACKAGE,
        DESCRIBE_ALGORITHM,
    ),
    streams=(
        Stream("groups", "Model", LIST_GROUPS, constants={"ownership": "OWN"}),
        Stream("algorithms", "Algorithm", LIST_ALGORITHMS),
    ),
    lookups={
        "algorithm": Lookup(DESCRIBE_ALGORITHM, "Algorithm", finds_algorithm()),
        "algorithm_version": Lookup(DESCRIBE_ALGORITHM, "AlgorithmVersion", finds_algorithm(ONLY_VERSION)),
    },
    probe=LIST_GROUPS,
    absent={entity: frozenset(names.split()) for entity, names in ABSENT_FIELDS.items()},
    credentials=lambda settings: Credentials(
        settings.access_key_id, settings.secret_access_key, settings.session_token
    ),
    cloud_key=cloud_key,
    assumed_role=assumed_role,
    role_variables=sagemaker_credentials.ROLE_VARIABLES,
    # Amazon publishes no figure. The calls for a page of 100 rows take a few seconds.
    quota=Quota(requests_per_second=20, in_flight=16, max_wait=6),
    sign=sign,
    with_settings=with_settings,
    check=check,
)
