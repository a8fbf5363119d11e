"""The directives of the schema: entity keys, cache lifetimes, costs and tags for routers.

Source: Apollo Federation v2.9 (``@key``, ``@shareable``, ``@tag``, ``@cost``, ``@listSize``); Apollo's cache control
directive, which is not part of Federation and is not passed on to a supergraph.
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
from gateway.schema.enums import value

FEDERATION: Final = "2.9"
"""The newest Federation version that all common composers support."""


@strawberry.federation.enum(description="Which caches may store a response.", inaccessible=True)
class CacheControlScope(Enum):
    PUBLIC = value("PUBLIC", "Any cache, including shared ones.")
    PRIVATE = value("PRIVATE", "Only the cache of the client that sent the request.")


@strawberry.schema_directive(
    locations=[Location.OBJECT],
    name="cacheControl",
    description=(
        "The default cache lifetime of an object, in seconds. "
        "The `Cache-Control` header of a response gives the actual lifetime of that response."
    ),
)
class CacheControl:
    max_age: int = strawberry.directive_field(name="maxAge")
    scope: CacheControlScope


def cache_control(family: str) -> CacheControl:
    """Return the directive for types whose upstream calls belong to ``family``, a field of `CacheSettings`."""
    return CacheControl(max_age=int(getattr(CacheSettings(), family)), scope=CacheControlScope.PRIVATE)


OBJECT = cache_control("objects")
LIST = cache_control("lists")
NOW = CacheControl(max_age=0, scope=CacheControlScope.PRIVATE)

CALL = Cost(weight=10)
"""The cost of a field that may need an upstream call for each object: ten times that of an ordinary object."""

PAGE = ListSize(
    assumed_size=UNSET,
    slicing_arguments=["first"],
    sized_fields=["edges", "nodes"],
    require_one_slicing_argument=False,
)

VENDOR = Tag(name="vendor")
"""The tag of fields in a registry's own format, so that a contract can exclude them."""


def with_definitions(sdl: str, schema: GraphQLSchema) -> str:
    """Add the definitions of Federation's directives and of their argument types to SDL.

    Composers know these definitions, but other tools reject SDL without them.
    """
    defined = {
        node.name.value
        for node in parse(sdl).definitions
        if isinstance(node, DirectiveDefinitionNode | TypeDefinitionNode)
    }
    missing = [
        print_directive(directive)
        for directive in schema.directives
        if directive.name not in defined and not is_specified_directive(directive)
    ]
    missing += [
        print_type(type_)
        for name, type_ in schema.type_map.items()
        if name not in defined and not is_introspection_type(type_) and not is_specified_scalar_type(type_)
    ]
    return "\n\n".join([sdl, *missing])
