"""Random operations: however a question is spelled, it makes the same calls, each once, and no more than needed."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from graphql import GraphQLField, GraphQLObjectType, get_named_type, parse, validate
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.ids import parse as parse_id
from gateway.catalog.query_plan import BoundCall, supplies
from gateway.catalog.selection import FieldRequest
from gateway.execution.selection import python_name
from gateway.registries import KINDS
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Raw, Rows
from gateway.schema.schema import SCHEMA
from tests.catalog.clouds import Clouds, from_pai, from_qianfan

GRAPH = SCHEMA._schema
IDS = {
    "Model": [
        "pai:model/model-a",
        "pai:model/model-empty",
        "pai:model/model-public",
        "qianfan:model/am-1",
        "qianfan:model/am-2",
        "qianfan:model/am-4",
    ],
    "ModelVersion": [
        "pai:model/model-a/version/0.1.0",
        "pai:model/model-b/version/1.0.0",
        "qianfan:model/am-1/version/amv-11",
        "qianfan:model/am-4/version/amv-42",
    ],
    "Algorithm": ["pai:algorithm/algo-tune", "pai:algorithm/algo-own", "qianfan:algorithm/ERNIE-Lite:SFT:LoRA"],
    "AlgorithmVersion": [
        "pai:algorithm/algo-tune/version/v1",
        "qianfan:algorithm/ERNIE-Lite:SFT:LoRA/version/1",
    ],
}
ROOTS = {
    "Model": "model",
    "ModelVersion": "modelVersion",
    "Algorithm": "algorithm",
    "AlgorithmVersion": "algorithmVersion",
}
NAMES = ("0.1.0", "0.2.0", "2", "v1", "1", "nothing")
ENTITIES = {*IDS, "Training"}
LOOKUPS = ("algorithm", "algorithmVersion")


slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


# Questions: what is asked, before it is spelled. A tree of (field, arguments) to what is asked below.

Question = Mapping[tuple[str, str], "Question"]


def object_type(field: GraphQLField) -> GraphQLObjectType | None:
    named = get_named_type(field.type)
    return named if isinstance(named, GraphQLObjectType) else None


@st.composite
def questions(draw: st.DrawFn, type_name: str, depth: int = 3, without: tuple[str, ...] = ()) -> Question:
    """Some fields of a type; the deeper, the fewer objects among them."""
    declared = GRAPH.type_map[type_name].fields
    fields = {name: field for name, field in declared.items() if not (type_name in ENTITIES and name in without)}
    if not depth:
        fields = {name: field for name, field in fields.items() if object_type(field) is None} or fields
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=4, unique=True))
    found: dict[tuple[str, str], Question] = {}
    for name in chosen:
        value_type = object_type(fields[name])
        arguments = ""
        if "name" in fields[name].args:
            arguments = f'(name: "{draw(st.sampled_from(NAMES))}")'
        elif "first" in fields[name].args and "first" not in without:
            arguments = draw(st.sampled_from(["", "(first: 1)", "(first: 2)"]))
        below = {} if value_type is None else draw(questions(value_type.name, max(0, depth - 1), without))
        found[name, arguments] = below
    return found


def plain(question: Question) -> str:
    """A question in its simplest spelling."""
    if not question:
        return ""
    said = (f"{key(name, arguments)}{name}{arguments}{plain(below)}" for (name, arguments), below in question.items())
    return " { " + " ".join(said) + " }"


def key(name: str, arguments: str) -> str:
    """Fields with arguments need an alias to stand beside each other."""
    return f"{name}_{''.join(c if c.isalnum() else '_' for c in arguments)}: " if arguments else ""


class Speller:
    """Spells a question in many ways: aliases, fragments, directives, fields twice or in halves."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.fragments: list[str] = []
        self.aliases = 0

    def flip(self) -> bool:
        return self.draw(st.integers(0, 3)) == 0

    def selection(self, type_name: str, question: Question) -> str:
        if not question:
            return ""
        parts = [self.field(type_name, name, arguments, below) for (name, arguments), below in question.items()]
        if self.flip():
            parts.append("__typename")
        if self.flip():
            parts.append(f"... on {type_name} @skip(if: $yes) {{ {self.decoy(type_name)} }}")
        return " { " + " ".join(self.wrapped(type_name, part) for part in self.draw(st.permutations(parts))) + " }"

    def decoy(self, type_name: str) -> str:
        """A field that costs something and is never asked for, because it stands under a directive."""
        return {"Model": "versions { totalCount }", "ModelVersion": "model { name }"}.get(type_name, "__typename")

    def field(self, type_name: str, name: str, arguments: str, below: Question) -> str:
        value_type = object_type(GRAPH.type_map[type_name].fields[name])
        spelled_type = "" if value_type is None else value_type.name
        spelled = f"{key(name, arguments)}{name}{arguments}{self.selection(spelled_type, below)}"
        if self.flip():
            self.aliases += 1
            spelled += f" alias{self.aliases}: {name}{arguments}{self.selection(spelled_type, below)}"
        if len(below) > 1 and self.flip():
            items = list(below.items())
            for half in (dict(items[:1]), dict(items[1:])):
                spelled += f" {key(name, arguments)}{name}{arguments}{self.selection(spelled_type, half)}"
        return spelled

    def wrapped(self, type_name: str, part: str) -> str:
        way = self.draw(st.sampled_from(["", "", "inline", "on", "include", "skip", "named", "twice"]))
        if way == "inline":
            return f"... {{ {part} }}"
        if way == "on":
            return f"... on {type_name} {{ {part} }}"
        if way == "include":
            return f"... @include(if: $yes) {{ {part} }}"
        if way == "skip":
            return f"... on {type_name} @skip(if: $no) @include(if: $yes) {{ {part} }}"
        if way == "twice":
            return f"{part} ... on {type_name} {{ {part} }}"
        if way == "named":
            name = f"F{len(self.fragments)}"
            self.fragments.append(f"fragment {name} on {type_name} {{ {part} }}")
            return f"...{name}"
        return part

    def document(self, roots: Sequence[str]) -> str:
        variables = "query Q($yes: Boolean! = true, $no: Boolean! = false)"
        return " ".join(
            [f"{variables} {{ __typename @include(if: $yes) @skip(if: $no) {' '.join(roots)} }}", *self.fragments]
        )


