"""What every kind of registry, in each generation, owes the catalog and the graph. A new one joins with its samples.

No test here names a kind: tables say what is expected, `tests.registries.samples` says where they stand.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from graphql import GraphQLEnumType, GraphQLList, GraphQLNonNull, get_named_type
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import errors
from gateway.catalog.filters import TESTS
from gateway.catalog.ids import Ref
from gateway.errors import InvalidId
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT, NOT_PROVIDED, EntityLayout, Rows
from gateway.registries.signatures import query_string
from gateway.schema.enums import Capability, RegistryKind
from gateway.schema.field_sources import supplied_fields
from gateway.upstream.messages import Response
from tests.registries import samples
from tests.registries.samples import (
    ENTITIES,
    JSON,
    TABLES,
    calls,
    graph_fields,
    project,
    project_children,
    shapes,
    walk,
)

COMPUTED = {"id", "registry", "registry_name", "native_id"}
RELATIONS = {
    "Model": {"version"},
    "ModelVersion": {"model"},
    "Algorithm": {"version"},
    "AlgorithmVersion": {"algorithm"},
}

every_kind = pytest.mark.parametrize("kind", TABLES)
every_shape = pytest.mark.parametrize(
    ("kind", "shape"),
    [
        pytest.param(kind, shape, id=f"{kind}-{shape.entity}-{number}")
        for kind in TABLES
        for number, shape in enumerate(shapes(TABLES[kind]))
    ],
)


def words_of(kind: str) -> dict[str, list[tuple[Any, GraphQLEnumType]]]:
    """The fields of a kind that give a word of the graph: path to table entries and their enumeration."""
    found: dict[str, list[tuple[Any, GraphQLEnumType]]] = {}
    for shape in shapes(TABLES[kind]):
        for path, _, field, declared in walk(shape.entity, shape.fields):
            if field is not ABSENT and isinstance(enum := get_named_type(declared.type), GraphQLEnumType):
                found.setdefault(".".join((shape.entity, *path)), []).append((field, enum))
    return found


# Tables and the graph


@every_kind
def test_the_kind_is_known_under_its_name(kind: str) -> None:
    assert TABLES[kind].name in RegistryKind.__members__
    assert set(TABLES[kind].capabilities) <= set(Capability.__members__)


@every_kind
def test_the_settings_of_the_folder_choose_the_table(kind: str) -> None:
    assert KINDS[TABLES[kind].name.lower()].of(samples.settings(kind)) is TABLES[kind]


@every_kind
def test_every_service_that_a_call_goes_to_has_an_address(kind: str) -> None:
    addresses = TABLES[kind].services(samples.settings(kind))
    assert {call.service for call in calls(TABLES[kind])} == set(addresses)
    assert all(re.fullmatch(r"https://[a-z0-9.-]+", address) for address in addresses.values())


@every_shape
def test_every_field_of_a_form_is_in_the_graph(kind: str, shape: EntityLayout) -> None:
    unknown = [".".join(path) for path, _, _, declared in walk(shape.entity, shape.fields) if declared is None]
    assert unknown == []


@every_shape
def test_a_field_has_a_table_exactly_where_the_graph_has_a_value_object(kind: str, shape: EntityLayout) -> None:
    for path, _, field, declared in walk(shape.entity, shape.fields):
        inner = get_named_type(declared.type)
        if field is ABSENT:
            continue
        is_entity = inner.name.removesuffix("Connection") in ENTITIES
        assert (field.shape is not None or field.lookup is not None) == is_entity, path
        assert (field.table is not None) == (hasattr(inner, "fields") and not is_entity), path


@every_kind
@pytest.mark.parametrize("entity", ENTITIES)
def test_every_value_object_is_told_whole_by_one_form(kind: str, entity: str) -> None:
    """The planner asks one call for all of a value, so some table must name each of its fields, if only as absent."""
    best: dict[tuple[str, ...], set[str]] = {}
    types = {}
    for shape in shapes(TABLES[kind]):
        if shape.entity != entity:
            continue
        for path, _, field, declared in walk(entity, shape.fields):
            if field.table is not None:
                types[path] = get_named_type(declared.type).name
                best[path] = max(best.get(path, set()), set(field.table), key=len)
    assert best == {path: set(graph_fields(name)) for path, name in types.items()}


@every_kind
@pytest.mark.parametrize("entity", ENTITIES)
def test_every_field_of_the_graph_is_supplied_computed_or_declared_absent(kind: str, entity: str) -> None:
    by_calls, absent = supplied_fields(TABLES[kind], entity), TABLES[kind].absent[entity]
    assert by_calls & absent == set()
    assert by_calls | absent | COMPUTED | RELATIONS[entity] == set(graph_fields(entity))
    assert (by_calls | absent) & (COMPUTED | RELATIONS[entity]) == set()


@every_kind
def test_every_lookup_of_a_table_is_one_of_the_kind(kind: str) -> None:
    named = {
        (field.lookup, get_named_type(declared.type).name)
        for shape in shapes(TABLES[kind])
        for _, _, field, declared in walk(shape.entity, shape.fields)
        if field.lookup is not None
    }
    assert named == {(name, lookup.entity) for name, lookup in TABLES[kind].lookups.items()}


@every_kind
def test_every_entity_that_is_listed_can_be_asked_for_again(kind: str) -> None:
    told = {part.shape.entity for call in TABLES[kind].calls for part in call.parts if part.shape.whole}
    assert {stream.entity for stream in TABLES[kind].streams} <= told
    assert set(TABLES[kind].keys) == set(TABLES[kind].absent) == set(ENTITIES)


# Words


@every_kind
def test_every_word_of_the_vendor_has_a_word_of_the_graph(kind: str) -> None:
    fields, words = words_of(kind), samples.expected(kind, "words")
    spoken = {path for path, entries in fields.items() if any(field.keys for field, _ in entries)}
    assert set(words) == spoken
    for path, table in words.items():
        for field, enum in fields[path]:
            if field.keys:
                native = field.keys[0]
                assert {word: field.read({native: word}) for word in table} == table
                assert set(table.values()) <= set(enum.values) - {"OTHER"}


@every_kind
def test_an_unknown_word_is_other_and_an_empty_one_is_not_said(kind: str) -> None:
    for path, entries in words_of(kind).items():
        for field, enum in entries:
            for native in field.keys[:1]:
                assert field.read({native: "a word of tomorrow"}) == "OTHER" in enum.values, path
                assert [field.read(raw) for raw in ({native: ""}, {native: None}, {})] == [None, None, None], path


@every_kind
@given(value=JSON)
@settings(max_examples=100, deadline=None)
def test_a_word_is_always_one_of_the_graph(kind: str, value: Any) -> None:
    for path, entries in words_of(kind).items():
        for field, enum in entries:
            said = field.read(dict.fromkeys(field.keys or ("anything",), value))
            assert said is None or said in enum.values, path


# Samples in, records out


def opened(record: Any) -> Any:
    """An expected record in full: ``latest_version`` among the versions' rows stands for that version."""
    if record and isinstance(record.get("versions"), dict):
        rows = [record["latest_version"] if row == "latest_version" else row for row in record["versions"]["rows"]]
        return {**record, "versions": {**record["versions"], "rows": rows}}
    return record


