"""Content negotiation: the media types and codings that a client accepts, by the weights in its request's headers.

Source: RFC 9110, sections 5.6 (lists and quoted text), 12.4.2 (weights), 12.5.1 (``Accept``) and 12.5.3
(``Accept-Encoding``); the GraphQL-over-HTTP specification.
"""

import re
from collections.abc import Mapping
from math import inf
from typing import Final, NamedTuple

from starlette.datastructures import Headers

from gateway.execution.request import InvalidRequest
from gateway.memory_budget import memo

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"
MULTIPART: Final = "multipart/mixed"
EVENT_STREAM: Final = "text/event-stream"

REVISION: Final = "2026-09-03"
"""The revision of the specification whose statuses a client or an operator can request."""

MAX_MEMBERS: Final = 50
"""The number of members of a header that are read."""

MIN_COMPRESSED: Final = 500
"""The minimum size of a body to compress, in bytes."""

QUOTED: Final = r'"(?:[^"\\]|\\.)*"?'
MEMBER: Final = re.compile(rf'(?:[^,"]|{QUOTED})+')
PARAMETER: Final = re.compile(rf';([^;="]*)(=?)((?:[^;"]|{QUOTED})*)')
PROFILE: Final = re.compile(rf'{re.escape(GRAPHQL)}\s*;(?:.*;)?\s*profile\s*=\s*"?{REVISION}\b', re.IGNORECASE)
WEIGHT: Final = re.compile(r"0?\.\d+|0\.?|1(?:\.0*)?", re.ASCII)


def header(headers: Headers, name: str, default: str = "") -> str:
    """Return the value of a header: of all its lines, joined to one list. An empty one is like none."""
    return ", ".join(headers.getlist(name)).strip(" \t,") or default


@memo(256, len)
def weights(value: str) -> Mapping[str, float]:
    """Return the members of a header's value in their order, in lower case without parameters, each with its weight.

    Parameters other than the weight do not count, since each media type has one form here. The highest weight of a
    repeated member counts. A member with a malformed weight is ignored.
    """
    found: dict[str, float] = {}
    for member in MEMBER.findall(value)[:MAX_MEMBERS]:
        name = member.partition(";")[0].strip().lower()
        parameters = {key.strip().lower(): text.strip() for key, _, text in PARAMETER.findall(member)}
        weight = parameters.get("q", "1")
        if name and WEIGHT.fullmatch(weight):
            found[name] = max(found.get(name, 0.0), float(weight))
    return found


class Accepted(NamedTuple):
    """What a client accepts.

    ``media_type`` is that of a single response. ``single`` is false for a client that accepts no single response but
    only ``multipart``, incremental delivery. ``events`` is true for a client that prefers server-sent events.
    ``revised`` is true for one that gets the statuses of the revision of September 2026.
    """

    media_type: str = JSON
    single: bool = True
    multipart: bool = False
    events: bool = False
    revised: bool = False


ANYTHING: Final = Accepted()


@memo(64, len)
def accepted(accept: str) -> Accepted:
    """Return what a client accepts by its ``Accept`` header. Raises `InvalidRequest` (406) if that is nothing.

    A client must name events, multipart and `GRAPHQL` to get them; wildcards stand for `JSON`, which older clients
    expect, unless they exclude it. `GRAPHQL` with the parameter ``profile`` requests the statuses of a `REVISION`.
    """
    ranges = weights(accept)
    json, graphql = weight_of(JSON, ranges), weight_of(GRAPHQL, ranges)
    multipart = ranges.get(MULTIPART, ranges.get("multipart/*", 0.0)) > 0
    events = ranges.get(EVENT_STREAM, 0.0) > 0 and max(ranges, key=ranges.__getitem__) == EVENT_STREAM
    if not (json or graphql or multipart or events):
        raise InvalidRequest(406, f"The response can be {GRAPHQL} or {JSON}.", "NOT_ACCEPTABLE")
    prefers_graphql = not json or (GRAPHQL in ranges and graphql >= json)
    revised = prefers_graphql and any(PROFILE.search(member) for member in MEMBER.findall(accept))
    return Accepted(GRAPHQL if prefers_graphql else JSON, bool(json or graphql), multipart, events, revised)


def weight_of(media_type: str, ranges: Mapping[str, float]) -> float:
    """Return the weight of a media type: that of the most specific range that contains it, 0 if none does."""
    candidates = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in candidates if name in ranges), 0.0)


@memo(64, len)
def min_compressed(accept_encoding: str) -> float:
    """Return the minimum size of a body to compress with gzip, in bytes. Infinite for a client that prefers none.

    A client that refuses uncompressed bodies gets small ones compressed, too. One that accepts neither gets
    uncompressed ones.
    """
    codings = weights(accept_encoding)
    others = codings.get("*", 0.0)
    gzip = max((codings[name] for name in ("gzip", "x-gzip") if name in codings), default=others)
    if not gzip or gzip < codings.get("identity", 0.0):
        return inf
    accepts_identity = codings.get("identity", others if "*" in codings else 1.0) > 0
    return MIN_COMPRESSED if accepts_identity else 1
