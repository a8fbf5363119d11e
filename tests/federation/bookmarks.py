"""A subgraph that refers to the gateway's models by `id`, the last of them deleted."""

import argparse

import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.federation.schema_directives import Key

EXISTING, DELETED = "pai:model/model-rbvg5wzljzjhc9ks92", "pai:model/model-deleted"


@strawberry.federation.type(keys=[Key(fields="id", resolvable=False)])
class Model:
    id: strawberry.ID


@strawberry.type
class Bookmark:
    note: str
    model: Model | None


BOOKMARKS = [
    Bookmark(note="read this", model=Model(id=strawberry.ID(EXISTING))),
    Bookmark(note="gone", model=Model(id=strawberry.ID(DELETED))),
]


@strawberry.type
class Query:
    @strawberry.field
    def bookmarks(self) -> list[Bookmark]:
        return BOOKMARKS


SCHEMA = strawberry.federation.Schema(Query, types=[Model], federation_version="2.9")
app = Starlette(routes=[Route("/graphql", GraphQL(SCHEMA, graphql_ide=None))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning")
