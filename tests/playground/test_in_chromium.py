"""The playground as people meet it: in Chromium, over two clouds, with no way out of this machine.

Pictures of what they see are written to `build/screenshots`.
"""

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Locator, Page, async_playwright, expect

from tests.conftest import World

PICTURES = Path(__file__).parent.parent.parent / "build" / "screenshots"
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
VIOLATIONS = "document.addEventListener('securitypolicyviolation', (e) => console.error('policy', e.blockedURI))"

pytestmark = pytest.mark.usefixtures("files")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "Chromium is not installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found


def watched(context: BrowserContext, origin: str) -> list[str]:
    """What goes wrong from now on: errors on the console or of the page, and requests to anywhere else."""
    wrong: list[str] = []
    context.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda raised: wrong.append(str(raised.error)))
    context.on("request", lambda sent: None if sent.url.startswith(f"{origin}/") else wrong.append(sent.url))
    return wrong


@asynccontextmanager
async def opened(chromium: str, url: str, **screen: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """The page in a browser that knows no other host, and what goes wrong there."""
    async with async_playwright() as tools:
        hosts = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
        browser = await tools.chromium.launch(executable_path=chromium, args=[hosts])
        context = await browser.new_context(**screen)
        await context.add_init_script(VIOLATIONS)
        wrong = watched(context, url)
        page = await context.new_page()
        await page.goto(f"{url}/graphql")
        await expect(page.get_by_role("button", name="Execute query")).to_be_visible()
        yield page, wrong
        await browser.close()


@asynccontextmanager
async def flawless(chromium: str, url: str, **screen: Any) -> AsyncIterator[Page]:
    async with opened(chromium, url, **screen) as (page, wrong):
        yield page
        assert wrong == []


async def picture(page: Page, name: str) -> None:
    await page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


def answer(page: Page) -> Locator:
    return page.get_by_role("region", name="Result Window")


async def names(world: World) -> list[str]:
    """The names of the newest models, of which both clouds have some."""
    nodes = (await world.gateway.query("{ models(first: 2) { nodes { name registryName } } }")).data["models"]["nodes"]
    assert {node["registryName"] for node in nodes} == {"pai", "qianfan"}
    return [node["name"] for node in nodes]


async def test_a_query_over_both_clouds_is_asked_with_the_keyboard_and_answered_on_the_page(
    world: World, chromium: str
) -> None:
    async with flawless(chromium, world.gateway.url, **DESK) as page:
        assert page.url == f"{world.gateway.url}/"
        await page.get_by_role("region", name="Query Editor").get_by_text("Models", exact=True).click()
        await page.keyboard.press("Control+Enter")
        for name in await names(world):
            await expect(answer(page)).to_contain_text(name)
        await picture(page, "query")


async def test_headers_are_sent_as_they_are_written(world: World, chromium: str) -> None:
    async with flawless(chromium, world.gateway.url, **DESK) as page:
        await page.get_by_role("button", name="Headers").click()
        await page.get_by_role("region", name="Headers").get_by_role("textbox").fill('{"Cache-Control": "no-cache"}')
        async with page.expect_request("**/graphql") as asked:
            await page.get_by_role("button", name="Execute query").click()
        request = await asked.value
        assert await request.header_value("cache-control") == "no-cache"
        assert json.loads(request.post_data or "")["operationName"] == "Models"


async def test_the_docs_open_and_read_well(world: World, chromium: str) -> None:
    async with flawless(chromium, world.gateway.url, **DESK) as page:
        await page.get_by_label("Show Documentation Explorer").click()
        docs = page.locator(".graphiql-doc-explorer")
        await docs.get_by_role("link", name="Model", exact=True).click()
        await expect(docs).to_contain_text("A trained model under one name, with its versions.")
        await expect(docs).to_contain_text("Whether the model belongs to your account or to the cloud platform.")
        await picture(page, "docs")


async def test_history_and_explorer_open(world: World, chromium: str) -> None:
    async with flawless(chromium, world.gateway.url, **DESK) as page:
        await page.get_by_role("button", name="Execute query").click()
        await expect(answer(page)).to_contain_text("totalCount")
        await page.get_by_label("Show History").click()
        await expect(page.get_by_role("region", name="History")).to_contain_text("Models")
        await page.get_by_label("Show GraphiQL Explorer").click()
        explorer = page.locator(".docExplorerWrap")
        await explorer.get_by_text("hasPreviousPage").click()
        await expect(page.get_by_role("region", name="Query Editor")).to_contain_text("hasPreviousPage")
        await picture(page, "explorer")


async def test_each_example_has_its_tab(world: World, chromium: str) -> None:
    async with flawless(chromium, world.gateway.url, **DESK) as page:
        for tab in ("Model", "ModelVersion", "Algorithms", "AlgorithmVersion", "Registries"):
            await page.get_by_role("tab", name=tab, exact=True).click()
            named = "(tab) => localStorage.getItem('graphiql:operationName') === tab"
            await page.wait_for_function(named, arg=tab)  # GraphiQL reads a tab's query a moment after it is shown
            await page.get_by_role("button", name="Execute query").click()
            await expect(answer(page)).to_contain_text(f'"{tab[0].lower()}{tab[1:]}"')


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_has_room_for_all_of_it(world: World, chromium: str, scheme: str) -> None:
    async with flawless(chromium, world.gateway.url, **PHONE, color_scheme=scheme) as page:
        await page.get_by_role("button", name="Execute query").tap()
        for name in await names(world):
            await expect(answer(page)).to_contain_text(name)
        await expect(answer(page)).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("region", name="Query Editor")).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("button", name="Execute query")).to_be_in_viewport(ratio=1)
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
        await picture(page, f"phone-{scheme}")
        await page.get_by_label("Show Documentation Explorer").tap()
        await page.get_by_role("link", name="Model", exact=True).tap()
        await expect(page.get_by_text("A trained model under one name")).to_be_in_viewport(ratio=1)
        await picture(page, f"phone-docs-{scheme}")
        await page.get_by_label("Open settings dialog").tap()
        for theme in ("System", "Light", "Dark"):
            await expect(page.get_by_role("button", name=theme)).to_be_in_viewport(ratio=1)
        await picture(page, f"phone-settings-{scheme}")


