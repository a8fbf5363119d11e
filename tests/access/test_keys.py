"""API keys: who comes in with one, what each may do, and how they are changed while the gateway runs."""

import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.app import create_app
from gateway.auth import watched_files as files
from gateway.auth.api_keys import as_entry, new_key, parse
from gateway.config.settings import AccessSettings, CacheSettings, Secret, SettingsError, TelemetrySettings
from tests.access.doors import NAMES, Clock, Ring, ask, bearing, guarded, names
from tests.conftest import Client, qianfan, settings

RAW = "{ models(first: 1) { nodes { raw } } }"
SCHEMA = "{ __schema { queryType { name } } }"


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path / "keys.toml")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def locked(ring: Ring, clock: Clock, **sections: Any) -> AsyncIterator[Client]:
    async with guarded(AccessSettings(mode="callers", keys=str(ring.path)), clock, **sections) as gateway:
        yield gateway


async def test_a_key_lets_in_as_a_bearer_token_and_in_a_header_of_its_own(ring: Ring, clock: Clock) -> None:
    key = ring.add()
    async with locked(ring, clock) as gateway:
        assert names(await ask(gateway, authorization=f"Bearer {key}")) == ["pai", "qianfan"]
        assert names(await ask(gateway, authorization=f"bearer  {key}")) == ["pai", "qianfan"]
        assert names(await ask(gateway, x_api_key=key)) == ["pai", "qianfan"]
        got = await gateway.request("GET", params={"query": NAMES}, headers={"X-API-Key": key})
        assert names(got) == ["pai", "qianfan"]
        assert {"Authorization", "X-API-Key"} < set(got.headers["vary"].split(", "))


