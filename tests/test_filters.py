"""Filters of lists by several values, by words and labels, by the newest version, and the search, over HTTP."""

import itertools
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from gateway import twins
from gateway.twins import Corpus
from tests.conftest import World, mlflow, served, settings
from tests.test_pages import PAGE, Row, clouds_of, names_of, walk

FIELDS = """id nativeId registryName name description ownership type domain task origin provider labels { key value }
  latestVersion { framework format readiness approval createdAt }"""


def latest(row: Row, name: str) -> Any:
    return row["latestVersion"] and row["latestVersion"][name]


def has(row: Row, key: str, value: str | None = None) -> bool:
    return any(label["key"] == key and value in (None, label["value"]) for label in row["labels"] or ())


def is_found(row: Row, *words: str) -> bool:
    labels = [text for label in row["labels"] or () for text in label.values()]
    texts = [text.casefold() for text in (row["name"], row["description"], row["nativeId"], *labels) if text]
    return all(any(word in text for text in texts) for word in words)


FILTERS: list[tuple[Row, Callable[[Row], bool]]] = [
    ({"types": ["LoRA", "text2image"]}, lambda row: row["type"] in ("LoRA", "Text2Image")),
    ({"types": ["Text2Text", "TextRepresentation"]}, lambda row: row["type"] in ("Text2Text", "TextRepresentation")),
    ({"types": ["checkpoint"]}, lambda row: row["type"] == "Checkpoint"),
    ({"types": ["Adapter"]}, lambda row: row["type"] == "Adapter"),
    ({"type": "text2text"}, lambda row: row["type"] == "Text2Text"),
    ({"type": "TEXTREPRESENTATION"}, lambda row: row["type"] == "TextRepresentation"),
    ({"type": "lora"}, lambda row: row["type"] == "LoRA"),
    ({"domain": "NLP"}, lambda row: row["domain"] == "nlp"),
    ({"domains": ["CV", "audio"]}, lambda row: row["domain"] in ("cv", "audio")),
    ({"task": "Chat"}, lambda row: row["task"] == "chat"),
    ({"tasks": ["chat", "translation"]}, lambda row: row["task"] in ("chat", "translation")),
    ({"origin": "modelscope"}, lambda row: row["origin"] == "ModelScope"),
    ({"origins": ["CIVITAI", "HuggingFace"]}, lambda row: row["origin"] in ("Civitai", "HuggingFace")),
    ({"provider": "PAI"}, lambda row: row["provider"] == "pai"),
    ({"providers": ["PAI", "pai"]}, lambda row: row["provider"] == "pai"),
    ({"frameworks": ["PYTORCH", "KERAS"]}, lambda row: latest(row, "framework") in ("PYTORCH", "KERAS")),
    ({"formats": ["ONNX", "PMML"]}, lambda row: latest(row, "format") in ("ONNX", "PMML")),
    ({"readinesses": ["FAILED", "CREATING"]}, lambda row: latest(row, "readiness") in ("FAILED", "CREATING")),
    ({"approvals": ["APPROVED", "REJECTED"]}, lambda row: latest(row, "approval") in ("APPROVED", "REJECTED")),
    ({"type": "LoRA", "types": ["Checkpoint"]}, lambda row: False),
    ({"labels": {"allOf": [{"key": "team"}, {"key": "env", "value": "prod"}]}},
     lambda row: has(row, "team") and has(row, "env", "prod")),
    ({"labels": {"anyOf": [{"key": "team", "value": "search"}, {"key": "demo"}]}},
     lambda row: has(row, "team", "search") or has(row, "demo")),
    ({"labels": {"anyOf": [{"key": "env"}]}}, lambda row: has(row, "env")),
    ({"labels": {"allOf": [{"key": "team"}], "anyOf": [{"key": "env"}, {"key": "owner"}]}},
     lambda row: has(row, "team") and (has(row, "env") or has(row, "owner"))),
    ({"latestVersionCreatedAt": {"from": "2024-01-01T00:00:00Z"}},
     lambda row: (latest(row, "createdAt") or "") >= "2024-01-01"),
    ({"search": "qwen instruct"}, lambda row: is_found(row, "qwen", "instruct")),
    ({"search": "  INSTRUCT\u3000Qwen\n"}, lambda row: is_found(row, "qwen", "instruct")),
    ({"search": "fine-tuned in-house"}, lambda row: is_found(row, "fine-tuned", "in-house")),
    ({"search": "客服"}, lambda row: is_found(row, "客服")),
    ({"search": "team prod bert"}, lambda row: is_found(row, "team", "prod", "bert")),
    ({"search": "am-s2h14pyqa96d"}, lambda row: is_found(row, "am-s2h14pyqa96d")),
    ({"search": "qianfan:model/ erni"}, lambda row: False),
    ({"search": "model"}, lambda row: is_found(row, "model")),
    ({"search": "qianfan"}, lambda row: is_found(row, "qianfan")),
    ({"search": ""}, lambda row: True),
    ({"search": " \t\u3000"}, lambda row: True),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "passes"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
async def test_a_filter_returns_exactly_the_rows_that_pass(
    world: World, wanted: Row, passes: Callable[[Row], bool]
) -> None:
    all_rows = await walk(world.gateway, FIELDS, 100)
    expected = [row["id"] for row in all_rows if passes(row)]
    assert [row["id"] for row in await walk(world.gateway, "id", 9, filter=wanted)] == expected
    page = (await world.gateway.query(PAGE % "id", first=100, filter=wanted)).data["models"]
    assert page["totalCount"] in (None, len(expected))
    assert {coverage["state"] for coverage in page["coverage"]} == {"COMPLETE"}


ORDERS = ["NAME", "LATEST_VERSION_CREATED_AT", "CREATED_AT"]
OTHER_VALUES: list[Row] = [
    {"ownership": "PLATFORM"},
    {"ownership": "OWN"},
    {"registries": ["qianfan"]},
    {"registries": ["pai"]},
    {"kinds": ["PAI"]},
    {"provider": "huggingface"},
    {"providers": ["pai", "huggingface"]},
    {"nameContains": "bert"},
    {"nameContains": "qwen"},
    {"label": {"key": "team"}},
    {"label": {"key": "env", "value": "prod"}},
    {"createdAt": {"from": "2024-01-01T00:00:00Z"}},
    {"createdAt": {"from": "2024-06-01T00:00:00Z", "to": "2025-06-01T00:00:00Z"}},
]


async def test_a_document_with_new_values_is_answered_and_planned_like_a_new_document(world: World) -> None:
    """What is cached with the fields of a document depends on all values that matter, whichever came before."""
    repeated = PAGE % "id"
    every_order: list[Row] = [{}] * 2 * len(ORDERS)
    for at, wanted in enumerate([wanted for wanted, _ in FILTERS] + OTHER_VALUES + every_order):
        for mode in "only", "include":
            answers = []
            for text in repeated, repeated.replace("query (", f"query New{at}{mode} (", 1):
                order = {"field": ORDERS[at % len(ORDERS)], "direction": "ASC"}
                variables = {"first": 7, "filter": wanted, "orderBy": order}
                answer = await world.gateway.request(
                    "POST", json={"query": text, "variables": variables}, headers={"x-gateway-plan": mode}
                )
                for call in answer.body["extensions"].get("calls", ()):
                    call |= {"startedAfter": 0, "milliseconds": 0, "state": ""}
                answers.append(answer.body)
            assert answers[0] == answers[1], wanted


async def test_several_providers_are_lists_of_their_own() -> None:
    """PAI returns the public models of one provider only."""
    async with clouds_of(Corpus(300)) as world:
        by_provider = [
            await walk(world.gateway, "id provider", filter={"provider": provider})
            for provider in ("pai", "huggingface")
        ]
        assert all(by_provider)
        both = await walk(world.gateway, "id provider", 7, filter={"providers": ["huggingface", "PAI", "pai"]})
        assert len(both) == len({row["id"] for row in both}) == sum(map(len, by_provider))
        assert {row["provider"] for row in both} == {"pai", "huggingface"}
        world.calls()
        page = await world.gateway.query(PAGE % "id", first=5, filter={"providers": ["huggingface", "PAI", "pai"]})
        assert page.data["models"]["totalCount"] == len(both)
        assert world.calls() == {"ListModels": 2}


@pytest.mark.parametrize(
    "wanted",
    [
        {"types": []},
        {"types": [""]},
        {"frameworks": []},
        {"labels": {}},
        {"labels": {"allOf": []}},
        {"labels": {"anyOf": [], "allOf": [{"key": "a"}]}},
        {"types": ["x" * 257]},
        {"types": [f"t{number}" for number in range(101)]},
        {"labels": {"anyOf": [{"key": "k" * 257}]}},
        {"search": "x" * 257},
        {"latestVersionCreatedAt": {"from": "2024-02-01T00:00:00Z", "to": "2024-01-01T00:00:00Z"}},
    ],
    ids=str,
)
async def test_an_empty_or_too_long_filter_is_refused_without_a_call(world: World, wanted: Row) -> None:
    answer = await world.gateway.query(PAGE % "id", first=5, filter=wanted)
    assert answer.codes == ["BAD_USER_INPUT"]
    assert world.calls() == {}


# Search

FORMS = ("caf\u00e9", "cafe\u0301", "CAF\u00c9", "\uff43\uff41\uff46\u00e9", "\ufb01ne", "FINE", "\u0130zmir", "izmir",
         "I\u0307ZMIR", "\u0131zmir", "STRASSE", "stra\u00dfe", "\u212bngstr\u00f6m", "\u2460", "x")  # fmt: skip


def alike(one: str, other: str) -> bool:
    """Whether texts are equal but for case, composition and compatible forms, in an independent way."""

    def plain(text: str) -> str:
        return unicodedata.normalize(
            "NFKD", text.replace("\u0130", "i").replace("\u0131", "i").lower().replace("ß", "ss")
        )

    return plain(one).replace("i\u0307", "i") == plain(other).replace("i\u0307", "i")


@pytest.mark.parametrize("name", FORMS)
async def test_a_search_finds_a_word_in_all_of_its_forms(name: str) -> None:
    corpus = Corpus(0, references=False)
    for number, form in enumerate(FORMS):
        created = f"2024-01-{number + 1:02}T00:00:00Z"
        corpus.pai_models.insert({"ModelId": f"model-q{number}", "ModelName": f"{form}$", "GmtCreateTime": created})
    async with clouds_of(corpus) as world:
        for wanted in (name + "$", f"model-q {name}$"):
            found = names_of(await walk(world.gateway, "id name", filter={"search": wanted}))
            assert found == sorted(f"{form}$" for form in FORMS if alike(form, name)), wanted


async def test_a_search_looks_for_the_id_in_the_registry_and_not_for_the_form_of_global_ids() -> None:
    names = ("春 tea 50%", "churn v20", "plain")
    corpus = Corpus(0, references=False)
    for name in names:
        corpus.mlflow_models.insert({"name": name, "creation_timestamp": 1})
    async with twins.serving(corpus=corpus) as twin, served(settings(mlflow(twin.url))) as gateway:
        query = """query ($search: String) { models(filter: {search: $search}) {
          nodes { nativeId } facets(fields: [REGISTRY]) { exact values { count } } } }"""
        for words, found in (
            ("model", []),
            ("mlflow", []),
            (":", []),
            ("%20", []),
            ("%", names[:1]),
            ("50% 春", names[:1]),
            ("churn v", names[1:2]),
            ("2", names[1:2]),
            ("plain", names[2:]),
        ):
            page = (await gateway.query(query, search=words)).data["models"]
            assert [row["nativeId"] for row in page["nodes"]] == [*found], words
            assert page["facets"] == [{"exact": True, "values": [{"count": 1}] if found else []}], words


async def test_a_search_for_the_name_of_the_registry_finds_no_object_of_it() -> None:
    corpus = Corpus(0, references=False)
    corpus.pai_models.insert({"ModelId": "model-q1", "ModelName": "x", "GmtCreateTime": "2024-01-01T00:00:00Z"})
    corpus.pai_models.insert({"ModelId": "llm-2", "ModelName": "y", "GmtCreateTime": "2024-01-02T00:00:00Z"})
    async with clouds_of(corpus) as world:
        for words, found in (("pai", []), ("model", ["x"]), ("LLM-2", ["y"]), ("-", ["y", "x"])):
            rows = await walk(world.gateway, "name", filter={"search": words, "registries": ["pai"]})
            assert [row["name"] for row in rows] == found, words


async def test_algorithms_are_found_by_words_and_providers(world: World) -> None:
    text = """query ($filter: AlgorithmFilter) { algorithms(first: 100, filter: $filter) {
      nodes { id nativeId name displayName description provider } } }"""
    rows = (await world.gateway.query(text)).data["algorithms"]["nodes"]

    def texts(row: Row) -> str:
        return "\n".join(row[name] or "" for name in ("nativeId", "name", "displayName", "description")).lower()

    for wanted, passes in (
        ({"search": "LoRA ernie"}, lambda row: "lora" in texts(row) and "ernie" in texts(row)),
        ({"search": rows[0]["nativeId"].upper()}, lambda row: rows[0]["nativeId"].lower() in texts(row)),
        ({"search": ""}, lambda row: True),
        ({"provider": "PAI"}, lambda row: row["provider"] == "pai"),
        ({"providers": ["pai"]}, lambda row: row["provider"] == "pai"),
    ):
        found = (await world.gateway.query(text, filter=wanted)).data["algorithms"]["nodes"]
        assert found == [row for row in rows if passes(row)], wanted
        assert found, wanted


# Versions


async def test_versions_are_filtered_by_several_values_and_labels(world: World) -> None:
    text = """query ($filter: ModelVersionFilter) { model(id: "pai:model/model-rbvg5wzljzjhc9ks92") {
      versions(filter: $filter) { nodes { name } } } }"""
    for wanted, names in (
        ({"approvals": ["APPROVED", "PENDING"]}, ["0.2.0", "0.1.0"]),
        ({"approvals": ["APPROVED"]}, ["0.2.0"]),
        ({"frameworks": ["PYTORCH", "TENSORFLOW"], "formats": ["SAVED_MODEL"]}, ["0.2.0"]),
        ({"sourceTypes": ["CUSTOM", "IMPORT"]}, ["0.1.0"]),
        ({"labels": {"anyOf": [{"key": "env", "value": "test"}, {"key": "nothing"}]}}, ["0.2.0"]),
        ({"labels": {"allOf": [{"key": "env", "value": "test"}, {"key": "nothing"}]}}, []),
        ({"readinesses": ["READY", "FAILED"]}, []),
    ):
        versions = (await world.gateway.query(text, filter=wanted)).data["model"]["versions"]
        found = [version["name"] for version in versions["nodes"]]
        assert [name for name in found if name in ("0.2.0", "0.1.0")] == names, wanted


# The newest version

ORDERED = {"field": "LATEST_VERSION_CREATED_AT"}


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_models_are_sorted_by_the_creation_of_their_newest_version(
    world: World, direction: str, first: int
) -> None:
    rows = await walk(world.gateway, FIELDS, first, orderBy={**ORDERED, "direction": direction})
    assert len(rows) == len({row["id"] for row in rows}) == 207
    times = [latest(row, "createdAt") for row in rows]
    dated = [time.rstrip("Z") for time in itertools.takewhile(bool, times)]
    assert len(dated) > 100
    assert not any(times[len(dated) :])
    assert dated == sorted(dated, reverse=direction == "DESC")


async def test_the_newest_versions_are_free_where_list_rows_have_them() -> None:
    async with twins.serving(corpus=Corpus(0, mlflow_models=60)) as twin, served(settings(mlflow(twin.url))) as gateway:
        page = await gateway.query(PAGE % "id", first=5, orderBy={**ORDERED, "direction": "DESC"})
        assert len(page.data["models"]["nodes"]) == 5
        assert twin.calls == {"SearchRegisteredModels": 1}
    async with clouds_of(Corpus(60)) as world:
        wanted = {"latestVersionCreatedAt": {"from": "2020-01-01T00:00:00Z"}}
        for registry, ownership, calls in (
            ("pai", "OWN", {"ListModels": 1}),
            ("pai", "PLATFORM", {"ListModels": 1}),
        ):
            where = {"registries": [registry], "ownership": ownership}
            await world.gateway.query(PAGE % "id", first=50, filter={**wanted, **where})
            assert world.calls() == calls
            await world.gateway.query(PAGE % "id", first=5, filter=where, orderBy={**ORDERED, "direction": "ASC"})
            assert world.calls() == calls
