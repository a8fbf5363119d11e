"""Who asks: the registries that exist for a caller, and what else a caller may do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeVar

from gateway.errors import Forbidden

ROLES: Final = {
    "read": "ask queries",
    "raw": "select `raw`, the registry's own object",
    "explain": "see how an operation was planned",
    "admin": "see and purge what is kept",
}
ROUTER: Final = "router"
"""The role of a supergraph's router, which asks for others and says in headers for whom."""

PATTERN: Final = re.compile(r"[a-z0-9*-]{1,64}")
"""The name of a registry, in which ``*`` stands for any text."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks; ``registries`` are patterns of names. Within a router's rights, where one asks for it."""

    name: str
    registries: tuple[str, ...]
    roles: frozenset[str]
    router: "Caller | None" = None

    def may_read(self, registry: str) -> bool:
        own = any(fnmatchcase(registry, pattern) for pattern in self.registries)
        return own and (self.router is None or self.router.may_read(registry))

    def may(self, role: str) -> bool:
        """Whether the caller has a role; ``admin``, which concerns all registries at once, only with all of them."""
        own = role in self.roles and (role != "admin" or "*" in self.registries)
        return own and (self.router is None or self.router.may(role))

    def require(self, role: str) -> None:
        """Raises `Forbidden` when the caller has not the role."""
        if not self.may(role):
            raise Forbidden(self.name, role)


ANYONE: Final = Caller("anyone", ("*",), frozenset({"read", "raw", "explain"}))
"""The caller where nobody is asked who they are."""


def visible(registries: Mapping[str, T], caller: Caller) -> dict[str, T]:
    """The registries that exist for a caller, by name, in the configured order."""
    return {name: one for name, one in registries.items() if caller.may_read(name)}
