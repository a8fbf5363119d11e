"""The upper limit of speed: an ASGI application that returns a prepared body for each path."""

import sys
from pathlib import Path

from tests.bench.processes import Receive, Scope, Send, answer, serve


class Raw:
    def __init__(self, folder: Path) -> None:
        self.bodies = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await answer(send, self.bodies.get(scope["path"], b"{}"))


if __name__ == "__main__":
    serve(Raw(Path(sys.argv[2])), int(sys.argv[1]))
