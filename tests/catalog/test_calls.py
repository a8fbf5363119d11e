"""The upstream calls of queries, and which of them are sent at the same time."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.ids import Ref
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import RegistryTimeout
from tests.catalog.clouds import FakeClouds

MODEL_LISTS = ["pai ListModels", "pai ListModels pai", "qianfan userList", "qianfan presetList"]
ALGORITHM_LISTS = ["pai ListAlgorithms", "pai ListAlgorithms pai", "qianfan DescribeFineTuningSupportModels"]


def case(query: str, *calls: str) -> Any:
    return pytest.param(query, calls, id=query)


PAI_MODEL = 'model(id: "pai:model/model-a")'
PAI_VERSION = 'modelVersion(id: "pai:model/model-a/version/0.1.0")'
PAI_ALGORITHM = 'algorithm(id: "pai:algorithm/algo-tune")'
QIANFAN_MODEL = 'model(id: "qianfan:model/am-1")'
QIANFAN_VERSION = 'modelVersion(id: "qianfan:model/am-1/version/amv-11")'

GET_A, LIST_A = "pai GetModel model-a", "pai ListModelVersions model-a"
DETAIL_1, VERSION_11, VERSION_12 = (
    "qianfan modelDetail am-1",
    "qianfan modelVersionDetail amv-11",
    "qianfan modelVersionDetail amv-12",
)

TABLE = [
    # Nothing that needs a registry
    case("{ __typename }"),
    case("{ registries { name kind capabilities status { state } } }"),
    case("{ models { __typename } }"),
    case("{ models { __typename pageInfo { __typename } } }"),
    case("{ nodes(ids: []) { id } }"),
    # A version of an algorithm has the name and provider of its algorithm
    case(
        '{ algorithmVersion(id: "pai:algorithm/algo-tune/version/v1") { name algorithm { id name provider } } }',
        "pai GetAlgorithmVersion algo-tune v1",
    ),
    case(
        '{ algorithmVersion(id: "pai:algorithm/algo-tune/version/v1") { name algorithm { displayName } } }',
        "pai GetAlgorithmVersion algo-tune v1",
        "pai GetAlgorithm algo-tune",
    ),
    # One object of PAI
    case(f"{{ {PAI_MODEL} {{ id registryName }} }}", GET_A),
    case(f"{{ {PAI_MODEL} {{ __typename }} }}", GET_A),
    case(f"{{ {PAI_MODEL} {{ name owner {{ nativeId }} latestVersion {{ framework raw }} raw }} }}", GET_A),
    case(f"{{ {PAI_MODEL} {{ name versions {{ nodes {{ name }} }} }} }}", GET_A, LIST_A),
    case(f"{{ {PAI_MODEL} {{ id versions {{ nodes {{ name model {{ id }} }} }} }} }}", LIST_A),
    case(
        '{ model(id: "pai:model/model-empty") { versions { nodes { id } } } }',
        "pai ListModelVersions model-empty",
        "pai GetModel model-empty",
    ),
    case(f'{{ {PAI_MODEL} {{ version(name: "0.1.0") {{ uri }} }} }}', GET_A, "pai GetModelVersion model-a 0.1.0"),
    case(f"{{ {PAI_MODEL} {{ readiness: latestVersion {{ readiness ioMode }} }} }}", GET_A),
    case(f"{{ {PAI_VERSION} {{ name uri trainingSpec }} }}", "pai GetModelVersion model-a 0.1.0"),
    case(f"{{ {PAI_VERSION} {{ inputSchema }} }}", "pai GetModelVersion model-a 0.1.0"),
    case(f"{{ {PAI_VERSION} {{ model {{ name }} }} }}", "pai GetModelVersion model-a 0.1.0", GET_A),
    # One object of Qianfan
    case(f"{{ {QIANFAN_MODEL} {{ id registryName }} }}", DETAIL_1),
    case(f"{{ {QIANFAN_MODEL} {{ name versions {{ nodes {{ name }} }} latestVersion {{ id }} }} }}", DETAIL_1),
    case(f'{{ {QIANFAN_MODEL} {{ version(name: "2") {{ ioMode }} }} }}', DETAIL_1),
    case(f"{{ {QIANFAN_MODEL} {{ versions {{ nodes {{ inputSchema }} }} }} }}", DETAIL_1, VERSION_11, VERSION_12),
    case(f"{{ {QIANFAN_MODEL} {{ workspaceId task }} }}", DETAIL_1),
    case(f"{{ {QIANFAN_VERSION} {{ name ioMode }} }}", VERSION_11),
    case(f"{{ {QIANFAN_VERSION} {{ inputSchema outputSchema }} }}", VERSION_11),
    case(f"{{ {QIANFAN_VERSION} {{ model {{ id }} }} }}", DETAIL_1),
    case(f"{{ {QIANFAN_VERSION} {{ model {{ name }} }} }}", DETAIL_1),
    case(f"{{ {QIANFAN_VERSION} {{ name readiness model {{ name }} }} }}", DETAIL_1),
    case(f"{{ {QIANFAN_VERSION} {{ inputSchema model {{ name }} }} }}", VERSION_11, DETAIL_1),
    case('{ model(id: "qianfan:model/1") { id name } }', "qianfan modelDetail 1"),
    case('{ model(id: "qianfan:model/1") { latestVersion { model { name } } } }', "qianfan modelDetail 1"),
    # Several root fields
    case(f"{{ {QIANFAN_VERSION} {{ name }} {QIANFAN_MODEL} {{ name }} }}", DETAIL_1),
    case(
        f"""{{ a: {QIANFAN_VERSION} {{ name }}
          b: modelVersion(id: "qianfan:model/am-1/version/amv-12") {{ name }} }}""",
        DETAIL_1,
    ),
    case(f'{{ a: {PAI_MODEL} {{ name }} b: {PAI_MODEL} {{ task }} c: node(id: "pai:model/model-a") {{ id }} }}', GET_A),
    case(
        '{ nodes(ids: ["pai:model/model-a", "qianfan:model/am-1", "pai:model/model-a"]) { id ... on Model { name } } }',
        GET_A,
        DETAIL_1,
    ),
    case(
        f"""{{ {QIANFAN_VERSION} {{ name }} nodes(ids: ["qianfan:model/am-1"]) {{ ... on Model {{ name }} }} }}""",
        DETAIL_1,
    ),
    case(
        f"""{{ {QIANFAN_VERSION} {{ name }}
          _entities(representations: [{{__typename: "Model", id: "qianfan:model/am-1"}}]) {{
            ... on Model {{ name }} }} }}""",
        DETAIL_1,
    ),
    case("{ a: models(first: 1) { totalCount } b: models(first: 3) { nodes { name } } }", *MODEL_LISTS),
    # Lists
    case("{ models(first: 50) { totalCount } }", *MODEL_LISTS),
    case("{ models(first: 1) { nodes { name latestVersion { framework uri } } } }", *MODEL_LISTS),
    case("{ models(first: 2) { nodes { latestVersion { readiness } } } }", *MODEL_LISTS),
    case("{ models(first: 2) { nodes { latestVersion { framework } } } }", *MODEL_LISTS, VERSION_12),
    case('{ models(first: 1) { nodes { version(name: "0.2.0") { name } } } }', *MODEL_LISTS),
    case(
        '{ models(first: 1) { nodes { version(name: "0.1.0") { name } } } }',
        *MODEL_LISTS,
        "pai GetModelVersion model-a 0.1.0",
    ),
    case("{ models(first: 2) { nodes { versions { nodes { name } } } } }", *MODEL_LISTS, LIST_A, DETAIL_1),
    case(
        "{ models(first: 50) { nodes { versions { nodes { name } } } } }",
        *MODEL_LISTS,
        DETAIL_1,
        *(f"pai ListModelVersions model-{name}" for name in ("a", "b", "empty", "public")),
    ),
    case("{ models(first: 2) { edges { cursor node { name } } nodes { id } pageInfo { endCursor } } }", *MODEL_LISTS),
    case("{ algorithms { nodes { name owner { nativeId } raw } } }", *ALGORITHM_LISTS),
    case(
        "{ algorithms { nodes { owner { tenantId } } } }",
        *ALGORITHM_LISTS,
        *(f"pai GetAlgorithm algo-{name}" for name in ("own", "tune", "tuner")),
    ),
    # Algorithms
    case(f"{{ {PAI_ALGORITHM} {{ id }} }}", "pai GetAlgorithm algo-tune"),
    case(
        f"{{ {PAI_ALGORITHM} {{ latestVersion {{ name }} versions {{ nodes {{ name }} }} }} }}",
        "pai ListAlgorithmVersions algo-tune",
    ),
    case(
        f'{{ {PAI_ALGORITHM} {{ name version(name: "v1") {{ spec {{ image }} }} }} }}',
        "pai GetAlgorithm algo-tune",
        "pai GetAlgorithmVersion algo-tune v1",
    ),
    case(
        """{ algorithmVersion(id: "qianfan:algorithm/ERNIE-Lite:SFT:LoRA/version/1") {
          spec { hyperParameters { name } } algorithm { name versions { nodes { name } } } } }""",
        "qianfan DescribeFineTuningSupportModels",
    ),
    case(f"{{ {PAI_MODEL} {{ latestVersion {{ trainedWith {{ name provider version }} }} }} }}", GET_A),
    case(
        f"{{ {PAI_MODEL} {{ latestVersion {{ trainedWith {{ algorithm {{ id name owner {{ nativeId }} }} }} }} }} }}",
        GET_A,
        "pai ListAlgorithms tune pai",
    ),
    case(
        f"{{ {PAI_MODEL} {{ versions {{ nodes {{ trainedWith {{ algorithm {{ id }} }} }} }} }} }}",
        LIST_A,
        "pai ListAlgorithms tune pai",
    ),
    case(
        f"""{{ {PAI_MODEL} {{ latestVersion {{ trainedWith {{
          algorithm {{ name }} algorithmVersion {{ spec {{ image }} }} }} }} }} }}""",
        GET_A,
        "pai ListAlgorithms tune pai",
        "pai GetAlgorithmVersion algo-tune v1",
    ),
    case(f"{{ {QIANFAN_MODEL} {{ latestVersion {{ trainedWith {{ name }} }} }} }}", DETAIL_1),
    case(
        f"{{ {QIANFAN_MODEL} {{ latestVersion {{ trainedWith {{ algorithm {{ name }} }} }} }} }}",
        DETAIL_1,
        "qianfan DescribeFineTuningTask job-12",
        "qianfan DescribeFineTuningSupportModels",
    ),
    # Objects that do not exist
    case('{ model(id: "pai:model/nobody") { id name } }', "pai GetModel nobody"),
    case('{ modelVersion(id: "pai:model/model-a/version/9") { id } }', "pai GetModelVersion model-a 9"),
    case(
        '{ modelVersion(id: "qianfan:model/am-2/version/amv-11") { id } }',
        "qianfan modelVersionDetail amv-11",
        "qianfan modelDetail am-2",
    ),
    # Directives
    case(f"{{ {PAI_MODEL} {{ id versions @skip(if: true) {{ totalCount }} }} }}", GET_A),
    case(f"{{ {PAI_MODEL} @include(if: false) {{ id }} }}"),
]


@pytest.mark.parametrize(("query", "calls"), TABLE)
async def test_a_query_makes_exactly_these_calls(query: str, calls: tuple[str, ...]) -> None:
    clouds = FakeClouds()
    await clouds.query(query)
    assert sorted(clouds.calls) == sorted(calls)


@pytest.mark.parametrize(
    ("document", "variables", "calls"),
    [
        ("query ($n: Int!) { M { versions(first: $n) { totalCount } } }", {"n": 2}, [LIST_A]),
        ("query ($n: Int = 2) { M { versions(first: $n) { totalCount } } }", {}, [LIST_A]),
        ("query ($n: Int) { M { versions(first: $n) { totalCount } } }", {}, [LIST_A]),
        (
            "query ($n: String!) { M { version(name: $n) { uri } } }",
            {"n": "9"},
            [GET_A, "pai GetModelVersion model-a 9"],
        ),
        ("query ($yes: Boolean!) { M { name @include(if: $yes) id } }", {"yes": True}, [GET_A]),
        ("query ($yes: Boolean!) { M { id versions @skip(if: $yes) { totalCount } } }", {"yes": True}, [GET_A]),
        ("query ($yes: Boolean!) { M { id versions @skip(if: $yes) { totalCount } } }", {"yes": False}, [LIST_A]),
        (
            "query ($yes: Boolean!) { M { ... @skip(if: $yes) { name } versions { totalCount } } }",
            {"yes": True},
            [LIST_A],
        ),
    ],
)
async def test_variables_make_the_same_calls_as_literals(
    document: str, variables: dict[str, Any], calls: list[str]
) -> None:
    clouds = FakeClouds()
    await clouds.query(document.replace("M", PAI_MODEL, 1), **variables)
    assert sorted(clouds.calls) == sorted(calls)


@pytest.mark.parametrize(
    "query",
    [
        '{ o: model(id: "pai:model/model-a") { version(name: "a/b") { id } } }',
        '{ o: model(id: "pai:model/model-a") { version(name: "") { id } } }',
        '{ o: algorithm(id: "pai:algorithm/algo-own") { version(name: "..") { id } } }',
        '{ o: algorithm(id: "qianfan:algorithm/ERNIE-Lite:SFT:LoRA") { version(name: "v1") { id } } }',
    ],
)
async def test_a_version_name_that_is_impossible_in_its_registry_is_null_without_a_call(query: str) -> None:
    clouds = FakeClouds()
    assert await clouds.query(query) == {"o": {"version": None}}
    assert not [call for call in clouds.calls if "Version " in call]


@pytest.mark.parametrize(
    "id",
    [
        "aws:model/m1",
        " pai:model/model-a",
        "/pai:model/model-a",
        ":model/model-a",
        "pai:model/..",
        "pai:model/.",
        "pai:model/%20",
        "pai:model/a%2Fb",
        "pai:model/a%0D%0Ab",
        "pai:model/a%3Fb",
        f"pai:model/{'a' * 200}",
        "qianfan:model/model-a",
        "qianfan:model/0",
        "qianfan:model/am-",
        "qianfan:model/am-1%0A",
        f"qianfan:model/{'9' * 30}",
        "pai:algorithm/algo-own",
        "pai:model/model-a/version/0.1.0",
        "pai:model/model-a/version/..",
        "pai:model/model-a/version/%00",
    ],
)
async def test_an_impossible_id_is_refused_without_a_call(id: str) -> None:
    clouds = FakeClouds()
    result = await clouds.execute("query ($id: ID!) { model(id: $id) { id } }", {"id": id})
    assert result.data == {"model": None}
    [error] = result.errors
    assert error.extensions == {"code": "INVALID_ID"}
    assert len(error.message) < 300
    assert clouds.calls == []


async def test_a_version_name_with_special_characters_is_escaped_once() -> None:
    """A native key is escaped in its segment of the path."""
    clouds = FakeClouds()
    data = await clouds.query('{ modelVersion(id: "pai:model/model-a/version/50%25%20off") { id } }')
    assert data == {"modelVersion": None}
    assert clouds.calls == ["pai GetModelVersion model-a 50%25%20off"]


# Calls that are sent at the same time


async def start(clouds: FakeClouds, query: str, *blocked: str) -> "asyncio.Task[Any]":
    """Start a query and wait until these calls have arrived. They stay unanswered."""
    clouds.blocked = {call: asyncio.Event() for call in blocked}
    task = asyncio.create_task(clouds.query(query))
    await wait_for_calls(clouds, *blocked)
    return task


async def wait_for_calls(clouds: FakeClouds, *calls: str) -> None:
    async with asyncio.timeout(5):
        await asyncio.gather(*(clouds.arrived[call].wait() for call in calls))


async def test_independent_calls_are_sent_at_the_same_time() -> None:
    clouds = FakeClouds()
    task = await start(clouds, f"{{ {PAI_MODEL} {{ name versions {{ nodes {{ name }} }} }} }}", GET_A, LIST_A)
    assert not task.done()
    clouds.blocked[LIST_A].set()
    clouds.blocked[GET_A].set()
    assert (await task)["model"]["versions"]["nodes"] == [{"name": "0.2.0"}, {"name": "0.1.0"}]


async def test_a_version_and_its_model_are_fetched_at_the_same_time() -> None:
    clouds = FakeClouds()
    version = "pai GetModelVersion model-a 0.1.0"
    task = await start(clouds, f"{{ {PAI_VERSION} {{ name model {{ name }} }} }}", GET_A, version)
    for event in clouds.blocked.values():
        event.set()
    assert (await task)["modelVersion"] == {"name": "0.1.0", "model": {"name": "name of model-a"}}


async def test_all_lists_are_fetched_at_the_same_time() -> None:
    clouds = FakeClouds()
    task = await start(
        clouds, "{ models { nodes { id } } algorithms { nodes { id } } }", *MODEL_LISTS, *ALGORITHM_LISTS
    )
    for event in clouds.blocked.values():
        event.set()
    assert len((await task)["models"]["nodes"]) == 8


async def test_root_fields_of_different_registries_do_not_wait_for_each_other() -> None:
    """Qianfan's second call, which needs the response to its first, is sent before PAI has answered."""
    clouds = FakeClouds()
    query = f"{{ {PAI_MODEL} {{ name }} other: {QIANFAN_MODEL} {{ latestVersion {{ inputSchema }} }} }}"
    task = await start(clouds, query, GET_A)
    await wait_for_calls(clouds, VERSION_12)
    assert not task.done()
    clouds.blocked[GET_A].set()
    assert (await task)["other"]["latestVersion"]["inputSchema"] == {"type": "object"}


