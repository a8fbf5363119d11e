"""The beginnings of a new kind of registry, written from recorded answers: `gateway scaffold`.

What the answers show is written as tables: where the rows are, their key, name and times, and the address of the call.
What they cannot show is marked, and `tests.registries.completeness` names each mark until it is filled in.
"""

import json
import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.registries import KINDS
from gateway.registries.fields import as_objects, as_text, as_time, at
from gateway.registries.kind import ABSENCE_STATUSES, KEY_TEXT, Kind
from gateway.upstream.messages import document_of
from gateway.upstream.url_encoding import query_string
from tests.registries.completeness import ROOT, TO_FILL_IN
from tests.registries.samples import (
    COMPUTED,
    RELATIONS,
    as_response,
    project,
    project_children,
    request_of,
    schema_fields,
)
from tests.registries.samples import file as sample_file

WIDTH = 120

KEYS = ("id", "modelid", "versionid", "uid", "uuid", "key", "name", "modelname", "version", "tag", "repository")
"""Names of the keys that identify a row, without case and ``-`` and ``_``, likely ones first."""
TEXTS = {
    "name": ("displayname", "modelname", "title", "name", "version", "tag"),
    "description": ("description", "summary"),
    "uri": ("uri", "url", "downloadurl"),
}
TIMES = {
    "created_at": (
        "createdat",
        "created",
        "createtime",
        "creationtime",
        "creationtimestamp",
        "published",
        "publishedat",
    ),
    "updated_at": ("updatedat", "updated", "updatetime", "lastupdated", "lastmodified", "modifiedat", "modifytime"),
}
"""Names of the keys that fields of the schema usually have, written like `KEYS`."""
CODES = ("code", "errorcode", "error", "type", "errortype", "reason", "status")
"""Names of the keys that errors have their code in, written like `KEYS`."""
TOTALS = ("total", "count", "totalcount")
PAGES, SIZES = ("page", "pagenumber", "pageno"), ("perpage", "pagesize", "limit", "size", "maxresults", "maxkeys", "n")
MARKERS = (
    "nextpagetoken",
    "nexttoken",
    "nextmarker",
    "nextcursor",
    "nextpage",
    "continuationtoken",
    "cursor",
    "marker",
)


class ScaffoldError(Exception):
    """The kind cannot be written. The text says why, and what to do about it."""


