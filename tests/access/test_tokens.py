"""JWT bearer tokens: which are accepted, and where the issuer's keys come from."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.app import create_app
from gateway.auth import jwks
from gateway.auth import watched_files as files
from gateway.config.settings import AccessSettings, SettingsError
from tests.access.doors import (
    EC,
    ED,
    NAMES,
    OTHER_RSA,
    RSA,
    Clock,
    Issuer,
    Ring,
    bearing,
    guarded,
    issuing,
    names,
    public,
    token,
)
from tests.conftest import Client, qianfan, settings

ISSUER, AUDIENCE = "https://login.example.com/", "registry-gateway"
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim away."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": time.time() + 600,
        "registries": ["*"],
        "roles": ["read"],
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def trusting(place: str | Path, clock: Clock, **options: Any) -> AsyncIterator[Client]:
    """A gateway that takes tokens signed with the keys of a file or an address."""
    chosen = {"mode": "callers", "issuer": ISSUER, "audience": AUDIENCE, "jwks": str(place), **options}
    async with guarded(AccessSettings(**chosen), clock) as gateway:
        yield gateway


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with one key of each type."""
    file = tmp_path / "jwks.json"
    entries = [public(RSA, "1"), public(EC, "ec"), public(ED, "ed"), public(OTHER_RSA, "encrypting", use="enc")]
    file.write_text(json.dumps({"keys": entries}))
    return file


@pytest.fixture
async def gateway(keys: Path, clock: Clock) -> AsyncIterator[Client]:
    async with trusting(keys, clock) as running:
        yield running


def by_hand(header: dict[str, Any], key: bytes = b"", body: bytes | None = None) -> str:
    """A token such as no library would make: with any header, signed with HMAC or not at all."""

    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    said = encoded(json.dumps(header).encode()) + "." + encoded(body or json.dumps(claims()).encode())
    return f"{said}.{encoded(hmac.digest(key, said.encode(), hashlib.sha256)) if key else ''}"


GOOD: dict[str, Callable[[], str]] = {
    "RSA": lambda: token(claims()),
    "an elliptic curve": lambda: token(claims(), EC, "ES256", kid="ec"),
    "Ed25519": lambda: token(claims(), ED, "EdDSA", kid="ed"),
    "one of several audiences": lambda: token(claims(aud=["another", AUDIENCE])),
    "ended, within the leeway": lambda: token(claims(exp=time.time() - 10)),
    "begins soon, within the leeway": lambda: token(claims(nbf=time.time() + 10)),
    "an address of keys that nobody asks": lambda: token(
        claims(), jku="http://127.0.0.1:9/", x5u="http://127.0.0.1:9/"
    ),
}

