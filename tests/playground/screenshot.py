"""Takes the picture of the playground that README.md shows: `python -m tests.playground.screenshot`."""

import asyncio
from pathlib import Path
from typing import Final

from playwright.async_api import async_playwright, expect

from tests.browser import chromium
from tests.conftest import demo

PICTURE: Final = Path(__file__).parents[2] / "docs" / "images" / "playground.png"


async def main() -> None:
    """Run the first example in headless Chromium over the twins, and write what the page shows."""
    async with demo() as gateway, async_playwright() as tools:
        browser = await tools.chromium.launch(executable_path=chromium())
        page = await browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme="light")
        await page.goto(f"{gateway.url}/")
        await page.get_by_role("button", name="Show Documentation Explorer").click()
        await page.get_by_role("button", name="Execute query").click()
        await expect(page.get_by_role("region", name="Result Window")).to_contain_text("totalCount")
        await page.screenshot(path=PICTURE, animations="disabled")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
