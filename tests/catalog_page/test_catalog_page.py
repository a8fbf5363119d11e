"""The catalogue in Chromium: search, facets, pages, one model, registries that fail, and accessibility."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from gateway import twins
from gateway.config.settings import CacheSettings, ServerSettings
from gateway.http.pages import POLICY
from tests.browser import DESKTOP, PHONE, opened, take_screenshot
from tests.conftest import Client, demo, mlflow, pai, qianfan, served, settings
from tests.npm import installed

SCREENS = {
    "desktop": DESKTOP,
    "desktop-dark": DESKTOP | {"color_scheme": "dark"},
    "phone": PHONE,
    "phone-dark": PHONE | {"color_scheme": "dark"},
}
VERSIONS = """query ($registry: String!) {
  models(first: 40, filter: {registries: [$registry]}) { nodes { id name versions(first: 20) { nodes { %s } } } }
}"""


@pytest.fixture
async def gateway() -> AsyncIterator[Client]:
    async with demo() as client:
        yield client


@asynccontextmanager
async def catalog(gateway: Client, path: str = "/catalog", **screen: Any) -> AsyncIterator[Page]:
    """Open the catalogue, and check at the end that the browser met no problem."""
    async with opened(gateway.url, path, **(screen or DESKTOP)) as (page, problems):
        yield page
        assert problems == []


def models(page: Page) -> Locator:
    return page.locator("#models li")


def coverage(page: Page) -> Locator:
    return page.get_by_role("list", name="Coverage of the registries")


async def total(page: Page) -> int:
    """Return the total on the page, when it is there."""
    heading = page.locator("#total")
    await expect(heading).to_have_text(re.compile(r"\d+ models?"))
    [number] = re.findall(r"\d+", await heading.inner_text())
    return int(number)


async def first_with(gateway: Client, registry: str, field: str, present: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the first model of a registry with a version of which a field is present."""
    nodes = (await gateway.query(VERSIONS % field, registry=registry)).data["models"]["nodes"]
    found: dict[str, Any] = next(
        node for node in nodes if any(map(present, (node["versions"] or {"nodes": []})["nodes"]))
    )
    return found


async def test_the_page_follows_a_strict_content_security_policy(gateway: Client) -> None:
    page = await gateway.request("GET", "/catalog")
    assert page.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert len(re.findall(r'integrity="sha256-', page.body)) == 2


async def test_in_production_there_is_no_catalogue() -> None:
    async with served(settings(server=ServerSettings(profile="production"))) as gateway:
        assert (await gateway.request("GET", "/catalog")).status == 404


async def test_one_page_shows_models_of_every_registry_with_coverage(gateway: Client) -> None:
    async with catalog(gateway) as page:
        query = "{ models(first: 24) { totalCount nodes { name registryName } } }"
        expected = (await gateway.query(query)).data["models"]
        await expect(models(page)).to_have_count(24)
        assert await total(page) == expected["totalCount"]
        for row, node in zip(await models(page).all(), expected["nodes"], strict=False):
            await expect(row).to_contain_text(node["name"])
            await expect(row.locator(".badge")).to_have_text(node["registryName"])
        for name in ("pai", "qianfan", "mlflow"):
            await expect(coverage(page)).to_contain_text(f"{name}: up to date")


async def test_the_search_narrows_the_list_and_stays_in_the_address(gateway: Client) -> None:
    query = '{ models(first: 1, filter: {search: "qwen instruct"}) { totalCount } }'
    found = (await gateway.query(query)).data["models"]["totalCount"]
    async with catalog(gateway) as page:
        everything = await total(page)
        await page.keyboard.press("/")
        await page.keyboard.type("qwen instruct")
        await expect(page).to_have_url(re.compile(r"search=qwen\+instruct"))
        await expect(page.locator("#total")).to_have_text(f"{found} models")
        assert 0 < found < everything
        await page.reload()
        await expect(page.locator("#total")).to_have_text(f"{found} models")
        await expect(page.get_by_role("searchbox")).to_have_value("qwen instruct")


async def test_a_facet_narrows_the_list_to_its_count(gateway: Client) -> None:
    async with catalog(gateway) as page:
        everything = await total(page)
        choice = page.locator("label", has=page.get_by_role("checkbox", name="mlflow"))
        count = int(await choice.locator("output").inner_text())
        assert 0 < count < everything
        await choice.click()
        await expect(page.locator("#total")).to_have_text(f"{count} models")
        await expect(models(page).first.locator(".badge")).to_have_text("mlflow")
        await expect(choice.locator("output")).to_have_text(str(count))
        await expect(page.get_by_role("checkbox", name="qianfan")).to_be_visible()
        await page.go_back()
        await expect(page.locator("#total")).to_have_text(f"{everything} models")