BAD: dict[str, Callable[[], str]] = {
    "no token": lambda: "one.two.three",
    "no signature": lambda: by_hand({"alg": "none", "kid": "1"}),
    "no signature, spelled otherwise": lambda: by_hand({"alg": "NoNe", "kid": "1"}),
    "no algorithm": lambda: by_hand({"kid": "1"}),
    "an algorithm that is no text": lambda: by_hand({"alg": ["RS256"], "kid": "1"}),
    "the public key as the secret of HMAC": lambda: by_hand({"alg": "HS256", "kid": "1"}, PEM),
    "HMAC that calls itself RSA": lambda: by_hand({"alg": "RS256", "kid": "1"}, PEM),
    "another's key": lambda: token(claims(), OTHER_RSA),
    "an unknown key": lambda: token(claims(), OTHER_RSA, kid="2"),
    "no key's id": lambda: token(claims(), kid=None),
    "a key that is for encrypting": lambda: token(claims(), OTHER_RSA, kid="encrypting"),
    "a key of its own, in the header": lambda: token(claims(), OTHER_RSA, jwk=public(OTHER_RSA, "1")),
    "an algorithm that is not allowed": lambda: token(claims(), RSA, "RS512"),
    "an algorithm of another type of key": lambda: token(claims(), EC, "ES256", kid="1"),
    "an extension that nobody knows": lambda: token(claims(), crit=["new"], new=1),
    "another issuer": lambda: token(claims(iss="https://evil.example.com/")),
    "the issuer but for a sign": lambda: token(claims(iss=ISSUER[:-1])),
    "another audience": lambda: token(claims(aud="another")),
    "ended": lambda: token(claims(exp=time.time() - 60)),
    "not good yet": lambda: token(claims(nbf=time.time() + 60)),
    "no end": lambda: token(claims(exp=None)),
    "an end that is no number": lambda: token(claims(exp="soon")),
    "no issuer": lambda: token(claims(iss=None)),
    "no audience": lambda: token(claims(aud=None)),
    "nobody's": lambda: token(claims(sub=None)),
    "so long": lambda: token(claims(padding="x" * 20_000)),
    "deep": lambda: by_hand({"alg": "RS256", "kid": "1"}, PEM, b"[" * 8_000),
    "deep in its header": lambda: base64.urlsafe_b64encode(b"[" * 8_000).decode() + ".e30.e30",
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_token_lets_in(name: str, gateway: Client) -> None:
    assert names(await bearing(gateway, GOOD[name]())) == ["pai", "qianfan"]


async def test_a_bad_token_lets_nobody_in_and_is_told_no_more_than_that(
    gateway: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {name: await bearing(gateway, make()) for name, make in BAD.items()}
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(BAD, 401)
    assert len({json.dumps(answer.body) for answer in answers.values()}) == 1
    reasons = [json.loads(one.getMessage())["reason"] for one in caplog.records if one.name == "gateway.audit"]
    assert len(reasons) == len(BAD)


@pytest.mark.parametrize("changed", range(3))
async def test_a_token_that_was_changed_is_refused(changed: int, gateway: Client) -> None:
    parts = token(claims()).split(".")
    parts[changed] = ("B" if parts[changed][5] == "A" else "A").join((parts[changed][:5], parts[changed][6:]))
    assert (await bearing(gateway, ".".join(parts))).status == 401


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ({"registries": ["pai"]}, ["pai"]),
        ({"registries": "pai qian*"}, ["pai", "qianfan"]),
        ({"registries": []}, []),
        ({"registries": None}, []),
        ({"registries": {"pai": True}}, []),
        ({"registries": [5, "pai", ["*"], "[a-z]*", "?*"]}, ["pai"]),
        ({"roles": "read raw"}, ["pai", "qianfan"]),
        ({"roles": ["raw"]}, None),
        ({"roles": None}, None),
        ({"roles": ["READ", "router"]}, None),
    ],
)
async def test_claims_say_what_the_holder_may(said: dict[str, Any], seen: list[str] | None, gateway: Client) -> None:
    answer = await bearing(gateway, token(claims(**said)))
    assert answer.codes == ["FORBIDDEN"] if seen is None else names(answer) == seen


async def test_the_claims_have_the_names_of_the_settings(keys: Path, clock: Clock) -> None:
    async with trusting(keys, clock, registries_claim="https://example.com/reads", roles_claim="scope") as gateway:
        said = {"https://example.com/reads": "pai", "scope": "openid read", "registries": None, "roles": None}
        assert names(await bearing(gateway, token(claims(**said)))) == ["pai"]
        assert (await bearing(gateway, token(claims()))).codes == ["FORBIDDEN"]


async def test_keys_and_tokens_open_the_same_door(keys: Path, clock: Clock, tmp_path: Path) -> None:
    ring = Ring(tmp_path / "keys.toml")
    key = ring.add(registries=("qianfan",))
    async with trusting(keys, clock, keys=str(ring.path)) as gateway:
        assert names(await bearing(gateway, key)) == ["qianfan"]
        assert names(await bearing(gateway, token(claims(registries="pai")))) == ["pai"]
        answer = await gateway.request("POST", json={"query": NAMES}, headers={"X-API-Key": token(claims())})
        assert answer.status == 401, "a token is no API key"


# The issuer's keys


async def test_a_file_of_keys_is_read_again_when_it_changes(keys: Path, clock: Clock) -> None:
    async with trusting(keys, clock) as gateway:
        keys.write_text(json.dumps({"keys": [public(OTHER_RSA, "2")]}))  # noqa: ASYNC240
        clock.seconds += files.LOOK_EVERY
        assert (await bearing(gateway, token(claims(), OTHER_RSA, kid="2"))).status == 200
        assert (await bearing(gateway, token(claims()))).status == 401


