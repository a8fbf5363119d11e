"""Tools of the Model Context Protocol: queries with a name and a description, and JSON Schemas that follow from them.

Sources: Model Context Protocol, revision 2026-07-28, "Tools"; JSON Schema 2020-12; GraphQL specification of September
2025, descriptions of operations and variables.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from operator import attrgetter
from typing import Any, Final, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableDefinitionNode,
    is_composite_type,
    is_required_input_field,
    parse,
    print_ast,
    separate_operations,
    type_from_ast,
    value_from_ast_untyped,
)

from gateway.execution.documents import Documents
from gateway.execution.persisted_queries import PersistedQueries

logger = logging.getLogger("gateway.mcp")

JsonSchema = dict[str, Any]

JSON_TYPES: Final[Mapping[str, str]] = {
    "Boolean": "boolean",
    "DateTime": "string",
    "Float": "number",
    "ID": "string",
    "Int": "integer",
    "Long": "integer",
    "String": "string",
}
"""The types of JSON that scalars have. The values of other scalars have any type."""

ENVELOPE: Final[Mapping[str, JsonSchema]] = {
    "errors": {"type": "array"},
    "age": {"type": "number"},
    "retryAfter": {"type": "number"},
    "forecast": {"type": "integer"},
}
"""The schemas of what a result may contain beside its data."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A query that clients call by its name.

    ``document`` is the text of the document that contains it. ``is_own`` is true for a document of the gateway.
    """

    name: str
    description: str
    document: str
    is_own: bool
    input_schema: JsonSchema
    output_schema: JsonSchema

    @property
    def arguments(self) -> Collection[str]:
        """The names of its arguments."""
        names: Collection[str] = self.input_schema.get("properties", ())
        return names

    @property
    def definition(self) -> JsonSchema:
        """The entry of the tool in a list of tools."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": {"readOnlyHint": True},
        }


class Tools:
    """The gateway's own tools, in a fixed order, and after them those of the trusted documents, sorted by name."""

    def __init__(self, documents: Documents, persisted_queries: PersistedQueries) -> None:
        self.documents, self.persisted_queries = documents, persisted_queries
        self.own = own_tools(documents.schema)
        self._trusted: Mapping[str, str] | None = None
        self._tools: dict[str, Tool] = {}

    def all(self) -> Mapping[str, Tool]:
        """Return the tools by name. They are made again when the trusted documents have changed."""
        trusted = self.persisted_queries.trusted
        if trusted is not self._trusted:
            operators = sorted(self._tools_of_operator(trusted.values()), key=attrgetter("name"))
            tools: dict[str, Tool] = {}
            for tool in (*self.own, *operators):
                if tools.setdefault(tool.name, tool) is not tool:
                    logger.warning("A trusted document has the name of another tool, and is none: %s", tool.name)
            self._trusted, self._tools = trusted, tools
        return self._tools

    def _tools_of_operator(self, texts: Iterable[str]) -> Iterator[Tool]:
        """Yield the tools of the trusted documents. A description, unlike most documents, has quotation marks."""
        for text in dict.fromkeys(text for text in texts if '"' in text):
            document = self.documents.read(text)
            if document.errors:
                logger.warning("A trusted document is not valid, and no tool: %s", document.errors[0].message)
            else:
                yield from tools_of(text, document.node, self.documents.schema)


def own_tools(schema: GraphQLSchema) -> list[Tool]:
    """Return the gateway's own tools."""
    text = files("gateway.mcp").joinpath("tools.graphql").read_text(encoding="utf-8")
    documents = separate_operations(parse(text)).values()
    return [tool for document in documents for tool in tools_of(print_ast(document), document, schema, is_own=True)]