@dataclass(frozen=True)
class Answer:
    """A recorded answer: the URL that it came from, its file and its body."""

    url: str
    file: Path
    body: Any

    @property
    def document(self) -> Any:
        """The body as the tables of a kind read it: a list becomes the ``body`` of an object."""
        return document_of(self.body) or self.body

    @classmethod
    def of(cls, url: str, file: str) -> "Answer":
        """Read a recorded answer. Raises ScaffoldError if the file has no JSON, or if the URL is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ScaffoldError(f"{url}: give the URL that was called, such as https://hub.example.com/v1/models")
        try:
            body = json.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise ScaffoldError(f"{file}: cannot be read: {error.strerror}; save the answer of {url} there") from None
        except ValueError as error:
            raise ScaffoldError(f"{file}: this is no JSON: {error}") from None
        return cls(url, Path(file), body)

    @property
    def path(self) -> str:
        """The path of the URL, as a call writes it."""
        return (urlsplit(self.url).path or "/").replace("{", "%7B").replace("}", "%7D")

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


@dataclass(frozen=True)
class ErrorAnswer:
    """A recorded error: its file, status, headers by lower-case name, and the text of its body."""

    file: str
    status: int
    headers: Mapping[str, str]
    text: str

    @classmethod
    def of(cls, file: str) -> "ErrorAnswer":
        """Read an error as ``curl -i`` prints it. Raises ScaffoldError if the file is none."""
        hint = "record an error with `curl -si URL > FILE`"
        try:
            text = Path(file).read_bytes().decode().replace("\r\n", "\n")
        except OSError as error:
            raise ScaffoldError(f"{file}: cannot be read: {error.strerror}; {hint}") from None
        except UnicodeDecodeError:
            raise ScaffoldError(f"{file}: this is no text; {hint}") from None
        found = None
        while start := re.match(r"HTTP/[0-9.]+ ([0-9]{3})\b.*\n", text):
            head, _, text = text.partition("\n\n")
            pairs = (line.partition(":") for line in head.splitlines()[1:])
            found = int(start[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
        if found is None:
            raise ScaffoldError(f"{file}: this does not begin with the status and headers of a response; {hint}")
        if found[0] < 400:
            raise ScaffoldError(
                f"{file}: its status is {found[0]}, which is no error; leave --error out, and write `check` by hand if "
                "the registry reports errors so"
            )
        return cls(file, *found, text)

    @property
    def request_id_header(self) -> str:
        """The header with the id of the request."""
        return next((name for name in self.headers if plain(name).endswith("requestid")), "x-request-id")

    @cached_property
    def sample(self) -> dict[str, Any]:
        """The error as a sample: with its type and the id of the request, but no other header, such as a cookie."""
        kept = ("content-type", self.request_id_header)
        headers = {name: value for name, value in self.headers.items() if name in kept}
        try:
            return {"status": self.status, "headers": headers, "body": json.loads(self.text)}
        except ValueError:
            return {"status": self.status, "headers": headers, "text": self.text}

    @cached_property
    def code(self) -> tuple[tuple[str | int, ...], str] | None:
        """The path of the code in the body, and the code. A code that repeats the HTTP status says nothing more."""
        found = [*objects(self.sample.get("body"), in_lists=True)]
        for name in CODES:
            for path, inner in found:
                for key in likely((name,), [*inner]):
                    code = as_text(inner[key]) if type(inner[key]) in (str, int) else None
                    if code and re.fullmatch(r"[\w.:#/-]{1,64}", code) and code not in (str(self.status), "error"):
                        return (*path, key), code
        return None


def plain(key: str) -> str:
    """Return a key without its case, ``-`` and ``_``."""
    return re.sub(r"[\s_-]", "", key).lower()


def likely(names: Sequence[str], present: Sequence[str]) -> Iterator[str]:
    """Yield the keys that have one of the names, in the order of the names."""
    for name in names:
        yield from (key for key in present if plain(key) == name)


def objects(
    document: Any, path: tuple[Any, ...] = (), in_lists: bool = False
) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Yield the objects of a document, each with its path, outer ones first. Of a list at most the first one."""
    if isinstance(document, dict) and len(path) < 4:
        yield path, document
        for key, value in document.items():
            yield from objects(value, (*path, key), in_lists)
    elif in_lists and isinstance(document, list) and document:
        yield from objects(document[0], (*path, 0), in_lists)


@dataclass(frozen=True)
class Listed:
    """Rows in an answer: where they are, the rows as objects, and the key that identifies them."""

    path: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    are_texts: bool
    key: str

    @classmethod
    def at(cls, answer: Answer, path: tuple[str, ...]) -> "Listed":
        """Return the rows at a path. Raises ScaffoldError if they are not rows, or if no key identifies them."""
        values, name = at(answer.document, path), "of the answer" if isinstance(answer.body, list) else ".".join(path)
        place = f"{answer.file}: the list {name}"
        if not isinstance(values, list) or not values:
            raise ScaffoldError(f"{place} is empty or missing; record an answer with at least one entry")
        if all(isinstance(value, str) for value in values):
            return cls(path, [{"name": value} for value in values], True, "name")
        rows = as_objects(values) or []
        if len(rows) != len(values):
            raise ScaffoldError(f"{place} has entries that are neither objects nor texts; this needs a table by hand")
        common = [key for key in rows[0] if all(as_text(row.get(key)) for row in rows)]
        for key in [*likely(KEYS, common), *common]:
            if len({as_text(row[key]) for row in rows}) == len(rows) and isinstance(rows[0][key], (str, int)):
                return cls(path, rows, False, key)
        raise ScaffoldError(f"{place}: no key has a different text in every entry, so that none identifies an entry")

    @classmethod
    def of(cls, answer: Answer) -> "Listed":
        """Return the rows of an answer: its outermost list, of several the longest one."""
        lists = [
            (*path, key)
            for path, found in objects(answer.document)
            for key, value in found.items()
            if isinstance(value, list)
        ]
        if not lists:
            raise ScaffoldError(f"{answer.file}: the answer contains no list; --list is for the call that lists models")
        return cls.at(answer, min(lists, key=lambda path: (len(path), -len(at(answer.document, path)))))


