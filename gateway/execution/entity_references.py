"""References in arguments: global ids, and the representations with which other subgraphs refer to entities.

Source: Apollo Federation subgraph specification, ``_entities`` and ``_Any``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.catalog.ids import Ref, parse, quoted
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Selection
from gateway.errors import BadInput, GatewayError, InvalidId

BY_ID, BY_NATIVE_ID = "id", "registryName nativeId"
ENTITY_KEYS: Final = {
    "Model": (BY_ID, BY_NATIVE_ID),
    "ModelVersion": (BY_ID,),
    "Algorithm": (BY_ID, BY_NATIVE_ID),
    "AlgorithmVersion": (BY_ID,),
}
"""The entities by type name, each with the field sets of its ``@key`` directives."""


def validated_ref(registries: Mapping[str, Registry], text: str, entity: str | None = None) -> Ref:
    """Return the reference of a global id, after checking its registry, keys and type.

    Raises `InvalidId` for an id that this graph never returns, or of another type than expected.
    """
    ref = parse(text)
    registry = registries.get(ref.registry)
    if registry is None:
        raise InvalidId(f"{quoted(text)} names a registry that this graph does not have.")
    registry.validate(ref)
    if entity not in (None, ref.entity):
        raise InvalidId(f"{quoted(text)} is the id of {with_article(ref.entity)}, not of {with_article(entity)}.")
    return ref


def with_article(entity: str | None) -> str:
    """Return the name of a type with its article."""
    return f"an {entity}" if str(entity)[0] in "AEIOU" else f"a {entity}"


def ref_or_error(registries: Mapping[str, Registry], text: str) -> Ref | GatewayError:
    try:
        return validated_ref(registries, text)
    except GatewayError as error:
        return error


async def entities_or_errors(
    execution: PlanExecution, references: Sequence[Ref | GatewayError], selection: Callable[[str], Selection]
) -> list[Record | Exception | None]:
    """Return the record of each reference in their order, with None or an error for references without a record.

    ``selection`` returns the selection of a type. Each object is fetched once, however often it is referred to.
    """
    refs = list(dict.fromkeys(ref for ref in references if isinstance(ref, Ref)))
    objects = await execution.entities([(ref, selection(ref.entity)) for ref in refs])
    records = dict(zip(refs, objects, strict=True))
    return [records[ref] if isinstance(ref, Ref) else ref for ref in references]


def reference_or_error(registries: Mapping[str, Registry], representation: Any) -> Ref | GatewayError:
    try:
        return reference(registries, representation)
    except GatewayError as error:
        return error


def reference(registries: Mapping[str, Registry], representation: Any) -> Ref:
    """Return the reference of a representation, by the first key of its type that it contains.

    Raises `BadInput` for an unknown type or a missing key, `InvalidId` for a key that cannot exist.
    """
    match representation:
        case {"__typename": str(entity), "id": str(text)} if entity in ENTITY_KEYS:
            return validated_ref(registries, text, entity)
        case {"__typename": str(entity), "registryName": str(registry), "nativeId": str(native_id)} if (
            BY_NATIVE_ID in ENTITY_KEYS.get(entity, ())
        ):
            if registry not in registries:
                raise InvalidId(f"{quoted(registry)} names a registry that this graph does not have.")
            return validated_ref(registries, str(Ref(registry, entity, (native_id,))), entity)
        case {"__typename": str(entity)} if entity in ENTITY_KEYS:
            keys = " or ".join(f"`{key}`" for key in ENTITY_KEYS[entity])
            raise BadInput(f"A representation of a {entity} must contain {keys}, as text.")
    raise BadInput(f"A representation must be an object with a `__typename` of {', '.join(ENTITY_KEYS)}.")
