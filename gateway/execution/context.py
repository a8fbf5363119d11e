"""The Strawberry context: what resolvers can reach of the operation that they belong to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from graphql import DocumentNode, GraphQLError
from graphql.pyutils import Path

from gateway.catalog.calls import Answers
from gateway.catalog.operation import Operation
from gateway.catalog.polling import VersionPollers
from gateway.errors import RegistryError


@dataclass(slots=True)
class OperationContext:
    """The parsed document, the operation over the catalog, and ``failures``: registry errors at fields whose data does
    not show them."""

    document: DocumentNode
    operation: Operation
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)

    def take_failures(self) -> list[GraphQLError]:
        """Remove the failures so far and return them as GraphQL errors."""
        failures, self.failures = self.failures, []
        return [GraphQLError(str(error), path=path.as_list(), original_error=error) for path, error in failures]


@dataclass(slots=True, kw_only=True)
class SubscriptionContext(OperationContext):
    """The context of a subscription.

    ``watches`` polls versions. ``renew`` authenticates the caller again before each event and returns the operation
    for it, over calls that were made already; it raises a `GatewayError` when access has ended.
    """

    watches: VersionPollers
    renew: Callable[[Answers], Awaitable[Operation]]
