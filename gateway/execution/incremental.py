"""Payloads of an answer that comes in parts.

Source: the incremental delivery proposal of 2023 (``pending``, ``incremental``, ``completed``); parts also say the
``path`` and ``label`` of the proposal of 2022, so that clients of both understand them. Rows of a list have the path of
the first of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from graphql import GraphQLError, InitialIncrementalExecutionResult
from strawberry.types import ExecutionResult

from gateway.execution.context import OperationContext
from gateway.execution.error_codes import assign_error_code


class IncrementalPayloads:
    """The payloads of one operation, in their order."""

    def __init__(self, context: OperationContext) -> None:
        self.context = context
        self._pending: dict[str, Any] = {}
        self._given: dict[str, int] = {}
        """How many rows of each streamed list were given out."""

    def payload(self, part: Any) -> dict[str, Any]:
        """One part; its errors have their codes, and failures that nothing else shows stand with it."""
        if isinstance(part, ExecutionResult):  # nothing of it came later
            errors = [*(part.errors or ()), *self.context.unseen()]
            shown = {"errors": [error.formatted for error in errors]} if errors else {}
            return {"data": part.data, **shown, "hasNext": False}
        self._pending |= {one.id: one for one in part.pending or ()}
        if isinstance(part, InitialIncrementalExecutionResult):
            part.errors = [*(part.errors or ()), *self.context.unseen()] or None
            self._announced(part.pending, [], part.data)
            return dict(part.formatted)
        for one in (*(part.incremental or ()), *(part.completed or ())):
            presented(one.errors)
        if not part.incremental:
            return dict(part.formatted)
        part.incremental[0].errors = [*(part.incremental[0].errors or ()), *self.context.unseen()] or None
        return {**part.formatted, "incremental": [self._placed(one, part.pending) for one in part.incremental]}

    def _placed(self, part: Any, announced: Iterable[Any] | None) -> dict[str, Any]:
        """A part as both proposals spell it."""
        formatted: dict[str, Any] = part.formatted
        pending = self._pending[part.id]
        place = [*pending.path, *(part.sub_path or ())]
        if "items" in formatted:
            first = self._given[part.id]
            self._given[part.id] += len(part.items)
            self._announced(announced, place, dict(enumerate(part.items, first)))
            place.append(first)
        else:
            self._announced(announced, place, part.data)
        label = {"label": pending.label} if pending.label else {}
        return {**formatted, "path": place, **label}

    def _announced(self, pending: Iterable[Any] | None, place: Sequence[str | int], data: Any) -> None:
        """Count the rows that the data at a place has of the lists of which more will come."""
        for one in pending or ():
            if one.path[: len(place)] == [*place]:
                rows = below(data, one.path[len(place) :])
                if isinstance(rows, list):
                    self._given[one.id] = len(rows)


def below(data: Any, path: Iterable[str | int]) -> Any:
    """What stands at the path of the data; None where it has no such place."""
    for step in path:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return None
    return data


def presented(errors: Iterable[GraphQLError] | None) -> None:
    for error in errors or ():
        assign_error_code(error)
