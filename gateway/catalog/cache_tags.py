"""Cache tags: names by which caches in front of the gateway purge responses, as `/cache` purges answers here.

A response has the name of each registry that it was built from. For each registry it also has either the global ids of
the objects that its calls were made for, or the tag of `any_object` if one of its answers may contain any object of the
registry, as lists do. To purge an object, a cache purges all tags of `purge_tags`.
"""

from collections.abc import Iterable
from typing import Final

from gateway.catalog.ids import OWNERS, Ref
from gateway.catalog.query_plan import ALL_KEYS, BoundCall
from gateway.catalog.selection import Selection

MAX_TAG: Final = 1_024
"""The maximum length of a tag. Longer ones are ignored by Fastly (``Surrogate-Key``) and Cloudflare (``Cache-Tag``)."""

MAX_HEADER: Final = 2_000
"""The maximum length of all tags in a header: less than caches accept (16 KB), and than the buffer of a proxy that has
4 KB for all headers."""

RELATED: Final = frozenset({"algorithm", "algorithm_version", "latest_version", "version", "versions"})
"""Fields whose value may be another object, or contain others. The owner of a version is not among them."""


def any_object(registry: str) -> str:
    """Return the tag of responses that may contain any object of a registry."""
    return f"{registry}:any"


def call_tags(bound: BoundCall) -> tuple[str, ...]:
    """Return the tags of the answer to a call: the id of the object that the call names, else the tag of any object.

    An answer with fields of a version's owner also has the id of the owner.
    """
    call, keys = bound.call, bound.keys
    names_object = keys and call.entities and call.key_positions == ALL_KEYS[len(keys)]
    if not names_object or call.paging is not None or call.rows is not None or call.follows:
        return (any_object(bound.registry),)
    entity = call.entities[0].layout.entity
    owner = Ref(bound.registry, OWNERS.get(entity, entity), keys[:1])
    if len(keys) == 1:
        return (str(owner),)
    version = str(owner.version(keys[1]))
    return (version, str(owner)) if any(part.layout.owner for part in call.entities) else (version,)


def response_tags(calls: Iterable[BoundCall]) -> tuple[str, ...]:
    """Return the tags of a response that was built from the answers to calls."""
    by_registry: dict[str, dict[str, None]] = {}
    for bound in calls:
        by_registry.setdefault(bound.registry, {}).update(dict.fromkeys(call_tags(bound)))
    tags: list[str] = []
    for registry, named in by_registry.items():
        any_tag = any_object(registry)
        tags += [registry, any_tag] if any_tag in named else [registry, *named]
    return tuple(tags)


def shortened(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return tags that fit into a header. If they are too long, those of objects become those of any object."""
    if sum(map(len, tags)) + len(tags) <= MAX_HEADER and all(len(tag) <= MAX_TAG for tag in tags):
        return tags
    registries = dict.fromkeys(tag.partition(":")[0] for tag in tags)
    return tuple(tag for registry in registries for tag in (registry, any_object(registry)))


def entity_tags(ref: Ref, selection: Selection, tags: Iterable[str]) -> list[str]:
    """Return the tags of one entity among several in a response with ``tags``.

    Which calls an entity needed is not known. Without a related object in its selection, it has its data from calls
    that name it or its owner, or from answers that may contain any object.
    """
    any_tag = any_object(ref.registry)
    owner = [str(ref.owner)] if ref.entity in OWNERS else []
    others = [any_tag] if any_tag in tags or selects_related(selection) else []
    return [ref.registry, str(ref), *owner, *others]


def selects_related(selection: Selection) -> bool:
    return any(request.field in RELATED or selects_related(below) for request, below in selection.items())


def purge_tags(registry: str, ref: Ref | None = None) -> tuple[str, ...]:
    """Return the tags of all responses with answers that `Registry.cache_prefixes` purges.

    An answer about a model or algorithm may contain the version.
    """
    if ref is None:
        return (registry,)
    owner = [str(ref.owner)] if ref.entity in OWNERS else []
    return (str(ref), *owner, any_object(registry))
