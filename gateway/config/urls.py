"""Hosts and ports in URLs, and networks, that operators write."""

from ipaddress import ip_network

from yarl import URL


def has_valid_host(url: str) -> bool:
    """Whether a URL has a host, and a port if it names one, that a connection can be made to."""
    try:
        parsed = URL(url)
        return bool(parsed.host) and parsed.port != 0
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Whether a text is an address of a machine or a network."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