@samples.rows("records")
def test_a_sample_becomes_its_record(kind: str, row: Any) -> None:
    document, keys = samples.sample(kind, row["sample"]), tuple(row.get("keys", ()))
    if "lookup" in row:
        found = TABLES[kind].lookups[row["lookup"]].find(document, keys)
        assert (found and list(found)) == row["finds"]
        return
    call = samples.call_of(TABLES[kind], row)
    if "entity" in row:
        part = next(part for part in call.parts if part.shape.entity == row["entity"])
        raw = part.locate(document, keys)
        assert (None if raw is None else project(part.shape, raw)) == opened(row["record"])
    else:
        assert call.rows is not None
        assert call.rows.shape is not None
        page = project_children(call.rows.shape, call.rows.read(document))
        marker = {"next": row["next"]} if "next" in row else {}
        assert page == {"total": row["total"], **marker, "rows": [opened(record) for record in row["rows"]]}


@samples.rows("records")
def test_raw_is_the_object_of_the_sample_itself(kind: str, row: Any) -> None:
    if "lookup" in row:
        return
    document = samples.sample(kind, row["sample"])
    call = samples.call_of(TABLES[kind], row)
    if "entity" in row:
        part = next(part for part in call.parts if part.shape.entity == row["entity"])
        shape, objects = part.shape, [part.locate(document, tuple(row.get("keys", ())))]
    else:
        assert call.rows is not None
        assert call.rows.shape is not None
        shape, objects = call.rows.shape, call.rows.read(document).items
    for raw in objects:
        if raw is not None and "raw" in shape.fields:
            assert shape.fields["raw"].read(raw) is raw


