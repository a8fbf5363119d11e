"""Documents as clients send them: parsed, measured and validated once, then kept."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
    validate,
    visit,
)
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping

from gateway.config.settings import LimitsSettings
from gateway.errors import GatewayError, QueryTooComplex, UnknownOperation, shortened
from gateway.execution.complexity import Ruler, check
from gateway.execution.ways import Ways

MOST_ERRORS: Final = 5
INTROSPECTION: Final = ("__schema", "__type", "_service")
ABORTED: Final = "Validation aborted."

overlapping.MAX_COMPLEXITY_BUDGET = 20_000
"""How much work validation may have with fields of one name: graphql-core's own bound is some seconds of it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its tree, or why it is refused; ``fields`` are the names of all fields in it, ``digest`` is the
    document's name in logs.

    ``staged`` is the tree with its ``@defer`` and ``@stream``, where it has any; without them all comes at once.
    ``derived`` holds what was worked out for its operations, by their names, and ``ways`` what executing them comes to
    without parts that come later, for as long as the document is kept.
    """

    text: str
    node: DocumentNode
    errors: tuple[GraphQLError, ...] = ()
    operations: Mapping[str | None, OperationDefinitionNode] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    staged: DocumentNode | None = None
    derived: dict[str | None, Any] = field(default_factory=dict, compare=False, repr=False)
    ways: Ways = field(default_factory=Ways, compare=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest(self.text))

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of that name, or the only one. Raises `UnknownOperation`."""
        if name is None and len(self.operations) > 1:
            raise UnknownOperation("The document has several operations: `operationName` must say which.")
        found = next(iter(self.operations.values()), None) if name is None else self.operations.get(name)
        if found is None:
            raise UnknownOperation("The document has no operation of that name." if name else "It has no operation.")
        return found

    @property
    def introspects(self) -> bool:
        """Whether it asks for the schema."""
        return not self.fields.isdisjoint(INTROSPECTION)


class Documents:
    """The documents that were read last, at most ``characters`` of them: a tree takes up to 200 bytes for each.

    With ``suggestions`` refusals tell names of the schema that come close.
    """

    def __init__(
        self, schema: GraphQLSchema, limits: LimitsSettings, suggestions: bool, characters: int = 500_000
    ) -> None:
        self.schema, self.limits, self.suggestions, self.room = schema, limits, suggestions, characters
        self._kept: OrderedDict[str, Document] = OrderedDict()

    def read(self, text: str) -> Document:
        """The document of a text; one that cannot be executed has errors, each with its code."""
        document = self._kept.get(text)
        if document is None:
            self._kept[text] = document = self._document(text)
            self.room -= len(text)
            while self.room < 0:
                self.room += len(self._kept.popitem(last=False)[0])
        else:
            self._kept.move_to_end(text)
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
            check(operations, Ruler(node.definitions), self.limits)
            errors = validate(
                self.schema,
                node,
                max_errors=MOST_ERRORS,
                hide_suggestions=not self.suggestions,
                allow_empty_selection_sets=False,
            )
        except GraphQLSyntaxError as error:
            too_large = error.message.endswith("Parsing aborted.")
            return refused(text, error, QueryTooComplex.code if too_large else "GRAPHQL_PARSE_FAILED")
        except GatewayError as error:
            return refused(text, GraphQLError(str(error)), error.code)
        for failure in errors:
            failure.extensions = {"code": "GRAPHQL_VALIDATION_FAILED"}
            if failure.message == ABORTED:
                failure.message = "The query repeats fields or fragments too often to be checked."
                failure.extensions = {"code": QueryTooComplex.code}
            if not self.suggestions:  # one rule suggests all the same
                failure.message = failure.message.partition(" Did you mean ")[0]
            failure.message = shortened(failure.message)
        plain = Plain()
        at_once = visit(node, plain)
        staged = None if at_once is node else node
        return Document(text, at_once, tuple(errors), operations_of(at_once), frozenset(plain.fields), staged)


def digest(text: str) -> str:
    """The SHA-256 of a document, in hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def operations_of(node: DocumentNode) -> dict[str | None, OperationDefinitionNode]:
    found = (one for one in node.definitions if isinstance(one, OperationDefinitionNode))
    return {one.name.value if one.name else None: one for one in found}


class Plain(Visitor):
    """Takes note of all fields, and takes away what lets parts of an answer come later."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.fields.add(node.name.value)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        return REMOVE if node.name.value in ("defer", "stream") else None


def refused(text: str, error: GraphQLError, code: str) -> Document:
    error.message, error.extensions = shortened(error.message), {"code": code}
    return Document(text, DocumentNode(definitions=()), (error,))
