"""An imaginary kind of registry that uses what the table format can say and the built-in kinds do not need.

Ledger answers like many servers that generate JSON from Protocol Buffers: it leaves out what is empty, pages by token,
counts nothing, has one parameter for all conditions, and sends times as numbers. It expects a user name and password.
"""

import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from gateway import errors
from gateway.config.settings import Secret, StaticCredentialsSettings, setting
from gateway.registries.fields import (
    EntityLayout,
    Field,
    Raw,
    Rows,
    as_objects,
    as_text,
    as_texts,
    at,
    extra,
    field,
    fixed,
    milliseconds,
    nested_list,
    seconds,
    text,
)
from gateway.registries.kind import (
    Call,
    EntityInAnswer,
    FilterPushdown,
    Kind,
    Paging,
    Stream,
    holds_list_if_any,
    holds_object,
    object_at,
)
from gateway.registries.signatures import static_authorization
from gateway.upstream.messages import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings(StaticCredentialsSettings):
    """One ledger."""

    endpoint: str = setting("Address.", url=True, path=True)
    room: str = setting("Room of the ledger.", default="")


LABELS = {"key": text("key"), "value": text("value")}
ALIASED = EntityLayout("ModelVersion", lambda raw: as_text(raw.get("number")), {"name": text("number")})
ALIASES = {"name": text("alias"), "version": Field((), lambda raw: raw, layout=ALIASED)}


def aliases_of(raw: Raw, number: str) -> list[str]:
    return [item["alias"] for item in as_objects(raw.get("aliases")) or [] if item.get("number") == number]


MODEL_FIELDS = {
    "name": text("name"),
    "ownership": fixed("OWN"),
    "labels": nested_list("tags", LABELS),
    "aliases": nested_list("aliases", ALIASES),
    "created_at": milliseconds("created"),
    "updated_at": seconds("updated"),
}
MODEL = EntityLayout(
    "Model",
    lambda raw: as_text(raw.get("name")),
    {**MODEL_FIELDS, **extra(MODEL_FIELDS)},
    of_versions={"aliases": aliases_of},
)
PARAMETERS = {"name": text("name"), "value": text("value")}
VERSION_FIELDS = {
    "name": text("number"),
    "description": text("note"),
    "labels": nested_list("tags", LABELS),
    "created_at": milliseconds("created"),
}
VERSION = EntityLayout(
    "ModelVersion",
    lambda raw: as_text(raw.get("number")),
    {**VERSION_FIELDS, **extra(VERSION_FIELDS, "model")},
    references={"job": lambda raw: None if (job := as_text(raw.get("job"))) is None else (job,)},
)
ALIASES_OF_VERSION = EntityLayout(
    "ModelVersion", lambda raw: None, {"aliases": field("aliases", as_texts)}, is_entity=False
)
JOB = EntityLayout(
    "ModelVersion", lambda raw: None, {"parameters": nested_list("settings", PARAMETERS)}, is_entity=False
)


def rows(name: str, layout: EntityLayout) -> Field:
    return Field((), lambda raw: Rows.of(raw.get(name), None, as_text(raw.get("next"))), layout=layout)


def quoted(value: str) -> str | None:
    return None if "'" in value or "\\" in value else f"'{value}'"


def where(member: str) -> FilterPushdown:
    """A condition of Ledger's only parameter for conditions."""
    return FilterPushdown(lambda value: None if quoted(value) is None else {"where": f"{member} = {quoted(value)}"})


def label(wanted: Raw) -> Mapping[str, Any] | None:
    key, value = quoted(wanted["key"]), quoted(wanted.get("value") or "")
    return None if None in (key, value) or "value" not in wanted else {"where": f"tag {key} = {value}"}


BY_TOKEN = Paging("token", "size", rows=10, by_marker=True)
LIST = Call(
    name="List",
    service="ledger",
    path="/v2/list",
    rows=rows("models", MODEL),
    is_complete=holds_list_if_any("models", "next"),
    paging=BY_TOKEN,
    orders={("created_at", True): {"order": "-created"}, ("created_at", False): {"order": "created"}},
    filters={"name_equals": where("name"), "label": FilterPushdown(label)},
    joined={"where": " AND "},
)
GET = Call(
    name="Get",
    service="ledger",
    path="/v2/get",
    key_positions=(0,),
    parameters=lambda keys: {"name": keys[0]},
    entities=(
        object_at(MODEL, "model"),
        EntityInAnswer(
            ALIASES_OF_VERSION, lambda document, keys: {"aliases": aliases_of(document["model"], keys[1])}, True
        ),
    ),
    is_complete=holds_object("model", key="name"),
)
VERSIONS = Call(
    name="Versions",
    service="ledger",
    path="/v2/versions",
    key_positions=(0,),
    parameters=lambda keys: {"where": f"model = {quoted(keys[0])}"},
    entities=(
        EntityInAnswer(
            EntityLayout(
                "Model",
                lambda raw: None,
                {
                    "versions": rows("versions", VERSION),
                    "latest_version": Field(
                        (), lambda raw: next(iter(as_objects(raw.get("versions")) or []), None), layout=VERSION
                    ),
                },
                is_entity=False,
            ),
            lambda document, keys: document,
            always_present=True,
        ),
    ),
    is_complete=holds_list_if_any("versions", "next"),
    paging=BY_TOKEN,
    orders={("created_at", True): {}},
    filters={"label": FilterPushdown(label)},
    joined={"where": " AND "},
)
GET_VERSION = Call(
    name="GetVersion",
    service="ledger",
    path="/v2/models/{0}/versions/{1}",
    key_positions=(0, 1),
    entities=(object_at(VERSION, "version"),),
    is_complete=holds_object("version", key="number"),
)