def field_table(rows: Sequence[Mapping[str, Any]], own_key: str, entity: str) -> dict[str, str]:
    """Return the fields of the schema that rows seem to have: by name the source text of the `Field`."""
    table: dict[str, str] = {}
    present = list(dict.fromkeys(key for row in rows for key in row))
    for name, names in TEXTS.items():
        for key in likely(names, present):
            if name in schema_fields(entity) and all(isinstance(row.get(key, ""), str) for row in rows):
                table.setdefault(name, f"text({quoted(key)})")
    table.setdefault("name", f"text({quoted(own_key)})")
    for name, names in TIMES.items():
        for key in likely(names, present):
            values = [row[key] for row in rows if row.get(key) is not None]
            if values and all(isinstance(value, (int, float)) for value in values):
                table.setdefault(name, f"{'milliseconds' if max(values) > 1e11 else 'seconds'}({quoted(key)})")
            elif values and all(as_time(value) for value in values):
                table.setdefault(name, f"time({quoted(key)})")
    return {"name": table.pop("name"), **table}


def quoted(*texts: str | int) -> str:
    return ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def tuple_of(path: Sequence[str | int]) -> str:
    return f"({quoted(*path)}{',' if len(path) == 1 else ''})"


def mapping(entries: Mapping[str, str], indent: str = "") -> str:
    """Return the source text of a mapping whose values are source texts."""
    lines = "".join(f"{indent}    {quoted(name)}: {value},\n" for name, value in entries.items())
    return f"{{\n{lines}{indent}}}"


def absent(name: str, entity: str, supplied: set[str]) -> str:
    """Return the source text of the fields that a kind does not supply."""
    fields = sorted(set(schema_fields(entity)) - supplied - {"raw", "extra"} - COMPUTED - RELATIONS[entity])
    lines = textwrap.wrap(quoted(*fields), WIDTH - 10, break_on_hyphens=False)
    inner = "\n     ".join(lines)
    return f"{name} = frozenset(\n    {{{inner}}}\n)  # fmt: skip\n"


def read_list(path: Sequence[str], are_texts: bool) -> str:
    """Return the source text that reads a list at a path of ``raw``."""
    value = f"raw.get({quoted(*path)})" if len(path) == 1 else f"at(raw, {tuple_of(path)})"
    return f"named({value})" if are_texts else value


def constant_query(query: Mapping[str, str]) -> str:
    """Return the source text of the parameters that every request has, as a line of a call."""
    entries = ", ".join(f"{quoted(name)}: {quoted(value)}" for name, value in query.items())
    return f"    query={{{entries}}},\n" if query else ""


def layout(name: str, entity: str, fields: Mapping[str, str], key: str) -> str:
    """Return the source text of a layout and of its table of fields."""
    table = {**fields, "ownership": 'fixed("OWN")'} if entity == "Model" else fields
    excluded = "" if any(f"({quoted(key)})" in value for value in fields.values()) else f", {quoted(key)}"
    return f"""{name}_FIELDS = {mapping(table)}
{name} = EntityLayout(
    "{entity}",
    key=lambda raw: as_text(raw.get({quoted(key)})),
    fields={{**{name}_FIELDS, **extra({name}_FIELDS{excluded})}},
)
"""