@st.composite
def asked_objects(draw: st.DrawFn, most: int, without: tuple[str, ...] = ()) -> list[tuple[str, str, Question]]:
    """Some objects of any type, and a question about each."""
    asked = []
    for _ in range(draw(st.integers(1, most))):
        entity = draw(st.sampled_from(sorted(IDS)))
        asked.append((entity, draw(st.sampled_from(IDS[entity])), draw(questions(entity, without=without))))
    return asked


@st.composite
def two_spellings(draw: st.DrawFn) -> tuple[str, str]:
    """The same questions, said plainly and said in a roundabout way."""
    asked = draw(asked_objects(3))
    roots, roundabout, speller = [], [], Speller(draw)
    for number, (entity, text, question) in enumerate(asked):
        root = f'{ROOTS[entity]}(id: "{text}")'
        roots.append(f"r{number}: {root}{plain(question)}")
        body = speller.selection(entity, question)
        if draw(st.booleans()):
            other = next(name for name in IDS if name != entity)
            body = (
                f"{{ ... on {other} {{ {speller.decoy(other)} }} ... on Node {{ __typename }} ... on {entity} {body} }}"
            )
            root = draw(st.sampled_from([f'node(id: "{text}")', f'nodes(ids: ["{text}", "{text}"])']))
        roundabout.append(f"r{number}: {root} {body}")
    return f"{{ {' '.join(roots)} }}", speller.document(roundabout)


def made(document: str) -> Clouds:
    """The clouds after they have answered a document."""
    assume(validate(GRAPH, parse(document)) == [])
    clouds = Clouds()
    asyncio.run(clouds.query(document))
    return clouds


@slow
@given(two_spellings())
def test_a_question_makes_the_same_calls_however_it_is_spelled(spellings: tuple[str, str]) -> None:
    said_plainly, said_otherwise = spellings
    assert sorted(made(said_plainly).calls) == sorted(made(said_otherwise).calls)


@slow
@given(two_spellings())
def test_no_call_is_made_twice_in_one_operation(spellings: tuple[str, str]) -> None:
    clouds = made(spellings[1])
    assert [call for call, times in clouds.requests.items() if times > 1] == []


@settings(slow, phases=[Phase.generate])
@given(questions("ModelConnection"), questions("AlgorithmConnection"), st.integers(1, 3))
def test_lists_and_all_below_them_make_no_call_twice(models: Question, algorithms: Question, first: int) -> None:
    clouds = made(
        f"{{ a: models(first: {first}) {plain(models)} b: algorithms {plain(algorithms)} c: models {plain(models)} }}"
    )
    assert [call for call, times in clouds.requests.items() if times > 1] == []


# No smaller set of calls answers the question

Facts = Sequence[tuple[EntityLayout, Raw]]


