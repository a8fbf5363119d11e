"""Pages for browsers and the files that they load: names with hashes, integrity, caching, and security headers."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy of pages without inline styles."""


class PageFile(NamedTuple):
    """A file that a page loads: its name in URLs, where it is, and its SHA-256 in hex.

    The name contains a part of the hash, so that browsers can cache the file forever and versions never mix.
    """

    name: str
    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return a file of this package."""
        digest = sha256(path.read_bytes()).hexdigest()
        return cls(f"{digest[:12]}-{path.name}", path, digest)

    @property
    def tag(self) -> str:
        """The HTML element that loads the file, empty for a file that is not loaded. The browser verifies the hash."""
        source = f"assets/{self.name}"
        integrity = f'integrity="sha256-{b64encode(bytes.fromhex(self.sha256)).decode()}"'
        tags = {
            ".css": f'<link rel="stylesheet" href="{source}" {integrity}>',
            ".js": f'<script defer src="{source}" {integrity}></script>',
            ".svg": f'<link rel="icon" href="{source}">',
        }
        return tags.get(self.path.suffix, "")


def tags(files: Iterable[PageFile]) -> str:
    """Return the HTML elements that load files, for the head of a page."""
    return "\n".join(tag for file in files if (tag := file.tag))


def headers(policy: str = POLICY) -> Mapping[str, str]:
    """Return the security headers of a page."""
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


def page(text: str, policy: str = POLICY) -> HTMLResponse:
    """Return the response with a page. Browsers ask each time whether it has changed."""
    return HTMLResponse(text, headers={**headers(policy), "Cache-Control": "no-cache"})


def files_route(files: Iterable[PageFile]) -> Route:
    """Return the route of the files of all pages."""
    paths = {file.name: file.path for file in files}

    async def file(request: Request) -> Response:
        name = request.path_params["file"]
        path = paths.get(name)
        if path is None or not path.is_file():
            return PlainTextResponse("File not found.", 404, headers())
        caching = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'W/"{name}"'}
        return FileResponse(path, headers={**headers(), **caching})

    return Route("/assets/{file}", file)
