"""Global ids: one readable, canonical text for every object of every registry.

``<registry>:model/<key>``, ``<registry>:model/<key>/version/<key>``, and the same with ``algorithm``; native keys
are percent-encoded.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from gateway.errors import InvalidId

LONGEST: Final = 1024
"""Characters of an id."""
CACHED_IDS: Final = 5_000
SAFE: Final = "-._~:"
is_safe = re.compile(f"[A-Za-z0-9{re.escape(SAFE)}]*").fullmatch


class RefParts(NamedTuple):
    registry: str
    entity: str
    keys: tuple[str, ...]


class Ref(RefParts):
    """A reference to one object: its registry's configured name, its type, and its native keys from outside in.

    ``str(ref)`` is the object's global id; it is encoded once.
    """

    @property
    def owner(self) -> "Ref":
        """The model or algorithm that a version belongs to."""
        return Ref(self.registry, OWNERS[self.entity], self.keys[:1])

    def version(self, key: str) -> "Ref":
        """One version of this model or algorithm."""
        return Ref(self.registry, VERSIONS[self.entity], (*self.keys, key))

    def __str__(self) -> str:
        text: str | None = self.__dict__.get("text")
        if text is None:
            registry, entity, keys = self
            segments = "/version/".join(map(encoded, keys)) if len(keys) > 1 else encoded(keys[0])
            text = self.__dict__["text"] = f"{registry}:{SEGMENTS[entity]}/{segments}"
        return text


def encoded(key: str) -> str:
    """A native key as a segment of a global id."""
    return key if is_safe(key) else quote(key, safe=SAFE, errors="replace")


SEGMENTS: Final = {"Model": "model", "ModelVersion": "model", "Algorithm": "algorithm", "AlgorithmVersion": "algorithm"}
VERSIONS: Final = {"Model": "ModelVersion", "Algorithm": "AlgorithmVersion"}
OWNERS: Final = {version: owner for owner, version in VERSIONS.items()}
OBJECTS: Final = {"model": "Model", "algorithm": "Algorithm"}


@lru_cache(CACHED_IDS)
def parse(text: str) -> Ref:
    """The reference of a global id.

    Raises `InvalidId` for any text that `str` of a reference cannot have produced. Whether the registry exists and
    can have such keys is not checked here.
    """
    registry, colon, rest = text.partition(":")
    segments = rest.split("/")
    well_formed = (
        len(text) <= LONGEST
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
    """Text of a client as it may be repeated in a message: quoted, escaped, shortened."""
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown) + '"'
