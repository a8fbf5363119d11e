"""The folders of samples, one for each table of `TABLES`: what a registry answers, and what is expected of it.

``tests/fixtures/<kind>/<case>.json`` is the body of an answer as the vendor documents it; an ``error_…`` one is a
whole response: status, headers, and body or text. Beside them ``expected/`` holds six tables: ``records`` (what an
answer becomes), ``requests`` (what a call sends), ``filters`` (what a filter adds to that), ``errors`` (what a failure
means), ``words`` (how the vendor's words are spelled here) and ``keys`` (native keys that are good, and settings that
choose this table and sign). A further kind, or generation of one, brings one entry and one folder.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from gateway.catalog.list_readers import order_parameters
from graphql import GraphQLObjectType, get_named_type
from hypothesis import strategies as st

from gateway.catalog.filters import sieve
from gateway.catalog.orders import Order
from gateway.catalog.registry import Registry
from gateway.config.settings import Credentials, RegistrySettings, Secret
from gateway.execution.selection import python_name
from gateway.registries import KINDS
from gateway.registries.fields import ABSENT, NOT_PROVIDED, EntityLayout, Field, Raw, Rows, Table
from gateway.registries.kind import Call, Kind
from gateway.registries.qianfan import QIANFAN_V2
from gateway.schema.schema import SCHEMA
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Request, Response

FOLDER = Path(__file__).parent.parent / "fixtures"
ENTITIES = ("Model", "ModelVersion", "Algorithm", "AlgorithmVersion")

TABLES: Mapping[str, Kind] = {**KINDS, "qianfan_v2": QIANFAN_V2}
"""Every kind, and every further generation of one, under the name of its folder."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
"""Any JSON that can come over the wire."""


# Files


@cache
def text_of(kind: str, case: str) -> str:
    return (FOLDER / kind / f"{case}.json").read_text()


def sample(kind: str, case: str) -> Any:
    """A sample, read anew: whoever changes it changes nobody else's."""
    return json.loads(text_of(kind, case))


def cases(kind: str) -> list[str]:
    """The names of all samples of a kind."""
    return sorted(path.stem for path in (FOLDER / kind).glob("*.json"))


def expected(kind: str, table: str) -> Any:
    return sample(kind, f"expected/{table}")


NAMING = ("sample", "call", "stream", "lookup", "entity", "filter", "value")


def rows(table: str, part: str | None = None) -> Any:
    """Parametrise a test by (kind, row) over the rows of a table of every kind."""
    params = []
    for kind in TABLES:
        document = expected(kind, table)
        for number, row in enumerate(document[part] if part else document):
            said = [str(row[key]) for key in NAMING if key in row]
            params.append(pytest.param(kind, row, id=f"{kind}-{number}-{'-'.join(said)}"))
    return pytest.mark.parametrize(("kind", "row"), params)


def response(kind: str, case: str) -> Response:
    """The response of an error sample, as the transport would hand it over."""
    return as_response(sample(kind, case))


def as_response(said: Any) -> Response:
    headers = {name.lower(): value for name, value in said.get("headers", {}).items()}
    body = said["text"].encode() if "text" in said else json.dumps(said["body"]).encode()
    return Response(said["status"], headers, body, said.get("body"))


# Kinds


def settings(kind: str) -> RegistrySettings:
    """Made-up settings of a kind."""
    said = expected(kind, "keys")["settings"]
    types = {name: item.type for name, item in TABLES[kind].settings.__dataclass_fields__.items()}
    values = {name: Secret(value) if types[name] is Secret else value for name, value in said.items()}
    return TABLES[kind].settings(name="test", kind=TABLES[kind].name.lower(), **values)


def credentials(kind: str) -> Credentials:
    """The key in them."""
    return TABLES[kind].credentials(settings(kind))


def registry(kind: str, sender: Any = None) -> Registry:
    """A registry that sends nothing, or what a sender sends."""
    return Registry(TABLES[kind], settings(kind), UncachedClient(sender))


def calls(kind: Kind) -> list[Call]:
    """Every call of a kind, each once."""
    listed = [stream.call for stream in kind.streams]
    looked_up = [lookup.call for lookup in kind.lookups.values()]
    return list(dict.fromkeys([*kind.calls, *listed, *looked_up, kind.probe]))


