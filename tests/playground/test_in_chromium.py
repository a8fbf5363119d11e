"""The playground in Chromium, with two simulated clouds and without access to other hosts.

The tests write screenshots to `build/screenshots`.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import DESKTOP, PHONE, opened, take_screenshot
from tests.conftest import World

pytestmark = pytest.mark.usefixtures("files")


@asynccontextmanager
async def open_page(url: str, **screen: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open the playground. Yields the page and a list of its problems."""
    async with opened(url, "/graphql", **screen) as (page, problems):
        await expect(page.get_by_role("button", name="Execute query")).to_be_visible()
        yield page, problems


@asynccontextmanager
async def open_without_problems(url: str, **screen: Any) -> AsyncIterator[Page]:
    """Open the page and check on exit that it has no problems."""
    async with open_page(url, **screen) as (page, problems):
        yield page
        assert problems == []


def result(page: Page) -> Locator:
    return page.get_by_role("region", name="Result Window")


async def newest_names(world: World) -> list[str]:
    """Return the names of the newest models, one of each cloud."""
    nodes = (await world.gateway.query("{ models(first: 2) { nodes { name registryName } } }")).data["models"]["nodes"]
    assert {node["registryName"] for node in nodes} == {"pai", "qianfan"}
    return [node["name"] for node in nodes]


