"""Settings from a file and from environment variables, and the messages for invalid ones."""

import copy
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import create_app
from gateway.config.loading import _SettingsReader, describe, load, table
from gateway.config.redis_urls import SCHEMES, SECONDS, SWITCH, TEXT, WHOLE
from gateway.config.settings import (
    CacheSettings,
    Quota,
    RegistrySettings,
    Secret,
    ServerSettings,
    Settings,
    SettingsError,
    StaticCredentialsSettings,
    setting,
)
from gateway.registries.pai import PaiSettings
from gateway.registries.qianfan import QianfanSettings
from gateway.registries.sagemaker import SageMakerSettings
from gateway.upstream.redis_cache import SharedCache


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSettings(RegistrySettings):
    """A kind of registry with a setting of every type, and its own default for a common setting."""

    timeout: float = setting("A longer timeout.", default=30.0, minimum=1, maximum=60)
    wide: bool = setting("A boolean.", default=False)
    depth: int = setting("An unbounded number.", default=3)


KINDS: Mapping[str, type[RegistrySettings]] = {"pai": PaiSettings, "qianfan": QianfanSettings, "odd": ExampleSettings}
TABLES = ", ".join(declared.name for declared in fields(Settings))
VENDORS = {name: KINDS[name] for name in ("pai", "qianfan")}
PAI = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "pai-id",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "pai-hidden",
    "ALIBABA_CLOUD_REGION_ID": "cn-shanghai",
}
QIANFAN = {"QIANFAN_ACCESS_KEY": "bce-id", "QIANFAN_SECRET_KEY": "bce-hidden"}
PUBLISHED = """
[server]
host = "127.0.0.1"
port = 8000
[[registries]]
name = "pai"                       # part of every global id
kind = "pai"
region = "cn-hangzhou"
access_key_id = "${ALIBABA_CLOUD_ACCESS_KEY_ID}"
access_key_secret = "${ALIBABA_CLOUD_ACCESS_KEY_SECRET}"
security_token = ""                # STS, optional
models_endpoint = ""               # default: that of the region
algorithms_endpoint = ""           # default: that of the region
timeout = 8.0                      # seconds, one call
[[registries]]
name = "qianfan"
kind = "qianfan"
access_key = "${QIANFAN_ACCESS_KEY}"
secret_key = "${QIANFAN_SECRET_KEY}"
endpoint = ""                      # default https://qianfan.baidubce.com
"""
EXAMPLE = '[[registries]]\nname = "odd"\nkind = "odd"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def read(file: Path, text: str | bytes, environ: Mapping[str, str] = PAI | QIANFAN) -> Settings:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(file, environ, KINDS)


def problems(file: Path | None, text: str | bytes = "", environ: Mapping[str, str] = PAI | QIANFAN) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(None, environ, KINDS) if file is None else read(file, text, environ)
    messages = list(caught.value.problems)
    assert str(caught.value).splitlines() == messages, "each problem is one line"
    for value in environ.values():
        assert "hidden" not in value or value not in str(caught.value)
    return messages


def test_the_published_example_is_loaded(file: Path) -> None:
    assert read(file, PUBLISHED) == Settings(
        server=ServerSettings(host="127.0.0.1", port=8000),
        registries=(
            PaiSettings(
                name="pai",
                kind="pai",
                region="cn-hangzhou",
                access_key_id="pai-id",
                access_key_secret=Secret("pai-hidden"),
                security_token=Secret(""),
                timeout=8.0,
            ),
            QianfanSettings(
                name="qianfan",
                kind="qianfan",
                access_key="bce-id",
                secret_key=Secret("bce-hidden"),
                endpoint="https://qianfan.baidubce.com",
            ),
        ),
    )


def test_without_a_file_registries_come_from_the_vendors_variables() -> None:
    settings = load(None, PAI | QIANFAN | {"ALIBABA_CLOUD_SECURITY_TOKEN": "sts"}, KINDS)
    pai, qianfan = settings.registries
    assert isinstance(pai, PaiSettings)
    assert (pai.name, pai.kind, pai.region) == ("pai", "pai", "cn-shanghai")
    assert pai.security_token.reveal() == "sts"
    assert isinstance(qianfan, QianfanSettings)
    assert qianfan.secret_key == Secret("bce-hidden")
    assert settings.server == ServerSettings()


