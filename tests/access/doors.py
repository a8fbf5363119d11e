"""Gateways that ask who is there: files of keys, an issuer of tokens, and clients with credentials."""

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
from gateway.auth.api_keys import as_entry, new_key
from gateway.config.settings import AccessSettings
from tests.conftest import Answer, Client, pai, qianfan, served, settings

NAMES = "{ registries { name } }"


class Clock:
    """A clock that a test moves."""

    seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Ring:
    """A file of keys; each `add` writes it anew."""

    path: Path
    entries: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str = "somebody", registries: tuple[str, ...] = ("*",), roles: tuple[str, ...] = ("read",),
        key: str | None = None, more: str = "",
    ) -> str:  # fmt: skip
        key = key or new_key()
        self.entries[key] = f"{as_entry(key, name, registries, roles)}\n{more}"
        self.write()
        return key

    def remove(self, key: str) -> None:
        del self.entries[key]
        self.write()

    def write(self) -> None:
        self.path.write_text("\n".join(self.entries.values()))


@asynccontextmanager
async def guarded(access: AccessSettings, now: Callable[[], float], **sections: Any) -> AsyncIterator[Client]:
    """A gateway over both clouds, with the registries `pai` and `qianfan`, that asks who is there."""
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(models=20))
        chosen = settings(pai(twin.url), qianfan(twin.url), access=access, **sections)
        yield await stack.enter_async_context(served(chosen, now))


async def ask(gateway: Client, query: str = NAMES, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.request("POST", json={"query": query}, headers=named)


async def bearing(gateway: Client, credential: str, query: str = NAMES) -> Answer:
    return await ask(gateway, query, authorization=f"Bearer {credential}")


def names(answer: Answer) -> list[str]:
    """The registries that an answer to `NAMES` tells of."""
    return [one["name"] for one in answer.data["registries"]]


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
    algorithm = next(one for kind, one in TO_JWK.items() if isinstance(key, kind))
    said: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True) | more
    return said if kid is None else said | {"kid": kid}


def token(claims: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    """A signed token; None takes a header away."""
    said = {"kid": "1", **header}
    return jwt.encode(claims, key, algorithm=algorithm, headers={k: v for k, v in said.items() if v is not None})


@dataclass
class Issuer:
    """A server on loopback that tells its public keys, or misbehaves."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[], web.StreamResponse] | None = None
    asked: list[str] = field(default_factory=list)

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return self.answer() if self.answer else web.Response(text=json.dumps({"keys": self.keys}))


@asynccontextmanager
async def issuing(*keys: dict[str, Any]) -> AsyncIterator[Issuer]:
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