def test_every_kind_has_its_folder_of_samples() -> None:
    assert {path.parent.name for path in samples.FOLDER.glob("*/expected")} == set(TABLES)


@every_kind
def test_every_sample_has_an_expectation(kind: str) -> None:
    tables = samples.expected(kind, "records") + samples.expected(kind, "errors")["samples"]
    assert {row["sample"] for row in tables} == set(samples.cases(kind))


@every_kind
def test_every_call_has_a_sample_and_a_request(kind: str) -> None:
    for table in ("records", "requests"):
        told = {samples.call_of(TABLES[kind], row) for row in samples.expected(kind, table)}
        assert {call.name for call in calls(TABLES[kind])} == {call.name for call in told}


@samples.rows("records")
def test_every_key_that_a_sample_gives_is_good_to_ask_with(kind: str, row: Any) -> None:
    for record in [row.get("record"), *row.get("rows", ())]:
        if record and record["key"] is not None:
            entity = row.get("entity") or samples.call_of(TABLES[kind], row).rows.shape.entity
            pattern = TABLES[kind].keys[entity][-1]
            assert pattern.fullmatch(record["key"])


# Any JSON in, fitting records out

ODD: tuple[Any, ...] = (None, True, 0, 1.5, 2**31, 2**63, -(2**63), "", "x", "[1]", '{"a":1}', "2024-05-20")
ODD += ([], [None], [1], [{}], {}, {"a": None}, {"": None})

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
FITS = {
    "String": lambda value: isinstance(value, str),
    "ID": lambda value: isinstance(value, str),
    "Boolean": lambda value: isinstance(value, bool),
    "Int": lambda value: isinstance(value, int) and -(2**31) <= value < 2**31,
    "Long": lambda value: isinstance(value, int) and -(2**63) <= value < 2**63,
    "Float": lambda value: isinstance(value, float),
    "DateTime": lambda value: TIME.fullmatch(value),
    "JSON": lambda value: True,
}


def fits(declared: Any, value: Any) -> bool:
    """Whether the graph can send a value."""
    if isinstance(declared, GraphQLNonNull):
        return value is not None and fits(declared.of_type, value)
    if value is None:
        return True
    if isinstance(declared, GraphQLList):
        return isinstance(value, list) and all(fits(declared.of_type, item) for item in value)
    if isinstance(declared, GraphQLEnumType):
        return value in declared.values
    return bool(FITS[declared.name](value))


def misfits(name: str, table: Any, raw: Any) -> Iterator[str]:
    """The fields of a table, and of all inside it, whose value the graph could not send."""
    for key, field in table.items():
        value, declared = field.read(raw), graph_fields(name)[key].type
        if value is NOT_PROVIDED or field.lookup is not None:
            continue
        if value is None:
            if isinstance(declared, GraphQLNonNull):
                yield f"{name}.{key}"
            continue
        items = value.items if isinstance(value, Rows) else value if isinstance(value, list) else [value]
        inner = field.table or (field.shape and field.shape.fields)
        if inner is None:
            if not fits(declared, value):
                yield f"{name}.{key}"
            continue
        for item in items:
            yield from misfits(get_named_type(declared).name.removesuffix("Connection"), inner, item)


@cache
def natives(kind: str) -> list[str]:
    """Every key in the samples of a kind."""
    documents = [samples.sample(kind, row["sample"]) for row in samples.expected(kind, "records")]
    return sorted({step for document in documents for _, step in places(document) if isinstance(step, str)})


