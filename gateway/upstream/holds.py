"""Holds: times until which a registry asked not to be called again, such as by Retry-After (RFC 9110, 10.2.3)."""

from gateway.errors import RegistryError


class OnHold(Exception):
    """A call cannot start yet. ``left`` is the time to wait in seconds, ``error`` the failure if it cannot wait."""

    def __init__(self, error: RegistryError, left: float) -> None:
        super().__init__()
        self.error, self.left = error, left


class Hold:
    """The time until which the calls of one account wait. It only moves forward."""

    def __init__(self) -> None:
        self.until, self.kind = float("-inf"), RegistryError

    def begin(self, error: RegistryError, now: float) -> None:
        """Hold calls for as long as a failed call was asked to wait, if it was."""
        until = now + (error.retry_after or 0.0)
        if until > max(now, self.until):
            self.until, self.kind = until, type(error)

    def check(self, registry: str, now: float) -> None:
        """Raise `OnHold` if calls have to wait."""
        if now < self.until:
            left = self.until - now
            raise OnHold(self.kind(registry, retry_after=round(left, 3)), left)
