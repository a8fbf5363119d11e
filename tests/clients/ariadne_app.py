"""ariadne-codegen: a client generated from the schema and `ariadne_app.graphql`, with typed responses."""

import asyncio
import importlib
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE / "build" / "ariadne"


def generated() -> Any:
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "ariadne_codegen", "--config", "ariadne_app.toml"], cwd=HERE, check=True)
    sys.path.insert(0, str(BUILD))
    return importlib.import_module("catalog")


async def main(catalog: Any, url: str) -> None:
    async with catalog.Client(url) as client:
        rows = []
        after = None
        for _ in range(3):
            page = (await client.page(after=after, which=catalog.ModelFilter(ownership=catalog.Ownership.OWN))).models
            rows += page.nodes
            after = page.page_info.end_cursor
        assert len({row.id for row in rows}) == 30
        assert {row.ownership for row in rows} == {catalog.Ownership.OWN}
        assert all(isinstance(row.created_at, datetime) for row in rows)

        found = (await client.found(id=rows[0].id)).node
        assert (found.typename__, found.name) == ("Model", rows[0].name)

        try:
            await client.found(id="nobody:model/x")
        except catalog.GraphQLClientGraphQLMultiError as refused:
            codes = [error.extensions["code"] for error in refused.errors]
        assert codes == ["INVALID_ID"]


asyncio.run(main(generated(), sys.argv[1]))
