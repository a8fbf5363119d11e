"""What surrounds an operation: who asks, of which registries, and how."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from gateway.catalog.bounds import Bounds
from gateway.catalog.calls import Answers
from gateway.catalog.operation import Operation
from gateway.catalog.registry import Registry
from gateway.errors import Forbidden
from gateway.execution.documents import Document
from gateway.upstream.caching_client import Freshness


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What surrounds an operation: the registries that the caller may read, how far and how fresh they are read,
    what else the caller may do: ``raw`` (see objects verbatim), ``explain`` (see the schema and plans); the caller's
    name, where callers have names; who is told of what was asked for and is not permitted; and whether the plan is
    asked for, ``only`` or to ``include`` the calls made."""

    registries: Mapping[str, Registry]
    bounds: Bounds
    wanted: Freshness
    roles: Container[str]
    caller: str | None = None
    denied: Callable[[Forbidden], None] = lambda refusal: None
    plan: str | None = None

    def operation(self, answers: Answers | None = None) -> Operation:
        return Operation(self.registries, self.bounds, self.wanted, answers)


def permit(document: Document, scene: RequestContext) -> None:
    """Raises `Forbidden` for a document that asks for more than the caller may see."""
    refusal = None
    if document.introspects and "explain" not in scene.roles:
        refusal = Forbidden("The schema is not shown to this caller.")
    elif "raw" in document.fields and "raw" not in scene.roles:
        refusal = Forbidden("`raw` is not shown to this caller.")
    elif scene.plan is not None and "explain" not in scene.roles:
        refusal = Forbidden("Plans are not shown to this caller.")
    if refusal is not None:
        scene.denied(refusal)
        raise refusal
