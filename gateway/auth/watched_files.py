"""Files that are read again when they change."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from gateway.config.settings import SettingsError

logger = logging.getLogger("gateway.auth")

LOOK_EVERY: Final = 2.0
"""Seconds between looks at whether a file has changed."""

T = TypeVar("T")


class Watched(Generic[T]):
    """What a file says. ``parse`` raises ValueError for content that cannot be used; ``now`` gives seconds.

    The first reading raises `SettingsError`; after that, a file that is gone or broken is logged and what it said
    before goes on holding.
    """

    def __init__(self, path: str, parse: Callable[[bytes], T], now: Callable[[], float]) -> None:
        self.path, self.parse, self.now = Path(path), parse, now
        self._looked = now()
        try:
            self._seen = self._stamp()
            self._said = parse(self.path.read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError((f"{path}: {_reason(error)}",)) from None

    @property
    def said(self) -> T:
        """What the file says, at most `LOOK_EVERY` seconds ago."""
        if not 0 <= self.now() - self._looked < LOOK_EVERY:
            self.look()
        return self._said

    def look(self) -> None:
        """Read the file again if it is another than last time."""
        self._looked = self.now()
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            self._said = self.parse(self.path.read_bytes())
        except (OSError, ValueError) as error:
            logger.error("%s: %s; what it said before goes on holding.", self.path, _reason(error))
        else:
            logger.warning("%s was read again.", self.path)

    def _stamp(self) -> tuple[int, int, int]:
        found = self.path.stat()
        return found.st_ctime_ns, found.st_size, found.st_ino


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
