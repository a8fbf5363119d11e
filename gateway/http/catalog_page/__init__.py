"""A model catalogue at `/catalog`: the example of a client, in plain HTML, CSS and one script.

It uses the public API only: one query for each view, which are files of their own.
"""

import html
from pathlib import Path
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import __version__
from gateway.http import pages
from gateway.http.pages import PageFile

HERE: Final = Path(__file__).parent / "page"
FILES: Final = [PageFile.of(HERE / name) for name in ("catalog.css", "icon.svg", "catalog.js")]
PAGE: Final = Template((HERE / "catalog.html").read_text(encoding="utf-8"))
LIST, DETAIL = ((HERE / f"{name}.graphql").read_text(encoding="utf-8") for name in ("list", "detail"))
"""The queries of the two views: a page of the list with its facets, and one model."""


async def page(request: Request) -> Response:
    """Return the catalogue."""
    queries = {"list": html.escape(LIST), "detail": html.escape(DETAIL)}
    return pages.page(PAGE.substitute(version=__version__, head=pages.tags(FILES), **queries))
