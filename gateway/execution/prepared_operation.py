"""Prepared operations: valid and authorized, ready to be executed any number of times."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from graphql import OperationDefinitionNode, OperationType

from gateway.catalog.cost import Cost
from gateway.execution.compiler import BoundOperation, CompiledOperation
from gateway.execution.documents import Document
from gateway.execution.persisted_queries import RegisteredName
from gateway.execution.request import GraphQLRequest
from gateway.telemetry.operation_log import OperationReport


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """An operation with coerced variables: what it costs, and its compiled form if it has one."""

    cost: Cost
    bound: BoundOperation | None


@dataclass(slots=True, eq=False)
class PreparedOperation:
    """An operation of a valid document that the caller may execute.

    ``compiled`` is None for what Strawberry executes. ``cache_key`` is None for a response that must not be cached.
    ``registered`` names a document that a client registered. ``report`` is that of the first execution. The first
    execution sets ``planned``.
    """

    request: GraphQLRequest
    document: Document
    node: OperationDefinitionNode
    compiled: CompiledOperation | None
    cache_key: Hashable | None
    registered: RegisteredName | None
    report: OperationReport
    planned: PlannedOperation | None = None

    @property
    def type(self) -> OperationType:
        return self.node.operation

    @property
    def name(self) -> str | None:
        return self.request.operation_name

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as they were sent."""
        return dict(self.request.variables)
