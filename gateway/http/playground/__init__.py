"""The playground: GraphiQL at `/`, with explorer, history, headers and plan. The gateway serves all of its files."""

import html
import json
from pathlib import Path
from string import Template
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.http import pages
from gateway.http.negotiation import header, weights
from gateway.http.pages import PageFile
from gateway.http.playground.assets import ASSETS, FOLDER, is_installed

HERE: Final = Path(__file__).parent
GRAPHIQL: Final = [PageFile(asset.file, FOLDER / asset.file, asset.sha256) for asset in ASSETS]
LOOKS: Final = [PageFile.of(HERE / "page" / name) for name in ("page.css", "icon.svg")]
"""The files of the page without GraphiQL."""
SCRIPTS: Final = [PageFile.of(HERE / "page" / name) for name in ("plan.js", "start.js")]
FILES: Final = [*GRAPHIQL, *LOOKS, *SCRIPTS]
PAGE: Final = Template((HERE / "page" / "page.html").read_text(encoding="utf-8"))
EXAMPLES: Final = [path.read_text(encoding="utf-8") for path in sorted((HERE / "examples").iterdir())]
NOT_INSTALLED: Final = (
    "This gateway was built without the files of the playground. Install npm, then run: gateway assets"
)
"""What the page, the log and `gateway check` say where the files are missing."""

# GraphiQL's editor sets inline styles. Its style sheet contains fonts and icons as data: URLs.
POLICY: Final = pages.POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


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


async def page(request: Request) -> Response:
    """Return GraphiQL or, if its files are missing, how to install them."""
    body = f"<p>{NOT_INSTALLED}</p>"
    if installed := is_installed():
        examples = html.escape(json.dumps(EXAMPLES, ensure_ascii=False))
        body = f'<div id="playground" data-examples="{examples}"></div>'
    head = pages.tags(FILES if installed else LOOKS)
    return pages.page(PAGE.substitute(version=__version__, head=head, body=body), POLICY)
