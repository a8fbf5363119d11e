"""Random operations: equivalent documents make the same calls, each once, and no more than needed."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from graphql import GraphQLField, GraphQLObjectType, get_named_type, parse, validate
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from gateway.catalog.bill_of_materials import BOM_FIELDS
from gateway.catalog.ids import Ref
from gateway.catalog.ids import parse as parse_id
from gateway.catalog.query_plan import BoundCall, supplies
from gateway.catalog.selection import FieldRequest, Selection, to_camel_case
from gateway.execution.field_requests import python_name
from gateway.registries import KINDS
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Raw, Rows
from gateway.schema.schema import SCHEMA
from tests.catalog.clouds import FakeClouds, from_pai, from_qianfan

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


# Field trees: (field, arguments) to the fields below

FieldTree = Mapping[tuple[str, str], "FieldTree"]


def object_type(field: GraphQLField) -> GraphQLObjectType | None:
    named = get_named_type(field.type)
    return named if isinstance(named, GraphQLObjectType) else None


@st.composite
def field_trees(draw: st.DrawFn, type_name: str, depth: int = 3, without: tuple[str, ...] = ()) -> FieldTree:
    """Some fields of a type; objects among them only down to a depth."""
    declared = GRAPH.type_map[type_name].fields
    fields = {name: field for name, field in declared.items() if not (type_name in ENTITIES and name in without)}
    if not depth:
        fields = {name: field for name, field in fields.items() if object_type(field) is None} or fields
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=4, unique=True))
    found: dict[tuple[str, str], FieldTree] = {}
    for name in chosen:
        value_type = object_type(fields[name])
        arguments = ""
        if "name" in fields[name].args:
            arguments = f'(name: "{draw(st.sampled_from(NAMES))}")'
        elif "fields" in fields[name].args:
            facets = get_named_type(fields[name].args["fields"].type)
            arguments = f"(fields: [{draw(st.sampled_from(sorted(facets.values)))}])"
        elif "first" in fields[name].args and "first" not in without:
            arguments = draw(st.sampled_from(["", "(first: 1)", "(first: 2)"]))
        below = {} if value_type is None else draw(field_trees(value_type.name, max(0, depth - 1), without))
        found[name, arguments] = below
    return found


def formatted(tree: FieldTree) -> str:
    """Format a field tree in its simplest form."""
    if not tree:
        return ""
    fields = (f"{key(name, arguments)}{name}{arguments}{formatted(below)}" for (name, arguments), below in tree.items())
    return " { " + " ".join(fields) + " }"


def key(name: str, arguments: str) -> str:
    """Return an alias for a field with arguments, so that it can be selected several times."""
    return f"{name}_{''.join(c if c.isalnum() else '_' for c in arguments)}: " if arguments else ""


class Formatter:
    """Formats a field tree with random aliases, fragments, directives, and repeated or split fields."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.fragments: list[str] = []
        self.aliases = 0

    def flip(self) -> bool:
        return self.draw(st.integers(0, 3)) == 0

    def selection(self, type_name: str, tree: FieldTree) -> str:
        if not tree:
            return ""
        parts = [self.field(type_name, name, arguments, below) for (name, arguments), below in tree.items()]
        if self.flip():
            parts.append("__typename")
        if self.flip():
            parts.append(f"... on {type_name} @skip(if: $yes) {{ {self.decoy(type_name)} }}")
        return " { " + " ".join(self.wrapped(type_name, part) for part in self.draw(st.permutations(parts))) + " }"

    def decoy(self, type_name: str) -> str:
        """A field that would cost a call, for use under a directive that skips it."""
        return {"Model": "versions { totalCount }", "ModelVersion": "model { name }"}.get(type_name, "__typename")

    def field(self, type_name: str, name: str, arguments: str, below: FieldTree) -> str:
        value_type = object_type(GRAPH.type_map[type_name].fields[name])
        value_type_name = "" if value_type is None else value_type.name
        text = f"{key(name, arguments)}{name}{arguments}{self.selection(value_type_name, below)}"
        if self.flip():
            self.aliases += 1
            text += f" alias{self.aliases}: {name}{arguments}{self.selection(value_type_name, below)}"
        if len(below) > 1 and self.flip():
            items = list(below.items())
            for half in (dict(items[:1]), dict(items[1:])):
                text += f" {key(name, arguments)}{name}{arguments}{self.selection(value_type_name, half)}"
        return text

    def wrapped(self, type_name: str, part: str) -> str:
        form = self.draw(st.sampled_from(["", "", "inline", "on", "include", "skip", "named", "twice"]))
        if form == "inline":
            return f"... {{ {part} }}"
        if form == "on":
            return f"... on {type_name} {{ {part} }}"
        if form == "include":
            return f"... @include(if: $yes) {{ {part} }}"
        if form == "skip":
            return f"... on {type_name} @skip(if: $no) @include(if: $yes) {{ {part} }}"
        if form == "twice":
            return f"{part} ... on {type_name} {{ {part} }}"
        if form == "named":
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
def object_queries(draw: st.DrawFn, most: int, without: tuple[str, ...] = ()) -> list[tuple[str, str, FieldTree]]:
    """Some objects of any type, each with a field tree."""
    queries = []
    for _ in range(draw(st.integers(1, most))):
        entity = draw(st.sampled_from(sorted(IDS)))
        queries.append((entity, draw(st.sampled_from(IDS[entity])), draw(field_trees(entity, without=without))))
    return queries


