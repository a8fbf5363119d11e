"""Gateways that authenticate callers, files of API keys, and an issuer of tokens."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway import twins
from gateway.auth.api_keys import format_entry, new_key
from gateway.config.settings import AccessSettings
from tests.conftest import Answer, Client, pai, qianfan, served, settings

NAMES = "{ registries { name } }"


class Clock:
    """A clock that a test moves."""

    seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class KeyFile:
    """A file of API keys; each change rewrites it."""

    path: Path
    entries: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str = "somebody", registries: tuple[str, ...] = ("*",), roles: tuple[str, ...] = ("read",),
        key: str | None = None, more: str = "",
    ) -> str:  # fmt: skip
        key = key or new_key()
        self.entries[key] = f"{format_entry(key, name, registries, roles)}\n{more}"
        self.write()
        return key

    def remove(self, key: str) -> None:
        del self.entries[key]
        self.write()

    def write(self) -> None:
        self.path.write_text("\n".join(self.entries.values()))


@asynccontextmanager
async def authenticating_gateway(
    access: AccessSettings, now: Callable[[], float], **sections: Any
) -> AsyncIterator[Client]:
    """A gateway over both clouds, with the registries `pai` and `qianfan` and these access settings."""
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(models=20))
        gateway_settings = settings(pai(twin.url), qianfan(twin.url), access=access, **sections)
        yield await stack.enter_async_context(served(gateway_settings, now))


async def send_query(gateway: Client, query: str = NAMES, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.request("POST", json={"query": query}, headers=named)


async def query_with_bearer(gateway: Client, credential: str, query: str = NAMES) -> Answer:
    return await send_query(gateway, query, authorization=f"Bearer {credential}")


def registry_names(answer: Answer) -> list[str]:
    """The names of the registries in an answer to `NAMES`."""
    return [registry["name"] for registry in answer.data["registries"]]


# Tokens

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
TO_JWK: Mapping[type, Any] = {
    rsa.RSAPrivateKey: RSAAlgorithm,
    ec.EllipticCurvePrivateKey: ECAlgorithm,
    ed25519.Ed25519PrivateKey: OKPAlgorithm,
}


def public(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a key as an entry of a JWK Set."""
    algorithm = next(algorithm for kind, algorithm in TO_JWK.items() if isinstance(key, kind))
    entry: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True) | more
    return entry if kid is None else entry | {"kid": kid}


def token(claims: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    """A signed token; a header field that is None is left out."""
    fields = {"kid": "1", **header}
    return jwt.encode(claims, key, algorithm=algorithm, headers={k: v for k, v in fields.items() if v is not None})


@dataclass
class Issuer:
    """A loopback server that publishes public keys. ``answer`` replaces the response; ``requests`` are the paths."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[], web.StreamResponse] | None = None
    requests: list[str] = field(default_factory=list)

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        return self.answer() if self.answer else web.Response(text=json.dumps({"keys": self.keys}))


@asynccontextmanager
async def running_issuer(*keys: dict[str, Any]) -> AsyncIterator[Issuer]:
    issuer = Issuer(keys=list(keys))
    app = web.Application()
    app.router.add_get("/{path:.*}", issuer.jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    issuer.url = f"http://{host}:{port}"
    yield issuer
    await runner.cleanup()
