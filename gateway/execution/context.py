"""The Strawberry context: what resolvers can reach of the operation that they belong to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from graphql import DocumentNode, GraphQLError
from graphql.pyutils import Path

from gateway.catalog.fetch import Answers
from gateway.catalog.operation import Operation
from gateway.catalog.polling import VersionPollers
from gateway.errors import RegistryError


@dataclass(slots=True)
class OperationContext:
    """The parsed document, the operation over the catalog, and ``failures``: registry errors at fields whose data does
    not show them. ``bound`` is the `gateway.execution.operation_plan.BoundOperation`, once it is made."""

    document: DocumentNode
    operation: Operation
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)
    bound: Any = None

    def take_failures(self) -> list[GraphQLError]:
        """The failures since the last call, as errors."""
        failures, self.failures = self.failures, []
        return [GraphQLError(str(one), path=path.as_list(), original_error=one) for path, one in failures]


@dataclass(slots=True, kw_only=True)
class SubscriptionContext(OperationContext):
    """The context of a subscription: the pollers of versions, and ``renew``, which makes the operation for an event
    over answers that were received already. It authenticates the caller again and raises a `GatewayError` when the
    caller's access has ended."""

    pollers: VersionPollers
    renew: Callable[[Answers], Awaitable[Operation]]
