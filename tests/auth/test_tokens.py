"""JWT bearer tokens, and the issuer's public keys in a file or at a URL."""

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
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.app import create_app
from gateway.auth import jwks
from gateway.config import watched_files
from gateway.config.settings import AccessSettings, SettingsError
from tests.auth.gateways import (
    EC,
    ED,
    NAMES,
    OTHER_RSA,
    RSA,
    Clock,
    Issuer,
    KeyFile,
    authenticating_gateway,
    public,
    query_with_bearer,
    registry_names,
    running_issuer,
    token,
)
from tests.conftest import Client, qianfan, settings

ISSUER, AUDIENCE = "https://login.example.com/", "registry-gateway"
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**more: Any) -> dict[str, Any]:
    """The claims of a valid token; a claim that is None is left out."""
    merged = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": time.time() + 600,
        "registries": ["*"],
        "roles": ["read"],
        **more,
    }
    return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture
def clock() -> Clock:
    return Clock()


THIRD_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@asynccontextmanager
async def token_gateway(jwks: str | Path, clock: Clock, **options: Any) -> AsyncIterator[Client]:
    """A gateway that accepts tokens signed with the keys in a file or at a URL."""
    access = {"mode": "callers", "issuer": ISSUER, "audience": AUDIENCE, "jwks": str(jwks), **options}
    async with authenticating_gateway(AccessSettings(**access), clock) as gateway:
        yield gateway


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key set file with a key of each type."""
    file = tmp_path / "jwks.json"
    entries = [public(RSA, "1"), public(EC, "ec"), public(ED, "ed"), public(OTHER_RSA, "encrypting", use="enc")]
    file.write_text(json.dumps({"keys": entries}))
    return file


@pytest.fixture
async def gateway(keys: Path, clock: Clock) -> AsyncIterator[Client]:
    async with token_gateway(keys, clock) as running:
        yield running


def forged_token(header: dict[str, Any], key: bytes = b"", body: bytes | None = None) -> str:
    """A token that no library would make: any header, signed with HMAC or not at all."""

    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    signed = encoded(json.dumps(header).encode()) + "." + encoded(body or json.dumps(claims()).encode())
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256)) if key else ''}"


GOOD: dict[str, Callable[[], str]] = {
    "RSA": lambda: token(claims()),
    "an elliptic curve": lambda: token(claims(), EC, "ES256", kid="ec"),
    "Ed25519": lambda: token(claims(), ED, "EdDSA", kid="ed"),
    "one of several audiences": lambda: token(claims(aud=["another", AUDIENCE])),
    "expired within the leeway": lambda: token(claims(exp=time.time() - 10)),
    "not valid yet, within the leeway": lambda: token(claims(nbf=time.time() + 10)),
    "URLs of keys in the header, which are ignored": lambda: token(
        claims(), jku="http://127.0.0.1:9/", x5u="http://127.0.0.1:9/"
    ),
}

BAD: dict[str, Callable[[], str]] = {
    "no token": lambda: "one.two.three",
    "no signature": lambda: forged_token({"alg": "none", "kid": "1"}),
    "no signature, in mixed case": lambda: forged_token({"alg": "NoNe", "kid": "1"}),
    "no algorithm": lambda: forged_token({"kid": "1"}),
    "an algorithm that is not text": lambda: forged_token({"alg": ["RS256"], "kid": "1"}),
    "the public key as an HMAC secret": lambda: forged_token({"alg": "HS256", "kid": "1"}, PEM),
    "an HMAC signature labelled RSA": lambda: forged_token({"alg": "RS256", "kid": "1"}, PEM),
    "signed with another private key": lambda: token(claims(), OTHER_RSA),
    "an unknown key id": lambda: token(claims(), OTHER_RSA, kid="2"),
    "no key id": lambda: token(claims(), kid=None),
    "a key for encryption": lambda: token(claims(), OTHER_RSA, kid="encrypting"),
    "its own key in the header": lambda: token(claims(), OTHER_RSA, jwk=public(OTHER_RSA, "1")),
    "an algorithm that is not allowed": lambda: token(claims(), RSA, "RS512"),
    "an algorithm of another key type": lambda: token(claims(), EC, "ES256", kid="1"),
    "an unknown critical extension": lambda: token(claims(), crit=["new"], new=1),
    "another issuer": lambda: token(claims(iss="https://evil.example.com/")),
    "the issuer without its last character": lambda: token(claims(iss=ISSUER[:-1])),
    "another audience": lambda: token(claims(aud="another")),
    "expired": lambda: token(claims(exp=time.time() - 60)),
    "not valid yet": lambda: token(claims(nbf=time.time() + 60)),
    "no expiry": lambda: token(claims(exp=None)),
    "an expiry that is not a number": lambda: token(claims(exp="soon")),
    "no issuer": lambda: token(claims(iss=None)),
    "no audience": lambda: token(claims(aud=None)),
    "no subject": lambda: token(claims(sub=None)),
    "too long": lambda: token(claims(padding="x" * 20_000)),
    "a deeply nested body": lambda: forged_token({"alg": "RS256", "kid": "1"}, PEM, b"[" * 8_000),
    "a deeply nested header": lambda: base64.urlsafe_b64encode(b"[" * 8_000).decode() + ".e30.e30",
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_valid_token_is_accepted(name: str, gateway: Client) -> None:
    assert registry_names(await query_with_bearer(gateway, GOOD[name]())) == ["pai", "qianfan"]


async def test_every_invalid_token_gets_the_same_401_and_a_line_in_the_audit_log(
    gateway: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {name: await query_with_bearer(gateway, make()) for name, make in BAD.items()}
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(BAD, 401)
    assert len({json.dumps(answer.body) for answer in answers.values()}) == 1
    reasons = [line.fields["reason"] for line in caplog.records if line.name == "gateway.audit"]
    assert len(reasons) == len(BAD)


@pytest.mark.parametrize("changed", range(3))
async def test_a_tampered_token_is_refused(changed: int, gateway: Client) -> None:
    parts = token(claims()).split(".")
    parts[changed] = ("B" if parts[changed][5] == "A" else "A").join((parts[changed][:5], parts[changed][6:]))
    assert (await query_with_bearer(gateway, ".".join(parts))).status == 401


@pytest.mark.parametrize(
    ("changes", "visible"),
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
async def test_claims_decide_registries_and_roles(
    changes: dict[str, Any], visible: list[str] | None, gateway: Client
) -> None:
    answer = await query_with_bearer(gateway, token(claims(**changes)))
    assert answer.codes == ["FORBIDDEN"] if visible is None else registry_names(answer) == visible


async def test_the_settings_name_the_claims(keys: Path, clock: Clock) -> None:
    async with token_gateway(keys, clock, registries_claim="https://example.com/reads", roles_claim="scope") as gateway:
        changes = {"https://example.com/reads": "pai", "scope": "openid read", "registries": None, "roles": None}
        assert registry_names(await query_with_bearer(gateway, token(claims(**changes)))) == ["pai"]
        assert (await query_with_bearer(gateway, token(claims()))).codes == ["FORBIDDEN"]


async def test_api_keys_and_tokens_work_side_by_side(keys: Path, clock: Clock, tmp_path: Path) -> None:
    key_file = KeyFile(tmp_path / "keys.toml")
    key = key_file.add(registries=("qianfan",))
    async with token_gateway(keys, clock, keys=str(key_file.path)) as gateway:
        assert registry_names(await query_with_bearer(gateway, key)) == ["qianfan"]
        assert registry_names(await query_with_bearer(gateway, token(claims(registries="pai")))) == ["pai"]
        answer = await gateway.request("POST", json={"query": NAMES}, headers={"X-API-Key": token(claims())})
        assert answer.status == 401, "a token is not an API key"


# The issuer's keys


async def test_a_key_set_file_is_reloaded_when_it_changes(keys: Path, clock: Clock) -> None:
    async with token_gateway(keys, clock) as gateway:
        keys.write_text(json.dumps({"keys": [public(OTHER_RSA, "2")]}))  # noqa: ASYNC240
        clock.seconds += watched_files.CHECK_INTERVAL
        assert (await query_with_bearer(gateway, token(claims(), OTHER_RSA, kid="2"))).status == 200
        assert (await query_with_bearer(gateway, token(claims()))).status == 401


async def test_keys_at_a_url_are_fetched_once_and_again_for_an_unknown_key(clock: Clock) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(f"{issuer.url}/jwks", clock) as gateway:
        good, rotated = token(claims()), token(claims(), OTHER_RSA, kid="2")
        answers = await asyncio.gather(*(query_with_bearer(gateway, good) for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 10
        assert issuer.requests == ["/jwks"]

        issuer.keys = [public(OTHER_RSA, "2")]
        assert (await query_with_bearer(gateway, rotated)).status == 401, "fetched a moment ago"
        clock.seconds += jwks.MIN_FETCH_INTERVAL
        assert (await query_with_bearer(gateway, rotated)).status == 200
        assert (await query_with_bearer(gateway, good)).status == 401
        for kid in "3456":
            assert (await query_with_bearer(gateway, token(claims(), OTHER_RSA, kid=kid))).status == 401
        assert issuer.requests == ["/jwks", "/jwks"]


async def test_keys_at_a_url_are_refreshed_in_the_background(clock: Clock) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(issuer.url, clock) as gateway:
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        issuer.keys = [public(OTHER_RSA, "2")]
        clock.seconds += jwks.REFRESH_AFTER
        while (await query_with_bearer(gateway, token(claims()))).status == 200:
            pass
        assert len(issuer.requests) == 2


def redirecting(issuer: Issuer) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": f"{issuer.url}/elsewhere"}, text=json.dumps({"keys": []}))


def keys_after_a_redirect(issuer: Issuer) -> web.StreamResponse:
    """A redirect, and the keys at its target."""
    if issuer.requests[-1] == "/elsewhere":
        return web.Response(text=json.dumps({"keys": issuer.keys}))
    return redirecting(issuer)


BAD_ANSWERS: dict[str, Callable[[Issuer], web.StreamResponse]] = {
    "a redirect": keys_after_a_redirect,
    "an error status with the keys": lambda issuer: web.Response(status=500, text=json.dumps({"keys": issuer.keys})),
    "a body that is too large": lambda issuer: web.Response(
        text=json.dumps({"keys": issuer.keys, "more": "x" * jwks.MAX_BODY_BYTES})
    ),
    "not JSON": lambda issuer: web.Response(text="<html>"),
    "no keys": lambda issuer: web.Response(text='{"keys": []}'),
    "a symmetric key": lambda issuer: web.Response(text='{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}'),
    "a list": lambda issuer: web.Response(text="[]"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_failed_fetch_adds_no_keys_and_removes_none(
    name: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(f"{issuer.url}/jwks", clock) as gateway:
        issuer.answer = lambda: BAD_ANSWERS[name](issuer)
        assert (await query_with_bearer(gateway, token(claims()))).status == 503
        assert issuer.requests == ["/jwks"]
        issuer.answer = None
        clock.seconds += jwks.MIN_FETCH_INTERVAL
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        issuer.answer = lambda: BAD_ANSWERS[name](issuer)
        clock.seconds += jwks.MIN_FETCH_INTERVAL
        assert (await query_with_bearer(gateway, token(claims(), OTHER_RSA, kid="2"))).status == 503
        assert issuer.requests == ["/jwks"] * 3
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        assert "cannot be fetched" in caplog.text
        assert issuer.url not in caplog.text


async def test_a_fetch_that_hangs_times_out(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(jwks, "SECONDS", 0.2)
    server = await asyncio.start_server(never, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, token_gateway(f"http://{host}:{port}", clock) as gateway:
        assert (await query_with_bearer(gateway, token(claims()))).status == 503


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "text/event-stream"])
async def test_while_the_issuer_is_away_it_is_not_known_whether_a_token_is_valid(clock: Clock, accept: str) -> None:
    async with token_gateway("http://127.0.0.1:9/jwks", clock) as gateway:
        headers = {"Authorization": f"Bearer {token(claims())}", "Accept": accept}
        for answer in (
            await gateway.request("POST", json={"query": NAMES}, headers=headers),
            await gateway.request("GET", params={"query": NAMES}, headers=headers),
        ):
            assert (answer.status, answer.codes) == (503, ["ISSUER_UNAVAILABLE"])
            assert 1 <= int(answer.headers["retry-after"]) <= jwks.RETRY_AFTER
            assert answer.headers["cache-control"] == "no-store"
            assert "www-authenticate" not in answer.headers
            assert "127.0.0.1" not in str(answer.body)
        for path in ("/cache", "/schema.graphql"):
            answer = await gateway.request("GET", path, headers=headers)
            assert (answer.status, "retry-after" in answer.headers) == (503, True)


async def test_while_the_issuer_is_away_a_websocket_closes_with_try_again_later(clock: Clock) -> None:
    async with token_gateway("http://127.0.0.1:9/jwks", clock) as gateway:
        connecting = gateway.session.ws_connect(f"{gateway.url}/graphql", protocols=["graphql-transport-ws"])
        async with connecting as socket:
            payload = {"Authorization": f"Bearer {token(claims())}"}
            await socket.send_json({"type": "connection_init", "payload": payload})
            await socket.receive()
            assert socket.close_code == 1013


async def test_readiness_and_the_audit_log_report_an_issuer_that_is_away(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(issuer.url, clock) as gateway:
        issuer.answer = lambda: web.Response(status=500)
        assert (await gateway.request("GET", "/readyz")).body == {"status": "ok"}
        assert (await query_with_bearer(gateway, token(claims()))).status == 503
        assert "ISSUER_UNAVAILABLE" in [getattr(line, "fields", {}).get("denied") for line in caplog.records]
        degraded = await gateway.request("GET", "/readyz")
        assert (degraded.status, degraded.body) == (200, {"status": "degraded"})
        issuer.answer = None
        assert (await query_with_bearer(gateway, token(claims()))).status == 503, "fetched a moment ago"
        clock.seconds += jwks.RETRY_AFTER
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        assert (await gateway.request("GET", "/readyz")).body == {"status": "ok"}


async def test_while_the_issuer_is_away_what_needs_none_of_its_keys_is_decided(clock: Clock, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.toml")
    key = file.add()
    async with token_gateway("http://127.0.0.1:9/jwks", clock, keys=str(file.path)) as gateway:
        assert (await query_with_bearer(gateway, key)).status == 200
        for credential in ("nonsense", "a.b.c", token(claims(), algorithm="PS256"), "gwk_" + "a" * 43):
            assert (await query_with_bearer(gateway, credential)).status == 401


# Tokens without a key id


@pytest.mark.parametrize(
    ("published", "status"),
    [
        ([public(RSA, "1")], 200),
        ([public(RSA, None)], 200),
        ([public(RSA, "1", alg="RS256")], 200),
        ([public(RSA, "1"), public(OTHER_RSA, "2", use="enc")], 200),
        ([public(RSA, None), public(OTHER_RSA, "2")], 200),
        ([public(RSA, "1"), public(OTHER_RSA, "2")], 401),
        ([public(RSA, "1"), public(EC, "2")], 401),
        ([public(OTHER_RSA, "1")], 401),
        ([public(EC, "1")], 401),
    ],
    ids=["one", "without an id", "alg", "use", "one without an id", "two", "two types", "another", "another type"],
)
async def test_a_token_without_a_key_id_needs_the_only_key_of_the_issuer(
    clock: Clock, tmp_path: Path, published: list[dict[str, Any]], status: int
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": published}))
    async with running_issuer(*published) as issuer:
        for location in (str(file), issuer.url):
            async with token_gateway(location, clock, algorithms=("RS256", "PS256", "ES256", "EdDSA")) as gateway:
                assert (await query_with_bearer(gateway, token(claims(), kid=None))).status == status


async def test_a_token_without_a_key_id_is_accepted_after_a_rotation(clock: Clock) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(issuer.url, clock) as gateway:
        assert (await query_with_bearer(gateway, token(claims(), kid=None))).status == 200
        issuer.keys = [public(OTHER_RSA, "2")]
        rotated = token(claims(), OTHER_RSA, kid=None)
        assert (await query_with_bearer(gateway, rotated)).status == 401, "fetched a moment ago"
        clock.seconds += jwks.MIN_FETCH_INTERVAL
        assert (await query_with_bearer(gateway, rotated)).status == 200
        assert (await query_with_bearer(gateway, token(claims(), kid=None))).status == 401
        assert len(issuer.requests) == 2


def test_algorithms_with_a_shared_secret_cannot_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public(RSA, "1"), {"kty": "oct", "k": "c2VjcmV0", "kid": "2"}]}))
    access = AccessSettings(
        mode="callers", issuer=ISSUER, audience=AUDIENCE, jwks=str(file), algorithms=("HS256", "none")
    )
    with pytest.raises(SettingsError, match="holds no public key for HS256, none"):
        create_app(settings(qianfan("http://127.0.0.1:9"), access=access))


def test_of_a_private_key_published_by_mistake_only_the_public_half_is_loaded() -> None:
    private = jwt.algorithms.RSAAlgorithm.to_jwk(RSA, as_dict=True) | {"kid": "1"}
    found = jwks.parse(json.dumps({"keys": [private]}).encode(), ["RS256"])
    assert not hasattr(found["1", "RS256"][0].key, "private_numbers")


@pytest.mark.parametrize("value", [["read", "raw"], "read raw"], ids=["a list", "text"])
@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("realm_access.roles", lambda value: {"realm_access": {"roles": value}}),
        ("resource_access.my-app.roles", lambda value: {"resource_access": {"my-app": {"roles": value}}}),
        ("realm_access.roles", lambda value: {"realm_access.roles": value, "realm_access": {"roles": ["admin"]}}),
        ("https://example.com/roles", lambda value: {"https://example.com/roles": value}),
    ],
    ids=["one level", "two levels", "a name with a dot", "a URL"],
)
async def test_a_claim_inside_another_one_is_read(
    name: str, wrap: Callable[[Any], dict[str, Any]], value: Any, keys: Path, clock: Clock
) -> None:
    raw = "{ models(first: 1) { nodes { raw } } }"
    async with token_gateway(keys, clock, roles_claim=name, registries_claim="groups.registries") as gateway:
        good = token(claims(groups={"registries": ["pai"]}, roles=None, registries=None, **wrap(value)))
        answer = await query_with_bearer(gateway, good)
        assert registry_names(answer) == ["pai"]
        assert (await query_with_bearer(gateway, good, raw)).status == 200
        for other in ({name.partition(".")[0]: "roles"}, {name.partition(".")[0]: ["roles"]}, {}):
            assert (await query_with_bearer(gateway, token(claims(roles=None, **other)))).status == 403


@pytest.mark.parametrize("kid", [None, "1"])
async def test_keys_without_an_id_are_all_tried(kid: str | None, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public(RSA, None), public(OTHER_RSA, None), public(EC, "2")]}))
    async with token_gateway(file, clock) as gateway:
        for key in (RSA, OTHER_RSA):
            assert (await query_with_bearer(gateway, token(claims(), key, kid=kid))).status == 200
        assert (await query_with_bearer(gateway, token(claims(exp=time.time() - 60), kid=kid))).status == 401
        assert (await query_with_bearer(gateway, token(claims(), THIRD_RSA, kid=kid))).status == 401


async def test_two_keys_with_one_id_are_both_tried(clock: Clock) -> None:
    async with (
        running_issuer(public(RSA, "1"), public(OTHER_RSA, "1")) as issuer,
        token_gateway(issuer.url, clock) as gateway,
    ):
        for key, status in ((RSA, 200), (OTHER_RSA, 200), (THIRD_RSA, 401)):
            assert (await query_with_bearer(gateway, token(claims(), key))).status == status


async def test_a_new_key_with_the_id_of_the_old_one_is_fetched(clock: Clock) -> None:
    async with running_issuer(public(RSA, "1")) as issuer, token_gateway(issuer.url, clock) as gateway:
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
        issuer.keys = [public(OTHER_RSA, "1")]
        clock.seconds += jwks.MIN_FETCH_INTERVAL
        assert (await query_with_bearer(gateway, token(claims(), OTHER_RSA))).status == 200
        for _ in range(3):
            assert (await query_with_bearer(gateway, token(claims()))).status == 401
        assert len(issuer.requests) == 2