GET_JOB = Call(
    name="GetJob",
    service="ledger",
    path="/v2/jobs/{0}",
    key_positions=(0,),
    follows="job",
    entities=(object_at(JOB, "job"),),
    is_complete=holds_object("job", key="id"),
)


def check(registry: str, response: Response) -> errors.RegistryError | None:
    if response.status < 400:
        return None
    code = as_text(at(response.document, ("error",)))
    error = errors.NotFound if code == "missing" else errors.by_status(response.status)
    return error(registry, vendor_code=code)


NAME = re.compile(r"[^\x00-\x1f\x7f:]{1,256}")


def ledger(absent: Mapping[str, frozenset[str]]) -> Kind:
    """Return the kind. ``absent`` are the fields of the schema that it does not supply."""
    return Kind(
        name="LEDGER",
        title="Ledger",
        description="An imaginary registry.",
        settings=LedgerSettings,
        services=lambda settings: {"ledger": settings.endpoint},
        keys={
            "Model": (NAME,),
            "ModelVersion": (NAME, re.compile("[0-9]{1,9}")),
            "Algorithm": (NAME,),
            "AlgorithmVersion": (NAME, NAME),
        },
        calls=(GET, VERSIONS, GET_VERSION, GET_JOB),
        streams=(Stream("own", "Model", LIST, constants={"ownership": "OWN"}),),
        keyed_by_name=frozenset({"ModelVersion"}),
        probe=LIST,
        absent=absent,
        credentials=lambda settings: settings.credentials,
        sign=static_authorization,
        headers=lambda settings: {"X-Ledger-Room": settings.room} if settings.room else {},
        check=check,
    )


# A server

Row = dict[str, Any]
USER, PASSWORD = "reader", "pässword"
CONDITION = re.compile(r"(name|model|tag '(?P<key>[^']*)') = '(?P<value>[^']*)'")


@dataclass
class LedgerServer:
    """The models and versions of a server, and the requests that it received: paths and queries."""

    models: list[Row] = attribute(default_factory=list)
    versions: list[Row] = attribute(default_factory=list)
    jobs: list[Row] = attribute(default_factory=list)
    requests: list[tuple[str, Mapping[str, str]]] = attribute(default_factory=list)
    rooms: set[str | None] = attribute(default_factory=set)
    odd: Callable[[str], Any] = lambda path: None
    """Returns an answer in place of the server's own, for a path."""
    url: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix("/shared/ledger")
        query = dict(request.query)
        self.requests.append((path, query))
        self.rooms.add(request.headers.get("X-Ledger-Room"))
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic" or b64decode(credentials).decode() != f"{USER}:{PASSWORD}":
            return web.json_response({"error": "login"}, status=401)
        if (odd := self.odd(path)) is not None:
            return web.json_response(odd)
        if path == "/v2/list":
            descending = query.get("order", "-created") == "-created"
            rows = sorted(self.models, key=lambda row: row["created"], reverse=descending)
            return web.json_response(self.page("models", matching(rows, query), query))
        if path == "/v2/versions":
            rows = sorted(self.versions, key=lambda row: row["created"], reverse=True)
            return web.json_response(self.page("versions", matching(rows, query), query))
        if path == "/v2/get":
            found = [row for row in self.models if row["name"] == query["name"]]
            return web.json_response({"model": found[0]}) if found else missing()
        if path.startswith("/v2/jobs/"):
            found = [row for row in self.jobs if row["id"] == unquote(path.removeprefix("/v2/jobs/"))]
            return web.json_response({"job": found[0]}) if found else missing()
        [model, number] = [unquote(segment) for segment in path.split("/")[3::2]]
        found = [row for row in self.versions if (row["model"], row["number"]) == (model, number)]
        return web.json_response({"version": found[0]}) if found else missing()

    def page(self, name: str, rows: Sequence[Row], query: Mapping[str, str]) -> Row:
        """Return a page. Tokens are opaque text."""
        start, size = int(query.get("token", "t0")[1:]), int(query["size"])
        following = {"next": f"t{start + size}"} if start + size < len(rows) else {}
        return {**({name: rows[start : start + size]} if rows[start : start + size] else {}), **following}


def missing() -> web.Response:
    return web.json_response({"error": "missing"}, status=404)


def matching(rows: Sequence[Row], query: Mapping[str, str]) -> list[Row]:
    """Return the rows for which all conditions hold."""
    conditions = [match for part in filter(None, query.get("where", "").split(" AND ")) if (match := one(part))]

    def holds(row: Row, condition: re.Match[str]) -> bool:
        if condition["key"] is not None:
            return {"key": condition["key"], "value": condition["value"]} in row.get("tags", [])
        return bool(row[condition[1]] == condition["value"])

    return [row for row in rows if all(holds(row, condition) for condition in conditions)]


def one(part: str) -> re.Match[str]:
    match = CONDITION.fullmatch(part)
    assert match is not None, part
    return match


@asynccontextmanager
async def ledger_server() -> AsyncIterator[LedgerServer]:
    """Serve a ledger on a loopback socket, under a path."""
    server = LedgerServer()
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/shared/ledger"
    try:
        yield server
    finally:
        await runner.cleanup()


def registry(url: str, **options: Any) -> LedgerSettings:
    return LedgerSettings(
        name="ledger", kind="ledger", endpoint=url, username=USER, password=Secret(PASSWORD), **options
    )