def call_of(kind: Kind, row: Raw) -> Call:
    """The call that a row of a table names: itself, by a stream of it, or by a lookup."""
    if "stream" in row:
        return stream_of(kind, row).call
    if "lookup" in row:
        return kind.lookups[row["lookup"]].call
    known = [*kind.calls, *(stream.call for stream in kind.streams)]
    return next(call for call in known if call.name == row["call"])


def stream_of(kind: Kind, row: Raw) -> Any:
    return next(stream for stream in kind.streams if f"{stream.entity} {stream.name}" == row["stream"])


def request_of(kind: Kind, row: Raw) -> Request:
    """What a row of ``requests`` asks for: a list newest first, or in its ``order``, and filtered as it says."""
    call, keys, page = call_of(kind, row), tuple(row.get("keys", ())), row.get("page", 1)
    fixed = dict(stream_of(kind, row).fixed) if "stream" in row else {}
    if entity := listed(call):
        facts = stream_of(kind, row).facts if "stream" in row else {}
        fixed |= order_parameters(call, order_of(row))
        fixed |= dict(sieve(kind, entity, call, facts, row.get("filter", {})).parameters)
    return call.request(keys, tuple(fixed.items()), page)


def order_of(row: Raw) -> Order:
    """The order that a row asks for, such as ``created_at rising``."""
    field, _, direction = row.get("order", "created_at falling").partition(" ")
    return Order(field, direction == "falling")


def listed(call: Call) -> str | None:
    """The type of what a call lists, None for one that lists nothing."""
    lists = [call.rows] if call.rows else [part.shape.fields.get("versions") for part in call.parts]
    return next((field.shape.entity for field in lists if field and field.shape), None)


def shapes(kind: Kind) -> list[EntityLayout]:
    """Every form of an entity that a kind's calls can give, those inside others too."""
    found: dict[EntityLayout, None] = {}

    def visit(shape: EntityLayout) -> None:
        if shape not in found:
            found[shape] = None
            for field in shape.fields.values():
                if field.shape is not None:
                    visit(field.shape)

    for call in calls(kind):
        for part in call.parts:
            visit(part.shape)
        if call.rows is not None and call.rows.shape is not None:
            visit(call.rows.shape)
    return list(found)


# The graph


@cache
def graph_fields(name: str) -> dict[str, Any]:
    """The fields of a type of the graph, under the names that tables use."""
    declared = SCHEMA._schema.type_map[name]
    assert isinstance(declared, GraphQLObjectType)
    return {python_name(field): field for field in declared.fields.values()}


def walk(name: str, table: Table, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Field, Any]]:
    """Every field of a table and of its nested tables: path, name of the type that it stands in, entry, graph's field
    (None where the graph has no such field)."""
    for key, field in table.items():
        declared = graph_fields(name).get(key)
        yield (*path, key), name, field, declared
        if field.table is not None and declared is not None:
            yield from walk(get_named_type(declared.type).name, field.table, (*path, key))


# Projection


def project(shape: EntityLayout, raw: Raw) -> dict[str, Any]:
    """Everything that a form tells of an entity, without ``raw``: its key, and each field that the form knows."""
    return {"key": shape.key(raw)} | project_table({k: v for k, v in shape.fields.items() if k != "raw"}, raw)


def project_table(table: Table, raw: Raw) -> dict[str, Any]:
    return {name: project_field(field, raw) for name, field in table.items() if field is not ABSENT}


def project_field(field: Field, raw: Raw) -> Any:
    value = field.read(raw)
    if value is NOT_PROVIDED:
        return "NOT_PROVIDED"
    if field.lookup is not None:
        return None if value is None else {"lookup": field.lookup, "keys": list(value)}
    if field.shape is not None:
        return project_children(field.shape, value)
    if field.table is None or value is None:
        return value
    if isinstance(value, list):
        return [project_table(field.table, item) for item in value]
    return project_table(field.table, value)


def project_children(shape: EntityLayout, value: Any) -> Any:
    if isinstance(value, Rows):
        marker = {} if value.next is None else {"next": value.next}
        return {"total": value.total, **marker, "rows": [project(shape, item) for item in value.items]}
    return None if value is None else project(shape, value)
