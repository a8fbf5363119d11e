"""What the sources of a cloud's access keys may use: settings, environment, files, and requests to token services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.config.settings import Credentials

Load = Callable[[], Awaitable[Credentials]]
"""Loads an access key. Raises ValueError or OSError, whose message tells operators why there is none and contains no
part of a key or a token."""
AssumeRole = Callable[[Credentials], Awaitable[Credentials]]
"""Returns the temporary key of a role that a key may assume. Raises as a `Load` does."""


@dataclass(frozen=True)
class TokenRequest:
    """A request for an access key. ``url`` is complete and percent-encoded, ``seconds`` the time to answer it.

    ``direct`` is set for services of the machine itself, which no proxy can reach.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    direct: bool = False
    seconds: float = 5.0


class TokenResponse(NamedTuple):
    """The response: its status, its body, and what the body says as JSON, None if it is not JSON."""

    status: int
    body: bytes
    document: Any


class SourceContext(Protocol):
    """What a source may use."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables."""

    def now(self) -> float:
        """Return the time in seconds since 1970."""

    def exists(self, path: str) -> bool:
        """Return whether a file exists. ``~`` stands for the user's home."""

    async def read(self, path: str) -> str:
        """Return the text of a file. Raises OSError and ValueError."""

    async def send(self, request: TokenRequest) -> TokenResponse:
        """Send a request and return the response. Raises ValueError if there is none."""
