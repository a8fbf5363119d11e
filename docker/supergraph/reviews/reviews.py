"""A second subgraph with reviews of models. It refers to the gateway's models by `registryName nativeId`.

It owns `Review`, whose `model` refers to a model of the gateway, and adds `reviews` to `Model`. The reference is
nullable, so that a model deleted from its registry does not null its reviews, or a whole list of them.
"""

import argparse
from itertools import cycle, islice

import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL

REVIEWED = (
    ("pai", "model-rbvg5wzljzjhc9ks92"),
    ("qianfan", "am-s2h14pyqa96d"),
    ("pai", "model-deleted"),
    ("qianfan", "5862"),
)
RATINGS = ((5, "Does what it says."), (4, "Good, but slow."), (2, "Gone before I could try it."), (3, "Fine."))


@strawberry.federation.type(keys=["registryName nativeId"])
class Model:
    registry_name: str
    native_id: strawberry.ID

    @classmethod
    def resolve_reference(cls, registryName: str, nativeId: str) -> "Model":  # noqa: N803
        return cls(registry_name=registryName, native_id=strawberry.ID(nativeId))

    @strawberry.field
    def reviews(self, first: int = 10) -> list["Review"]:
        return list(islice((review for review in REVIEWS if review.model == self), first))


@strawberry.federation.type(keys=["id"])
class Review:
    id: strawberry.ID
    stars: int
    text: str
    model: Model | None


REVIEWS = [
    Review(
        id=strawberry.ID(str(number)),
        stars=stars,
        text=text,
        model=Model(registry_name=registry, native_id=strawberry.ID(native_id)),
    )
    for number, (registry, native_id), (stars, text) in zip(range(1_000), cycle(REVIEWED), cycle(RATINGS), strict=False)
]


@strawberry.federation.type(shareable=True)
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class ReviewConnection:
    nodes: list[Review]
    page_info: PageInfo


@strawberry.type
class Query:
    @strawberry.field
    def review(self, id: strawberry.ID) -> Review | None:
        return next((review for review in REVIEWS if review.id == id), None)

    @strawberry.field
    def reviews(self, first: int = 10, after: str | None = None) -> ReviewConnection:
        start = 0 if after is None else int(after) + 1
        page = REVIEWS[start : start + first]
        page_info = PageInfo(
            has_next_page=start + first < len(REVIEWS),
            has_previous_page=start > 0,
            start_cursor=page[0].id if page else None,
            end_cursor=page[-1].id if page else None,
        )
        return ReviewConnection(nodes=page, page_info=page_info)


SCHEMA = strawberry.federation.Schema(Query, types=[Model], federation_version="2.9")
app = Starlette(routes=[Route("/graphql", GraphQL(SCHEMA, graphql_ide=None))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    options = parser.parse_args()
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
