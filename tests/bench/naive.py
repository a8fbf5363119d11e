"""A naive gateway for comparison: Strawberry types with resolvers that call the clouds through aiohttp.

It has the part of the schema that the benchmark's queries use, and returns the same data.
"""

import sys
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import aiohttp
import strawberry
from strawberry.asgi import GraphQL

from tests.bench.processes import serve

FRAMEWORKS = {"TensorFlow": "TENSORFLOW", "Pytorch": "PYTORCH"}


class Upstream:
    address = ""
    session: aiohttp.ClientSession | None = None


async def call(method: str, path: str, body: Any = None) -> Any:
    if Upstream.session is None:
        Upstream.session = aiohttp.ClientSession()
    async with Upstream.session.request(method, Upstream.address + path, json=body) as response:
        return await response.json()


def utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@strawberry.type
class ModelVersion:
    name: str
    uri: str
    framework: str
    approval: str
    created_at: str


@strawberry.type
class Versions:
    nodes: list[ModelVersion]


@strawberry.type
class Model:
    id: strawberry.ID
    native_id: str
    name: str
    registry_name: str
    ownership: str
    created_at: str

    @strawberry.field
    async def versions(self, first: int) -> Versions:
        document = await call("GET", f"/api/v1/models/{self.native_id}/versions")
        rows = [
            ModelVersion(
                name=row["VersionName"],
                uri=row["Uri"],
                framework=FRAMEWORKS[row["FrameworkType"]],
                approval=row["ApprovalStatus"].upper(),
                created_at=utc(row["GmtCreateTime"]),
            )
            for row in document["Versions"]
        ]
        return Versions(nodes=rows[:first])


def pai_model(row: Any) -> Model:
    return Model(
        id=strawberry.ID(f"pai:model/{row['ModelId']}"),
        native_id=row["ModelId"],
        name=row["ModelName"],
        registry_name="pai",
        ownership="OWN",
        created_at=utc(row["GmtCreateTime"]),
    )


def qianfan_model(row: Any) -> Model:
    return Model(
        id=strawberry.ID(f"qianfan:model/{row['modelIdStr']}"),
        native_id=row["modelIdStr"],
        name=row["modelName"],
        registry_name="qianfan",
        ownership="OWN",
        created_at=utc(row["createTime"]),
    )


@strawberry.type
class Models:
    nodes: list[Model]


@strawberry.type
class Parameter:
    name: str
    type: str
    description: str
    required: bool


@strawberry.type
class Channel:
    name: str
    required: bool
    supported_channel_types: list[str]


@strawberry.type
class Metric:
    name: str
    regex: str
    description: str


@strawberry.type
class Spec:
    job_type: str
    image: str
    command: list[str]
    hyper_parameters: list[Parameter]
    input_channels: list[Channel]
    metric_definitions: list[Metric]


@strawberry.type
class AlgorithmVersion:
    id: strawberry.ID
    name: str
    created_at: str
    spec: Spec


@strawberry.input
class Span:
    from_: datetime | None = strawberry.field(name="from", default=None)


@strawberry.enum
class Ownership(Enum):
    OWN = "OWN"


@strawberry.input
class ModelFilter:
    ownership: Ownership
    registries: list[str] | None = None
    created_at: Span | None = None


@strawberry.type
class Query:
    @strawberry.field
    async def models(self, first: int, filter: ModelFilter) -> Models:
        rows = [pai_model(row) for row in (await call("GET", "/api/v1/models?PageSize=50"))["Models"]]
        if filter.registries is None:
            path = "/wenxinworkshop/modelrepo/model/user/list"
            document = await call("POST", path, {"pageNo": 1, "pageSize": 50})
            rows += [qianfan_model(row) for row in document["result"]["items"]]
        since = None if filter.created_at is None else filter.created_at.from_
        if since is not None:
            rows = [row for row in rows if datetime.fromisoformat(row.created_at) >= since]
        return Models(nodes=sorted(rows, key=lambda row: row.created_at, reverse=True)[:first])

    @strawberry.field
    async def model(self, id: strawberry.ID) -> Model:
        return pai_model(await call("GET", f"/api/v1/models/{id.removeprefix('pai:model/')}"))

    @strawberry.field
    async def algorithm_version(self, id: strawberry.ID) -> AlgorithmVersion:
        name, version = id.removeprefix("pai:algorithm/").split("/version/")
        row = await call("GET", f"/api/v1/algorithms/{name}/versions/{version}")
        spec = row["AlgorithmSpec"]
        return AlgorithmVersion(
            id=id,
            name=row["AlgorithmVersion"],
            created_at=utc(row["GmtCreateTime"]),
            spec=Spec(
                job_type=spec["JobType"],
                image=spec["Image"],
                command=spec["Command"],
                hyper_parameters=[
                    Parameter(
                        name=one["Name"], type=one["Type"], description=one["Description"], required=one["Required"]
                    )
                    for one in spec["HyperParameters"]
                ],
                input_channels=[
                    Channel(
                        name=one["Name"], required=one["Required"], supported_channel_types=one["SupportedChannelTypes"]
                    )
                    for one in spec["InputChannels"]
                ],
                metric_definitions=[
                    Metric(name=one["Name"], regex=one["Regex"], description=one["Description"])
                    for one in spec["MetricDefinitions"]
                ],
            ),
        )


APPLICATION = GraphQL[Any, Any](strawberry.Schema(Query), graphql_ide=None)


if __name__ == "__main__":
    Upstream.address = sys.argv[2]
    serve(APPLICATION, int(sys.argv[1]))
