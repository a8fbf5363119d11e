"""Access keys that the clouds supply: their sources, roles, renewal under load, and what a failure says."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import twins
from gateway.app import Probe, probe
from gateway.catalog.registry import Registry
from gateway.config.loading import load
from gateway.config.settings import RegistrySettings, Secret, SettingsError, TelemetrySettings
from gateway.errors import RegistryCredentialsMissing
from gateway.registries import KINDS, pai_credentials
from gateway.registries.pai_credentials import KEY_SOURCES, Sts
from gateway.registries.sagemaker import SageMakerSettings
from gateway.registries.sagemaker_credentials import PROVIDERS
from gateway.upstream import credentials
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.credentials import RegistryContext
from tests.conftest import pai, qianfan, served, settings
from tests.upstream.cloud_keys import AWS_ROLE, BASE_KEY, OIDC_TOKEN, ROLE, SECRET, KeyServices, key_services
from tests.upstream.test_credentials import Clock

HERE = Path(__file__).parent
QUERY = '{ model(id: "pai:model/model-1") { name } }'
FOUND = {"model": {"name": "one"}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(clock: Clock) -> AsyncIterator[KeyServices]:
    async with key_services(clock) as running:
        yield running


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment without keys, with a home of its own."""
    import os

    for name in list(os.environ):
        if name.startswith(("ALIBABA_CLOUD_", "AWS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {"HOME": str(tmp_path)}


def set_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def alibaba(url: str, source: str = "", **options: Any) -> RegistrySettings:
    """A registry of PAI whose key comes from a source."""
    keyless = {"access_key_id": "", "access_key_secret": Secret("")} if source else {}
    return pai(url, **{"account": "1", "credentials_from": source, "sts_endpoint": url, **keyless, **options})


def key_source(registry: RegistrySettings, clock: Clock) -> Any:
    return Registry(KINDS[registry.kind], registry, UncachedClient(None), now=clock).destination.credentials  # type: ignore[arg-type]


async def loaded(registry: RegistrySettings, clock: Clock) -> tuple[str, str, str]:
    """Return the key that a registry signs with."""
    found = await key_source(registry, clock).current()
    return found.key, found.secret.reveal(), found.token.reveal()


async def why_not(registry: RegistrySettings, clock: Clock) -> str:
    """Return why a registry has no key, as operators see it."""
    source = key_source(registry, clock)
    with pytest.raises(RegistryCredentialsMissing) as missing:
        await source.current()
    assert missing.value.reason == source.problem
    return str(source.problem)


async def judged(source: str, environ: dict[str, str]) -> tuple[str, str, str]:
    """Return the key that Alibaba's official package loads in an environment."""
    command = [sys.executable, str(HERE / "alibaba_judge.py"), source]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    key, secret, token = json.loads(done.stdout)
    return key, secret, token


# Alibaba Cloud

KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "a", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "b"}


def rrsa(monkeypatch: pytest.MonkeyPatch, folder: Path, token: str = OIDC_TOKEN) -> Path:
    """Set the variables that Kubernetes sets for a service account with a role."""
    file = folder / "oidc-token"
    file.write_text(f"{token}\n")
    set_variables(
        monkeypatch,
        ALIBABA_CLOUD_ROLE_ARN=ROLE,
        ALIBABA_CLOUD_OIDC_PROVIDER_ARN="acs:ram::1234567890:oidc-provider/ack",
        ALIBABA_CLOUD_OIDC_TOKEN_FILE=str(file),
    )
    return file


async def test_rrsa_exchanges_the_token_of_the_service_account(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rrsa(monkeypatch, tmp_path)
    async with served(settings(alibaba(services.url, "rrsa")), clock) as gateway:
        assert (await gateway.query(QUERY)).data == FOUND
    (sent,) = services.received
    assert sent.pop("Timestamp") == "2027-01-15T08:00:00Z"
    assert sent == {
        "Action": "AssumeRoleWithOIDC",
        "Format": "JSON",
        "Version": "2015-04-01",
        "RoleArn": ROLE,
        "OIDCProviderArn": "acs:ram::1234567890:oidc-provider/ack",
        "OIDCToken": OIDC_TOKEN,
        "RoleSessionName": "registry-gateway",
        "DurationSeconds": "3600",
    }


async def test_a_refused_token_is_told_by_its_code_and_never_by_its_text(
    services: KeyServices,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = rrsa(monkeypatch, tmp_path, "test-expired-oidc-token")
    async with served(settings(alibaba(services.url, "rrsa")), clock) as gateway:
        answer = await gateway.query(QUERY)
        assert answer.codes == ["REGISTRY_UNAUTHENTICATED"]
        (error,) = answer.body["errors"]
        assert error["message"] == 'Registry "pai" has no valid credentials at the moment.'
        assert error["extensions"]["retryable"]
        assert services.url.partition("//")[2] not in json.dumps(answer.body)
        file.write_text(OIDC_TOKEN)
        clock.seconds += credentials.RENEW_INTERVAL
        assert (await gateway.query(QUERY)).data == FOUND
    host = services.url.partition("//")[2]
    reason = f'Registry "pai": no new credentials: {host}: status 400, AuthenticationFail.OIDCToken.Expired'
    assert reason in caplog.messages
    assert "test-expired-oidc-token" not in caplog.text


async def test_the_role_of_an_instance_comes_from_the_hardened_metadata_service(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.setattr(pai_credentials, "METADATA", services.url)
    assert await loaded(alibaba(services.url, "instance_role"), clock) == ("test-key-0", SECRET, "test-token-0")
    assert services.calls == {"metadata": 1}
    proxied = environ | {"HTTP_PROXY": services.url}  # the official package has no setting for the address
    assert await judged("instance_role", proxied) == ("test-key-1", SECRET, "test-token-1")


async def test_a_proxy_is_never_asked_for_metadata(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pai_credentials, "METADATA", services.url)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    found = await loaded(alibaba(services.url, "instance_role", proxy=Secret("http://127.0.0.1:9")), clock)
    assert found[0] == "test-key-0"


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        ((404, ""), "the metadata service, /latest/meta-data/ram/security-credentials/: status 404"),
        ((200, '{"Code": "Failed"}'), "the metadata service names no role of the instance"),
    ],
)
async def test_an_instance_without_a_role_is_told(
    failure: tuple[int, str], problem: str, services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pai_credentials, "METADATA", services.url)
    services.failure = failure
    assert await why_not(alibaba(services.url, "instance_role"), clock) == problem
    services.failure, services.without_tokens = None, True
    told = await why_not(alibaba(services.url, "instance_role"), clock)
    assert told == "the metadata service, /latest/api/token: status 404"


async def test_a_token_service_that_is_away_is_told_with_its_cause(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rrsa(monkeypatch, tmp_path)
    registry = alibaba(services.url, "rrsa", sts_endpoint="http://127.0.0.1:9")
    assert await why_not(registry, clock) == "127.0.0.1:9: connection refused"


async def test_a_key_that_has_expired_already_is_told(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rrsa(monkeypatch, tmp_path)
    services.lifetime = 0
    assert (await why_not(alibaba(services.url, "rrsa"), clock)).endswith("supplies a key that has expired")


CLI_FILE = {
    "current": "plain",
    "meta_path": "",
    "profiles": [
        {"name": "plain", "mode": "AK", "access_key_id": "a", "access_key_secret": "b", "sts_token": "",
         "region_id": "cn-hangzhou", "output_format": "json", "language": "en", "retry_timeout": 0},
        {"name": "sts", "mode": "StsToken", "access_key_id": "c", "access_key_secret": "d", "sts_token": "e"},
        {"name": "left", "mode": "AK", "access_key_id": "f", "access_key_secret": "g", "sts_token": "an old one"},
        {"name": "base", "mode": "AK", "access_key_id": BASE_KEY[0], "access_key_secret": BASE_KEY[1]},
        {"name": "role", "mode": "RamRoleArn", "access_key_id": BASE_KEY[0], "access_key_secret": BASE_KEY[1],
         "ram_role_arn": ROLE, "ram_session_name": "me", "expired_seconds": 900, "external_id": "x"},
        {"name": "chain", "mode": "ChainableRamRoleArn", "source_profile": "role", "ram_role_arn": ROLE},
        {"name": "loop", "mode": "ChainableRamRoleArn", "source_profile": "loop", "ram_role_arn": ROLE},
        {"name": "instance", "mode": "EcsRamRole", "ram_role_name": "reader"},
        {"name": "oidc", "mode": "OIDC", "ram_role_arn": ROLE, "oidc_provider_arn": "p", "oidc_token_file": "~/token"},
        {"name": "misspelt", "mode": "StsToken", "access_key_id": "c", "access_key_secret": "d", "security_tokn": "e"},
        {"name": "tokenless", "mode": "StsToken", "access_key_id": "c", "access_key_secret": "d"},
        {"name": "sso", "mode": "CloudSSO", "access_token": "t"},
    ],
}  # fmt: skip
SDK_FILE = """
[default]
type = access_key
access_key_id = a  # a comment
access_key_secret = b%c

[sts]
type = sts
access_key_id = c
access_key_secret = d
security_token = e

[role]
type = ram_role_arn
access_key_id = test-base-key
access_key_secret = test-base-secret
role_arn = acs:ram::1234567890:role/reader
role_session_name = me

[instance]
type = ecs_ram_role
role_name = reader

[misspelt]
type = sts
access_key_id = c
access_key_secret = d
sts_tokn = e

[bearer]
type = bearer
"""


@pytest.fixture
def files(tmp_path: Path) -> None:
    """The files of profiles of the CLI and the SDKs."""
    for folder in (".aliyun", ".alibabacloud"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps(CLI_FILE), encoding="utf-8-sig")
    (tmp_path / ".alibabacloud" / "credentials.ini").write_text(SDK_FILE)
    (tmp_path / "token").write_text(OIDC_TOKEN)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("source", "profile"),
    [("cli_profile", ""), ("cli_profile", "sts"), ("cli_profile", "left"), ("sdk_profile", "")],
)
async def test_a_profile_has_the_key_that_the_official_package_loads(
    source: str, profile: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str]
) -> None:
    config = tmp_path / ".aliyun" / "config.json"
    config.write_text(config.read_text(encoding="utf-8-sig"))  # the official package refuses a byte order mark
    ini = tmp_path / ".alibabacloud" / "credentials.ini"
    ini.write_text(ini.read_text().replace("%", ""))  # nor can it read a per cent sign
    variable = {"ALIBABA_CLOUD_PROFILE": profile} if profile else {}
    expected = await judged(source, environ | variable)
    assert await loaded(alibaba("http://127.0.0.1:9", source, profile=profile), clock) == expected
    set_variables(monkeypatch, **variable)
    assert await loaded(alibaba("http://127.0.0.1:9", source), clock) == expected


async def test_the_environment_has_the_key_that_the_official_package_loads(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for variables in (KEY, KEY | {"ALIBABA_CLOUD_SECURITY_TOKEN": "c"}):
        set_variables(monkeypatch, **variables)
        expected = await judged("environment", environ | variables)
        assert await loaded(alibaba("http://127.0.0.1:9", "environment"), clock) == expected
        assert await loaded(alibaba("http://127.0.0.1:9", "default"), clock) == expected


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("source", "profile", "calls"),
    [
        ("cli_profile", "role", ["AssumeRole"]),
        ("cli_profile", "chain", ["AssumeRole", "AssumeRole"]),
        ("cli_profile", "instance", ["metadata"]),
        ("cli_profile", "oidc", ["AssumeRoleWithOIDC"]),
        ("sdk_profile", "role", ["AssumeRole"]),
        ("sdk_profile", "instance", ["metadata"]),
    ],
)
async def test_a_profile_of_a_role_is_assumed(
    source: str,
    profile: str,
    calls: list[str],
    services: KeyServices,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pai_credentials, "METADATA", services.url)
    last = len(calls) - 1
    found = await loaded(alibaba(services.url, source, profile=profile), clock)
    assert found == (f"test-key-{last}", SECRET, f"test-token-{last}")
    assert sorted(services.calls.elements()) == calls
    if profile == "role":
        assert services.received[0]["RoleSessionName"] == "me"
    if (source, profile) == ("cli_profile", "role"):
        assert services.received[0]["DurationSeconds"] == "900"
        assert services.received[0]["ExternalId"] == "x"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("source", "profile", "problem"),
    [
        (
            "cli_profile",
            "misspelt",
            "the profile misspelt in ~/.aliyun/config.json: has a name that is not one of mode",
        ),
        ("cli_profile", "tokenless", "the profile tokenless in ~/.aliyun/config.json: without security_token"),
        ("cli_profile", "loop", "the profile loop in ~/.aliyun/config.json: too many profiles need each other"),
        ("cli_profile", "sso", "the profile sso in ~/.aliyun/config.json: its mode is not one of AK"),
        ("cli_profile", "none", "~/.aliyun/config.json: has no profile none"),
        ("sdk_profile", "misspelt", "the profile misspelt in ~/.alibabacloud/credentials.ini: has a name that is not"),
        ("sdk_profile", "bearer", "the profile bearer in ~/.alibabacloud/credentials.ini: its type is not one of"),
        ("sdk_profile", "none", "~/.alibabacloud/credentials.ini: has no profile none"),
    ],
)
async def test_a_profile_without_a_certain_key_is_told(source: str, profile: str, problem: str, clock: Clock) -> None:
    found = await why_not(alibaba("http://127.0.0.1:9", source, profile=profile), clock)
    assert found.startswith(problem)
    assert "tokn" not in found


async def test_files_that_are_no_profiles_are_told(clock: Clock, tmp_path: Path) -> None:
    registries = {name: alibaba("http://127.0.0.1:9", f"{name}_profile") for name in ("cli", "sdk")}
    for registry in registries.values():
        assert await why_not(registry, clock) == "No such file or directory"
    (tmp_path / ".aliyun").mkdir()
    (tmp_path / ".aliyun" / "config.json").write_text("secret")
    (tmp_path / ".alibabacloud").mkdir()
    (tmp_path / ".alibabacloud" / "credentials.ini").write_text("secret")
    assert await why_not(registries["cli"], clock) == "~/.aliyun/config.json: not JSON"
    assert await why_not(registries["sdk"], clock) == "~/.alibabacloud/credentials.ini: not an INI file"


@pytest.mark.usefixtures("files")
async def test_the_default_is_the_first_source_that_is_configured(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The order is that of the official package. A source that fails is not skipped."""
    monkeypatch.setattr(pai_credentials, "METADATA", services.url)
    registry = alibaba(services.url, "default")
    set_variables(monkeypatch, **KEY)
    assert (await loaded(registry, clock))[0] == "a"
    monkeypatch.delenv("ALIBABA_CLOUD_ACCESS_KEY_ID")
    rrsa(monkeypatch, tmp_path)
    assert (await loaded(registry, clock))[0] == "test-key-0"
    rrsa(monkeypatch, tmp_path, "another")
    assert (await why_not(registry, clock)).endswith("AuthenticationFail.OIDCToken.Expired")
    monkeypatch.delenv("ALIBABA_CLOUD_ROLE_ARN")
    assert (await loaded(registry, clock))[0] == "a"
    (tmp_path / ".aliyun" / "config.json").unlink()
    assert (await loaded(registry, clock))[1] == "b%c"
    (tmp_path / ".alibabacloud" / "credentials.ini").unlink()
    assert (await loaded(registry, clock))[0] == "test-key-1"
    set_variables(monkeypatch, ALIBABA_CLOUD_ECS_METADATA_DISABLED="true")
    assert await why_not(registry, clock) == f"none of {', '.join(KEY_SOURCES)} is configured"


@pytest.mark.parametrize("source", ["environment", "rrsa", "instance_role"])
async def test_a_source_that_is_not_configured_is_told(
    source: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_variables(monkeypatch, ALIBABA_CLOUD_ECS_METADATA_DISABLED="true")
    assert "the variable ALIBABA_CLOUD_" in await why_not(alibaba("http://127.0.0.1:9", source), clock)


async def test_a_role_is_assumed_with_any_key(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base: dict[str, Any] = {"access_key_id": BASE_KEY[0], "access_key_secret": Secret(BASE_KEY[1])}
    assert (await loaded(alibaba(services.url, assume_role=ROLE, **base), clock))[0] == "test-key-0"
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"access_key_id": BASE_KEY[0], "access_key_secret": BASE_KEY[1]}))
    keyless: dict[str, Any] = {"access_key_id": "", "access_key_secret": Secret("")}
    from_file = alibaba(services.url, assume_role=ROLE, credentials_file=str(file), **keyless)
    assert (await loaded(from_file, clock))[0] == "test-key-1"
    rrsa(monkeypatch, tmp_path)
    assert (await loaded(alibaba(services.url, "rrsa", assume_role=ROLE), clock))[0] == "test-key-3"
    wrong = base | {"access_key_secret": Secret("another")}
    assert (await why_not(alibaba(services.url, assume_role=ROLE, **wrong), clock)).endswith("SignatureDoesNotMatch")


# Renewal


async def test_keys_are_renewed_under_load_without_a_failed_call(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twenty clients ask all the time, while five keys expire and the token service fails between them."""
    rrsa(monkeypatch, tmp_path)
    services.lifetime = 900.0
    answers: list[Any] = []
    answered, stopped = asyncio.Event(), False
    exported = TelemetrySettings(metrics="path")
    failed = 'gateway_credentials_renewal_failed{registry="pai"} 1.0'
    async with served(settings(alibaba(services.url, "rrsa"), telemetry=exported), clock) as gateway:

        async def client(number: int) -> None:
            while not stopped:
                answers.append(await gateway.query(QUERY.replace("model-1", f"model-{number}")))
                answered.set()

        async def until(calls: int) -> None:
            """Wait until the token service has been called so often, and an answer for each client has come since."""
            seen: int | None = None
            while seen is None or len(answers) < seen + len(clients):
                answered.clear()
                await answered.wait()
                if seen is None and services.calls["AssumeRoleWithOIDC"] >= calls:
                    seen = len(answers)

        clients = [asyncio.create_task(client(number)) for number in range(20)]
        await until(1)
        for number in range(5):
            clock.seconds += credentials.RENEW_BEFORE  # the key before the current one expires
            await until(0)
            services.failure = (500, "{}")
            clock.seconds += services.lifetime - 2 * credentials.RENEW_BEFORE
            await until(3 * number + 2)
            clock.seconds += credentials.RENEW_INTERVAL
            await until(3 * number + 3)
            assert failed in (await gateway.request("GET", "/metrics")).body
            services.failure = None
            clock.seconds += credentials.RENEW_INTERVAL
            await until(3 * number + 4)
        stopped = True
        await asyncio.gather(*clients)
        assert failed.replace("1.0", "0.0") in (await gateway.request("GET", "/metrics")).body
    assert [answer.body for answer in answers if answer.body != {"data": FOUND}] == []
    assert services.calls["AssumeRoleWithOIDC"] == 16
    assert len(services.tokens) == 6
    assert len(answers) > 500


async def test_a_renewal_that_supplies_an_expired_key_does_not_replace_a_valid_one(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rrsa(monkeypatch, tmp_path)
    source = key_source(alibaba(services.url, "rrsa"), clock)
    first = await source.current()
    clock.seconds += 3600 - credentials.RENEW_BEFORE
    services.lifetime = -1
    assert await source.current() == first
    assert not await source.renewed(first)
    assert source.problem.endswith("supplies a key that has expired")
    assert await source.current() == first


# The cache


def scope(registry: RegistrySettings) -> str:
    return Registry(KINDS[registry.kind], registry, UncachedClient(None)).destination.scope.digest  # type: ignore[arg-type]


def test_different_roles_share_no_cached_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    url, other = "http://127.0.0.1:9", ROLE.replace("reader", "writer")
    scopes = [scope(alibaba(url, source)) for source in ("", "rrsa", "instance_role", "default")]
    for role in (ROLE, other):
        scopes += [scope(alibaba(url, assume_role=role)), scope(alibaba(url, "rrsa", assume_role=role))]
        monkeypatch.setenv("ALIBABA_CLOUD_ROLE_ARN", role)
        scopes += [scope(alibaba(url, "rrsa")), scope(alibaba(url, "default"))]
    for profile in ("one", "two"):
        scopes += [scope(alibaba(url, "cli_profile", profile=profile)), scope(aws(url, "profile", profile=profile))]
        monkeypatch.setenv("AWS_ROLE_ARN", profile)
        scopes.append(scope(aws(url, "web_identity")))
    scopes += [scope(qianfan(url, account=account, assume_role=role)) for account in "12" for role in "ab"]
    assert len({*scopes}) == len(scopes)


async def test_the_keys_of_one_role_share_cached_answers(
    services: KeyServices, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rrsa(monkeypatch, tmp_path)
    registry = alibaba(services.url, "rrsa")
    before = scope(registry)
    one, two = await loaded(registry, clock), await loaded(registry, clock)
    assert one[0] != two[0]
    assert scope(registry) == before


# Baidu AI Cloud


async def test_baidu_assumes_a_role(services: KeyServices, clock: Clock) -> None:
    services.baidu_key = {
        "accessKeyId": twins.QIANFAN_ACCESS_KEY,
        "secretAccessKey": twins.QIANFAN_SECRET_KEY,
        "sessionToken": twins.QIANFAN_STS_TOKEN,
        "createTime": "2027-01-15T08:00:00Z",
        "expiration": "2027-01-15T09:00:00Z",
        "userId": "u",
        "roleId": "r",
    }
    async with twins.serving(models=20) as twin:
        registry = qianfan(twin.url, account="7", assume_role="reader", sts_endpoint=services.url)
        async with served(settings(registry), clock) as gateway:
            assert len((await gateway.query("{ models(first: 1) { nodes { name } } }")).data["models"]["nodes"]) == 1
    assert services.received == [{"assumeRole": "", "accountId": "7", "roleName": "reader", "durationSeconds": "3600"}]
    services.baidu_key = {"accessKeyId": "a"}
    assert "not an object with the texts" in await why_not(registry, clock)


# Amazon Web Services


def aws(url: str, source: str = "", **options: Any) -> SageMakerSettings:
    """A registry of SageMaker whose key comes from a source."""
    common: dict[str, Any] = {"name": "aws", "kind": "sagemaker", "endpoint": url, "region": "eu-west-1"}
    return SageMakerSettings(**common, **{"account": "123456789012", "credentials_from": source, **options})


@pytest.fixture
async def live() -> AsyncIterator[KeyServices]:
    """Services with the real clock, which botocore reads."""
    import time

    async with key_services(time.time) as running:
        yield running


async def probed(registry: RegistrySettings) -> Probe:
    (found,) = [one for one in await probe(settings(registry)) if one.name == registry.name]
    return found


def web_identity(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str, token: str = OIDC_TOKEN) -> None:
    file = folder / "web-identity"
    file.write_text(token)
    set_variables(monkeypatch, AWS_ENDPOINT_URL_STS=url, AWS_ROLE_ARN=AWS_ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=str(file))


@pytest.mark.parametrize("source", ["web_identity", "default"])
async def test_web_identity_exchanges_the_token_of_the_service_account(
    source: str, live: KeyServices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web_identity(monkeypatch, tmp_path, live.url)
    found = await probed(aws(live.url, source))
    assert (found.problem, found.note) == (None, "access key from assume-role-with-web-identity")
    assert live.received[0]["RoleArn"] == AWS_ROLE
    web_identity(monkeypatch, tmp_path, live.url, "test-expired-oidc-token")
    live.calls.clear()
    refused = await probed(aws(live.url, source))
    assert refused.problem == (
        f'Registry "aws" has no valid credentials at the moment. ({source}: AssumeRoleWithWebIdentity: '
        "InvalidIdentityToken)"
    )
    assert refused.hint == "Check credentials_from, credentials_file or credentials_command."


@pytest.mark.parametrize("source", ["instance_role", "default"])
async def test_the_role_of_an_instance_of_aws_comes_from_its_metadata_service(
    source: str, live: KeyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    set_variables(monkeypatch, AWS_EC2_METADATA_SERVICE_ENDPOINT=live.url)
    found = await probed(aws(live.url, source))
    assert (found.problem, found.note) == (None, "access key from iam-role")
    assert live.calls["metadata"] == 1
    live.without_tokens = True
    assert "IMDSv1 has been disabled" in ((await probed(aws(live.url, source))).problem or "")


async def test_the_expiry_of_a_key_of_aws_is_known_to_the_second(
    live: KeyServices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web_identity(monkeypatch, tmp_path, live.url)
    registry = aws(live.url, "web_identity")
    found = await Registry(KINDS["sagemaker"], registry, UncachedClient(None)).destination.credentials.current()  # type: ignore[arg-type]
    assert found.expires == pytest.approx(live.tokens["test-token-0"], abs=2)


AWS_FILE = """
[default]
aws_access_key_id = test-base-key
aws_secret_access_key = test-base-secret

[role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = default
"""


async def test_a_profile_of_aws_and_a_role_are_used(
    live: KeyServices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(AWS_FILE)
    set_variables(monkeypatch, AWS_ENDPOINT_URL_STS=live.url)
    assert await loaded(aws(live.url, "profile"), clock) == BASE_KEY
    for registry in (aws(live.url, "profile", profile="role"), aws(live.url, "profile", assume_role=AWS_ROLE)):
        found = await probed(registry)
        assert found.problem is None, found
    assert live.calls["AssumeRole"] == 2
    assert found.note == f"access key from {AWS_ROLE}, assumed with shared-credentials-file"
    unknown = await why_not(aws(live.url, "profile", profile="none"), clock)
    assert unknown == "profile: The config profile (none) could not be found"


async def test_the_environment_of_aws_is_used(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    registry = aws("http://127.0.0.1:9", "environment")
    assert await why_not(registry, clock) == "environment: botocore finds no key"
    set_variables(monkeypatch, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_SESSION_TOKEN="c")
    assert await loaded(registry, clock) == ("a", "b", "c")


@pytest.mark.parametrize("source", PROVIDERS)
async def test_every_source_of_aws_is_one_of_botocore(source: str, clock: Clock) -> None:
    assert await why_not(aws("http://127.0.0.1:9", source), clock) == f"{source}: botocore finds no key"


def test_without_botocore_the_gateway_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    for registry in (aws("http://127.0.0.1:9", "default"), aws("http://127.0.0.1:9", assume_role=AWS_ROLE)):
        with pytest.raises(SettingsError, match=r"botocore is not installed: pip install 'registry-gateway\[aws\]'"):
            scope(registry)


# Settings and endpoints

COMMON = '[[registries]]\nname = "one"\nkind = "{kind}"\n'


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("pai", 'region = "cn-x"\ncredentials_from = "rrsa"', "credentials_from needs account"),
        ("pai", 'region = "cn-x"\naccount = "1"\ncredentials_from = "rsa"', 'credentials_from: "rsa" does not match'),
        (
            "pai",
            'region = "cn-x"\naccount = "1"\ncredentials_from = "rrsa"\naccess_key_id = "a"',
            "credentials_from: access_key_id is set too; use only one source of the access key",
        ),
        (
            "pai",
            f'region = "cn-x"\naccess_key_id = "a"\naccess_key_secret = "b"\nassume_role = "{ROLE}"',
            "assume_role needs account",
        ),
        ("mlflow", 'endpoint = "http://h"\ncredentials_from = "rrsa"', 'unknown key "credentials_from"'),
    ],
)
def test_a_source_that_cannot_work_is_refused_at_the_start(kind: str, text: str, problem: str, config: Path) -> None:
    config.write_text(COMMON.format(kind=kind) + text)
    with pytest.raises(SettingsError) as refused:
        load(config, {}, {name: one.settings for name, one in KINDS.items()})
    assert problem in refused.value.problems[0]


def addresses(region: str, vpc: bool = False) -> tuple[str, str]:
    found = KINDS["pai"].services(pai("", region=region, vpc=vpc))
    return found["models"].removeprefix("https://"), found["algorithms"].removeprefix("https://")


def official(product: Any, region: str, network: str | None = None) -> str:
    from alibabacloud_tea_openapi.models import Config

    config = Config(access_key_id="a", access_key_secret="b", region_id=region, network=network)
    return str(product(config)._endpoint)


REGIONS = (
    "cn-beijing", "cn-shanghai", "cn-shenzhen", "cn-hongkong", "ap-southeast-1", "ap-southeast-3", "us-east-1",
    "us-west-1", "eu-central-1", "ap-northeast-1", "cn-wulanchabu", "me-east-1", "cn-qingdao", "ap-southeast-2",
)  # fmt: skip


@pytest.mark.parametrize("region", REGIONS)
def test_the_addresses_of_a_region_are_those_of_the_official_packages(region: str) -> None:
    from alibabacloud_aiworkspace20210204.client import Client as AIWorkSpace
    from alibabacloud_paistudio20220112.client import Client as PaiStudio

    assert addresses(region) == (official(AIWorkSpace, region), official(PaiStudio, region))


def test_the_addresses_that_differ_from_the_official_packages_have_a_reason() -> None:
    """The packages have an address inside a VPC, one that ends with a tab, and one in another domain."""
    from alibabacloud_aiworkspace20210204.client import Client as AIWorkSpace
    from alibabacloud_paistudio20220112.client import Client as PaiStudio

    assert official(AIWorkSpace, "ap-southeast-5") == "aiworkspace-vpc.ap-southeast-5.aliyuncs.com"
    assert official(AIWorkSpace, "cn-guangzhou").strip() == addresses("cn-guangzhou")[0]
    assert official(PaiStudio, "cn-hangzhou") == "pai.cn-hangzhou.data.aliyun.com"
    assert addresses("ap-southeast-5")[0] == "aiworkspace.ap-southeast-5.aliyuncs.com"
    assert addresses("cn-hangzhou")[1] == "pai.cn-hangzhou.aliyuncs.com"


def test_one_setting_selects_the_addresses_inside_a_vpc(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    from alibabacloud_aiworkspace20210204.client import Client as AIWorkSpace

    hosts = "aiworkspace-vpc.cn-hangzhou.aliyuncs.com", "pai-vpc.cn-hangzhou.aliyuncs.com"
    assert addresses("cn-hangzhou", vpc=True) == hosts
    assert official(AIWorkSpace, "cn-hangzhou", "vpc") == hosts[0]
    assert addresses("me-east-1", vpc=True)[0] == "aiworkspace-vpc.me-east-1.aliyuncs.com"

    def sts(vpc: bool) -> str:
        return pai_credentials.sts_of(RegistryContext(pai(""), clock), "", "cn-hangzhou", vpc).url

    assert (sts(False), sts(True)) == ("https://sts.aliyuncs.com", "https://sts-vpc.cn-hangzhou.aliyuncs.com")
    set_variables(monkeypatch, ALIBABA_CLOUD_STS_REGION="cn-beijing")
    assert (sts(False), sts(True)) == ("https://sts.cn-beijing.aliyuncs.com", "https://sts-vpc.cn-beijing.aliyuncs.com")
    assert Sts("http://h", "cn-beijing", True).url == "http://h"
