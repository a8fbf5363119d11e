"""Alibaba Cloud: where an access key comes from, and how a role is assumed.

The names of variables, files and members are those of Alibaba's SDKs and CLI. Sources: Alibaba Cloud, "Manage access
credentials", "AssumeRole", "AssumeRoleWithOIDC" (STS 2015-04-01) and "Instance metadata", and alibabacloud-credentials.
"""

import configparser
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from gateway.config.settings import Credentials
from gateway.registries.signatures import acs3, timestamp
from gateway.upstream.access_keys import access_key
from gateway.upstream.credential_sources import Load, SourceContext, TokenRequest, TokenResponse
from gateway.upstream.url_encoding import query_string

SESSION_NAME: Final = "registry-gateway"
"""The name of the gateway's sessions in the cloud's audit trail, unless the operator sets another."""
SESSION_SECONDS: Final = 3600
"""How long the key of a role is valid, which is the longest that every role allows."""
METADATA: Final = "http://100.100.100.200"
"""The metadata service of an ECS or ECI instance."""
METADATA_SECONDS: Final = 2.0
ROLE_PATH: Final = "/latest/meta-data/ram/security-credentials/"
CLI_FILE: Final = "~/.aliyun/config.json"
SDK_FILE: Final = "~/.alibabacloud/credentials.ini"
MAX_PROFILES: Final = 10
"""Longest chain of profiles, each of which assumes a role with the key of the next."""
ERROR_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")

ROLE_VARIABLES: Final = (
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_PROFILE",
    "ALIBABA_CLOUD_CREDENTIALS_FILE",
    "ALIBABA_CLOUD_ECS_METADATA",
)
"""The variables that tell whose key a source supplies."""


@dataclass(frozen=True)
class Sts:
    """The token service of a registry: its region, empty for the central service, and whether it is in a VPC.

    ``endpoint`` replaces the address. Source: Alibaba Cloud, "STS endpoints".
    """

    endpoint: str = ""
    region: str = ""
    vpc: bool = False

    @property
    def url(self) -> str:
        if self.endpoint:
            return self.endpoint
        return f"https://sts{'-vpc' if self.vpc else ''}{self.region and f'.{self.region}'}.aliyuncs.com"


