"""The API schema: the printed schema as clients see it, without Federation."""

import re
from pathlib import Path
from typing import Any, Final

from graphql import (
    REMOVE,
    DirectiveDefinitionNode,
    DirectiveNode,
    FieldDefinitionNode,
    Node,
    SchemaDefinitionNode,
    TypeDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

PRINTED: Final = Path(__file__).parents[2] / "schema.graphql"
DOCUMENT_LOCATIONS: Final = {
    "QUERY",
    "SUBSCRIPTION",
    "FIELD",
    "FRAGMENT_SPREAD",
    "INLINE_FRAGMENT",
    "VARIABLE_DEFINITION",
}
SPECIFIED_DIRECTIVES: Final = {"deprecated", "oneOf", "specifiedBy"}
FEDERATION_NAME: Final = re.compile(r"_|(federation|link)__")


def api(sdl: str) -> str:
    """Return a schema without the directives on its definitions and without the fields and types of Federation."""
    return print_ast(visit(parse(sdl), ApiFilter())) + "\n"


class ApiFilter(Visitor):
    """Removes the definitions that are only for routers and composers."""

    def enter(self, node: Node, *_: Any) -> Any:
        match node:
            case SchemaDefinitionNode():
                return REMOVE
            case DirectiveDefinitionNode(locations=locations) if DOCUMENT_LOCATIONS.isdisjoint(
                location.value for location in locations
            ):
                return REMOVE
            case DirectiveNode(name=name) if name.value not in SPECIFIED_DIRECTIVES:
                return REMOVE
            case TypeDefinitionNode(name=name) | FieldDefinitionNode(name=name) if FEDERATION_NAME.match(name.value):
                return REMOVE
        if any(directive.name.value == "inaccessible" for directive in getattr(node, "directives", None) or ()):
            return REMOVE
        return None
