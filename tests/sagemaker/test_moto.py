"""The gateway and boto3 return the same rows of a registry that checks signatures."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import Answer, Client
from tests.sagemaker.conftest import Moto, gateway_over

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages

PAGED = "model-050"
"""The model with several pages of versions."""

MODELS = """
query($size: Int!, $after: String, $filter: ModelFilter, $field: ModelOrderField!, $direction: OrderDirection!) {
  models(first: $size, after: $after, filter: $filter, orderBy: {field: $field, direction: $direction}) {
    nodes { nativeId name description ownership createdAt }
    pageInfo { endCursor hasNextPage }
    coverage { state error { code } }
  }
}
"""
VERSIONS = """
query($id: ID!, $size: Int!, $after: String, $filter: ModelVersionFilter) {
  model(id: $id) {
    versions(first: $size, after: $after, filter: $filter) {
      nodes { nativeId name description readiness approval createdAt extra }
      pageInfo { endCursor hasNextPage }
      coverage { state error { code } }
    }
  }
}
"""
READINESS = {"Completed": "READY", "Pending": "CREATING", "InProgress": "CREATING", "Failed": "FAILED"}
APPROVAL = {"Approved": "APPROVED", "Rejected": "REJECTED", "PendingManualApproval": "PENDING"}


async def all_rows(gateway: Client, query: str, size: int, **variables: Any) -> list[Any]:
    """Read a list to its end. Every page must be complete and have no errors."""
    rows, after = [], None
    while True:
        answer = await gateway.query(query, size=size, after=after, **variables)
        assert "errors" not in answer.body, answer.body
        page = answer.data["models"] if "models" in answer.data else answer.data["model"]["versions"]
        assert page["coverage"] == [{"state": "COMPLETE", "error": None}]
        rows += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return rows
        after = page["pageInfo"]["endCursor"]


def time(value: str) -> datetime:
    """Return a time of boto3 or the gateway in UTC."""
    return datetime.fromisoformat(value).astimezone(UTC)


def group(row: Any) -> dict[str, Any]:
    """Return a group of boto3 as the gateway represents it."""
    return {
        "nativeId": row["ModelPackageGroupName"],
        "name": row["ModelPackageGroupName"],
        "description": row.get("ModelPackageGroupDescription"),
        "ownership": "OWN",
        "createdAt": time(row["CreationTime"]),
    }


def package(row: Any) -> dict[str, Any]:
    """Return a package of boto3 as the gateway represents it."""
    version = str(row["ModelPackageVersion"])
    return {
        "nativeId": version,
        "name": version,
        "description": row["ModelPackageDescription"],
        "readiness": READINESS.get(row["ModelPackageStatus"], "OTHER"),
        "approval": APPROVAL[row["ModelApprovalStatus"]],
        "createdAt": time(row["CreationTime"]),
        "extra": {"ModelPackageArn": row["ModelPackageArn"]},
    }


def with_time(rows: list[Any]) -> list[Any]:
    return [{**row, "createdAt": time(row["createdAt"])} for row in rows]


def groups(moto: Moto, **params: Any) -> list[Any]:
    return [group(row) for row in moto.boto3("list_model_package_groups", **params)["ModelPackageGroupSummaryList"]]


def packages(moto: Moto, name: str, **params: Any) -> list[Any]:
    answer = moto.boto3("list_model_packages", ModelPackageGroupName=name, **params)
    return [package(row) for row in answer["ModelPackageSummaryList"]]


def latest_of(moto: Moto, name: str) -> Any:
    """Return the newest package of a group, None if it has none."""
    newest_first = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    return next(iter(packages(moto, name, **newest_first, PaginationConfig={"MaxItems": 1})), None)


def in_order(rows: list[Any], field: str, direction: str) -> list[Any]:
    """Sort rows as the gateway promises: by a field, and rows with the same value by id."""
    by_id = sorted(rows, key=lambda row: row["nativeId"])
    return sorted(by_id, key=lambda row: row[field], reverse=direction == "DESC")


# Models


@pytest.mark.parametrize("size", [100, 33])
@pytest.mark.parametrize("direction", ["DESC", "ASC"])
@pytest.mark.parametrize("field", ["createdAt", "name"])
async def test_all_groups_are_models(moto: Moto, gateway: Client, field: str, direction: str, size: int) -> None:
    by = "CREATED_AT" if field == "createdAt" else "NAME"
    found = await all_rows(gateway, MODELS, size, field=by, direction=direction)
    assert with_time(found) == in_order(groups(moto), field, direction)
    assert len(found) == 230


@pytest.mark.parametrize("direction", ["DESC", "ASC"])
@pytest.mark.parametrize(
    ("filter", "params"),
    [
        ({"nameEquals": "Model-101"}, {"NameContains": "Model-101"}),
        ({"nameEquals": "Model-10"}, {"NameContains": "nothing"}),
        ({"nameContains": "Model-10"}, {}),
        (
            {"createdAt": {"from": "2024-01-01T05:00:00.005Z", "to": "2024-01-01T09:00:00.009Z"}},
            {"CreationTimeAfter": "2024-01-01T04:30:00Z", "CreationTimeBefore": "2024-01-01T08:30:00Z"},
        ),
        ({"createdAt": {"from": "2024-01-02T00:00:00Z"}}, {"CreationTimeAfter": "2024-01-01T23:30:00Z"}),
        ({"createdAt": {"to": "2024-01-01T02:00:00+02:00"}}, {"NameContains": "nothing"}),
    ],
)
async def test_filters_find_the_same_models(
    moto: Moto, gateway: Client, filter: Any, params: Any, direction: str
) -> None:
    found = await all_rows(gateway, MODELS, 50, filter=filter, field="CREATED_AT", direction=direction)
    wanted = groups(moto, **params)
    if part := filter.get("nameContains"):
        wanted = [row for row in wanted if part.lower() in row["name"].lower()]
    assert with_time(found) == in_order(wanted, "createdAt", direction)
    assert found or "nothing" in params.values()


async def test_each_model_has_the_latest_version_of_boto3(moto: Moto, gateway: Client) -> None:
    query = "{ models(first: 100) { nodes { name latestVersion { nativeId approval } } } }"
    found = (await gateway.query(query)).data["models"]["nodes"]
    for row in found[:30]:
        latest = latest_of(moto, row["name"])
        assert row["latestVersion"] == (latest and {name: latest[name] for name in ("nativeId", "approval")})
    assert {row["latestVersion"] is None for row in found[:30]} == {True, False}


async def test_models_are_found_by_their_latest_versions(moto: Moto, gateway: Client) -> None:
    query = """{ models(first: 100, filter: {
      approval: REJECTED, readiness: READY, framework: PYTORCH,
      createdAt: {from: "2024-01-01T05:00:00Z", to: "2024-01-01T11:00:00Z"}
    }) { nodes { name latestVersion { approval readiness framework } } } }"""
    found = (await gateway.query(query)).data["models"]["nodes"]
    latest = {row["name"]: latest_of(moto, row["name"]) for row in groups(moto)[35:77]}
    wanted = [
        name for name, row in latest.items() if row and (row["approval"], row["readiness"]) == ("REJECTED", "READY")
    ]
    assert {row["name"] for row in found} == {*wanted} != set()
    assert all(
        row["latestVersion"] == {"approval": "REJECTED", "readiness": "READY", "framework": "PYTORCH"} for row in found
    )


# Versions


@pytest.mark.parametrize("approval", [None, *APPROVAL])
@pytest.mark.parametrize("size", [100, 37])
async def test_all_packages_are_versions(moto: Moto, gateway: Client, approval: str | None, size: int) -> None:
    filter = None if approval is None else {"approval": APPROVAL[approval]}
    params = {} if approval is None else {"ModelApprovalStatus": approval}
    found = await all_rows(gateway, VERSIONS, size, id=f"aws:model/{PAGED}", filter=filter)
    assert with_time(found) == in_order(packages(moto, PAGED, **params), "createdAt", "DESC")
    assert len(found) == {None: 250}.get(approval, len(found)) > 80


async def test_a_version_has_what_boto3_describes(moto: Moto, gateway: Client) -> None:
    query = """{ modelVersion(id: "aws:model/model-050/version/7") {
      id name description uri framework frameworkName baseModel readiness approval createdAt updatedAt
      labels { key value } owner { name accountId nativeId } source { type typeName nativeId region details }
      metrics trainingSpec inferenceSpec model { id name description } raw } }"""
    found = (await gateway.query(query)).data["modelVersion"]
    arn = "arn:aws:sagemaker:eu-west-1:123456789012"
    described = moto.boto3("describe_model_package", ModelPackageName=f"{arn}:model-package/model-050/7")
    raw = found.pop("raw")
    assert raw.keys() == described.keys()
    unlike = {name for name in raw if raw[name] != described[name]}
    assert unlike == {"CreationTime"}
    assert found == {
        "id": "aws:model/model-050/version/7",
        "name": "7",
        "description": "第 7 版",
        "uri": "s3://models/model-050.tar.gz",
        "framework": "PYTORCH",
        "frameworkName": "PYTORCH",
        "baseModel": None,
        "readiness": READINESS.get(described["ModelPackageStatus"], "OTHER"),
        "approval": APPROVAL[described["ModelApprovalStatus"]],
        "createdAt": found["createdAt"],
        "updatedAt": None,
        "labels": [{"key": "team", "value": "crm"}, {"key": "部门", "value": "销售"}],
        "owner": {
            "name": "fake-user-profile-name",
            "accountId": "123456789012",
            "nativeId": described["CreatedBy"]["UserProfileArn"],
        },
        "source": {
            "type": "TRAINING_SERVICE",
            "typeName": "training-job",
            "nativeId": f"{arn}:training-job/job-7",
            "region": "eu-west-1",
            "details": {"GeneratedBy": f"{arn}:training-job/job-7"},
        },
        "metrics": None,
        "trainingSpec": described["SourceAlgorithmSpecification"],
        "inferenceSpec": described["InferenceSpecification"],
        "model": {"id": "aws:model/model-050", "name": "model-050", "description": "模型 50"},
    }
    assert time(found["createdAt"]) == time(described["CreationTime"])


async def test_a_version_is_found_although_its_resource_name_is_in_lower_case(moto: Moto, gateway: Client) -> None:
    [arn] = [row["extra"]["ModelPackageArn"] for row in packages(moto, "Model-011")]
    assert arn.endswith(":model-package/model-011/1")
    found = await gateway.query('{ modelVersion(id: "aws:model/Model-011/version/1") { id uri } }')
    assert found.data == {
        "modelVersion": {"id": "aws:model/Model-011/version/1", "uri": "s3://models/Model-011.tar.gz"}
    }


MISSING = ["model/none", "model/MODEL-050", "model/none/version/1", "model/model-050/version/251"]


@pytest.mark.parametrize("id", MISSING)
async def test_what_boto3_does_not_find_is_null(moto: Moto, gateway: Client, id: str) -> None:
    name, _, version = id.removeprefix("model/").partition("/version/")
    if version:
        arn = f"arn:aws:sagemaker:eu-west-1:123456789012:model-package/{name}/{version}"
        assert moto.boto3("describe_model_package", ModelPackageName=arn) == {"error": "ValidationException"}
    else:
        described = moto.boto3("describe_model_package_group", ModelPackageGroupName=name)
        assert described == {"error": "ValidationException"}
    answer = await gateway.query("query($id: ID!) { node(id: $id) { id } }", id=f"aws:{id}")
    assert answer.body == {"data": {"node": None}}


async def test_a_missing_model_has_no_empty_list_of_versions(gateway: Client) -> None:
    answer = await gateway.query(VERSIONS, id="aws:model/none", size=10)
    assert answer.body == {"data": {"model": None}}


# Signatures

COUNTED = "{ models(first: 5) { nodes { id } } }"


def error_of(answer: Answer) -> Any:
    """Return the code of the only registry's error."""
    [error] = answer.body["errors"]
    [registry] = error["extensions"]["registries"]
    assert answer.body["data"] == {"models": None}
    return registry["code"]


@pytest.mark.parametrize("holder", ["user", "role"])
async def test_permanent_and_temporary_keys_sign_as_the_registry_expects(moto: Moto, holder: str) -> None:
    async with gateway_over(moto.url, moto.keys[holder]) as gateway:
        assert len((await gateway.query(COUNTED)).data["models"]["nodes"]) == 5


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_wrong_key_is_refused(moto: Moto, part: int) -> None:
    key = [*moto.keys["role"]]
    key[part] = key[part][:-4] + "0000"
    async with gateway_over(moto.url, (key[0], key[1], key[2])) as gateway:
        assert error_of(await gateway.query(COUNTED)) == "REGISTRY_FORBIDDEN"


async def test_an_endpoint_may_have_a_port_and_a_path_of_the_signature(moto: Moto) -> None:
    async with gateway_over(f"{moto.url}/", moto.keys["user"]) as gateway:
        assert (await gateway.query(COUNTED)).data["models"]["nodes"]
