"""GraphQL documents: parsed, checked for size, and validated once; cached when they are executed.

A document that is refused leaves nothing behind: it is parsed again when it is sent again.
"""

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from sys import getsizeof
from typing import Any, Final, Protocol

from graphql import (
    REMOVE,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Lexer,
    OperationDefinitionNode,
    Source,
    SourceLocation,
    Token,
    TokenKind,
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
from gateway.memory_budget import BoundedCache

MAX_ERRORS: Final = 5
INTROSPECTION: Final = ("__schema", "__type", "_service")
LINE_END: Final = re.compile(r"\r\n|[\n\r]")
ABORTED: Final = "Validation aborted."
RULES: Final = (*specified_rules, StreamCountRule)

DOCUMENT_BYTES, TOKEN_BYTES, NAME_BYTES = 2_000, 400, 700
"""The memory of a document beside its tree and its plans, of its tree per token, and of each text of it."""

overlapping.MAX_COMPLEXITY_BUDGET = 20_000
"""The maximum number of comparisons between fields of one name in validation. graphql-core's default takes seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A document and its syntax tree, or the errors that prevent its execution.

    ``key`` is the SHA-256 of its canonical text: texts that differ in comments, white space and commas have the same.
    ``node`` has no ``@defer`` and ``@stream``; ``incremental`` is the tree with them, None if the document has none.
    ``fields`` are the names of all fields in it. ``size`` is the memory of the tree in bytes. ``planned`` caches the
    operations with their plans, by the ``id`` of the operation's node. ``requests`` are the keys of the prepared
    requests that use it.
    """

    key: str
    node: DocumentNode
    errors: tuple[GraphQLError, ...] = ()
    operations: Mapping[str | None, OperationDefinitionNode] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()
    incremental: DocumentNode | None = None
    size: int = 0
    planned: dict[int, "Planned"] = field(default_factory=dict, repr=False)
    requests: set[Any] = field(default_factory=set, repr=False)

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


class Planned(Protocol):
    """An operation with its plans. ``size`` is their memory in bytes."""

    @property
    def size(self) -> int: ...


class Documents:
    """Cache of the documents that were executed. One document serves all texts that differ in ignored characters.

    ``cache`` contains the documents by their key, and the key of a document for the SHA-256 of each text of it.
    With ``suggestions``, validation errors suggest names of the schema.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: LimitsSettings,
        suggestions: bool,
        cache: BoundedCache[str, Document | str],
    ) -> None:
        self.schema, self.limits, self.suggestions, self.cache = schema, limits, suggestions, cache

    def read(self, text: str, sha256: str | None = None) -> Document:
        """Return the document of a text. One that cannot be executed has errors with codes.

        ``sha256`` is that of the text, if the caller knows it.
        A new document is not cached yet: see `store`.
        """
        return self._cached(sha256 or digest(text)) or self._document(text)

    def store(self, document: Document, sha256: str) -> None:
        """Cache a document that is executed, or count its plans again. ``sha256`` is that of the text that was sent."""
        size = DOCUMENT_BYTES + document.size + sum([planned.size for planned in document.planned.values()])
        if self.cache.get(document.key) is document:
            self.cache.resize(document.key, size)
        else:
            self.cache.put(document.key, document, size)
        if document.key in self.cache and sha256 not in self.cache:
            self.cache.put(sha256, document.key, NAME_BYTES)

    def touch(self, document: Document) -> None:
        """Mark a document as used, if it is cached."""
        self.cache.get(document.key)

    def _cached(self, sha256: str) -> Document | None:
        found = self.cache.get(sha256)
        if isinstance(found, str):
            found = self.cache.get(found)
        return found if isinstance(found, Document) else None

    def _document(self, text: str) -> Document:
        try:
            if len(text) > self.limits.characters:
                reason = f"The document has {len(text)} characters; {self.limits.characters} are allowed."
                raise QueryTooComplex(reason)
            canonical = canonical_text(text, self.limits.tokens)
            key = digest(canonical)
            known = self._cached(key)
            if known is not None:
                return known
            node = parse(canonical, max_lexical_tokens=self.limits.tokens, allow_empty_selection_sets=False)
            tokens = unlink_tokens(node)
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
            relocate([error], text)
            too_large = error.message.endswith("Parsing aborted.")
            return invalid(error, QueryTooComplex.code if too_large else "GRAPHQL_PARSE_FAILED")
        except GatewayError as error:
            return invalid(GraphQLError(str(error)), error.code)
        relocate(errors, text)
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
        trees = 1 if incremental is None else 2
        return Document(
            key,
            complete,
            tuple(errors),
            operations_of(complete),
            frozenset(visitor.names),
            incremental,
            getsizeof(canonical) + trees * TOKEN_BYTES * tokens,
        )


def digest(text: str) -> str:
    """Return the SHA-256 of a document in hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def canonical_text(text: str, max_tokens: int) -> str:
    """Return the first tokens of a text, without comments, each separated by a space, in one line.

    Raises `GraphQLSyntaxError` for a text that has no tokens.
    """
    lexer, tokens = Lexer(Source(text)), list[str]()
    while len(tokens) <= max_tokens and (token := lexer.advance()).kind is not TokenKind.EOF:
        is_block = token.kind is TokenKind.BLOCK_STRING
        tokens.append(json.dumps(token.value, ensure_ascii=False) if is_block else text[token.start : token.end])
    return " ".join(tokens)


def unlink_tokens(node: DocumentNode) -> int:
    """Remove the links between the tokens of a tree. Returns the number of tokens.

    Nothing reads the links after parsing. They are cycles: without them, the memory of a tree is free at once, not only
    after a garbage collection.
    """
    assert node.loc is not None
    count = 0
    token: Token | None = node.loc.start_token
    while token is not None:
        count += 1
        following = token.next
        token.prev = token.next = None
        token = following
    return count


def operations_of(node: DocumentNode) -> dict[str | None, OperationDefinitionNode]:
    operations = (definition for definition in node.definitions if isinstance(definition, OperationDefinitionNode))
    return {operation.name.value if operation.name else None: operation for operation in operations}


def relocate(errors: Iterable[GraphQLError], text: str | None) -> None:
    """Set the locations of errors in a canonical text to those in the text that was sent, in place."""
    for error in errors:
        source, positions = error.source, error.positions
        if text is not None and source is not None and source.body != text and positions:
            starts, lines = sent_positions(source.body, text), line_starts(text)
            error.locations = [location(lines, starts[position]) for position in positions]


@lru_cache(maxsize=2)
def sent_positions(canonical: str, text: str) -> Mapping[int, int]:
    """Return the offset in a text for the offset of each token, and of the end, in its canonical text."""
    starts = [*token_starts(canonical)]
    return dict(zip([*starts, len(canonical)], [*islice(token_starts(text), len(starts)), len(text)], strict=True))


def token_starts(text: str) -> Iterator[int]:
    """Yield the offsets of the tokens in a text, without comments."""
    lexer = Lexer(Source(text))
    while lexer.advance().kind is not TokenKind.EOF:
        yield lexer.token.start


@lru_cache(maxsize=2)
def line_starts(text: str) -> list[int]:
    return [0, *(end.end() for end in LINE_END.finditer(text))]


def location(lines: list[int], position: int) -> SourceLocation:
    """Return the line and the column of an offset, both from 1."""
    line = bisect_right(lines, position)
    return SourceLocation(line, position - lines[line - 1] + 1)


class FieldNames(Visitor):
    """Collects the names of all fields, and removes ``@defer`` and ``@stream``."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.names.add(node.name.value)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        return REMOVE if node.name.value in NAMES else None


def invalid(error: GraphQLError, code: str) -> Document:
    """Return a document with one error, which prevents its execution.

    The error has no traceback, whose frames would keep the document and more.
    """
    error.message, error.extensions = shown_message(error.message), {"code": code}
    return Document("", DocumentNode(definitions=()), (error.with_traceback(None),))
