"""Principals: authenticated or anonymous callers, the registries they may read, and their roles."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeVar

from gateway.errors import Forbidden

ROLES: Final = {
    "read": "run queries",
    "raw": "select `raw`, the registry's own object",
    "explain": "see the query plan and the schema",
    "admin": "see and purge the cache",
}
TOOL: Final = "tool:"
"""Prefix of the roles that permit calling one tool of `/mcp`, by its name. The role `read` includes them all."""

ROLE: Final = re.compile(rf"{'|'.join(ROLES)}|{TOOL}[A-Za-z_][A-Za-z0-9_]{{0,127}}")
"""Syntax of a role that a caller may have."""

ROUTER: Final = "router"
"""Role of a federation router. It sends requests for other callers and names them in headers."""

PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{0,31}|(?=.{1,64}$)(?:[a-z][a-z0-9-]*)?\*[a-z0-9*-]*")
"""Syntax of the name of a registry, or of a pattern in which ``*`` stands for any text."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    ``registries`` are patterns of registry names that the caller may read. ``router_registries`` are the patterns of
    the router that forwarded the request; a registry must match both.
    """

    name: str
    registries: tuple[str, ...]
    roles: frozenset[str]
    router_registries: tuple[str, ...] = ("*",)

    def may_read(self, registry: str) -> bool:
        return all(
            any(fnmatchcase(registry, pattern) for pattern in patterns)
            for patterns in (self.registries, self.router_registries)
        )

    def has(self, role: str) -> bool:
        """Whether the caller has a role, or one that includes it."""
        return role in self.roles or (role.startswith(TOOL) and "read" in self.roles)

    def require(self, role: str) -> None:
        """Raise `Forbidden` unless the caller has the role. ``admin`` also requires access to all registries."""
        reads_all = "*" in self.registries and "*" in self.router_registries
        if not self.has(role) or (role == "admin" and not reads_all):
            raise Forbidden(f"The role `{role}` is needed for this.")


def visible(registries: Mapping[str, T], caller: Principal) -> dict[str, T]:
    """Return the registries that the caller may read, by name, in the configured order."""
    return {name: registry for name, registry in registries.items() if caller.may_read(name)}
