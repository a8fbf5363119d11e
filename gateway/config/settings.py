"""Every setting, declared once: what it means, what it takes, and its default."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any


class Secret:
    """Text that shows itself only when asked to."""

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
    """One key of an account at a cloud; ``token`` where it is a temporary one (STS), which ends at ``expires``
    (seconds since 1970), None where nobody said when."""

    key: str
    secret: Secret
    token: Secret = Secret("")
    expires: float | None = None


class SettingsError(ValueError):
    """The settings cannot be used; `problems` says everything that is wrong with them, in plain words."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def setting(
    help: str,
    *,
    default: Any = MISSING,
    variables: tuple[str, ...] = (),
    pattern: str | None = None,
    url: bool = False,
    path: bool = False,
    key: bool = False,
    minimum: float = -sys.float_info.max,
    maximum: float = sys.float_info.max,
    example: str | None = None,
) -> Any:
    """Declare a setting: a field of a settings dataclass with its meaning and rules.

    A setting without a default is required. One that is part of a registry's ``key`` is required too, unless a file or
    a command supplies the key. A ``url`` is scheme, host and port; with ``path``, a path may follow.
    """
    rules = {
        "pattern": pattern,
        "url": url,
        "path": path,
        "key": key,
        "minimum": minimum,
        "maximum": maximum,
        "example": example,
    }
    return field(default=default, metadata={"help": help, "variables": variables, **rules})


