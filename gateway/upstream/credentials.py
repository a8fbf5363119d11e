"""Credentials that change while the gateway runs: from a file, or from a command.

Both say one JSON object: ``access_key_id``, ``access_key_secret``, and for a temporary key ``security_token`` and
``expiration`` (ISO 8601, with its zone). The vendors' SDKs and their chains of defaults have no part in it: nothing
is looked for in the environment, in profiles, or at a metadata service.
"""

import asyncio
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from gateway.config.settings import Credentials, RegistrySettings, Secret
from gateway.errors import RegistryKeyless
from gateway.upstream.messages import CredentialProvider, StaticCredentials

logger = logging.getLogger("gateway.upstream")

EARLY: Final = 300.0
"""Seconds before a key ends in which another one is asked for."""
PAUSE: Final = 10.0
"""Seconds between two attempts to get one."""
LOOK_EVERY: Final = 2.0
"""Seconds between looks at whether a file has changed."""
COMMAND_SECONDS: Final = 30.0
"""Seconds that a command may take."""
ENDING_SECONDS: Final = 2.0
"""Seconds for which one that was ended is waited for."""
LARGEST: Final = 1 << 16
"""Bytes that are read of what it prints."""


class Origin(Protocol):
    """Where a key comes from; raises ValueError or OSError where it gives none."""

    def changed(self) -> bool: ...

    async def read(self) -> bytes: ...


def keyring(settings: RegistrySettings, standing: Credentials, now: Callable[[], float]) -> CredentialProvider:
    """Where a registry's credentials come from by its settings; ``now`` gives seconds since 1970."""
    if settings.credentials_file:
        return Renewing(settings.name, InFile(Path(settings.credentials_file), now), now)
    if settings.credentials_command:
        return Renewing(settings.name, FromCommand(settings.credentials_command), now)
    return StaticCredentials(standing)


class Renewing:
    """Credentials that are asked for when first needed, before they end, when their file changes, and when a registry
    does not accept them: one at a time, and behind those who can still use the old ones."""

    def __init__(self, registry: str, origin: Origin, now: Callable[[], float]) -> None:
        self.registry, self.origin, self.now = registry, origin, now
        self._held: Credentials | None = None
        self._tried = float("-inf")
        self._flight: asyncio.Task[None] | None = None

    async def current(self) -> Credentials:
        """The credentials to sign with. Raises `RegistryKeyless` when there are none that have not ended."""
        if self.origin.changed():
            self._fly()
        elif self._held is None or self._ends_within(EARLY):
            self._try_again()
        if self._flight is not None and (self._held is None or self._ends_within(0)):
            await asyncio.shield(self._flight)
        if self._held is None or self._ends_within(0):
            raise RegistryKeyless(self.registry)
        return self._held

    async def renewed(self, used: Credentials) -> bool:
        """Whether there are others than those used, after asking for them if there are not."""
        if self._held == used:
            self._try_again()
            if self._flight is not None:
                await asyncio.shield(self._flight)
        return self._held != used

    def _ends_within(self, seconds: float) -> bool:
        ends = None if self._held is None else self._held.expires
        return ends is not None and ends <= self.now() + seconds

    def _try_again(self) -> None:
        if self.now() - self._tried >= PAUSE:
            self._fly()

    def _fly(self) -> None:
        if self._flight is None:
            self._tried = self.now()
            self._flight = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        try:
            self._held = parse(await self.origin.read())
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            logger.error('Registry "%s": no new credentials: %s', self.registry, reason)
        finally:
            self._flight = None


def parse(content: bytes) -> Credentials:
    """The credentials that a file or a command says. Raises ValueError, without a word of what was said."""
    try:
        said: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None
    names = ("access_key_id", "access_key_secret", "security_token", "expiration")
    values = [said.get(name, "") for name in names] if isinstance(said, dict) else [None]
    texts = [value for value in values if isinstance(value, str) and value.isascii() and value.isprintable()]
    if len(texts) < len(names):
        raise ValueError(f"not an object with the texts {', '.join(names)}")
    key, secret, token, ends = texts
    if not key or not secret:
        raise ValueError("without access_key_id or access_key_secret")
    return Credentials(key, Secret(secret), Secret(token), moment(ends) if ends else None)


def moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = datetime.min
    if when.tzinfo is None:
        raise ValueError("expiration is not a time with its zone, like 2030-01-01T00:00:00Z")
    return when.timestamp()


class InFile:
    """A key in a file."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self.path, self.now = path, now
        self._looked = float("-inf")
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether it is another file than at the last look, at most `LOOK_EVERY` seconds ago."""
        if self.now() - self._looked < LOOK_EVERY:
            return False
        self._looked = self.now()
        try:
            found = self.path.stat()
        except OSError:
            return False
        seen, self._seen = self._seen, (found.st_ctime_ns, found.st_size, found.st_ino)
        return seen != self._seen

    async def read(self) -> bytes:
        return await asyncio.to_thread(self.path.read_bytes)


class FromCommand:
    """A key that a command prints. It is run without a shell, and what it says of errors is nobody's to read."""

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
                printed = b""
                while part := await process.stdout.read(LARGEST):
                    printed += part
                    if len(printed) > LARGEST:
                        raise ValueError("the command printed too much")
                if await process.wait() != 0:
                    raise ValueError("the command failed")
                return printed
        except TimeoutError:
            raise ValueError(f"the command took longer than {COMMAND_SECONDS:g} seconds") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(TimeoutError):  # somebody whom it left behind may hold its output open
                    async with asyncio.timeout(ENDING_SECONDS):
                        await process.communicate()  # asyncio hears of its end when all that it printed is read
