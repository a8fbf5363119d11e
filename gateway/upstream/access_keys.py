"""Access keys in JSON, under the names that the gateway and the vendors' tools use."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gateway.config.files import content_of
from gateway.config.settings import Credentials, Secret

NAMES: Final = ("access_key_id", "access_key_secret", "security_token", "expiration")
ALIASES: Final[Mapping[str, str]] = {
    "sts_token": "security_token",
    "session_token": "security_token",
    "access_key": "access_key_id",
    "secret_key": "access_key_secret",
    "secret_access_key": "access_key_secret",
    "username": "access_key_id",
    "password": "access_key_secret",
}
"""Other names of the parts of a key, with their own: of the Alibaba Cloud CLI, of the STS of Baidu AI Cloud, of the AWS
CLI, and of HTTP Basic authentication."""
IGNORED: Final = frozenset(
    {"mode", "region_id", "output_format", "language", "code", "last_updated", "version", "create_time", "user_id",
     "role_id", "account_id"}
)  # fmt: skip
"""What the vendors' tools write beside a key. Only ``mode`` and ``code`` say something about it."""


def parse(content: bytes) -> Credentials:
    """Parse the JSON of a file or a command. Names may be in snake case or camel case.

    Raises ValueError, whose message contains no part of the content.
    """
    try:
        members: Any = json.loads(content_of(content), object_pairs_hook=tuple)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    parts: dict[str, Any] = {}
    for given, value in members if isinstance(members, tuple) else ():
        name = snake_case(given)
        name = ALIASES.get(name, name)
        if name not in NAMES and name not in IGNORED:
            raise ValueError(f"has a name that is not one of {', '.join((*NAMES, *ALIASES))}")
        if name in parts:
            raise ValueError(f"{name} occurs twice")
        parts[name] = value
    if not isinstance(members, tuple):
        raise ValueError(f"not an object with the texts {', '.join(NAMES)}")
    found = access_key(parts)
    if not found.token and parts.get("mode", "AK") not in ("", "AK"):
        raise ValueError("its mode is not AK, but it has no security_token")
    if parts.get("code", "Success") != "Success":
        raise ValueError("its code is not Success")
    return found


def access_key(parts: Mapping[str, Any]) -> Credentials:
    """Return the access key that consists of these parts, by `NAMES`. The last two may be missing or empty.

    Raises ValueError, whose message contains no part of the key.
    """
    texts = [parts.get(name, "") for name in NAMES]
    if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in texts):
        raise ValueError(f"not an object with the texts {', '.join(NAMES)}")
    key, secret, token, expiration = texts
    if not key or not secret:
        raise ValueError("without access_key_id or access_key_secret")
    return Credentials(key, Secret(secret), Secret(token), timestamp(expiration) if expiration else None)


def snake_case(name: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


def timestamp(text: str) -> float:
    """Parse an ISO 8601 time to seconds since 1970. Raises ValueError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = datetime.min
    if time.tzinfo is None:
        raise ValueError("expiration is not a time with its zone, like 2030-01-01T00:00:00Z")
    return time.timestamp()
