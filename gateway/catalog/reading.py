"""How what is asked of an object is read from one form of it, worked out once for all objects that come in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.catalog.selection import Ask, Selection
from gateway.registries.fields import Raw, Shape
from gateway.registries.kind import Kind

SETTLED_OTHERWISE = {"id", "native_id", "registry", "registry_name", "model", "algorithm", "version", "versions"}
"""Fields that are not just read from an answer."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a selection is read from one form of an object: the ``values`` that stand in it as they are, and the
    ``rest``. It holds the selection, which it is known by while the operation lasts."""

    selection: Selection
    values: Sequence[tuple[Ask, Callable[[Raw], Any]]]
    rest: Selection

    @classmethod
    def of(cls, selection: Selection, shape: Shape, kind: Kind) -> "Reading":
        left_out = SETTLED_OTHERWISE | kind.absent[shape.entity]
        values, rest = [], dict(selection)
        for ask in selection:
            field = shape.fields.get(ask.field)
            if field is not None and field.plain and not ask.arguments and ask.field not in left_out:
                values.append((ask, field.read))
                del rest[ask]
        return cls(selection, values, rest)
