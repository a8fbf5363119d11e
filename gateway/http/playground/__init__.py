"""The playground: GraphiQL at `/`, with explorer, history and headers. The gateway serves all of its files."""

import html
import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.http.negotiation import header, weights
from gateway.http.playground.assets import ASSETS, FOLDER, Asset, is_installed

HERE: Final = Path(__file__).parent
PAGE_ASSETS: Final = tuple(
    Asset("", name, sha256((HERE / "page" / name).read_bytes()).hexdigest())
    for name in ("page.css", "icon.svg", "plan.js", "start.js")
)
"""The gateway's own files. The first two are also part of the page without GraphiQL."""
FILES: Final = {
    **{asset.file: FOLDER / asset.file for asset in ASSETS},
    **{asset.file: HERE / "page" / asset.path for asset in PAGE_ASSETS},
}
"""The paths of all assets, by the file names in their URLs."""
PAGE: Final = Template((HERE / "page" / "page.html").read_text(encoding="utf-8"))
EXAMPLES: Final = [path.read_text(encoding="utf-8") for path in sorted((HERE / "examples").iterdir())]
NOT_INSTALLED: Final = "The playground is not installed. Install npm, then run <code>gateway assets</code>."

# GraphiQL's editor sets inline styles. Its style sheet contains fonts and icons as data: URLs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class BrowserRedirect:
    """Middleware of the GraphQL endpoint that redirects browsers that open its URL to the page.

    Such a request accepts HTML and has no query parameters.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        opens = scope["method"] in ("GET", "HEAD") and not scope["query_string"]
        if opens and weights(header(Headers(scope=scope), "accept")).get("text/html"):
            app = RedirectResponse("./", 303, {"Vary": "Accept", "Cache-Control": "no-store"})
        await app(scope, receive, send)


def routes() -> list[BaseRoute]:
    """Return the routes of the page and its assets."""
    return [Route("/", page), Route("/assets/{file}", asset_file)]


async def page(request: Request) -> Response:
    """Return GraphiQL or, if its files are missing, how to install them."""
    body = f"<p>{NOT_INSTALLED}</p>"
    if installed := is_installed():
        examples = html.escape(json.dumps(EXAMPLES, ensure_ascii=False))
        body = f'<div id="playground" data-examples="{examples}"></div>'
    assets = (*ASSETS, *PAGE_ASSETS) if installed else PAGE_ASSETS[:2]
    head = "\n".join(tag for asset in assets if (tag := _tag(asset)))
    return HTMLResponse(
        PAGE.substitute(version=__version__, head=head, body=body), headers={**HEADERS, "Cache-Control": "no-cache"}
    )


async def asset_file(request: Request) -> Response:
    """Return an asset. Its URL contains a hash of its content, so that browsers can cache it forever."""
    file = request.path_params["file"]
    path = FILES.get(file)
    if path is None or not path.is_file():
        return PlainTextResponse("File not found.", 404, HEADERS)
    caching = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'W/"{file}"'}
    return FileResponse(path, headers={**HEADERS, **caching})


def _tag(asset: Asset) -> str:
    """Return the HTML element that loads an asset. The browser verifies the hash."""
    source, suffix = f"assets/{asset.file}", Path(asset.path).suffix
    integrity = f'integrity="sha256-{b64encode(bytes.fromhex(asset.sha256)).decode()}"'
    tags = {
        ".css": f'<link rel="stylesheet" href="{source}" {integrity}>',
        ".js": f'<script defer src="{source}" {integrity}></script>',
        ".svg": f'<link rel="icon" href="{source}">',
    }
    return tags.get(suffix, "")