async def test_scrolling_loads_every_model_once(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?registries=mlflow") as page:
        expected = await total(page)
        while await models(page).count() < expected:
            before = await models(page).count()
            await page.locator("#models li").last.scroll_into_view_if_needed()
            await page.mouse.wheel(0, 10_000)
            await expect(models(page).nth(before)).to_be_attached()
        ids = await page.locator("#models a").evaluate_all("(links) => links.map((each) => each.dataset.model)")
        assert len(ids) == len({*ids}) == expected
        await expect(page.get_by_role("button", name="Load more")).to_be_hidden()


async def test_the_keyboard_opens_and_closes_a_model(gateway: Client) -> None:
    async with catalog(gateway) as page:
        link = models(page).nth(1).get_by_role("link")
        await link.focus()
        name = await link.locator("b").inner_text()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name=name, level=2)).to_be_focused()
        await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
        await take_screenshot(page, "catalog-detail")
        await page.keyboard.press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()
        await expect(link).to_be_focused()


async def test_a_link_opens_a_model_with_a_metric_over_its_versions(gateway: Client) -> None:
    measured = "name evaluations { dataset { name } metrics { name value } }"

    def has_numbers(version: dict[str, Any]) -> bool:
        return any(m["value"] is not None for e in version["evaluations"] or () for m in e["metrics"] or ())

    model = await first_with(gateway, "mlflow", measured, has_numbers)
    versions = [version for version in model["versions"]["nodes"] if has_numbers(version)]
    async with catalog(gateway, f"/catalog?model={quote(model['id'])}") as page:
        await expect(page.get_by_role("heading", name=model["name"], level=2)).to_be_visible()
        plot = page.locator("svg.plot")
        await expect(plot).to_be_visible()
        label = await plot.get_attribute("aria-label") or ""
        assert any(f"in version {version['name']}" in label for version in versions)
        await take_screenshot(page, "catalog-metric")


async def test_a_model_shows_the_hyperparameters_of_its_algorithm(gateway: Client) -> None:
    trained = "trainedWith { spec { hyperParameters { name } } }"

    def parameters(version: dict[str, Any]) -> list[str]:
        found = [(training["spec"] or {}).get("hyperParameters") or [] for training in version["trainedWith"] or ()]
        return [parameter["name"] for each in found for parameter in each]

    model = await first_with(gateway, "pai", trained, lambda version: bool(parameters(version)))
    [name, *_] = next(filter(None, map(parameters, model["versions"]["nodes"])))
    async with catalog(gateway, f"/catalog?model={quote(model['id'])}") as page:
        table = page.get_by_role("region", name="Hyperparameters")
        await expect(table.get_by_role("cell", name=name, exact=True)).to_be_visible()


