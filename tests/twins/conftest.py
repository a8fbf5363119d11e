"""Running twins, and clients that sign requests without the vendors' SDKs."""

import hashlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway.registries.signatures import acs3, bce_auth_v1, bce_prefix
from gateway.twins import PAI_KEY_ID, PAI_SECRET, QIANFAN_ACCESS_KEY, QIANFAN_SECRET_KEY, Twins, serving
from gateway.upstream.url_encoding import encode

os.environ["ALIBABA_CLOUD_ECS_METADATA_DISABLED"] = "true"
os.environ["QIANFAN_DOT_ENV_CONFIG_FILE"] = os.devnull
os.environ["QIANFAN_CACHE_DIR"] = tempfile.gettempdir()

Send = Callable[..., Coroutine[Any, Any, aiohttp.ClientResponse]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def twins() -> AsyncIterator[Twins]:
    async with serving() as running:
        yield running


@pytest.fixture
async def http(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client. Indirect parametrization sets its options."""
    async with aiohttp.ClientSession(**getattr(request, "param", {})) as session:
        yield session


@pytest.fixture
def call_pai(twins: Twins, http: aiohttp.ClientSession) -> Send:
    """Send a signed PAI call. Keyword arguments change a part of it."""

    async def send(
        action: str = "ListModels",
        path: str = "/api/v1/models",
        query: dict[str, str] | None = None,
        *,
        headers: dict[str, str | None] | None = None,
        unsigned: dict[str, str] | None = None,
        key: str = PAI_KEY_ID,
        secret: str = PAI_SECRET,
        method: str = "GET",
    ) -> aiohttp.ClientResponse:
        defaults = {
            "host": f"127.0.0.1:{twins.port}",
            "accept": "application/json",
            "x-acs-action": action,
            "x-acs-version": "2022-01-12" if "lgorithm" in action else "2021-02-04",
            "x-acs-date": f"{twins.now():%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        }
        sent = {name: value for name, value in (defaults | (headers or {})).items() if value is not None}
        pairs = list((query or {}).items())
        names, signature = acs3(secret, method, path, pairs, sent, sent.get("x-acs-content-sha256", ""))
        sent["authorization"] = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={names},Signature={signature}"
        sent |= unsigned or {}
        target = twins.url + path + "?" * bool(pairs) + "&".join(f"{encode(n)}={encode(v)}" for n, v in pairs)
        return await http.request(method, URL(target, encoded=True), headers=sent, allow_redirects=False)

    return send


@pytest.fixture
def call_qianfan(twins: Twins, http: aiohttp.ClientSession) -> Send:
    """Send a signed Qianfan call. Keyword arguments change a part of it."""

    async def send(
        path: str = "/wenxinworkshop/modelrepo/modelDetail",
        body: object = None,
        action: str | None = None,
        *,
        signed: tuple[str, ...] = ("content-type", "host", "x-bce-date"),
        stamp: datetime | None = None,
        seconds: int = 300,
        key: str = QIANFAN_ACCESS_KEY,
        secret: str = QIANFAN_SECRET_KEY,
        unsigned: dict[str, str] | None = None,
        raw: bytes | None = None,
        method: str = "POST",
    ) -> aiohttp.ClientResponse:
        date = f"{stamp or twins.now():%Y-%m-%dT%H:%M:%SZ}"
        headers = {
            "content-type": "application/json",
            "host": f"127.0.0.1:{twins.port}",
            "x-bce-date": date,
        }
        query = [("Action", action)] if action else []
        prefix = bce_prefix(key, date, seconds)
        signed_headers = {name: headers[name] for name in signed}
        _, signature = bce_auth_v1(secret, prefix, method, path, query, signed_headers)
        headers["authorization"] = f"{prefix}/{';'.join(signed)}/{signature}"
        url = twins.url + path + (f"?Action={action}" if action else "")
        content: dict[str, Any] = {"data": raw} if raw is not None else {"json": body or {}}
        return await http.request(method, url, headers=headers | (unsigned or {}), **content)

    return send


@pytest.fixture
def qianfan_sdk(twins: Twins) -> None:
    """Point the global configuration of the qianfan package at the twins."""
    import qianfan

    config = qianfan.get_config()
    config.ACCESS_KEY, config.SECRET_KEY = QIANFAN_ACCESS_KEY, QIANFAN_SECRET_KEY
    config.CONSOLE_API_BASE_URL = twins.url


@pytest.fixture
def move_clock(twins: Twins) -> Callable[[float], None]:
    """Set the twins' clock a number of seconds ahead of now."""
    start = datetime.now(UTC)

    def move(seconds: float) -> None:
        twins.now = lambda: datetime.fromtimestamp(start.timestamp() + seconds, UTC)

    return move
