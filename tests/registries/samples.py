"""Samples of responses, and the results that the contract tests expect of them: one folder for each kind in `TABLES`.

``tests/fixtures/<kind>/<case>.json`` is the body of a response as the vendor documents it. An ``error_…`` file is a
complete response: status, headers, and body or text. The folder ``expected/`` contains six tables:

- ``records``: the record that a response becomes
- ``requests``: the request that a call sends
- ``filters``: the parameters that a filter adds to a request
- ``errors``: the error that a failed response becomes
- ``words``: the schema's enumeration value for each native value
- ``keys``: valid native keys, and settings that select the kind and sign requests

A new kind, or a new generation of a kind, needs one entry in `TABLES` and one folder.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type
from hypothesis import strategies as st

from gateway.catalog.filters import plan_filter
from gateway.catalog.lists import order_parameters
from gateway.catalog.orders import Order
from gateway.catalog.registry import Registry
from gateway.config.settings import Credentials, RegistrySettings, Secret
from gateway.execution.field_requests import python_name
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT, NOT_PROVIDED, EntityLayout, Field, Raw, Rows, Table
from gateway.registries.kind import Call, Kind, Stream
from gateway.registries.qianfan import QIANFAN_V2
from gateway.schema.schema import SCHEMA
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Request, Response, document_of

FOLDER = Path(__file__).parent.parent / "fixtures"
ENTITIES = ("Model", "ModelVersion", "Algorithm", "AlgorithmVersion")
COMPUTED = {"id", "registry", "registry_name", "native_id"}
"""The fields of every entity that the gateway computes."""
RELATIONS = {
    "Model": {"version"},
    "ModelVersion": {"model", "bom"},
    "Algorithm": {"version"},
    "AlgorithmVersion": {"algorithm"},
}
"""The fields of each entity that lead to another one, or are made from its other fields."""

TABLES: Mapping[str, Kind] = {**KINDS, "qianfan_v2": QIANFAN_V2}
"""Every kind and every further generation of a kind, by the name of its folder."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
"""Generates any JSON value that a registry can send."""


# Files


def file(kind: str, case: str) -> str:
    """Return the path of a sample from the root of the repository."""
    return f"tests/fixtures/{kind}/{case}.json"


@cache
def read_sample(kind: str, case: str) -> str:
    """Read the text of a sample. The test fails if there is none, or if it is no JSON."""
    try:
        text = (FOLDER / kind / f"{case}.json").read_text(encoding="utf-8")
        json.loads(text)
    except OSError:
        pytest.fail(f"{file(kind, case)}: the file is missing", pytrace=False)
    except ValueError as error:
        pytest.fail(f"{file(kind, case)}: this is no JSON: {error}", pytrace=False)
    return text


def sample(kind: str, case: str) -> Any:
    """Return the document of a sample. Each call decodes it anew, so that tests can change it."""
    body = json.loads(read_sample(kind, case))
    return document_of(body) or body