async def test_keys_at_an_address_are_asked_for_once_and_again_for_an_unknown_one(clock: Clock) -> None:
    async with issuing(public(RSA, "1")) as issuer, trusting(f"{issuer.url}/jwks", clock) as gateway:
        good, rotated = token(claims()), token(claims(), OTHER_RSA, kid="2")
        answers = await asyncio.gather(*(bearing(gateway, good) for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 10
        assert issuer.asked == ["/jwks"]

        issuer.keys = [public(OTHER_RSA, "2")]
        assert (await bearing(gateway, rotated)).status == 401, "asked a moment ago"
        clock.seconds += jwks.PAUSE
        assert (await bearing(gateway, rotated)).status == 200
        assert (await bearing(gateway, good)).status == 401
        for kid in "3456":
            assert (await bearing(gateway, token(claims(), OTHER_RSA, kid=kid))).status == 401
        assert issuer.asked == ["/jwks", "/jwks"]


async def test_keys_are_renewed_behind_from_time_to_time(clock: Clock) -> None:
    async with issuing(public(RSA, "1")) as issuer, trusting(issuer.url, clock) as gateway:
        assert (await bearing(gateway, token(claims()))).status == 200
        issuer.keys = [public(OTHER_RSA, "2")]
        clock.seconds += jwks.FRESH
        while (await bearing(gateway, token(claims()))).status == 200:
            pass
        assert len(issuer.asked) == 2


def redirecting(issuer: Issuer) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": f"{issuer.url}/elsewhere"}, text=json.dumps({"keys": []}))


def found_elsewhere(issuer: Issuer) -> web.StreamResponse:
    """The keys, but only from where a redirect leads."""
    if issuer.asked[-1] == "/elsewhere":
        return web.Response(text=json.dumps({"keys": issuer.keys}))
    return redirecting(issuer)


HARMS: dict[str, Callable[[Issuer], web.StreamResponse]] = {
    "a redirect": found_elsewhere,
    "an error with the keys": lambda issuer: web.Response(status=500, text=json.dumps({"keys": issuer.keys})),
    "too much": lambda issuer: web.Response(text=json.dumps({"keys": issuer.keys, "more": "x" * jwks.LARGEST})),
    "no JSON": lambda issuer: web.Response(text="<html>"),
    "no keys": lambda issuer: web.Response(text='{"keys": []}'),
    "a symmetric key": lambda issuer: web.Response(text='{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}'),
    "a list": lambda issuer: web.Response(text="[]"),
}


@pytest.mark.parametrize("name", HARMS)
async def test_an_issuer_that_misbehaves_lets_nobody_in_and_takes_nothing_away(
    name: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with issuing(public(RSA, "1")) as issuer, trusting(f"{issuer.url}/jwks", clock) as gateway:
        issuer.answer = lambda: HARMS[name](issuer)
        assert (await bearing(gateway, token(claims()))).status == 401
        assert issuer.asked == ["/jwks"]
        issuer.answer = None
        clock.seconds += jwks.PAUSE
        assert (await bearing(gateway, token(claims()))).status == 200
        issuer.answer = lambda: HARMS[name](issuer)
        clock.seconds += jwks.PAUSE
        assert (await bearing(gateway, token(claims(), OTHER_RSA, kid="2"))).status == 401
        assert issuer.asked == ["/jwks"] * 3
        assert (await bearing(gateway, token(claims()))).status == 200
        assert "cannot be fetched" in caplog.text
        assert issuer.url not in caplog.text


async def test_an_issuer_that_hangs_is_given_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(jwks, "SECONDS", 0.2)
    server = await asyncio.start_server(never, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, trusting(f"http://{host}:{port}", clock) as gateway:
        assert (await bearing(gateway, token(claims()))).status == 401


async def test_an_issuer_that_is_away_lets_nobody_in(clock: Clock) -> None:
    async with trusting("http://127.0.0.1:9/jwks", clock) as gateway:
        assert (await bearing(gateway, token(claims()))).status == 401


def test_no_algorithm_with_a_shared_secret_can_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public(RSA, "1"), {"kty": "oct", "k": "c2VjcmV0", "kid": "2"}]}))
    access = AccessSettings(
        mode="callers", issuer=ISSUER, audience=AUDIENCE, jwks=str(file), algorithms=("HS256", "none")
    )
    with pytest.raises(SettingsError, match="holds no public key for HS256, none"):
        create_app(settings(qianfan("http://127.0.0.1:9"), access=access))


def test_a_private_key_that_is_told_by_mistake_is_used_as_a_public_one() -> None:
    mistaken = jwt.algorithms.RSAAlgorithm.to_jwk(RSA, as_dict=True) | {"kid": "1"}
    found = jwks.parse(json.dumps({"keys": [mistaken]}).encode(), ["RS256"])
    assert not hasattr(found["1", "RS256"].key, "private_numbers")
