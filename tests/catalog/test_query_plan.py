"""Query plans: the plans of typical queries, and that no smaller set of calls exists."""

import re
from collections.abc import Collection, Sequence
from itertools import chain, combinations
from pathlib import Path
from random import Random

import pytest
from graphql import get_operation_ast, parse
from graphql.execution.values import VariableValues
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.ids import parse as parse_id
from gateway.catalog.plan_text import list_text, plan_text
from gateway.catalog.query_plan import BoundCall, EntityPlan, bind, choose_calls, suppliers
from gateway.catalog.selection import EXISTS, NO_FIELDS, FieldRequest, Selection
from gateway.execution.operation_plan import PlannedOperation
from gateway.execution.root_fields import LISTS
from gateway.registries import KINDS
from gateway.registries.fields import EntityLayout, Table
from gateway.schema.schema import GRAPHQL_SCHEMA
from tests.catalog.clouds import FakeClouds

PAGE = Path(__file__).parents[2] / "docs" / "query-plans.md"
PLANS = re.findall(r"^```graphql\n(.*?)\n```\n\n```text\n(.*?)\n```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def planned(query: str) -> str:
    """Return the plans of a query's root fields as text."""
    document = parse(query)
    operation = get_operation_ast(document)
    assert operation is not None
    registries = [*FakeClouds().registries.values()]
    plans = []
    for root in PlannedOperation(GRAPHQL_SCHEMA, document, operation).bind(VariableValues({}, {})).roots:
        if root.field.name in LISTS:
            plans.append(list_text(registries, LISTS[root.field.name], root.selection()))
        else:
            ref = parse_id(root.request.argument("id"))
            selection = root.selection(ref.entity).with_existence
            plans.append(plan_text(EntityPlan.of(KINDS[ref.registry], ref.entity, selection)))
    return "\n".join(plans)


async def test_there_are_twenty_documented_plans() -> None:
    assert len(PLANS) >= 20


@pytest.mark.parametrize(("query", "plan"), PLANS, ids=[query for query, _ in PLANS])
async def test_a_query_has_its_documented_plan(query: str, plan: str) -> None:
    assert planned(query) == plan


async def test_a_plan_is_made_once_for_all_values_of_the_arguments() -> None:
    document = parse("query ($id: ID!, $n: Int!) { model(id: $id) { versions(first: $n) { nodes { name } } } }")
    operation = get_operation_ast(document)
    assert operation is not None
    one = PlannedOperation(GRAPHQL_SCHEMA, document, operation)
    first, second = (
        one.bind(VariableValues({}, {"id": f"pai:model/{key}", "n": number})) for key, number in (("a", 1), ("b", 2))
    )
    assert first.roots[0].root is second.roots[0].root
    assert first.roots[0].selection() is second.roots[0].selection()


# Choosing calls

MODEL, VERSION = Ref("pai", "Model", ("m",)), Ref("pai", "ModelVersion", ("m", "1"))
SET = Ref("qianfan", "Model", ("am-1",))
FIRST, SECOND = SET.version("amv-1"), SET.version("amv-2")
ALGORITHM = Ref("pai", "Algorithm", ("a",))
Want = tuple[BoundCall, ...]


def want(ref: Ref, name: str, *below: str) -> Want:
    request = EXISTS if name == "exists" else FieldRequest(name)
    selection = Selection.of({FieldRequest(name): {} for name in below})
    return tuple(bind(ref, call) for call in suppliers(KINDS[ref.registry], ref.entity, request, selection))


def calls(*wants: Want, made: Collection[BoundCall] = ()) -> list[str]:
    return sorted({str(bound) for bound in choose_calls(wants, made)})


@pytest.mark.parametrize(
    ("wants", "chosen"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([want(MODEL, "exists")], ["pai GetModel(m)"], id="existence of a model"),
        pytest.param(
            [want(MODEL, "name"), want(MODEL, "latest_version"), want(MODEL, "raw"), want(MODEL, "id")],
            ["pai GetModel(m)"],
            id="all of a model",
        ),
        pytest.param(
            [want(MODEL, "exists"), want(MODEL, "versions")], ["pai ListModelVersions(m)"], id="versions prove a model"
        ),
        pytest.param(
            [want(MODEL, "name"), want(MODEL, "versions")],
            ["pai GetModel(m)", "pai ListModelVersions(m)"],
            id="a model and its versions are two calls in PAI",
        ),
        pytest.param(
            [want(SET, "name"), want(SET, "versions"), want(SET, "latest_version")],
            ["qianfan modelDetail(am-1)"],
            id="a model and its versions are one call in Qianfan",
        ),
        pytest.param(
            [want(VERSION, "name"), want(VERSION, "metrics")], ["pai GetModelVersion(m, 1)"], id="a version by its id"
        ),
        pytest.param(
            [want(FIRST, "name")], ["qianfan modelVersionDetail(amv-1)"], id="a version alone by its own call"
        ),
        pytest.param(
            [want(FIRST, "name"), want(SECOND, "name")],
            ["qianfan modelDetail(am-1)"],
            id="two versions by their model's call",
        ),
        pytest.param(
            [want(FIRST, "name"), want(SET, "name")], ["qianfan modelDetail(am-1)"], id="a version beside its model"
        ),
        pytest.param(
            [want(FIRST, "name"), want(FIRST, "input_schema"), want(SECOND, "name")],
            ["qianfan modelVersionDetail(amv-1)", "qianfan modelVersionDetail(amv-2)"],
            id="calls without an alternative come first",
        ),
        pytest.param(
            [want(ALGORITHM, "owner", "native_id"), want(ALGORITHM, "latest_version")],
            ["pai GetAlgorithm(a)", "pai ListAlgorithmVersions(a)"],
            id="an algorithm and its newest version",
        ),
        pytest.param(
            [want(Ref("qianfan", "Algorithm", (f"E:SFT:{i}",)), "name") for i in range(9)],
            ["qianfan DescribeFineTuningSupportModels()"],
            id="the whole catalogue is one call",
        ),
    ],
)
def test_calls_are_chosen_for_typical_wants(wants: list[Want], chosen: list[str]) -> None:
    assert calls(*wants) == chosen


def test_a_call_under_way_is_preferred() -> None:
    [detail] = want(SET, "name")
    assert calls(want(FIRST, "name"), made=[detail]) == ["qianfan modelDetail(am-1)"]


def test_no_call_supplies_a_field_that_the_registry_does_not_have() -> None:
    assert want(VERSION, "input_schema") == ()
    assert want(SET, "task") == ()


def test_a_call_has_a_text() -> None:
    bound = want(VERSION, "name")[0]
    assert str(bound) == "pai GetModelVersion(m, 1)"
    assert str(bound._replace(fixed=(("Provider", "pai"),), page=3)) == "pai GetModelVersion(m, 1, Provider=pai page 3)"


def smallest(wants: Sequence[Want], made: Collection[BoundCall]) -> int:
    """Return the number of new calls in the smallest set that serves every want, by trying all sets."""
    new = list(dict.fromkeys(bound for want in wants for bound in want if bound not in made))
    sets = ({*made, *chosen} for chosen in chain.from_iterable(combinations(new, n) for n in range(len(new) + 1)))
    return next(len(calls - set(made)) for calls in sets if all(calls.intersection(want) for want in wants))


def selections(table: Table) -> st.SearchStrategy[Selection]:
    """Selections of a value object."""
    return st.dictionaries(st.sampled_from([FieldRequest(name) for name in table]), st.just({}), min_size=1).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {
                request: st.just(NO_FIELDS) if (below := table[request.field].table) is None else selections(below)
                for request in chosen
            }
        ).map(Selection.of)
    )


