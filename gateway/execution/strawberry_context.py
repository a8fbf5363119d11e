"""The context of an operation, for the compiled projection and, as ``info.context``, for Strawberry's resolvers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from graphql import DocumentNode, GraphQLError
from graphql.pyutils import Path

from gateway.catalog.calls import Answers
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.polling import VersionPollers
from gateway.errors import RegistryError


@dataclass(slots=True)
class OperationContext:
    """The context of an operation: its parsed document and the execution of its plans.

    ``text`` is the text of the document as it was sent, for the locations of errors. None: that of ``document``.
    ``failures`` are the registry errors that the data does not contain, such as those of a list without ``coverage``.
    ``bound`` is the `BoundOperation`, which the pipeline sets. If it is None,
    `gateway.execution.operation_plan.bound_operation` makes it. Its type would be an import cycle.
    """

    document: DocumentNode
    execution: PlanExecution
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)
    bound: object = None
    text: str | None = None

    def take_failures(self) -> list[GraphQLError]:
        """Return the failures since the last call as errors."""
        failures, self.failures = self.failures, []
        return [GraphQLError(str(error), path=path.as_list(), original_error=error) for path, error in failures]


@dataclass(slots=True, kw_only=True)
class SubscriptionContext(OperationContext):
    """The context of a subscription.

    ``renew`` creates the execution for an event from answers that were received already. It authenticates the caller
    again, and raises a `GatewayError` if the caller has lost access.
    """

    pollers: VersionPollers
    renew: Callable[[Answers], Awaitable[PlanExecution]]
