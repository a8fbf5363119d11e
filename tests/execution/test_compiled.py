"""Compiled operations follow the rules of the specification, as graphql-core does."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.errors import RegistryUnavailable
from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from tests.catalog.clouds import FakeClouds
from tests.execution.comparison import bind, compile_document, execute_compiled, outcomes_of

MODEL = 'model(id: "pai:model/model-a")'
RULES = {
    "keys are in the order of the document": f"{{ {MODEL} {{ task name id domain }} registries {{ kind name }} }}",
    "a field can be selected twice": f"{{ {MODEL} {{ name id name }} {MODEL} {{ task }} }}",
    "aliases": f"{{ one: {MODEL} {{ title: name also: name id: nativeId }} }}",
    "one key in several fragments is merged": f"""
        {{ {MODEL} {{ owner {{ nativeId }} ...A ... on Model {{ owner {{ accountId }} }} }} }}
        fragment A on Model {{ owner {{ tenantId nativeId }} latestVersion {{ name }} }}""",
    "a fragment that is spread twice": f"""
        {{ {MODEL} {{ ...A ...A }} }} fragment A on Model {{ name ...B }} fragment B on Model {{ id }}""",
    "fragments on an interface and on its types": """
        { node(id: "pai:model/model-a") {
            ... on ModelVersion { uri } ...N ... on Model { name ... on Node { id ... on Algorithm { raw } } } }
        } fragment N on Node { __typename id ... on Model { task } }""",
    "objects of several types in one list": """
        { nodes(ids: ["pai:model/model-a", "qianfan:model/am-1/version/amv-11", "pai:algorithm/algo-tune"]) {
            __typename ... on Model { name versions(first: 1) { totalCount } }
            ... on ModelVersion { framework } ... on Algorithm { displayName } } }""",
    "type names everywhere": f"""
        {{ __typename {MODEL} {{ t: __typename registry {{ __typename status {{ __typename }} }}
            versions {{ __typename pageInfo {{ __typename }} nodes {{ __typename source {{ __typename }} }} }} }}
           models {{ nodes {{ __typename }} coverage {{ __typename }} }} }}""",
    "nothing but type names": "{ models { __typename pageInfo { __typename } } }",
    "an object that is not there": '{ model(id: "pai:model/gone") { id } node(id: "qianfan:model/am-9") { id } }',
    "lists, and lists that are null": f"{{ {MODEL} {{ labels {{ key }} latestVersion {{ deployTargets }} }} }}",
    "the same field with different arguments": f"""
        {{ {MODEL} {{ first: versions(first: 1) {{ nodes {{ name }} }} all: versions {{ nodes {{ name uri }} }}
            one: version(name: "0.1.0") {{ name }} none: version(name: "no") {{ name }} }} }}""",
    "the same field with the same arguments under two keys": f"""
        {{ {MODEL} {{ a: versions {{ nodes {{ name }} }} b: versions(first: 20) {{ nodes {{ uri }} }} }} }}""",
    "references of other subgraphs": """
        query ($more: _Any! = { __typename: "Algorithm", id: "pai:algorithm/algo-own" }) {
            _entities(representations: [{ __typename: "Model", id: "pai:model/model-a" }, $more]) {
                __typename ... on Model { name versions(first: 1) { totalCount } } ... on Algorithm { name } } }""",
    "a fragment on a union": """
        { _entities(representations: [{ __typename: "Model", id: "pai:model/model-a" }]) {
            ... on _Entity { __typename ... on Model { name } } } }""",
    "a page of models with its cursors": """
        { models(first: 3) { edges { cursor node { id } } nodes { createdAt } pageInfo { endCursor hasNextPage }
            totalCount coverage { state rowsRead registry { name } } } }""",
}


@pytest.mark.parametrize("document", RULES.values(), ids=RULES)
def test_responses_follow_the_specification(document: str) -> None:
    expected, *compiled = outcomes_of(document)
    assert not expected.errors
    assert compiled == [expected, expected]


WITH_DIRECTIVES = f"""
    query ($with: Boolean!, $without: Boolean! = false, $perhaps: Boolean = true) {{
        {MODEL} {{
            id @include(if: $with) name @skip(if: $without) @include(if: $perhaps)
            ... on Model @skip(if: $with) {{ task }} ...V @include(if: $perhaps)
        }}
        registries @include(if: $with) {{ name }}
    }}
    fragment V on Model {{ versions @skip(if: $without) {{ nodes {{ name }} }} }}"""


@pytest.mark.parametrize(
    "variables",
    [
        {"with": True},
        {"with": False},
        {"with": True, "without": True},
        {"with": True, "perhaps": False},
        {"with": False, "without": True, "perhaps": False},
    ],
    ids=str,
)
def test_skip_and_include_with_variables_and_defaults(variables: dict[str, Any]) -> None:
    expected, *compiled = outcomes_of(WITH_DIRECTIVES, variables)
    assert not expected.errors
    assert compiled == [expected, expected]


def test_a_directive_whose_variable_is_null_fails_one_root_field_alone() -> None:
    """The directive is inside the object, so the other root field has its value."""
    model = 'model(id: "pai:model/model-a")'
    document = f"""query ($perhaps: Boolean = true) {{
        failing: {model} {{ name @include(if: $perhaps) }}
        other: {model} {{ versions(first: 1) {{ totalCount }} }} }}"""
    outcomes = outcomes_of(document, {"perhaps": None})
    for outcome in outcomes:
        data = orjson.loads(outcome.data)
        assert data["failing"] is None
        assert data["other"]["versions"]["totalCount"] > 0
        assert len(outcome.errors) == 1


WITH_ARGUMENTS = f"""
    query ($id: ID!, $first: Int! = 1, $name: String! = "0.2.0", $filter: ModelFilter, $by: ModelOrderField! = NAME) {{
        node(id: $id) {{
            ... on Model {{ versions(first: $first) {{ nodes {{ name }} }} version(name: $name) {{ uri }} }}
        }}
        models(filter: $filter, orderBy: {{field: $by, direction: DESC}}) {{ nodes {{ id }} }} {MODEL} {{ id }}
    }}"""


@pytest.mark.parametrize(
    "variables",
    [
        {"id": "pai:model/model-a"},
        {"id": "pai:model/model-a", "first": 2, "name": "0.1.0"},
        {"id": "pai:model/model-b", "filter": {"kinds": ["PAI"], "label": None}},
        {"id": "pai:model/model-a", "filter": None, "by": "CREATED_AT"},
    ],
    ids=str,
)
def test_arguments_with_variables_and_defaults(variables: dict[str, Any]) -> None:
    expected, *compiled = outcomes_of(WITH_ARGUMENTS, variables)
    assert not expected.errors
    assert compiled == [expected, expected]


REFUSED = {
    "a directive whose variable is null": (
        "query ($if: Boolean = true) { registries @include(if: $if) { name } }",
        {"if": None},
    ),
}


@pytest.mark.parametrize(("document", "variables"), REFUSED.values(), ids=REFUSED)
def test_a_request_error_leaves_no_data(document: str, variables: dict[str, Any]) -> None:
    expected, *compiled = outcomes_of(document, variables)
    assert expected.data == b"null"
    assert expected.errors
    assert compiled == [expected, expected]


FAILED = {
    "invalid ids, at aliased fields": ('{ a: model(id: "x") { id } b: node(id: "pai:algorithm/x/") { id } }', {}),
    "one of several ids": ('{ nodes(ids: ["x", "pai:model/model-a"]) { id } }', {}),
    "a list of non-null items with an error": (
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }",
        {"ids": ["x"] * 101},
    ),
    "an argument that is null because of its variable": (
        "query ($first: Int = 1) { models(first: $first) { totalCount } registries { name } }",
        {"first": None},
    ),
    "a nested argument that is null because of its variable": (
        f"query ($first: Int = 1) {{ {MODEL} {{ name versions(first: $first) {{ totalCount }} }} }}",
        {"first": None},
    ),
    "a nested directive whose variable is null": (
        f"query ($if: Boolean = true) {{ {MODEL} {{ name @skip(if: $if) }} registries {{ name }} }}",
        {"if": None},
    ),
    "a page of size zero": (f"{{ {MODEL} {{ id versions(first: 0) {{ totalCount }} }} }}", {}),
    "a cursor of another list": ('{ models(after: "x") { totalCount } algorithms { totalCount } }', {}),
}


@pytest.mark.parametrize(("document", "variables"), FAILED.values(), ids=FAILED)
def test_errors_have_the_same_paths_and_locations(document: str, variables: dict[str, Any]) -> None:
    expected, *compiled = outcomes_of(document, variables)
    assert all(error["path"] and error["locations"] for error in expected.errors)
    assert compiled == [expected, expected]


def test_failing_registries_have_errors_or_list_failures() -> None:
    document = (
        f"""{{ models {{ nodes {{ id versions {{ totalCount }} }} }} {MODEL} {{ id versions {{ totalCount }} }} }}"""
    )
    failing = frozenset({"pai ListModelVersions model-a", "qianfan userList"})
    expected, *compiled = outcomes_of(document, failing=failing)
    assert expected.errors
    assert expected.failures
    assert compiled == [expected, expected]


RECORD_QUERY = f"""
    {{ a: {MODEL} {{ __typename one: id labels {{ key }} owner {{ nativeId }} ownership createdAt parameterCount raw
        registry {{ name kind capabilities }} }} }}"""
COMPLETE_RECORD = {
    "__typename": "Model",
    "id": "pai:model/model-a",
    "labels": [{"key": "a"}, {"key": "b"}],
    "owner": {"native_id": "1"},
    "ownership": "OWN",
    "created_at": "2024-05-20T08:30:45Z",
    "parameter_count": 2**40,
    "raw": {"any": "thing"},
    "registry": {"name": "pai", "kind": "PAI", "capabilities": ["MODELS"]},
}
OFFLINE = RegistryUnavailable("pai")
INVALID_VALUES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "null for nullable fields": {"labels": None, "owner": None, "ownership": None, "created_at": None, "raw": None},
    "null for an id": {"id": None},
    "an error for a value": {"owner": OFFLINE, "ownership": OFFLINE, "created_at": OFFLINE, "raw": OFFLINE},
    "an error for a non-null value": {"registry": OFFLINE},
    "an error in a list": {"labels": [{"key": "a"}, OFFLINE]},
    "a list for an object, an object for a list": {"owner": [], "labels": {}},
    "text for a list": {"labels": "ab"},
    "a number for a list": {"labels": 3},
    "null in a list of non-null items": {"labels": [None, {"key": "b"}]},
    "null deep inside a non-null field": {"registry": {"name": None, "kind": "PAI", "capabilities": ["MODELS"]}},
    "an unknown enum value": {"ownership": "NOBODYS", "registry": {"name": "x", "kind": "GCP", "capabilities": []}},
    "an unknown enum value in a list": {"registry": {"name": "x", "kind": "PAI", "capabilities": ["MODELS", "TEA"]}},
    "numbers and booleans as text": {"id": 12, "labels": [{"key": True}, {"key": 1.5}], "created_at": 7},
    "objects as text": {"id": {"a": 1}, "owner": {"native_id": [1]}},
    "an object of another type": {"__typename": "Algorithm"},
    "an unexpected error": {"owner": ValueError("a secret of ours")},
}


@pytest.mark.parametrize("values", INVALID_VALUES.values(), ids=INVALID_VALUES)
def test_records_with_invalid_values_have_the_same_response(values: dict[str, Any]) -> None:
    async def root(root_field: RootFieldContext) -> Any:
        return {**COMPLETE_RECORD, **values}

    with patch.dict(ROOT_FIELDS, {"model": root}):
        expected, *compiled = outcomes_of(RECORD_QUERY)
    assert b"secret" not in orjson.dumps(expected.errors)
    assert compiled == [expected, expected]


def test_a_value_that_was_not_fetched_is_an_error() -> None:
    async def root(root_field: RootFieldContext) -> Any:
        return {name: value for name, value in COMPLETE_RECORD.items() if name != "owner"}

    with patch.dict(ROOT_FIELDS, {"model": root}):
        expected, *compiled = outcomes_of(RECORD_QUERY)
    assert [error["path"] for error in expected.errors] == [["a", "owner"]]
    assert compiled == [expected, expected]


OBJECT = "query ($id: ID!) { model(id: $id) { name versions(first: 2) { nodes { name } } } }"


async def test_a_bound_operation_does_not_mix_registries_or_bounds() -> None:
    compiled = compile_document(OBJECT)
    assert compiled is not None
    operation = bind(OBJECT, compiled, {"id": "pai:model/model-a"})
    before, after, fewer = FakeClouds(), FakeClouds(), FakeClouds()
    del fewer.registries["pai"]
    found = await execute_compiled(before, OBJECT, operation)
    assert orjson.loads(found.data)["model"]["name"] == "name of model-a"
    few_rows = await execute_compiled(before, OBJECT, operation, replace(DEFAULT_BOUNDS, page_rows=1))
    no_pai = await execute_compiled(fewer, OBJECT, operation)
    assert [one.errors[0]["extensions"]["code"] for one in (few_rows, no_pai)] == ["BAD_USER_INPUT", "INVALID_ID"]
    assert await execute_compiled(after, OBJECT, operation) == found
    assert sorted(after.calls) == ["pai GetModel model-a", "pai ListModelVersions model-a"]


async def test_an_operation_caches_nothing_for_each_object() -> None:
    compiled, clouds = compile_document(OBJECT), FakeClouds()
    assert compiled is not None
    plan_counts = []
    for name in ("model-a", "model-b", "model-empty", "gone"):
        operation = bind(OBJECT, compiled, {"id": f"pai:model/{name}"})
        await execute_compiled(clouds, OBJECT, operation)
        selection = operation.roots[0].selection("Model")
        plan_counts.append((len(selection.plans), len(selection.with_existence.plans)))
    assert len(set(plan_counts[1:])) == 1


@pytest.mark.parametrize(
    "document",
    [
        "{ __schema { queryType { name } } }",
        '{ registries { name } __type(name: "Model") { name } }',
        "query { ...F } fragment F on Query { __schema { queryType { name } } }",
    ],
)
def test_introspection_is_not_compiled(document: str) -> None:
    assert compile_document(document) is None


def test_each_operation_of_a_document_is_compiled_separately() -> None:
    document = "query A { __schema { queryType { name } } } query B { registries { name } }"
    assert compile_document(document, "A") is None
    assert compile_document(document, "B") is not None
