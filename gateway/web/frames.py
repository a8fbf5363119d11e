"""Payloads of an answer that comes in parts.

Source: the incremental delivery proposal of 2023 (``pending``, ``incremental``, ``completed``); deferred parts also say
the ``path`` and ``label`` of the proposal of 2022, so that clients of both understand them.
"""

from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError, InitialIncrementalExecutionResult
from strawberry.types import ExecutionResult

from gateway.graph.context import Context
from gateway.graph.faults import present


class Frames:
    """The payloads of one operation, in their order."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._pending: dict[str, Any] = {}

    def payload(self, part: Any) -> dict[str, Any]:
        """One part; its errors have their codes, and failures that nothing else shows stand with it."""
        if isinstance(part, ExecutionResult):  # nothing of it came later
            errors = [*(part.errors or ()), *self.context.unseen()]
            shown = {"errors": [error.formatted for error in errors]} if errors else {}
            return {"data": part.data, **shown, "hasNext": False}
        self._pending |= {one.id: one for one in part.pending or ()}
        if isinstance(part, InitialIncrementalExecutionResult):
            part.errors = [*(part.errors or ()), *self.context.unseen()] or None
            return dict(part.formatted)
        for one in (*(part.incremental or ()), *(part.completed or ())):
            presented(one.errors)
        if not part.incremental:
            return dict(part.formatted)
        part.incremental[0].errors = [*(part.incremental[0].errors or ()), *self.context.unseen()] or None
        return {**part.formatted, "incremental": [self._placed(one) for one in part.incremental]}

    def _placed(self, part: Any) -> dict[str, Any]:
        """A part as both proposals spell it."""
        formatted: dict[str, Any] = part.formatted
        if "data" not in formatted:
            return formatted
        pending = self._pending[part.id]
        label = {"label": pending.label} if pending.label else {}
        return {**formatted, "path": [*pending.path, *(part.sub_path or ())], **label}


def presented(errors: Iterable[GraphQLError] | None) -> None:
    for error in errors or ():
        present(error)
