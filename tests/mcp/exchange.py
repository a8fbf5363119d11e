"""The exchange with an agent's client in docs/agents.md: `python -m tests.mcp.exchange` records it anew.

The client is that of the official package `mcp`, the gateway that of the demo, with a clock that the recording moves.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from gateway.config.settings import CacheSettings
from tests import environments, npm
from tests.auth.gateways import Clock
from tests.conftest import demo
from tests.documentation import DOCS, pattern

HERE: Final = Path(__file__).parent
WIDTH: Final = 120

SEARCH: Final = ("search_models", {"search": "qwen", "ownership": "OWN"})
REJECTED: Final = "pai:model/model-s2h14pyqa96dy9zojs"
VERSIONS: Final = ("list_versions", {"model": REJECTED, "approval": "APPROVED"})
SECONDS: Final = 12
"""The time since somebody else asked the same."""


def python() -> str:
    """The Python that has the client's package."""
    return str(environments.interpreter(HERE / "client.requirements.txt", HERE / "build" / "client-venv"))


async def calls(url: str, mode: str, *calls: tuple[str, Any]) -> Any:
    """Call tools with the official client, and return what it prints."""
    return json.loads(await npm.run(HERE, python(), "client.py", url, mode, json.dumps(calls)))


async def recorded() -> str:
    """The exchange, as Markdown."""
    clock = Clock()
    async with demo(clock, cache=CacheSettings(jitter=0)) as gateway:
        await calls(f"{gateway.url}/mcp", "auto", SEARCH)
        clock.seconds += SECONDS
        printed = await calls(f"{gateway.url}/mcp", "auto", SEARCH, VERSIONS)
    parts = [f"`{name}` with `{json.dumps(arguments)}`:\n\n```json\n{formatted(result['structuredContent'])}\n```\n"
             for (name, arguments), result in zip((SEARCH, VERSIONS), printed["results"], strict=True)]  # fmt: skip
    return "\n" + "\n".join(parts) + "\n"


def formatted(value: Any, indent: str = "", reserved: int = 0) -> str:
    """Write JSON with as much on a line as fits."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + reserved + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = f"{indent}  "
    if isinstance(value, list):
        items = [formatted(item, inner) for item in value]
    else:
        items = [f"{json.dumps(name)}: {formatted(item, inner, len(name) + 4)}" for name, item in value.items()]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closing}"


def write() -> None:
    page = DOCS / "agents.md"
    text = asyncio.run(recorded())
    page.write_text(pattern("exchange").sub(lambda _: text, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
