"""The plan as a value: what is planned for typical questions, and that no smaller plan exists for any."""

from collections.abc import Collection, Sequence
from itertools import chain, combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.query_plan import Bound, Want, candidates, plan
from gateway.catalog.selection import EXISTS, NO_FIELDS, FieldRequest, Selection
from gateway.registries import KINDS
from gateway.registries.fields import EntityLayout, Table

MODEL, VERSION = Ref("pai", "Model", ("m",)), Ref("pai", "ModelVersion", ("m", "1"))
SET = Ref("qianfan", "Model", ("am-1",))
FIRST, SECOND = SET.version("amv-1"), SET.version("amv-2")
ALGORITHM = Ref("pai", "Algorithm", ("a",))


def want(ref: Ref, name: str, *below: str, tried: Collection[Bound] = ()) -> Want:
    ask = EXISTS if name == "exists" else FieldRequest(name)
    selection = Selection.of({FieldRequest(name): {} for name in below})
    return Want(ref, ask, candidates(KINDS[ref.registry], ref, ask, selection, tried))


def calls(*wants: Want, made: Collection[Bound] = ()) -> list[str]:
    return sorted({str(bound) for bound in plan(wants, made).values()})


# What is planned


@pytest.mark.parametrize(
    ("wants", "planned"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([want(MODEL, "exists")], ["pai GetModel(m)"], id="whether a model is there"),
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
            id="and one in Qianfan",
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
            id="two versions by their model's",
        ),
        pytest.param(
            [want(FIRST, "name"), want(SET, "name")], ["qianfan modelDetail(am-1)"], id="a version beside its model"
        ),
        pytest.param(
            [want(FIRST, "name"), want(FIRST, "input_schema"), want(SECOND, "name")],
            ["qianfan modelVersionDetail(amv-1)", "qianfan modelVersionDetail(amv-2)"],
            id="what only one call tells comes first",
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
def test_typical_questions_are_planned_like_this(wants: list[Want], planned: list[str]) -> None:
    assert calls(*wants) == planned


def test_what_was_asked_already_is_used_before_anything_new() -> None:
    [detail] = want(SET, "name").candidates
    assert calls(want(FIRST, "name"), made=[detail]) == ["qianfan modelDetail(am-1)"]


def test_a_call_that_did_not_tell_is_not_asked_again() -> None:
    own, of_model = want(FIRST, "name").candidates
    assert calls(want(FIRST, "name", tried={own})) == [str(of_model)]
    assert want(FIRST, "name", tried={own, of_model}).candidates == ()


def test_what_no_call_tells_has_no_candidates() -> None:
    assert want(VERSION, "input_schema").candidates == ()
    assert want(SET, "task").candidates == ()


def test_a_plan_reads_as_text() -> None:
    bound = want(VERSION, "name").candidates[0]
    assert str(bound) == "pai GetModelVersion(m, 1)"
    assert str(bound._replace(fixed=(("Provider", "pai"),), page=3)) == "pai GetModelVersion(m, 1, Provider=pai page 3)"


# No smaller plan exists


def smallest(wants: Sequence[Want], made: Collection[Bound]) -> int:
    """How many new calls the smallest set has that serves every want, by trying all sets."""
    new = list(dict.fromkeys(bound for want in wants for bound in want.candidates if bound not in made))
    served = ({*made, *chosen} for chosen in chain.from_iterable(combinations(new, n) for n in range(len(new) + 1)))
    return next(
        len(calls - set(made)) for calls in served if all(calls.intersection(want.candidates) for want in wants)
    )


def selections(table: Table) -> st.SearchStrategy[Selection]:
    """What may be asked of a value object."""
    return st.dictionaries(st.sampled_from([FieldRequest(name) for name in table]), st.just({}), min_size=1).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {
                ask: st.just(NO_FIELDS) if (below := table[ask.field].table) is None else selections(below)
                for ask in chosen
            }
        ).map(Selection.of)
    )


def forms(kind: str, entity: str) -> list[EntityLayout]:
    return [part.shape for call in KINDS[kind].calls for part in call.parts if part.shape.entity == entity]


@st.composite
def asked(draw: st.DrawFn, ref: Ref) -> Want:
    """One field that some form of the object tells, with anything below it; or its id, or whether it is there."""
    tables = [shape.fields for shape in forms(ref.registry, ref.entity)]
    ask = draw(
        st.sampled_from(
            [EXISTS, FieldRequest("id")]
            + [FieldRequest(name) for name in sorted({name for table in tables for name in table})]
        )
    )
    below = NO_FIELDS
    holding = [table[ask.field].table for table in tables if ask.field in table]
    if nested := [table for table in holding if table is not None]:
        below = draw(selections(nested[0]))
    return Want(ref, ask, candidates(KINDS[ref.registry], ref, ask, below, ()))


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Want], list[Bound]]:
    """What is wanted of two objects of one kind and of their versions, and the calls that were made before."""
    kind, entity = draw(st.sampled_from([(kind, entity) for kind in KINDS for entity in ("Model", "Algorithm")]))
    owners = [Ref(kind, entity, (key,)) for key in ("one", "two")]
    refs = owners + [owner.version(key) for owner in owners for key in ("1", "2")]
    drawn = draw(st.lists(st.sampled_from(refs).flatmap(asked), max_size=9))
    wants = list({(want.ref, want.ask): want for want in drawn if want.candidates}.values())
    offered = list(dict.fromkeys(bound for want in wants for bound in want.candidates))
    return wants, draw(st.lists(st.sampled_from(offered), unique=True, max_size=3)) if offered else []


@settings(deadline=None, max_examples=400)
@given(questions())
def test_no_smaller_set_of_calls_would_do(question: tuple[list[Want], list[Bound]]) -> None:
    wants, made = question
    planned = plan(wants, made)
    assert planned.keys() == set(wants)
    assert all(bound in want.candidates for want, bound in planned.items())
    assert len(set(planned.values()) - set(made)) == smallest(wants, made)


@settings(deadline=None)
@given(questions(), st.randoms(use_true_random=False))
def test_the_order_of_the_wants_changes_nothing(question: tuple[list[Want], list[Bound]], chance: Random) -> None:
    wants, made = question
    mixed = list(wants)
    chance.shuffle(mixed)
    assert len(set(plan(mixed, made).values()) - set(made)) == len(set(plan(wants, made).values()) - set(made))
