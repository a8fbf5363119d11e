"""Settings: one dataclass for each table of the settings file. Each setting declares its description, limits and
default in one place; the documentation tables are generated from here."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from gateway.config.origins import EVERY, AllowedOrigins, origin_problem
from gateway.config.redis_urls import redis_url_problem
from gateway.config.urls import has_valid_host, is_network


class Secret:
    """Text that stays out of logs and tracebacks; `reveal()` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key of a cloud account, a user name and password, or a bearer token.

    A temporary key (STS) also has a ``token``. It expires at ``expires``, in seconds since 1970; None if unknown. A
    user name is the ``key``, its password the ``secret``. A bearer token has neither; without any, requests are
    anonymous. ``source`` tells operators where the key comes from.
    """

    key: str
    secret: Secret
    token: Secret = Secret("")
    expires: float | None = None
    source: str = field(default="", compare=False)


class SettingsError(ValueError):
    """The settings are invalid. ``problems`` lists every problem, one sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Add the problems of a `SettingsError` to the list, so that others are found, too."""
    try:
        yield
    except SettingsError as error:
        problems += error.problems


def setting(
    help: str,
    *,
    default: Any = MISSING,
    variables: tuple[str, ...] = (),
    pattern: str | None = None,
    url: bool = False,
    path: bool = False,
    key: bool = False,
    identifies: bool = False,
    minimum: float = -sys.float_info.max,
    maximum: float = sys.float_info.max,
    example: str | None = None,
) -> Any:
    """Declare a setting as a field of a settings dataclass.

    ``help`` is the description in the generated documentation. ``variables`` are environment variables that supply
    the value, first match first. ``pattern`` must match the whole text, ``url`` requires an http(s) origin, which may
    have a path with ``path``, and ``minimum`` and ``maximum`` bound a number. A setting without a default is required.
    So is one with ``key``, which is part of the registry's access key, unless one of `CREDENTIALS` supplies the key.
    One with ``identifies`` is part of credentials that a registry may not need; it stands for the account whose data
    are read, unless `account` names it.
    """
    rules = {
        "pattern": pattern,
        "url": url,
        "path": path,
        "key": key,
        "identifies": identifies,
        "minimum": minimum,
        "maximum": maximum,
        "example": example,
    }
    return field(default=default, metadata={"help": help, "variables": variables, **rules})


class CheckedSettings:
    """Settings of which some values, valid by themselves, cannot work."""

    __slots__ = ()

    def problems(self) -> Iterator[str]:
        """Yield each problem as a sentence that begins with the name of the setting."""
        yield from ()


OTHER_CLAIMS: Mapping[str, str] = {
    **dict.fromkeys(("iss", "sub", "aud", "exp", "nbf", "iat", "jti"), "has another meaning in every token (RFC 7519)"),
    **dict.fromkeys(
        ("acr", "amr", "at_hash", "auth_time", "azp", "c_hash", "nonce", "sid"),
        "has another meaning in every token (OpenID Connect)",
    ),
    **dict.fromkeys(("act", "client_id", "cnf", "may_act"), "has another meaning in every token (OAuth)"),
    **dict.fromkeys(("realm_access", "resource_access"), "is an object of other claims"),
}
"""The claims that no issuer uses for registries or roles, and why.