@every_shape
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_json_in_any_key_becomes_a_record_that_fits_the_graph(
    kind: str, shape: EntityLayout, data: st.DataObject
) -> None:
    raw = data.draw(st.dictionaries(st.sampled_from(natives(kind)), JSON, max_size=8))
    assert shape.parent(raw) is None or isinstance(shape.parent(raw), str)
    assert project(shape, raw).keys() >= shape.fields.keys() - {"raw"} - {
        name for name, field in shape.fields.items() if field is ABSENT
    }
    assert set(misfits(shape.entity, shape.fields, raw)) == set()
    for name, field in shape.fields.items():
        value = field.read(raw)
        assert value is not NOT_PROVIDED or field.instead is NOT_PROVIDED, name
        assert not isinstance(value, Rows) or name == "versions" or field.instead is Rows, name


@every_kind
def test_what_a_call_is_sure_to_tell_is_in_every_answer_that_keeps_its_promise(kind: str) -> None:
    documents = [samples.sample(kind, case) for case in samples.cases(kind)]
    told = [
        (call.name, part.locate(document, ("nobody", "nothing")))
        for call in calls(TABLES[kind])
        for part in call.parts
        for document in documents
        if part.sure and call.promise(document)
    ]
    assert told
    assert [name for name, raw in told if raw is None] == []


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object or list of a document with every step into it."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in list(steps):
        yield value, step
        yield from places(inner)


@cache
def broken_by_odd_values(kind: str) -> set[str]:
    """What goes wrong when, in turn, each value of each sample is something else: fields that do not fit, and the
    places that make a call fail."""
    found: set[str] = set()
    for row in samples.expected(kind, "records"):
        document = samples.sample(kind, row["sample"])
        for container, step in places(document):
            kept = container[step]
            for odd in ODD:
                container[step] = odd
                try:
                    found.update(read_all(kind, row, document))
                except (AttributeError, KeyError, IndexError, TypeError, ValueError):
                    found.add(f"{samples.call_of(TABLES[kind], row).name} {step}")
            container[step] = kept
    return found


def read_all(kind: str, row: Any, document: Any) -> Iterator[str]:
    """Everything that a row's call tells of a document: the fields that do not fit."""
    call, keys = samples.call_of(TABLES[kind], row), tuple(row.get("keys", ()))
    if "lookup" in row:
        TABLES[kind].lookups[row["lookup"]].find(document, keys)
    elif "entity" in row:
        for part in call.parts:
            if part.shape.entity == row["entity"] and (raw := part.locate(document, keys)) is not None:
                part.shape.parent(raw)
                yield from misfits(part.shape.entity, part.shape.fields, raw)
    elif call.rows is not None and call.rows.shape is not None:
        for raw in call.rows.read(document).items:
            yield from misfits(call.rows.shape.entity, call.rows.shape.fields, raw)


@every_kind
def test_one_odd_value_anywhere_in_an_answer_breaks_nothing(kind: str) -> None:
    assert broken_by_odd_values(kind) == set()


# Requests


@samples.rows("requests")
def test_a_call_sends_what_the_vendors_own_client_sends(kind: str, row: Any) -> None:
    request = samples.request_of(TABLES[kind], row)
    target = request.path + (f"?{query_string(request.query)}" if request.query else "")
    assert f"{request.method} {target}" == row["sends"]
    assert (json.loads(request.body) if request.body else None) == row.get("body")


@every_kind
def test_every_order_that_a_call_claims_has_a_request(kind: str) -> None:
    shown: dict[str, set[tuple[str, bool]]] = {}
    for row in samples.expected(kind, "requests"):
        order = samples.order_of(row)
        shown.setdefault(samples.call_of(TABLES[kind], row).name, set()).add((order.field, order.falling))
    for call in calls(TABLES[kind]):
        assert call.orders.keys() <= shown[call.name]


@every_kind
@pytest.mark.parametrize("odd", ["a b", "a%2Fb", "%", "+&=", "模型", "~.*", "é;,:@", "a..b", "\U0001f600"])
def test_an_odd_key_stays_one_segment_of_the_path(kind: str, odd: str) -> None:
    for call in calls(TABLES[kind]):
        places = len(set(re.findall(r"\{\d\}", call.path)))
        request = call.request((odd,) * max(places, len(call.takes)))
        segments = request.path.split("/")
        assert re.fullmatch(r"[A-Za-z0-9/._~%-]+", request.path)
        assert len(segments) == len(call.path.split("/"))
        assert [unquote(segment) for segment in segments].count(odd) == places


