"""An imaginary kind of registry with the API of OCI registries: names with ``/``, and next pages in a header.

The answers contain texts in place of objects, errors in a list, and a digest in a header. Recipes, a list without an
object around it, are its algorithms. Source of the form: OCI Distribution Specification 1.1.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

from aiohttp import web

from gateway import errors
from gateway.config.settings import StaticCredentialsSettings, setting
from gateway.registries.fields import EntityLayout, Field, Raw, Rows, as_text, at, computed, fixed, text
from gateway.registries.kind import (
    KEY_TEXT,
    Call,
    EntityInAnswer,
    Keys,
    Kind,
    Paging,
    Stream,
    holds_list,
    holds_object,
    object_at,
)
from gateway.registries.links import linked_page
from gateway.registries.signatures import static_authorization
from gateway.upstream.messages import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class DockSettings(StaticCredentialsSettings):
    """One dock."""

    endpoint: str = setting("Address.", url=True, path=True)


def named(value: Any) -> Any:
    """Return an object with a name for each text of a list."""
    return [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


def rows(*path: str) -> Callable[[Raw], Rows]:
    """Return a function that reads the texts at a path of an answer, whose next page is in the header ``Link``."""

    def read(raw: Raw) -> Rows:
        following, truncated = linked_page(at(raw, ("headers", "link")), "last")
        return Rows.of(named(at(raw, ("body", *path))), None, following, truncated)

    return read


MODEL = EntityLayout("Model", lambda raw: as_text(raw.get("name")), {"name": text("name"), "ownership": fixed("OWN")})
TAG = EntityLayout("ModelVersion", lambda raw: as_text(raw.get("name")), {"name": text("name")})
MANIFEST = EntityLayout(
    "ModelVersion",
    lambda raw: as_text(raw.get("tag")),
    {"name": text("tag"), "uri": text("digest"), "description": text("mediaType")},
)
RECIPE = EntityLayout("Algorithm", lambda raw: as_text(raw.get("id")), {"name": text("id")})
TAGGED_MODEL = EntityLayout(
    "Model",
    lambda raw: as_text(at(raw, ("body", "name"))),
    {
        "name": computed(read=lambda raw: as_text(at(raw, ("body", "name")))),
        "ownership": fixed("OWN"),
        "versions": Field((), rows("tags"), layout=TAG),
    },
)


def manifest(document: Any, keys: Keys) -> Raw | None:
    """Return a manifest with its tag, and the digest in the headers of the response."""
    return {**document["body"], "tag": keys[1], "digest": document["headers"].get("docker-content-digest")}


BY_LINK = Paging("last", "n", rows=10, by_marker=True)
CATALOG = Call(
    name="Catalog",
    service="dock",
    path="/v2/_catalog",
    response_headers=("link",),
    rows=Field((), rows("repositories"), layout=MODEL),
    is_complete=holds_list("body", "repositories"),
    paging=BY_LINK,
)
TAGS = Call(
    name="Tags",
    service="dock",
    path="/v2/{0}/tags/list",
    keeps_slashes=True,
    key_positions=(0,),
    response_headers=("link",),
    entities=(object_at(TAGGED_MODEL),),
    is_complete=holds_list("body", "tags"),
    paging=BY_LINK,
)
GET_MANIFEST = Call(
    name="Manifest",
    service="dock",
    path="/v2/{0}/manifests/{1}",
    keeps_slashes=True,
    key_positions=(0, 1),
    response_headers=("docker-content-digest", "x-absent"),
    entities=(EntityInAnswer(MANIFEST, manifest),),
    is_complete=holds_object("body", key="mediaType"),
)
RECIPES = Call(
    name="Recipes",
    service="dock",
    path="/recipes",
    rows=Field((), lambda raw: Rows.all_of(raw.get("body")), layout=RECIPE),
    is_complete=holds_list("body"),
)
CODES = {
    "NAME_UNKNOWN": errors.NotFound,
    "MANIFEST_UNKNOWN": errors.NotFound,
    "UNAUTHORIZED": errors.RegistryUnauthenticated,
    "DENIED": errors.RegistryForbidden,
    "TOOMANYREQUESTS": errors.RegistryThrottled,
}


def check(registry: str, response: Response) -> errors.RegistryError | None:
    if response.status < 400:
        return None
    code = as_text(at(response.document, ("errors", 0, "code")))
    return (CODES.get(code or "") or errors.by_status(response.status))(registry, vendor_code=code)


REPOSITORY = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*")


def dock(absent: Mapping[str, frozenset[str]]) -> Kind:
    """Return the kind. ``absent`` are the fields of the schema that it does not supply."""
    return Kind(
        name="DOCK",
        title="Dock",
        description="An imaginary registry.",
        settings=DockSettings,
        services=lambda settings: {"dock": settings.endpoint},
        keys={
            "Model": (REPOSITORY,),
            "ModelVersion": (REPOSITORY, KEY_TEXT),
            "Algorithm": (KEY_TEXT,),
            "AlgorithmVersion": (KEY_TEXT, KEY_TEXT),
        },
        calls=(TAGS, GET_MANIFEST),
        streams=(
            Stream("own", "Model", CATALOG, constants={"ownership": "OWN"}),
            Stream("recipes", "Algorithm", RECIPES),
        ),
        keyed_by_name=frozenset({"ModelVersion"}),
        probe=CATALOG,
        absent=absent,
        credentials=lambda settings: settings.credentials,
        sign=static_authorization,
        check=check,
    )


# A server


def relative(path: str, last: str, size: int) -> str:
    return f'<{path}?last={last}&n={size}>; rel="next"'


@dataclass
class DockServer:
    """The tags by repository, and the paths and markers that were requested."""

    repositories: dict[str, list[str]] = attribute(default_factory=dict)
    link: Callable[[str, str, int], str | Sequence[str]] = relative
    """Returns the header, or several of them, for a path, the last name of the page, and the page's size."""
    error: tuple[int, str] | None = None
    requests: list[tuple[str, str | None]] = attribute(default_factory=list)
    url: str = ""

    @property
    def calls(self) -> Counter[str]:
        return Counter(path for path, _ in self.requests)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        self.requests.append((path, request.query.get("last")))
        if self.error is not None:
            status, code = self.error
            return web.json_response({"errors": [{"code": code, "message": "No."}, {"code": "OTHER"}]}, status=status)
        if path == "/recipes":
            return web.json_response([{"id": "bake"}, {"id": "boil"}])
        if path == "/v2/_catalog":
            return self.page(request, "repositories", sorted(self.repositories))
        repository, kind, name = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "tags" and name == "list" and repository in self.repositories:
            return self.page(request, "tags", self.repositories[repository], name=repository)
        if kind == "manifests" and name in self.repositories.get(repository, ()):
            document = {"mediaType": "application/vnd.oci.image.manifest.v1+json"}
            return web.json_response(document, headers={"Docker-Content-Digest": f"sha256:{name}"})
        return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)

    def page(self, request: web.BaseRequest, key: str, names: list[str], **more: str) -> web.Response:
        size, last = int(request.query["n"]), request.query.get("last")
        start = 0 if last is None else names.index(last) + 1
        response = web.json_response({**more, key: names[start : start + size]})
        if start + size < len(names):
            header = self.link(request.rel_url.raw_path, names[start + size - 1], size)
            for value in (header,) if isinstance(header, str) else header:
                response.headers.add("Link", value)
        return response


@asynccontextmanager
async def dock_server() -> AsyncIterator[DockServer]:
    """Serve a dock on a loopback socket."""
    server = DockServer()
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def registry(url: str) -> DockSettings:
    return DockSettings(name="dock", kind="dock", endpoint=url)