async def test_an_unknown_model_is_said_to_be_unknown(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?model=mlflow:model/none") as page:
        await expect(page.get_by_role("heading", name="There is no such model")).to_be_visible()


async def test_a_registry_that_is_down_leaves_the_others(gateway: Client) -> None:
    async with twins.serving(corpus=twins.Corpus(60, mlflow_models=30)) as twin, twins.serving(models=30) as other:
        other.faults.replace({"ListModels": {"status": 503}})
        registries = pai(other.url), qianfan(twin.url), mlflow(twin.url)
        async with served(settings(*registries)) as gateway, catalog(gateway) as page:
            await expect(coverage(page)).to_contain_text("pai: unavailable")
            await expect(coverage(page)).to_contain_text("mlflow: up to date")
            await expect(models(page).first).to_be_visible()
            await expect(page.locator("#total")).to_have_text(re.compile("At least"))
            await take_screenshot(page, "catalog-registry-down")


async def test_all_registries_down_is_an_error_and_no_empty_list() -> None:
    async with twins.serving(models=30) as twin:
        twin.faults.replace({"ListModels": {"status": 503}})
        async with served(settings(pai(twin.url))) as gateway, catalog(gateway) as page:
            await expect(page.get_by_role("alert")).not_to_be_empty()
            await expect(page.locator("#total")).to_have_text("No models could be loaded")


async def test_a_slow_registry_shows_that_the_page_is_loading() -> None:
    async with twins.serving(models=30) as twin:
        twin.faults.replace({"ListModels": {"hang": True}})
        async with served(settings(pai(twin.url))) as gateway, catalog(gateway) as page:
            await expect(page.locator("#total")).to_have_text("Loading…")
            await take_screenshot(page, "catalog-loading")


async def test_a_stale_list_says_its_age() -> None:
    clock = [1_000_000_000.0]
    cache = CacheSettings(lists=60, stale=3600, stale_on_error=7200)
    async with twins.serving(corpus=twins.Corpus(60, mlflow_models=30)) as twin:
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        async with served(settings(*registries, cache=cache), lambda: clock[0]) as gateway, catalog(gateway) as page:
            await total(page)
            twin.faults.replace({name: {"status": 503} for name in ("ListModels", "userList", "presetList")})
            clock[0] += 180
            await page.reload()
            await expect(coverage(page)).to_contain_text("pai: 3 minutes old")
            await take_screenshot(page, "catalog-stale")


async def test_a_page_that_fails_is_tried_again_by_a_click_only(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?registries=mlflow") as page:
        await total(page)
        requests = []

        async def fail(route: Any) -> None:
            requests.append(route.request)
            await route.fulfill(json={"data": {"models": None}, "errors": [{"message": "It failed."}]})

        await page.route("**/graphql", fail)
        await page.mouse.wheel(0, 10_000)
        await expect(page.get_by_role("alert")).to_contain_text("It failed.")
        retry = page.get_by_role("button", name="Try again")
        await retry.scroll_into_view_if_needed()
        await expect(retry).to_be_in_viewport()
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert len(requests) == 1
        shown = await models(page).count()
        await page.unroute("**/graphql")
        await retry.click()
        await expect(models(page).nth(shown)).to_be_attached()


async def test_a_link_with_an_unknown_value_offers_the_whole_list(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?registries=nope") as page:
        await expect(page.locator("#total")).to_have_text("No models could be loaded")
        await expect(models(page)).to_have_count(0)
        await page.get_by_role("link", name="Show all models").click()
        assert await total(page) == 307


async def test_a_failing_search_leaves_no_rows_of_the_one_before(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?registries=pai") as page:
        await total(page)
        await page.get_by_role("searchbox").fill("z" * 300)
        await expect(page.locator("#total")).to_have_text("No models could be loaded")
        await expect(models(page)).to_have_count(0)
        await expect(coverage(page).locator("li")).to_have_count(0)
        await page.get_by_role("searchbox").fill("")
        await expect(models(page).first).to_be_visible()


async def test_a_selected_word_in_another_case_is_the_value_of_the_facet(gateway: Client) -> None:
    async with catalog(gateway, "/catalog?types=lora&providers=huggingface") as page:
        choice = page.get_by_role("checkbox", name=re.compile("lora", re.IGNORECASE))
        await expect(choice).to_have_count(1)
        await expect(choice).to_be_checked()
        selected = page.locator("label", has=page.get_by_role("checkbox", name="huggingface"))
        await expect(selected.locator("output")).not_to_have_text(re.compile(r"^0"))
        await choice.uncheck()
        await expect(page).to_have_url(re.compile(r"catalog\?providers=huggingface$"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 400, "error": "InvalidParameter"}, "The versions could not be loaded."),
        ({"body": '{"RequestId": "1", "TotalCount": 9, "Versions": []}'}, "The list is incomplete."),
    ],
)
async def test_versions_that_are_missing_are_not_said_to_be_none(fault: dict[str, Any], said: str) -> None:
    async with twins.serving(models=30) as twin:
        twin.faults.replace({"ListModelVersions": fault})
        async with served(settings(pai(twin.url))) as gateway:
            model = (await gateway.query("{ models(first: 1) { nodes { id } } }")).data["models"]["nodes"][0]["id"]
            async with catalog(gateway, f"/catalog?model={quote(model)}") as page:
                await expect(page.locator("#detail")).to_contain_text(said)
                await expect(page.get_by_text("There are none.")).to_have_count(0)


@pytest.mark.parametrize("screen", SCREENS)
async def test_both_views_fit_the_screen_and_are_accessible(gateway: Client, screen: str) -> None:
    axe = (installed(Path(__file__).parent) / "node_modules" / "axe-core" / "axe.min.js").read_text()
    async with catalog(gateway, **SCREENS[screen]) as page:
        await expect(models(page).first).to_be_visible()
        await take_screenshot(page, f"catalog-{screen}")
        assert await violations(page, axe) == []
        await models(page).first.get_by_role("link").click()
        await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
        await take_screenshot(page, f"catalog-{screen}-detail")
        assert await violations(page, axe) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_filters_of_a_phone_unfold_above_the_list(gateway: Client) -> None:
    async with catalog(gateway, **PHONE) as page:
        choice = page.get_by_role("checkbox", name="mlflow")
        await expect(models(page).first).to_be_visible()
        await expect(choice).to_be_hidden()
        await page.get_by_text("Filters").tap()
        await choice.tap()
        await expect(page.locator("#total")).to_have_text("100 models")
        await expect(choice).to_be_checked()


async def violations(page: Page, axe: str) -> list[str]:
    """Return the serious problems that axe finds."""
    await page.evaluate(f"{axe}; null")
    found = json.loads(await page.evaluate("axe.run().then(({violations}) => JSON.stringify(violations))"))
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
