"""HTTP's words for freshness: what a client asks for, and what an answer says of its age.

Source: RFC 9111 (HTTP caching), sections 5.1 and 5.2; RFC 9110, section 8.8.3 (entity tags).
"""

import hashlib
import re
from collections.abc import Sequence

from gateway.catalog.operation import Operation
from gateway.upstream.source import ANY, Answer, Freshness


def wanted(header: str | None) -> Freshness:
    """What a request's ``Cache-Control`` asks for; directives that say nothing here are passed over."""
    if header is None:
        return ANY
    said = {}
    for directive in header.lower().split(","):
        name, _, value = directive.strip().partition("=")
        said[name] = value.strip('"')
    age = said.get("max-age", "")
    return Freshness(
        revalidate="no-cache" in said or "no-store" in said,
        max_age=float(age) if re.fullmatch(r"\d{1,9}", age) else None,
        only_if_cached="only-if-cached" in said,
    )


def headers(operation: Operation, whole: bool) -> dict[str, str]:
    """``age`` and ``cache-control`` of an answer, from all that it was made of; nobody keeps one that is not whole."""
    if not whole or operation.partial:
        return {}
    received = operation.received()
    return lifetime(received) if received else {"cache-control": "private, max-age=0"}


def lifetime(received: Sequence[Answer]) -> dict[str, str]:
    """The same for what is made of some answers, at least one."""
    fresh_for = max(0, int(min(answer.fresh_for for answer in received)))
    age = int(max(answer.age for answer in received))
    return {"cache-control": f"private, max-age={fresh_for + age}", "age": str(age)}


def etag(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
