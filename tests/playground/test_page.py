"""The playground's page, its assets and examples, and the redirect to it."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from graphql import OperationDefinitionNode, parse, validate

from gateway import __version__
from gateway.config.settings import ServerSettings
from gateway.http.playground import EXAMPLES
from gateway.schema.schema import GRAPHQL_SCHEMA
from tests.conftest import World, served, settings

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CURL = {"Accept": "*/*"}


class Tags(HTMLParser):
    """Collects every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.usefixtures("files")
async def test_the_page_loads_only_files_of_the_gateway_that_browsers_verify(world: World) -> None:
    page = await world.gateway.request("GET", "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    tags = Tags(page.body).found
    sources = [source for _, tag in tags if (source := tag.get("src") or tag.get("href"))]
    assert len(sources) == 10
    assert all(re.fullmatch(r"assets/[0-9a-f]{12}-[a-z.-]+\.(js|css|svg)", source) for source in sources)
    for tag in [tag for kind, tag in tags if kind in ("script", "link") and tag.get("rel") != "icon"]:
        async with world.gateway.session.get(f"{world.gateway.url}/{tag.get('src') or tag['href']}") as answer:
            digest = sha256(await answer.read()).digest()
            assert tag["integrity"] == f"sha256-{b64encode(digest).decode()}"
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("files")
async def test_the_page_follows_a_strict_content_security_policy(world: World) -> None:
    page = await world.gateway.request("GET", "/")
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    for kind, tag in Tags(page.body).found:
        assert kind != "script" or tag.get("src"), "the page has no inline script"
        assert not [name for name in tag if name.startswith("on") or name == "style"]


@pytest.mark.usefixtures("files")
async def test_large_files_are_compressed_for_clients_that_accept_it(world: World) -> None:
    page = await world.gateway.request("GET", "/")
    path = re.search(r"assets/\w+-graphiql\.min\.js", page.body)
    assert path
    for accepted, encoding in (("gzip", "gzip"), ("identity", None)):
        answer = await world.gateway.request("GET", f"/{path[0]}", headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == encoding


@pytest.mark.parametrize("path", ["/assets/none.js", "/assets/..%2F__init__.py", "/assets/%2Fetc%2Fpasswd"])
async def test_no_other_file_is_served(world: World, path: str) -> None:
    assert (await world.gateway.request("GET", path)).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_that_opens_graphql_is_redirected_to_the_page(world: World, method: str) -> None:
    answer = await world.gateway.request(method, headers=BROWSER, allow_redirects=False)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    assert answer.headers["vary"] == "Accept"
    assert (await world.gateway.request(method, headers=BROWSER)).headers["content-type"].startswith("text/html")


async def test_a_browser_that_sends_an_operation_gets_its_response(world: World) -> None:
    params = {"query": "{ registries { name } }"}
    data = {"registries": [{"name": "pai"}, {"name": "qianfan"}]}
    assert (await world.gateway.request("GET", params=params, headers=BROWSER)).data == data
    assert (await world.gateway.request("POST", json=params, headers=BROWSER)).data == data
    assert (await world.gateway.request("GET", params={"extensions": "{}"}, headers=BROWSER)).codes == ["BAD_REQUEST"]
    assert (await world.gateway.request("GET", headers=CURL, allow_redirects=False)).codes == ["BAD_REQUEST"]


async def test_in_production_there_is_no_playground() -> None:
    async with served(settings(server=ServerSettings(profile="production"))) as gateway:
        assert (await gateway.request("GET", "/")).status == 404
        assert (await gateway.request("GET", headers=BROWSER, allow_redirects=False)).codes == ["BAD_REQUEST"]


def test_every_entity_and_every_kind_of_request_has_an_example() -> None:
    assert [name(example) for example in EXAMPLES] == [
        "Models",
        "FilterAndSearch",
        "Pages",
        "Facets",
        "Model",
        "ModelVersion",
        "Algorithms",
        "AlgorithmVersion",
        "Registries",
        "Entities",
        "Deferred",
        "Watch",
    ]


def name(example: str) -> str:
    (operation,) = parse(example).definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert operation.name
    return operation.name.value


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
async def test_every_example_has_a_comment_and_a_result(world: World, example: str) -> None:
    assert example.startswith("# ")
    assert validate(GRAPHQL_SCHEMA, parse(example)) == []
    if "subscription" not in example:  # the tests in a browser run it
        (answer,) = (await world.gateway.query(example)).data.values()
        assert answer


async def test_the_title_has_the_version(world: World) -> None:
    page = await world.gateway.request("GET", "/")
    assert f"<title>Playground – registry gateway {__version__}</title>" in page.body