def test_one_vendor_alone_is_enough() -> None:
    assert [registry.kind for registry in load(None, QIANFAN, KINDS).registries] == ["qianfan"]


def test_the_first_variable_that_is_set_and_not_empty_wins() -> None:
    def region(**variables: str) -> str:
        (pai,) = load(None, PAI | variables, KINDS).registries
        assert isinstance(pai, PaiSettings)
        return pai.region

    assert region(ALIBABA_CLOUD_REGION="cn-beijing") == "cn-shanghai"
    assert region(ALIBABA_CLOUD_REGION="cn-beijing", ALIBABA_CLOUD_REGION_ID="") == "cn-beijing"


def test_missing_variables_of_a_vendor_are_reported() -> None:
    given = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "pai-id"} | QIANFAN
    assert problems(None, environ=given) == [
        'registry "pai" (from ALIBABA_CLOUD_ACCESS_KEY_ID): '
        "region is missing (set ALIBABA_CLOUD_REGION_ID or ALIBABA_CLOUD_REGION)",
        'registry "pai" (from ALIBABA_CLOUD_ACCESS_KEY_ID): '
        "access_key_secret is missing (set ALIBABA_CLOUD_ACCESS_KEY_SECRET)",
    ]


def test_without_any_registry_the_message_names_both_remedies() -> None:
    (problem,) = problems(None, environ={})
    assert problem.startswith("no registry is configured: name a file with --config or GATEWAY_CONFIG, or set ")
    assert "QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY" in problem


def test_a_variable_can_name_the_file(file: Path) -> None:
    expected = read(file, PUBLISHED)
    assert load(None, PAI | QIANFAN | {"GATEWAY_CONFIG": str(file)}, KINDS) == expected


def test_the_vendors_variables_do_not_complete_a_file(file: Path) -> None:
    text = '[[registries]]\nname = "b"\nkind = "qianfan"\naccess_key = "x"'
    assert problems(file, text) == ['registries[1] "b": secret_key is missing']


@pytest.mark.parametrize("port", ["0", "9000", "65535"])
def test_a_variable_overrides_the_file(file: Path, port: str) -> None:
    environ = PAI | QIANFAN | {"GATEWAY_SERVER_PORT": port, "GATEWAY_SERVER_HOST": ""}
    assert read(file, PUBLISHED, environ).server == ServerSettings(port=int(port))


def test_unknown_variables_are_refused_with_a_suggestion() -> None:
    given = {"GATEWAY_SERVER_PROT": "1", "GATEWAY_PORT": "9000"}
    assert problems(None, environ=QIANFAN | given) == [
        'unknown variable "GATEWAY_PORT" (did you mean "GATEWAY_SERVER_PORT"?)',
        'unknown variable "GATEWAY_SERVER_PROT" (did you mean "GATEWAY_SERVER_PORT"?)',
    ]


def test_variables_that_kubernetes_sets_for_a_service_named_gateway_are_ignored() -> None:
    linked = {
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT": "80",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_PROTO": "tcp",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "GATEWAY_REDIS_SERVICE_HOST": "10.0.0.2",
        "GATEWAY_REDIS_PORT_6379_TCP_PORT": "6379",
    }
    assert load(None, QIANFAN | linked, KINDS) == load(None, QIANFAN, KINDS)


