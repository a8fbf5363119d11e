"""The server of the twins: routing, counters, signature check, answers and fault injection on one port."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import unquote

import orjson
from aiohttp import web

from gateway.twins import faults, mlflow, pai, qianfan, qianfan_v2
from gateway.twins.calls import Call, CallRequest
from gateway.twins.corpus import Corpus
from gateway.twins.faults import Fault, Faults
from gateway.twins.rows import UTC
from gateway.twins.signature_check import MlflowLoginCheck, PaiSignatureCheck, QianfanSignatureCheck, ReceivedRequest
from gateway.twins.wire_formats import Answer, CloudError, WireFormat, error_answer, is_pai, success_answer

CALLS: tuple[Call, ...] = tuple(
    sorted(mlflow.CALLS + pai.CALLS + qianfan.CALLS + qianfan_v2.CALLS, key=lambda call: call.name)
)
PATH_ROUTES = [(call.pattern, call) for call in CALLS if call.method == "GET"]
QIANFAN_ROUTES = {(call.path, call.action): call for call in CALLS if call.method == "POST"}
CLOSING_SECONDS = 0.05
WRONG_METHOD: dict[WireFormat, str] = {
    "AIWorkSpace": "UnsupportedHTTPMethod",
    "PaiStudio": "UnsupportedHTTPMethod",
    "v1": "3",
    "v2": "InvalidHTTPRequest",
    "MLflow": "ENDPOINT_NOT_FOUND",
}
NOT_JSON: dict[WireFormat, str] = {"v1": "336002", "v2": "MalformedJSON"}
NOT_AN_OBJECT: dict[WireFormat, str] = {"v1": "336003", "v2": "InappropriateJSON"}


def _clock() -> datetime:
    return datetime.now(UTC)


@dataclass
class Twins:
    """The clouds and MLflow at one URL.

    ``corpus`` is their data, ``calls`` counts requests by name of the call, ``faults`` are the injected faults, ``now``
    is their clock, and ``mlflow_login`` says whether MLflow requires Basic credentials.
    """

    corpus: Corpus
    url: str = ""
    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    now: Callable[[], datetime] = _clock
    faults: Faults = field(default_factory=lambda: Faults([call.name for call in CALLS]))
    mlflow_login: MlflowLoginCheck = field(default_factory=MlflowLoginCheck)
    _pai: PaiSignatureCheck = field(default_factory=PaiSignatureCheck)
    _qianfan: QianfanSignatureCheck = field(default_factory=QianfanSignatureCheck)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        received = ReceivedRequest(
            request.method,
            request.raw_path,
            {name.lower(): request.headers[name] for name in request.headers},
            await request.read(),
        )
        path = received.target.partition("?")[0]
        if path.startswith("/_twin/"):
            return await faults.send(request, self._control(received, path))
        call, names = _route(received)
        host = received.headers.get("host", "")
        if call is None:
            return await faults.send(request, _unrouted(path, host))
        self.calls[call.name] += 1
        fault, replaced = self.faults.take(call.name)
        if fault is not None and fault.latency:
            await asyncio.sleep(fault.latency)
        answer, checked = await self._answer(call, names, received, host)
        answer.headers["Date"] = format_datetime(self.now(), usegmt=True)
        if fault is None:
            return await faults.send(request, answer)
        if fault.hang:
            await replaced.wait()
            return faults.abort(request)
        if checked or fault.drop:
            answer = faults.apply_fault(answer, fault if checked else Fault(), call.wire_format, host)
        return await faults.send(request, answer, fault)

    async def _answer(
        self, call: Call, names: dict[str, str], received: ReceivedRequest, host: str
    ) -> tuple[Answer, bool]:
        """Return the answer without faults, and whether the signature was valid."""
        xml = is_pai(call.wire_format) and "application/json" not in received.headers.get("accept", "")
        checked = False
        try:
            self._check(call, received)
            checked = True
            request = CallRequest(self.corpus, names, dict(received.query), _body(call, received), received.query)
            return success_answer(call.wire_format, await call.handler(request), call.omits_request_id), checked
        except CloudError as error:
            return error_answer(call.wire_format, error, host, xml), checked

    def _check(self, call: Call, received: ReceivedRequest) -> None:
        if call.wire_format == "MLflow":
            self.mlflow_login.check(received)
        elif not is_pai(call.wire_format):
            self._qianfan.check(received, self.now())
        else:
            action, version = (received.headers.get(f"x-acs-{name}", "") for name in ("action", "version"))
            if (action or call.name, version or call.version) != (call.name, call.version):
                raise CloudError("InvalidApi.NotFound")
            self._pai.check(received, self.now())
        if received.method != call.method:
            raise CloudError(WRONG_METHOD[call.wire_format])

    def _control(self, received: ReceivedRequest, path: str) -> Answer:
        match received.method, path:
            case "GET", "/_twin/calls":
                return Answer(200, orjson.dumps({"calls": dict(self.calls)}))
            case "DELETE", "/_twin/calls":
                self.calls.clear()
                return Answer(204, b"")
            case "PUT", "/_twin/faults":
                try:
                    self.faults.replace(orjson.loads(received.body))
                except ValueError as problem:
                    return Answer(400, str(problem).encode(), content_type="text/plain;charset=utf-8")
                return Answer(204, b"")
        return Answer(404, b"Unknown control path.", content_type="text/plain;charset=utf-8")


def _route(received: ReceivedRequest) -> tuple[Call | None, dict[str, str]]:
    path = received.target.partition("?")[0]
    if path.startswith("/api/"):
        for pattern, call in PATH_ROUTES:
            if found := pattern.fullmatch(path):
                return call, {name: unquote(value) for name, value in found.groupdict().items()}
        return None, {}
    action = dict(received.query).get("Action", "") if path.startswith("/v2/") else ""
    return QIANFAN_ROUTES.get((path, action)), {}


def _unrouted(path: str, host: str) -> Answer:
    if path.startswith("/wenxinworkshop/"):
        return error_answer("v1", CloudError("3"))
    if path.startswith("/v2/"):
        return error_answer("v2", CloudError("InvalidURI"))
    if path.startswith(mlflow.ROOT):
        return error_answer("MLflow", CloudError("ENDPOINT_NOT_FOUND"))
    return error_answer("AIWorkSpace", CloudError("InvalidApi.NotFound"), host)


def _body(call: Call, received: ReceivedRequest) -> dict[str, object]:
    if call.method == "GET":
        return {}
    try:
        body = orjson.loads(received.body)
    except ValueError:
        raise CloudError(NOT_JSON[call.wire_format]) from None
    if not isinstance(body, dict):
        raise CloudError(NOT_AN_OBJECT[call.wire_format])
    return body


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1", port: int = 0, models: int = 200, corpus: Corpus | None = None
) -> AsyncIterator[Twins]:
    """Serve the clouds and MLflow on one port. At the end of the context, all sockets are closed at once.

    ``corpus`` replaces the default one of ``models`` models.
    """
    twins = Twins(corpus or Corpus(models))
    runner = web.ServerRunner(
        web.Server(twins.handle, access_log=None, handler_cancellation=True), shutdown_timeout=CLOSING_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = runner.addresses[0]
        twins.port = address[1]
        twins.url = f"http://{host}:{twins.port}"
        yield twins
    finally:
        twins.faults.clear()
        await runner.cleanup()