# Filters


@every_kind
def test_every_filter_that_a_call_applies_is_one_of_the_graph_and_has_an_expectation(kind: str) -> None:
    applied = {(call.name, name) for call in calls(TABLES[kind]) for name in call.filters}
    assert applied == {(row["call"], row["filter"]) for row in samples.expected(kind, "filters")}
    for call in calls(TABLES[kind]):
        assert call.filters.keys() <= TESTS.get(samples.listed(call) or "", {}).keys()


@samples.rows("filters")
def test_a_filter_becomes_the_documented_parameters(kind: str, row: Any) -> None:
    push = samples.call_of(TABLES[kind], row).filters[row["filter"]]
    parameters = push.parameters(row["value"])
    assert (None if parameters is None else orjson.loads(orjson.dumps(parameters))) == row["sends"]
    assert push.exact == row["exact"]


@every_kind
def test_a_word_is_sent_upstream_only_in_the_one_spelling_that_there_is(kind: str) -> None:
    words = samples.expected(kind, "words")
    for call in calls(TABLES[kind]):
        for name, push in call.filters.items():
            entity = samples.listed(call)
            spelled = words.get(".".join((entity or "", *TESTS[entity or ""][name].paths[0])), {})
            for word in set(spelled.values()):
                parameters = push.parameters(word)
                if parameters is not None:
                    assert list(parameters.values()) == [said for said, meant in spelled.items() if meant == word]


# Keys

HOSTILE = {
    "slash": "a/b",
    "backslash": "a\\b",
    "parent": "..",
    "here": ".",
    "dots and spaces": " .. ",
    "question mark": "a?b",
    "hash": "a#b",
    "line break": "a\r\nX-Injected: 1",
    "ending line break": "a\n",
    "nul": "a\x00b",
    "delete": "a\x7fb",
    "long": "a" * 10_240,
    "empty": "",
    "spaces": "   ",
}


def good_keys(kind: str) -> list[Any]:
    good = samples.expected(kind, "keys")["good"]
    return [(entity, tuple(keys)) for entity, rows in good.items() for keys in rows]


@every_kind
def test_good_keys_are_admitted(kind: str) -> None:
    assert {entity for entity, _ in good_keys(kind)} == set(TABLES[kind].keys)
    for entity, keys in good_keys(kind):
        samples.registry(kind).admit(Ref("test", entity, keys))


@every_kind
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_key_is_refused_in_every_place(kind: str, hostile: str) -> None:
    registry = samples.registry(kind)
    for entity, keys in good_keys(kind):
        for place in range(len(keys)):
            bad = (*keys[:place], hostile, *keys[place + 1 :])
            with pytest.raises(InvalidId):
                registry.admit(Ref("test", entity, bad))


@every_kind
@pytest.mark.parametrize("added", ["/x", "/../x", "?x=1", "#x", "\r\nX: 1", "\n", "\x00", "\\x", "\t"])
def test_a_good_key_with_something_hostile_added_is_refused(kind: str, added: str) -> None:
    registry = samples.registry(kind)
    for entity, keys in good_keys(kind):
        for place, key in enumerate(keys):
            for bad in (key + added, added + key):
                with pytest.raises(InvalidId):
                    registry.admit(Ref("test", entity, (*keys[:place], bad, *keys[place + 1 :])))


@every_kind
@given(st.text())
@settings(max_examples=200, deadline=None)
def test_no_admitted_key_leaves_its_place_in_the_request(kind: str, key: str) -> None:
    registry = samples.registry(kind)
    for entity, keys in good_keys(kind):
        asked = (*keys[:-1], key)
        try:
            registry.admit(Ref("test", entity, asked))
        except InvalidId:
            continue
        for call in TABLES[kind].calls:
            if any(part.shape.entity == entity for part in call.parts):
                request = call.request(tuple(asked[place] for place in call.takes))
                assert len(request.path.split("/")) == len(call.path.split("/"))
                assert not {".", "..", ""} & set(request.path.split("/")[1:])


# Errors


def meaning(kind: str, response: Response) -> Any:
    error = TABLES[kind].check("test", response)
    return error and {"error": type(error).__name__, "vendor_code": error.vendor_code}


