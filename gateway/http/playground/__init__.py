"""The playground: GraphiQL with explorer, history and headers at `/`, from the gateway's own files alone."""

import html
import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from gateway.http.playground.assets import ASSETS, FOLDER, Asset, present

HERE: Final = Path(__file__).parent
OWN: Final = tuple(
    Asset("", name, sha256((HERE / "page" / name).read_bytes()).hexdigest())
    for name in ("page.css", "icon.svg", "start.js")
)
FILES: Final = {
    **{asset.file: FOLDER / asset.file for asset in ASSETS},
    **{asset.file: HERE / "page" / asset.path for asset in OWN},
}
PAGE: Final = Template((HERE / "page" / "page.html").read_text(encoding="utf-8"))
EXAMPLES: Final = [path.read_text(encoding="utf-8") for path in sorted((HERE / "examples").iterdir())]
ABSENT: Final = "The playground's files are not here: with npm installed, <code>gateway assets</code> gets them."

# GraphiQL's editor sets styles on elements; its fonts and icons are data: addresses in its style sheet.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Visit(Route):
    """The route of a browser that opens a page: it asks for HTML, and for nothing in particular."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is Match.FULL:
            request = Request(scope)
            if "text/html" in request.headers.get("accept", "") and not request.query_params:
                return match, found
        return Match.NONE, {}


def routes() -> list[BaseRoute]:
    """The page, its files, and the way to it from `/graphql`; they stand before the route that answers there."""
    return [
        Visit("/graphql", to_page),
        Route("/", page),
        Route("/assets/{file}", asset),
    ]


async def to_page(request: Request) -> Response:
    return RedirectResponse("./", 303, {"Vary": "Accept", "Cache-Control": "no-store"})


async def page(request: Request) -> Response:
    """GraphiQL; or how to get its files, where they are absent."""
    body = f"<p>{ABSENT}</p>"
    if there := present():
        examples = html.escape(json.dumps(EXAMPLES, ensure_ascii=False))
        body = f'<div id="playground" data-examples="{examples}"></div>'
    assets = (*ASSETS, *OWN) if there else OWN[:2]
    head = "\n".join(tag for one in assets if (tag := _tag(one)))
    return HTMLResponse(PAGE.substitute(head=head, body=body), headers={**HEADERS, "Cache-Control": "no-cache"})


async def asset(request: Request) -> Response:
    """One file of the page. Its address tells its content, so that browsers need never ask for it again."""
    path = FILES.get(request.path_params["file"])
    if path is None or not path.is_file():
        return PlainTextResponse("There is no such file.", 404, HEADERS)
    return FileResponse(path, headers={**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"})


def _tag(asset: Asset) -> str:
    """How the page asks for a file; the browser refuses one with another hash."""
    source, kind = f"assets/{asset.file}", Path(asset.path).suffix
    integrity = f'integrity="sha256-{b64encode(bytes.fromhex(asset.sha256)).decode()}"'
    tags = {
        ".css": f'<link rel="stylesheet" href="{source}" {integrity}>',
        ".js": f'<script defer src="{source}" {integrity}></script>',
        ".svg": f'<link rel="icon" href="{source}">',
    }
    return tags.get(kind, "")
