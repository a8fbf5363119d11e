"""Credentials that change while the gateway runs: from a file, a command or a cloud, and those of a role.

A file and a command supply a JSON object with ``access_key_id`` and ``access_key_secret``, and for a temporary key
``security_token`` and ``expiration`` (ISO 8601 with a time zone), or the names that the vendors' tools use for them.
What a cloud supplies is described beside its kind of registry, as a `Load`.
"""

import asyncio
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from gateway.config.files import read_file
from gateway.config.settings import Credentials, RegistrySettings
from gateway.config.tls import registry_tls
from gateway.errors import RegistryCredentialsMissing
from gateway.upstream.access_keys import parse
from gateway.upstream.credential_sources import AssumeRole, Load, TokenRequest, TokenResponse
from gateway.upstream.http_session import BadCoding, BodyTooLarge, failure_cause, new_session, proxy_for, read_body
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
"""Largest output of the command, and largest response of a token service."""


class CredentialSource(Protocol):
    """Supplies an access key. ``load`` raises ValueError or OSError if there is none, as a `Load` does."""

    def changed(self) -> bool: ...

    def load(self) -> Awaitable[Credentials]: ...


def credential_provider(
    settings: RegistrySettings,
    static: Credentials,
    now: Callable[[], float],
    cloud: Load | None,
    assume_role: AssumeRole | None,
) -> CredentialProvider:
    """Return the credentials of a registry by its settings.

    ``now`` returns seconds since 1970. ``cloud`` loads the key that a cloud supplies, None if the settings name no such
    source. ``assume_role`` returns the key of the role that the settings name, None if they name none.
    """
    source: CredentialSource
    if cloud is not None:
        source = LoadedCredentials(cloud)
    elif settings.credentials_file:
        source = CredentialsFile(Path(settings.credentials_file), now)
    elif settings.credentials_command:
        source = CredentialsCommand(settings.credentials_command)
    elif assume_role is None:
        return StaticCredentials(static)
    else:
        source = LoadedCredentials(StaticCredentials(static).current)
    return RenewingCredentials(
        settings.name, source if assume_role is None else RoleCredentials(source, assume_role), now
    )


class RenewingCredentials:
    """Credentials that are loaded when first needed, and again before they expire, when their file changes, and when
    the registry refuses them. Callers keep using valid credentials during a renewal, and after one that failed.

    ``problem`` is why the last renewal failed, None if it did not.
    """

    def __init__(self, registry: str, source: CredentialSource, now: Callable[[], float]) -> None:
        self.registry, self.source, self.now = registry, source, now
        self.problem: str | None = None
        self._credentials: Credentials | None = None
        self._renewed_at = float("-inf")
        self._renewals: SingleFlight[str, None] = SingleFlight()

    async def current(self, ends: float | None = None) -> Credentials:
        """Return valid credentials. Raises `RegistryCredentialsMissing` if there are none."""
        if self.source.changed():
            self._start_renewal()
        elif self._credentials is None or self._expires_within(RENEW_BEFORE):
            self._start_renewal_if_due()
        if self._credentials is None or self._expires_within(0):
            await self._renewal(ends)
        if self._credentials is None or self._expires_within(0):
            raise RegistryCredentialsMissing(self.registry, detail=self.problem)
        return self._credentials

    async def renewed(self, used: Credentials, ends: float | None = None) -> bool:
        """Return whether there are other credentials than those used, after a renewal if it is due."""
        if self._credentials == used:
            self._start_renewal_if_due()
            await self._renewal(ends)
        return self._credentials != used

    async def _renewal(self, ends: float | None) -> None:
        async with asyncio.timeout_at(ends):
            await self._renewals.wait(self.registry)

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
            renewed = await self.source.load()
            if renewed.expires is not None and renewed.expires <= self.now():
                raise ValueError(f"{renewed.source or 'the source'} supplies a key that has expired")
        except (ValueError, OSError) as error:
            self.problem = str((isinstance(error, OSError) and error.strerror) or error)
            logger.error('Registry "%s": no new credentials: %s', self.registry, self.problem)
        else:
            self._credentials, self.problem = renewed, None


@dataclass(frozen=True)
class LoadedCredentials:
    """A key that a cloud supplies, or the one in the settings, with which a role is assumed."""

    load: Load

    def changed(self) -> bool:
        return False


@dataclass(frozen=True)
class RoleCredentials:
    """The temporary key of a role, which another key may assume."""

    source: CredentialSource
    assume: AssumeRole

    def changed(self) -> bool:
        return self.source.changed()

    async def load(self) -> Credentials:
        return await self.assume(await self.source.load())


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

    async def load(self) -> Credentials:
        return replace(parse(await asyncio.to_thread(read_file, self.path)), source=f"the file {self.path}")


class CredentialsCommand:
    """A key that a command prints. The command runs without a shell; its error output is discarded."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    def changed(self) -> bool:
        return False

    async def load(self) -> Credentials:
        return replace(parse(await self._output()), source="the command")

    async def _output(self) -> bytes:
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


@dataclass(frozen=True)
class RegistryContext:
    """What the sources of a registry may use. It opens a connection for each request, since these are rare."""

    settings: RegistrySettings
    now: Callable[[], float]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def exists(self, path: str) -> bool:
        return Path(path).expanduser().is_file()

    async def read(self, path: str) -> str:
        return (await asyncio.to_thread(lambda: read_file(Path(path).expanduser()))).decode()

    async def send(self, request: TokenRequest) -> TokenResponse:
        proxy = None if request.direct else proxy_for(request.url, self.settings.proxy.reveal())
        tls = registry_tls(self.settings)
        try:
            async with (
                asyncio.timeout(request.seconds),
                new_session(keep_alive=False) as session,
                session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=tls or True,
                ) as response,
            ):
                status, body = response.status, await read_body(response, MAX_BYTES)
        except (BodyTooLarge, BadCoding):
            raise ValueError(f"{urlsplit(request.url).netloc}: a response that the gateway cannot read") from None
        except (aiohttp.ClientError, OSError) as error:
            cause = failure_cause(error) or "no HTTP response"
            raise ValueError(f"{urlsplit(request.url).netloc}: {cause}") from None
        try:
            return TokenResponse(status, body, orjson.loads(body))
        except orjson.JSONDecodeError:
            return TokenResponse(status, body, None)
