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
class Principal:
    """Somebody who asks; ``registries`` and ``within`` are patterns of names, and a registry must be in both: who asks
    through a router reads no more than that may."""

    name: str
    registries: tuple[str, ...]
    roles: frozenset[str]
    within: tuple[str, ...] = ("*",)

    def may_read(self, registry: str) -> bool:
        return all(any(fnmatchcase(registry, one) for one in patterns) for patterns in (self.registries, self.within))

    def require(self, role: str) -> None:
        """Raises `Forbidden` when the caller has not the role; ``admin``, which concerns all registries at once, is
        only for those who may read them all."""
        everything = "*" in self.registries and "*" in self.within
        if role not in self.roles or (role == "admin" and not everything):
            raise Forbidden(f"The role `{role}` is needed for this.")


def visible(registries: Mapping[str, T], caller: Principal) -> dict[str, T]:
    """The registries that exist for a caller, by name, in the configured order."""
    return {name: one for name, one in registries.items() if caller.may_read(name)}
