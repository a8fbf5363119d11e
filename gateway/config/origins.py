"""Origins of web pages, as browsers send them.

Sources: the URL standard of the WHATWG (serializing hosts), and RFC 1123, section 2.1 (names of hosts).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?)(?::([1-9][0-9]{0,4}))?")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
LONGEST_HOST = 253
DEFAULT_PORTS = {"http": "80", "https": "443"}

EVERY, LOOPBACK = "*", "loopback"
"""The words that stand for every origin, and for those of servers on the same machine, on any port."""
LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """The origins that a server accepts requests from, by the members of the setting ``server.cors``."""

    members: Sequence[str]

    @property
    def listed(self) -> list[str]:
        """The members, except the word for loopback origins."""
        return [member for member in self.members if member != LOOPBACK]

    @property
    def pattern(self) -> str | None:
        """The regular expression of the origins that are not listed but allowed, too."""
        return LOOPBACK_ORIGIN if LOOPBACK in self.members else None

    def __contains__(self, origin: str | None) -> bool:
        if EVERY in self.members or origin in self.listed:
            return True
        return None not in (origin, self.pattern) and re.fullmatch(self.pattern or "", origin or "") is not None


def origin_problem(origin: str) -> str | None:
    """Return why browsers never send an origin, None if they may."""
    match = ORIGIN.fullmatch(origin)
    if match is None:
        if "*" in origin:
            return "it has a wildcard; list each origin"
        return "an origin is a scheme, a host in lower-case ASCII, and perhaps a port"
    scheme, host, port = match.groups()
    if port == DEFAULT_PORTS[scheme]:
        return f"browsers leave out the port {port} of {scheme}"
    if port is not None and int(port) > 65535:
        return "there is no such port"
    written = address_as_written(host)
    return None if written == host else f"browsers write this host as {written}" if written else "there is no such host"


def address_as_written(host: str) -> str | None:
    """Return a host as browsers write it: an IP address in its shortest form. None for a host that cannot exist."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        if re.fullmatch(r"(.*\.)?(\d+|0x[0-9a-f]*)\.?", host):
            return str(IPv4Address(host))
    except ValueError:
        return None
    name = host.removesuffix(".")
    return host if len(name) <= LONGEST_HOST and all(map(LABEL.fullmatch, name.split("."))) else None