def sts_of(context: SourceContext, endpoint: str, region: str, vpc: bool) -> Sts:
    """Return the token service for a registry: in its region if it has to be in a VPC or a variable names a region."""
    vpc = vpc or context.environ.get("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "").lower() == "true"
    return Sts(endpoint, context.environ.get("ALIBABA_CLOUD_STS_REGION", "") or (region if vpc else ""), vpc)


def key_of(document: Any, source: str) -> Credentials:
    """Return the temporary key in a response of the token service or the metadata service. Raises ValueError."""
    members = document if isinstance(document, dict) else {}
    names = {"AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"}
    if not all(isinstance(members.get(name), str) and members[name] for name in names):
        raise ValueError(f"{source}: a response without {', '.join(sorted(names))}")
    found = access_key(
        {
            "access_key_id": members["AccessKeyId"],
            "access_key_secret": members["AccessKeySecret"],
            "security_token": members["SecurityToken"],
            "expiration": members["Expiration"],
        }
    )
    return replace(found, source=source)


def refusal(host: str, response: TokenResponse) -> ValueError:
    """Return the error for a response that has no key: the status, and the error code if the body has one."""
    code = response.document.get("Code") if isinstance(response.document, dict) else None
    shown = f", {code}" if isinstance(code, str) and ERROR_CODE.fullmatch(code) else ""
    return ValueError(f"{host}: status {response.status}{shown}")


# The token service


@dataclass(frozen=True)
class Role:
    """A role to assume, and the session to open."""

    arn: str
    session: str = SESSION_NAME
    seconds: str = str(SESSION_SECONDS)
    policy: str = ""
    external_id: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        given = {
            "RoleArn": self.arn,
            "RoleSessionName": self.session,
            "DurationSeconds": self.seconds,
            "Policy": self.policy,
            "ExternalId": self.external_id,
        }
        return {name: value for name, value in given.items() if value}


async def assume_role(context: SourceContext, sts: Sts, role: Role, key: Credentials) -> Credentials:
    """Return the temporary key of a role that another key may assume (AssumeRole, signed with ACS3-HMAC-SHA256)."""
    host, query = urlsplit(sts.url).netloc, tuple(role.parameters.items())
    payload = hashlib.sha256(b"").hexdigest()
    signed = {
        "host": host,
        "x-acs-action": "AssumeRole",
        "x-acs-version": "2015-04-01",
        "x-acs-date": timestamp(datetime.fromtimestamp(context.now(), UTC)),
        "x-acs-signature-nonce": token_hex(16),
        "x-acs-content-sha256": payload,
    }
    if key.token:
        signed |= {"x-acs-security-token": key.token.reveal(), "x-acs-accesskey-id": key.key}
    names, signature = acs3(key.secret.reveal(), "POST", "/", query, signed, payload)
    authorization = f"ACS3-HMAC-SHA256 Credential={key.key},SignedHeaders={names},Signature={signature}"
    headers = {**signed, "accept": "application/json", "Authorization": authorization}
    response = await context.send(TokenRequest("POST", f"{sts.url}/?{query_string(query)}", headers))
    if response.status != 200 or not isinstance(response.document, dict):
        raise refusal(host, response)
    return key_of(
        response.document.get("Credentials"), f"{role.arn}, assumed with {key.source or 'the configured key'}"
    )


async def assume_role_with_oidc(
    context: SourceContext, sts: Sts, role: Role, provider: str, token_file: str
) -> Credentials:
    """Return the temporary key of a role for the token in a file, which is read again each time (AssumeRoleWithOIDC).

    The token is sent in the body, so that it appears in no log of addresses.
    """
    query = (("Action", "AssumeRoleWithOIDC"), ("Format", "JSON"), ("Version", "2015-04-01"))
    token = (await context.read(token_file)).strip()
    dated = (*query, ("Timestamp", timestamp(datetime.fromtimestamp(context.now(), UTC))))
    form = urlencode({**role.parameters, "OIDCProviderArn": provider, "OIDCToken": token})
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    request = TokenRequest("POST", f"{sts.url}/?{query_string(dated)}", headers, form.encode())
    response = await context.send(request)
    if response.status != 200 or not isinstance(response.document, dict):
        raise refusal(urlsplit(sts.url).netloc, response)
    return key_of(response.document.get("Credentials"), f"{role.arn}, assumed with the OIDC token in {token_file}")


# The sources


@dataclass(frozen=True)
class Source:
    """One source of a key: whether it is there, and how to load it."""

    is_configured: Callable[[SourceContext], bool]
    load: Callable[[SourceContext, Sts, str], Awaitable[Credentials]]
    """Loads the key. The last argument is the name of the profile, empty for the default."""


KEY_VARIABLES: Final = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET")
RRSA_VARIABLES: Final = (
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
)


def required(context: SourceContext, *names: str) -> list[str]:
    """Return the values of variables. Raises ValueError if one is not set."""
    if missing := [name for name in names if not context.environ.get(name)]:
        raise ValueError(f"the variable {' and '.join(missing)} is not set")
    return [context.environ[name] for name in names]


async def environment(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    """Return the key in the environment."""
    key, secret = required(context, *KEY_VARIABLES)
    token = context.environ.get("ALIBABA_CLOUD_SECURITY_TOKEN", "")
    found = access_key({"access_key_id": key, "access_key_secret": secret, "security_token": token})
    return replace(found, source="the environment")


async def rrsa(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    """Return the key of the role of a service account in Kubernetes (RRSA)."""
    role, provider, token_file = required(context, *RRSA_VARIABLES)
    session = context.environ.get("ALIBABA_CLOUD_ROLE_SESSION_NAME", "") or SESSION_NAME
    return await assume_role_with_oidc(context, sts, Role(role, session), provider, token_file)


async def instance_role(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    """Return the key of the role of this ECS or ECI instance."""
    if metadata_disabled(context):
        raise ValueError("the variable ALIBABA_CLOUD_ECS_METADATA_DISABLED forbids the metadata service")
    return await key_of_instance(context, context.environ.get("ALIBABA_CLOUD_ECS_METADATA", ""))


def metadata_disabled(context: SourceContext) -> bool:
    return context.environ.get("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower() == "true"


async def key_of_instance(context: SourceContext, role: str) -> Credentials:
    """Return the key of a role from the metadata service, in its hardened mode; without a name, of the only role."""
    lifetime = {"x-aliyun-ecs-metadata-token-ttl-seconds": "60"}
    token = await metadata(context, "PUT", "/latest/api/token", lifetime)
    headers = {"x-aliyun-ecs-metadata-token": token.body.decode("latin-1").strip()}
    name = role or (await metadata(context, "GET", ROLE_PATH, headers)).body.decode("latin-1").strip()
    if not ERROR_CODE.fullmatch(name):
        raise ValueError("the metadata service names no role of the instance")
    response = await metadata(context, "GET", f"{ROLE_PATH}{name}", headers)
    if not isinstance(response.document, dict) or response.document.get("Code") != "Success":
        raise ValueError(f"the metadata service has no key of the role {name}")
    return key_of(response.document, f"the role {name} of the instance")


async def metadata(context: SourceContext, method: str, path: str, headers: Mapping[str, str]) -> TokenResponse:
    request = TokenRequest(method, f"{METADATA}{path}", headers, direct=True, seconds=METADATA_SECONDS)
    response = await context.send(request)
    if response.status != 200:
        raise refusal(f"the metadata service, {path}", response)
    return response


# Profiles

CLI_MEMBERS: Final[Mapping[str, str]] = {
    "mode": "type",
    "access_key_id": "access_key_id",
    "access_key_secret": "access_key_secret",
    "sts_token": "security_token",
    "ram_role_arn": "role_arn",
    "ram_session_name": "session",
    "role_session_name": "session",
    "expired_seconds": "seconds",
    "external_id": "external_id",
    "policy": "policy",
    "source_profile": "source_profile",
    "ram_role_name": "role_name",
    "oidc_provider_arn": "oidc_provider",
    "oidc_token_file": "oidc_token_file",
    "sts_region": "sts_region",
    "enable_vpc": "vpc",
}
"""The members of a profile of the CLI that say something about its key, and their meanings."""
CLI_OTHERS: Final = frozenset(
    {"name", "region_id", "output_format", "language", "site", "verified", "retry_timeout", "connect_timeout",
     "retry_count", "endpoint_type", "auto_plugin_install", "auto_plugin_install_enable_pre", "private_key",
     "key_pair_name", "public_key_id", "process_command", "credentials_uri", "cloud_sso_sign_in_url",
     "cloud_sso_account_id", "cloud_sso_access_config", "access_token", "cloud_sso_access_token_expire",
     "sts_expiration", "oauth_site_type", "oauth_refresh_token", "oauth_access_token", "oauth_access_token_expire"}
)  # fmt: skip
"""What the CLI writes beside it, and what only modes need that the gateway does not support."""
SDK_MEMBERS: Final[Mapping[str, str]] = {
    "type": "type",
    "access_key_id": "access_key_id",
    "access_key_secret": "access_key_secret",
    "security_token": "security_token",
    "role_arn": "role_arn",
    "role_session_name": "session",
    "policy": "policy",
    "role_name": "role_name",
    "oidc_provider_arn": "oidc_provider",
    "oidc_token_file_path": "oidc_token_file",
}
"""The keys of a profile of the SDKs, and their meanings."""
SDK_OTHERS: Final = frozenset({"enable", "region_id", "public_key_id", "private_key_file"})

MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "AK": ("access_key_id", "access_key_secret"),
    "StsToken": ("access_key_id", "access_key_secret", "security_token"),
    "RamRoleArn": ("access_key_id", "access_key_secret", "role_arn"),
    "ChainableRamRoleArn": ("source_profile", "role_arn"),
    "RamRoleArnWithRoleName": ("role_name", "role_arn"),
    "EcsRamRole": (),
    "OIDC": ("role_arn", "oidc_provider", "oidc_token_file"),
}
"""The modes of the CLI's profiles that the gateway supports, and what each needs."""
TYPES: Final[Mapping[str, str]] = {
    "access_key": "AK",
    "sts": "StsToken",
    "ram_role_arn": "RamRoleArn",
    "ecs_ram_role": "EcsRamRole",
    "oidc_role_arn": "OIDC",
}
"""The types of the SDKs' profiles that the gateway supports, and the modes that they equal."""

Profile = Mapping[str, str]
"""The meanings that a profile has a text for. ``type`` is one of `MODES`."""


def profile_of(where: str, members: Mapping[str, Any], known: Mapping[str, str], others: frozenset[str]) -> Profile:
    """Return a profile by the meanings of its members. Raises ValueError for a name that is not known, so that a
    misspelt token is not left out."""
    profile: dict[str, str] = {}
    for name, value in members.items():
        if name not in known and name not in others:
            raise ValueError(f"{where}: has a name that is not one of {', '.join((*known, *sorted(others)))}")
        if name in known and value:  # the CLI writes empty texts and zeros for what is not set
            if known[name] in profile:
                raise ValueError(f"{where}: has two names for {known[name]}")
            profile[known[name]] = str(value)
    return profile


async def key_of_profile(
    context: SourceContext, sts: Sts, file: str, name: str, profiles: Callable[[str], Profile], depth: int = 0
) -> Credentials:
    """Return the key of a profile by its mode. ``profiles`` returns a profile by its name."""
    profile, where = profiles(name), f"the profile {name} in {file}"
    mode = profile.get("type", "AK")
    if mode not in MODES:
        raise ValueError(f"{where}: its mode is not one of {', '.join(MODES)}")
    if missing := [need for need in MODES[mode] if need not in profile]:
        raise ValueError(f"{where}: without {' and '.join(missing)}")
    if depth == MAX_PROFILES:
        raise ValueError(f"{where}: too many profiles need each other")
    sts = replace(sts, vpc=sts.vpc or profile.get("vpc") == "True", region=profile.get("sts_region") or sts.region)
    role = Role(
        profile.get("role_arn", ""),
        profile.get("session", SESSION_NAME),
        profile.get("seconds", str(SESSION_SECONDS)),
        profile.get("policy", ""),
        profile.get("external_id", ""),
    )
    if mode == "OIDC":
        return await assume_role_with_oidc(context, sts, role, profile["oidc_provider"], profile["oidc_token_file"])
    if mode in ("EcsRamRole", "RamRoleArnWithRoleName"):
        key = await key_of_instance(context, profile.get("role_name", ""))
    elif mode == "ChainableRamRoleArn":
        key = await key_of_profile(context, sts, file, profile["source_profile"], profiles, depth + 1)
    else:
        key = replace(access_key({part: profile[part] for part in MODES[mode] if part != "role_arn"}), source=where)
    return await assume_role(context, sts, role, key) if "role_arn" in MODES[mode] else key


async def cli_profile(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    """Return the key of a profile of the CLI: the one in the settings, in the environment, or the current one."""
    try:
        content = json.loads(await context.read(CLI_FILE))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{CLI_FILE}: not JSON") from None
    content = content if isinstance(content, dict) else {}
    listed = content.get("profiles")
    by_name = {one.get("name"): one for one in listed if isinstance(one, dict)} if isinstance(listed, list) else {}

    def named(name: str) -> Profile:
        if name not in by_name:
            raise ValueError(f"{CLI_FILE}: has no profile {name}")
        return profile_of(f"the profile {name} in {CLI_FILE}", by_name[name], CLI_MEMBERS, CLI_OTHERS)

    name = profile or context.environ.get("ALIBABA_CLOUD_PROFILE") or str(content.get("current") or "default")
    return await key_of_profile(context, sts, CLI_FILE, name, named)


async def sdk_profile(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    """Return the key of a profile of the SDKs: the one in the settings, in the environment, or ``default``."""
    path = sdk_file(context)
    sections = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    try:
        sections.read_string(await context.read(path))
    except configparser.Error:
        raise ValueError(f"{path}: not an INI file") from None

    def named(name: str) -> Profile:
        if not sections.has_section(name):
            raise ValueError(f"{path}: has no profile {name}")
        where = f"the profile {name} in {path}"
        found = dict(profile_of(where, dict(sections.items(name)), SDK_MEMBERS, SDK_OTHERS))
        if found.get("type") not in TYPES:
            raise ValueError(f"{where}: its type is not one of {', '.join(TYPES)}")
        return found | {"type": TYPES[found["type"]]}

    name = profile or context.environ.get("ALIBABA_CLOUD_PROFILE") or "default"
    return await key_of_profile(context, sts, path, name, named)


def sdk_file(context: SourceContext) -> str:
    return context.environ.get("ALIBABA_CLOUD_CREDENTIALS_FILE") or SDK_FILE


def cli_enabled(context: SourceContext) -> bool:
    return context.environ.get("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "").lower() != "true"


KEY_SOURCES: Final[Mapping[str, Source]] = {
    "environment": Source(lambda context: all(map(context.environ.get, KEY_VARIABLES)), environment),
    "rrsa": Source(lambda context: all(map(context.environ.get, RRSA_VARIABLES)), rrsa),
    "cli_profile": Source(lambda context: cli_enabled(context) and context.exists(CLI_FILE), cli_profile),
    "sdk_profile": Source(lambda context: context.exists(sdk_file(context)), sdk_profile),
    "instance_role": Source(lambda context: not metadata_disabled(context), instance_role),
}
"""The sources in the order in which ``default`` looks for them, which is that of Alibaba's SDKs."""


def loading(context: SourceContext, name: str, sts: Sts, profile: str) -> Load:
    """Return how to load the key of a source. ``default`` is the first source that is configured.

    It is chosen once. If it fails later, the key is missing: another source might belong to another account.
    """
    if name != "default":
        return partial(KEY_SOURCES[name].load, context, sts, profile)
    found = next((source for source in KEY_SOURCES.values() if source.is_configured(context)), None)
    return partial(no_source if found is None else found.load, context, sts, profile)


async def no_source(context: SourceContext, sts: Sts, profile: str) -> Credentials:
    raise ValueError(f"none of {', '.join(KEY_SOURCES)} is configured")