Sources: RFC 7519, section 4.1; OpenID Connect Core, section 2, and its logout specifications; RFC 7800, 8693 and 9068;
Keycloak.
"""

CLAIMS_OF_CLAIMS = ("act", "cnf", "may_act", "realm_access", "resource_access")
"""Claims that are objects of other claims."""

CLAIM_PATH = re.compile(r"[$/].*|.*\[.*|\..*|.*\.|.*\.\..*")
"""Paths into other claims in notations that are not read: JSONPath, JSON Pointer, and names without a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many calls of one name an account makes: per second, at once, and how long one more waits, in seconds."""

    requests_per_second: float = 45.0
    in_flight: int = 32
    max_wait: float = 2.0


CREDENTIALS = ("credentials_from", "credentials_file", "credentials_command")
"""Settings that load a registry's access key from outside the settings file. Not every kind has the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings(CheckedSettings):
    """Settings that every registry has; each kind adds its own."""

    name: str = setting(
        "Name of the registry. It is part of every global id, so a change breaks stored ids.",
        pattern=r"[a-z][a-z0-9-]{0,31}",
        example="pai-eu",
    )
    kind: str = setting("Kind of the registry.")
    timeout: float = setting(
        "Timeout of one request to the registry, in seconds.", default=8.0, minimum=0.001, maximum=120
    )
    max_answer_bytes: int = setting(
        "Largest response body accepted from the registry, in bytes after decompression.",
        default=16 * 2**20,
        minimum=1024,
        maximum=2**30,
    )
    account: str = setting(
        "Id of the cloud account. Cached responses belong to the account, so they stay valid when the access key is "
        "rotated. Empty: the id of the access key, the user name or the token stands for the account.",
        default="",
        example="1234567890",
    )
    credentials_file: str = setting(
        "JSON file with a temporary access key, instead of a key in the settings. Reloaded when the file changes.",
        default="",
    )
    credentials_command: tuple[str, ...] = setting(
        "Command and arguments; it prints a temporary access key as JSON. Run again before the key expires.",
        default=(),
        example='["vault-key", "pai"]',
    )
    requests_per_second: float | None = setting(
        "Requests per second for each call name, in place of `quota.requests_per_second`.",
        default=None,
        minimum=1,
        maximum=10_000,
    )
    in_flight: int | None = setting(
        "Requests in flight for each call name, in place of `quota.in_flight`.",
        default=None,
        minimum=1,
        maximum=10_000,
    )
    proxy: Secret = setting(
        "Proxy in front of the registry, in place of the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.",
        default=Secret(""),
        pattern=r"https?://[^\s/]+/?",
        example="http://user:password@proxy:3128",
    )
    ca_file: str = setting(
        "File of the certificate authorities (PEM) to trust for the registry, in place of the system's.",
        default="",
        example="corporate-ca.pem",
    )
    client_certificate: str = setting("File of the client certificate (PEM) for the registry.", default="")
    client_key: str = setting(
        "File of the key of `client_certificate` (PEM, not encrypted), unless the same file holds it.", default=""
    )

    def problems(self) -> Iterator[str]:
        """Yield conflicts between settings: more than one source of the access key, or a rotating key without an
        account."""
        sources = [name for name in CREDENTIALS if getattr(self, name, "")]
        given = [item for item in fields(self) if item.metadata["key"] or item.metadata["identifies"]]
        sources += [item.name for item in given if getattr(self, item.name)][:1]
        if len(sources) > 1:
            yield f"{sources[0]}: {sources[1]} is set too; use only one source of the access key"
        changing = [name for name in (*CREDENTIALS, "assume_role") if getattr(self, name, "")]
        if changing and not self.account:
            yield f"{changing[0]} needs account, because the access key changes and cannot identify cached data"
        if self.client_key and not self.client_certificate:
            yield "client_key needs client_certificate"
        if self.proxy and not has_valid_host(self.proxy.reveal()):
            yield "proxy: its host or port is not valid"


def credentials_setting(*sources: str) -> Any:
    """Declare the setting that names the source of the access key, and the sources that a cloud has."""
    return setting(
        "Where the access key comes from, instead of a key in the settings: one of "
        f"{', '.join(f'`{source}`' for source in sources)}; see "
        "[sources of the access key](#sources-of-the-access-key).",
        default="",
        pattern="|".join(sources),
    )


def role_setting(pattern: str, example: str) -> Any:
    """Declare the setting of a role that is assumed with the access key."""
    return setting(
        "Role to assume with the access key, wherever that comes from. Calls are signed with the role's temporary key.",
        default="",
        pattern=pattern,
        example=example,
    )


def username_setting(*variables: str) -> Any:
    """Declare the setting of a user name, and the environment variables that supply it."""
    return setting(
        "User name for HTTP Basic authentication. Empty: none.",
        default="",
        variables=variables,
        identifies=True,
        pattern="[^:]+",
    )


def password_setting(*variables: str) -> Any:
    """Declare the setting of a password, and the environment variables that supply it."""
    return setting("Password of `username`.", default=Secret(""), variables=variables)