def layouts(kind: str, entity: str) -> list[EntityLayout]:
    return [part.layout for call in KINDS[kind].calls for part in call.entities if part.layout.entity == entity]


@st.composite
def field_wants(draw: st.DrawFn, ref: Ref) -> Want:
    """The calls that supply a field of the object, its id, or its existence."""
    tables = [layout.fields for layout in layouts(ref.registry, ref.entity)]
    fields = [FieldRequest(name) for name in sorted({name for table in tables for name in table})]
    request = draw(st.sampled_from([EXISTS, FieldRequest("id"), *fields]))
    below = NO_FIELDS
    holding = [table[request.field].table for table in tables if request.field in table]
    if nested := [table for table in holding if table is not None]:
        below = draw(selections(nested[0]))
    return tuple(bind(ref, call) for call in suppliers(KINDS[ref.registry], ref.entity, request, below))


@st.composite
def all_wants(draw: st.DrawFn) -> tuple[list[Want], list[BoundCall]]:
    """Wants for two objects of one kind and their versions, and calls that were made before."""
    kind, entity = draw(st.sampled_from([(kind, entity) for kind in KINDS for entity in ("Model", "Algorithm")]))
    owners = [Ref(kind, entity, (key,)) for key in ("one", "two")]
    refs = owners + [owner.version(key) for owner in owners for key in ("1", "2")]
    wants = [one for one in draw(st.lists(st.sampled_from(refs).flatmap(field_wants), max_size=9)) if one]
    offered = list(dict.fromkeys(bound for want in wants for bound in want))
    return wants, draw(st.lists(st.sampled_from(offered), unique=True, max_size=3)) if offered else []


@settings(deadline=None, max_examples=400)
@given(all_wants())
def test_no_smaller_set_of_calls_serves_all_wants(drawn: tuple[list[Want], list[BoundCall]]) -> None:
    wants, made = drawn
    chosen = choose_calls(wants, made)
    assert all(bound in want for want, bound in zip(wants, chosen, strict=True))
    assert len(set(chosen) - set(made)) == smallest(wants, made)


@settings(deadline=None)
@given(all_wants(), st.randoms(use_true_random=False))
def test_the_order_of_the_wants_changes_nothing(drawn: tuple[list[Want], list[BoundCall]], random: Random) -> None:
    wants, made = drawn
    mixed = list(wants)
    random.shuffle(mixed)
    assert len(set(choose_calls(mixed, made)) - set(made)) == len(set(choose_calls(wants, made)) - set(made))