def cases(kind: str) -> list[str]:
    """Return the names of all samples of a kind."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.json"))


def expected(kind: str, table: str) -> Any:
    """Return a table of expected results."""
    return json.loads(read_sample(kind, f"expected/{table}"))


ID_KEYS = ("sample", "call", "stream", "lookup", "entity", "filter", "value")


def each_row(table: str, part: str = "") -> Any:
    """Parametrize a test by (kind, row) over the rows of a table of every kind that are complete."""
    params = []
    for kind in TABLES:
        for number, row in enumerate(rows(kind, table, part)):
            values = [str(row[key]) for key in ID_KEYS if key in row]
            params.append(pytest.param(kind, row, id=f"{kind}-{number}-{'-'.join(values)}"))
    return pytest.mark.parametrize(("kind", "row"), params)


def rows(kind: str, table: str, part: str = "") -> list[Any]:
    """Return the rows of a table that are complete; `missing` names the others."""
    return [row for row, problem in checked_rows(kind, table, part) if problem is None]


def checked_rows(kind: str, table: str, part: str = "") -> list[tuple[Any, str | None]]:
    """Return the rows of a table, each with what is wrong with it. A file that cannot be read has none."""
    try:
        document = expected(kind, table)
    except pytest.fail.Exception:
        return []
    if part:
        document = document.get(part) if isinstance(document, dict) else None
    return [(row, row_problem(kind, table, part, row)) for row in (document if isinstance(document, list) else ())]


MEMBERS: Mapping[str, tuple[str, ...]] = {
    "records": ("sample",),
    "requests": ("sends",),
    "filters": ("call", "filter", "value", "sends", "exact"),
    "errors.samples": ("sample", "error", "vendor_code", "request_id"),
    "errors.codes": ("status", "error", "vendor_code"),
}
"""The members of each row of a table."""


def row_problem(kind: str, table: str, part: str, row: Any) -> str | None:
    """Return what is wrong with a row of a table, None if it is complete."""
    if not isinstance(row, dict):
        return "is no object"
    needed = [*MEMBERS[f"{table}.{part}" if part else table]]
    if table == "records":
        needed += ["finds"] if "lookup" in row else ["record"] if "entity" in row else ["total", "rows"]
    if absent := [name for name in needed if name not in row]:
        return f"has no {' and no '.join(absent)}"
    if "sample" in row and not (FOLDER / kind / f"{row['sample']}.json").is_file():
        return f"names a sample that is missing: record the answer as {file(kind, row['sample'])}"
    if table == "errors":
        if part == "codes" and "body" not in row and "text" not in row:
            return "has no body and no text"
        return None
    if not {"call", "stream", "lookup"} & row.keys():
        return "names no call, no stream and no lookup"
    try:
        call = call_of(TABLES[kind], row)
    except (StopIteration, KeyError):
        name = next(row[key] for key in ("stream", "lookup", "call") if key in row)
        return f'names "{name}", which the kind does not have'
    if table == "records" and "lookup" not in row:
        if "entity" not in row and (call.rows is None or call.rows.layout is None):
            return f"has no entity, and the call {call.name} has no rows"
        if "entity" in row and row["entity"] not in {part.layout.entity for part in call.entities}:
            return f"names the entity {row['entity']}, which the call {call.name} does not describe"
    needed_keys = len(call.key_positions) if table == "requests" else 0
    if table == "records" and "entity" in row:
        needed_keys = 2 if row["entity"].endswith("Version") else 1
    keys = row.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(keys) < needed_keys:
        return f"needs keys: a list of {needed_keys} text{'s' * (needed_keys != 1)}, the native keys of the object"
    if table == "filters" and row["filter"] not in call.filters:
        return f"names the filter {row['filter']}, which the call {call.name} does not apply"
    return None


def response(kind: str, case: str) -> Response:
    """Return the response of an error sample, as the HTTP client returns it."""
    return as_response(sample(kind, case))


def as_response(sample: Any) -> Response:
    """Convert an error sample to a response."""
    headers = {name.lower(): value for name, value in sample.get("headers", {}).items()}
    body = sample["text"].encode() if "text" in sample else json.dumps(sample["body"]).encode()
    return Response(sample["status"], headers, body, sample.get("body"))


# Kinds


def settings(kind: str) -> RegistrySettings:
    """Return made-up settings of a kind."""
    raw = expected(kind, "keys")["settings"]
    types = {name: item.type for name, item in TABLES[kind].settings.__dataclass_fields__.items()}
    values = {name: Secret(value) if types[name] is Secret else value for name, value in raw.items()}
    return TABLES[kind].settings(name="test", kind=TABLES[kind].name.lower(), **values)


def credentials(kind: str) -> Credentials:
    """Return the credentials in the made-up settings of a kind."""
    return TABLES[kind].credentials(settings(kind))


def registry(kind: str, sender: Any = None) -> Registry:
    """Return a registry that sends its requests with ``sender``; without one, it cannot send any."""
    return Registry(TABLES[kind], settings(kind), UncachedClient(sender))


def calls(kind: Kind) -> list[Call]:
    """Return every call of a kind, each once."""
    list_calls = [stream.call for stream in kind.streams]
    looked_up = [lookup.call for lookup in kind.lookups.values()]
    return list(dict.fromkeys([*kind.calls, *list_calls, *looked_up, kind.probe]))


def call_of(kind: Kind, row: Raw) -> Call:
    """Return the call that a row of a table names: directly, by a stream, or by a lookup.

    If the vendor's operation is several calls, ``supplies`` names a field that only one of them supplies.
    Raises StopIteration or KeyError if the kind has none of this name.
    """
    if "stream" in row:
        return stream_of(kind, row).call
    if "lookup" in row:
        return kind.lookups[row["lookup"]].call
    known = [call for call in (*kind.calls, *(stream.call for stream in kind.streams)) if call.name == row["call"]]
    return next(call for call in known if row.get("supplies", "") in ("", *supplied(call)))


def supplied(call: Call) -> set[str]:
    """Return the fields that the entities in the response of a call have."""
    return {name for part in call.entities for name in part.layout.fields}


def stream_of(kind: Kind, row: Raw) -> Any:
    """Return the stream that a row of a table names."""
    return next(stream for stream in kind.streams if f"{stream.entity} {stream.name}" == row["stream"])


def request_of(kind: Kind, row: Raw) -> Request:
    """Return the request that a row of ``requests`` describes. Lists are sorted newest first by default."""
    call, keys, page = call_of(kind, row), tuple(row.get("keys", ())), row.get("page", 1)
    fixed: Mapping[str, Any] = {}
    if entity := listed_entity(call):
        order = order_parameters(call, order_of(row))
        stream = stream_of(kind, row) if "stream" in row else Stream("", entity, call)
        applied = plan_filter(kind, entity, call, stream.constants, row.get("filter", {}))
        fixed = stream.parameters(order, dict(applied.parameters))
    return with_settings(kind, call.request(keys, tuple(fixed.items()), page))


def with_settings(kind: Kind, request: Request) -> Request:
    """Return a request with what it needs from the made-up settings. A kind that is only scaffolded has none yet."""
    name = next((name for name, known in TABLES.items() if known is kind), None)
    return request if name is None else kind.with_settings(settings(name), request)


def order_of(row: Raw) -> Order:
    """Return the order in a row, such as ``created_at ascending``."""
    field, _, direction = row.get("order", "created_at descending").partition(" ")
    return Order(field, direction == "descending")


def listed_entity(call: Call) -> str | None:
    """Return the type of the rows of a call, None if the call is not a list."""
    lists = [call.rows] if call.rows else [part.layout.fields.get("versions") for part in call.entities]
    return next((field.layout.entity for field in lists if field and field.layout), None)


def layouts(kind: Kind) -> list[EntityLayout]:
    """Return every layout in the responses of a kind, including those inside others."""
    found: dict[EntityLayout, None] = {}

    def visit(layout: EntityLayout) -> None:
        if layout not in found:
            found[layout] = None
            for field in layout.fields.values():
                if field.layout is not None:
                    visit(field.layout)

    for call in calls(kind):
        for part in call.entities:
            visit(part.layout)
        if call.rows is not None and call.rows.layout is not None:
            visit(call.rows.layout)
    return list(found)


# Schema


@cache
def schema_fields(name: str) -> dict[str, Any]:
    """Return the fields of a type of the schema, by the names that tables use."""
    declared = SCHEMA._schema.type_map[name]
    assert isinstance(declared, GraphQLObjectType)
    return {python_name(field): field for field in declared.fields.values()}


def walk_fields(
    name: str, table: Table, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, Field, Any]]:
    """Yield every field of a table and of its nested tables.

    The items are (path, name of the type, field of the table, field of the schema or None if the schema has none).
    """
    for key, field in table.items():
        declared = schema_fields(name).get(key)
        yield (*path, key), name, field, declared
        if field.table is not None and declared is not None:
            yield from walk_fields(get_named_type(declared.type).name, field.table, (*path, key))


# Projection


def project(layout: EntityLayout, raw: Raw) -> dict[str, Any]:
    """Return the key of an entity and all fields of its layout except ``raw``."""
    return {"key": layout.key(raw)} | project_table({k: v for k, v in layout.fields.items() if k != "raw"}, raw)


def project_table(table: Table, raw: Raw) -> dict[str, Any]:
    """Return all fields of a table."""
    return {name: project_field(field, raw) for name, field in table.items() if field is not ABSENT}


def project_field(field: Field, raw: Raw) -> Any:
    """Return the value of a field, with nested objects and rows."""
    value = field.read(raw)
    if value is NOT_PROVIDED:
        return "NOT_PROVIDED"
    if field.lookup is not None:
        return None if value is None else {"lookup": field.lookup, "keys": list(value)}
    if field.layout is not None:
        return project_children(field.layout, value)
    if field.table is None or value is None:
        return value
    if isinstance(value, list):
        return [project_table(field.table, item) for item in value]
    return project_table(field.table, value)


def project_children(layout: EntityLayout, value: Any) -> Any:
    """Return the entity or rows that a field contains."""
    if isinstance(value, Rows):
        marker = {} if value.next is None else {"next": value.next}
        return {"total": value.total, **marker, "rows": [project(layout, item) for item in value.items]}
    return None if value is None else project(layout, value)


def differences(read: Any, expected: Any, place: str = "record") -> Iterator[str]:
    """Yield where a projection is not the expected one, each as a sentence that begins with the place."""
    if isinstance(read, dict) and isinstance(expected, dict):
        for name in dict.fromkeys([*expected, *read]):
            if name not in read:
                yield f"{place}.{name} is {shown(expected[name])}; the tables read nothing there"
            elif name not in expected:
                yield f"{place}.{name} is missing; the tables read {shown(read[name])}"
            else:
                yield from differences(read[name], expected[name], f"{place}.{name}")
    elif isinstance(read, list) and isinstance(expected, list) and len(read) == len(expected):
        for number, (one, other) in enumerate(zip(read, expected, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif type(read) is not type(expected) or read != expected:
        yield f"{place} is {shown(expected)}; the tables read {shown(read)}"


def shown(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(value, ensure_ascii=False, default=repr)
