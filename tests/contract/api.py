"""The schema as clients use it: the printed one without what is said to gateways that put several graphs together."""

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
OF_DOCUMENTS: Final = {"QUERY", "SUBSCRIPTION", "FIELD", "FRAGMENT_SPREAD", "INLINE_FRAGMENT", "VARIABLE_DEFINITION"}
OF_GRAPHQL: Final = {"deprecated", "oneOf", "specifiedBy"}
OF_FEDERATION: Final = re.compile(r"_|(federation|link)__")


def api(sdl: str) -> str:
    """This schema without the directives that it carries, and without Federation's own fields and types."""
    return print_ast(visit(parse(sdl), Clients())) + "\n"


class Clients(Visitor):
    """Removes what clients have no use for."""

    def enter(self, node: Node, *_: Any) -> Any:
        match node:
            case SchemaDefinitionNode():
                return REMOVE
            case DirectiveDefinitionNode(locations=places) if OF_DOCUMENTS.isdisjoint(place.value for place in places):
                return REMOVE
            case DirectiveNode(name=name) if name.value not in OF_GRAPHQL:
                return REMOVE
            case TypeDefinitionNode(name=name) | FieldDefinitionNode(name=name) if OF_FEDERATION.match(name.value):
                return REMOVE
        if any(directive.name.value == "inaccessible" for directive in getattr(node, "directives", None) or ()):
            return REMOVE
        return None
