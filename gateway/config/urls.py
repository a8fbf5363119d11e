"""Hosts and ports in URLs that operators write."""

from yarl import URL


def has_valid_host(url: str) -> bool:
    """Whether a URL has a host, and a port if it names one, that a connection can be made to."""
    try:
        parsed = URL(url)
        return bool(parsed.host) and parsed.port != 0
    except ValueError:
        return False
