"""API keys: authentication, roles and registries of callers, routers, and rotation without a restart."""

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
from gateway.auth.api_keys import format_entry, new_key, parse
from gateway.config import watched_files
from gateway.config.settings import AccessSettings, CacheSettings, Secret, SettingsError, TelemetrySettings
from tests.auth.gateways import (
    NAMES,
    Clock,
    KeyFile,
    authenticating_gateway,
    query_with_bearer,
    registry_names,
    send_query,
)
from tests.conftest import Client, qianfan, settings

RAW = "{ models(first: 1) { nodes { raw } } }"
SCHEMA = "{ __schema { queryType { name } } }"


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.toml")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def key_gateway(key_file: KeyFile, clock: Clock, **sections: Any) -> AsyncIterator[Client]:
    async with authenticating_gateway(
        AccessSettings(mode="callers", keys=str(key_file.path)), clock, **sections
    ) as gateway:
        yield gateway


async def test_a_key_is_accepted_as_a_bearer_token_and_in_the_x_api_key_header(key_file: KeyFile, clock: Clock) -> None:
    key = key_file.add()
    async with key_gateway(key_file, clock) as gateway:
        assert registry_names(await send_query(gateway, authorization=f"Bearer {key}")) == ["pai", "qianfan"]
        assert registry_names(await send_query(gateway, authorization=f"bearer  {key}")) == ["pai", "qianfan"]
        assert registry_names(await send_query(gateway, x_api_key=key)) == ["pai", "qianfan"]
        got = await gateway.request("GET", params={"query": NAMES}, headers={"X-API-Key": key})
        assert registry_names(got) == ["pai", "qianfan"]
        assert {"Authorization", "X-API-Key"} < set(got.headers["vary"].split(", "))


