"""Random operations, failures and records: compiled projection has the same response as graphql-core.

Operations come from unittest.mock import patch
import pytest
from hypothesis-graphql over the whole schema; the tests add aliases, fragments, directives and
variables. ``COMPILED_EXAMPLES`` is the number of examples.
"""

import os
import random
from typing import Any
from unittest.mock import patch

import pytest
from graphql import (
    REMOVE,
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNonNull,
    InlineFragmentNode,
    IntValueNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    parse,
    parse_value,
    print_ast,
    value_from_ast_untyped,
    visit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import queries

from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from gateway.schema.schema import GRAPHQL_SCHEMA
from tests.catalog.test_selection_property import IDS
from tests.execution.comparison import damaged_root_fields, outcomes_of

EXAMPLES = int(os.environ.get("COMPILED_EXAMPLES", "60"))
ALL_IDS = [*(text for texts in IDS.values() for text in texts), "pai:model/nothing", "nobody:model/x", "no id"]
WORDS = ["pai", "qianfan", "0.1.0", "v1", "1", "name of model-a", "nothing"]
FAILING = [
    "pai ListModels",
    "pai ListModels pai",
    "pai GetModel model-a",
    "pai ListModelVersions model-a",
    "pai ListModelVersions model-b",
    "pai ListAlgorithms",
    "pai ListAlgorithms tune pai",
    "pai GetAlgorithmVersion algo-tune v1",
    "qianfan userList",
    "qianfan presetList",
    "qianfan modelDetail am-1",
    "qianfan modelVersionDetail amv-11",
    "qianfan DescribeFineTuningSupportModels",
]


def texts(values: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values).map(lambda value: StringValueNode(value=value))


def representation(entity: str, text: str) -> Any:
    return parse_value(f'{{ __typename: "{entity}", id: "{text}" }}')


SCALARS = {
    "ID": texts(ALL_IDS),
    "String": texts(WORDS),
    "Int": st.sampled_from(["1", "2", "3", "20", "0"]).map(lambda value: IntValueNode(value=value)),
    "_Any": st.builds(representation, st.sampled_from(sorted(IDS)), st.sampled_from(ALL_IDS)),
    "DateTime": texts(["2024-05-10T00:00:00Z", "2024-05-18T00:00:00+08:00"]),
}
RARE = {"filter": 0.6, "after": 0.7, "orderBy": 0.3}
"""Arguments that mostly leave no rows, and the share of them that is removed."""
OPERATIONS = queries(GRAPHQL_SCHEMA, fields=sorted(ROOT_FIELDS), custom_scalars=SCALARS, print_ast=print_ast)


def name(text: str) -> NameNode:
    return NameNode(value=text)


class Additions(Visitor):
    """Adds to an operation what hypothesis-graphql does not generate: aliases, fragments, directives, variables."""

    def __init__(self, rng: random.Random, types: TypeInfo) -> None:
        super().__init__()
        self.rng, self.types = rng, types
        self.values: dict[str, Any] = {
            "yes": True,
            **rng.choice([{}, {"no": False}, {"maybe": None}, {"maybe": False}]),
        }
        self.declared = ["$yes: Boolean!", "$no: Boolean! = true", "$maybe: Boolean = true"]
        self.fragments: list[FragmentDefinitionNode] = []

    def decide(self, share: float) -> bool:
        return self.rng.random() < share

    def directives(self) -> tuple[DirectiveNode, ...]:
        if not self.decide(0.25):
            return ()
        value: Any = BooleanValueNode(value=self.decide(0.5))
        if self.decide(0.7):
            value = VariableNode(name=name(self.rng.choice(["yes", "no", "maybe"])))
        condition = ArgumentNode(name=name("if"), value=value)
        return (DirectiveNode(name=name(self.rng.choice(["skip", "include"])), arguments=(condition,)),)

    def leave_argument(self, node: ArgumentNode, *_: Any) -> Any:
        if self.decide(RARE.get(node.name.value, 0)):
            return REMOVE
        argument = self.types.get_argument()
        if argument is None or not self.decide(0.3):
            return None
        number = f"v{len(self.declared)}"
        expected = argument.type
        if self.decide(0.3) and isinstance(expected, GraphQLNonNull) and argument.default is not None:
            expected = expected.of_type
        default = f" = {print_ast(node.value)}" if self.decide(0.3) else ""
        self.declared.append(f"${number}: {expected}{default}")
        if not default or self.decide(0.5):
            self.values[number] = value_from_ast_untyped(node.value)
        return ArgumentNode(name=node.name, value=VariableNode(name=name(number)))

    def leave_field(self, node: FieldNode, *_: Any) -> FieldNode:
        alias = name(self.rng.choice("abcdef") + node.name.value) if self.decide(0.2) else node.alias
        return FieldNode(
            name=node.name,
            alias=alias,
            arguments=node.arguments,
            selection_set=node.selection_set,
            directives=self.directives(),
            loc=node.loc,
        )

    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode:
        selections = list(node.selections)
        if self.decide(0.3):
            selections.append(FieldNode(name=name("__typename")))
        if self.decide(0.3):
            selections += self.rng.choices(selections, k=2)
        if self.decide(0.2):
            self.rng.shuffle(selections)
        parent = self.types.get_parent_type()
        if parent is not None and self.decide(0.3):
            cut = self.rng.randrange(len(selections))
            inner = SelectionSetNode(selections=tuple(selections[cut:]))
            condition = NamedTypeNode(name=name(parent.name))
            spread: Any = InlineFragmentNode(
                type_condition=condition if self.decide(0.5) else None,
                directives=self.directives(),
                selection_set=inner,
            )
            if self.decide(0.5):
                label = f"F{len(self.fragments)}"
                self.fragments.append(
                    FragmentDefinitionNode(name=name(label), type_condition=condition, selection_set=inner)
                )
                spread = FragmentSpreadNode(name=name(label), directives=self.directives())
            selections[cut:] = [spread, spread] if self.decide(0.3) else [spread]
        return SelectionSetNode(selections=tuple(selections))


def with_additions(text: str, seed: int) -> tuple[str, dict[str, Any]]:
    """Return the operation with random additions, and values for its variables."""
    types = TypeInfo(GRAPHQL_SCHEMA)
    additions = Additions(random.Random(seed), types)  # noqa: S311
    document = visit(parse(text), TypeInfoVisitor(types, additions))
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    body = print_ast(operation.selection_set)
    used = [
        variable
        for variable in additions.declared
        if variable.split(":")[0] in body + "".join(map(print_ast, additions.fragments))
    ]
    header = f"query Q({', '.join(used)})" if used else "query Q"
    return " ".join([header, body, *map(print_ast, additions.fragments)]), additions.values


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    OPERATIONS,
    st.integers(0, 2**32),
    st.sets(st.sampled_from(FAILING), max_size=4) | st.just(set[str]()),
    st.sampled_from([0, 0, 0.02, 0.2]),
)
def test_an_operation_has_the_same_response_by_projection_and_by_graphql_core(
    text: str, seed: int, failing: set[str], share: float
) -> None:
    text, variables = with_additions(text, seed)
    with damaged_root_fields(seed, share):
        expected, *compiled = outcomes_of(text, variables, frozenset(failing))
    for outcome in compiled:
        assert expected.agrees(outcome), (expected, outcome)


@pytest.mark.parametrize("value", [True, 1.5, "text", []])
def test_a_value_that_is_no_object_has_the_error_of_its_first_field(value: Any) -> None:
    async def model(root_field: RootFieldContext) -> Any:
        return {"__typename": "Model", "registry": value}

    with patch.dict(ROOT_FIELDS, {"model": model}):
        expected, *compiled = outcomes_of('{ model(id: "pai:model/model-a") { registry { capabilities } } }')
    assert compiled == [expected] * 2
    assert expected.errors[0]["path"] == ["model", "registry", "capabilities"]