async def test_a_slow_object_of_a_list_does_not_delay_the_next_calls_of_the_others() -> None:
    clouds = FakeClouds()
    query = """{ nodes(ids: ["pai:model/model-a", "qianfan:model/am-1"]) {
      ... on Model { latestVersion { inputSchema } versions { nodes { trainedWith { algorithm { name } } } } } } }"""
    task = await start(clouds, query, GET_A)
    await wait_for_calls(clouds, "qianfan DescribeFineTuningTask job-11", "qianfan DescribeFineTuningSupportModels")
    await wait_for_calls(clouds, LIST_A, "pai ListAlgorithms tune pai")
    assert not task.done()
    clouds.blocked[GET_A].set()
    assert len((await task)["nodes"]) == 2


async def test_a_slow_list_of_one_registry_does_not_delay_root_fields_of_another() -> None:
    clouds = FakeClouds()
    query = f"{{ models {{ nodes {{ id }} }} {QIANFAN_MODEL} {{ versions {{ nodes {{ inputSchema }} }} }} }}"
    task = await start(clouds, query, "pai ListModels")
    await wait_for_calls(clouds, VERSION_11, VERSION_12)
    assert not task.done()
    clouds.blocked["pai ListModels"].set()
    assert len((await task)["models"]["nodes"]) == 8


async def test_a_failed_call_affects_only_its_own_fields() -> None:
    clouds = FakeClouds()
    clouds.failing = {LIST_A}
    result = await clouds.execute(f"{{ {PAI_MODEL} {{ name versions {{ totalCount }} }} }}")
    assert result.data == {"model": {"name": "name of model-a", "versions": None}}
    assert [(error.path, error.original_error.code) for error in result.errors] == [
        (["model", "versions"], "REGISTRY_UNAVAILABLE")
    ]


async def test_no_call_is_sent_after_the_deadline_of_its_operation() -> None:
    clouds = FakeClouds()
    operation = PlanExecution(clouds.registries, replace(DEFAULT_BOUNDS, seconds=0))
    with pytest.raises(RegistryTimeout):
        await operation.entity(Ref("pai", "Model", ("model-a",)), Selection.of({FieldRequest("name"): {}}))
    assert clouds.calls == []


async def test_operations_do_not_share_calls_without_a_cache() -> None:
    clouds = FakeClouds()
    await clouds.query(f"{{ {PAI_MODEL} {{ name }} }}")
    await clouds.query(f"{{ {PAI_MODEL} {{ name }} }}")
    assert clouds.calls == [GET_A, GET_A]
