"""Operations that may be executed, again and again: checked, and with all that was worked out for it."""

from typing import Any, NamedTuple

from graphql import OperationDefinitionNode, OperationType

from gateway.catalog.cache_dependencies import Key
from gateway.catalog.cost import Cost
from gateway.execution.compiler import BoundOperation
from gateway.execution.documents import Document
from gateway.execution.persisted_queries import Name
from gateway.execution.response_cache import CachedResponse
from gateway.http.requests import GraphQLRequest
from gateway.telemetry.operation_log import OperationReport


class Prepared(NamedTuple):
    """An operation that may be executed, again and again, and what it costs; ``question`` is it compiled, where it can
    be, with its variables, which nobody may change; ``key`` names its answer where that may be shared, and
    ``kept`` is that answer, with which it need not be executed; ``registered`` names the document that a client
    registered before."""

    asked: GraphQLRequest
    document: Document
    operation: OperationDefinitionNode
    report: OperationReport
    cost: Cost = Cost()
    question: BoundOperation | None = None
    key: Key | None = None
    kept: CachedResponse | None = None
    registered: Name | None = None

    @property
    def type(self) -> OperationType:
        return self.operation.operation

    @property
    def name(self) -> str | None:
        return self.asked.operation_name

    @property
    def variables(self) -> dict[str, Any]:
        return dict(self.asked.variables)

    def anew(self) -> "Prepared":
        """The same once more: nothing has come of it yet."""
        return self._replace(report=self.report.anew(), kept=None)
