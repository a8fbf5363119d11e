"""Prepared operations: valid and authorized, ready to be executed any number of times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import OperationDefinitionNode, OperationType

from gateway.catalog.cost import Cost
from gateway.execution.documents import Document
from gateway.execution.operation_plan import BoundOperation, PlannedOperation
from gateway.execution.persisted_queries import RegisteredName
from gateway.execution.request import GraphQLRequest
from gateway.telemetry.operation_log import OperationReport


@dataclass(slots=True, eq=False)
class PreparedOperation:
    """An operation of a valid document that the caller may execute.

    ``trusted`` are the trusted documents at the time.

    ``text`` is the text of the document as it was sent, ``digest`` its SHA-256. ``cache_key`` is None for a response
    that must not be cached. ``registered`` is the name of a document that a client registered. ``report`` belongs to
    the first execution. `Pipeline.bind` sets ``bound``, the operation with its variables, and its ``cost``.
    ``is_stored`` is true once its document was cached.
    """

    request: GraphQLRequest
    document: Document
    node: OperationDefinitionNode
    planned: PlannedOperation
    text: str
    digest: str
    cache_key: bytes | None
    report: OperationReport
    trusted: Mapping[str, str]
    registered: RegisteredName | None = None
    bound: BoundOperation | None = None
    cost: Cost = Cost()
    is_stored: bool = False

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
