"""The settings of a TOML file and the environment, all problems told together, and the table of them."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from gateway.config.settings import CREDENTIALS, RegistrySettings, Secret, Settings, SettingsError
from gateway.config.tls import registry_tls

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
            default = "required" if _required(f) else "" if f.type is Secret else _spelled(f.default)
            help = f.metadata["help"] + (" Not beside `credentials_…`." if f.metadata["key"] else "")
            help += f" Example: {f.metadata['example']}" if f.metadata["example"] else ""
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
_NOUNS |= {float: "a number", list: "a list", dict: "a table", tuple[str, ...]: "a list of texts"}
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_URL = re.compile(r"https?://(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.I)
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)*")
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
            if text is None and _required(item, written):
                hint = f" (set {' or '.join(names)})" if names else ""
                self.problems.append(f"{prefix}{item.name} is missing{hint}")
            value = self.value(item, name or prefix + item.name, text, literal=bool(name))
            if value is not None:
                values[item.name] = value
        if len(self.problems) > before:
            return None
        made = cls(**values)
        if isinstance(made, RegistrySettings):
            self.problems += [f"{prefix}{problem}" for problem in made.problems()]
            try:
                registry_tls(made)
            except SettingsError as error:
                self.problems += [f"{prefix}{problem}" for problem in error.problems]
        return made

    def value(self, item: Field[Any], where: str, text: Any, literal: bool = False) -> Any:
        """The setting's value; None where nothing is said, and after keeping what is wrong."""
        try:
            value = text if literal else self.filled(text)
            if value is None or (value == "" and not _required(item)):
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
            needed = [vendor[f.name][0] for f in fields(cls) if _required(f) and f.name in vendor]
            ways.append(f"set {' and '.join(needed)}")
        if not found:
            self.problems.append(f"no registry is configured: {', or '.join(ways)}")


def _required(item: Field[Any], written: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Whether a setting must be said: what is part of a key, unless the key comes from elsewhere."""
    elsewhere = any(written.get(name) for name in CREDENTIALS)
    return item.default is MISSING or (item.metadata["key"] and not elsewhere)


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
    expected = {Secret: str, float: (int, float), tuple[str, ...]: list}.get(kind, kind)
    fits = isinstance(value, cast(type, expected)) and (kind is bool or not isinstance(value, bool))
    texts = value if isinstance(value, list) else [value]
    fits = fits and (kind in (bool, int, float) or all(isinstance(text, str) and text for text in texts))
    if not fits:
        raise _RefusedError(f"must be {_NOUNS[kind]}, not {shown if parse else _noun(value)}")
    if kind in (int, float) and not rules["minimum"] <= value <= rules["maximum"]:
        raise _RefusedError(f"{shown} is not between {rules['minimum']} and {rules['maximum']}")
    if rules["pattern"] and not all(re.fullmatch(rules["pattern"], text) for text in texts):
        example = f', like "{rules["example"]}"' if rules["example"] else ""
        raise _RefusedError(f"{'the value' if kind is Secret else shown} does not match {rules['pattern']}{example}")
    return _url(value, rules["path"]) if rules["url"] else kind(value)


def _spelled(value: object) -> str:
    """A default as the file spells it."""
    return (json.dumps(value) if value else "") if isinstance(value, tuple) else str(value)


def _url(text: str, with_path: bool) -> str:
    text = text.removesuffix("/")
    match = _URL.match(text)
    path = text[match.end() :] if match else ""
    if match is None or int(match[1] or 0) > 65535 or not _PATH.fullmatch(path) or (path and not with_path):
        # The text is not shown, since it may hold a password.
        parts = (
            "a host and perhaps a path, without query or user" if with_path else "a host, without path, query or user"
        )
        raise _RefusedError(f"must be http:// or https:// and {parts}")
    return match[0].lower() + path


def _noun(value: object) -> str:
    return _NOUNS.get(type(value), "a date or time")


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = value if value.isprintable() else value.encode("unicode_escape").decode()
        return f'"{text}"' if len(text) <= 60 else f'"{text[:60]}…"'
    return "so large a number" if isinstance(value, int) and value.bit_length() > 64 else str(value)