def token_setting(*variables: str) -> Any:
    """Declare the setting of a bearer token, and the environment variables that supply it."""
    return setting(
        "Token, in place of a user name and password.",
        default=Secret(""),
        variables=variables,
        identifies=True,
        pattern="[A-Za-z0-9._~+/-]+=*",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticCredentialsSettings(RegistrySettings):
    """Settings of a registry that expects a user name and password, a bearer token, or no credentials.

    Sources: RFC 7617, section 2; RFC 6750, section 2.1.
    """

    username: str = username_setting()
    password: Secret = password_setting()
    token: Secret = token_setting()

    @property
    def credentials(self) -> Credentials:
        """The configured credentials."""
        return Credentials(self.username, self.password, self.token)

    def problems(self) -> Iterator[str]:
        """Yield the problems of every registry, and credentials that contradict each other."""
        yield from RegistrySettings.problems(self)
        if bool(self.username) != bool(self.password):
            missing, given = ("password", "username") if self.username else ("username", "password")
            yield f"{given} needs {missing}"
        if self.username and self.token:
            yield "token: username is set too; use only one of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(CheckedSettings):
    """Listening address, workers, shutdown and cross-origin access."""

    host: str = setting("Address to listen on.", default="127.0.0.1")
    port: int = setting("Port to listen on; 0 picks a free port.", default=8000, minimum=0, maximum=65535)
    socket: str = setting(
        "Path of a Unix socket to listen on, in place of `host` and `port`. Its owner and group may connect.",
        default="",
        example="/run/gateway/gateway.sock",
    )
    tls_certificate: str = setting(
        "File of the certificate and its chain (PEM), to serve HTTPS. Read again at SIGHUP.",
        default="",
        example="/etc/gateway/tls.crt",
    )
    tls_key: str = setting(
        "File of the key of `tls_certificate` (PEM, not encrypted), unless the same file holds it.",
        default="",
        example="/etc/gateway/tls.key",
    )
    root_path: str = setting(
        "Path under which a proxy serves the gateway, such as `/models` for `/models/graphql`. The proxy may remove it "
        "from requests or not.",
        default="",
        pattern=r"(/[A-Za-z0-9._~-]+)*",
        example="/models",
    )
    keep_alive: int = setting(
        "Seconds for which an idle connection stays open. More than the idle time of the load balancer in front, which "
        "might otherwise send a request on a connection that ends.",
        default=75,
        minimum=1,
        maximum=3600,
    )
    trusted_proxies: tuple[str, ...] = setting(
        "Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; `*` believes "
        "everyone, as behind a Unix socket. Empty: those on the same machine.",
        default=(),
        example='["10.0.0.0/8"]',
    )
    workers: int = setting("Number of worker processes; each has its own cache.", default=1, minimum=1, maximum=256)
    drain: float = setting(
        "Seconds between the stop signal and the shutdown. Meanwhile the gateway serves requests and `/readyz` fails, "
        "so that load balancers send new clients elsewhere.",
        default=1.0,
        minimum=0,
        maximum=300,
    )
    grace: float = setting(
        "Seconds after `drain` in which running operations may finish before they are cancelled.",
        default=10.0,
        minimum=1,
        maximum=600,
    )
    profile: str = setting(
        "`development` gives everyone the playground, introspection, suggestions in error messages and `raw` fields; "
        "`production` does not.",
        default="production",
        pattern="development|production",
    )
    http_revision: str = setting(
        "Statuses of `/graphql`. `draft`: as clients expect them today. `2026-09-03`: those of this revision of "
        "GraphQL over HTTP, for every client; see [statuses](clients.md#statuses).",
        default="draft",
        pattern="draft|2026-09-03",
    )
    cors: str = setting(
        "Origins that browsers may send requests from (CORS), as browsers write them, separated by spaces; `*` allows "
        "every origin, `loopback` those of the same machine, such as `http://localhost:3000`.",
        default="",
        pattern=r"\*|(loopback|https?://[^\s/]+)( (loopback|https?://[^\s/]+))*",
        example="https://models.example.com",
    )

    @property
    def allowed_origins(self) -> AllowedOrigins:
        return AllowedOrigins(self.cors.split())

    def problems(self) -> Iterator[str]:
        """Yield what no client or proxy sends or has."""
        for origin in self.allowed_origins.listed:
            if origin != EVERY and (reason := origin_problem(origin)):
                yield f'cors: no browser sends the origin "{origin}": {reason}'
        for proxy in self.trusted_proxies:
            if proxy != EVERY and not is_network(proxy):
                yield f'trusted_proxies: "{proxy}" is no address or network such as 10.0.0.0/8'
        if self.tls_key and not self.tls_certificate:
            yield "tls_key needs tls_certificate"
        if set(self.root_path.split("/")) & {".", ".."}:
            yield "root_path: has a part . or .., which clients and proxies remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """Limits on connections, requests, documents and callers."""

    body_bytes: int = setting("Largest request body, in bytes.", default=2_000_000, minimum=1_000, maximum=100_000_000)
    body_seconds: float = setting(
        "Seconds in which a client must send the whole request body.", default=15.0, minimum=0.1, maximum=600
    )
    head_bytes: int = setting(
        "Largest request line and headers together, in bytes. Changes need a restart.",
        default=32_000,
        minimum=1_000,
        maximum=1_000_000,
    )
    head_seconds: float = setting(
        "Seconds in which a client must send the request line and headers. Changes need a restart.",
        default=10.0,
        minimum=0.1,
        maximum=600,
    )
    connections: int = setting(
        "Open client connections per worker process. At the limit, the connection that was idle longest is closed. "
        "Changes need a restart.",
        default=1_000,
        minimum=1,
        maximum=100_000,
    )
    batch: int = setting(
        "Operations in one batched HTTP request; 1 turns batching off.", default=1, minimum=1, maximum=100
    )
    variables_bytes: int = setting(
        "Largest variables of one operation, in bytes of JSON.", default=200_000, minimum=100, maximum=10_000_000
    )
    characters: int = setting(
        "Longest GraphQL document, in characters.", default=100_000, minimum=1_000, maximum=10_000_000
    )
    tokens: int = setting("Lexical tokens in a GraphQL document.", default=4_000, minimum=100, maximum=100_000)
    operations: int = setting("Operations in a GraphQL document.", default=10, minimum=1, maximum=1_000)
    fields: int = setting(
        "Fields in an operation, with fragments expanded.", default=2_000, minimum=10, maximum=100_000
    )
    depth: int = setting("Nesting depth of fields in an operation.", default=15, minimum=3, maximum=100)
    aliases: int = setting("Aliases in an operation, with fragments expanded.", default=30, minimum=0, maximum=10_000)
    directives: int = setting(
        "Directives in an operation, with fragments expanded.", default=50, minimum=0, maximum=10_000
    )
    root_fields: int = setting("Root fields in an operation.", default=20, minimum=1, maximum=1_000)
    page_rows: int = setting("Largest page size (`first`) of a list.", default=100, minimum=20, maximum=100)
    ids: int = setting("Ids in one `nodes` field.", default=100, minimum=1, maximum=100)
    references: int = setting(
        "Entity representations in one `_entities` field.", default=2_000, minimum=1, maximum=2_000
    )
    requests_per_second: float = setting(
        "Operations per second that one authenticated caller may start.", default=100.0, minimum=0.1, maximum=1_000_000
    )
    in_flight: int = setting(
        "Operations that one authenticated caller may run at the same time.", default=50, minimum=1, maximum=100_000
    )
    calls: int = setting(
        "Upstream calls that an operation may cost, estimated for an empty cache. A costlier operation is refused.",
        default=1_000,
        minimum=1,
        maximum=1_000_000,
    )
    rows: int = setting(
        "Objects that a response may hold, estimated from the page sizes. An operation with a larger response is "
        "refused.",
        default=20_000,
        minimum=100,
        maximum=10_000_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsSettings(CheckedSettings):
    """Persisted queries and trusted documents."""

    automatic: bool = setting(
        "Automatic persisted queries (APQ): clients may send the hash of a document that they sent before.",
        default=True,
    )
    trusted: str = setting(
        "File of trusted documents: a JSON object that maps ids to documents, as Relay and graphql-codegen write it, "
        "or Apollo's manifest. It is read again when it changes.",
        default="",
        example="documents.json",
    )
    only_trusted: bool = setting("Refuse every document that is not trusted.", default=False)

    def problems(self) -> Iterator[str]:
        """Yield the lack of trusted documents where no others are executed."""
        if self.only_trusted and not self.trusted:
            yield "only_trusted needs trusted, because every document would be refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """The endpoint `/mcp` for the Model Context Protocol."""

    enabled: bool | None = setting(
        "Serve `/mcp`, the tools for agents. Not set: only with `server.profile = development`.", default=None
    )
    url: str = setting(
        "URL of `/mcp` as clients know it. With `access.issuer`, the gateway then publishes where clients get tokens "
        "for it (RFC 9728); such tokens usually have this URL as their audience, see `access.audience`.",
        default="",
        url=True,
        path=True,
        example="https://models.example.com/mcp",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings(CheckedSettings):
    """Authentication of callers: API keys and JWT bearer tokens."""

    mode: str = setting(
        "Who may send requests: `loopback` (anyone, but the gateway only listens on a loopback address), `open` "
        "(anyone) or `callers` (only callers with an API key from `access.keys` or a token from `access.issuer`).",
        default="loopback",
        pattern="loopback|open|callers",
    )
    keys: str = setting("TOML file of API keys. Reloaded when it changes.", default="", example="keys.toml")
    issuer: str = setting(
        "Issuer of JWT bearer tokens: the required `iss` claim.", default="", example="https://login.example.com/"
    )
    audience: str = setting(
        "Audience of JWT bearer tokens: the required `aud` claim.", default="", example="registry-gateway"
    )
    jwks: str = setting(
        "Public keys of the issuer (a JWK Set): a file or an https:// URL; http:// is allowed on loopback only.",
        default="",
        example="https://login.example.com/jwks.json",
    )
    algorithms: tuple[str, ...] = setting(
        "Signature algorithms that tokens may use. Only algorithms with public keys are supported.",
        default=("RS256", "ES256", "EdDSA"),
        pattern="(RS|PS|ES)(256|384|512)|EdDSA",
        example='["RS256"]',
    )
    leeway: float = setting(
        "Allowed difference between the clocks of the issuer and the gateway, in seconds.",
        default=30.0,
        minimum=0,
        maximum=300,
    )
    registries_claim: str = setting(
        "Claim that lists the registries a caller may read: a name, or a path with dots into other claims.",
        default="registries",
    )
    roles_claim: str = setting(
        "Claim that lists the roles of a caller: a name, or a path with dots into other claims.",
        default="roles",
        example="realm_access.roles",
    )

    def problems(self) -> Iterator[str]:
        """Yield settings with which no token is accepted, or gives no access."""
        if not self.algorithms:
            yield "algorithms: is empty, so no token could be verified"
        for name in ("registries_claim", "roles_claim"):
            claim = getattr(self, name)
            first, _, inner = claim.partition(".")
            outer = claim if not inner or first in CLAIMS_OF_CLAIMS else first
            if reason := OTHER_CLAIMS.get(outer):
                yield f'{name}: "{outer}" {reason}, and lists nothing'
            elif "," in claim:
                yield f'{name}: "{claim}" has a comma; name one claim'
            elif CLAIM_PATH.fullmatch(claim):
                yield (
                    f'{name}: "{claim}" is a path in a notation that is not read; '
                    "separate the names with dots, as in realm_access.roles"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSettings:
    """Deadline of an operation, and limits on lists that the gateway itself must sort or filter."""

    scan_rows: int = setting(
        "Rows of one registry's list that the gateway reads for one page, when the registry cannot sort or filter as "
        "requested.",
        default=1000,
        minimum=50,
        maximum=100_000,
    )
    deadline: float = setting(
        "Deadline of an operation, in seconds. Calls still running then fail as timed out.",
        default=20.0,
        minimum=0.01,
        maximum=600,
    )
    scan_detail_rows: int = setting(
        "Like `scan_rows`, for lists where each row costs one more upstream call.",
        default=100,
        minimum=1,
        maximum=10_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings(CheckedSettings):
    """The caches: upstream responses, whole GraphQL responses, and the Redis that replicas share."""

    enabled: bool = setting(
        "Cache upstream responses. If false, only identical calls that run at the same time share a response.",
        default=True,
    )
    lists: float = setting("Seconds for which a page of a list is fresh.", default=30.0, minimum=0, maximum=86_400)
    objects: float = setting("Seconds for which a single object is fresh.", default=120.0, minimum=0, maximum=86_400)
    catalogues: float = setting(
        "Seconds for which a catalogue of a cloud platform is fresh, such as Qianfan's fine-tuning catalogue.",
        default=3600.0,
        minimum=0,
        maximum=604_800,
    )
    missing: float = setting(
        "Seconds for which the response that an object does not exist is cached.", default=10.0, minimum=0, maximum=3600
    )
    stale: float = setting(
        "Seconds for which a response that is no longer fresh is still served while it is refreshed in the background.",
        default=300.0,
        minimum=0,
        maximum=86_400,
    )
    stale_on_error: float = setting(
        "Seconds since it was received for which a response is served when its registry fails.",
        default=86_400.0,
        minimum=0,
        maximum=2_592_000,
    )
    jitter: float = setting(
        "Fraction by which cache lifetimes vary at random, so that entries do not all expire at once.",
        default=0.1,
        minimum=0,
        maximum=0.9,
    )
    answers: bool = setting(
        "Cache whole GraphQL responses too, while the upstream responses they were built from are fresh.",
        default=True,
    )
    anonymous_directives: bool = setting(
        "Honour `Cache-Control` in requests of callers without a name, where `access.mode` is not `callers`. If false, "
        "they cannot make the gateway call a registry for an answer that is cached.",
        default=True,
    )
    tag_header: str = setting(
        "Header with the cache tags of responses, for a CDN or proxy in front of the gateway: `Surrogate-Key` or "
        "`Cache-Tag`; see [purging](operations.md#purging). Empty: none.",
        default="",
        pattern="Surrogate-Key|Cache-Tag",
        example="Surrogate-Key",
    )
    entries: int = setting("Cached upstream responses in memory.", default=20_000, minimum=1, maximum=10_000_000)
    megabytes: int = setting(
        "Memory of all caches together, in millions of bytes: upstream responses and what is derived from them, "
        "GraphQL responses, documents with their query plans, prepared requests and registered documents.",
        default=256,
        minimum=1,
        maximum=65_536,
    )
    redis: Secret = setting(
        "URL of the Redis or Valkey cache that all replicas share, perhaps over TLS or behind Sentinel. Empty: each "
        "process has only its own cache.",
        default=Secret(""),
        example="redis://:password@cache:6379/0",
    )
    redis_timeout: float = setting("Timeout of one Redis command, in seconds.", default=0.1, minimum=0.001, maximum=10)
    warm_up: str = setting(
        "File of named queries that the gateway runs once at start-up to fill the cache.",
        default="",
        example="warm-up.graphql",
    )
    admin_token: Secret = setting(
        "Bearer token for `/cache`, which shows and purges the cache. Callers with the role `admin` need no token.",
        default=Secret(""),
        pattern="[ -~]+",
    )
    wait: float = setting(
        "Seconds to wait for another replica that is already making the same upstream call.",
        default=2.0,
        minimum=0,
        maximum=60,
    )

    def problems(self) -> Iterator[str]:
        """Yield why there is no Redis at the URL. The sentence leaves out the value, which may hold a password."""
        if self.redis and (reason := redis_url_problem(self.redis.reveal())):
            yield f"redis: must be a URL like redis://:password@cache:6379/0, but {reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Retries of failed upstream calls."""

    attempts: int = setting("Attempts per upstream call, the first included.", default=3, minimum=1, maximum=10)
    backoff: float = setting(
        "Longest pause before the first retry, in seconds. It doubles for each further retry; the pause is random.",
        default=0.1,
        minimum=0,
        maximum=60,
    )
    max_backoff: float = setting(
        "Longest pause before any retry, in seconds, unless the registry sends a longer `Retry-After`.",
        default=2.0,
        minimum=0,
        maximum=60,
    )
    budget: float = setting(
        "Retries allowed per registry, as a fraction of its calls over time.", default=0.2, minimum=0, maximum=1
    )
    deadline: float = setting(
        "Deadline of one upstream call with all its attempts and pauses, in seconds.",
        default=15.0,
        minimum=0.001,
        maximum=600,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """Rate limits on calls to registries, per account and call name. A rate falls automatically when the registry
    throttles. What is not set is the kind's default."""

    requests_per_second: float | None = setting(
        "Requests per second for each account and call name. Not set: the default of the registry's kind.",
        default=None,
        minimum=1,
        maximum=10_000,
    )
    in_flight: int | None = setting(
        "Requests in flight for each account and call name. Not set: the default of the registry's kind.",
        default=None,
        minimum=1,
        maximum=10_000,
    )
    max_wait: float | None = setting(
        "Seconds that a request may wait for the rate limit before the call fails. Not set: the default of the "
        "registry's kind.",
        default=None,
        minimum=0,
        maximum=60,
    )

    def over(self, quota: Quota) -> Quota:
        """Return a quota with what is set here in place of its own."""
        given = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        return replace(quota, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """Circuit breaker of each registry: an open circuit fails calls at once, without a request."""

    failures: int = setting(
        "Failures that open the circuit, if they are also at least half of the last twenty calls.",
        default=5,
        minimum=1,
        maximum=20,
    )
    window: float = setting("Seconds for which a failure counts.", default=30.0, minimum=0.1, maximum=3600)
    open_for: float = setting(
        "Seconds for which the circuit stays open at first. Doubles up to 60 each time the registry fails again.",
        default=10.0,
        minimum=0.1,
        maximum=60,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingSettings:
    """Hedged requests."""

    enabled: bool = setting(
        "Send a second request when an upstream call takes unusually long, and use the response that arrives first.",
        default=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSettings:
    """Subscriptions to model versions."""

    interval: float = setting(
        "Seconds between polls of a watched version. All subscribers of a version share one poll.",
        default=5.0,
        minimum=0.1,
        maximum=3600,
    )
    per_connection: int = setting(
        "Operations running at the same time on one WebSocket.", default=20, minimum=1, maximum=10_000
    )
    total: int = setting(
        "Subscriptions running at the same time in one worker process.", default=1000, minimum=1, maximum=1_000_000
    )
    watched: int = setting(
        "Distinct versions polled at the same time in one worker process.", default=100, minimum=1, maximum=100_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Logs, metrics and traces."""

    log_format: str = setting("Format of log lines: `console` or `json`.", default="console", pattern="console|json")
    log_level: str = setting(
        "Lowest level of the gateway's own log lines: `debug`, `info`, `warning` or `error`. Libraries log from "
        "`warning` on.",
        default="info",
        pattern="debug|info|warning|error",
    )
    metrics: str = setting(
        "Where Prometheus scrapes `/metrics`: `port` (a separate port), `path` (the gateway's own port) or `off`.",
        default="off",
        pattern="port|path|off",
    )
    metrics_host: str = setting("Address of the separate metrics port.", default="127.0.0.1")
    metrics_port: int = setting(
        "Separate metrics port, which all workers share. 0 picks a free port for each of them, which the log reports.",
        default=9464,
        minimum=0,
        maximum=65535,
    )
    traces: str = setting(
        "URL of the OpenTelemetry collector that receives traces (OTLP over HTTP). `/v1/traces` is added, unless its "
        "path ends with that. Needs the extra `otel`.",
        default="",
        url=True,
        path=True,
        example="http://collector:4318",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings: one table of the settings file per field, and the list of registries."""

    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    documents: DocumentsSettings = field(default_factory=DocumentsSettings)
    mcp: McpSettings = field(default_factory=McpSettings)
    catalog: CatalogSettings = field(default_factory=CatalogSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    subscriptions: SubscriptionSettings = field(default_factory=SubscriptionSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    registries: tuple[RegistrySettings, ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield the problems of all tables but the registries, whose settings are checked when they are loaded."""
        for item in fields(self):
            table = getattr(self, item.name)
            if isinstance(table, CheckedSettings):
                yield from (f"{item.name}.{problem}" for problem in table.problems())
