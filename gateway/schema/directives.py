"""What the schema tells routers: keys, how long an answer may be kept, what is dear, what is the vendors' own.

Source: Apollo Federation v2.9 (``@key``, ``@shareable``, ``@tag``, ``@cost``, ``@listSize``); Apollo's cache control
directive, which is no part of Federation and ends at this subgraph.
"""

from enum import Enum
from typing import Final

import strawberry
from graphql import (
    DirectiveDefinitionNode,
    GraphQLSchema,
    TypeDefinitionNode,
    is_introspection_type,
    is_specified_directive,
    is_specified_scalar_type,
    parse,
    print_directive,
    print_type,
)
from strawberry import UNSET
from strawberry.federation.schema_directives import Cost, ListSize, Tag
from strawberry.schema_directive import Location

from gateway.config.settings import CacheSettings
from gateway.schema.enums import word

FEDERATION: Final = "2.9"
"""The newest version that every composer knows."""


@strawberry.federation.enum(description="For whom an answer may be kept.", inaccessible=True)
class CacheControlScope(Enum):
    PUBLIC = word("PUBLIC", "For everyone.")
    PRIVATE = word("PRIVATE", "For the client that asked.")


@strawberry.schema_directive(
    locations=[Location.OBJECT],
    name="cacheControl",
    description="How long an object is fresh by default; the Cache-Control header of an answer says how long it is.",
)
class CacheControl:
    max_age: int = strawberry.directive_field(name="maxAge")
    scope: CacheControlScope


def kept(family: str) -> CacheControl:
    """The hint on types whose answers have the lifetime of a call family."""
    return CacheControl(max_age=int(getattr(CacheSettings(), family)), scope=CacheControlScope.PRIVATE)


OBJECT = kept("objects")
LIST = kept("lists")
NOW = CacheControl(max_age=0, scope=CacheControlScope.PRIVATE)

CALL = Cost(weight=10)
"""Of a field that may cost an upstream call for each object: as much as ten objects at hand."""

PAGE = ListSize(
    assumed_size=UNSET,
    slicing_arguments=["first"],
    sized_fields=["edges", "nodes"],
    require_one_slicing_argument=False,
)

VENDOR = Tag(name="vendor")
"""Of fields in a registry's own words, so that a contract can leave them out."""


def defined(sdl: str, schema: GraphQLSchema) -> str:
    """Add to SDL the definitions of Federation's directives that the schema uses, and of the types of their arguments:
    composers know them, other tools refuse what they do not know."""
    known = {
        node.name.value
        for node in parse(sdl).definitions
        if isinstance(node, DirectiveDefinitionNode | TypeDefinitionNode)
    }
    missing = [
        print_directive(one) for one in schema.directives if one.name not in known and not is_specified_directive(one)
    ]
    missing += [
        print_type(one)
        for name, one in schema.type_map.items()
        if name not in known and not is_introspection_type(one) and not is_specified_scalar_type(one)
    ]
    return "\n\n".join([sdl, *missing])
