"""References from outside, found again: global ids, and the representations by which other subgraphs refer to objects.

Source: Apollo Federation subgraph specification, ``_entities`` and ``_Any``.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.catalog.ids import Ref, parse, spoken
from gateway.catalog.operation import Operation
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Selection
from gateway.errors import BadInput, GatewayError, InvalidId
from gateway.schema.directives import BY_NATIVE_ID, KEYS


def admitted(registries: Mapping[str, Registry], text: str, entity: str | None = None) -> Ref:
    """The reference of a global id, checked before anything of it reaches a registry.

    Raises `InvalidId` for an id this graph cannot have given out, or of another type than expected.
    """
    ref = parse(text)
    registry = registries.get(ref.registry)
    if registry is None:
        raise InvalidId(f"{spoken(text)} names a registry that this graph does not have.")
    registry.admit(ref)
    if entity not in (None, ref.entity):
        raise InvalidId(f"{spoken(text)} is the id of a {ref.entity}, not of a {entity}.")
    return ref


async def entities(
    operation: Operation, representations: Sequence[Any], selections: Mapping[str, Selection]
) -> list[Record | Exception | None]:
    """The object of each representation, in their order: null where there is none, and in place of one that cannot be
    used or had its error.

    ``selections`` says what is wanted of each type of entity. All objects are planned together and each is asked for
    once, however often it is referred to. Raises `BadInput` for more representations than permitted.
    """
    most = operation.bounds.references
    if len(representations) > most:
        raise BadInput(f"`representations` may hold at most {most}, not {len(representations)}.")
    meant = [reference_or_error(operation.registries, representation) for representation in representations]
    refs = list(dict.fromkeys(one for one in meant if isinstance(one, Ref)))
    objects = await asyncio.gather(*[entity_or_error(operation, ref, selections[ref.entity]) for ref in refs])
    found = dict(zip(refs, objects, strict=True))
    return [found[one] if isinstance(one, Ref) else one for one in meant]


async def entity_or_error(operation: Operation, ref: Ref, selection: Selection) -> Record | Exception | None:
    try:
        return await operation.entity(ref, selection)
    except Exception as error:
        return error


def reference_or_error(registries: Mapping[str, Registry], representation: Any) -> Ref | GatewayError:
    try:
        return reference(registries, representation)
    except GatewayError as error:
        return error


def reference(registries: Mapping[str, Registry], representation: Any) -> Ref:
    """The object that a representation means, by the first of its type's keys that it holds; other fields are passed
    over. Raises `BadInput` where it is none of this graph's entities or holds no key, `InvalidId` for an unusable key.
    """
    match representation:
        case {"__typename": str(entity), "id": str(text)} if entity in KEYS:
            return admitted(registries, text, entity)
        case {"__typename": str(entity), "registryName": str(registry), "nativeId": str(native_id)} if (
            BY_NATIVE_ID in KEYS.get(entity, ())
        ):
            if registry not in registries:
                raise InvalidId(f"{spoken(registry)} names a registry that this graph does not have.")
            return admitted(registries, str(Ref(registry, entity, (native_id,))), entity)
        case {"__typename": str(entity)} if entity in KEYS:
            keys = " or ".join(f"`{key}`" for key in KEYS[entity])
            raise BadInput(f"A representation of a {entity} must hold {keys}, as text.")
    raise BadInput(f"A representation must be an object with a `__typename` of {', '.join(KEYS)}.")
