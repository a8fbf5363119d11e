"""Every setting, declared once and read from a TOML file and the environment, all problems told together."""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast


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
    minimum: float = -sys.float_info.max,
    maximum: float = sys.float_info.max,
    example: str | None = None,
) -> Any:
    """A field of a settings dataclass with what it means and takes; without a default it is required."""
    rules = {"pattern": pattern, "url": url, "minimum": minimum, "maximum": maximum, "example": example}
    return field(default=default, metadata={"help": help, "variables": variables, **rules})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """One configured registry; each kind adds its own. A default may name another setting: `{region}`."""

    name: str = setting("Part of every global id.", pattern=r"[a-z][a-z0-9-]{0,31}", example="pai-eu")
    kind: str = setting("Kind of registry.")
    timeout: float = setting("Seconds one call may take.", default=8.0, minimum=0.001, maximum=120)
    max_answer_bytes: int = setting("Largest answer taken.", default=16 * 2**20, minimum=1024, maximum=2**30)

    def __post_init__(self) -> None:
        texts = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), str)}
        for item in fields(self):
            if item.name in texts and texts[item.name] == item.default:
                object.__setattr__(self, item.name, texts[item.name].format_map(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the gateway listens."""

    host: str = setting("Address to listen on.", default="127.0.0.1")
    port: int = setting("Port to listen on; 0 takes any free one.", default=8000, minimum=0, maximum=65535)


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

    enabled: bool = setting("Keep answers; if not, every question is a call.", default=True)
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
        "Bearer token for `/cache`, which shows and purges what is kept; without it there is no such path.",
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
class Settings:
    """Everything the gateway can be told: one table of the file per field, and the list of registries."""

    server: ServerSettings = field(default_factory=ServerSettings)
    catalog: CatalogSettings = field(default_factory=CatalogSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    hedging: HedgingSettings = field(default_factory=HedgingSettings)
    registries: tuple[RegistrySettings, ...] = ()


Kinds = Mapping[str, type[RegistrySettings]]
Variables = Mapping[str, tuple[str, ...]]


def load(path: Path | None, environ: Mapping[str, str], kinds: Kinds) -> Settings:
    """The settings of the file and the environment, or a SettingsError with every problem."""
    if path is None and environ.get("GATEWAY_CONFIG"):
        path = Path(environ["GATEWAY_CONFIG"])
    reading = _Reading(environ)
    reading.check_variables()
    loaded: dict[str, Any] = {}
    if (document := reading.document(path)) is not None:
        reading.check_names("unknown table", document, [f.name for f in fields(Settings)])
        for name, cls, variables in _sections():
            loaded[name] = reading.section(cls, document.get(name, {}), f"{name}.", variables)
        found = reading.registries(document, kinds) if path else reading.registries_of_variables(kinds)
        loaded["registries"] = tuple(found)
    if reading.problems:
        raise SettingsError(tuple(reading.problems))
    return Settings(**loaded)


class Row(NamedTuple):
    """One setting, as people look it up."""

    key: str
    type: str
    default: str
    variable: str
    help: str


def describe(kinds: Kinds) -> list[Row]:
    """Every setting there is."""
    common = fields(RegistrySettings)
    groups: list[tuple[str, Any, Variables]] = [(f"{name}.%s", fields(cls), v) for name, cls, v in _sections()]
    groups.append(("registries.%s", common, {}))
    for kind, cls in kinds.items():
        groups.append((f"registries.%s ({kind})", [f for f in fields(cls) if f not in common], _vendor(cls)))
    rows = []
    for key, items, variables in groups:
        for f in items:
            default = "required" if f.default is MISSING else "" if f.type is Secret else str(f.default)
            help = f.metadata["help"] + (f" Example: {f.metadata['example']}" if f.metadata["example"] else "")
            noun = "secret" if f.type is Secret else _NOUNS[f.type].removeprefix("a ")
            rows.append(Row(key % f.name, noun, default, " ".join(variables.get(f.name, ())), help))
    return rows


def table(kinds: Kinds) -> str:
    """The settings as a table in Markdown."""
    lines = ["| Key | Type | Default | Variable | Meaning |", "| --- | --- | --- | --- | --- |"]
    for row in describe(kinds):
        key, _, kind = row.key.partition(" ")
        default = row.default if row.default in ("", "required") else f"`{row.default}`"
        variables = ", ".join(f"`{name}`" for name in row.variable.split())
        cells = (f"`{key}` {kind}".strip(), row.type, default, variables, row.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_NOUNS: dict[Any, str] = {str: "text", Secret: "text", bool: "true or false", int: "a whole number"}
_NOUNS |= {float: "a number", list: "a list", dict: "a table"}
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_URL = re.compile(r"https?://(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.I)
# Kubernetes gives every pod such variables for each Service, also for one called "gateway" or "gateway-…".
_SERVICE = re.compile(r"GATEWAY_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?=|PORT(_\d+_[A-Z]+)?=\w+://|PORT_\d+_[A-Z]+_\w+=)")


def _sections() -> list[tuple[str, Any, Variables]]:
    """Each plain section: its name, its class and the variables of its settings."""
    classes: list[tuple[str, Any]] = [(f.name, f.type) for f in fields(Settings) if f.name != "registries"]
    return [(n, c, {f.name: (f"GATEWAY_{n}_{f.name}".upper(),) for f in fields(c)}) for n, c in classes]


def _vendor(cls: type[RegistrySettings]) -> Variables:
    return {f.name: f.metadata["variables"] for f in fields(cls) if f.metadata["variables"]}


class _RefusedError(ValueError):
    """What is wrong with one value."""


class _Reading:
    """One pass over the file and the environment, keeping every problem it meets."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def check_variables(self) -> None:
        known = ["GATEWAY_CONFIG", *(one for *_, variables in _sections() for (one,) in variables.values())]
        ours = {name: text for name, text in sorted(self.environ.items()) if name.startswith("GATEWAY_")}
        self.check_names("unknown variable", [n for n in ours if not _SERVICE.match(f"{n}={ours[n]}")], known)

    def check_names(self, what: str, names: Iterable[str], known: list[str]) -> None:
        for name in (name for name in names if name not in known):
            close = get_close_matches(name, known, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"
            self.problems.append(f"{what} {_shown(name)} ({hint})")

    def document(self, path: Path | None) -> dict[str, Any] | None:
        data = b""
        try:
            data = path.read_bytes() if path else b""
            return tomllib.loads(data.decode("utf-8-sig"))
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.problems.append(f"{path}: line {data.count(10, 0, error.start) + 1} is not UTF-8 text")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{path}: not valid TOML: {error}")
        return None

    def section(self, cls: Any, written: Any, prefix: str, variables: Variables) -> Any:
        """The section's object, or None after keeping its problems; a variable goes before the file."""
        before, where = len(self.problems), prefix.rstrip(".: ")
        if not isinstance(written, dict):
            self.problems.append(f"{where}: must be a table, not {_noun(written)}")
            return None
        self.check_names(f"{where}: unknown key", written, [f.name for f in fields(cls)])
        values = {}
        for item in fields(cls):
            names = variables.get(item.name, ())
            name = next((name for name in names if self.environ.get(name)), None)
            text = self.environ[name] if name else written.get(item.name)
            if text is None and item.default is MISSING:
                hint = f" (set {' or '.join(names)})" if names else ""
                self.problems.append(f"{prefix}{item.name} is missing{hint}")
            value = self.value(item, name or prefix + item.name, text, literal=bool(name))
            if value is not None:
                values[item.name] = value
        return cls(**values) if len(self.problems) == before else None

    def value(self, item: Field[Any], where: str, text: Any, literal: bool = False) -> Any:
        """The setting's value; None where nothing is said, and after keeping what is wrong."""
        try:
            value = text if literal else self.filled(text)
            if value is None or (value == "" and item.default is not MISSING):
                return None
            return _typed(item, value, _shown(text), parse=literal or value is not text)
        except _RefusedError as refused:
            self.problems.append(f"{where}: {refused}")

    def filled(self, text: Any) -> Any:
        """The value itself, unless it is text with `${` in it."""
        if not isinstance(text, str) or "${" not in text:
            return text
        found = list(_REFERENCE.finditer(text))
        if any(match[0] == "${" for match in found):
            raise _RefusedError('"${" needs the name of a variable and "}" behind it; "$${" is the text itself')
        if unset := [match[1] for match in found if match[1] and match[1] not in self.environ]:
            raise _RefusedError(f"the variable {' and '.join(dict.fromkeys(unset))} is not set")
        return _REFERENCE.sub(lambda match: self.environ[match[1]] if match[1] else "${", text)

    def registries(self, document: dict[str, Any], kinds: Kinds) -> Iterator[RegistrySettings | None]:
        tables, owners = document.get("registries"), dict[str, int]()
        if not isinstance(tables, list) or not tables:
            self.problems.append("registries: the file needs at least one [[registries]] table")
            return
        for number, written in enumerate(tables, 1):
            where = f"registries[{number}]"
            if not isinstance(written, dict):
                self.problems.append(f"{where}: must be a table, not {_noun(written)}")
                continue
            where += f" {_shown(written['name'])}" if isinstance(written.get("name"), str) else ""
            kind = self.value(RegistrySettings.__dataclass_fields__["kind"], f"{where}: kind", written.get("kind"))
            if kind in kinds:
                registry = self.section(kinds[kind], written, f"{where}: ", {})
                if registry and (owner := owners.setdefault(registry.name, number)) != number:
                    self.problems.append(f"{where}: the name is taken by registries[{owner}]")
                yield registry
            elif kind or "kind" not in written:
                says = f"{_shown(written['kind'])} is not known" if kind else "is missing"
                self.problems.append(f"{where}: kind {says} (known: {', '.join(kinds)})")

    def registries_of_variables(self, kinds: Kinds) -> Iterator[RegistrySettings | None]:
        found, ways = False, ["name a file with --config or GATEWAY_CONFIG"]
        for kind, cls in kinds.items():
            vendor = _vendor(cls)
            if given := [name for name in chain(*vendor.values()) if self.environ.get(name)]:
                found, where = True, f'registry "{kind}" (from {", ".join(given)}): '
                yield self.section(cls, {"name": kind, "kind": kind}, where, vendor)
            needed = [vendor[f.name][0] for f in fields(cls) if f.default is MISSING and f.name in vendor]
            ways.append(f"set {' and '.join(needed)}")
        if not found:
            self.problems.append(f"no registry is configured: {', or '.join(ways)}")


def _typed(item: Field[Any], written: object, shown: str, parse: bool) -> Any:
    """The value in its type; a refusal shows what the file says, never what a variable held."""
    kind, rules = cast(type, item.type), item.metadata
    value: Any = written
    if isinstance(value, str):
        if not value:
            raise _RefusedError("is empty")
        if not value.isprintable() or value != value.strip():
            raise _RefusedError("has blanks around it or characters that cannot be printed")
        if parse and kind not in (str, Secret):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
    expected = {Secret: str, float: (int, float)}.get(kind, kind)
    fits = isinstance(value, cast(type, expected)) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise _RefusedError(f"must be {_NOUNS[kind]}, not {shown if parse else _noun(value)}")
    if kind in (int, float) and not rules["minimum"] <= value <= rules["maximum"]:
        raise _RefusedError(f"{shown} is not between {rules['minimum']} and {rules['maximum']}")
    if rules["pattern"] and not re.fullmatch(rules["pattern"], value):
        example = f', like "{rules["example"]}"' if rules["example"] else ""
        raise _RefusedError(f"{shown} does not match {rules['pattern']}{example}")
    return _url(value) if rules["url"] else kind(value)


def _url(text: str) -> str:
    match = _URL.fullmatch(text.removesuffix("/"))
    if match is None or int(match[1] or 0) > 65535:
        # Not shown: what is refused here may hold a password.
        raise _RefusedError("must be http:// or https:// and a host, without path, query or user")
    return match[0].lower()


def _noun(value: object) -> str:
    return _NOUNS.get(type(value), "a date or time")


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = value if value.isprintable() else value.encode("unicode_escape").decode()
        return f'"{text}"' if len(text) <= 60 else f'"{text[:60]}…"'
    return "so large a number" if isinstance(value, int) and value.bit_length() > 64 else str(value)