def test_all_problems_are_reported_at_once(file: Path) -> None:
    text = """
        [server]
        port = 99999
        hots = "x"
        [sever]
        [[registries]]
        name = "pai"
        kind = "paai"
        [[registries]]
        name = "pai-eu"
        kind = "pai"
        regoin = "eu-central-1"
        access_key_id = "${MISSING_ID}"
        access_key_secret = 12345
        timeout = 0
        models_endpoint = "https://user:hunter2@example.com"
        [[registries]]
        name = "Pai"
        kind = "qianfan"
        access_key = ""
        secret_key = "x"
    """
    assert problems(file, text, PAI | {"GATEWAY_X": "1"}) == [
        'unknown variable "GATEWAY_X" (did you mean "GATEWAY_CONFIG"?)',
        'unknown table "sever" (did you mean "server"?)',
        'server: unknown key "hots" (did you mean "host"?)',
        "server.port: 99999 is not between 0 and 65535",
        'registries[1] "pai": kind "paai" is not known (known: pai, qianfan, odd)',
        'registries[2] "pai-eu": unknown key "regoin" (did you mean "region"?)',
        'registries[2] "pai-eu": timeout: 0 is not between 0.001 and 120',
        'registries[2] "pai-eu": region is missing',
        'registries[2] "pai-eu": access_key_id: the variable MISSING_ID is not set',
        'registries[2] "pai-eu": access_key_secret: must be text, not a whole number',
        'registries[2] "pai-eu": models_endpoint: must be http:// or https:// and a host and perhaps a path, '
        "without query or user",
        'registries[3] "Pai": name: "Pai" does not match [a-z][a-z0-9-]{0,31}, like "pai-eu"',
        'registries[3] "Pai": access_key: is empty',
    ]


def test_two_registries_cannot_share_a_name(file: Path) -> None:
    assert problems(file, EXAMPLE * 3) == [
        'registries[2] "odd": the name is taken by registries[1]',
        'registries[3] "odd": the name is taken by registries[1]',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "registries: the file needs at least one [[registries]] table"),
        ("registries = 3", "registries: the file needs at least one [[registries]] table"),
        ("[registries]", "registries: the file needs at least one [[registries]] table"),
        ("registries = [3]", "registries[1]: must be a table, not a whole number"),
        ("registries = [{}]", "registries[1]: kind is missing (known: pai, qianfan, odd)"),
        ("[[registries]]\nkind = ''", "registries[1]: kind: is empty"),
        ("[[registries]]\nkind = ['odd']", "registries[1]: kind: must be text, not a list"),
        ("[[registries]]\nkind = '${NOPE}'", "registries[1]: kind: the variable NOPE is not set"),
        ('[[registries]]\nkind = "odd"', "registries[1]: name is missing"),
        (f"server = 3\n{EXAMPLE}", "server: must be a table, not a whole number"),
        (f"port = 3\n{EXAMPLE}", f'unknown table "port" (known: {TABLES})'),
        (f"{EXAMPLE}timeout = true", 'registries[1] "odd": timeout: must be a number, not true or false'),
        (f"{EXAMPLE}timeout = nan", 'registries[1] "odd": timeout: nan is not between 1 and 60'),
        (f"{EXAMPLE}timeout = inf", 'registries[1] "odd": timeout: inf is not between 1 and 60'),
        (f"{EXAMPLE}timeout = '8'", 'registries[1] "odd": timeout: must be a number, not text'),
        (f"{EXAMPLE}depth = 3.0", 'registries[1] "odd": depth: must be a whole number, not a number'),
        (f"{EXAMPLE}depth = false", 'registries[1] "odd": depth: must be a whole number, not true or false'),
        (f"{EXAMPLE}depth = 1979-05-27", 'registries[1] "odd": depth: must be a whole number, not a date or time'),
        (f"{EXAMPLE}depth = {{}}", 'registries[1] "odd": depth: must be a whole number, not a table'),
        (f"{EXAMPLE}wide = 1", 'registries[1] "odd": wide: must be true or false, not a whole number'),
        (f"{EXAMPLE}max_answer_bytes = 1023", "max_answer_bytes: 1023 is not between 1024 and 1073741824"),
        (f"{EXAMPLE}max_answer_bytes = 0x{'f' * 5000}", "max_answer_bytes: so large a number is not between"),
        (f'{EXAMPLE}"a\\nb" = 1', r'registries[1] "odd": unknown key "a\nb"'),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(file: Path, text: str, message: str) -> None:
    (problem,) = problems(file, text)
    assert message in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[server\nport = 1", "not valid TOML: .*line 1"),
        (b"port = 1\nport = 2\n", "not valid TOML: .*line 2"),
        (b"x = " + b"[" * 100_000, "not valid TOML: "),
        (b"x = " + b"9" * 5000, "not valid TOML: "),
        ("# ok\nname = 'é'".encode("latin-1"), "line 2 is not UTF-8 text"),
    ],
)
def test_invalid_toml_is_reported_with_its_line(file: Path, text: bytes, message: str) -> None:
    (problem,) = problems(file, text)
    assert problem.startswith(f"{file}: ")
    with pytest.raises(SettingsError, match=message):
        load(file, {}, KINDS)