async def test_the_keyboard_runs_a_query_over_both_clouds(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        assert page.url == f"{world.gateway.url}/"
        await page.get_by_role("region", name="Query Editor").get_by_text("Models", exact=True).click()
        await page.keyboard.press("Control+Enter")
        for name in await newest_names(world):
            await expect(result(page)).to_contain_text(name)
        await take_screenshot(page, "query")


async def test_the_page_sends_the_headers_that_the_user_enters(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_role("button", name="Headers").click()
        await page.get_by_role("region", name="Headers").get_by_role("textbox").fill('{"Cache-Control": "no-cache"}')
        async with page.expect_request("**/graphql") as sent:
            await page.get_by_role("button", name="Execute query").click()
        request = await sent.value
        assert await request.header_value("cache-control") == "no-cache"
        assert json.loads(request.post_data or "")["operationName"] == "Models"


async def test_the_docs_show_descriptions(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_label("Show Documentation Explorer").click()
        docs = page.locator(".graphiql-doc-explorer")
        await docs.get_by_role("link", name="Model", exact=True).click()
        await expect(docs).to_contain_text("A trained model under one name, with its versions.")
        await expect(docs).to_contain_text("Whether the model belongs to your account or to the cloud platform.")
        await take_screenshot(page, "docs")


async def test_history_and_explorer_open(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_role("button", name="Execute query").click()
        await expect(result(page)).to_contain_text("totalCount")
        await page.get_by_label("Show History").click()
        await expect(page.get_by_role("region", name="History")).to_contain_text("Models")
        await page.get_by_label("Show GraphiQL Explorer").click()
        explorer = page.locator(".docExplorerWrap")
        await explorer.get_by_text("hasPreviousPage").click()
        await expect(page.get_by_role("region", name="Query Editor")).to_contain_text("hasPreviousPage")
        await take_screenshot(page, "explorer")


async def test_each_example_has_a_tab(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        fields = {
            "FilterAndSearch": "models",
            "Pages": "models",
            "Facets": "facets",
            "Model": "model",
            "ModelVersion": "modelVersion",
            "Algorithms": "algorithms",
            "AlgorithmVersion": "algorithmVersion",
            "Registries": "registries",
            "Entities": "_entities",
            "Deferred": "latestVersion",
            "Watch": "modelVersionChanged",
        }
        for tab, field in fields.items():
            await page.get_by_role("tab", name=tab, exact=True).click()
            is_active = "(tab) => localStorage.getItem('graphiql:operationName') === tab"
            await page.wait_for_function(is_active, arg=tab)  # GraphiQL loads the query of a tab with a delay
            await page.get_by_role("button", name="Execute query").click()
            await expect(result(page)).to_contain_text(f'"{field}"')


async def test_the_plan_shows_calls_before_and_after_running(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_label("Show Plan").click()
        plan = page.get_by_role("region", name="Plan", exact=True)
        await expect(plan).to_contain_text("of 1000 upstream calls")
        planned = plan.get_by_role("table", name="Calls that the query may make")
        await expect(planned.get_by_role("row", name="1 pai ListModels models list own")).to_be_visible()
        made = plan.get_by_role("table", name="Calls of the last run")
        await expect(made).to_have_count(0)
        await page.get_by_role("button", name="Execute query").click()
        await expect(made).to_contain_text("miss, 1 attempt,")
        await expect(made.locator("tbody tr")).to_have_count(sum(world.calls().values()))
        await expect(made.locator(".plan-bar").first).to_be_visible()
        await take_screenshot(page, "plan")


async def test_the_plan_follows_the_editor(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_label("Show Plan").click()
        plan = page.get_by_role("region", name="Plan", exact=True)
        for tab, expected in (("Registries", "At most 0 of 1000 upstream calls"), ("Model", "qianfan modelDetail")):
            await page.get_by_role("tab", name=tab, exact=True).click()
            await expect(plan).to_contain_text(expected)
        await page.get_by_role("button", name="Variables").click()
        await page.get_by_role("region", name="Variables").get_by_role("textbox").fill('{"id": 1')
        await expect(plan.get_by_role("alert")).to_have_text("The variables are not JSON.")


async def test_a_link_opens_its_query_with_its_variables(world: World) -> None:
    query, variables = "query Linked($first: Int!) { models(first: $first) { nodes { name } } }", '{"first": 2}'
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.goto(f"{world.gateway.url}/?{urlencode({'query': query, 'variables': variables})}")
        await page.get_by_role("button", name="Execute query").click()
        for name in await newest_names(world):
            await expect(result(page)).to_contain_text(name)


async def test_a_new_tab_says_how_to_start(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_role("button", name="New tab").click()
        await expect(page.get_by_role("region", name="Query Editor")).to_contain_text("Ctrl-Space completes names")
        await page.get_by_role("button", name="Execute query").click()
        await expect(result(page)).to_contain_text('"QIANFAN"')


async def test_a_query_runs_right_after_a_change_of_its_name(world: World) -> None:
    run_at_once = """() => {
        const {CodeMirror} = document.querySelector('.graphiql-query-editor .CodeMirror');
        CodeMirror.setValue('query Kinds { registries { kind } }');
        document.querySelector('.graphiql-execute-button').click();
    }"""
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.wait_for_function("localStorage.getItem('graphiql:operationName') === 'Models'")
        await page.evaluate(run_at_once)
        await expect(result(page)).to_contain_text('"QIANFAN"')


async def test_the_explorer_lists_the_fields_for_routers_last(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP) as page:
        await page.get_by_label("Show GraphiQL Explorer").click()
        for field in ("_entities", "_service"):
            below = page.locator(".graphiql-explorer-registries").first
            box, own = await below.bounding_box(), await page.locator(f".graphiql-explorer-{field}").bounding_box()
            assert box is not None
            assert own is not None
            assert own["y"] > box["y"]


async def test_no_field_gets_the_focus_of_a_phone_unless_it_is_tapped(world: World) -> None:
    async with open_without_problems(world.gateway.url, **PHONE) as page:
        focused = "document.activeElement.matches('input, textarea')"
        for panel in ("Documentation Explorer", "History", "GraphiQL Explorer", "Plan"):
            await page.get_by_label(f"Show {panel}").tap()
            await expect(page.get_by_label(f"Hide {panel}")).to_be_visible()
            assert not await page.evaluate(focused)
        await page.get_by_label("Hide Plan").tap()
        await page.locator(".graphiql-query-editor .CodeMirror-line").first.tap()
        assert await page.evaluate(focused)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_on_a_phone(world: World, scheme: str) -> None:
    async with open_without_problems(world.gateway.url, **PHONE, color_scheme=scheme) as page:
        await page.get_by_role("button", name="Execute query").tap()
        for name in await newest_names(world):
            await expect(result(page)).to_contain_text(name)
        await expect(result(page)).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("region", name="Query Editor")).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("button", name="Execute query")).to_be_in_viewport(ratio=1)
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
        await take_screenshot(page, f"phone-{scheme}")
        await page.get_by_label("Show Documentation Explorer").tap()
        await page.get_by_role("link", name="Model", exact=True).tap()
        await expect(page.get_by_text("A trained model under one name")).to_be_in_viewport(ratio=1)
        await take_screenshot(page, f"phone-docs-{scheme}")
        await page.get_by_label("Open settings dialog").tap()
        for theme in ("System", "Light", "Dark"):
            await expect(page.get_by_role("button", name=theme)).to_be_in_viewport(ratio=1)
        await take_screenshot(page, f"phone-settings-{scheme}")


async def test_the_theme_follows_the_system_and_can_be_changed(world: World) -> None:
    async with open_without_problems(world.gateway.url, **DESKTOP | {"color_scheme": "dark"}) as page:
        assert await brightness(page) < 80
        await page.get_by_role("button", name="Execute query").click()
        await expect(result(page)).to_contain_text("totalCount")
        await take_screenshot(page, "dark")
        await page.get_by_label("Open settings dialog").click()
        await page.get_by_role("button", name="Light").click()
        assert await brightness(page) > 200


async def brightness(page: Page) -> float:
    """Return the brightness of the background, from 0 (black) to 255 (white)."""
    background = "getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor"
    red, green, blue = map(int, re.findall(r"\d+", await page.evaluate(background))[:3])
    return (red + green + blue) / 3


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("fetch('http://198.51.100.1/').catch(() => 0)", "http://198.51.100.1/"),
        ("document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/i.png'}))", "http://192.0.2.1/i.png"),
        ("document.head.append(Object.assign(document.createElement('script'), {text: '1'}))", "inline"),
        ("console.error('a fault')", "a fault"),
        ("queueMicrotask(() => { throw new Error('a slip') })", "a slip"),
    ],
)
async def test_the_tests_detect_problems(world: World, script: str, problem: str) -> None:
    async with open_page(world.gateway.url, **DESKTOP) as (page, problems):
        await page.evaluate(f"{script}; null")
        await page.evaluate("new Promise(requestAnimationFrame)")
        assert problem in "\n".join(problems)
