"""A gateway over one registry on a loopback socket that sends given bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.config.settings import CacheSettings
from tests.conftest import Client, pai, served, settings
from tests.upstream.raw_registry import listening


@asynccontextmanager
async def registry_answering(answer: Callable[[str], bytes]) -> AsyncIterator[str]:
    """A registry that sends what ``answer`` returns for the target of each request. Yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = [int(line[16:]) for line in head.lower().split("\r\n") if line.startswith("content-length: ")]
            await reader.readexactly(sum(length))
            writer.write(answer(head.split(" ")[1]))

    async with listening(handle) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def answering(
    answer: Callable[[str], bytes], kind: Callable[..., Any] = pai, cache: bool = False, **sections: Any
) -> AsyncIterator[Client]:
    """A gateway over one registry that sends what ``answer`` returns for the target of each request."""
    sections = {"cache": CacheSettings(enabled=cache), **sections}
    async with registry_answering(answer) as url, served(settings(kind(url), **sections)) as gateway:
        yield gateway
