"""A registry on a loopback socket whose lists a test scripts, in the format of each kind of registry."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

Parameters = Mapping[str, Any]
Row = dict[str, Any]
Script = Callable[[Parameters], Any]
"""Returns the answer of a call for its parameters."""

NOTHING: Mapping[str, Any] = {
    "own models": {"Models": [], "TotalCount": 0},
    "public models": {"Models": [], "TotalCount": 0},
    "own algorithms": {"Algorithms": [], "TotalCount": 0},
    "public algorithms": {"Algorithms": [], "TotalCount": 0},
    "userList": {"result": {"items": [], "total": 0}},
    "presetList": {"result": {"items": [], "total": 0}},
    "DescribeCustomModelSets": {"result": {"customModelSetList": [], "pageInfo": {"isTruncated": False}}},
    "DescribeSystemModelSets": {"result": {"systemModelSetList": [], "pageInfo": {"isTruncated": False}}},
    "DescribeFineTuningSupportModels": {"result": []},
    "ListAlgorithms": {"AlgorithmSummaryList": []},
}
"""The answers of lists that a test does not script: they have no rows."""


@dataclass
class ScriptedRegistry:
    """The answers by call, and the number of calls received."""

    answers: dict[str, Script]
    calls: Counter[str] = field(default_factory=Counter)
    url: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        parameters: Parameters = request.query if request.method == "GET" else await request.json()
        call = call_name(request, parameters)
        self.calls[call] += 1
        if call in self.answers:
            return web.json_response(self.answers[call](parameters))
        return web.json_response(NOTHING[call])


def call_name(request: web.BaseRequest, parameters: Parameters) -> str:
    """Return the name under which a test scripts a call."""
    if "X-Amz-Target" in request.headers:
        return request.headers["X-Amz-Target"].removeprefix("SageMaker.")
    segments = request.path.strip("/").split("/")
    if "mlflow" in segments:
        return {"registered-models": "SearchRegisteredModels", "model-versions": "SearchModelVersions"}[segments[-2]]
    if request.method == "POST":
        last = {"user": "userList", "preset": "presetList"}.get(segments[-2], segments[-1])
        return request.query.get("Action", last)
    if len(segments) == 3:
        return f"{'public' if 'Provider' in parameters or 'AlgorithmProvider' in parameters else 'own'} {segments[2]}"
    return f"{segments[2]} {'versions' if segments[-1] == 'versions' else 'object'}"


@asynccontextmanager
async def scripted(**answers: Script) -> AsyncIterator[ScriptedRegistry]:
    """Serve a registry; ``_`` in the names of calls stands for a space."""
    registry = ScriptedRegistry({name.replace("_", " "): answer for name, answer in answers.items()})
    runner = web.ServerRunner(web.Server(registry.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()


# Rows


def time_of(number: int) -> str:
    """A time that is earlier for a higher number."""
    return (datetime(2026, 1, 1) - timedelta(minutes=number)).isoformat()


def pai_model(number: int, **more: Any) -> Row:
    return {"ModelId": f"m{number}", "ModelName": f"n{number}", "GmtCreateTime": f"{time_of(number)}Z", **more}


def pai_version(number: int, **more: Any) -> Row:
    return {"VersionName": f"v{number}", "GmtCreateTime": f"{time_of(number)}Z", **more}


def pai_algorithm(number: int, **more: Any) -> Row:
    return {"AlgorithmId": f"a{number}", "AlgorithmName": f"n{number}", "GmtCreateTime": f"{time_of(number)}Z", **more}


def qianfan_model(number: int, **more: Any) -> Row:
    return {"modelId": number, "modelIdStr": f"am-{number}", "modelName": f"n{number}", "versionCount": 0, **more}


def model_set(number: int, **more: Any) -> Row:
    return {"modelSetId": f"am-{number}", "modelSetName": f"n{number}", "modelIds": [], "modelNames": [], **more}


def registered_model(number: int) -> Row:
    return {"name": f"n{number}", "creation_timestamp": 1_000_000 - number}


def model_package_group(number: int) -> Row:
    return {"ModelPackageGroupName": f"n{number}", "CreationTime": 1_000_000 - number}


# Pages


def numbered(rows: Sequence[Row | None], number: int, size: int, cap: int | None) -> list[Row | None]:
    """A page of a registry that sends at most ``cap`` rows on a page, and numbers its pages accordingly."""
    size = min(size, cap or size)
    return list(rows[(number - 1) * size : number * size])


def pai_pages(name: str, rows: Sequence[Row | None], cap: int | None = None, counts: bool = True) -> Script:
    """A list of PAI: newest first, unless a request wants it in the other order."""

    def answer(parameters: Parameters) -> Any:
        listed = rows[::-1] if parameters.get("Order") == "ASC" else rows
        page = numbered(listed, int(parameters["PageNumber"]), int(parameters["PageSize"]), cap)
        return {name: page, **({"TotalCount": len(rows)} if counts else {})}

    return answer


def qianfan_pages(rows: Sequence[Row | None], cap: int | None = None, counts: bool = True) -> Script:
    """A list of the first generation of Qianfan."""

    def answer(parameters: Parameters) -> Any:
        page = numbered(rows, parameters["pageNo"], parameters["pageSize"], cap)
        return {"result": {"items": page, **({"total": len(rows)} if counts else {})}}

    return answer


def marked_pages(name: str, pages: Mapping[str, tuple[Sequence[Row | None], str | None]]) -> Script:
    """A list of the second generation of Qianfan: by marker, the rows of a page and the next marker."""

    def answer(parameters: Parameters) -> Any:
        rows, following = pages[parameters.get("marker", "")]
        more = {} if following is None else {"nextMarker": following}
        return {"result": {name: rows, "pageInfo": {"isTruncated": following is not None, **more}}}

    return answer


def token_pages(
    name: str, sent: str, received: str, pages: Mapping[str, tuple[Sequence[Row | None], str | None]]
) -> Script:
    """A list with page tokens, of which the requests have the parameter ``sent``, and the answers the key
    ``received``."""

    def answer(parameters: Parameters) -> Any:
        rows, following = pages[parameters.get(sent, "")]
        return {name: rows, **({} if following is None else {received: following})}

    return answer


def chain(*pages: Sequence[Row | None]) -> Mapping[str, tuple[Sequence[Row | None], str | None]]:
    """Pages that follow one another, with the markers p2, p3, and so on."""
    markers = ["", *(f"p{number}" for number in range(2, len(pages) + 1))]
    return dict(zip(markers, zip(pages, [*markers[1:], None], strict=True), strict=True))