@st.composite
def equivalent_documents(draw: st.DrawFn) -> tuple[str, str]:
    """Two documents with the same fields: in the simplest form and in a random one."""
    queries = draw(object_queries(3))
    roots, varied, formatter = [], [], Formatter(draw)
    for number, (entity, text, tree) in enumerate(queries):
        root = f'{ROOTS[entity]}(id: "{text}")'
        roots.append(f"r{number}: {root}{formatted(tree)}")
        body = formatter.selection(entity, tree)
        if draw(st.booleans()):
            other = next(name for name in IDS if name != entity)
            decoy = f"... on {other} {{ {formatter.decoy(other)} }}"
            body = f"{{ {decoy} ... on Node {{ __typename }} ... on {entity} {body} }}"
            root = draw(st.sampled_from([f'node(id: "{text}")', f'nodes(ids: ["{text}", "{text}"])']))
        varied.append(f"r{number}: {root} {body}")
    return f"{{ {' '.join(roots)} }}", formatter.document(varied)


def lists_document(models: FieldTree, algorithms: FieldTree, first: int) -> str:
    """Return a document with a list of models twice and a list of algorithms."""
    below = formatted(models)
    return f"{{ a: models(first: {first}) {below} b: algorithms {formatted(algorithms)} c: models {below} }}"


def run(document: str) -> FakeClouds:
    """Return the clouds after they have executed a document."""
    assume(validate(GRAPH, parse(document)) == [])
    clouds = FakeClouds()
    asyncio.run(clouds.query(document))
    return clouds


@slow
@given(equivalent_documents())
def test_equivalent_documents_make_the_same_calls(documents: tuple[str, str]) -> None:
    simple, varied = documents
    assert sorted(run(simple).calls) == sorted(run(varied).calls)


@slow
@given(equivalent_documents())
def test_no_call_is_made_twice_in_one_operation(documents: tuple[str, str]) -> None:
    clouds = run(documents[1])
    assert [call for call, times in clouds.requests.items() if times > 1] == []


@settings(slow, phases=[Phase.generate])
@given(field_trees("ModelConnection"), field_trees("AlgorithmConnection"), st.integers(1, 3))
def test_lists_and_the_fields_below_them_make_no_call_twice(
    models: FieldTree, algorithms: FieldTree, first: int
) -> None:
    clouds = run(lists_document(models, algorithms, first))
    assert [call for call, times in clouds.requests.items() if times > 1] == []


# No smaller set of calls suffices

RawEntities = Sequence[tuple[EntityLayout, Raw]]