class Oracle:
    """Whether some calls together answer a question about one object, found by looking at all that they tell.

    It knows the tables and the documents, and nothing of how the catalog goes about it.
    """

    def __init__(self, bounds: Sequence[BoundCall]) -> None:
        self.bounds = bounds

    def facts(self, ref: Ref) -> Iterator[tuple[EntityLayout, Raw]]:
        for bound in self.bounds:
            if bound.keys == tuple(ref.keys[i] for i in bound.call.key_positions if i < len(ref.keys)):
                for part in bound.call.entities:
                    document = said(bound) if part.layout.entity == ref.entity else None
                    if document is not None and (raw := part.locate(document, ref.keys)) is not None:
                        yield part.layout, raw

    def answers(self, ref: Ref, question: Question, known: Facts = ()) -> bool:
        facts = [*known, *self.facts(ref)]
        entity = GRAPH.type_map[ref.entity]
        return self.proves(facts) and all(
            self.tells(ref, facts, FieldRequest(python_name(entity.fields[name])), entity.fields[name], below)
            for (name, _), below in question.items()
        )

    def proves(self, facts: Facts) -> bool:
        """Whether the object is there: something tells of it, or lists something that belongs to it."""
        lists = (field.read(raw) for layout, raw in facts for field in layout.fields.values() if not layout.is_entity)
        return any(layout.is_entity for layout, _ in facts) or any(
            isinstance(rows, Rows) and rows.items for rows in lists
        )

    def tells(self, ref: Ref, facts: Facts, ask: FieldRequest, field: GraphQLField, below: Question) -> bool:
        kind = KINDS[ref.registry]
        if ask.field in ("id", "native_id", "registry", "registry_name") or ask.field in kind.absent[ref.entity]:
            return True
        if ask.field in ("model", "algorithm"):
            return self.answers(ref.owner, below)
        selection = as_selection(field, below)
        telling = [
            (layout.fields[ask.field], value)
            for layout, raw in facts
            if supplies(layout.fields, ask, selection)
            and (value := layout.fields[ask.field].read(raw)) is not NOT_PROVIDED
        ]
        return any(
            inner.layout is None or self.answers_all(ref, inner.layout, value, below) for inner, value in telling
        )

    def answers_all(self, ref: Ref, layout: EntityLayout, value: Any, below: Question) -> bool:
        """An entity within an entity, or a connection of them."""
        if not isinstance(value, Rows):
            return value is None or self.answers(ref.version(layout.key(value)), below, [(layout, value)])
        nodes = [asked for (name, _), asked in below.items() if name == "nodes"]
        nodes += [
            asked
            for (name, _), edge in below.items()
            if name == "edges"
            for (inner, _), asked in edge.items()
            if inner == "node"
        ]
        return all(
            self.answers(ref.version(layout.key(row)), asked, [(layout, row)]) for row in value.items for asked in nodes
        )


def as_selection(field: GraphQLField, question: Question) -> Mapping[FieldRequest, Any]:
    value_type = object_type(field)
    return {
        FieldRequest(python_name(value_type.fields[name])): as_selection(value_type.fields[name], below)
        for (name, _), below in question.items()
    }


def said(bound: BoundCall) -> Any:
    request = bound.call.request(bound.keys, bound.fixed, bound.page)
    return (from_pai if bound.registry == "pai" else from_qianfan)(request)


def family(ref: Ref) -> list[BoundCall]:
    """All calls about a model or algorithm and about its versions."""
    owner = ref if len(ref.keys) == 1 else ref.owner
    versions = [parse_id(text) for text in FAMILIES.get(str(owner), ())]
    return list(
        dict.fromkeys(
            BoundCall(ref.registry, call, tuple(one.keys[i] for i in call.key_positions))
            for one in (owner, *versions)
            for call in KINDS[ref.registry].calls
            if any(part.layout.entity == one.entity for part in call.entities)
        )
    )


FAMILIES = {
    "pai:model/model-a": ["pai:model/model-a/version/0.1.0", "pai:model/model-a/version/0.2.0"],
    "pai:model/model-b": ["pai:model/model-b/version/1.0.0"],
    "pai:model/model-public": ["pai:model/model-public/version/v1"],
    "pai:algorithm/algo-own": ["pai:algorithm/algo-own/version/v0.0.1"],
    "pai:algorithm/algo-tune": ["pai:algorithm/algo-tune/version/v1", "pai:algorithm/algo-tune/version/v2"],
    "qianfan:model/am-1": ["qianfan:model/am-1/version/amv-11", "qianfan:model/am-1/version/amv-12"],
    "qianfan:model/am-4": ["qianfan:model/am-4/version/amv-41", "qianfan:model/am-4/version/amv-42"],
    "qianfan:algorithm/ERNIE-Lite:SFT:LoRA": ["qianfan:algorithm/ERNIE-Lite:SFT:LoRA/version/1"],
}


def smallest(ref: Ref, question: Question) -> int:
    bounds = family(ref)
    sets = chain.from_iterable(combinations(bounds, number) for number in range(len(bounds) + 1))
    return next(len(some) for some in sets if Oracle(some).answers(ref, question))


@settings(slow, max_examples=300)
@given(asked_objects(1, without=(*LOOKUPS, "version", "first")))
def test_a_question_about_one_object_makes_as_few_calls_as_any_set_that_answers_it(
    asked: list[tuple[str, str, Question]],
) -> None:
    [(entity, text, question)] = asked
    clouds = made(f'{{ {ROOTS[entity]}(id: "{text}"){plain(question)} }}')
    assert len(clouds.calls) == smallest(parse_id(text), question)
