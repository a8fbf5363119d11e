"""Loading and validation of settings from a TOML file and environment variables, and their documentation table.

All problems are collected and reported together.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, NamedTuple, cast, get_args

from gateway.config.files import read_file
from gateway.config.settings import (
    CREDENTIALS,
    CheckedSettings,
    RegistrySettings,
    Secret,
    ServerSettings,
    Settings,
    SettingsError,
)
from gateway.config.tls import registry_tls

Kinds = Mapping[str, type[RegistrySettings]]
Variables = Mapping[str, tuple[str, ...]]


def load(path: Path | None, environ: Mapping[str, str], kinds: Kinds) -> Settings:
    """Load settings from a TOML file and environment variables; a variable overrides the file.

    Without ``path``, the variable ``GATEWAY_CONFIG`` names the file. Without a file, the registries come from the
    vendors' own environment variables. ``kinds`` maps each kind of registry to its settings class.

    Raises `SettingsError` with every problem found.
    """
    if path is None and environ.get("GATEWAY_CONFIG"):
        path = Path(environ["GATEWAY_CONFIG"])
    reader = _SettingsReader(environ)
    reader.check_variables()
    loaded: dict[str, Any] = {}
    if (document := reader.parse_file(path)) is not None:
        reader.check_names("unknown table", document, [f.name for f in fields(Settings)])
        for name, cls, variables in _sections():
            loaded[name] = reader.read_table(cls, document.get(name, {}), f"{name}.", variables)
        registries = reader.registries_of_file(document, kinds) if path else reader.registries_of_variables(kinds)
        loaded["registries"] = tuple(registries)
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return Settings(**loaded)


def load_server(environ: Mapping[str, str]) -> ServerSettings:
    """Load the settings of the server from environment variables alone. Raises `SettingsError`."""
    reader = _SettingsReader(environ)
    variables = next(variables for name, _, variables in _sections() if name == "server")
    loaded: ServerSettings | None = reader.read_table(ServerSettings, {}, "server.", variables)
    if loaded is None or reader.problems:
        raise SettingsError(tuple(reader.problems))
    return loaded


class SettingRow(NamedTuple):
    """One row of the documentation table."""

    key: str
    type: str
    default: str
    variable: str
    help: str


def describe(kinds: Kinds) -> list[SettingRow]:
    """Return a row for every setting, those of registries by ``kinds`` included."""
    common = fields(RegistrySettings)
    groups: list[tuple[str, Any, Variables]] = [(f"{name}.%s", fields(cls), v) for name, cls, v in _sections()]
    groups.append(("registries.%s", common, {}))
    for kind, cls in kinds.items():
        own = [f for f in fields(cls) if f not in common]
        groups.append((f"registries.%s ({kind})", own, _vendor_variables(cls)))
    rows = []
    for key, items, variables in groups:
        for f in items:
            default = "" if f.type is Secret else _default_text(f.default)
            if _required(f):
                default = "required"
            help = f.metadata["help"] + (
                " Leave it out with `credentials_from`, `credentials_file` or `credentials_command`."
                if f.metadata["key"]
                else ""
            )
            help += f" Example: {f.metadata['example']}" if f.metadata["example"] else ""
            type_name = "secret" if f.type is Secret else _TYPE_NAMES[_value_type(f)].removeprefix("a ")
            rows.append(SettingRow(key % f.name, type_name, default, " ".join(variables.get(f.name, ())), help))
    return rows


def table(kinds: Kinds) -> str:
    """Return the documentation of all settings as a Markdown table."""
    lines = ["| Key | Type | Default | Variable | Meaning |", "| --- | --- | --- | --- | --- |"]
    for row in describe(kinds):
        key, _, kind = row.key.partition(" ")
        default = row.default if row.default in ("", "required") else f"`{row.default}`"
        variables = ", ".join(f"`{name}`" for name in row.variable.split())
        cells = (f"`{key}` {kind}".strip(), row.type, default, variables, row.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_TYPE_NAMES: dict[Any, str] = {
    str: "text",
    Secret: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    tuple[str, ...]: "a list of texts",
}
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_URL = re.compile(r"https?://(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.I)
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)*")
# Kubernetes sets such variables in every pod for a Service named "gateway" or "gateway-…".
_KUBERNETES_VARIABLE = re.compile(
    r"GATEWAY_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?=|PORT(_\d+_[A-Z]+)?=\w+://|PORT_\d+_[A-Z]+_\w+=)"
)


def _sections() -> list[tuple[str, Any, Variables]]:
    """Return each table except the registries: its name, its class, and the environment variable of each setting."""
    classes: list[tuple[str, Any]] = [(f.name, f.type) for f in fields(Settings) if f.name != "registries"]
    return [(n, c, {f.name: (f"GATEWAY_{n}_{f.name}".upper(),) for f in fields(c)}) for n, c in classes]


def _vendor_variables(cls: type[RegistrySettings]) -> Variables:
    return {f.name: f.metadata["variables"] for f in fields(cls) if f.metadata["variables"]}


class _InvalidValueError(ValueError):
    """One value is invalid. The message completes the sentence that starts with the key."""


class _SettingsReader:
    """Reads one file and the environment, and collects every problem in ``problems``."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def check_variables(self) -> None:
        known = ["GATEWAY_CONFIG", *(name for *_, variables in _sections() for (name,) in variables.values())]
        ours = {name: text for name, text in sorted(self.environ.items()) if name.startswith("GATEWAY_")}
        names = [name for name, text in ours.items() if not _KUBERNETES_VARIABLE.match(f"{name}={text}")]
        self.check_names("unknown variable", names, known)

    def check_names(self, what: str, names: Iterable[str], known: list[str]) -> None:
        for name in (name for name in names if name not in known):
            close = get_close_matches(name, known, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"
            self.problems.append(f"{what} {_quote(name)} ({hint})")

    def parse_file(self, path: Path | None) -> dict[str, Any] | None:
        """Return the parsed file, or None after a problem. Without a path, return an empty document."""
        try:
            content = read_file(path) if path else b""
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else error
            self.problems.append(f"{path}: {reason}")
            return None
        try:
            return tomllib.loads(content.decode())
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{path}: not valid TOML: {error}")
        return None

    def read_table(self, cls: Any, table: Any, prefix: str, variables: Variables) -> Any:
        """Return an instance of the settings class, or None after a problem. ``prefix`` starts every message."""
        problems_before, where = len(self.problems), prefix.rstrip(".: ")
        if not isinstance(table, dict):
            self.problems.append(f"{where}: must be a table, not {_type_name(table)}")
            return None
        self.check_names(f"{where}: unknown key", table, [f.name for f in fields(cls)])
        values = {}
        for item in fields(cls):
            names = variables.get(item.name, ())
            variable = next((name for name in names if self.environ.get(name)), None)
            raw = self.environ[variable] if variable else table.get(item.name)
            if raw is None and _required(item, table):
                hint = f" (set {' or '.join(names)})" if names else ""
                self.problems.append(f"{prefix}{item.name} is missing{hint}")
            value = self.read_value(item, variable or prefix + item.name, raw, from_variable=variable is not None)
            if value is not None:
                values[item.name] = value
        if len(self.problems) > problems_before:
            return None
        settings = cls(**values)
        if isinstance(settings, CheckedSettings):
            self.problems += [f"{prefix}{problem}" for problem in settings.problems()]
        if isinstance(settings, RegistrySettings):
            try:
                registry_tls(settings)
            except SettingsError as error:
                self.problems += [f"{prefix}{problem}" for problem in error.problems]
        return settings

    def read_value(self, item: Field[Any], where: str, raw: Any, from_variable: bool = False) -> Any:
        """Return the value of a setting; None if it is not set, or after a problem."""
        try:
            value = raw if from_variable else self.interpolate(raw)
            if value is None or (value == "" and not _required(item)):
                return None
            return _convert(item, value, _quote(raw), parse=from_variable or value is not raw)
        except _InvalidValueError as error:
            self.problems.append(f"{where}: {error}")

    def interpolate(self, value: Any) -> Any:
        """Replace each `${NAME}` in a text by the environment variable; return any other value unchanged."""
        if not isinstance(value, str) or "${" not in value:
            return value
        references = list(_REFERENCE.finditer(value))
        if any(match[0] == "${" for match in references):
            raise _InvalidValueError(
                '"${" needs the name of a variable and a closing "}"; write "$${" for a literal "${"'
            )
        if unset := [match[1] for match in references if match[1] and match[1] not in self.environ]:
            raise _InvalidValueError(f"the variable {' and '.join(dict.fromkeys(unset))} is not set")
        return _REFERENCE.sub(lambda match: self.environ[match[1]] if match[1] else "${", value)

    def registries_of_file(self, document: dict[str, Any], kinds: Kinds) -> Iterator[RegistrySettings | None]:
        """Yield the registries of the `[[registries]]` tables; None for one with a problem."""
        tables, owners = document.get("registries"), dict[str, int]()
        if isinstance(tables, dict):
            self.problems.append(
                "registries: the file needs at least one [[registries]] table; [registries] has one bracket too few"
            )
            return
        if not isinstance(tables, list) or not tables:
            self.problems.append("registries: the file needs at least one [[registries]] table")
            return
        for number, table in enumerate(tables, 1):
            where = f"registries[{number}]"
            if not isinstance(table, dict):
                self.problems.append(f"{where}: must be a table, not {_type_name(table)}")
                continue
            where += f" {_quote(table['name'])}" if isinstance(table.get("name"), str) else ""
            kind = self.read_value(RegistrySettings.__dataclass_fields__["kind"], f"{where}: kind", table.get("kind"))
            if kind in kinds:
                registry = self.read_table(kinds[kind], table, f"{where}: ", {})
                if registry and (owner := owners.setdefault(registry.name, number)) != number:
                    self.problems.append(f"{where}: the name is taken by registries[{owner}]")
                yield registry
            elif kind or "kind" not in table:
                problem = f"{_quote(table['kind'])} is not known" if kind else "is missing"
                self.problems.append(f"{where}: kind {problem} (known: {', '.join(kinds)})")

    def registries_of_variables(self, kinds: Kinds) -> Iterator[RegistrySettings | None]:
        """Yield one registry for each kind whose vendor's environment variables are set."""
        found, remedies = False, ["name a file with --config or GATEWAY_CONFIG"]
        for kind, cls in kinds.items():
            variables = _vendor_variables(cls)
            if present := [name for name in chain(*variables.values()) if self.environ.get(name)]:
                found, where = True, f'registry "{kind}" (from {", ".join(present)}): '
                yield self.read_table(cls, {"name": kind, "kind": kind}, where, variables)
            needed = [variables[f.name][0] for f in fields(cls) if _required(f) and f.name in variables]
            if needed:
                remedies.append(f"set {' and '.join(needed)}")
        if not found:
            self.problems.append(f"no registry is configured: {', or '.join(remedies)}")


def _value_type(item: Field[Any]) -> Any:
    """Return the type of a setting's value, which may be None if it is not set."""
    return get_args(item.type)[0] if isinstance(item.type, UnionType) else item.type


def _required(item: Field[Any], table: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Whether a setting must be set. The parts of an access key need not be if the table loads it from elsewhere."""
    loads_key = any(table.get(name) for name in CREDENTIALS)
    return item.default is MISSING or (item.metadata["key"] and not loads_key)


def _convert(item: Field[Any], value: Any, quoted: str, parse: bool) -> Any:
    """Check a value and convert it to the type of its setting.

    ``quoted`` is the text of the file for error messages, which never show the value of a variable. ``parse`` reads
    numbers, switches and lists from text.
    """
    value_type, rules = cast(type, _value_type(item)), item.metadata
    if isinstance(value, str):
        if not value:
            raise _InvalidValueError("is empty")
        if not value.isprintable() or value != value.strip():
            raise _InvalidValueError("starts or ends with a space, or has characters that cannot be printed")
        if parse and value_type not in (str, Secret):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
    expected = {Secret: str, float: (int, float), tuple[str, ...]: list}.get(value_type, value_type)
    valid = isinstance(value, cast(type, expected)) and (value_type is bool or not isinstance(value, bool))
    texts = value if isinstance(value, list) else [value]
    valid = valid and (value_type in (bool, int, float) or all(isinstance(text, str) and text for text in texts))
    if not valid:
        raise _InvalidValueError(f"must be {_TYPE_NAMES[value_type]}, not {quoted if parse else _type_name(value)}")
    if value_type in (int, float) and not rules["minimum"] <= value <= rules["maximum"]:
        raise _InvalidValueError(f"{quoted} is not between {rules['minimum']} and {rules['maximum']}")
    if rules["pattern"] and not all(re.fullmatch(rules["pattern"], text) for text in texts):
        example = f', like "{rules["example"]}"' if rules["example"] else ""
        shown = "the value" if value_type is Secret else quoted
        raise _InvalidValueError(f"{shown} does not match {rules['pattern']}{example}")
    return _url(value, rules["path"]) if rules["url"] else value_type(value)


def _default_text(value: object) -> str:
    """Return a default as it is written in the documentation."""
    if isinstance(value, tuple):
        return json.dumps(value) if value else ""
    return "" if value is None else str(value)


def _url(url: str, with_path: bool) -> str:
    """Return a URL with its scheme, host and port in lower case."""
    url = url.removesuffix("/")
    match = _URL.match(url)
    path = url[match.end() :] if match else ""
    if match is None or int(match[1] or 0) > 65535 or not _PATH.fullmatch(path) or (path and not with_path):
        # The message leaves out the value, which may hold a password.
        parts = (
            "a host and perhaps a path, without query or user" if with_path else "a host, without path, query or user"
        )
        raise _InvalidValueError(f"must be http:// or https:// and {parts}")
    return match[0].lower() + path


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "a date or time")


def _quote(value: object) -> str:
    """Return a value for an error message: on one line, and not too long."""
    if isinstance(value, str):
        text = value if value.isprintable() else value.encode("unicode_escape").decode()
        return f'"{text}"' if len(text) <= 60 else f'"{text[:60]}…"'
    return "so large a number" if isinstance(value, int) and value.bit_length() > 64 else str(value)
