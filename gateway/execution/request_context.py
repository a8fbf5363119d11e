"""The context of one request: caller, roles, visible registries, limits and freshness; authorization of documents."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from gateway.catalog.bounds import Bounds
from gateway.catalog.calls import Answers
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.registry import Registry
from gateway.errors import Forbidden
from gateway.execution.documents import Document
from gateway.upstream.caching_client import Freshness


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The context of one request.

    ``registries`` are those that the caller may read. ``roles`` may contain ``raw`` (select raw objects of registries)
    and ``explain`` (see the schema and plans). ``caller`` is None for anonymous requests. ``audit`` is called with each
    refusal. ``plan_mode`` is None, ``only`` (return the plan, do not execute) or ``include`` (report the calls made).
    ``shows_tags`` is true if the response is to contain its cache tags.
    """

    registries: Mapping[str, Registry]
    bounds: Bounds
    freshness: Freshness
    roles: Container[str]
    caller: str | None = None
    audit: Callable[[Forbidden], None] = lambda refusal: None
    plan_mode: str | None = None
    shows_tags: bool = False

    def execution(self, answers: Answers | None = None) -> PlanExecution:
        """Create the execution of an operation. ``answers`` are calls that were made already."""
        return PlanExecution(self.registries, self.bounds, self.freshness, answers)


def authorize(document: Document, context: RequestContext) -> None:
    """Raise `Forbidden` if a document selects more than the caller's roles allow."""
    refusal = None
    if document.introspects and "explain" not in context.roles:
        refusal = Forbidden("The schema is not shown to this caller.")
    elif "raw" in document.fields and "raw" not in context.roles:
        refusal = Forbidden("`raw` is not shown to this caller.")
    elif context.plan_mode is not None and "explain" not in context.roles:
        refusal = Forbidden("Plans are not shown to this caller.")
    if refusal is not None:
        context.audit(refusal)
        raise refusal
