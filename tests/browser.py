"""Headless Chromium for tests of pages. Without Chromium, tests are skipped; on continuous integration they fail."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

SCREENSHOTS: Final = Path(__file__).parent.parent / "build" / "screenshots"
DESKTOP: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE: Final[dict[str, Any]] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
VIOLATIONS: Final = "document.addEventListener('securitypolicyviolation', (e) => console.error('policy', e.blockedURI))"


def chromium() -> str:
    """Return the path of Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "Chromium is not installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found


def record_problems(context: BrowserContext, origin: str) -> list[str]:
    """Return a list that fills with errors on the console, errors of the page, and requests to other origins."""
    problems: list[str] = []
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda raised: problems.append(str(raised.error)))
    context.on(
        "request", lambda request: None if request.url.startswith(f"{origin}/") else problems.append(request.url)
    )
    return problems


@asynccontextmanager
async def opened(origin: str, path: str, **screen: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open a page in a browser that resolves no other host. Yields the page and a list of its problems."""
    async with async_playwright() as tools:
        hosts = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
        browser = await tools.chromium.launch(executable_path=chromium(), args=[hosts])
        context = await browser.new_context(**screen)
        await context.add_init_script(VIOLATIONS)
        problems = record_problems(context, origin)
        page = await context.new_page()
        await page.goto(f"{origin}{path}")
        yield page, problems
        await browser.close()


async def take_screenshot(page: Page, name: str) -> None:
    """Keep a picture of the page as a build artefact."""
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
