"""API keys: how they are made, kept as hashes in a file, and found again."""

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

from gateway.auth.principals import PATTERN, ROLES, ROUTER, Principal

KEY: Final = re.compile(r"gwk_[A-Za-z0-9_-]{43}")
"""Every key there is: 32 random bytes in base64url. A key of a person's own making is none."""

HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a caller: its digest, and until when it is good (seconds since 1970; None: for ever)."""

    digest: bytes
    caller: Principal
    expires: float | None


def new_key() -> str:
    return f"gwk_{secrets.token_urlsafe(32)}"


def digest(key: str) -> bytes:
    """SHA-256 is right for keys of 256 random bits: nobody can try them all, so that a slow hash, as for passwords,
    would protect nothing and cost every request its time."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


def as_entry(key: str, name: str, registries: Sequence[str], roles: Sequence[str]) -> str:
    """What the file of keys says of a key, in TOML."""
    said = {"name": name, "hash": f"sha256:{digest(key).hex()}", "registries": list(registries), "roles": list(roles)}
    return "\n".join(["[[keys]]", *(f"{what} = {json.dumps(value)}" for what, value in said.items())])


def find(entries: Sequence[Entry], key: str) -> Entry | None:
    """The entry of a key; every one is compared, each in constant time."""
    wanted, found = digest(key), None
    for entry in entries:
        if hmac.compare_digest(entry.digest, wanted):
            found = entry
    return found


def parse(content: bytes) -> tuple[Entry, ...]:
    """The entries of a file of keys. Raises ValueError with the first that cannot be used."""
    document = tomllib.loads(content.decode())
    tables = document.pop("keys", None)
    if document or not isinstance(tables, list):
        raise ValueError("must hold [[keys]] tables and nothing else")
    entries = tuple(_entry(table, f"keys[{number}]") for number, table in enumerate(tables, 1))
    if len({entry.digest for entry in entries}) < len(entries):
        raise ValueError("holds one key twice")
    return entries


def _entry(table: Any, where: str) -> Entry:
    if not isinstance(table, Mapping) or not table.keys() <= {"name", "hash", "registries", "roles", "expires"}:
        raise ValueError(f"{where}: must have name, hash, registries and roles, and may have expires")
    name, hashed, expires = table.get("name"), table.get("hash"), table.get("expires")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{where}: name must be letters, digits and ._@-")
    match = HASH.fullmatch(hashed) if isinstance(hashed, str) else None
    if match is None:
        raise ValueError(f'{where}: hash must be "sha256:" and 64 hexadecimal digits, as `gateway key` prints it')
    if not texts(registries := table.get("registries"), PATTERN):
        raise ValueError(f"{where}: registries must be a list of names or patterns with *")
    if not texts(roles := table.get("roles"), re.compile("|".join((*ROLES, ROUTER)))):
        raise ValueError(f"{where}: roles must be a list of {', '.join((*ROLES, ROUTER))}")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise ValueError(f"{where}: expires must be a time with its zone, like 2030-01-01T00:00:00Z")
    caller = Principal(name, tuple(registries), frozenset(roles))
    return Entry(bytes.fromhex(match[1]), caller, None if expires is None else expires.timestamp())


def texts(value: Any, pattern: re.Pattern[str]) -> TypeGuard[list[str]]:
    """Whether a value is a list of texts of a pattern, and not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(t, str) and pattern.fullmatch(t) for t in value)
