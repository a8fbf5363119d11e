"""GraphQL documents: parsed, checked for size, and validated once per text; cached."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cachetools import LRUCache
from graphql import (
    REMOVE,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    Visitor,
    parse,
    specified_rules,
    validate,
    visit,
)
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping

from gateway.config.settings import LimitsSettings
from gateway.errors import GatewayError, QueryTooComplex, UnknownOperation
from gateway.execution.document_limits import SizeMeter, check_sizes
from gateway.execution.error_messages import shown_message
from gateway.execution.incremental_directives import NAMES, StreamCountRule

MAX_ERRORS: Final = 5
MAX_CHARACTERS: Final = 500_000
INTROSPECTION: Final = ("__schema", "__type", "_service")
ABORTED: Final = "Validation aborted."
RULES: Final = (*specified_rules, StreamCountRule)

overlapping.MAX_COMPLEXITY_BUDGET = 20_000
"""The maximum number of comparisons between fields of one name in validation. graphql-core's default takes seconds."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document and its syntax tree, or the errors that prevent its execution.

    ``node`` has no ``@defer`` and ``@stream``; ``incremental`` is the tree with them, None if the document has none.
    ``fields`` are the names of all fields in it. ``digest`` identifies the document in logs. ``derived`` caches values
    computed from its operations, by the ``id`` of the operation's node.
    """

    text: str
    node: DocumentNode
    errors: tuple[GraphQLError, ...] = ()
    operations: Mapping[str | None, OperationDefinitionNode] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    incremental: DocumentNode | None = None
    derived: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest(self.text))

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """Return the operation with this name, or the only one without a name. Raises `UnknownOperation`."""
        if name is None and len(self.operations) > 1:
            raise UnknownOperation("The document has several operations: `operationName` must name one.")
        operation = next(iter(self.operations.values()), None) if name is None else self.operations.get(name)
        if operation is None:
            raise UnknownOperation(f"The document has no operation{'' if name is None else ' with that name'}.")
        return operation

    @property
    def introspects(self) -> bool:
        """Whether it contains introspection fields."""
        return not self.fields.isdisjoint(INTROSPECTION)


class Documents:
    """Cache of the most recently used documents, up to ``max_characters`` of text.

    A syntax tree takes up to 200 bytes per character. With ``suggestions``, validation errors suggest names of the
    schema.
    """

    def __init__(
        self, schema: GraphQLSchema, limits: LimitsSettings, suggestions: bool, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self.schema, self.limits, self.suggestions = schema, limits, suggestions
        self._documents: LRUCache[str, Document] = LRUCache(max_characters, lambda document: len(document.text))

    def read(self, text: str) -> Document:
        """Return the document of a text. A document that cannot be executed has errors with codes."""
        document = self._documents.get(text)
        if document is None:
            document = self._document(text)
            if len(text) <= self._documents.maxsize:
                self._documents[text] = document
        return document

    def _document(self, text: str) -> Document:
        try:
            node = parse(
                text,
                max_lexical_tokens=self.limits.tokens,
                max_source_length=self.limits.characters,
                allow_empty_selection_sets=False,
            )
            operations = operations_of(node)
            if len(operations) > self.limits.operations:
                reason = f"The document has {len(operations)} operations; {self.limits.operations} are allowed."
                raise QueryTooComplex(reason)
            check_sizes(operations, SizeMeter(node.definitions), self.limits)
            errors = validate(
                self.schema,
                node,
                RULES,
                max_errors=MAX_ERRORS,
                hide_suggestions=not self.suggestions,
                allow_empty_selection_sets=False,
            )
        except GraphQLSyntaxError as error:
            too_large = error.message.endswith("Parsing aborted.")
            return invalid(text, error, QueryTooComplex.code if too_large else "GRAPHQL_PARSE_FAILED")
        except GatewayError as error:
            return invalid(text, GraphQLError(str(error)), error.code)
        for failure in errors:
            failure.extensions = {"code": "GRAPHQL_VALIDATION_FAILED"}
            if failure.message == ABORTED:
                failure.message = "The query repeats fields or fragments too often to be checked."
                failure.extensions = {"code": QueryTooComplex.code}
            if not self.suggestions:  # one validation rule suggests names in spite of `hide_suggestions`
                failure.message = failure.message.partition(" Did you mean ")[0]
            failure.message = shown_message(failure.message)
        visitor = FieldNames()
        complete = visit(node, visitor)
        incremental = None if complete is node else node
        fields = frozenset(visitor.names)
        return Document(text, complete, tuple(errors), operations_of(complete), fields, incremental)


def digest(text: str) -> str:
    """Return the SHA-256 of a document in hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def operations_of(node: DocumentNode) -> dict[str | None, OperationDefinitionNode]:
    operations = (definition for definition in node.definitions if isinstance(definition, OperationDefinitionNode))
    return {operation.name.value if operation.name else None: operation for operation in operations}


class FieldNames(Visitor):
    """Collects the names of all fields, and removes ``@defer`` and ``@stream``."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.names.add(node.name.value)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        return REMOVE if node.name.value in NAMES else None


def invalid(text: str, error: GraphQLError, code: str) -> Document:
    """Return a document with one error, which prevents its execution."""
    error.message, error.extensions = shown_message(error.message), {"code": code}
    return Document(text, DocumentNode(definitions=()), (error,))
