"""Ways to a registry: proxies, private certificate authorities, client certificates, and endpoints with a path."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.app import create_app
from gateway.auth import jwks
from gateway.catalog.registry import Registry
from gateway.config.loading import load
from gateway.config.settings import RegistrySettings, Secret, SettingsError
from gateway.config.tls import default_tls, registry_tls
from gateway.errors import Cause, RegistryUnreachable
from gateway.registries import KINDS
from gateway.registries.signatures import acs3, bce_auth_v1
from gateway.server.runner import RunningApp
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.http_session import proxy_for
from gateway.upstream.messages import Endpoint
from tests.conftest import pai, qianfan, settings
from tests.upstream.certificates import certificate, server_tls
from tests.upstream.raw_registry import DOCUMENT, PLAIN, listening, serving, via

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Proxy:
    """An HTTP proxy that records the request lines and credentials of its clients."""

    def __init__(self) -> None:
        self.lines, self.credentials, self.port = list[str](), list[str](), 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        self.lines.append(line)
        self.credentials += [one[27:] for one in headers if one.lower().startswith("proxy-authorization: basic ")]
        method, target, _ = line.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        there, to = await asyncio.open_connection(parts.hostname, parts.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.partition(parts.netloc)[2]
            to.write(head.replace(target, path, 1).encode())
        await asyncio.gather(pipe(reader, to), pipe(there, writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    finally:
        writer.close()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with listening(proxy.serve) as port:
        proxy.port = port
        yield proxy


# Proxies


async def test_a_plain_request_goes_through_the_proxy_with_its_credentials() -> None:
    async with proxying() as proxy, serving(PLAIN) as registry:
        via(registry, proxy.url.replace("://", "://user:pass@"))
        assert await registry.send() == DOCUMENT
        assert proxy.lines == [f"GET {registry.endpoint.origin}/models/a%20b HTTP/1.1"]
        assert [base64.b64decode(one) for one in proxy.credentials] == [b"user:pass"]


async def test_a_tls_request_goes_through_a_tunnel(tmp_path: Path) -> None:
    own = certificate(tmp_path, "localhost")
    async with proxying() as proxy, serving(PLAIN, PLAIN, security=server_tls(own)) as registry:
        registry.tls = registry_tls(pai("https://localhost", ca_file=str(own)))
        via(registry, proxy.url.replace("://", "://user:pass@"))
        for _ in range(2):
            assert await registry.send() == DOCUMENT
        assert proxy.lines == [f"CONNECT {registry.endpoint.host} HTTP/1.1"]
        assert [base64.b64decode(one) for one in proxy.credentials] == [b"user:pass"]
        assert "user:pass" not in registry.heads[0]
        assert "proxy-auth" not in registry.heads[0].lower()


def endpoint(configured: RegistrySettings) -> Endpoint:
    registry = Registry(KINDS[configured.kind], configured, UncachedClient(None))  # type: ignore[arg-type]
    return next(iter(registry.destination.endpoints.values()))


def test_the_proxy_is_that_of_the_setting_or_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secure, plain = "https://pai.example", "http://pai.example"
    assert endpoint(pai(secure)).proxy is None
    monkeypatch.setenv("HTTPS_PROXY", "http://secure-proxy:1")
    monkeypatch.setenv("HTTP_PROXY", "plain-proxy:2")
    assert endpoint(pai(secure)).proxy == "http://secure-proxy:1"
    assert endpoint(pai(plain)).proxy == "http://plain-proxy:2"
    assert endpoint(pai(secure, proxy=Secret("http://own-proxy:3"))).proxy == "http://own-proxy:3"
    monkeypatch.setenv("NO_PROXY", "other.example,.pai.example,pai.example:8443")
    assert endpoint(pai("https://eu.pai.example")).proxy is None
    assert endpoint(pai("https://pai.example:8443")).proxy is None
    assert endpoint(pai("https://pai.example.org")).proxy == "http://secure-proxy:1"
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for(plain) is None


def test_a_proxy_of_the_environment_that_is_no_http_proxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hidden@proxy:1080")
    with pytest.raises(SettingsError, match=r"^the variable HTTPS_PROXY: must be an http:// or https:// address$"):
        endpoint(pai("https://pai.example"))
    assert proxy_for("http://pai.example") is None


async def test_a_gateway_with_an_unusable_file_does_not_start() -> None:
    with pytest.raises(SettingsError, match=r"ca_file: missing.pem: No such file"):
        await RunningApp(create_app(settings(pai("https://pai.example", ca_file="missing.pem")))).open()


async def test_keys_of_the_issuer_come_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy, serving(PLAIN) as registry:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert await jwks.fetch(f"{registry.endpoint.origin}/jwks") == b'{"ok":1}'
        assert proxy.lines == [f"GET {registry.endpoint.origin}/jwks HTTP/1.1"]


# TLS


async def test_a_private_authority_is_trusted_for_its_registry_alone(tmp_path: Path) -> None:
    own = certificate(tmp_path, "localhost")
    async with serving(PLAIN, security=server_tls(own)) as registry:
        with pytest.raises(RegistryUnreachable) as caught:
            await registry.send()
        assert caught.value.cause is Cause.UNTRUSTED_CERTIFICATE
        assert registry.heads == []
        registry.tls = registry_tls(pai("https://localhost", ca_file=str(own)))
        assert await registry.send() == DOCUMENT


async def test_a_registry_sees_the_client_certificate(tmp_path: Path) -> None:
    own, client = certificate(tmp_path, "localhost"), certificate(tmp_path, "gateway.example")
    async with serving(PLAIN, security=server_tls(own, client_ca=client)) as registry:
        registry.tls = registry_tls(pai("https://localhost", ca_file=str(own)))
        with pytest.raises(RegistryUnreachable):
            await registry.send()
        options = {"ca_file": str(own), "client_certificate": str(client), "client_key": str(client)}
        registry.tls = registry_tls(pai("https://localhost", **options))
        assert await registry.send() == DOCUMENT


async def test_the_environment_names_further_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    default_tls.cache_clear()
    try:
        async with serving(PLAIN, PLAIN, security=server_tls(own)) as registry:
            assert await registry.send() == DOCUMENT
            assert await jwks.fetch(f"{registry.endpoint.origin}/jwks") == b'{"ok":1}'
    finally:
        default_tls.cache_clear()


COMMON = """
[[registries]]
name = "pai"
kind = "pai"
region = "cn-hangzhou"
access_key_id = "a"
access_key_secret = "b"
"""


def loaded(folder: Path, text: str) -> RegistrySettings:
    file = folder / "gateway.toml"
    file.write_text(COMMON + text)
    (registry,) = load(file, {}, {name: kind.settings for name, kind in KINDS.items()}).registries
    return registry


def test_tls_files_and_proxies_are_settings(tmp_path: Path) -> None:
    own = certificate(tmp_path, "localhost")
    text = f'ca_file = "{own}"\nclient_certificate = "{own}"\nproxy = "http://user:pass@proxy:3128"'
    registry = loaded(tmp_path, text)
    assert registry.proxy.reveal() == "http://user:pass@proxy:3128"
    assert "pass" not in repr(registry)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('ca_file = "missing.pem"', "ca_file: missing.pem: No such file or directory"),
        ('ca_file = "{toml}"', "ca_file: {toml}: not a PEM file with certificates"),
        ('client_certificate = "missing.pem"', "client_certificate: missing.pem: No such file or directory"),
        ('client_certificate = "{toml}"', "client_certificate: {toml}: not a PEM file with certificates"),
        ('client_key = "key.pem"', "client_key needs client_certificate"),
        ('proxy = "user:hidden@proxy:3128"', "proxy: the value does not match"),
        ('proxy = "socks5://proxy:1080"', "proxy: the value does not match"),
    ],
)
def test_unusable_settings_are_reported_without_secrets(text: str, problem: str, tmp_path: Path) -> None:
    toml = str(tmp_path / "gateway.toml")
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text.replace("{toml}", toml))
    assert caught.value.problems[0].startswith(f'registries[1] "pai": {problem.replace("{toml}", toml)}')
    assert "hidden" not in str(caught.value)


# Endpoints with a path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://Gateway.Corp/PAI", "https://gateway.corp/PAI"),
        ("https://gateway.corp:8443/a/b%20c/", "https://gateway.corp:8443/a/b%20c"),
        ("https://gateway.corp/", "https://gateway.corp"),
    ],
)
def test_an_endpoint_may_have_a_path(text: str, address: str, tmp_path: Path) -> None:
    registry: Any = loaded(tmp_path, f'models_endpoint = "{text}"')
    assert registry.models_endpoint == address


@pytest.mark.parametrize("path", ["/a?b", "/a#b", "//a", "/a//b", "/../a", "/a/.", "/a%2", "/a b", "/é", ":1/a@b"])
def test_an_endpoint_has_a_plain_path_or_none(path: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a host and perhaps a path, without query or user"):
        loaded(tmp_path, f'models_endpoint = "https://gateway.corp{path}"')


async def sent_to(configured: RegistrySettings, registry: Any, call: str) -> tuple[str, str, list[Any], dict[str, str]]:
    """Make a call, and return method, path, query and headers as the registry received them."""
    kind = KINDS[configured.kind]
    own = Registry(kind, configured, UncachedClient(registry.client))
    one = next(stream.call for stream in kind.streams if stream.call.name == call)
    await registry.client.send(own.destination, one.request(()))
    line, *lines = registry.heads[-1].split("\r\n")[:-2]
    method, target, _ = line.split(" ")
    parts = urlsplit(target)
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    return method, parts.path, parse_qsl(parts.query), headers


async def test_pai_signs_the_path_that_is_sent() -> None:
    async with serving(PLAIN, path="/pai") as registry:
        configured = pai(registry.endpoint.origin + "/pai")
        method, path, query, headers = await sent_to(configured, registry, "ListModels")
    assert path == "/pai/api/v1/models"
    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    payload = headers["x-acs-content-sha256"]
    signed = {name: headers[name] for name in names}
    _, signature = acs3(configured.access_key_secret.reveal(), method, path, query, signed, payload)
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert headers["host"] == registry.endpoint.host


async def test_qianfan_signs_the_path_that_is_sent() -> None:
    async with serving(PLAIN, path="/qianfan/eu") as registry:
        configured = qianfan(registry.endpoint.origin + "/qianfan/eu")
        method, path, query, headers = await sent_to(configured, registry, "userList")
    assert path == "/qianfan/eu/wenxinworkshop/modelrepo/model/user/list"
    prefix, _, rest = headers["authorization"].rpartition("/")
    prefix, _, names = prefix.rpartition("/")
    signed = {name: headers[name] for name in names.split(";")}
    _, signature = bce_auth_v1(configured.secret_key.reveal(), prefix, method, path, query, signed)
    assert rest == signature