async def test_every_invalid_credential_gets_the_same_401_and_the_audit_log_has_the_reason(
    key_file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key, own = key_file.add(), "a-key-of-my-own-making-that-is-in-the-file"
    key_file.add("own", key=own)
    old = key_file.add("old", more="expires = 2027-01-15T07:59:59Z")
    wrong = [
        ({}, "no credential"),
        ({"authorization": "Bearer "}, "no credential"),
        ({"authorization": f"Basic {key}"}, "no credential"),
        ({"authorization": key}, "no credential"),
        ({"authorization": f"Bearer {new_key()}"}, "the API key is unknown"),
        ({"authorization": f"Bearer {key[:-1]}"}, "the credential is neither an API key nor a token"),
        ({"authorization": f"Bearer {own}"}, "the credential is neither an API key nor a token"),
        ({"authorization": "Bearer é"}, "the credential is neither an API key nor a token"),
        ({"x_api_key": new_key()}, "the API key is unknown"),
        ({"x_api_key": old}, "the API key of old has expired"),
        ({"authorization": f"Bearer {key}", "x_api_key": key}, "two credentials in one request"),
    ]
    async with key_gateway(key_file, clock) as gateway:
        for headers, reason in wrong:
            caplog.clear()
            answer = await send_query(gateway, **headers)
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
            assert line.fields == {
                "denied": "UNAUTHENTICATED",
                "reason": reason,
                "caller": None,
                "remote": "127.0.0.1",
                "path": "/graphql",
            }


async def test_keys_never_appear_in_logs_or_answers(
    key_file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known, unknown = key_file.add(), new_key()
    async with key_gateway(key_file, clock) as gateway:
        for key in (known, unknown):
            for query in (NAMES, RAW):
                assert key not in json.dumps((await query_with_bearer(gateway, key, query)).body)
    assert caplog.records
    assert not any(key in caplog.text for key in (known, unknown))


async def test_each_role_permits_only_its_own_actions(
    key_file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reader, raw, explain, admin, nothing = (
        key_file.add(role, roles=roles)
        for role, roles in (
            ("reader", ("read",)),
            ("raw", ("read", "raw")),
            ("explain", ("read", "explain")),
            ("admin", ("admin",)),
            ("limited", ("explain",)),
        )
    )
    all_keys = {"reader": reader, "raw": raw, "explain": explain, "admin": admin, "nothing": nothing}
    async with key_gateway(key_file, clock, cache=CacheSettings()) as gateway:

        async def who_may(query: str) -> set[str]:
            answers = {name: await query_with_bearer(gateway, key, query) for name, key in all_keys.items()}
            assert {answer.status for answer in answers.values()} == {200, 403}
            for answer in answers.values():
                assert answer.codes == ([] if answer.status == 200 else ["FORBIDDEN"])
            return {name for name, answer in answers.items() if answer.status == 200}

        async def who_gets(path: str) -> set[str]:
            answers = {
                name: await gateway.request("GET", path, headers={"x-api-key": key}) for name, key in all_keys.items()
            }
            return {name for name, answer in answers.items() if answer.status == 200}

        assert await who_may(NAMES) == {"reader", "raw", "explain"}
        assert await who_may(RAW) == {"raw"}
        assert await who_may(SCHEMA) == {"explain"}
        assert await who_gets("/cache") == {"admin"}
        assert await who_gets("/schema.graphql") == {"explain", "nothing"}
    denied = [record.fields for record in caplog.records if record.name == "gateway.audit"]
    assert {"denied": "FORBIDDEN", "reason": "`raw` is not shown to this caller.", "caller": "reader"}.items() <= next(
        entry for entry in denied if entry["caller"] == "reader"
    ).items()
    assert {entry["path"] for entry in denied} == {"/graphql", "/cache", "/schema.graphql"}


async def test_an_admin_without_access_to_all_registries_cannot_use_the_cache_endpoint(
    key_file: KeyFile, clock: Clock
) -> None:
    key = key_file.add(registries=("pai*",), roles=("read", "admin"))
    async with key_gateway(key_file, clock, cache=CacheSettings()) as gateway:
        for method in ("GET", "DELETE"):
            assert (await gateway.request(method, "/cache", headers={"x-api-key": key})).status == 403


async def test_the_admin_token_is_accepted_by_the_cache_endpoint_alone(key_file: KeyFile, clock: Clock) -> None:
    key_file.add()
    async with key_gateway(key_file, clock, cache=CacheSettings(admin_token=Secret("operators"))) as gateway:
        assert (await gateway.request("GET", "/cache", headers={"Authorization": "Bearer operators"})).status == 200
        assert (await gateway.request("GET", "/cache")).status == 401
        assert (await query_with_bearer(gateway, "operators")).codes == ["FORBIDDEN"]


async def test_patterns_select_the_registries(key_file: KeyFile, clock: Clock) -> None:
    expected = {("*",): ["pai", "qianfan"], ("p*",): ["pai"], ("qianfan",): ["qianfan"], ("q", "x*"): [], ("*a*",): [
        "pai", "qianfan"]}  # fmt: skip
    keys = {patterns: key_file.add(registries=patterns) for patterns in expected}
    async with key_gateway(key_file, clock) as gateway:
        assert {
            patterns: registry_names(await query_with_bearer(gateway, key)) for patterns, key in keys.items()
        } == expected


async def test_keys_are_rotated_without_a_restart(key_file: KeyFile, clock: Clock) -> None:
    first = key_file.add("reports")
    async with key_gateway(key_file, clock) as gateway:
        second = key_file.add("reports")
        clock.seconds += watched_files.CHECK_INTERVAL
        assert (
            (await query_with_bearer(gateway, first)).status == (await query_with_bearer(gateway, second)).status == 200
        )
        key_file.remove(first)
        clock.seconds += watched_files.CHECK_INTERVAL
        assert (await query_with_bearer(gateway, first)).status == 401
        assert (await query_with_bearer(gateway, second)).status == 200


async def test_while_the_file_is_invalid_the_previous_keys_stay_valid(
    key_file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_file.add()
    async with key_gateway(key_file, clock) as gateway:
        for damage in (lambda: key_file.path.write_text("[[keys]]\nname = 5"), key_file.path.unlink):
            caplog.clear()
            damage()
            for _ in range(2):
                clock.seconds += watched_files.CHECK_INTERVAL
                assert (await query_with_bearer(gateway, key)).status == 200
            assert any("the previous content stays in use" in line for line in caplog.messages)
        key_file.entries.clear()
        other = key_file.add()
        clock.seconds += watched_files.CHECK_INTERVAL
        assert (await query_with_bearer(gateway, key)).status == 401
        assert (await query_with_bearer(gateway, other)).status == 200


async def test_an_expired_key_is_refused(key_file: KeyFile, clock: Clock) -> None:
    key = key_file.add(more="expires = 2027-01-15T08:00:01Z")
    async with key_gateway(key_file, clock) as gateway:
        assert (await query_with_bearer(gateway, key)).status == 200
        clock.seconds += 1
        assert (await query_with_bearer(gateway, key)).status == 401


async def test_readiness_lists_only_the_registries_that_the_caller_may_read(key_file: KeyFile, clock: Clock) -> None:
    key = key_file.add(registries=("pai",), roles=("read",))
    async with key_gateway(key_file, clock) as gateway:
        assert (await gateway.request("GET", "/readyz")).body == {"status": "ok"}
        known = await gateway.request("GET", "/readyz", headers={"x-api-key": key})
        assert known.body == {"status": "ok", "registries": {"pai": "UNKNOWN"}}


async def test_metrics_on_the_gateways_port_need_the_admin_role(key_file: KeyFile, clock: Clock) -> None:
    reader, admin = key_file.add("reader"), key_file.add("admin", roles=("read", "admin"))
    access = AccessSettings(mode="callers", keys=str(key_file.path))
    async with authenticating_gateway(access, clock, telemetry=TelemetrySettings(metrics="path")) as gateway:
        for headers, status in ({}, 401), ({"X-API-Key": reader}, 403), ({"X-API-Key": admin}, 200):
            assert (await gateway.request("GET", "/metrics", headers=headers)).status == status


# Routers


async def test_a_router_sends_requests_for_callers_within_its_own_permissions(key_file: KeyFile, clock: Clock) -> None:
    key = key_file.add("router", registries=("p*",), roles=("router", "read", "explain"))
    async with key_gateway(key_file, clock) as gateway:

        async def through(query: str = NAMES, **headers: str) -> Any:
            return await send_query(gateway, query, x_api_key=key, **headers)

        assert registry_names(await through(x_gateway_registries="*", x_gateway_roles="read")) == ["pai"]
        assert registry_names(await through(x_gateway_registries="pai qianfan", x_gateway_roles="read")) == ["pai"]
        assert registry_names(await through(x_gateway_registries="qianfan", x_gateway_roles="read")) == []
        assert (await through(x_gateway_registries="*", x_gateway_roles="")).codes == ["FORBIDDEN"]
        everything = {"x_gateway_registries": "*", "x_gateway_roles": "read raw explain admin router"}
        assert (await through(RAW, **everything)).codes == ["FORBIDDEN"]
        assert (await through(SCHEMA, **everything)).status == 200
        heads = {"x-api-key": key, "x-gateway-registries": "*", "x-gateway-roles": "admin"}
        assert (await gateway.request("GET", "/cache", headers=heads)).status == 403


@pytest.mark.parametrize("headers", [{}, {"x_gateway_roles": "read"}, {"x_gateway_registries": "*"}])
async def test_a_router_must_send_the_callers_registries_and_roles(
    key_file: KeyFile, clock: Clock, headers: dict[str, str]
) -> None:
    key = key_file.add("router", roles=("router", "read"))
    async with key_gateway(key_file, clock) as gateway:
        assert (await send_query(gateway, x_api_key=key, **headers)).codes == ["UNAUTHENTICATED"]


async def test_the_headers_of_routers_are_ignored_for_other_callers(key_file: KeyFile, clock: Clock) -> None:
    key = key_file.add(registries=("pai",))
    async with key_gateway(key_file, clock) as gateway:
        headers = {"x_gateway_registries": "*", "x_gateway_roles": "read raw"}
        assert registry_names(await send_query(gateway, x_api_key=key, **headers)) == ["pai"]
        assert (await send_query(gateway, RAW, x_api_key=key, **headers)).codes == ["FORBIDDEN"]


# Files and settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keys = 5", "must contain only [[keys]] tables"),
        ("[[keys]]\nname = 'a'\n[other]", "must contain only [[keys]] tables"),
        ("[[keys]]\nname = 'a'\nkey = 'hidden'", "keys[1]: must have name, hash, registries and roles"),
        ("[[keys]]\nname = 'a b'", "keys[1]: name must be letters"),
        ("[[keys]]\nname = 'a'\nhash = 'hidden'", 'keys[1]: hash must be "sha256:" and 64 hexadecimal digits'),
        (format_entry("k", "a", ["PAI"], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (format_entry("k", "a", [], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (format_entry("k", "a", ["-pai"], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (format_entry("k", "a", ["p" * 33], ["read"]), "keys[1]: registries must be a list of names or patterns"),
        (
            format_entry("k", "a", ["*"], ["write"]),
            "keys[1]: roles must be a list of read, raw, explain, admin, router",
        ),
        (
            format_entry("k", "a", ["*"], ["read"]) + "\nexpires = 2030-01-01",
            "keys[1]: expires must be a time with a time zone",
        ),
        ("\n".join([format_entry("k", "a", ["*"], ["read"])] * 2), "holds one key twice"),
        ("[[keys", "Expected"),
    ],
)
def test_an_invalid_file_of_keys_is_refused_at_start_up(
    content: str, message: str, key_file: KeyFile, clock: Clock
) -> None:
    key_file.path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        create_app(
            settings(qianfan("http://127.0.0.1:9"), access=AccessSettings(mode="callers", keys=str(key_file.path)))
        )
    (problem,) = caught.value.problems
    assert problem.startswith(f"access.keys: {key_file.path}: {message}")
    assert "hidden" not in problem


@pytest.mark.parametrize(
    ("access", "messages"),
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
        (
            AccessSettings(mode="callers", keys="/no/such/file"),
            ["access.keys: /no/such/file: No such file or directory"],
        ),
        (
            AccessSettings(mode="callers", issuer="i"),
            ["access.audience is missing: tokens need it", "access.jwks is missing: tokens need it"],
        ),
        (
            AccessSettings(mode="callers", issuer="i", audience="a", jwks="http://login.example.com/jwks"),
            ["access.jwks: must be a file or an https:// URL (http:// on loopback only)"],
        ),
        (
            AccessSettings(mode="callers", issuer="i", audience="a", jwks="file:///etc/passwd"),
            ["access.jwks: must be a file or an https:// URL (http:// on loopback only)"],
        ),
    ],
)
def test_contradictory_access_settings_are_refused_at_start_up(access: AccessSettings, messages: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        create_app(settings(qianfan("http://127.0.0.1:9"), access=access))
    assert list(caught.value.problems) == messages


def test_the_key_command_prints_a_key_and_its_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "reports", "--registries", "pai-*", "qianfan", "--roles", "read", "raw"]) == 0
    out, err = capsys.readouterr()
    found = re.search(r"gwk_[\w-]{43}$", err.strip())
    assert found is not None
    assert found[0] not in out
    (entry,) = parse(out.encode())
    (again,) = parse(format_entry(found[0], "reports", ["pai-*", "qianfan"], ["read", "raw"]).encode())
    assert entry == again
    assert main(["key", "reports", "--roles", "write"]) == 2
    assert capsys.readouterr().err == "gateway: roles must be a list of read, raw, explain, admin, router, tool:NAME\n"
