"""A client of the official package `mcp`: calls tools, and prints the revision, the tools and the results as JSON.

`client.py URL MODE CALLS`: the mode is `auto` or `legacy`, the calls are a JSON list of names with arguments. The
package validates each result against the output schema of its tool.
"""

import asyncio
import json
import sys

from mcp.client import Client


async def main(url: str, mode: str, calls: str) -> None:
    async with Client(url, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        results = []
        for name, arguments in json.loads(calls):
            result = await client.call_tool(name, arguments)
            results.append({"isError": result.is_error, "structuredContent": result.structured_content})
        print(json.dumps({"revision": client.protocol_version, "tools": tools, "results": results}))


asyncio.run(main(*sys.argv[1:]))
