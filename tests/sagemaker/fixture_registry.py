"""A SageMaker registry on a loopback socket with a few groups and packages, and the faults of the twins.

It checks the time of a request, and no signature: moto does that.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from gateway.twins import faults
from gateway.twins.faults import Fault, Faults
from gateway.twins.wire_formats import Answer

START = 1_700_000_000
GROUP, PACKAGE = "ModelPackageGroupName", "ModelPackageVersion"
CODES: Mapping[int, str] = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "UnknownOperationException",
    429: "ThrottlingException",
    503: "ServiceUnavailable",
}
"""The codes that a status alone stands for. Others are internal failures."""


def error(code: str, message: str, status: int = 400) -> Answer:
    return Answer(status, json.dumps({"__type": code, "message": message}).encode())


def with_own_error(fault: Fault) -> Fault:
    """Return a fault whose error, by code or status, is the body that SageMaker sends."""
    if fault.body is not None or (fault.error is None and (fault.status or 200) < 400):
        return fault
    status = fault.status or 400
    answer = error(fault.error or CODES.get(status, "InternalFailure"), fault.message or "The request was refused.")
    return replace(fault, error=None, status=status, body=answer.body.decode())


@dataclass
class FixtureRegistry:
    """Groups named ``group-0``, ``group-1`` and so on, each with three packages, and no algorithms.

    A higher number is newer. ``calls`` counts requests by operation. ``now`` is the clock.
    """

    groups: int = 3
    url: str = ""
    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=lambda: Faults(OPERATIONS))
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        operation = request.headers["X-Amz-Target"].removeprefix("SageMaker.")
        self.calls[operation] += 1
        sent = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        in_time = abs(self.now() - sent) < timedelta(minutes=5)
        if in_time:
            answer = OPERATIONS[operation](self, await request.json())
        else:
            answer = error("InvalidSignatureException", "Signature expired.", 403)
        answer.headers["Date"] = format_datetime(self.now(), usegmt=True)
        fault, replaced = self.faults.take(operation)
        if fault is None or not in_time:
            return await faults.send(request, answer)
        await asyncio.sleep(fault.latency)
        if fault.hang:
            await replaced.wait()
            return faults.abort(request)
        return await faults.send(request, faults.apply_fault(answer, with_own_error(fault), "MLflow", ""), fault)

    def rows(self, items: list[dict[str, Any]], name: str, parameters: Mapping[str, Any]) -> Answer:
        """Return the first page of a list of rows that is newest first."""
        items = items if parameters["SortOrder"] == "Descending" else items[::-1]
        return Answer(200, json.dumps({name: items[: parameters["MaxResults"]]}).encode())

    def list_groups(self, parameters: Mapping[str, Any]) -> Answer:
        items = [self.group(number) for number in reversed(range(self.groups))]
        return self.rows(items, "ModelPackageGroupSummaryList", parameters)

    def describe_group(self, parameters: Mapping[str, Any]) -> Answer:
        number = parameters[GROUP].removeprefix("group-")
        if not number.isdigit() or int(number) >= self.groups:
            return error("ValidationException", f"ModelPackageGroup {parameters[GROUP]} does not exist.")
        return Answer(200, json.dumps(self.group(int(number))).encode())

    def list_packages(self, parameters: Mapping[str, Any]) -> Answer:
        items = [
            {GROUP: parameters[GROUP], PACKAGE: number, "CreationTime": START + number, "ModelPackageStatus": "Pending"}
            for number in (3, 2, 1)
        ]
        return self.rows(items, "ModelPackageSummaryList", parameters)

    def describe_package(self, parameters: Mapping[str, Any]) -> Answer:
        arn = parameters["ModelPackageName"]
        group, number = arn.split("/")[1:]
        if number not in ("1", "2", "3"):
            return error("ValidationException", f"ModelPackage {arn} does not exist.")
        package = {GROUP: group, PACKAGE: int(number), "ModelPackageArn": arn, "CreationTime": START + int(number)}
        return Answer(200, json.dumps(package).encode())

    def list_algorithms(self, parameters: Mapping[str, Any]) -> Answer:
        return self.rows([], "AlgorithmSummaryList", parameters)

    def describe_algorithm(self, parameters: Mapping[str, Any]) -> Answer:
        return error("ValidationException", f"Algorithm {parameters['AlgorithmName']} does not exist.")

    @staticmethod
    def group(number: int) -> dict[str, Any]:
        return {
            GROUP: f"group-{number}",
            "ModelPackageGroupArn": f"arn:aws:sagemaker:eu-west-1:123456789012:model-package-group/group-{number}",
            "CreationTime": START + number,
            "ModelPackageGroupStatus": "Completed",
        }


OPERATIONS: Mapping[str, Callable[[FixtureRegistry, Mapping[str, Any]], Answer]] = {
    "ListModelPackageGroups": FixtureRegistry.list_groups,
    "DescribeModelPackageGroup": FixtureRegistry.describe_group,
    "ListModelPackages": FixtureRegistry.list_packages,
    "DescribeModelPackage": FixtureRegistry.describe_package,
    "ListAlgorithms": FixtureRegistry.list_algorithms,
    "DescribeAlgorithm": FixtureRegistry.describe_algorithm,
}


@asynccontextmanager
async def fixture_registry(port: int = 0, groups: int = 3) -> AsyncIterator[FixtureRegistry]:
    """Serve a registry with this many groups."""
    registry = FixtureRegistry(groups)
    runner = web.ServerRunner(
        web.Server(registry.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.05
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        registry.port = runner.addresses[0][1]
        registry.url = f"http://127.0.0.1:{registry.port}"
        yield registry
    finally:
        registry.faults.clear()
        await runner.cleanup()
