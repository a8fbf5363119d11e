"""What resolvers know of the operation that they are part of."""

from dataclasses import dataclass, field

from graphql.pyutils import Path

from gateway.catalog.operation import Operation
from gateway.errors import RegistryError
from gateway.graph.documents import Document


@dataclass(slots=True)
class Context:
    """The document, the operation's side of the catalog, and failures that only errors can show."""

    document: Document
    operation: Operation
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)
