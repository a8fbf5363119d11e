"""The twins' one port: route, count, check the signature, answer, and go wrong when told to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

import orjson
from aiohttp import web

from gateway.twins import faults, pai, qianfan, qianfan_v2
from gateway.twins.calls import Ask, Call
from gateway.twins.corpus import Corpus
from gateway.twins.faults import Fault, Faults
from gateway.twins.rows import UTC
from gateway.twins.signature_check import PaiGatekeeper, QianfanGatekeeper, Received
from gateway.twins.wire_formats import Answer, Dialect, Refused, answered, is_pai, refused

CALLS: tuple[Call, ...] = tuple(sorted(pai.CALLS + qianfan.CALLS + qianfan_v2.CALLS, key=lambda call: call.name))
PAI_ROUTES = [(call.pattern, call) for call in CALLS if is_pai(call.dialect)]
QIANFAN_ROUTES = {(call.path, call.action): call for call in CALLS if not is_pai(call.dialect)}
CLOSING_SECONDS = 0.05
MALFORMED: dict[Dialect, str] = {"v1": "336002", "v2": "MalformedJSON"}
UNFIT: dict[Dialect, str] = {"v1": "336003", "v2": "InappropriateJSON"}


def _clock() -> datetime:
    return datetime.now(UTC)


@dataclass
class Twins:
    """Two clouds behind one address: what they hold, what they were asked, how they fail, what time it is there."""

    corpus: Corpus
    url: str = ""
    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    now: Callable[[], datetime] = _clock
    faults: Faults = field(default_factory=lambda: Faults([call.name for call in CALLS]))
    _pai: PaiGatekeeper = field(default_factory=PaiGatekeeper)
    _qianfan: QianfanGatekeeper = field(default_factory=QianfanGatekeeper)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        received = Received(
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
        if fault is None:
            return await faults.send(request, answer)
        if fault.hang:
            await replaced.wait()
            return faults.abort(request)
        if checked or fault.drop:
            answer = faults.changed(answer, fault if checked else Fault(), call.dialect, host)
        return await faults.send(request, answer, fault)

    async def _answer(self, call: Call, names: dict[str, str], received: Received, host: str) -> tuple[Answer, bool]:
        """The true answer, and whether the signature was good."""
        xml = is_pai(call.dialect) and "application/json" not in received.headers.get("accept", "")
        checked = False
        try:
            self._check(call, received)
            checked = True
            ask = Ask(self.corpus, names, dict(received.query), _body(call, received))
            return answered(call.dialect, await call.handler(ask), call.silent), checked
        except Refused as refusal:
            return refused(call.dialect, refusal, host, xml), checked

    def _check(self, call: Call, received: Received) -> None:
        if not is_pai(call.dialect):
            self._qianfan.check(received, self.now())
        else:
            action, version = (received.headers.get(f"x-acs-{name}", "") for name in ("action", "version"))
            if (action or call.name, version or call.version) != (call.name, call.version):
                raise Refused("InvalidApi.NotFound")
            self._pai.check(received, self.now())
        if received.method != call.method:
            raise Refused({"v1": "3", "v2": "InvalidHTTPRequest"}.get(call.dialect, "UnsupportedHTTPMethod"))

    def _control(self, received: Received, path: str) -> Answer:
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
        return Answer(404, b"There is no such switch.", content_type="text/plain;charset=utf-8")


def _route(received: Received) -> tuple[Call | None, dict[str, str]]:
    path = received.target.partition("?")[0]
    if path.startswith("/api/"):
        for pattern, call in PAI_ROUTES:
            if found := pattern.fullmatch(path):
                return call, {name: unquote(value) for name, value in found.groupdict().items()}
        return None, {}
    action = dict(received.query).get("Action", "") if path.startswith("/v2/") else ""
    return QIANFAN_ROUTES.get((path, action)), {}


def _unrouted(path: str, host: str) -> Answer:
    if path.startswith("/wenxinworkshop/"):
        return refused("v1", Refused("3"))
    if path.startswith("/v2/"):
        return refused("v2", Refused("InvalidURI"))
    return refused("AIWorkSpace", Refused("InvalidApi.NotFound"), host)


def _body(call: Call, received: Received) -> dict[str, object]:
    if is_pai(call.dialect):
        return {}
    try:
        body = orjson.loads(received.body)
    except ValueError:
        raise Refused(MALFORMED[call.dialect]) from None
    if not isinstance(body, dict):
        raise Refused(UNFIT[call.dialect])
    return body


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1", port: int = 0, models: int = 200, corpus: Corpus | None = None
) -> AsyncIterator[Twins]:
    """Serve both clouds on one port; on leaving, every socket is closed at once."""
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