class Oracle:
    """Decides whether some calls together supply a field tree of one object.

    It reads the tables and the documents, and shares no code with the planner.
    """

    def __init__(self, bounds: Sequence[BoundCall]) -> None:
        self.bounds = bounds

    def entities(self, ref: Ref) -> Iterator[tuple[EntityLayout, Raw]]:
        for bound in self.bounds:
            if bound.keys == tuple(ref.keys[i] for i in bound.call.key_positions if i < len(ref.keys)):
                for part in bound.call.entities:
                    document = response(bound) if part.layout.entity == ref.entity else None
                    if document is not None and (raw := part.locate(document, ref.keys)) is not None:
                        yield part.layout, raw

    def answers(self, ref: Ref, tree: FieldTree, known: RawEntities = ()) -> bool:
        entities = [*known, *self.entities(ref)]
        entity = GRAPH.type_map[ref.entity]
        return self.exists(entities) and all(
            self.has_field(ref, entities, FieldRequest(python_name(entity.fields[name])), entity.fields[name], below)
            for (name, _), below in tree.items()
        )

    def exists(self, entities: RawEntities) -> bool:
        """Whether the calls show that the object exists: one has it, or has rows that belong to it."""
        fields = [(field, raw) for layout, raw in entities if not layout.is_entity for field in layout.fields.values()]
        lists = (field.read(raw) for field, raw in fields)
        return any(layout.is_entity for layout, _ in entities) or any(
            isinstance(rows, Rows) and rows.items for rows in lists
        )

    def has_field(
        self, ref: Ref, entities: RawEntities, request: FieldRequest, field: GraphQLField, below: FieldTree
    ) -> bool:
        kind = KINDS[ref.registry]
        if (
            request.field in ("id", "native_id", "registry", "registry_name")
            or request.field in kind.absent[ref.entity]
        ):
            return True
        if request.field in ("model", "algorithm"):
            return self.answers(ref.owner, below)
        if request.field == "bom":
            return self.answers(ref, field_tree(BOM_FIELDS), entities)
        selection = as_selection(field, below)
        values = [
            (layout.fields[request.field], value)
            for layout, raw in entities
            if supplies(layout.fields, request, selection)
            and (value := layout.fields[request.field].read(raw)) is not NOT_PROVIDED
        ]
        return any(inner.layout is None or self.answers_all(ref, inner.layout, value, below) for inner, value in values)

    def answers_all(self, ref: Ref, layout: EntityLayout, value: Any, below: FieldTree) -> bool:
        """Whether the calls supply an entity inside another one, or a connection of them."""
        if not isinstance(value, Rows):
            return value is None or self.answers(ref.version(layout.key(value)), below, [(layout, value)])
        nodes = [tree for (name, _), tree in below.items() if name == "nodes"]
        nodes += [
            tree
            for (name, _), edge in below.items()
            if name == "edges"
            for (inner, _), tree in edge.items()
            if inner == "node"
        ]
        return all(
            self.answers(ref.version(layout.key(row)), tree, [(layout, row)]) for row in value.items for tree in nodes
        )


def as_selection(field: GraphQLField, tree: FieldTree) -> Mapping[FieldRequest, Any]:
    value_type = object_type(field)
    return {
        FieldRequest(python_name(value_type.fields[name])): as_selection(value_type.fields[name], below)
        for (name, _), below in tree.items()
    }


def field_tree(selection: Selection) -> FieldTree:
    return {(to_camel_case(request.field), ""): field_tree(below) for request, below in selection.items()}


def response(bound: BoundCall) -> Any:
    request = bound.call.request(bound.keys, bound.fixed, bound.page)
    return (from_pai if bound.registry == "pai" else from_qianfan)(request)


def family(ref: Ref) -> list[BoundCall]:
    """Return all calls for a model or algorithm and for its versions."""
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


def smallest_number_of_calls(ref: Ref, tree: FieldTree) -> int:
    bounds = family(ref)
    sets = chain.from_iterable(combinations(bounds, number) for number in range(len(bounds) + 1))
    return next(len(some) for some in sets if Oracle(some).answers(ref, tree))


@settings(slow, max_examples=300)
@given(object_queries(1, without=(*LOOKUPS, "version", "first")))
def test_a_query_of_one_object_makes_the_smallest_number_of_calls(
    queries: list[tuple[str, str, FieldTree]],
) -> None:
    [(entity, text, tree)] = queries
    clouds = run(f'{{ {ROOTS[entity]}(id: "{text}"){formatted(tree)} }}')
    assert len(clouds.calls) == smallest_number_of_calls(parse_id(text), tree)