def tools_of(text: str, document: DocumentNode, schema: GraphQLSchema, is_own: bool = False) -> Iterator[Tool]:
    """Yield a tool for each query of a valid document that has a name and a description. ``text`` is the document's."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for node in document.definitions:
        if not isinstance(node, OperationDefinitionNode) or node.operation is not OperationType.QUERY:
            continue
        if node.name is not None and node.description is not None:
            assert schema.query_type is not None
            data = ResultSchemas(schema, fragments).of_object(schema.query_type, [node.selection_set], row=False)
            output = {"type": "object", "properties": {"data": nullable(data), **ENVELOPE}}
            inputs = arguments_schema(schema, node.variable_definitions or ())
            yield Tool(node.name.value, node.description.value, text, is_own, inputs, output)


# Arguments


def arguments_schema(schema: GraphQLSchema, variables: Iterable[VariableDefinitionNode]) -> JsonSchema:
    """Return the schema of a tool's arguments, which are the variables of its query."""
    properties: dict[str, JsonSchema] = {}
    required: list[str] = []
    for variable in variables:
        name = variable.variable.name.value
        kind: Any = type_from_ast(schema, variable.type)
        properties[name] = input_schema(kind)
        if variable.description is not None:
            properties[name]["description"] = variable.description.value
        if variable.default_value is not None:
            properties[name]["default"] = value_from_ast_untyped(variable.default_value)
        elif isinstance(kind, GraphQLNonNull):
            required.append(name)
    return object_schema(properties, required)


def input_schema(kind: GraphQLInputType) -> JsonSchema:
    """Return the schema of the values of an input type."""
    if isinstance(kind, GraphQLNonNull):
        return input_schema(kind.of_type)
    if isinstance(kind, GraphQLList):
        return {"type": "array", "items": input_schema(kind.of_type)}
    if isinstance(kind, GraphQLEnumType):
        return {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, GraphQLInputObjectType):
        properties = {name: input_schema(field.type) for name, field in kind.fields.items()}
        return object_schema(properties, [n for n, field in kind.fields.items() if is_required_input_field(field)])
    return scalar_schema(kind.name)


def object_schema(properties: Mapping[str, JsonSchema], required: list[str]) -> JsonSchema:
    """Return the schema of an object that has no other properties."""
    some = {"properties": dict(properties)} if properties else {}
    return {"type": "object", **some, **({"required": required} if required else {}), "additionalProperties": False}


def scalar_schema(name: str) -> JsonSchema:
    return {"type": JSON_TYPES[name]} if name in JSON_TYPES else {}


# Results


@dataclass(frozen=True, slots=True)
class ResultSchemas:
    """Derives the schemas of results from the selections of a document.

    What is inside a row of a list is described as an object, without its properties: a client has to read all schemas.
    """

    types: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]

    def of_object(self, kind: GraphQLCompositeType, selections: Iterable[SelectionSetNode], row: bool) -> JsonSchema:
        """Return the schema of an object with these selections."""
        kinds: dict[str, GraphQLOutputType] = {}
        inner: dict[str, list[SelectionSetNode]] = {}
        for selection in selections:
            for parent, node in self.fields(kind, selection):
                name = (node.alias or node.name).value
                field = self.types.get_field(parent, node.name.value)
                assert field is not None  # the document is valid
                kinds[name] = field.type
                inner.setdefault(name, []).extend([node.selection_set] if node.selection_set else [])
        properties = {name: self.of(kinds[name], inner[name], in_row=row) for name in kinds}
        return {"type": "object", "properties": properties}

    def of(
        self, kind: GraphQLOutputType, selections: list[SelectionSetNode], *, in_row: bool, row: bool = False
    ) -> JsonSchema:
        """Return the schema of the values of an output type. A ``row`` is an item of a list that is in no other row."""
        if not isinstance(kind, GraphQLNonNull):
            return nullable(self.of(GraphQLNonNull(kind), selections, in_row=in_row, row=row))
        inner = kind.of_type
        if isinstance(inner, GraphQLList):
            return {"type": "array", "items": self.of(inner.of_type, selections, in_row=in_row, row=True)}
        if isinstance(inner, GraphQLEnumType):
            return {"type": "string"}
        if not is_composite_type(inner):
            return scalar_schema(inner.name)
        return {"type": "object"} if in_row else self.of_object(inner, selections, row)

    def fields(
        self, kind: GraphQLCompositeType, selections: SelectionSetNode
    ) -> Iterator[tuple[GraphQLCompositeType, FieldNode]]:
        """Yield the fields of a selection, fragments included, each with the type that it belongs to."""
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield kind, node
                continue
            fragment = self.fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
            assert isinstance(fragment, FragmentDefinitionNode | InlineFragmentNode)
            condition = fragment.type_condition
            narrowed = kind if condition is None else self.types.get_type(condition.name.value)
            yield from self.fields(cast(GraphQLCompositeType, narrowed), fragment.selection_set)


def nullable(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema
