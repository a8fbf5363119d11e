"""Files that are reloaded when they change."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from gateway.config.files import read_file
from gateway.config.settings import SettingsError

logger = logging.getLogger("gateway.config")

CHECK_INTERVAL: Final = 2.0
"""Seconds between checks for changes."""

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The parsed content of the file that a setting names, reloaded when the file changes.

    ``parse`` raises ValueError for invalid content. ``now`` returns seconds. If a later reload fails, the error is
    logged and the previous content stays in use.

    Raises `SettingsError` if the file cannot be read or parsed at first.
    """

    def __init__(self, setting: str, path: str, parse: Callable[[bytes], T], now: Callable[[], float]) -> None:
        self.path, self.parse, self.now = Path(path), parse, now
        self._checked = now()
        try:
            self._version = self._read_version()
            self._content = parse(read_file(self.path))
        except (OSError, ValueError) as error:
            raise SettingsError((f"{setting}: {path}: {_reason(error)}",)) from None

    @property
    def content(self) -> T:
        """The parsed content, at most `CHECK_INTERVAL` seconds old."""
        if not 0 <= self.now() - self._checked < CHECK_INTERVAL:
            self._reload()
        return self._content

    def _reload(self) -> None:
        self._checked = self.now()
        try:
            version = self._read_version()
            if version == self._version:
                return
            self._version = version
            self._content = self.parse(read_file(self.path))
        except (OSError, ValueError) as error:
            logger.error("%s: cannot be reloaded: %s; the previous content stays in use.", self.path, _reason(error))
        else:
            logger.warning("%s was reloaded.", self.path)

    def _read_version(self) -> tuple[int, int, int]:
        """Return values that differ after the file was changed or replaced."""
        status = self.path.stat()
        return status.st_ctime_ns, status.st_size, status.st_ino


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