async def test_dark_and_light_follow_the_system_and_can_be_chosen(world: World, chromium: str) -> None:
    async with flawless(chromium, world.gateway.url, **DESK | {"color_scheme": "dark"}) as page:
        assert await brightness(page) < 80
        await page.get_by_role("button", name="Execute query").click()
        await expect(answer(page)).to_contain_text("totalCount")
        await picture(page, "dark")
        await page.get_by_label("Open settings dialog").click()
        await page.get_by_role("button", name="Light").click()
        assert await brightness(page) > 200


async def brightness(page: Page) -> float:
    """How bright the ground of the page is: 0 is black, 255 is white."""
    ground = "getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor"
    red, green, blue = map(int, re.findall(r"\d+", await page.evaluate(ground))[:3])
    return (red + green + blue) / 3


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("fetch('http://198.51.100.1/').catch(() => 0)", "http://198.51.100.1/"),
        ("document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/i.png'}))", "http://192.0.2.1/i.png"),
        ("document.head.append(Object.assign(document.createElement('script'), {text: '1'}))", "inline"),
        ("console.error('a fault')", "a fault"),
        ("queueMicrotask(() => { throw new Error('a slip') })", "a slip"),
    ],
)
async def test_the_watch_sees_what_it_is_there_for(world: World, chromium: str, deed: str, told: str) -> None:
    async with opened(chromium, world.gateway.url, **DESK) as (page, wrong):
        await page.evaluate(f"{deed}; null")
        await page.evaluate("new Promise(requestAnimationFrame)")
        assert told in "\n".join(wrong)