@dataclass(frozen=True)
class Single:
    """The answer for one model: where the model is, its key, and where the URL has the key."""

    document: Any
    path: tuple[str, ...]
    key: str
    value: str
    call_path: str
    parameter: str
    query: Mapping[str, str]
    fields: Mapping[str, str]
    versions: Listed | None
    version_fields: Mapping[str, str]

    @classmethod
    def of(cls, answer: Answer, rows: Listed, versions: str | None) -> "Single":
        """Find the model in an answer. Raises ScaffoldError if the URL does not contain a key of it."""
        tried = []
        for path, found in objects(answer.document):
            for key in dict.fromkeys([*(key for key in (rows.key,) if key in found), *likely(KEYS, [*found])]):
                value = as_text(found[key]) or ""
                tried.append(f"{key} = {value}")
                place = key_in_url(answer, value) if value else None
                if place is not None:
                    one = Listed.at(answer, (*path, versions)) if versions else None
                    return cls(
                        answer.document, path, key, value, *place,
                        fields=field_table([found], key, "Model"),
                        versions=one,
                        version_fields=field_table(one.rows, one.key, "ModelVersion") if one else {},
                    )  # fmt: skip
        raise ScaffoldError(
            f"{answer.url}: the URL must contain the key of the model that {answer.file} describes; found there: "
            f"{', '.join(tried) or 'no key'}"
        )


def key_in_url(answer: Answer, value: str) -> tuple[str, str, Mapping[str, str]] | None:
    """Return the path with ``{0}`` in place of a key, the parameter that has the key, and the other parameters."""
    segments = answer.path.split("/")
    if value in map(unquote, segments):
        return "/".join("{0}" if unquote(one) == value else one for one in segments), "", answer.query
    if "/" in value and f"/{value}/" in f"{unquote(answer.path)}/":
        path = f"{unquote(answer.path)}/".replace(f"/{value}/", "/{0}/").rstrip("/")
        return path, "", answer.query
    for name, found in answer.query.items():
        if found == value:
            return answer.path, name, {other: text for other, text in answer.query.items() if other != name}
    return None


SLASHED = r'''
NAME = re.compile(r"[^\x00-\x1f\x7f\\?#]{1,256}")
"""A key. It may contain ``/``, which a path has as ``%2F``."""
'''
NAME = re.compile(r"[^\x00-\x1f\x7f\\?#]{1,256}")

IMPORTS = """
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway import errors
from gateway.config.settings import StaticCredentialsSettings, setting
from gateway.registries.fields import EntityLayout, Field, Raw, Rows, as_integer, as_object, as_text, at, extra, fixed
from gateway.registries.fields import milliseconds, seconds, text, time
from gateway.registries.kind import KEY_TEXT, Call, EntityInAnswer, Keys, Kind, Paging, Stream, holds_list, holds_object
from gateway.registries.kind import object_at
from gateway.registries.signatures import static_authorization
from gateway.upstream.messages import Response
"""
"""All that the source text of a module may use."""