def test_an_unreadable_file_is_reported_together_with_problems_of_the_environment(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError) as caught:
            load(path, {"GATEWAY_SERVER_PROT": "1"}, KINDS)
        assert caught.value.problems == (
            'unknown variable "GATEWAY_SERVER_PROT" (did you mean "GATEWAY_SERVER_PORT"?)',
            f"{path}: cannot be read: {reason}",
        )


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    assert read(file, b"\xef\xbb\xbf" + EXAMPLE.encode()).registries[0].name == "odd"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("${KEY}", "v"),
        ("a-${KEY}-${KEY}-z", "a-v-v-z"),
        ("$${KEY}", "${KEY}"),
        ("$KEY {KEY} $$ 100%", "$KEY {KEY} $$ 100%"),
        ("${NESTED}", "${KEY}"),
    ],
)
def test_texts_may_refer_to_variables(file: Path, value: str, key: str) -> None:
    text = f'[[registries]]\nname = "b"\nkind = "qianfan"\naccess_key = "{value}"\nsecret_key = "${{KEY}}"'
    (registry,) = read(file, text, {"KEY": "v", "NESTED": "${KEY}"}).registries
    assert isinstance(registry, QianfanSettings)
    assert (registry.access_key, registry.secret_key.reveal()) == (key, "v")


@pytest.mark.parametrize("value", ["${", "${}", "${KEY", "${KEY-x}", "${1}", "ok ${KEY} ${"])
def test_an_invalid_reference_to_a_variable_is_refused(file: Path, value: str) -> None:
    (problem,) = problems(file, f'{EXAMPLE}depth = "{value}"', {"KEY": "1"})
    assert 'depth: "${" needs the name of a variable' in problem


def test_numbers_and_booleans_may_refer_to_variables(file: Path) -> None:
    text = f'[server]\nport = "${{P}}"\n{EXAMPLE}wide = "${{W}}"\ntimeout = "${{T}}"\ndepth = "${{D}}"'
    settings = read(file, text, {"P": "81", "W": "true", "T": "9", "D": ""})
    assert settings.server.port == 81
    assert settings.registries == (ExampleSettings(name="odd", kind="odd", wide=True, timeout=9.0),)
    assert isinstance(settings.registries[0].timeout, float)


@pytest.mark.parametrize("key", ["name", "kind", "region", "timeout", "models_endpoint", "access_key_secret"])
@pytest.mark.parametrize("secret", ["s3cr-hidden !", " hidden", "hidden\n", "https://u:hidden@h"])
def test_a_message_never_shows_the_value_of_a_variable(file: Path, key: str, secret: str) -> None:
    keys = {"name": "p", "kind": "pai", "region": "cn-x", "access_key_id": "i", "access_key_secret": "s"}
    lines = [f'{name} = "{value}"' for name, value in (keys | {key: "${HIDDEN}"}).items()]
    text = "[[registries]]\n" + "\n".join(lines)
    if key == "access_key_secret" and secret.isprintable() and secret == secret.strip():
        assert secret not in repr(read(file, text, {"HIDDEN": secret}))
        return
    assert all("hidden" not in message for message in problems(file, text, {"HIDDEN": secret}))


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://Example.COM/", "https://example.com"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://twin_1", "http://twin_1"),
    ],
)
def test_an_endpoint_is_normalized(file: Path, value: str, url: str) -> None:
    text = PUBLISHED.replace('endpoint = ""                      #', f'endpoint = "{value}" #')
    registry = read(file, text).registries[1]
    assert isinstance(registry, QianfanSettings)
    assert registry.endpoint == url


