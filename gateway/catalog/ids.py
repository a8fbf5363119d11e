"""Global ids: one readable, canonical text for every object of every registry.

``<registry>:model/<key>``, ``<registry>:model/<key>/version/<key>``, and the same with ``algorithm``; native keys
are percent-encoded.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from gateway.errors import InvalidId
from gateway.memory_budget import memo

MAX_LENGTH: Final = 4096
"""The maximum length of an id, in characters: a name of 256 characters, percent-encoded, and what is around it."""
CACHED_IDS: Final = 2_000
SAFE: Final = "-._~:"
is_safe = re.compile(f"[A-Za-z0-9{re.escape(SAFE)}]*").fullmatch


class RefParts(NamedTuple):
    registry: str
    entity: str
    keys: tuple[str, ...]


class Ref(RefParts):
    """A reference to one object: the configured name of its registry, its type, and its native keys.

    A version has two keys: that of its model or algorithm, and its own. ``str(ref)`` is the global id.
    """

    @property
    def owner(self) -> "Ref":
        """The model or algorithm that a version belongs to."""
        return Ref(self.registry, OWNERS[self.entity], self.keys[:1])

    def version(self, key: str) -> "Ref":
        """Return a version of this model or algorithm."""
        return Ref(self.registry, VERSIONS[self.entity], (*self.keys, key))

    def __str__(self) -> str:
        text: str | None = self.__dict__.get("text")
        if text is None:
            registry, entity, keys = self
            segments = "/version/".join(map(encoded, keys)) if len(keys) > 1 else encoded(keys[0])
            text = self.__dict__["text"] = f"{registry}:{SEGMENTS[entity]}/{segments}"
        return text


def encoded(key: str) -> str:
    """Encode a native key as a segment of a global id."""
    return key if is_safe(key) else quote(key, safe=SAFE, errors="replace")


SEGMENTS: Final = {"Model": "model", "ModelVersion": "model", "Algorithm": "algorithm", "AlgorithmVersion": "algorithm"}
VERSIONS: Final = {"Model": "ModelVersion", "Algorithm": "AlgorithmVersion"}
OWNERS: Final = {version: owner for owner, version in VERSIONS.items()}
OBJECTS: Final = {"model": "Model", "algorithm": "Algorithm"}


def is_owner(entity: str) -> bool:
    """Whether objects of a type have versions: models and algorithms."""
    return entity in VERSIONS


@memo(CACHED_IDS, len)
def parse(text: str) -> Ref:
    """Return the reference of a global id.

    Raises `InvalidId` for text that `str(ref)` never returns. Does not check whether the registry exists and can have
    such keys.
    """
    registry, colon, rest = text.partition(":")
    segments = rest.split("/")
    well_formed = (
        len(text) <= MAX_LENGTH
        and colon
        and segments[0] in OBJECTS
        and (len(segments) == 2 or (len(segments) == 4 and segments[2] == "version"))
    )
    if well_formed:
        entity = OBJECTS[segments[0]]
        keys = tuple(unquote(segment, errors="replace") for segment in segments[1::2])
        ref = Ref(registry, entity if len(keys) == 1 else VERSIONS[entity], keys)
        if str(ref) == text:
            return ref
    raise InvalidId(f"{quoted(text)} is not an id of this graph.")


def quoted(text: str) -> str:
    """Quote text of a client for a message: escaped, and truncated to 80 characters."""
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown) + '"'