@samples.rows("errors", "samples")
def test_an_error_sample_means_its_error(kind: str, row: Any) -> None:
    error = TABLES[kind].check("test", samples.response(kind, row["sample"]))
    assert error is not None
    assert {
        "sample": row["sample"],
        "error": type(error).__name__,
        "vendor_code": error.vendor_code,
        "request_id": error.request_id,
        **({} if error.retry_after is None else {"retry_after": error.retry_after}),
    } == row


@samples.rows("errors", "codes")
def test_every_vendor_code_has_its_error(kind: str, row: Any) -> None:
    found = meaning(kind, samples.as_response(row))
    assert found == {"error": row["error"], "vendor_code": row["vendor_code"]}


@every_kind
def test_a_good_answer_is_no_error(kind: str) -> None:
    for row in samples.expected(kind, "records"):
        document = samples.sample(kind, row["sample"])
        assert TABLES[kind].check("test", Response(200, {}, json.dumps(document).encode(), document)) is None


CANARY = "c4nary of a message: the string to sign was GET /secret"


def with_canary(value: Any) -> Any:
    """A response whose every sentence is another one."""
    if isinstance(value, dict):
        return {key: with_canary(inner) for key, inner in value.items()}
    if isinstance(value, str) and value.startswith("<?xml"):
        return re.sub(r"<Message>.*</Message>", f"<Message>{CANARY}</Message>", value)
    return CANARY if isinstance(value, str) and " " in value else value


@samples.rows("errors", "samples")
def test_no_message_of_the_vendor_is_repeated(kind: str, row: Any) -> None:
    response = samples.as_response(with_canary(samples.sample(kind, row["sample"])))
    assert CANARY in response.body.decode()
    error = TABLES[kind].check("test", response)
    assert error is not None
    assert error.vendor_code == row["vendor_code"]
    assert CANARY not in f"{error} {error!r} {json.dumps(error.extensions)}"


@every_kind
@given(
    status=st.integers(200, 599),
    document=st.dictionaries(
        st.sampled_from(["Code", "code", "Message", "error_code", "error_msg", "requestId", "log_id", "result"]), JSON
    )
    | JSON,
    retry=st.text() | st.integers().map(str),
)
@settings(max_examples=150, deadline=None)
def test_any_response_is_a_known_error_or_none(kind: str, status: int, document: Any, retry: str) -> None:
    headers = {"x-acs-retry-after": retry, "x-bce-error-code": retry}
    body = json.dumps(document).encode()
    error = TABLES[kind].check("test", Response(status, headers, body, document))
    if status >= 400:
        assert isinstance(error, errors.RegistryError)
    if error is not None:
        assert error.retry_after is None or error.retry_after >= 0
        json.dumps(error.extensions)


# Signatures

NOW = datetime(2024, 5, 20, 8, 30, 45, tzinfo=UTC)


def signed(kind: str, call: Any, now: datetime = NOW, nonce: str = "0" * 32) -> dict[str, str]:
    request = call.request(("1",) * 2)
    return dict(TABLES[kind].sign(request, "registry.example", samples.credentials(kind), now, nonce))


@every_kind
def test_every_call_is_signed_with_the_time_and_without_the_secret(kind: str) -> None:
    secrets = samples.expected(kind, "keys")["secrets"]
    assert secrets
    for call in calls(TABLES[kind]):
        headers = signed(kind, call)
        assert headers["Authorization"]
        assert headers["host"] == "registry.example"
        for value in headers.values():
            assert value.isprintable()
            assert not any(secret in value for secret in secrets)
        assert headers != signed(kind, call, now=NOW.replace(second=46))


@every_kind
def test_a_signature_is_of_its_host_call_and_key(kind: str) -> None:
    credentials = samples.credentials(kind)
    made = {
        TABLES[kind].sign(call.request(keys), host, credentials, NOW, "0" * 32)["Authorization"]
        for call in TABLES[kind].calls
        if call.method == "GET"
        for keys in (("1", "1"), ("2", "2"))
        for host in ("a.example", "b.example")
    }
    assert len(made) == 4 * sum(call.method == "GET" for call in TABLES[kind].calls)