@pytest.mark.parametrize(
    "value",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https:///",
        "https://h//",
        "https://h/v1//a",
        "https://h/v1?a",
        "https://h?",
        "https://h#x",
        "https://u@h",
        "https://h:65536",
        "https://h:",
        "https://h h",
        "https://.",
        "http://[::1",
    ],
)
def test_an_endpoint_must_be_a_scheme_a_host_and_perhaps_a_path(file: Path, value: str) -> None:
    text = PUBLISHED.replace('endpoint = ""                      #', f'endpoint = "{value}" #')
    (problem,) = problems(file, text)
    assert problem.startswith('registries[2] "qianfan": endpoint: must be http:// or https:// and a host')


@given(st.text(min_size=1).filter(lambda text: text not in "Secret(***)"))
def test_only_reveal_shows_a_secret(text: str) -> None:
    secret = Secret(text)
    assert secret.reveal() == text
    assert secret == Secret(text)
    assert hash(secret) == hash(Secret(text))
    assert secret != text
    assert secret
    assert {str(secret), repr(secret), f"{secret}", f"{secret!s}", "%s" % secret} == {"Secret(***)"}  # noqa: UP031
    assert pickle.loads(pickle.dumps(secret)) == secret == copy.deepcopy(secret)  # noqa: S301
    settings = QianfanSettings(name="q", kind="qianfan", access_key="a", secret_key=secret)
    assert asdict(settings)["secret_key"] == secret
    assert "secret_key=Secret(***)" in repr(settings)


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")


@given(
    st.dictionaries(st.sampled_from([f.name for f in fields(ExampleSettings)]) | st.text(), st.text() | st.integers())
)
def test_any_registry_table_is_loaded_or_refused_with_a_printable_message(entry: dict[str, object]) -> None:
    reader = _SettingsReader({"A": "1"})
    tuple(reader.registries_of_file({"registries": [{"kind": "odd"} | entry]}, KINDS))
    assert all(isinstance(message, str) and message.isprintable() for message in reader.problems)


@given(st.integers() | st.floats())
def test_a_port_in_a_variable_is_used_or_refused(number: float) -> None:
    environ = QIANFAN | {"GATEWAY_SERVER_PORT": str(number)}
    if isinstance(number, int) and 0 <= number <= 65535:
        assert load(None, environ, VENDORS).server.port == number
    else:
        (problem,) = problems(None, environ=environ)
        assert problem.startswith("GATEWAY_SERVER_PORT: ")


def test_every_setting_is_described_once() -> None:
    rows = describe(KINDS)
    assert len({row.key for row in rows}) == len(rows)
    assert all(row.help.strip() for row in rows)
    by_key = {row.key: row for row in rows}
    assert by_key["server.port"][1:4] == ("whole number", "8000", "GATEWAY_SERVER_PORT")
    assert by_key["registries.name"][1:4] == ("text", "required", "")
    assert by_key["registries.timeout"].default == "8.0"
    assert by_key["registries.timeout (odd)"].default == "30.0"
    assert by_key["registries.secret_key (qianfan)"][1:4] == ("secret", "required", "QIANFAN_SECRET_KEY")
    assert by_key["registries.security_token (pai)"].default == ""
    assert by_key["registries.sts_endpoint (qianfan)"].default == "https://sts.bj.baidubce.com"
    for kind, cls in KINDS.items():
        for item in fields(cls):
            assert f"registries.{item.name}" in by_key or f"registries.{item.name} ({kind})" in by_key


def test_the_documentation_table_has_a_row_for_every_setting() -> None:
    lines = table(VENDORS).splitlines()
    assert len(lines) == 2 + len(describe(VENDORS))
    assert "| `server.port` | whole number | `8000` | `GATEWAY_SERVER_PORT` | " in lines[3]
    assert {line.count("|") - line.count("\\|") for line in lines} == {6}


# Values that can match nothing

REGISTRY = """
[[registries]]
name = "qianfan"
kind = "qianfan"
access_key = "a"
secret_key = "b"
"""

