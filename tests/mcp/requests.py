"""Requests of the Model Context Protocol, written out, so that a test can change any part of them."""

import json
from collections.abc import Mapping
from typing import Any

from tests.conftest import Answer, Client

REVISION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
}

PAI_MODEL = "pai:model/model-s2h14pyqa96dy9zojs"


def body(method: str, params: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A request, with the metadata that each one needs."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **(params or {})}, **more}


def headers_of(message: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat parts of a request."""
    headers = {"MCP-Protocol-Version": REVISION, "Mcp-Method": message["method"]}
    return headers | ({"Mcp-Name": message["params"]["name"]} if message["method"] == "tools/call" else {})


async def post(gateway: Client, content: Any, headers: Mapping[str, str | None] | None = None) -> Answer:
    """Send a body as it is. A header that is None is left out."""
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **(headers or {})}
    data = content if isinstance(content, bytes) else json.dumps(content)
    return await gateway.request(
        "POST", "/mcp", data=data, headers={name: value for name, value in sent.items() if value is not None}
    )


async def send(gateway: Client, method: str, params: Mapping[str, Any] | None = None, **headers: str | None) -> Answer:
    """Send a request with its headers. Underscores in the names of further headers stand for hyphens."""
    message = body(method, params)
    further = {name.replace("_", "-"): value for name, value in headers.items()}
    return await post(gateway, message, {**headers_of(message), **further})


async def call(gateway: Client, tool: str, arguments: Any = None, **headers: str) -> Any:
    """Call a tool, and return the result of the call."""
    answer = await send(gateway, "tools/call", {"name": tool, "arguments": arguments or {}}, **headers)
    assert answer.status == 200, answer.body
    return answer.body["result"]


async def content_of(gateway: Client, tool: str, arguments: Any = None, **headers: str) -> Any:
    """Call a tool, and return its structured content."""
    return (await call(gateway, tool, arguments, **headers))["structuredContent"]


async def tools(gateway: Client, **headers: str) -> list[Any]:
    listed: list[Any] = (await send(gateway, "tools/list", **headers)).body["result"]["tools"]
    return listed
