"""The contract of every kind of registry, in each of its generations.

No test here names a kind. The samples of a kind contain the expected results; see `tests.registries.samples`.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

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
from gateway.registries.signatures import StaticAuthorization
from gateway.schema.enums import Capability, RegistryKind
from gateway.upstream.messages import Response
from gateway.upstream.url_encoding import query_string
from tests.registries import samples
from tests.registries.completeness import are_readable, enum_fields, modules
from tests.registries.samples import (
    ENTITIES,
    JSON,
    TABLES,
    calls,
    layouts,
    project,
    project_children,
    schema_fields,
    walk_fields,
)

every_kind = pytest.mark.parametrize("kind", TABLES)
every_layout = pytest.mark.parametrize(
    ("kind", "layout"),
    [
        pytest.param(kind, layout, id=f"{kind}-{layout.entity}-{number}")
        for kind in TABLES
        for number, layout in enumerate(layouts(TABLES[kind]))
    ],
)


@pytest.fixture(autouse=True)
def readable_samples(request: pytest.FixtureRequest) -> None:
    """Skip the tests of a kind whose files cannot be read, which another test reports."""
    kind = request.node.callspec.params.get("kind") if hasattr(request.node, "callspec") else None
    if kind is not None and not are_readable(kind):
        pytest.skip("some of its files cannot be read; test_completeness.py names them")


# Tables and the schema


@every_kind
def test_the_schema_has_the_kind_and_its_capabilities(kind: str) -> None:
    assert RegistryKind[TABLES[kind].name].value == TABLES[kind].name
    assert set(TABLES[kind].capabilities) <= set(Capability.__members__)


@every_kind
def test_the_sample_settings_select_the_kind(kind: str) -> None:
    assert KINDS[TABLES[kind].name.lower()].of(samples.settings(kind)) is TABLES[kind]


@every_kind
def test_every_service_of_a_call_has_a_url(kind: str) -> None:
    urls = TABLES[kind].services(samples.settings(kind))
    assert {call.service for call in calls(TABLES[kind])} == set(urls)
    assert all(re.fullmatch(r"https://[a-z0-9.-]+", url) for url in urls.values())


@every_layout
def test_every_field_of_a_layout_is_in_the_schema(kind: str, layout: EntityLayout) -> None:
    unknown = [".".join(path) for path, _, _, declared in walk_fields(layout.entity, layout.fields) if declared is None]
    assert unknown == []


@every_layout
def test_a_field_has_a_table_if_and_only_if_its_type_is_a_value_object(kind: str, layout: EntityLayout) -> None:
    for path, _, field, declared in walk_fields(layout.entity, layout.fields):
        inner = get_named_type(declared.type)
        if field is ABSENT:
            continue
        is_entity = inner.name.removesuffix("Connection") in ENTITIES
        assert (field.layout is not None or field.lookup is not None) == is_entity, path
        assert (field.table is not None) == (hasattr(inner, "fields") and not is_entity), path


@every_kind
def test_the_tables_and_the_kind_name_the_same_lookups(kind: str) -> None:
    named = {
        (field.lookup, get_named_type(declared.type).name)
        for layout in layouts(TABLES[kind])
        for _, _, field, declared in walk_fields(layout.entity, layout.fields)
        if field.lookup is not None
    }
    assert named == {(name, lookup.entity) for name, lookup in TABLES[kind].lookups.items()}


@every_kind
def test_every_listed_entity_has_a_call_for_a_single_object(kind: str) -> None:
    single = {part.layout.entity for call in TABLES[kind].calls for part in call.entities if part.layout.is_entity}
    assert {stream.entity for stream in TABLES[kind].streams} <= single
    assert set(TABLES[kind].keys) == set(TABLES[kind].absent) == set(ENTITIES)


@every_kind
def test_what_an_entity_refers_to_is_the_only_source_of_its_fields(kind: str) -> None:
    known = [(call, part.layout) for call in TABLES[kind].calls for part in call.entities]
    for call, layout in known:
        if call.follows:
            others = [other for one, other in known if one is not call and other.entity == layout.entity]
            assert any(call.follows in other.references for other in others)
            assert not any(layout.fields.keys() & other.fields.keys() for other in others)
            assert not layout.is_entity


SHARED = {"fields", "kind", "signatures"}
"""The modules that every kind may use."""


@every_kind
def test_a_kind_imports_nothing_of_another_kind(kind: str) -> None:
    paths = modules(TABLES[kind])
    own = paths[0].stem
    for path in paths:
        imported = set(re.findall(r"gateway\.registries\.(\w+)", path.read_text(encoding="utf-8")))
        others = {name for name in imported - SHARED if name != own and not name.startswith(f"{own}_")}
        assert others == set(), f"{path.name} imports another kind"


# Enumeration values


@every_kind
def test_every_native_value_has_a_value_of_the_schema(kind: str) -> None:
    fields, words = enum_fields(kind), samples.expected(kind, "words")
    for path, table in words.items():
        for field, enum in fields[path]:
            if field.keys:
                native = field.keys[0]
                assert {word: field.read({native: word}) for word in table} == table
                assert set(table.values()) <= set(enum.values) - {"OTHER"}


@every_kind
def test_an_unknown_value_is_other_and_an_empty_one_is_null(kind: str) -> None:
    for path, entries in enum_fields(kind).items():
        for field, enum in entries:
            for native in field.keys[:1]:
                assert field.read({native: "a new value"}) == "OTHER" in enum.values, path
                assert [field.read(raw) for raw in ({native: ""}, {native: None}, {})] == [None, None, None], path


@every_kind
@given(value=JSON)
@settings(max_examples=100, deadline=None)
def test_an_enumeration_field_is_always_a_value_of_the_schema(kind: str, value: Any) -> None:
    for path, entries in enum_fields(kind).items():
        for field, enum in entries:
            result = field.read(dict.fromkeys(field.keys or ("anything",), value))
            assert result is None or result in enum.values, path


# Records of samples


def expand_record(record: Any) -> Any:
    """Return an expected record in full: replace ``latest_version`` in the rows of its versions by that version."""
    if record and isinstance(record.get("versions"), dict):
        rows = [record["latest_version"] if row == "latest_version" else row for row in record["versions"]["rows"]]
        return {**record, "versions": {**record["versions"], "rows": rows}}
    return record


@samples.each_row("records")
def test_a_sample_becomes_the_expected_record(kind: str, row: Any) -> None:
    document, keys = samples.sample(kind, row["sample"]), tuple(row.get("keys", ()))
    if "lookup" in row:
        found = TABLES[kind].lookups[row["lookup"]].find(document, keys)
        assert (found and list(found)) == row["finds"]
        return
    call = samples.call_of(TABLES[kind], row)
    if "entity" in row:
        part = next(part for part in call.entities if part.layout.entity == row["entity"])
        raw = part.locate(document, keys)
        read, expected = None if raw is None else project(part.layout, raw), expand_record(row["record"])
    else:
        assert call.rows is not None
        assert call.rows.layout is not None
        read = project_children(call.rows.layout, call.rows.read(document))
        marker = {"next": row["next"]} if "next" in row else {}
        expected = {"total": row["total"], **marker, "rows": [expand_record(record) for record in row["rows"]]}
    if problems := [*samples.differences(read, expected)]:
        place = f"{samples.file(kind, 'expected/records')}, sample {row['sample']}"
        pytest.fail("\n".join(["", *(f"{place}: {problem}" for problem in problems)]), pytrace=False)


@samples.each_row("records")
def test_raw_is_the_same_object_as_in_the_response(kind: str, row: Any) -> None:
    if "lookup" in row:
        return
    document = samples.sample(kind, row["sample"])
    call = samples.call_of(TABLES[kind], row)
    if "entity" in row:
        part = next(part for part in call.entities if part.layout.entity == row["entity"])
        layout, objects = part.layout, [part.locate(document, tuple(row.get("keys", ())))]
    else:
        assert call.rows is not None
        assert call.rows.layout is not None
        layout, objects = call.rows.layout, call.rows.read(document).items
    for raw in objects:
        if raw is not None and "raw" in layout.fields:
            assert layout.fields["raw"].read(raw) is raw


def test_every_kind_has_its_folder_of_samples() -> None:
    assert {path.parent.name for path in samples.FOLDER.glob("*/expected")} == set(TABLES)


@samples.each_row("records")
def test_every_key_in_a_sample_is_valid(kind: str, row: Any) -> None:
    for record in [row.get("record"), *row.get("rows", ())]:
        if record and record["key"] is not None:
            entity = row.get("entity") or samples.call_of(TABLES[kind], row).rows.layout.entity
            pattern = TABLES[kind].keys[entity][-1]
            assert pattern.fullmatch(record["key"])


# Records of arbitrary JSON

ODD_VALUES: tuple[Any, ...] = (None, True, 0, 1.5, 2**31, 2**63, -(2**63), "", "x", "[1]", '{"a":1}', "2024-05-20")
ODD_VALUES += ([], [None], [1], [{}], {}, {"a": None}, {"": None})

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
VALIDATORS = {
    "String": lambda value: isinstance(value, str),
    "ID": lambda value: isinstance(value, str),
    "Boolean": lambda value: isinstance(value, bool),
    "Int": lambda value: isinstance(value, int) and -(2**31) <= value < 2**31,
    "Long": lambda value: isinstance(value, int) and -(2**63) <= value < 2**63,
    "Float": lambda value: isinstance(value, float),
    "DateTime": lambda value: TIME.fullmatch(value),
    "JSON": lambda value: True,
}


def is_valid(declared: Any, value: Any) -> bool:
    """Return whether a value is valid for a type of the schema."""
    if isinstance(declared, GraphQLNonNull):
        return value is not None and is_valid(declared.of_type, value)
    if value is None:
        return True
    if isinstance(declared, GraphQLList):
        return isinstance(value, list) and all(is_valid(declared.of_type, item) for item in value)
    if isinstance(declared, GraphQLEnumType):
        return value in declared.values
    return bool(VALIDATORS[declared.name](value))


def invalid_fields(name: str, table: Any, raw: Any) -> Iterator[str]:
    """Yield the fields of a table, and of its nested tables, whose value is not valid in the schema."""
    for key, field in table.items():
        value, declared = field.read(raw), schema_fields(name)[key].type
        if value is NOT_PROVIDED or field.lookup is not None:
            continue
        if value is None:
            if isinstance(declared, GraphQLNonNull):
                yield f"{name}.{key}"
            continue
        items = value.items if isinstance(value, Rows) else value if isinstance(value, list) else [value]
        inner = field.table or (field.layout and field.layout.fields)
        if inner is None:
            if not is_valid(declared, value):
                yield f"{name}.{key}"
            continue
        for item in items:
            yield from invalid_fields(get_named_type(declared).name.removesuffix("Connection"), inner, item)


@cache
def native_keys(kind: str) -> list[str]:
    """Return every native key in the samples of a kind."""
    documents = [samples.sample(kind, row["sample"]) for row in samples.rows(kind, "records")]
    return sorted({step for document in documents for _, step in walk_steps(document) if isinstance(step, str)})


@every_layout
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_json_under_any_key_becomes_a_valid_record(kind: str, layout: EntityLayout, data: st.DataObject) -> None:
    raw = data.draw(st.dictionaries(st.sampled_from(native_keys(kind)), JSON, max_size=8))
    assert layout.parent(raw) is None or isinstance(layout.parent(raw), str)
    assert project(layout, raw).keys() >= layout.fields.keys() - {"raw"} - {
        name for name, field in layout.fields.items() if field is ABSENT
    }
    assert set(invalid_fields(layout.entity, layout.fields, raw)) == set()
    for name, field in layout.fields.items():
        value = field.read(raw)
        assert value is not NOT_PROVIDED or field.fallback is NOT_PROVIDED, name
        assert not isinstance(value, Rows) or name == "versions" or field.fallback is Rows, name


@every_kind
def test_every_valid_response_contains_the_entities_that_a_call_guarantees(kind: str) -> None:
    documents = [samples.sample(kind, case) for case in samples.cases(kind)]
    found = [
        (call.name, part.locate(document, ("unknown", "unknown")))
        for call in calls(TABLES[kind])
        for part in call.entities
        for document in documents
        if part.always_present and call.is_complete(document)
    ]
    promised = [call.name for call in calls(TABLES[kind]) for part in call.entities if part.always_present]
    assert {name for name, _ in found} == set(promised)
    assert [name for name, raw in found if raw is None] == []


def walk_steps(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object and list of a document with each of its keys or indexes."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in list(steps):
        yield value, step
        yield from walk_steps(inner)


@cache
def problems_with_odd_values(kind: str) -> set[str]:
    """Replace each value of each sample by odd ones. Returns the invalid fields and the values that break a call."""
    found: set[str] = set()
    for row in samples.rows(kind, "records"):
        document = samples.sample(kind, row["sample"])
        for container, step in walk_steps(document):
            original = container[step]
            for odd in ODD_VALUES:
                container[step] = odd
                try:
                    found.update(read_all(kind, row, document))
                except (AttributeError, KeyError, IndexError, TypeError, ValueError):
                    found.add(f"{samples.call_of(TABLES[kind], row).name} {step}")
            container[step] = original
    return found


def read_all(kind: str, row: Any, document: Any) -> Iterator[str]:
    """Read everything that the call of a row reads from a document. Yields the invalid fields."""
    call, keys = samples.call_of(TABLES[kind], row), tuple(row.get("keys", ()))
    if "lookup" in row:
        TABLES[kind].lookups[row["lookup"]].find(document, keys)
    elif "entity" in row:
        for part in call.entities:
            if part.layout.entity == row["entity"] and (raw := part.locate(document, keys)) is not None:
                part.layout.parent(raw)
                yield from invalid_fields(part.layout.entity, part.layout.fields, raw)
    elif call.rows is not None and call.rows.layout is not None:
        for raw in call.rows.read(document).items:
            yield from invalid_fields(call.rows.layout.entity, call.rows.layout.fields, raw)


@every_kind
def test_one_odd_value_anywhere_in_an_answer_breaks_nothing(kind: str) -> None:
    assert problems_with_odd_values(kind) == set()


# Requests


@samples.each_row("requests")
def test_a_call_sends_the_same_request_as_the_vendors_client(kind: str, row: Any) -> None:
    request = samples.request_of(TABLES[kind], row)
    target = request.path + (f"?{query_string(request.query)}" if request.query else "")
    assert f"{request.method} {target}" == row["sends"]
    assert (json.loads(request.body) if request.body else None) == row.get("body")


@every_kind
@pytest.mark.parametrize("odd", ["a b", "a%2Fb", "%", "+&=", "模型", "~.*", "é;,:@", "a..b", "\U0001f600"])
def test_an_odd_key_stays_one_segment_of_the_path(kind: str, odd: str) -> None:
    for call in calls(TABLES[kind]):
        places = len(set(re.findall(r"\{\d\}", call.path)))
        request = call.request((odd,) * max(places, len(call.key_positions)))
        segments = request.path.split("/")
        assert re.fullmatch(r"[A-Za-z0-9/._~%-]+", request.path)
        assert len(segments) == len(call.path.split("/"))
        assert [unquote(segment) for segment in segments].count(odd) == places


# Filters


@every_kind
def test_every_filter_of_a_call_is_in_the_schema(kind: str) -> None:
    for call in calls(TABLES[kind]):
        assert call.filters.keys() <= TESTS.get(samples.listed_entity(call) or "", {}).keys()


@samples.each_row("filters")
def test_a_filter_becomes_the_documented_parameters(kind: str, row: Any) -> None:
    pushdown = samples.call_of(TABLES[kind], row).filters[row["filter"]]
    parameters = pushdown.parameters(row["value"])
    assert (None if parameters is None else orjson.loads(orjson.dumps(parameters))) == row["sends"]
    assert pushdown.exact == row["exact"]


@every_kind
def test_an_enumeration_value_is_sent_upstream_only_if_it_has_a_single_native_spelling(kind: str) -> None:
    words = samples.expected(kind, "words")
    for call in calls(TABLES[kind]):
        for name, pushdown in call.filters.items():
            entity = samples.listed_entity(call)
            native = words.get(".".join((entity or "", *TESTS[entity or ""][name].paths[0])), {})
            for value in set(native.values()):
                parameters = pushdown.parameters(value)
                if parameters is not None:
                    assert list(parameters.values()) == [
                        spelling for spelling, meaning in native.items() if meaning == value
                    ]


# Keys

HOSTILE_KEYS = {
    "slash": "a/b",
    "backslash": "a\\b",
    "parent folder": "..",
    "same folder": ".",
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
    """Return the entities and valid keys in the samples of a kind."""
    good = samples.expected(kind, "keys")["good"]
    return [(entity, tuple(keys)) for entity, rows in good.items() for keys in rows]


@every_kind
def test_valid_keys_are_accepted(kind: str) -> None:
    for entity, keys in good_keys(kind):
        samples.registry(kind).validate(Ref("test", entity, keys))


MAY_BE_ACCEPTED = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
"""The keys that a kind may accept if they stay in their place. No kind accepts any other, and none with ``..``."""


def is_rejected_or_stays_in_place(kind: str, entity: str, keys: tuple[str, ...], place: int) -> bool:
    """Return whether a key is invalid, or stays what it is in every request: one segment of the path, or a value."""
    try:
        samples.registry(kind).validate(Ref("test", entity, keys))
    except InvalidId:
        return True
    if not MAY_BE_ACCEPTED.fullmatch(keys[place]) or not all(part.strip(". ") for part in keys[place].split("/")):
        return False
    for call in TABLES[kind].calls:
        if any(part.layout.entity == entity for part in call.entities) and not call.follows:
            request = call.request(call.keys(keys))
            assert len(request.path.split("/")) == len(call.path.split("/"))
            target = urlsplit(f"{request.path}?{query_string(request.query)}")
            assert target.path == request.path
            assert dict(parse_qsl(target.query, keep_blank_values=True)) == dict(request.query)
            assert not target.fragment
    return True


@every_kind
@pytest.mark.parametrize("hostile", HOSTILE_KEYS.values(), ids=HOSTILE_KEYS)
def test_a_hostile_key_is_rejected_or_stays_in_its_place(kind: str, hostile: str) -> None:
    for entity, keys in good_keys(kind):
        for place in range(len(keys)):
            assert is_rejected_or_stays_in_place(kind, entity, (*keys[:place], hostile, *keys[place + 1 :]), place)


@every_kind
@pytest.mark.parametrize("added", ["/x", "/../x", "?x=1", "#x", "\r\nX: 1", "\n", "\x00", "\\x", "\t"])
def test_a_valid_key_with_a_hostile_addition_is_rejected_or_stays_in_its_place(kind: str, added: str) -> None:
    for entity, keys in good_keys(kind):
        for place, key in enumerate(keys):
            for bad in (key + added, added + key):
                assert is_rejected_or_stays_in_place(kind, entity, (*keys[:place], bad, *keys[place + 1 :]), place)


@every_kind
@given(st.text())
@settings(max_examples=200, deadline=None)
def test_an_accepted_key_stays_in_its_segment_of_the_path(kind: str, key: str) -> None:
    registry = samples.registry(kind)
    for entity, keys in good_keys(kind):
        candidate = (*keys[:-1], key)
        try:
            registry.validate(Ref("test", entity, candidate))
        except InvalidId:
            continue
        for call in TABLES[kind].calls:
            if any(part.layout.entity == entity for part in call.entities):
                request = call.request(tuple(candidate[place] for place in call.key_positions))
                segments = zip(request.path.split("/"), call.path.split("/"), strict=True)
                assert not {".", "..", ""} & {segment for segment, declared in segments if declared}


# Errors


def error_of(kind: str, response: Response) -> Any:
    """Return the type and vendor code of the error that a response reports."""
    error = TABLES[kind].check("test", response)
    return error and {"error": type(error).__name__, "vendor_code": error.vendor_code}


@samples.each_row("errors", "samples")
def test_an_error_sample_becomes_the_expected_error(kind: str, row: Any) -> None:
    error = TABLES[kind].check("test", samples.response(kind, row["sample"]))
    assert error is not None
    assert {
        "sample": row["sample"],
        "error": type(error).__name__,
        "vendor_code": error.vendor_code,
        "request_id": error.request_id,
        **({} if error.retry_after is None else {"retry_after": error.retry_after}),
    } == row


@samples.each_row("errors", "codes")
def test_every_vendor_code_becomes_the_expected_error(kind: str, row: Any) -> None:
    found = error_of(kind, samples.as_response(row))
    assert found == {"error": row["error"], "vendor_code": row["vendor_code"]}


@every_kind
def test_a_successful_response_is_not_an_error(kind: str) -> None:
    for row in samples.rows(kind, "records"):
        document = samples.sample(kind, row["sample"])
        assert TABLES[kind].check("test", Response(200, {}, json.dumps(document).encode(), document)) is None


CANARY = "c4nary in a message: the string to sign was GET /secret"


def with_canary(value: Any, is_message: Callable[[str], bool]) -> Any:
    """Replace every message in a response."""
    if isinstance(value, dict):
        return {key: with_canary(inner, is_message) for key, inner in value.items()}
    if isinstance(value, str) and value.startswith("<?xml"):
        return re.sub(r"<Message>.*</Message>", f"<Message>{CANARY}</Message>", value)
    return CANARY if isinstance(value, str) and is_message(value) else value


@samples.each_row("errors", "samples")
def test_an_error_does_not_contain_the_vendors_message(kind: str, row: Any) -> None:
    """A message is a text with a space or, if the response has none, any text but the code."""
    response = samples.sample(kind, row["sample"])
    parts = {name: response.pop(name) for name in ("body", "text") if name in response}
    changed = with_canary(parts, lambda text: " " in text)
    if changed == parts:
        changed = with_canary(parts, lambda text: text not in ("", row["vendor_code"]))
    error = TABLES[kind].check("test", samples.as_response({**response, **changed}))
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
def test_any_response_is_an_error_or_a_success(kind: str, status: int, document: Any, retry: str) -> None:
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
    """Return the signed headers of a call."""
    request = samples.with_settings(TABLES[kind], call.request(("1",) * 2))
    return dict(TABLES[kind].sign(request, "registry.example", samples.credentials(kind), now, nonce))


signing_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in TABLES if not isinstance(TABLES[kind].sign, StaticAuthorization)]
)


@every_kind
def test_the_headers_of_a_call_are_for_its_host_and_printable(kind: str) -> None:
    for call in calls(TABLES[kind]):
        headers = signed(kind, call)
        sign = TABLES[kind].sign
        assert headers[sign.header if isinstance(sign, StaticAuthorization) else "Authorization"]
        assert headers["host"] == "registry.example"
        assert all(value.isprintable() for value in headers.values())


@signing_kinds
def test_the_headers_of_a_signed_call_depend_on_the_time_and_contain_no_secret(kind: str) -> None:
    secrets = samples.expected(kind, "keys")["secrets"]
    assert secrets
    for call in calls(TABLES[kind]):
        headers = signed(kind, call)
        assert not any(secret in value for value in headers.values() for secret in secrets)
        assert headers != signed(kind, call, now=NOW.replace(second=46))


@signing_kinds
def test_the_signature_depends_on_host_path_and_keys(kind: str) -> None:
    credentials = samples.credentials(kind)
    signatures = {
        TABLES[kind].sign(call.request(keys), host, credentials, NOW, "0" * 32)["Authorization"]
        for call in TABLES[kind].calls
        if call.method == "GET"
        for keys in (("1", "1"), ("2", "2"))
        for host in ("a.example", "b.example")
    }
    assert len(signatures) == 4 * sum(call.method == "GET" for call in TABLES[kind].calls)
