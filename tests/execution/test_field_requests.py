"""Requests of fields with variables are bound from a template exactly as graphql-core coerces the arguments."""

from collections.abc import Callable
from functools import partial
from typing import Any

from graphql import FieldNode, GraphQLError, OperationDefinitionNode, get_variable_values, parse
from graphql.execution.values import VariableValues
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.catalog.selection import FieldRequest
from gateway.execution.field_requests import RequestTemplate, bound_request
from gateway.schema.schema import GRAPHQL_SCHEMA

QUERIES = (
    "query ($n: Int, $after: String) { models(first: $n, after: $after) { __typename } }",
    "query ($n: Int = 7, $after: String = null) { models(first: $n, after: $after) { __typename } }",
    "query ($n: Int!, $filter: ModelFilter) { models(filter: $filter, first: $n) { __typename } }",
    """query ($from: DateTime, $to: DateTime = "2024-01-01T00:00:00Z", $which: Ownership, $name: String!) {
      models(filter: {createdAt: {from: $from, to: $to}, ownership: $which, nameContains: $name}) { __typename } }""",
    """query ($one: String!, $direction: OrderDirection! = ASC, $kind: RegistryKind!) {
      models(orderBy: {field: NAME, direction: $direction}, filter: {registries: [$one, "pai", $one], kinds: [$kind]}) {
        __typename } }""",
    "query ($id: ID!, $ids: [ID!]!) { nodes(ids: $ids) { __typename } }",
    'query ($id: ID!) { nodes(ids: ["pai:model/a", $id]) { __typename } }',
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-5, 200),
    "after": st.text(max_size=5),
    "filter": st.fixed_dictionaries(
        {}, optional={"ownership": st.sampled_from(["OWN", None]), "registries": st.lists(st.sampled_from("ab"))}
    ),
    "from": st.sampled_from(["2024-01-01T00:00:00Z", "2023-05-06T07:08:09+02:00"]),
    "to": st.just("2025-01-01T00:00:00Z"),
    "which": st.sampled_from(["OWN", "PLATFORM"]),
    "name": st.text(max_size=5),
    "one": st.text(max_size=5),
    "direction": st.sampled_from(["ASC", "DESC"]),
    "kind": st.sampled_from(["PAI", "QIANFAN"]),
    "id": st.text(max_size=5),
    "ids": st.lists(st.text(max_size=5), max_size=3),
}
variables = st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in VALUES.items()})


@given(st.sampled_from(QUERIES), st.lists(variables, min_size=1, max_size=4))
@example(QUERIES[0], [{}, {"n": None}, {"n": 3}, {"n": 4, "after": "x"}])
def test_a_template_binds_variables_as_graphql_core_coerces_arguments(query: str, sets: list[dict[str, Any]]) -> None:
    [operation] = parse(query).definitions
    assert isinstance(operation, OperationDefinitionNode)
    [node] = operation.selection_set.selections
    assert isinstance(node, FieldNode)
    definition = GRAPHQL_SCHEMA.query_type.fields[node.name.value]  # type: ignore[union-attr]
    template = RequestTemplate(definition, node)
    for values in sets:
        coerced = get_variable_values(GRAPHQL_SCHEMA, operation.variable_definitions, values)
        if isinstance(coerced, list):
            continue
        assert outcome(template.bound, coerced) == outcome(partial(bound_request, definition, node), coerced)


def outcome(bind: Callable[[VariableValues], FieldRequest], variables: VariableValues) -> FieldRequest | str:
    """Return the request, or the message of the error."""
    try:
        return bind(variables)
    except GraphQLError as error:
        return error.message