def formatted(source: str, file: str) -> str:
    """Return the source text of a module with only the imports that it needs, in the format of the repository."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix-only", "--select", "F401,I"], ["format"]):
        done = subprocess.run(
            [*ruff, *command, "--quiet", "--stdin-filename", file, "-"],
            input=source, capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ScaffoldError(f"ruff cannot format the module: {done.stderr.strip()}")
        source = done.stdout
    return source


@dataclass(frozen=True)
class Scaffold:
    """A kind to write: its name, the answer that lists models, and if it was recorded that for one model."""

    name: str
    listed: Answer
    single: Answer | None = None
    versions: str | None = None
    error: ErrorAnswer | None = None
    """The answer for a model that does not exist. Without ``single``, that to a wrong token."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name) or keyword.iskeyword(self.name):
            raise ScaffoldError(f"{self.name}: a kind has a name of lower-case letters, digits and _, such as acme")
        if self.versions is not None and self.single is None:
            raise ScaffoldError("--versions is about the answer for one model: add --object URL FILE")
        wanted, what = (
            (ABSENCE_STATUSES, "for a model that does not exist") if self.single else ({401, 403}, "to a wrong token")
        )
        if self.error is not None and self.error.status not in wanted:
            raise ScaffoldError(f"{self.error.file}: its status is {self.error.status}; record the answer {what}")
        for path in (self.module, ROOT / "tests" / "fixtures" / self.name):
            if path.exists() or self.name in KINDS:
                raise ScaffoldError(
                    f"{path.relative_to(ROOT)}: {self.name} exists already; choose another name, or delete it first"
                )

    @property
    def module(self) -> Path:
        return ROOT / "gateway" / "registries" / f"{self.name}.py"

    @property
    def constant(self) -> str:
        return self.name.upper()

    @property
    def settings_name(self) -> str:
        return f"{self.name.replace('_', ' ').title().replace(' ', '')}Settings"

    def write(self) -> list[str]:
        """Write the kind, and return the paths of the files. Raises ScaffoldError before anything is written."""
        source = Source(self)
        files = {str(self.module.relative_to(ROOT)): source.module_text, **source.fixtures()}
        kinds = ROOT / "gateway" / "registries" / "__init__.py"
        files[str(kinds.relative_to(ROOT))] = registered(kinds.read_text(encoding="utf-8"), self.name)
        for name, text in files.items():
            path = ROOT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return list(files)


def registered(text: str, name: str) -> str:
    """Return the source text of the table of kinds with one more kind."""
    imports = re.findall(r"^from gateway\.registries\..*\n", text, re.MULTILINE)
    entries = re.findall(r'^    "\w+": \w+,\n', text, re.MULTILINE)
    if not imports or not entries:
        raise ScaffoldError("gateway/registries/__init__.py: KINDS must have one entry on each line")
    more = [*imports, f"from gateway.registries.{name} import {name.upper()}\n"]
    text = text.replace("".join(imports), "".join(sorted(more)))
    return text.replace("".join(entries), "".join(sorted([*entries, f'    "{name}": {name.upper()},\n'])))


