"""API keys: creation, the file that stores their hashes, and lookup."""

import hashlib
import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeGuard

from gateway.auth.principals import PATTERN, ROLE, ROLES, ROUTER, TOOL, Principal

KEY_FORMAT: Final = re.compile(r"gwk_[A-Za-z0-9_-]{43}")
"""Syntax of a key: a prefix and 32 random bytes in base64url. Keys that a person made up are refused."""

HASH_FORMAT: Final = re.compile(r"sha256:([0-9a-f]{64})")
NAME_FORMAT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The SHA-256 digest of a key and the caller it belongs to. ``expires`` is in seconds since 1970; None: never."""

    digest: bytes
    caller: Principal
    expires: float | None


def new_key() -> str:
    """Return a new random key."""
    return f"gwk_{secrets.token_urlsafe(32)}"


def digest(key: str) -> bytes:
    """Return the SHA-256 digest of a key.

    A fast hash is safe for 256 random bits. A slow password hash would add no protection, only time to each request.
    """
    return hashlib.sha256(key.encode(errors="replace")).digest()


def format_entry(key: str, name: str, registries: Sequence[str], roles: Sequence[str]) -> str:
    """Return the `[[keys]]` table for a key, in TOML."""
    entry = {"name": name, "hash": f"sha256:{digest(key).hex()}", "registries": list(registries), "roles": list(roles)}
    return "\n".join(["[[keys]]", *(f"{field} = {json.dumps(value)}" for field, value in entry.items())])


def find(keys: Sequence[ApiKey], key: str) -> ApiKey | None:
    """Return the stored key that matches. Every stored key is compared, in constant time."""
    wanted, found = digest(key), None
    for stored in keys:
        if hmac.compare_digest(stored.digest, wanted):
            found = stored
    return found


def parse(content: bytes) -> tuple[ApiKey, ...]:
    """Parse a file of keys. Raises ValueError that names the first invalid entry."""
    document = tomllib.loads(content.decode())
    tables = document.pop("keys", None)
    if document or not isinstance(tables, list):
        raise ValueError("must contain only [[keys]] tables")
    keys = tuple(_parse_entry(table, f"keys[{number}]") for number, table in enumerate(tables, 1))
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("holds one key twice")
    return keys


def _parse_entry(table: Any, where: str) -> ApiKey:
    if not isinstance(table, Mapping) or not table.keys() <= {"name", "hash", "registries", "roles", "expires"}:
        raise ValueError(f"{where}: must have name, hash, registries and roles, and may have expires")
    name, hashed, expires = table.get("name"), table.get("hash"), table.get("expires")
    if not isinstance(name, str) or not NAME_FORMAT.fullmatch(name):
        raise ValueError(f"{where}: name must be letters, digits and ._@-")
    match = HASH_FORMAT.fullmatch(hashed) if isinstance(hashed, str) else None
    if match is None:
        raise ValueError(f'{where}: hash must be "sha256:" and 64 hexadecimal digits, as `gateway key` prints it')
    if not _is_list_of(registries := table.get("registries"), PATTERN):
        raise ValueError(f"{where}: registries must be a list of names or patterns with *")
    if not _is_list_of(roles := table.get("roles"), re.compile(f"{ROLE.pattern}|{ROUTER}")):
        raise ValueError(f"{where}: roles must be a list of {', '.join((*ROLES, ROUTER, f'{TOOL}NAME'))}")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise ValueError(f"{where}: expires must be a time with a time zone, like 2030-01-01T00:00:00Z")
    caller = Principal(name, tuple(registries), frozenset(roles))
    return ApiKey(bytes.fromhex(match[1]), caller, None if expires is None else expires.timestamp())


def _is_list_of(value: Any, pattern: re.Pattern[str]) -> TypeGuard[list[str]]:
    """Whether a value is a non-empty list of texts that match the pattern."""
    return isinstance(value, list) and bool(value) and all(isinstance(t, str) and pattern.fullmatch(t) for t in value)