ORIGINS: dict[str, str] = {
    "https://models.example.com:443": "browsers leave out the port 443",
    "http://models.example.com:80": "browsers leave out the port 80",
    "https://*.example.com": "wildcard",
    "https://*": "wildcard",
    "https://models.example.com:*": "wildcard",
    "https://Models.example.com": "lower-case",
    "https://m\u00fcller.example": "lower-case ASCII",
    "https://user@models.example.com": "an origin is a scheme",
    "https://models.example.com?q": "an origin is a scheme",
    "https://models.example.com:": "an origin is a scheme",
    "https://models.example.com:08443": "an origin is a scheme",
    "https://models.example.com:0": "an origin is a scheme",
    "https://models.example.com:65536": "no such port",
    "https://models..example.com": "an origin is a scheme",
    "http://127.1": "no such host",
    "http://256.0.0.1": "no such host",
    "http://0x7f000001": "no such host",
    "http://[0:0:0:0:0:0:0:1]": "as [::1]",
    "http://[::1%eth0]": "an origin is a scheme",
    "https://-models.example.com": "no such host",
    "https://models-.example.com": "no such host",
    "https://models.-example.com:8443": "no such host",
    "https://-": "no such host",
    f"https://{'m' * 64}.example.com": "no such host",
    f"https://models.{'m' * 64}": "no such host",
    f"https://{'.'.join(['m' * 63] * 4)}": "no such host",
    "https://models.example.com/": "does not match",
    "models.example.com": "does not match",
    "null": "does not match",
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_that_no_browser_sends_is_refused(file: Path, origin: str) -> None:
    file.write_text(f'[server]\ncors = "https://good.example {origin}"\n{REGISTRY}', encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load(file, {}, KINDS)
    (problem,) = refused.value.problems
    assert problem.startswith("server.cors: ")
    assert ORIGINS[origin] in problem
    if "does not match" not in problem:
        with pytest.raises(SettingsError, match="no browser sends"):
            create_app(Settings(server=ServerSettings(cors=origin)))


def test_origins_that_browsers_send_are_accepted(file: Path) -> None:
    for origins in (
        "*",
        "loopback",
        "https://models.example.com loopback https://b.example.com",
        "https://models.example.com http://localhost:3000 http://127.0.0.1:8080 http://[::1]:3000",
        "https://a_b.example:8443 https://models.example.com:80 http://models.example.com:443 http://xn--mller-kva.example",
        f"https://{'m' * 63}.example https://a--b.example https://models.example.com.",
    ):
        file.write_text(f'[server]\ncors = "{origins}"\n{REGISTRY}')
        assert load(file, {}, KINDS).server.cors == origins


CLAIMS = {
    "exp": "another meaning",
    "iss": "another meaning",
    "aud": "another meaning",
    "sub": "another meaning",
    "azp": "another meaning",
    "nonce": "another meaning",
    "client_id": "another meaning",
    "realm_access": "is an object of other claims",
    "resource_access": "is an object of other claims",
    "roles,groups": "has a comma",
    "roles, groups": "has a comma",
    "aud.roles": "another meaning",
    "realm_access.": "is a path",
    ".roles": "is a path",
    "realm_access..roles": "is a path",
    "$.roles": "is a path",
    "/realm_access/roles": "is a path",
    "roles[0]": "is a path",
}


@pytest.mark.parametrize("setting", ["roles_claim", "registries_claim"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_lists_nothing_in_any_token_is_refused(file: Path, setting: str, claim: str) -> None:
    file.write_text(f'[access]\n{setting} = "{claim}"\n{REGISTRY}')
    with pytest.raises(SettingsError) as refused:
        load(file, {}, KINDS)
    (problem,) = refused.value.problems
    assert problem.startswith(f"access.{setting}: ")
    assert CLAIMS[claim] in problem


def test_names_of_claims_are_accepted(file: Path) -> None:
    names = ("scope", "roles", "https://example.com/roles", "cognito:groups", "urn:example.com:roles", "a b")
    for claim in (*names, "realm_access.roles", "resource_access.my-app.roles"):
        file.write_text(f'[access]\nroles_claim = "{claim}"\n{REGISTRY}')
        assert load(file, {}, KINDS).access.roles_claim == claim


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[access]\nalgorithms = []", "access.algorithms: is empty, so no token could be verified"),
        ("[documents]\nonly_trusted = true", "documents.only_trusted needs trusted, because every document would be"),
        ('[cache]\nadmin_token = "schl\u00fcssel"', "cache.admin_token: the value does not match [ -~]+"),
    ],
)
def test_other_settings_that_can_match_nothing_are_refused(file: Path, text: str, problem: str) -> None:
    file.write_text(f"{text}\n{REGISTRY}", encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load(file, {}, KINDS)
    (only,) = refused.value.problems
    assert only.startswith(problem)


REDIS_URLS = {
    "redis://:s3cr/et@127.0.0.1:6379/0": "its host or port is not valid",
    "redis://:s3cr#et@127.0.0.1:6379/0": "its host or port is not valid",
    "redis://:s3cr?et@127.0.0.1:6379/0": "its host or port is not valid",
    "redis://:[s3cr@127.0.0.1:6379/0": "its host or port is not valid",
    "redis://:12/s3cr@127.0.0.1:6379/0": "it has no valid host and port",
    "redis://app:12/s3cr@127.0.0.1:6379/0": "its path is not the number of a database",
    "redis://app:12?s3cr@127.0.0.1:6379/0": "its query is not name=value",
    "redis://app:12?s3cr=x@127.0.0.1:6379/0": "it has an unknown option",
    "redis://app:12#s3cr@127.0.0.1:6379/0": "it has a fragment",
    "redis://s3cr:99999/0": "its host or port is not valid",
    "redis://s3cr:0/0": "it has no valid host and port",
    "redis://": "it has no valid host and port",
    "redis://s3cr/db": "its path is not the number of a database",
    "http://s3cr": "its scheme is none of unix, redis, rediss, redis+sentinel, rediss+sentinel",
    "s3cr:6379": "its scheme is none of unix, redis, rediss, redis+sentinel, rediss+sentinel",
    "redis+sentinel://:s3cr@one": "it is not like redis+sentinel://",
    "redis+sentinel://:s3cr@/mymaster": "it is not like redis+sentinel://",
    "redis+sentinel://:s3/cr@one/mymaster": "it is not like redis+sentinel://",
    "redis+sentinel://one/mymaster/s3cr": "it is not like redis+sentinel://",
    "redis+sentinel://s3cr,/mymaster": "it has no valid host and port",
    "redis+sentinel://one,s3cr:99999/mymaster": "its host or port is not valid",
    "redis+sentinel://one/mymaster?sentinel_s3cr=x": "it has an unknown option",
    "redis+sentinel://s3cr/mymaster?ssl_ca_certs=ca.pem": "it has an unknown option",
    "redis://s3cr?sentinel_password=x": "it has an unknown option",
    "unix://s3cr": "it has no path of a socket",
    "redis://s3cr?socket_timeout=abc": 'the value of its option "socket_timeout" is not valid',
    "redis://s3cr?db=": 'the value of its option "db" is not valid',
    "redis://s3cr?foo=bar": "it has an unknown option",
    "redis://s3cr?ssl_ca_certs=ca.pem": "it has an unknown option",
    "rediss://s3cr?ssl_cert_reqs=maybe": 'the value of its option "ssl_cert_reqs" is not valid',
}


@pytest.mark.parametrize("url", REDIS_URLS)
def test_a_url_that_is_not_one_of_a_redis_is_refused_and_not_shown(file: Path, url: str) -> None:
    file.write_text(f'[cache]\nredis = "{url}"\n{REGISTRY}', encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load(file, {}, KINDS)
    (problem,) = refused.value.problems
    assert problem.startswith("cache.redis: must be a URL like redis://:password@cache:6379/0, but ")
    assert REDIS_URLS[url] in problem
    assert "s3cr" not in problem
    with pytest.raises(SettingsError, match="must be a URL like"):
        create_app(Settings(cache=CacheSettings(redis=Secret(url))))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_url_of_a_redis_that_is_accepted_opens_a_connection(file: Path, scheme: str) -> None:
    examples = {TEXT: "a", SWITCH: "true", WHOLE: "3", SECONDS: "1.5"}
    examples |= {"[23]": "3", "[1-9][0-9]{0,8}": "5", "none|optional|required": "none"}
    query = "&".join(f"{name}={examples[pattern]}" for name, pattern in SCHEMES[scheme].items())
    servers = ["cache", ":p%2Fw@cache:6379/0", "app:p@[::1]:6379/"]
    sentinels = ["one/mymaster", "one:1,two/mymaster/0", "app:p%2Fw@[::1]:6379,[::1],127.0.0.1/my.service-1/3/"]
    addresses = {"unix": ["/run/redis.sock"], "redis": servers, "rediss": servers}
    for address in addresses.get(scheme, sentinels):
        for url in (f"{scheme}://{address}", f"{scheme}://{address}?{query}"):
            file.write_text(f'[cache]\nredis = "{url}"\n{REGISTRY}')
            assert load(file, {}, KINDS).cache.redis.reveal() == url
            SharedCache(url, 1.0, float).redis.connection_pool.make_connection()


# Static credentials


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"username": "u"}, "username needs password"),
        ({"password": "hidden"}, "password needs username"),
        (
            {"username": "u", "password": "hidden", "token": "hidden"},
            "token: username is set too; use only one of them",
        ),
        ({"username": "a:b", "password": "hidden"}, 'username: "a:b" does not match'),
        ({"token": "hidden token"}, "token: the value does not match"),
        (
            {"account": "1", "credentials_file": "key.json", "token": "hidden"},
            "credentials_file: token is set too; use only one source of the access key",
        ),
    ],
)
def test_static_credentials_must_not_contradict_each_other(file: Path, given: Mapping[str, str], problem: str) -> None:
    file.write_text(EXAMPLE + "\n".join(f'{name} = "{value}"' for name, value in given.items()))
    with pytest.raises(SettingsError) as caught:
        load(file, {}, {"odd": StaticCredentialsSettings})
    assert [line.partition('"odd": ')[2][: len(problem)] for line in caught.value.problems] == [problem]
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{}, {"username": "u", "password": "p"}, {"token": "t/A+1.~_-=="}, {"account": "1", "token": "t"}]
)
def test_static_credentials_may_be_left_out(file: Path, given: Mapping[str, str]) -> None:
    file.write_text(EXAMPLE + "\n".join(f'{name} = "{value}"' for name, value in given.items()))
    (registry,) = load(file, {}, {"odd": StaticCredentialsSettings}).registries
    assert isinstance(registry, StaticCredentialsSettings)
    found = registry.credentials
    revealed = {"username": found.key, "password": found.secret.reveal(), "token": found.token.reveal()}
    assert revealed == {name: given.get(name, "") for name in revealed}


