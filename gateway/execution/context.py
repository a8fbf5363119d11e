"""What resolvers know of the operation that they are part of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from graphql import DocumentNode, GraphQLError
from graphql.pyutils import Path

from gateway.catalog.calls import Answers
from gateway.catalog.operation import Operation
from gateway.catalog.polling import VersionPollers
from gateway.errors import RegistryError
from gateway.execution.findings import Findings
from gateway.execution.ways import Ways


@dataclass(slots=True)
class OperationContext:
    """The document's tree, the operation's side of the catalog, failures that only errors can show, what was found
    before, where it may be given again, and in which ways the tree was executed before."""

    document: DocumentNode
    operation: Operation
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)
    findings: Findings | None = None
    ways: Ways = field(default_factory=Ways)

    def unseen(self) -> list[GraphQLError]:
        """The failures so far, as errors; told once."""
        told, self.failures = self.failures, []
        return [GraphQLError(str(failure), path=path.as_list(), original_error=failure) for path, failure in told]


@dataclass(slots=True, kw_only=True)
class SubscriptionContext(OperationContext):
    """Of a subscription also where versions are watched, and how to make the operation for each event, over answers
    that came already.

    ``renew`` asks anew who the caller is and raises a `GatewayError` when they may see no more.
    """

    watches: VersionPollers
    renew: Callable[[Answers], Awaitable[Operation]]