async def test_who_has_no_key_is_told_the_same_whatever_is_wrong(
    ring: Ring, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key, own = ring.add(), "a-key-of-my-own-making-that-is-in-the-file"
    ring.add("own", key=own)
    old = ring.add("old", more="expires = 2027-01-15T07:59:59Z")
    wrong = [
        ({}, "no credential"),
        ({"authorization": "Bearer "}, "no credential"),
        ({"authorization": f"Basic {key}"}, "no credential"),
        ({"authorization": key}, "no credential"),
        ({"authorization": f"Bearer {new_key()}"}, "an unknown key"),
        ({"authorization": f"Bearer {key[:-1]}"}, "what is neither a key nor a token"),
        ({"authorization": f"Bearer {own}"}, "what is neither a key nor a token"),
        ({"authorization": "Bearer é"}, "what is neither a key nor a token"),
        ({"x_api_key": new_key()}, "an unknown key"),
        ({"x_api_key": old}, "a key of old that has expired"),
        ({"authorization": f"Bearer {key}", "x_api_key": key}, "two credentials in one request"),
    ]
    async with locked(ring, clock) as gateway:
        for headers, reason in wrong:
            caplog.clear()
            answer = await ask(gateway, **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="gateway"')
            assert answer.headers["cache-control"] == "no-store"
            assert answer.body == {
                "errors": [
                    {
                        "message": "This request needs a valid API key or bearer token.",
                        "extensions": {"code": "UNAUTHENTICATED"},
                    }
                ]
            }
            (line,) = [record for record in caplog.records if record.name == "gateway.audit"]
            assert json.loads(line.getMessage()) == {
                "denied": "UNAUTHENTICATED",
                "reason": reason,
                "caller": None,
                "remote": "127.0.0.1",
                "path": "/graphql",
            }


async def test_neither_log_nor_answer_ever_holds_a_key(
    ring: Ring, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known, unknown = ring.add(), new_key()
    async with locked(ring, clock) as gateway:
        for key in (known, unknown):
            for query in (NAMES, RAW):
                assert key not in json.dumps((await bearing(gateway, key, query)).body)
    assert caplog.records
    assert not any(key in caplog.text for key in (known, unknown))


async def test_each_role_permits_its_own(ring: Ring, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader, raw, explain, admin, nothing = (
        ring.add(role, roles=roles)
        for role, roles in (
            ("reader", ("read",)),
            ("raw", ("read", "raw")),
            ("explain", ("read", "explain")),
            ("admin", ("admin",)),
            ("limited", ("explain",)),
        )
    )
    everybody = {"reader": reader, "raw": raw, "explain": explain, "admin": admin, "nothing": nothing}
    async with locked(ring, clock, cache=CacheSettings()) as gateway:

        async def who_may(query: str) -> set[str]:
            answers = {name: await bearing(gateway, key, query) for name, key in everybody.items()}
            assert {answer.status for answer in answers.values()} == {200, 403}
            for answer in answers.values():
                assert answer.codes == ([] if answer.status == 200 else ["FORBIDDEN"])
            return {name for name, answer in answers.items() if answer.status == 200}

        async def who_gets(path: str) -> set[str]:
            heads = {name: {"x-api-key": key} for name, key in everybody.items()}
            return {
                name for name, head in heads.items() if (await gateway.request("GET", path, headers=head)).status == 200
            }

        assert await who_may(NAMES) == {"reader", "raw", "explain"}
        assert await who_may(RAW) == {"raw"}
        assert await who_may(SCHEMA) == {"explain"}
        assert await who_gets("/cache") == {"admin"}
        assert await who_gets("/schema.graphql") == {"explain", "nothing"}
    denied = [json.loads(record.getMessage()) for record in caplog.records if record.name == "gateway.audit"]
    assert {"denied": "FORBIDDEN", "reason": "`raw` is not shown to this caller.", "caller": "reader"}.items() <= next(
        one for one in denied if one["caller"] == "reader"
    ).items()
    assert {one["path"] for one in denied} == {"/graphql", "/cache", "/schema.graphql"}


async def test_who_reads_some_registries_only_is_no_admin_of_them_all(ring: Ring, clock: Clock) -> None:
    key = ring.add(registries=("pai*",), roles=("read", "admin"))
    async with locked(ring, clock, cache=CacheSettings()) as gateway:
        for method in ("GET", "DELETE"):
            assert (await gateway.request(method, "/cache", headers={"x-api-key": key})).status == 403


async def test_the_token_for_the_cache_opens_nothing_else(ring: Ring, clock: Clock) -> None:
    ring.add()
    async with locked(ring, clock, cache=CacheSettings(admin_token=Secret("operators"))) as gateway:
        assert (await gateway.request("GET", "/cache", headers={"Authorization": "Bearer operators"})).status == 200
        assert (await gateway.request("GET", "/cache")).status == 401
        assert (await bearing(gateway, "operators")).codes == ["FORBIDDEN"]


async def test_patterns_choose_the_registries(ring: Ring, clock: Clock) -> None:
    expected = {("*",): ["pai", "qianfan"], ("p*",): ["pai"], ("qianfan",): ["qianfan"], ("q", "x*"): [], ("*a*",): [
        "pai", "qianfan"]}  # fmt: skip
    keys = {patterns: ring.add(registries=patterns) for patterns in expected}
    async with locked(ring, clock) as gateway:
        assert {patterns: names(await bearing(gateway, key)) for patterns, key in keys.items()} == expected


async def test_keys_are_rotated_without_a_restart(ring: Ring, clock: Clock) -> None:
    first = ring.add("reports")
    async with locked(ring, clock) as gateway:
        second = ring.add("reports")
        clock.seconds += files.LOOK_EVERY
        assert (await bearing(gateway, first)).status == (await bearing(gateway, second)).status == 200
        ring.remove(first)
        clock.seconds += files.LOOK_EVERY
        assert (await bearing(gateway, first)).status == 401
        assert (await bearing(gateway, second)).status == 200


async def test_a_broken_file_changes_nothing_until_it_is_whole_again(
    ring: Ring, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key = ring.add()
    async with locked(ring, clock) as gateway:
        for harm in (lambda: ring.path.write_text("[[keys]]\nname = 5"), ring.path.unlink):
            caplog.clear()
            harm()
            for _ in range(2):
                clock.seconds += files.LOOK_EVERY
                assert (await bearing(gateway, key)).status == 200
            assert any("goes on holding" in line for line in caplog.messages)
        ring.entries.clear()
        other = ring.add()
        clock.seconds += files.LOOK_EVERY
        assert (await bearing(gateway, key)).status == 401
        assert (await bearing(gateway, other)).status == 200


async def test_a_key_ends_when_its_entry_says(ring: Ring, clock: Clock) -> None:
    key = ring.add(more="expires = 2027-01-15T08:00:01Z")
    async with locked(ring, clock) as gateway:
        assert (await bearing(gateway, key)).status == 200
        clock.seconds += 1
        assert (await bearing(gateway, key)).status == 401


async def test_readiness_tells_of_registries_only_to_those_who_may_read_them(ring: Ring, clock: Clock) -> None:
    key = ring.add(registries=("pai",), roles=("read",))
    async with locked(ring, clock) as gateway:
        assert (await gateway.request("GET", "/readyz")).body == {"status": "ok"}
        known = await gateway.request("GET", "/readyz", headers={"x-api-key": key})
        assert known.body == {"status": "ok", "registries": {"pai": "UNKNOWN"}}


# Routers


async def test_figures_on_the_gateways_own_port_are_for_administrators(ring: Ring, clock: Clock) -> None:
    reader, admin = ring.add("reader"), ring.add("admin", roles=("read", "admin"))
    access = AccessSettings(mode="callers", keys=str(ring.path))
    async with guarded(access, clock, telemetry=TelemetrySettings(metrics="path")) as gateway:
        for headers, status in ({}, 401), ({"X-API-Key": reader}, 403), ({"X-API-Key": admin}, 200):
            assert (await gateway.request("GET", "/metrics", headers=headers)).status == status


async def test_a_router_asks_for_others_and_never_for_more_than_it_may_itself(ring: Ring, clock: Clock) -> None:
    key = ring.add("router", registries=("p*",), roles=("router", "read", "explain"))
    async with locked(ring, clock) as gateway:

        async def through(query: str = NAMES, **headers: str) -> Any:
            return await ask(gateway, query, x_api_key=key, **headers)

        assert names(await through(x_gateway_registries="*", x_gateway_roles="read")) == ["pai"]
        assert names(await through(x_gateway_registries="pai qianfan", x_gateway_roles="read")) == ["pai"]
        assert names(await through(x_gateway_registries="qianfan", x_gateway_roles="read")) == []
        assert (await through(x_gateway_registries="*", x_gateway_roles="")).codes == ["FORBIDDEN"]
        everything = {"x_gateway_registries": "*", "x_gateway_roles": "read raw explain admin router"}
        assert (await through(RAW, **everything)).codes == ["FORBIDDEN"]
        assert (await through(SCHEMA, **everything)).status == 200
        heads = {"x-api-key": key, "x-gateway-registries": "*", "x-gateway-roles": "admin"}
        assert (await gateway.request("GET", "/cache", headers=heads)).status == 403


@pytest.mark.parametrize("said", [{}, {"x_gateway_roles": "read"}, {"x_gateway_registries": "*"}])
async def test_a_router_must_say_for_whom_it_asks(ring: Ring, clock: Clock, said: dict[str, str]) -> None:
    key = ring.add("router", roles=("router", "read"))
    async with locked(ring, clock) as gateway:
        assert (await ask(gateway, x_api_key=key, **said)).codes == ["UNAUTHENTICATED"]


async def test_who_is_no_router_says_in_vain_for_whom_they_ask(ring: Ring, clock: Clock) -> None:
    key = ring.add(registries=("pai",))
    async with locked(ring, clock) as gateway:
        said = {"x_gateway_registries": "*", "x_gateway_roles": "read raw"}
        assert names(await ask(gateway, x_api_key=key, **said)) == ["pai"]
        assert (await ask(gateway, RAW, x_api_key=key, **said)).codes == ["FORBIDDEN"]


# Files and settings


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("keys = 5", "must hold [[keys]] tables and nothing else"),
        ("[[keys]]\nname = 'a'\n[other]", "must hold [[keys]] tables and nothing else"),
        ("[[keys]]\nname = 'a'\nkey = 'hidden'", "keys[1]: must have name, hash, registries and roles"),
        ("[[keys]]\nname = 'a b'", "keys[1]: name must be letters"),
        ("[[keys]]\nname = 'a'\nhash = 'hidden'", 'keys[1]: hash must be "sha256:" and 64 hexadecimal digits'),
        (as_entry("k", "a", ["PAI"], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (as_entry("k", "a", [], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (as_entry("k", "a", ["*"], ["write"]), "keys[1]: roles must be a list of read, raw, explain, admin, router"),
        (as_entry("k", "a", ["*"], ["read"]) + "\nexpires = 2030-01-01", "keys[1]: expires must be a time with its"),
        ("\n".join([as_entry("k", "a", ["*"], ["read"])] * 2), "holds one key twice"),
        ("[[keys", "Expected"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(written: str, told: str, ring: Ring, clock: Clock) -> None:
    ring.path.write_text(written)
    with pytest.raises(SettingsError) as caught:
        create_app(settings(qianfan("http://127.0.0.1:9"), access=AccessSettings(mode="callers", keys=str(ring.path))))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{ring.path}: {told}")
    assert "hidden" not in problem


@pytest.mark.parametrize(
    ("access", "told"),
    [
        (
            AccessSettings(mode="callers"),
            ["access.mode: callers needs access.keys, or access.issuer, audience and jwks"],
        ),
        (AccessSettings(keys="keys.toml"), ['access.keys: needs access.mode = "callers"']),
        (
            AccessSettings(mode="open", issuer="i", jwks="j"),
            ['access.issuer: needs access.mode = "callers"', 'access.jwks: needs access.mode = "callers"'],
        ),
        (AccessSettings(mode="callers", keys="/no/such/file"), ["/no/such/file: No such file or directory"]),
        (
            AccessSettings(mode="callers", issuer="i"),
            ["access.audience is missing: tokens need it", "access.jwks is missing: tokens need it"],
        ),
        (
            AccessSettings(mode="callers", issuer="i", audience="a", jwks="http://login.example.com/jwks"),
            ["access.jwks: must be a file or an https:// address (http:// on loopback only)"],
        ),
        (
            AccessSettings(mode="callers", issuer="i", audience="a", jwks="file:///etc/passwd"),
            ["access.jwks: must be a file or an https:// address (http:// on loopback only)"],
        ),
    ],
)
def test_settings_that_say_one_thing_and_mean_another_stop_the_start(access: AccessSettings, told: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        create_app(settings(qianfan("http://127.0.0.1:9"), access=access))
    assert list(caught.value.problems) == told


def test_the_command_makes_a_key_and_its_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "reports", "--registries", "pai-*", "qianfan", "--roles", "read", "raw"]) == 0
    out, err = capsys.readouterr()
    found = re.search(r"gwk_[\w-]{43}$", err.strip())
    assert found is not None
    assert found[0] not in out
    (entry,) = parse(out.encode())
    (again,) = parse(as_entry(found[0], "reports", ["pai-*", "qianfan"], ["read", "raw"]).encode())
    assert entry == again
    assert main(["key", "reports", "--roles", "write"]) == 2
    assert capsys.readouterr().err == "gateway: roles must be a list of read, raw, explain, admin, router\n"
