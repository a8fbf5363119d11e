"""Facets of lists: counts over the filter without the field's own conditions, in one pass over the cached pages."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from graphql import parse, validate
from hypothesis import Phase, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import twins
from gateway.config.settings import CacheSettings, CatalogSettings, LimitsSettings
from gateway.twins import Corpus, Twins
from tests.catalog.clouds import FakeClouds
from tests.catalog.test_cost import FILTERS, calls_made, estimated
from tests.catalog.test_selection_property import GRAPH, slow
from tests.conftest import Client, mlflow, pai, qianfan, served, settings, two_clouds
from tests.subscriptions.conftest import eventually
from tests.test_pages import Row, clouds_of

MODEL_FIELDS = ("REGISTRY", "KIND", "OWNERSHIP", "TYPE", "DOMAIN", "TASK", "FRAMEWORK", "FORMAT", "PROVIDER", "ORIGIN",
                "LABEL_KEY", "APPROVAL", "READINESS")  # fmt: skip

FACETS = """query ($fields: [ModelFacetField!]!, $first: Int, $filter: ModelFilter) {
  models(first: 5, filter: $filter) {
    facets(fields: $fields, first: $first) { field exact values { value count } } } }"""
ROWS = """query ($after: String, $filter: ModelFilter) { models(first: 100, after: $after, filter: $filter) {
  nodes { id registry { name kind } ownership type domain task provider origin labels { key }
    latestVersion { framework format approval readiness } } pageInfo { hasNextPage endCursor } } }"""


def values_of(row: Row, field: str) -> list[str]:
    """Return the values of a row in a facet."""
    if field in ("REGISTRY", "KIND"):
        return [row["registry"]["name" if field == "REGISTRY" else "kind"]]
    if field == "LABEL_KEY":
        return sorted({label["key"] for label in row["labels"] or ()})
    of_version = field in ("FRAMEWORK", "FORMAT", "APPROVAL", "READINESS")
    value = (row["latestVersion"] or {}).get(field.lower()) if of_version else row[field.lower()]
    return [] if value is None else [value]


OWN: dict[str, tuple[str, ...]] = {
    "REGISTRY": ("registries",),
    "KIND": ("kinds",),
    "OWNERSHIP": ("ownership",),
    "TYPE": ("type", "types"),
    "DOMAIN": ("domain", "domains"),
    "TASK": ("task", "tasks"),
    "FRAMEWORK": ("framework", "frameworks"),
    "FORMAT": ("format", "formats"),
    "PROVIDER": ("provider", "providers"),
    "ORIGIN": ("origin", "origins"),
    "LABEL_KEY": ("label", "labels"),
    "APPROVAL": ("approval", "approvals"),
    "READINESS": ("readiness", "readinesses"),
}


async def rows_of(gateway: Client, wanted: Row) -> list[Row]:
    rows: list[Row] = []
    after = None
    while True:
        page = (await gateway.query(ROWS, after=after, filter=wanted)).data["models"]
        rows += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return rows


async def counted(gateway: Client, field: str, wanted: Row) -> dict[str, int]:
    """Count the values of a field in all rows that match a filter without the conditions on the field."""
    rest = {name: value for name, value in wanted.items() if name not in OWN[field]}
    filters = [rest]
    if field == "PROVIDER":  # PAI lists the models of other providers only where a filter selects them
        filters += [{**rest, name: value} for name, value in wanted.items() if name in OWN[field]]
    rows = {row["id"]: row for one in filters for row in await rows_of(gateway, one)}
    return dict(Counter(value for row in rows.values() for value in values_of(row, field)))


async def facets(gateway: Client, *fields: str, first: int | None = None, **wanted: Any) -> dict[str, Row]:
    answer = await gateway.query(FACETS, fields=fields, first=first, filter=wanted)
    assert answer.codes == [], answer.body
    return {facet["field"]: facet for facet in answer.data["models"]["facets"]}


def counts(facet: Row) -> dict[str, int]:
    return {value["value"]: value["count"] for value in facet["values"]}


@asynccontextmanager
async def three_kinds(models: int = 80, **sections: Any) -> AsyncIterator[tuple[Twins, Client]]:
    """Serve a gateway over twins of PAI, Qianfan and MLflow in one process."""
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=Corpus(models, mlflow_models=40)))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        sections = {"limits": LimitsSettings(calls=10_000), "cache": CacheSettings(), **sections}
        yield twin, await stack.enter_async_context(served(settings(*registries, **sections)))


WANTED: list[Row] = [
    {},
    {"types": ["LoRA", "text2text"]},
    {"type": "Checkpoint", "domains": ["nlp", "llm"]},
    {"ownership": "PLATFORM"},
    {"ownership": "OWN", "origin": "modelscope"},
    {"kinds": ["PAI"], "frameworks": ["PYTORCH", "TENSORFLOW"]},
    {"registries": ["pai"], "approval": "APPROVED", "provider": "pai"},
    {"registries": ["pai"], "providers": ["pai", "huggingface"]},
    {"registries": ["pai", "mlflow"], "search": "team"},
    {"registries": ["pai", "mlflow"], "labels": {"anyOf": [{"key": "team"}, {"key": "env"}]}},
    {"nameContains": "qwen"},
    {"search": "qwen"},
    {"createdAt": {"from": "2024-02-01T00:00:00Z"}, "kinds": ["PAI", "MLFLOW"]},
    {"workspaceId": "23456", "types": ["LoRA"]},
    {"ownership": "OWN"},
    {"kinds": ["QIANFAN"]},
    {"kinds": ["MLFLOW"], "nameContains": "e"},
    {"registries": ["qianfan", "mlflow"], "search": "qwen"},
]


async def test_exact_facets_are_equal_to_counting_all_rows() -> None:
    exact = Counter[str]()
    async with three_kinds() as (_, gateway):
        for wanted in WANTED:
            found = await facets(gateway, *MODEL_FIELDS, **wanted)
            assert list(found) == list(MODEL_FIELDS)
            for field, facet in found.items():
                expected = await counted(gateway, field, wanted)
                listed = [(-value["count"], value["value"]) for value in facet["values"]]
                assert listed == sorted(listed)
                if facet["exact"]:
                    assert counts(facet) == expected, (wanted, field)
                    exact[field] += 1
                else:
                    assert all(count <= expected[value] for value, count in counts(facet).items()), (wanted, field)
    assert min(exact[field] for field in MODEL_FIELDS) >= 4, exact


async def test_a_facet_is_exact_only_if_all_rows_have_the_value_or_never_do() -> None:
    async with three_kinds() as (_, gateway):
        found = await facets(gateway, "FRAMEWORK", "TYPE", "LABEL_KEY")
        assert [facet["exact"] for facet in found.values()] == [False, True, False]  # Qianfan lists neither
        found = await facets(gateway, "FRAMEWORK", "LABEL_KEY", kinds=["PAI", "MLFLOW"])
        assert all(facet["exact"] for facet in found.values())
        found = await facets(gateway, "TYPE", "FRAMEWORK", framework="PYTORCH", kinds=["QIANFAN"])
        assert not found["TYPE"]["exact"]


async def test_the_providers_of_a_filter_are_among_the_values_of_their_facet() -> None:
    """PAI lists the public models of one provider only, so nobody knows all providers."""
    async with clouds_of(Corpus(300)) as world:
        rows = {
            provider: len(await rows_of(world.gateway, {"provider": provider, "ownership": "PLATFORM"}))
            for provider in ("pai", "huggingface", "modelscope")
        }
        assert rows["pai"]
        assert rows["huggingface"]
        for wanted, providers in (
            ({}, ["pai"]),
            ({"provider": "PAI"}, ["pai"]),
            ({"provider": "huggingface"}, ["pai", "huggingface"]),
            ({"providers": ["huggingface", "modelscope"]}, ["pai", "huggingface", "modelscope"]),
            ({"provider": "huggingface", "providers": ["huggingface", "pai"]}, ["pai", "huggingface"]),
        ):
            facet = (await facets(world.gateway, "PROVIDER", registries=["pai"], **wanted))["PROVIDER"]
            assert counts(facet) == {name: rows[name] for name in providers if rows[name]}, wanted
            assert not facet["exact"], wanted
        found = await facets(world.gateway, "PROVIDER", registries=["pai"], ownership="OWN")
        assert found["PROVIDER"]["exact"]
        found = await facets(world.gateway, "TYPE", registries=["pai"], provider="huggingface")
        assert found["TYPE"]["exact"]


async def test_facets_of_20_000_models_cost_the_pages_once_and_then_nothing() -> None:
    corpus = Corpus(0, references=False, mlflow_models=20_000)
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=corpus))
        catalog = CatalogSettings(scan_rows=100_000, deadline=600)
        cache = CacheSettings(megabytes=1_000, lists=3600)
        gateway_settings = settings(mlflow(twin.url, timeout=100.0), catalog=catalog, cache=cache)
        gateway = await stack.enter_async_context(served(gateway_settings))
        found = await facets(gateway, "READINESS", "LABEL_KEY", "REGISTRY")
        assert counts(found["REGISTRY"]) == {"mlflow": 20_000}
        assert all(facet["exact"] for facet in found.values())
        pages = sum(twin.calls.values())
        assert pages == 20
        for wanted in ({}, {"readiness": "READY"}, {"search": "team"}, {"nameContains": "a", "label": {"key": "team"}}):
            await facets(gateway, "READINESS", "LABEL_KEY", **wanted)
        assert sum(twin.calls.values()) == pages


async def test_facets_of_a_list_that_is_longer_than_a_scan_are_not_exact() -> None:
    async with clouds_of(Corpus(1_000), CatalogSettings(scan_rows=200)) as world:
        found = await facets(world.gateway, "TYPE", "REGISTRY", kinds=["PAI"])
        assert [facet["exact"] for facet in found.values()] == [False, False]
        public = await rows_of(world.gateway, {"registries": ["pai"], "ownership": "PLATFORM"})
        assert counts(found["REGISTRY"]) == {"pai": 200 + len(public)}
        found = await facets(world.gateway, "TYPE", "OWNERSHIP", kinds=["PAI"], ownership="PLATFORM")
        assert [facet["exact"] for facet in found.values()] == [True, False]


async def test_a_failed_registry_is_reported_and_facets_are_not_exact() -> None:
    query = """{ models(first: 3%s) { facets(fields: [REGISTRY, TYPE]) { field exact values { value count } } %s } }"""
    async with clouds_of(Corpus(60)) as world:
        world.qianfan.faults.replace({"*": {"status": 503}})
        answer = await world.gateway.query(query % ("", ""))
        assert answer.codes == ["REGISTRY_UNAVAILABLE"]
        registry, kind = answer.body["data"]["models"]["facets"]
        assert counts(registry).keys() == {"pai"}
        assert (registry["exact"], kind["exact"]) == (False, False)
        answer = await world.gateway.query(query % ("", "coverage { registry { name } state rowsRead error { code } }"))
        assert answer.codes == []
        assert [(one["registry"]["name"], one["state"]) for one in answer.data["models"]["coverage"]] == [
            ("pai", "COMPLETE"),
            ("qianfan", "UNAVAILABLE"),
        ]
        answer = await world.gateway.query(query % (', filter: {registries: ["pai"]}', ""))
        assert [facet["exact"] for facet in answer.body["data"]["models"]["facets"]] == [False, True]
        world.pai.faults.replace({"*": {"status": 503}})
        answer = await world.gateway.query(query % ("", ""))
        assert answer.body["data"] == {"models": None}
        assert answer.codes == ["NO_REGISTRY_ANSWERED"]


async def test_a_failed_registry_that_only_facets_read_is_reported() -> None:
    query = """{ models(first: 3, filter: {registries: ["pai"]}) {
      facets(fields: [REGISTRY]) { exact values { value count } } nodes { registryName } %s } }"""
    shown = "coverage { registry { name } state totalCount rowsRead error { code } }"
    async with clouds_of(Corpus(60)) as world:
        answer = await world.gateway.query(query % shown)
        own, other = answer.data["models"]["coverage"]
        assert own["registry"] == {"name": "pai"}
        [facet] = answer.data["models"]["facets"]
        assert other == {
            "registry": {"name": "qianfan"},
            "state": "COMPLETE",
            "totalCount": 0,
            "rowsRead": counts(facet)["qianfan"],
            "error": None,
        }
        for call, state in (("presetList", "PARTIAL"), ("*", "UNAVAILABLE")):
            world.qianfan.faults.replace({call: {"status": 503}})
            answer = await world.gateway.query(query % "")
            assert answer.codes == ["REGISTRY_UNAVAILABLE"]
            page = answer.body["data"]["models"]
            assert len(page["nodes"]) == 3
            assert not page["facets"][0]["exact"]
            answer = await world.gateway.query(query % shown)
            assert answer.codes == []
            own, other = answer.data["models"]["coverage"]
            assert (own["state"], own["error"]) == ("COMPLETE", None)
            assert (other["registry"]["name"], other["state"]) == ("qianfan", state)
            assert other["error"] == {"code": "REGISTRY_UNAVAILABLE"}


async def test_rows_come_although_all_lists_that_facets_read_fail() -> None:
    """The registry applies the filter to the list, which is cached, but not to those of facets."""
    query = """query ($filter: ModelFilter) { models(first: 3, filter: $filter) {
      facets(fields: [TYPE, OWNERSHIP]) { exact values { count } } %s } }"""
    wanted = {"registries": ["pai"], "type": "LoRA", "ownership": "OWN"}
    shown = "nodes { id } coverage { registry { name } state error { code } }"
    async with three_kinds() as (twin, gateway):
        listed = (await gateway.query(query.replace("TYPE, OWNERSHIP", "") % shown, filter=wanted)).data["models"]
        assert len(listed["nodes"]) == 3
        twin.faults.replace({"*": {"status": 503}})
        answer = await gateway.query(query % "nodes { id }", filter=wanted)
        assert answer.codes == ["REGISTRY_UNAVAILABLE"]
        page = answer.body["data"]["models"]
        assert page["nodes"] == listed["nodes"]
        assert page["facets"] == [{"exact": False, "values": []}] * 2
        answer = await gateway.query(query % shown, filter=wanted)
        assert answer.codes == []
        assert answer.data["models"] == {
            "nodes": listed["nodes"],
            "facets": page["facets"],
            "coverage": [{"registry": {"name": "pai"}, "state": "PARTIAL", "error": {"code": "REGISTRY_UNAVAILABLE"}}],
        }
        assert (await gateway.query(query % "", filter=wanted)).codes == ["NO_REGISTRY_ANSWERED"]


async def test_a_response_with_incomplete_facets_is_not_stored() -> None:
    rows = "nodes { id } coverage { state }"
    query = """query ($filter: ModelFilter) { models(first: 3, filter: $filter) {
      facets(fields: [TYPE]) { exact values { value count } } %s } }"""
    wanted = {"registries": ["pai"], "type": "LoRA", "ownership": "OWN"}
    async with three_kinds() as (twin, gateway):
        await gateway.query(query.replace("TYPE", "") % rows, filter=wanted)
        twin.faults.replace({"*": {"status": 503}})
        failed = await gateway.query(query % rows, filter=wanted)
        assert (failed.codes, failed.headers["cache-control"]) == ([], "no-store")
        twin.faults.clear()
        whole = await gateway.query(query % rows, filter=wanted)
        assert whole.data["models"]["facets"][0]["exact"]
        assert whole.headers["cache-control"] != "no-store"
    async with three_kinds(400, catalog=CatalogSettings(scan_rows=100)) as (_, gateway):
        cut = await gateway.query(query % rows, filter=wanted)
        assert not cut.data["models"]["facets"][0]["exact"]
        assert cut.headers["cache-control"] == "no-store"


async def test_coverage_counts_the_rows_that_facets_read() -> None:
    query = "{ models(first: 1) { facets(fields: [TYPE]) { exact } coverage { rowsRead totalCount } } }"
    async with clouds_of(Corpus(200)) as world:
        for entry in (await world.gateway.query(query)).data["models"]["coverage"]:
            assert entry["rowsRead"] == entry["totalCount"] > 100


async def test_facets_have_the_most_frequent_values_first_and_a_limit() -> None:
    async with clouds_of(Corpus(100)) as world:
        everything = (await facets(world.gateway, "TASK"))["TASK"]
        assert (await facets(world.gateway, "TASK", first=2))["TASK"]["values"] == everything["values"][:2]
        for first in (0, -1):
            answer = await world.gateway.query(FACETS, fields=["TASK"], first=first)
            assert answer.codes == ["BAD_USER_INPUT"]
            assert answer.body["data"]["models"] == {"facets": None}
        assert (await world.gateway.query(FACETS, fields=[])).data["models"] == {"facets": []}


async def test_values_that_differ_in_case_are_one_value() -> None:
    corpus = Corpus(0, references=False)
    for number, spelled in enumerate(("LoRA", "lora", "LoRA", "LORA", "Checkpoint")):
        corpus.pai_models.insert(
            {"ModelId": f"model-{number}", "ModelType": spelled, "GmtCreateTime": f"2024-01-0{number + 1}T00:00:00Z"}
        )
    async with clouds_of(corpus) as world:
        assert counts((await facets(world.gateway, "TYPE", kinds=["PAI"]))["TYPE"]) == {"LoRA": 4, "Checkpoint": 1}


async def test_a_page_and_its_facets_share_their_calls() -> None:
    async with clouds_of(Corpus(200)) as world:
        await world.gateway.query("{ models { nodes { id } facets(fields: [TYPE, DOMAIN, REGISTRY]) { exact } } }")
        pages = {"ListModels": 3, "userList": 2, "presetList": 1}
        assert world.calls() == pages
        aliases = "a: facets(fields: [TYPE]) { exact } b: facets(fields: [DOMAIN]) { exact }"
        await world.gateway.query(f"{{ models {{ {aliases} }} }}")
        assert world.calls() == pages


async def test_a_page_and_its_facets_are_read_at_the_same_time() -> None:
    query = """{ models(first: 3, filter: {registries: ["pai"], type: "LoRA", ownership: OWN}) {
      nodes { id } facets(fields: [TYPE]) { exact } } }"""
    async with two_clouds(60, {"catalog": CatalogSettings(deadline=5)}, timeout=100.0) as world:
        world.pai.faults.replace({"ListModels": {"hang": True}})
        answer = asyncio.create_task(world.gateway.query(query))
        await eventually(lambda: world.pai.calls["ListModels"] == 2 or answer.done())
        assert world.calls() == {"ListModels": 2}
        answer.cancel()
        await asyncio.wait([answer])


async def test_a_page_that_fails_ends_the_calls_of_its_facets() -> None:
    query = """{ models(first: 3, filter: {registries: ["qianfan"], ownership: OWN}) {
      nodes { id } facets(fields: [REGISTRY]) { exact } } }"""
    async with two_clouds(60, {"catalog": CatalogSettings(deadline=600)}, timeout=120.0) as world:
        world.pai.faults.replace({"ListModels": {"hang": True}})
        world.qianfan.faults.replace({"*": {"status": 503}})
        assert (await world.gateway.query(query)).codes == ["NO_REGISTRY_ANSWERED"]


async def test_all_facets_of_a_page_are_read_at_the_same_time() -> None:
    query = """{ models(filter: {registries: ["pai"], ownership: OWN}) {
      a: facets(fields: [REGISTRY]) { exact } b: facets(fields: [OWNERSHIP]) { exact } } }"""
    async with two_clouds(60, {"catalog": CatalogSettings(deadline=5)}, timeout=100.0) as world:
        for cloud in (world.pai, world.qianfan):
            cloud.faults.replace({"*": {"hang": True}})
        answer = asyncio.create_task(world.gateway.query(query))
        await eventually(lambda: (world.pai.calls + world.qianfan.calls).total() == 3 or answer.done())
        assert world.calls() == {"ListModels": 2, "userList": 1}
        answer.cancel()
        await asyncio.wait([answer])


async def test_each_of_several_facets_has_its_own_fields_and_limit() -> None:
    query = """{ models(filter: {types: ["LoRA", "Checkpoint"]}) {
      all: facets(fields: [TASK, TYPE]) { field exact values { value count } }
      task: facets(fields: [TASK, TASK], first: 2) { field exact values { value count } }
      none: facets(fields: []) { field }
      wrong: facets(fields: [DOMAIN], first: 0) { field } } }"""
    async with clouds_of(Corpus(100)) as world:
        alone = [(await facets(world.gateway, name, types=["LoRA", "Checkpoint"]))[name] for name in ("TASK", "TYPE")]
        answer = await world.gateway.query(query)
        assert answer.codes == ["BAD_USER_INPUT"]
        first = [{**alone[0], "values": alone[0]["values"][:2]}]
        assert answer.body["data"]["models"] == {
            "all": alone,
            "task": first,
            "none": [],
            "wrong": None,
        }


async def test_algorithms_have_facets() -> None:
    query = """query ($filter: AlgorithmFilter) { algorithms(first: 100, filter: $filter) {
      nodes { provider registryName }
      facets(fields: [REGISTRY, KIND, PROVIDER]) { field exact values { value count } } } }"""
    async with clouds_of(Corpus(60)) as world:
        page = (await world.gateway.query(query)).data["algorithms"]
        registry, kind, provider = page["facets"]
        assert [facet["exact"] for facet in page["facets"]] == [True, True, False]  # PAI lists one provider's only
        assert counts(kind) == {name.upper(): count for name, count in counts(registry).items()}
        assert counts(registry) == Counter(row["registryName"] for row in page["nodes"])
        assert counts(provider) == Counter(row["provider"] for row in page["nodes"] if row["provider"])
        page = (await world.gateway.query(query, filter={"provider": "PAI"})).data["algorithms"]
        assert page["facets"][2] == provider
        assert counts(page["facets"][0]) == {"pai": len(page["nodes"])}


MORE_FILTERS = ['registries: ["pai"]', 'provider: "PAI"', "format: SAVED_MODEL", 'type: "text2text"', 'search: "am-"']
SELECTION = ROWS.partition("nodes")[2].partition("pageInfo")[0]


@hypothesis_settings(slow, max_examples=60)
@given(
    st.lists(st.sampled_from(MODEL_FIELDS), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from([*FILTERS, *MORE_FILTERS]), unique_by=lambda text: text.partition(":")[0], max_size=3),
)
def test_facets_are_equal_to_counting_all_rows_with_any_filter(fields: list[str], filters: list[str]) -> None:
    async def check() -> None:
        clouds = FakeClouds()
        wanted = f"facets(fields: [{', '.join(fields)}]) {{ field exact values {{ value count }} }}"
        found = await clouds.query(f"{{ models(filter: {{ {', '.join(filters)} }}) {{ {wanted} }} }}")
        assert [facet["field"] for facet in found["models"]["facets"]] == fields
        for facet in found["models"]["facets"]:
            rest = ", ".join(text for text in filters if text.partition(":")[0] not in OWN[facet["field"]])
            listed = await clouds.query(f"{{ models(filter: {{ {rest} }}, first: 100) {{ nodes {SELECTION} }} }}")
            rows = listed["models"]["nodes"]
            expected = Counter(value for row in rows for value in values_of(row, facet["field"]))
            if facet["exact"]:
                assert counts(facet) == expected
            assert all(count <= expected[value] for value, count in counts(facet).items())

    asyncio.run(check())


# Cost


@hypothesis_settings(slow, phases=[Phase.generate], max_examples=60)
@given(
    st.lists(st.sampled_from(MODEL_FIELDS), min_size=1, max_size=4),
    st.lists(st.sampled_from(FILTERS), unique_by=lambda text: text.split(":")[0], max_size=3),
    st.sampled_from(["", "nodes { id }", "totalCount", "nodes { versions { nodes { name } } } coverage { state }"]),
)
def test_facets_cost_no_more_than_estimated(fields: list[str], filters: list[str], more: str) -> None:
    wanted = f"facets(fields: [{', '.join(fields)}]) {{ exact }}"
    document = f"{{ models(filter: {{ {', '.join(filters)} }}) {{ {wanted} {more} }} }}"
    assume(validate(GRAPH, parse(document)) == [])
    assert calls_made(document) <= estimated(document).calls


def test_the_forecast_of_facets_is_the_lists_up_to_the_limit_of_a_scan() -> None:
    all_lists = 4 * 20
    for query, calls in (
        ("{ models { facets(fields: [TYPE]) { exact } } }", all_lists),
        ("{ models { facets(fields: [TYPE, FRAMEWORK, REGISTRY]) { exact } } }", all_lists),
        ("{ models { a: facets(fields: [TYPE]) { exact } b: facets(fields: [KIND]) { exact } } }", all_lists),
        ("{ models { nodes { id } facets(fields: [TYPE]) { exact } } }", all_lists),
        ('{ models(filter: {registries: ["pai"]}) { facets(fields: [TYPE]) { exact } } }', 2 * 20),
        ('{ models(filter: {registries: ["pai"]}) { facets(fields: [REGISTRY]) { exact } } }', all_lists),
        ("{ models(filter: {framework: PYTORCH}) { facets(fields: [FRAMEWORK]) { exact } } }", all_lists),
        ("{ algorithms { facets(fields: [PROVIDER]) { exact } } }", 2 * 20 + 1),
        ("{ models { facets(fields: []) { exact } } }", 0),
    ):
        assert estimated(query).calls == calls, query
