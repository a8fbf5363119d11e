"""Credentials that change while the gateway runs: from a file or from a command.

Both supply a JSON object with ``access_key_id`` and ``access_key_secret``, and for a temporary key ``security_token``
and ``expiration`` (ISO 8601 with a time zone), or the names that the vendors' tools use for them. The gateway does not
use the vendors' default chains: it does not look for credentials in environment variables, profiles or metadata
services.
"""

import asyncio
import json
import logging
import os
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.config.files import content_of, read_file
from gateway.config.settings import Credentials, RegistrySettings, Secret
from gateway.errors import RegistryCredentialsMissing
from gateway.upstream.messages import CredentialProvider, StaticCredentials
from gateway.upstream.single_flight import SingleFlight

logger = logging.getLogger("gateway.upstream")

RENEW_BEFORE: Final = 300.0
"""Seconds before a key expires at which it is renewed."""
RENEW_INTERVAL: Final = 10.0
"""Shortest time in seconds between two renewals."""
FILE_CHECK_INTERVAL: Final = 2.0
"""Seconds between two checks whether the file has changed."""
COMMAND_SECONDS: Final = 30.0
"""Timeout of the command."""
KILL_SECONDS: Final = 2.0
"""Seconds to wait for a killed command to end."""
MAX_BYTES: Final = 1 << 16
"""Largest output of the command."""


class CredentialSource(Protocol):
    """Supplies a key as JSON. ``read`` raises ValueError or OSError if there is none."""

    def changed(self) -> bool: ...

    async def read(self) -> bytes: ...


def credential_provider(
    settings: RegistrySettings, static: Credentials, now: Callable[[], float]
) -> CredentialProvider:
    """Return the credentials of a registry by its settings. ``now`` returns seconds since 1970."""
    if settings.credentials_file:
        return RenewingCredentials(settings.name, CredentialsFile(Path(settings.credentials_file), now), now)
    if settings.credentials_command:
        return RenewingCredentials(settings.name, CredentialsCommand(settings.credentials_command), now)
    return StaticCredentials(static)


class RenewingCredentials:
    """Credentials that are read when first needed, and again before they expire, when their file changes, and when the
    registry refuses them. Callers keep using valid credentials during a renewal."""

    def __init__(self, registry: str, source: CredentialSource, now: Callable[[], float]) -> None:
        self.registry, self.source, self.now = registry, source, now
        self._credentials: Credentials | None = None
        self._renewed_at = float("-inf")
        self._renewals: SingleFlight[str, None] = SingleFlight()

    async def current(self) -> Credentials:
        """Return valid credentials. Raises `RegistryCredentialsMissing` if there are none."""
        if self.source.changed():
            self._start_renewal()
        elif self._credentials is None or self._expires_within(RENEW_BEFORE):
            self._start_renewal_if_due()
        if self._credentials is None or self._expires_within(0):
            await self._renewals.wait(self.registry)
        if self._credentials is None or self._expires_within(0):
            raise RegistryCredentialsMissing(self.registry)
        return self._credentials

    async def renewed(self, used: Credentials) -> bool:
        """Return whether there are other credentials than those used, after a renewal if it is due."""
        if self._credentials == used:
            self._start_renewal_if_due()
            await self._renewals.wait(self.registry)
        return self._credentials != used

    def _expires_within(self, seconds: float) -> bool:
        expires = None if self._credentials is None else self._credentials.expires
        return expires is not None and expires <= self.now() + seconds

    def _start_renewal_if_due(self) -> None:
        if self.now() - self._renewed_at >= RENEW_INTERVAL:
            self._start_renewal()

    def _start_renewal(self) -> None:
        if self._renewals.start(self.registry, self._renew):
            self._renewed_at = self.now()

    async def _renew(self) -> None:
        try:
            self._credentials = parse(await self.source.read())
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            logger.error('Registry "%s": no new credentials: %s', self.registry, reason)


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
    values = [parts.get(name, "") for name in NAMES] if isinstance(members, tuple) else [None]
    texts = [value for value in values if isinstance(value, str) and value.isascii() and value.isprintable()]
    if len(texts) < len(NAMES):
        raise ValueError(f"not an object with the texts {', '.join(NAMES)}")
    key, secret, token, expiration = texts
    if not key or not secret:
        raise ValueError("without access_key_id or access_key_secret")
    if not token and parts.get("mode", "AK") not in ("", "AK"):
        raise ValueError("its mode is not AK, but it has no security_token")
    if parts.get("code", "Success") != "Success":
        raise ValueError("its code is not Success")
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


class CredentialsFile:
    """A key in a file."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.path, self.now = path, now
        self._checked_at = float("-inf")
        self._status: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Return whether the file changed since the last check, which happens every `FILE_CHECK_INTERVAL` seconds."""
        if self.now() - self._checked_at < FILE_CHECK_INTERVAL:
            return False
        self._checked_at = self.now()
        try:
            status = self.path.stat()
        except OSError:
            return False
        previous, self._status = self._status, (status.st_ctime_ns, status.st_size, status.st_ino)
        return previous != self._status

    async def read(self) -> bytes:
        return await asyncio.to_thread(read_file, self.path)


class CredentialsCommand:
    """A key that a command prints. The command runs without a shell; its error output is discarded."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    def changed(self) -> bool:
        return False

    async def read(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self.command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output = b""
                while part := await process.stdout.read(MAX_BYTES):
                    output += part
                    if len(output) > MAX_BYTES:
                        raise ValueError("the command printed too much")
                if await process.wait() != 0:
                    raise ValueError("the command failed")
                return output
        except TimeoutError:
            raise ValueError(f"the command took longer than {COMMAND_SECONDS:g} seconds") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(TimeoutError):  # a process that escaped may keep the output open
                    async with asyncio.timeout(KILL_SECONDS):
                        await process.communicate()  # asyncio reports the end once all output is read