def test_the_variables_of_aws_configure_no_registry() -> None:
    """They are set on many machines for other purposes."""
    environ = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    kinds = {"sagemaker": SageMakerSettings, "qianfan": QianfanSettings}
    message = r"no registry is configured: [^,]+, or set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY"
    with pytest.raises(SettingsError, match=f"^{message}$"):
        load(None, environ, kinds)


def test_quotas_are_set_for_all_registries_or_for_one_and_are_otherwise_those_of_the_kind(file: Path) -> None:
    text = PUBLISHED + "requests_per_second = 12.5\n[quota]\nin_flight = 4\n"
    settings = read(file, text, PAI | QIANFAN | {"GATEWAY_QUOTA_MAX_WAIT": "0"})
    first, *_, last = settings.registries
    assert (last.requests_per_second, last.in_flight) == (12.5, None)
    assert (first.requests_per_second, first.in_flight) == (None, None)
    assert settings.quota.over(Quota()) == Quota(requests_per_second=45.0, in_flight=4, max_wait=0.0)


@pytest.mark.parametrize("value", ["0", "true", '"many"', "10_001"])
def test_a_quota_has_bounds(file: Path, value: str) -> None:
    (problem,) = problems(file, PUBLISHED + f"in_flight = {value}\n")
    assert "in_flight: " in problem