CREDENTIALS = ("credentials_file", "credentials_command")
"""The settings by which a registry's key comes from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """One configured registry; each kind adds its own. A default may name another setting: `{region}`."""

    name: str = setting("Part of every global id.", pattern=r"[a-z][a-z0-9-]{0,31}", example="pai-eu")
    kind: str = setting("Kind of registry.")
    timeout: float = setting("Seconds one call may take.", default=8.0, minimum=0.001, maximum=120)
    max_answer_bytes: int = setting("Largest answer taken.", default=16 * 2**20, minimum=1024, maximum=2**30)
    account: str = setting(
        "The account whose data the registry answers, in place of its key's id: what is kept outlives the key.",
        default="",
        example="1234567890",
    )
    credentials_file: str = setting(
        "File with a temporary key, in place of one in the settings; read again when it changes.", default=""
    )
    credentials_command: tuple[str, ...] = setting(
        "Command that prints such a key, with its arguments; run again before the key ends.",
        default=(),
        example='["vault-key", "pai"]',
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

    def __post_init__(self) -> None:
        texts = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), str)}
        for item in fields(self):
            if item.name in texts and texts[item.name] == item.default:
                object.__setattr__(self, item.name, texts[item.name].format_map(texts))

    def problems(self) -> Iterator[str]:
        """What is wrong with settings that are right one by one: there is one key, and it is known whose it is."""
        ways = [name for name in CREDENTIALS if getattr(self, name)]
        ways += [item.name for item in fields(self) if item.metadata["key"] and getattr(self, item.name)][:1]
        if len(ways) > 1:
            yield f"{ways[0]}: {ways[1]} is set too, and only one of them can give the key"
        if ways and ways[0] in CREDENTIALS and not self.account:
            yield f"{ways[0]} needs account: a key that changes does not say whose data an answer holds"
        if self.client_key and not self.client_certificate:
            yield "client_key needs client_certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the gateway listens, and how much it shows of itself."""

    host: str = setting("Address to listen on.", default="127.0.0.1")
    port: int = setting("Port to listen on; 0 takes any free one.", default=8000, minimum=0, maximum=65535)
    workers: int = setting("Processes that serve; each has a cache of its own.", default=1, minimum=1, maximum=256)
    drain: float = setting(
        "Seconds for which a gateway that is to stop still answers, no longer ready: clients go elsewhere.",
        default=1.0,
        minimum=0,
        maximum=300,
    )
    grace: float = setting("Seconds that what runs then has to end.", default=10.0, minimum=1, maximum=600)
    profile: str = setting(
        "`development` shows everybody playground, schema, suggestions and `raw` fields; `production` does not.",
        default="production",
        pattern="development|production",
    )
    cors: str = setting(
        "Origins whose pages may ask from browsers, separated by blanks; `*` is all of them.",
        default="",
        pattern=r"\*|https?://[^\s/]+( https?://[^\s/]+)*",
        example="https://models.example.com",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """How much one request may ask."""

    body_bytes: int = setting("Largest body of a request.", default=2_000_000, minimum=1_000, maximum=100_000_000)
    body_seconds: float = setting("Seconds in which a body must have come.", default=15.0, minimum=0.1, maximum=600)
    head_bytes: int = setting(
        "Largest head of a request: its line and headers. Taken at the start.",
        default=32_000,
        minimum=1_000,
        maximum=1_000_000,
    )
    head_seconds: float = setting(
        "Seconds in which a head must have come. Taken at the start.", default=10.0, minimum=0.1, maximum=600
    )
    connections: int = setting(
        "Connections of a process; of more, the one goes that was longest without a request. Taken at the start.",
        default=1_000,
        minimum=1,
        maximum=100_000,
    )
    batch: int = setting("Operations in one request; with 1 there is no batching.", default=1, minimum=1, maximum=100)
    variables_bytes: int = setting("Largest variables, as JSON.", default=200_000, minimum=100, maximum=10_000_000)
    characters: int = setting("Longest document.", default=100_000, minimum=1_000, maximum=10_000_000)
    tokens: int = setting("Words and signs of a document.", default=4_000, minimum=100, maximum=100_000)
    operations: int = setting("Operations in a document.", default=10, minimum=1, maximum=1_000)
    fields: int = setting("Fields of an operation, fragments opened.", default=2_000, minimum=10, maximum=100_000)
    depth: int = setting("Levels that fields nest.", default=15, minimum=3, maximum=100)
    aliases: int = setting("Aliases of an operation, fragments opened.", default=30, minimum=0, maximum=10_000)
    directives: int = setting("Directives of an operation, fragments opened.", default=50, minimum=0, maximum=10_000)
    root_fields: int = setting("Root fields of an operation.", default=20, minimum=1, maximum=1_000)
    page_rows: int = setting("Rows of a page.", default=100, minimum=20, maximum=100)
    ids: int = setting("Ids that `nodes` takes.", default=100, minimum=1, maximum=100)
    references: int = setting("References of other subgraphs.", default=2_000, minimum=1, maximum=2_000)
    requests_per_second: float = setting(
        "Operations that a caller with a name may begin in a second.", default=100.0, minimum=0.1, maximum=1_000_000
    )
    in_flight: int = setting(
        "Operations of a caller with a name that may run at once.", default=50, minimum=1, maximum=100_000
    )
    calls: int = setting(
        "Upstream calls that an operation may cost, at most and before anything is kept.",
        default=1_000,
        minimum=1,
        maximum=1_000_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsSettings:
    """Which documents are executed."""

    automatic: bool = setting("Remember documents by their hash for clients that send it first.", default=True)
    trusted: str = setting(
        "File of trusted documents: a JSON object of documents by their id.", default="", example="documents.json"
    )
    only_trusted: bool = setting("Execute nothing but trusted documents.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may ask."""

    mode: str = setting(
        "Who may ask: `loopback` (anyone, and only a loopback address is listened on), `open` (anyone, anywhere) or "
        "`callers` (those whom `access.keys` or the issuer of tokens knows).",
        default="loopback",
        pattern="loopback|open|callers",
    )
    keys: str = setting("File of API keys; read again when it changes.", default="", example="keys.toml")
    issuer: str = setting("Issuer (`iss`) of JWT bearer tokens.", default="", example="https://login.example.com/")
    audience: str = setting("Audience (`aud`) that a token must name.", default="", example="registry-gateway")
    jwks: str = setting(
        "The issuer's public keys (a JWK Set): a file, or an https:// address (http:// on loopback only).",
        default="",
        example="https://login.example.com/jwks.json",
    )
    algorithms: tuple[str, ...] = setting(
        "Signature algorithms that a token may have, of those with public keys.",
        default=("RS256", "ES256", "EdDSA"),
        pattern="(RS|PS|ES)(256|384|512)|EdDSA",
        example='["RS256"]',
    )
    leeway: float = setting("Seconds by which the issuer's clock may differ.", default=30.0, minimum=0, maximum=300)
    registries_claim: str = setting("Claim with the registries that a token's holder may read.", default="registries")
    roles_claim: str = setting("Claim with the roles of a token's holder.", default="roles")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSettings:
    """How long an operation may take, and how far lists are read that registries cannot sort or filter as asked."""

    scan_rows: int = setting(
        "Rows of one list that are read for one page, to be sorted or filtered by the gateway.",
        default=1000,
        minimum=50,
        maximum=100_000,
    )
    deadline: float = setting(
        "Seconds for a whole operation; what a registry has not answered by then has timed out.",
        default=20.0,
        minimum=0.01,
        maximum=600,
    )
    scan_detail_rows: int = setting(
        "The same where each row costs a further call.", default=100, minimum=1, maximum=10_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How long answers are kept and served."""

    enabled: bool = setting(
        "Keep answers; if not, only those who ask the same at the same time share a call.", default=True
    )
    lists: float = setting("Seconds for which a list is fresh.", default=30.0, minimum=0, maximum=86_400)
    objects: float = setting("Seconds for which an object is fresh.", default=120.0, minimum=0, maximum=86_400)
    catalogues: float = setting(
        "Seconds for which a catalogue of a platform is fresh.", default=3600.0, minimum=0, maximum=604_800
    )
    missing: float = setting(
        "Seconds for which it is believed that there is no such object.", default=10.0, minimum=0, maximum=3600
    )
    stale: float = setting(
        "Seconds for which an answer is served after that, while a refresh runs behind.",
        default=300.0,
        minimum=0,
        maximum=86_400,
    )
    stale_on_error: float = setting(
        "Seconds after it was received for which an answer is served when its registry fails.",
        default=86_400.0,
        minimum=0,
        maximum=2_592_000,
    )
    jitter: float = setting(
        "Share by which lifetimes vary, so that answers do not run out together.", default=0.1, minimum=0, maximum=0.9
    )
    answers: bool = setting(
        "Keep whole answers to operations, too, for as long as what they are made of is fresh.", default=True
    )
    entries: int = setting("Most answers kept in memory.", default=20_000, minimum=1, maximum=10_000_000)
    megabytes: int = setting("Most memory for answers, by their size as JSON.", default=256, minimum=1, maximum=65_536)
    redis: Secret = setting(
        "Address of a Redis or Valkey that replicas share.",
        default=Secret(""),
        example="redis://:password@cache:6379/0",
    )
    redis_timeout: float = setting(
        "Seconds that an operation of the shared cache may take.", default=0.1, minimum=0.001, maximum=10
    )
    warm_up: str = setting(
        "File of named queries that are asked once at the start, so that their answers are kept.",
        default="",
        example="warm-up.graphql",
    )
    admin_token: Secret = setting(
        "Bearer token for `/cache`, which shows and purges what is kept, beside callers with the role `admin`.",
        default=Secret(""),
    )
    wait: float = setting(
        "Seconds to wait for another replica that is asking the same.", default=2.0, minimum=0, maximum=60
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often and for how long a call is tried that a registry failed to answer."""

    attempts: int = setting("Times that one call is sent at most.", default=3, minimum=1, maximum=10)
    backoff: float = setting(
        "Seconds that the first pause takes at most; each further one may take twice as long.",
        default=0.1,
        minimum=0,
        maximum=60,
    )
    max_backoff: float = setting(
        "Seconds that any pause takes at most, unless the registry asks for more.", default=2.0, minimum=0, maximum=60
    )
    budget: float = setting(
        "Share of a registry's calls that may be sent again over a longer time.", default=0.2, minimum=0, maximum=1
    )
    deadline: float = setting(
        "Seconds that one call may take with all its attempts and pauses.", default=15.0, minimum=0.001, maximum=600
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """How many calls of one name an account may make; falls by itself where a registry permits less."""

    requests_per_second: float = setting(
        "Calls of one name per second and account at most.", default=45.0, minimum=1, maximum=10_000
    )
    in_flight: int = setting(
        "Calls of one name and account that wait for their answer at once at most.",
        default=32,
        minimum=1,
        maximum=10_000,
    )
    max_wait: float = setting("Seconds that a call waits for its turn at most.", default=2.0, minimum=0, maximum=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a registry that keeps failing is left alone."""

    failures: int = setting(
        "Failures, at least half of the last twenty calls, after which a registry is left alone.",
        default=5,
        minimum=1,
        maximum=20,
    )
    window: float = setting("Seconds for which a failure counts.", default=30.0, minimum=0.1, maximum=3600)
    open_for: float = setting(
        "Seconds for which a registry is left alone at first; twice as long, up to 60, each time it fails again.",
        default=10.0,
        minimum=0.1,
        maximum=60,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingSettings:
    """Whether slow calls are sent a second time before they fail."""

    enabled: bool = setting(
        "Send a call again that is slower than most of its kind, and take the first answer.", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSettings:
    """How versions are watched, and for how many."""

    interval: float = setting(
        "Seconds between two looks at a version that is watched; one look serves all who watch it.",
        default=5.0,
        minimum=0.1,
        maximum=3600,
    )
    per_connection: int = setting(
        "Operations that run on one WebSocket at once at most.", default=20, minimum=1, maximum=10_000
    )
    total: int = setting("Subscriptions that run at once at most.", default=1000, minimum=1, maximum=1_000_000)
    watched: int = setting("Versions that are watched at once at most.", default=100, minimum=1, maximum=100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What the gateway tells of itself, and to whom."""

    log_format: str = setting("Form of log lines: console or json.", default="console", pattern="console|json")
    log_level: str = setting(
        "Least level of the gateway's own log lines: debug, info, warning or error.",
        default="info",
        pattern="debug|info|warning|error",
    )
    metrics: str = setting(
        "Where Prometheus finds `/metrics`: port (one of its own), path (on the gateway's port) or off.",
        default="off",
        pattern="port|path|off",
    )
    metrics_host: str = setting("Address that the port of its own listens on.", default="127.0.0.1")
    metrics_port: int = setting(
        "The port of its own; 0 takes any free one, which the log tells.", default=9464, minimum=0, maximum=65535
    )
    traces: str = setting(
        "Collector that takes OpenTelemetry traces by OTLP over HTTP; needs the extra `otel`.",
        default="",
        url=True,
        example="http://collector:4318",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the gateway can be told: one table of the file per field, and the list of registries."""

    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    documents: DocumentsSettings = field(default_factory=DocumentsSettings)
    catalog: CatalogSettings = field(default_factory=CatalogSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    subscriptions: SubscriptionSettings = field(default_factory=SubscriptionSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    registries: tuple[RegistrySettings, ...] = ()

    def of_worker(self, number: int) -> "Settings":
        """The settings of one of several workers, counted from 0: each has a port of its own for metrics."""
        telemetry = replace(self.telemetry, metrics_port=self.telemetry.metrics_port + number)
        return replace(self, telemetry=telemetry)
