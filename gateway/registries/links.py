"""The next page of a list in the header ``Link`` of a response. Source: RFC 8288."""

import re
from typing import Any
from urllib.parse import parse_qs

LINK = re.compile(r'<([^<>]*+)>((?:[^",<]|"(?:[^"\\]|\\.)*+")*+)')
"""Matches one link of a header: its address and its parameters."""
PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+)))?')
"""Matches one parameter of a link: its name, and its quoted or plain value."""


def linked_page(link: Any, parameter: str) -> tuple[str | None, bool]:
    """Return the marker of the next page, and whether there is a next page without a marker.

    ``link`` is the value of the header, ``parameter`` the one in the query of the address that is the marker. Nothing
    else of the address is used: the next page is requested as the first one was.
    """
    for address, parameters in LINK.findall(link) if isinstance(link, str) else ():
        values = {name.lower(): quoted or plain for name, quoted, plain in reversed(PARAMETER.findall(parameters))}
        if "next" in values.get("rel", "").lower().split():
            query = address.partition("#")[0].partition("?")[2]
            marker = next(iter(parse_qs(query, errors="replace").get(parameter, ())), None)
            return marker, marker is None
    return None, False