class Source:
    """The source text of a kind's module, and its samples with the expected results."""

    def __init__(self, scaffold: Scaffold) -> None:
        self.scaffold = scaffold
        self.rows = Listed.of(scaffold.listed)
        self.fields = field_table(self.rows.rows, self.rows.key, "Model")
        self.single: Single | None = scaffold.single and Single.of(scaffold.single, self.rows, scaffold.versions)

    @cached_property
    def module_text(self) -> str:
        """The source text of the module."""
        parts = (self.docstring(), IMPORTS, self.settings(), self.layouts(), self.calls(), self.check(), self.kind())
        return formatted("\n\n".join(parts), str(self.scaffold.module.relative_to(ROOT)))

    def docstring(self) -> str:
        return f'''
"""{TO_FILL_IN}: the product, and the version of its API.

Source: {TO_FILL_IN}: the page that documents the API.
"""
'''.lstrip()

    def settings(self) -> str:
        return f'''
@dataclass(frozen=True, slots=True, kw_only=True)
class {self.scaffold.settings_name}(StaticCredentialsSettings):
    """{TO_FILL_IN}: what one registry is, such as one account or one server."""

    endpoint: str = setting("Address of the registry.", url=True, path=True, example="https://{self.host}")
'''

    @property
    def host(self) -> str:
        return f"{self.scaffold.name.replace('_', '-')}.example.com"

    def layouts(self) -> str:
        versions = self.single.versions if self.single else None
        parts = []
        if self.rows.are_texts or (versions and versions.are_texts):
            parts.append('''
def named(value: Any) -> Any:
    """Return an object with a name for each text of a list."""
    return [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
''')
        parts.append(layout("LISTED_MODEL" if self.single else "MODEL", "Model", self.fields, self.rows.key))
        if self.single:
            table = dict(self.single.fields)
            if versions:
                parts.append(layout("VERSION", "ModelVersion", self.single.version_fields, versions.key))
                parts.append(f'''
def versions(raw: Raw) -> Rows:
    """Return the versions of a model, all of them in one answer."""
    return Rows.all_of({read_list(versions.path[-1:], versions.are_texts)})
''')
                if self.has_newest:
                    table["latest_version"] = "Field((), versions, layout=VERSION, fallback=Rows)"
                table["versions"] = f"Field(({quoted(versions.path[-1])},), versions, layout=VERSION)"
            parts.append(layout("MODEL", "Model", table, self.single.key))
        return "\n\n".join(parts)

    @property
    def has_newest(self) -> bool:
        """Whether the versions have times, so that the gateway finds the newest one."""
        return self.single is not None and "created_at" in self.single.version_fields

    def calls(self) -> str:
        return f"{self.list_call()}\n\n{self.object_call()}"

    def list_call(self) -> str:
        answer, rows = self.scaffold.listed, self.rows
        query = answer.query
        number, size = next(likely(PAGES, [*query]), None), next(likely(SIZES, [*query]), None)
        top = answer.document if isinstance(answer.document, dict) else {}
        total = next((key for key in likely(TOTALS, [*top]) if isinstance(top[key], int)), None)
        inner = read_list(rows.path, rows.are_texts)
        count = "None" if total is None else f"as_integer(at(raw, ({quoted(total)},)))"
        marker = self.marker()
        if number and size:
            read = f"Rows.of({inner}, {count})"
            paging = f"    paging=Paging({quoted(number, size)}, rows=50),\n"
            query = {name: value for name, value in query.items() if name not in (number, size)}
        elif marker and size:
            read = f"Rows.of({inner}, {count}, as_text(at(raw, {tuple_of(marker)})))"
            parameter = f"{TO_FILL_IN}: the parameter for {marker[-1]}"
            paging = f"    paging=Paging({quoted(parameter, size)}, rows=50, by_marker=True),\n"
            query = {name: value for name, value in query.items() if name != size}
        else:
            read = f"Rows.all_of({inner})"
            paging = f"    # {TO_FILL_IN}: paging=Paging(…), or delete this line if an answer has the whole list\n"
        return f'''
def models(raw: Raw) -> Rows:
    """Return the models in the answer of the list."""
    return {read}


LIST_MODELS = Call(
    name="ListModels",
    service="{self.scaffold.name}",
    path={quoted(answer.path)},
{constant_query(query)}    rows=Field((), models, layout={"LISTED_MODEL" if self.single else "MODEL"}),
    is_complete=holds_list({quoted(*rows.path)}),
{paging})'''

    def marker(self) -> tuple[str, ...] | None:
        """Return the path of what the list says about its next page: a text or number that a request can repeat."""
        for path, found in objects(self.scaffold.listed.document):
            for key in likely(MARKERS, [*found]):
                if found[key] is None or (type(found[key]) in (str, int) and "://" not in str(found[key])):
                    return *path, key
        return None

    def object_call(self) -> str:
        if self.single is None:
            return f'''

def model(document: Any, keys: Keys) -> Raw | None:
    """Return the model with a key in the answer of the list."""
    return next((raw for raw in models(document).items if as_text(raw.get({quoted(self.rows.key)})) == keys[0]), None)


# {TO_FILL_IN}: the call that describes one model, if the registry has one; or delete this line if the list is whole
GET_MODEL = Call(
    name="GetModel",
    service="{self.scaffold.name}",
    path={quoted(self.scaffold.listed.path)},
{constant_query(self.scaffold.listed.query)}    entities=(EntityInAnswer(MODEL, model),),
    is_complete=holds_list({quoted(*self.rows.path)}),
)
'''
        one = self.single
        find = ""
        version = ""
        if one.versions:
            version = ", EntityInAnswer(VERSION, version)"
            place = "document" if not one.path else f"at(document, {tuple_of(one.path)})"
            find = f'''

def version(document: Any, keys: Keys) -> Raw | None:
    """Return the version with a key in the answer for its model."""
    raw = as_object({place})
    rows = [] if raw is None else versions(raw).items
    return next((row for row in rows if as_text(row.get({quoted(one.versions.key)})) == keys[1]), None)

'''
        parameters = f"    parameters=lambda keys: {{{quoted(one.parameter)}: keys[0]}},\n" if one.parameter else ""
        entity = f"object_at({', '.join(['MODEL', *map(quoted, one.path)])})"
        entities = f"({entity}{version})" if version else f"({entity},)"
        encoded = ""
        if "/" in one.value and "{0}" in one.call_path:
            encoded = (
                f"    # {TO_FILL_IN}: whether the registry accepts a key with %2F for each /, or delete this line\n"
            )
        return f'''{find}
GET_MODEL = Call(
    name="GetModel",
    service="{self.scaffold.name}",
{encoded}    path={quoted(one.call_path)},
    key_positions=(0,),
{constant_query(one.query)}{parameters}    entities={entities},
    is_complete=holds_object({"".join(f"{quoted(step)}, " for step in one.path)}key={quoted(one.key)}),
)
'''

    @property
    def error_case(self) -> tuple[str, str]:
        """The name of the sample of the recorded error, and the error that its code means."""
        return ("error_not_found", "NotFound") if self.single else ("error_unauthorized", "RegistryUnauthenticated")

    def check(self) -> str:
        error = self.scaffold.error
        codes, mark, place, request_id = "{}", "", "", error.request_id_header if error else "x-request-id"
        if error is None or error.code is None:
            path: tuple[str | int, ...] = ("error", "code")
            mark = (
                f"# {TO_FILL_IN}: what the registry's codes mean: an entry of CODES for each, "
                "or delete CODES if it has none\n"
            )
            place = f"    # {TO_FILL_IN}: where the code is in the body of an error\n"
        else:
            path, code = error.code
            codes = f"{{{quoted(code)}: errors.{self.error_case[1]}}}"
        return f'''
CODES: Mapping[str, type[errors.RegistryError]] = {codes}
"""The errors by code. The HTTP status decides about other codes."""
{mark}

def check(registry: str, response: Response) -> errors.RegistryError | None:
    """Return the error that a response reports, by its code or else its HTTP status. None if it is successful."""
    if response.status < 400:
        return None
{place}    code = as_text(at(response.document, {tuple_of(path)}))
    error = CODES.get(code or "") or errors.by_status(response.status)
    return error(registry, vendor_code=code, request_id=response.headers.get({quoted(request_id)}))
'''

    def kind(self) -> str:
        supplied = set(self.fields) | {"ownership"}
        keyed = [] if self.fields["name"] != f"text({quoted(self.rows.key)})" else ["Model"]
        versions = "frozenset()"
        parts = []
        if self.single:
            supplied |= set(self.single.fields)
            if self.single.versions:
                supplied |= {"versions", "latest_version"} if self.has_newest else {"versions"}
                versions = "VERSION_ABSENT"
                parts.append(absent("VERSION_ABSENT", "ModelVersion", set(self.single.version_fields)))
                if self.single.version_fields["name"] == f"text({quoted(self.single.versions.key)})":
                    keyed.append("ModelVersion")
        parts.insert(0, absent("MODEL_ABSENT", "Model", supplied))
        keyed_by_name = f"    keyed_by_name=frozenset({{{quoted(*keyed)}}}),\n" if keyed else ""
        keys = [str(row[self.rows.key]) for row in self.rows.rows]
        key = "KEY_TEXT" if all(map(KEY_TEXT.fullmatch, keys)) else "NAME"
        if key == "NAME":
            parts.insert(0, f"{SLASHED}\n\n")
        odd = next((one for one in keys if not NAME.fullmatch(one)), None)
        pattern = "" if odd is None else f"    # {TO_FILL_IN}: a pattern for keys such as {ascii(odd)[:40]}\n"
        return f'''{"".join(parts)}"""The fields that the registry does not supply."""

{self.scaffold.constant} = Kind(
    name="{self.scaffold.constant}",
    title="{TO_FILL_IN}: the name of the product, as people write it",
    description="{TO_FILL_IN}: what the product is, in one line.",
    settings={self.scaffold.settings_name},
    services=lambda settings: {{"{self.scaffold.name}": settings.endpoint}},
{pattern}    keys={{
        "Model": ({key},),
        "ModelVersion": ({key}, KEY_TEXT),
        "Algorithm": (KEY_TEXT,),
        "AlgorithmVersion": (KEY_TEXT, KEY_TEXT),
    }},
    calls=(GET_MODEL,),
    streams=(Stream("own", "Model", LIST_MODELS, constants={{"ownership": "OWN"}}),),
{keyed_by_name}    probe=LIST_MODELS,
    absent={{
        "Model": MODEL_ABSENT,
        "ModelVersion": {versions},
        "Algorithm": frozenset(),
        "AlgorithmVersion": frozenset(),
    }},
    credentials=lambda settings: settings.credentials,
    sign=static_authorization,
    check=check,
)
'''

    # Samples

    def fixtures(self) -> dict[str, str]:
        """Return the samples and the expected results: what the written module makes of the answers."""
        module = ModuleType(f"gateway.registries.{self.scaffold.name}")
        exec(compile(self.module_text, str(self.scaffold.module), "exec"), module.__dict__)  # noqa: S102
        kind: Kind = getattr(module, self.scaffold.constant)
        listed = kind.streams[0].call
        assert listed.rows is not None and listed.rows.layout is not None  # noqa: PT018
        page = project_children(listed.rows.layout, listed.rows.read(self.scaffold.listed.document))
        keys, version_keys = [page["rows"][0]["key"]], [page["rows"][0]["key"], "unused"]
        sample, document = "ListModels", self.scaffold.listed.document
        bodies = {sample: self.scaffold.listed.body}
        if self.single:
            sample, document = "GetModel", self.single.document
            bodies[sample], keys = document, [self.single.value]
        records: list[Any] = [{"sample": "ListModels", "stream": "Model own", **page}]
        for part in kind.calls[0].entities:
            own = keys
            if part.layout.entity == "ModelVersion" and self.single and self.single.versions:
                own = version_keys = [*keys, str(self.single.versions.rows[0][self.single.versions.key])]
            raw = part.locate(document, tuple(own))
            record = None if raw is None else project(part.layout, raw)
            row = {"sample": sample, "call": "GetModel", "entity": part.layout.entity, "keys": own, "record": record}
            records.append(row)
        requests: list[Any] = [{"stream": "Model own"}, {"call": "GetModel", "keys": keys if self.single else []}]
        for row in requests:
            request = request_of(kind, row)
            target = request.path + (f"?{query_string(request.query)}" if request.query else "")
            row["sends"] = f"{request.method} {target}"
        failures = []
        if self.scaffold.error is not None:
            case, recorded = self.error_case[0], self.scaffold.error.sample
            bodies[case] = recorded
            error = kind.check(self.scaffold.name, as_response(recorded))
            assert error is not None
            failures.append(
                {
                    "sample": case,
                    "error": type(error).__name__,
                    "vendor_code": error.vendor_code,
                    "request_id": error.request_id,
                }
            )
        good = {"Model": [keys], "ModelVersion": [version_keys], "Algorithm": [["unused"]]}
        tables = {
            "records": records,
            "requests": requests,
            "filters": [],
            "errors": {"samples": failures, "codes": []},
            "words": {},
            "keys": {
                "settings": {"endpoint": f"https://{self.host}", "token": "test-token"},
                "secrets": ["test-token"],
                "good": {**good, "AlgorithmVersion": [["unused", "unused"]]},
            },
        }
        contents = {**bodies, **{f"expected/{name}": table for name, table in tables.items()}}
        return {
            sample_file(self.scaffold.name, case): json.dumps(value, ensure_ascii=False, indent=2) + "\n"
            for case, value in contents.items()
        }
