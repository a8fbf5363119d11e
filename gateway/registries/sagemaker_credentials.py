"""Amazon Web Services: where an access key comes from, and how a role is assumed, by botocore.

botocore is an optional extra. It blocks, so it works in a thread; it is used once for each renewal. Addresses and time
limits of the token and metadata services are those of its variables and profiles.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.config.settings import Credentials, Secret, SettingsError
from gateway.upstream.access_keys import access_key
from gateway.upstream.credential_sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION_NAME: Final = "registry-gateway"
"""The name of the gateway's sessions in the cloud's audit trail."""
SECONDS: Final = 5.0
"""Time limit for connecting to the token service, and for its response."""
LONGEST: Final = 12 * 3600
"""Longest validity of a temporary key, in seconds."""

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "environment": ("env",),
    "web_identity": ("assume-role-with-web-identity",),
    "container": ("container-role",),
    "instance_role": ("iam-role",),
    "profile": (
        "assume-role",
        "assume-role-with-web-identity",
        "sso",
        "shared-credentials-file",
        "custom-process",
        "config-file",
    ),
}
"""The sources, with botocore's names of their credential providers, in botocore's order. ``default`` is its chain."""

ROLE_VARIABLES: Final = ("AWS_ROLE_ARN", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
"""The variables that tell whose key a source supplies."""


def require_botocore(setting: str) -> None:
    """Raise `SettingsError` if botocore is not installed."""
    try:
        import botocore.session  # noqa: F401
    except ImportError:
        raise SettingsError((f"{setting}: botocore is not installed: pip install 'registry-gateway[aws]'",)) from None


async def load(context: SourceContext, source: str, profile: str, region: str) -> Credentials:
    """Return the key of a source. Raises ValueError."""
    return await asyncio.to_thread(_load, context.now, source, profile, region)


async def assume_role(role: str, region: str, key: Credentials) -> Credentials:
    """Return the temporary key of a role that another key may assume. Raises ValueError."""
    return await asyncio.to_thread(_assume_role, role, region, key)


def _load(now: Callable[[], float], source: str, profile: str, region: str) -> Credentials:
    """Load a key in a new session, so that nothing is kept from an earlier renewal."""
    with _failures(source):
        session = _session(profile, region)
        if source == "default":
            found = session.get_credentials()
        else:
            resolver = session.get_component("credential_provider")
            loaded = (resolver.get_provider(name).load() for name in PROVIDERS[source])
            found = next((one for one in loaded if one is not None), None)
        if found is None:
            raise ValueError(f"{source}: botocore finds no key")
        frozen = found.get_frozen_credentials()
        return Credentials(
            frozen.access_key,
            Secret(frozen.secret_key),
            Secret(frozen.token or ""),
            _expiry(found, now()),
            source=found.method,
        )


def _expiry(found: Any, now: float) -> float | None:
    """Return the time at which a key expires, None if it never does.

    botocore only says whether a key expires within so many seconds.
    """
    if not hasattr(found, "refresh_needed"):
        return None
    return now + bisect_left(range(LONGEST), True, key=lambda seconds: found.refresh_needed(refresh_in=seconds)) - 1


def _assume_role(role: str, region: str, key: Credentials) -> Credentials:
    with _failures(role):
        client = _session("", region).create_client(
            "sts",
            aws_access_key_id=key.key,
            aws_secret_access_key=key.secret.reveal(),
            aws_session_token=key.token.reveal() or None,
        )
        answer = client.assume_role(RoleArn=role, RoleSessionName=SESSION_NAME)["Credentials"]
        found = access_key(
            {
                "access_key_id": answer["AccessKeyId"],
                "access_key_secret": answer["SecretAccessKey"],
                "security_token": answer["SessionToken"],
                "expiration": answer["Expiration"].isoformat(),
            }
        )
    return replace(found, source=f"{role}, assumed with {key.source or 'the configured key'}")


def _session(profile: str, region: str) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    session = Session(profile=profile or None)
    session.set_config_variable("region", region)
    session.set_config_variable("ec2_metadata_v1_disabled", True)
    limits = {"total_max_attempts": 2}
    session.set_default_client_config(Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries=limits))
    return session


@contextmanager
def _failures(source: str) -> "Iterator[None]":
    """Turn failures of botocore into ValueErrors, without texts of the cloud or of commands, which may be secret."""
    from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

    try:
        yield
    except ClientError as error:
        raise ValueError(f"{source}: {error.operation_name}: {error.response['Error'].get('Code')}") from None
    except CredentialRetrievalError as error:
        raise ValueError(f"{source}: {error.kwargs.get('provider')} supplies no key") from None
    except BotoCoreError as error:
        raise ValueError(f"{source}: {error}") from None
