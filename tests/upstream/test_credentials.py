"""Credentials of registries that change while the gateway runs."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import twins
from gateway.catalog.registry import Registry, identity
from gateway.config.loading import load
from gateway.config.settings import Credentials, RegistrySettings, Secret, SettingsError, StaticCredentialsSettings
from gateway.errors import RegistryCredentialsMissing
from gateway.registries import KINDS
from gateway.registries.qianfan import QianfanSettings
from gateway.twins import Twins
from gateway.twins.signature_check import PAI_EXPIRED_STS_TOKEN
from gateway.upstream import credentials
from gateway.upstream.access_keys import parse
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.credentials import CredentialsCommand, RenewingCredentials
from tests.conftest import Client, pai, qianfan, served, settings

MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
FOUND = {"model": {"name": "情感分析"}}


class Clock:
    """A clock that a test sets."""

    seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def key(token: str = twins.PAI_STS_TOKEN, ends: float | None = None, name: str = twins.PAI_KEY_ID) -> str:
    """Return a key as a file or a command supplies it."""
    document = {"access_key_id": name, "access_key_secret": twins.PAI_SECRET, "security_token": token}
    return json.dumps(document | ({"expiration": datetime.fromtimestamp(ends, UTC).isoformat()} if ends else {}))


class Issuer:
    """A command that prints a key and records each run."""

    def __init__(self, folder: Path) -> None:
        self.output, self.log = folder / "output", folder / "log"
        self.command = ("sh", "-c", f"echo run >> {self.log}; cat {self.output}")

    @property
    def runs(self) -> int:
        return self.log.read_text().count("run") if self.log.exists() else 0


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def gateway_with(clock: Clock, **options: Any) -> AsyncIterator[tuple[Twins, Client]]:
    """A gateway whose key comes from a file or a command, over the twin of PAI."""
    options = {"access_key_id": "", "access_key_secret": Secret(""), "account": "1", **options}
    async with twins.serving(models=20) as twin, served(settings(pai(twin.url, **options)), clock) as gateway:
        yield twin, gateway


async def test_a_key_in_a_file_is_used_and_replaced_when_the_file_changes(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(key(PAI_EXPIRED_STS_TOKEN))
    async with gateway_with(clock, credentials_file=str(file)) as (_, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        file.write_text(key())
        clock.seconds += credentials.RENEW_INTERVAL
        assert (await gateway.query(MODEL)).data == FOUND


async def test_a_file_may_appear_late_and_disappear(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    async with gateway_with(clock, credentials_file=str(file)) as (twin, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert twin.calls == {}
        file.write_text(key())
        clock.seconds += credentials.FILE_CHECK_INTERVAL
        assert (await gateway.query(MODEL)).data == FOUND
        file.unlink()
        clock.seconds += 86_400
        assert (await gateway.query(MODEL)).data == FOUND


async def test_a_refused_key_is_renewed_and_the_call_repeated(clock: Clock, issuer: Issuer) -> None:
    issuer.output.write_text(key(PAI_EXPIRED_STS_TOKEN))
    async with gateway_with(clock, credentials_command=issuer.command) as (twin, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert (twin.calls, issuer.runs) == ({"GetModel": 1}, 1)
        clock.seconds += credentials.RENEW_INTERVAL
        issuer.output.write_text(key())
        assert (await gateway.query(MODEL)).data == FOUND
        assert (twin.calls, issuer.runs) == ({"GetModel": 3}, 2)


async def test_a_key_that_stays_refused_is_renewed_once_per_interval(clock: Clock, issuer: Issuer) -> None:
    issuer.output.write_text(key(PAI_EXPIRED_STS_TOKEN))
    async with gateway_with(clock, credentials_command=issuer.command) as (_, gateway):
        for _ in range(5):
            assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert issuer.runs == 1


async def test_a_key_is_renewed_in_the_background_before_it_expires(clock: Clock, issuer: Issuer) -> None:
    issuer.output.write_text(key(ends=clock.seconds + 3600))
    async with gateway_with(clock, credentials_command=issuer.command) as (_, gateway):
        assert (await gateway.query(MODEL)).data == FOUND
        clock.seconds += 3600 - credentials.RENEW_BEFORE - 1
        assert (await gateway.query(MODEL)).data == FOUND
        assert issuer.runs == 1
        clock.seconds += 1
        issuer.output.write_text(key(ends=clock.seconds + 3600))
        while issuer.runs == 1:
            assert (await gateway.query(MODEL)).data == FOUND
        clock.seconds += 3000
        assert (await gateway.query(MODEL)).data == FOUND
        assert issuer.runs == 2


async def test_the_old_key_is_used_until_it_expires_while_the_command_fails(clock: Clock, issuer: Issuer) -> None:
    issuer.output.write_text(key(ends=clock.seconds + 100))
    async with gateway_with(clock, credentials_command=issuer.command) as (twin, gateway):
        assert (await gateway.query(MODEL)).data == FOUND
        issuer.output.unlink()
        clock.seconds += 99
        assert (await gateway.query(MODEL)).data == FOUND
        twin.calls.clear()
        clock.seconds += 1
        answer = await gateway.query(MODEL)
        assert answer.codes == ["REGISTRY_UNAUTHENTICATED"]
        assert answer.body["errors"][0]["extensions"]["retryable"]
        assert twin.calls == {}
        issuer.output.write_text(key())
        clock.seconds += credentials.RENEW_INTERVAL
        assert (await gateway.query(MODEL)).data == FOUND


async def test_concurrent_callers_share_one_run_of_the_command(clock: Clock, issuer: Issuer) -> None:
    issuer.output.write_text(key())
    async with gateway_with(clock, credentials_command=issuer.command) as (_, gateway):
        answers = await asyncio.gather(*(gateway.query(MODEL) for _ in range(20)))
        assert [answer.data for answer in answers] == [FOUND] * 20
        assert issuer.runs == 1


@contextmanager
def seconds_for_a_command(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(credentials, "COMMAND_SECONDS", seconds)
        yield


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo $$ > pid; sleep 600", "the command took longer than 0.3 seconds"),
        ("echo hidden; exit 3", "the command failed"),
        ("yes hidden", "the command printed too much"),
        ("echo hidden", "not JSON"),
        ("echo '[\"hidden\"]'", "not an object with the texts access_key_id"),
        ('echo \'{"access_key_id": "hidden"}\'', "without access_key_id or access_key_secret"),
        ('echo \'{"access_key_id": "hidden", "access_key_secret": 5}\'', "not an object with the texts"),
        (
            'echo \'{"access_key_id": "hidden", "access_key_secret": "hidden", "expiration": "2030-01-01T00:00:00"}\'',
            "expiration is not a time with its zone",
        ),
    ],
)
async def test_a_failed_command_is_killed_and_logged_without_its_output(
    script: str,
    problem: str,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = RenewingCredentials("pai", CredentialsCommand(("sh", "-c", f"cd {tmp_path}; {script}")), clock)
    with (
        seconds_for_a_command(monkeypatch, 0.3 if "sleep" in script else 30),
        pytest.raises(RegistryCredentialsMissing, match=r'^Registry "pai" has no valid credentials at the moment\.$'),
    ):
        await keys.current()
    (line,) = caplog.messages
    assert line.startswith(f'Registry "pai": no new credentials: {problem}')
    assert "hidden" not in line
    for process in tmp_path.glob("pid"):  # noqa: ASYNC240
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.read_text()), 0)


async def test_a_missing_command_is_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RegistryCredentialsMissing):
        await RenewingCredentials("pai", CredentialsCommand(("/no/such/command",)), clock).current()
    assert caplog.messages == ['Registry "pai": no new credentials: No such file or directory']


def test_token_and_expiration_are_optional() -> None:
    document = b'{"access_key_id": "a", "access_key_secret": "b"}'
    assert parse(document) == Credentials("a", Secret("b"), Secret(""), None)
    ending = b'{"access_key_id": "a", "access_key_secret": "b", "expiration": "2030-01-01T00:00:00Z"}'
    assert parse(ending).expires == 1_893_456_000.0


FORMS: dict[str, dict[str, Any]] = {
    "the Alibaba Cloud CLI": {
        "mode": "StsToken",
        "access_key_id": "a",
        "access_key_secret": "b",
        "sts_token": "c",
        "region_id": "cn-hangzhou",
    },
    "Alibaba's STS and metadata service": {
        "AccessKeyId": "a",
        "AccessKeySecret": "b",
        "SecurityToken": "c",
        "Expiration": "2030-01-01T00:00:00Z",
        "LastUpdated": "2029-12-31T18:00:00Z",
        "Code": "Success",
    },
    "Baidu's STS": {
        "accessKeyId": "a",
        "secretAccessKey": "b",
        "sessionToken": "c",
        "createTime": "2029-12-31T00:00:00Z",
        "expiration": "2030-01-01T00:00:00Z",
        "userId": "1",
        "roleId": "2",
    },
    "the AWS CLI": {
        "Version": 1,
        "AccessKeyId": "a",
        "SecretAccessKey": "b",
        "SessionToken": "c",
        "Expiration": "2030-01-01T00:00:00Z",
        "AccountId": "123456789012",
    },
    "the settings of Qianfan": {"access_key": "a", "secret_key": "b", "security_token": "c"},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_names_of_the_vendors_tools_are_understood(form: str) -> None:
    found = parse(b"\xef\xbb\xbf" + json.dumps(FORMS[form]).encode())
    assert (found.key, found.secret, found.token) == ("a", Secret("b"), Secret("c"))
    assert found.expires == (1_893_456_000.0 if "xpiration" in str(FORMS[form]) else None)


WRONG: dict[str, dict[str, Any]] = {
    "is not one of": {"token": "c"},
    "is not one of access_key_id": {"security_tokn": "c"},
    "not one of": {"profiles": []},
    "one of": {"": "c"},
    "security_token occurs twice": {"sts_token": "c", "security_token": "c"},
    "access_key_id occurs twice": {"AccessKeyId": "a"},
    "texts": {"sts_token": None},
    "its mode is not AK, but it has no security_token": {"mode": "StsToken"},
    "its mode is not AK": {"mode": "EcsRamRole", "sts_token": ""},
    "its mode": {"mode": 1},
    "its code is not Success": {"Code": "Failed"},
    "its code": {"code": None},
    "code occurs twice": {"Code": "Success", "code": "Success"},
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_name_that_is_unknown_or_given_twice_is_an_error(reason: str) -> None:
    document = {"access_key_id": "a", "access_key_secret": "b", **WRONG[reason]}
    with pytest.raises(ValueError, match=reason) as refused:
        parse(json.dumps(document).encode())
    assert "tokn" not in str(refused.value)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ('"access_key_id": "a", "access_key_id": "hidden", "access_key_secret": "b"', "access_key_id occurs twice"),
        (
            '"access_key_id": "a", "access_key_secret": "b", "access_key_secret": "b"',
            "access_key_secret occurs twice",
        ),
        ('"access_key_id": "a", "access_key_secret": "b", "mode": "AK", "mode": "AK"', "mode occurs twice"),
        ('"access_key_id": "a", "access_key_secret": {"hidden": 1, "hidden": 2}', "not an object with the texts"),
        ('"access_key_id": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_a_name_that_json_contains_twice_is_an_error(members: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse(f"{{{members}}}".encode())
    assert "hidden" not in str(refused.value)


INVALID_FILES = {
    "access_key_id occurs twice": '{{"access_key_id": "x", "access_key_id": "{id}", "access_key_secret": "{secret}"}}',
    "its mode is not AK": '{{"mode": "StsToken", "access_key_id": "{id}", "access_key_secret": "{secret}"}}',
    "its code is not Success": '{{"Code": "Failed", "AccessKeyId": "{id}", "AccessKeySecret": "{secret}"}}',
}


@pytest.mark.parametrize("reason", INVALID_FILES)
async def test_a_key_that_its_file_makes_doubtful_is_never_sent(
    reason: str, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key.json"
    file.write_text(INVALID_FILES[reason].format(id=twins.PAI_KEY_ID, secret=twins.PAI_SECRET))
    async with gateway_with(clock, credentials_file=str(file)) as (twin, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert twin.calls == {}
    assert f"no new credentials: {reason}" in caplog.text
    assert twins.PAI_SECRET not in caplog.text


async def test_a_file_in_the_form_of_the_vendors_cli_is_sent_with_its_token(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key.json"
    form = {"mode": "StsToken", "access_key_id": twins.PAI_KEY_ID, "access_key_secret": twins.PAI_SECRET}
    file.write_text(json.dumps(form | {"sts_token": PAI_EXPIRED_STS_TOKEN}), encoding="utf-8-sig")
    async with gateway_with(clock, credentials_file=str(file)) as (twin, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert twin.calls["GetModel"] > 0
        file.write_text(json.dumps(form | {"sts_token": twins.PAI_STS_TOKEN}), encoding="utf-8-sig")
        clock.seconds += credentials.RENEW_INTERVAL
        assert (await gateway.query(MODEL)).data == FOUND
    caplog.clear()
    file.write_text(json.dumps(form | {"token": "secret-token"}))
    async with gateway_with(clock, credentials_file=str(file)) as (twin, gateway):
        assert (await gateway.query(MODEL)).codes == ["REGISTRY_UNAUTHENTICATED"]
        assert twin.calls == {}
        assert "no new credentials: has a name that is not one of access_key_id" in caplog.text
        assert "secret-token" not in caplog.text


async def test_qianfan_accepts_temporary_keys(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    document = {"access_key_id": twins.QIANFAN_ACCESS_KEY, "access_key_secret": twins.QIANFAN_SECRET_KEY}
    file.write_text(json.dumps(document | {"security_token": twins.QIANFAN_STS_TOKEN}))
    query = "{ models(first: 1) { nodes { registryName } } }"
    async with twins.serving(models=20) as twin:
        common: dict[str, Any] = {"name": "qianfan", "kind": "qianfan", "endpoint": twin.url}
        async with served(settings(QianfanSettings(**common, account="1", credentials_file=str(file))), clock) as one:
            assert len((await one.query(query)).data["models"]["nodes"]) == 1
        wrong = qianfan(twin.url, security_token=Secret("another"))
        async with served(settings(wrong)) as other:
            assert (await other.query(query)).body["errors"][0]["extensions"]["registries"][0]["code"] == (
                "REGISTRY_UNAUTHENTICATED"
            )


# Scopes of the cache


def scope(**options: Any) -> str:
    one: RegistrySettings = pai("http://127.0.0.1:9", **options)
    return Registry(KINDS["pai"], one, UncachedClient(None)).destination.scope.digest  # type: ignore[arg-type]


def test_cached_answers_belong_to_the_account_or_else_to_the_key() -> None:
    assert scope(access_key_id="a") == scope(access_key_id="a", access_key_secret=Secret("other"))
    assert scope(access_key_id="a") != scope(access_key_id="b")
    assert scope(access_key_id="a", account="1") == scope(access_key_id="b", account="1")
    assert scope(account="1") != scope(account="2")
    assert scope(access_key_id="1") != scope(account="1")
    assert scope(account="1", credentials_file="a") != scope(account="1", credentials_file="b")
    assert scope(account="1", credentials_file="a") != scope(account="1", credentials_command=("a",))


def static_scope(**options: Any) -> list[str]:
    """Return what tells the account of a registry with static credentials."""
    return [*identity(StaticCredentialsSettings(name="one", kind="one", **options))]


def test_cached_answers_belong_to_the_user_or_the_token() -> None:
    """Two registries at one address with different static credentials share no answers."""
    user, token = {"username": "u", "password": Secret("p")}, {"token": Secret("t")}
    scopes = [
        static_scope(**options) for options in ({}, user, token, user | {"username": "v"}, {"token": Secret("s")})
    ]
    assert len({*map(str, scopes)}) == len(scopes)
    assert static_scope(**user) == static_scope(username="u", password=Secret("new"))
    assert static_scope(account="1", **token) == static_scope(account="1", token=Secret("new"))
    assert static_scope(account="1", **user) == static_scope(account="1", username="v", password=Secret("p"))
    assert static_scope(account="1", **token) != static_scope(account="2", **token)


# Settings

COMMON = """
[[registries]]
name = "pai"
kind = "pai"
region = "cn-hangzhou"
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'credentials_file = "key.json"',
            "credentials_file needs account, because the access key changes and cannot identify cached data",
        ),
        (
            'account = "1"\ncredentials_file = "key.json"\ncredentials_command = ["key"]',
            "credentials_file: credentials_command is set too; use only one source of the access key",
        ),
        (
            'account = "1"\ncredentials_command = ["key"]\naccess_key_secret = "hidden"',
            "credentials_command: access_key_secret is set too; use only one source of the access key",
        ),
        ('account = "1"\ncredentials_command = "key"', "credentials_command: must be a list of texts, not text"),
        ('account = "1"\ncredentials_command = ["key", 1]', "credentials_command: must be a list of texts, not a list"),
        ("", "access_key_id is missing"),
    ],
)
def test_a_registry_has_one_source_of_its_key_and_a_known_account(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(COMMON + text)
    with pytest.raises(SettingsError) as caught:
        load(file, {}, {name: kind.settings for name, kind in KINDS.items()})
    assert caught.value.problems[0].startswith(f'registries[1] "pai": {problem}')
    assert "hidden" not in str(caught.value)


def test_a_command_is_a_list_of_words(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(COMMON + 'account = "1"\ncredentials_command = ["vault-key", "--for", "pai"]')
    (one,) = load(file, {}, {name: kind.settings for name, kind in KINDS.items()}).registries
    assert one.credentials_command == ("vault-key", "--for", "pai")


async def test_a_request_waits_for_a_key_only_as_long_as_for_its_response(clock: Clock) -> None:
    command = ("sh", "-c", "sleep 60")
    async with gateway_with(clock, credentials_command=command, timeout=0.05) as (twin, gateway):
        answer = await gateway.query(MODEL)
        assert (answer.codes, twin.calls) == (["REGISTRY_TIMEOUT"], {})
