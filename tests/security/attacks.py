"""Attacks as values: operations, bodies and raw bytes, with their expected responses."""

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOO_COMPLEX, TOO_EXPENSIVE = "QUERY_TOO_COMPLEX", "QUERY_TOO_EXPENSIVE"
INVALID, BAD_INPUT = "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"
MODEL = 'model(id: "pai:model/m")'


@dataclass(frozen=True)
class Attack:
    """An operation that is refused with an error code.

    The status is that of refused operations in the media type, unless HTTP refuses the request with ``status`` (a
    WebSocket closes with the code ``closes``) or the operation is ``executed`` and its field has the error.
    """

    query: str
    code: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    closes: int | None = None
    executed: bool = False
    operation_name: str | None = None


def nested(levels: int) -> str:
    """Return a query of models of versions of models; each repetition has three levels."""
    return f"{{ {MODEL} {{ {'versions { nodes { model { ' * levels} id {'} } } ' * levels} }} }}"


def pages(root: str, owner: str, rows: str = "nodes {", end: str = "}", levels: int = 4) -> str:
    """Return a query of versions in pages of 100, of their owner's versions, and so on."""
    below = "id"
    for _ in range(levels - 1):
        below = f"versions(first: 100) {{ {rows} {owner} {{ {below} }} {end} }}"
    return f"{{ {root}(first: 100) {{ {rows} {below} {end} }} }}"


def spreads(fragments: Mapping[str, str], times: int = 1) -> str:
    """Return a query of a model that spreads all fragments."""
    definitions = " ".join(f"fragment {name} on Model {{ {body} }}" for name, body in fragments.items())
    return f"{{ {MODEL} {{ {' '.join(f'...{name}' for name in fragments) * times} }} }} {definitions}"


def chained(length: int, last: str, repeat: int = 1) -> str:
    """Return a query with fragments that each spread the next one."""
    links = (f"fragment F{n} on Model {{ {f'...F{n + 1} ' * repeat} }}" for n in range(length))
    return f"{{ {MODEL} {{ ...F0 }} }} {' '.join(links)} fragment F{length} on Model {{ {last} }}"


def nested_objects(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = {"a": value}
    return value


INTROSPECTED = "{ __schema { types { " + "fields { type { " * 6 + "name" + " } }" * 6 + " } } }"
KINDS = "kind name description fields { name args { name type { name ofType { name ofType { name } } } } }"
EXPENSIVE = "models(first: 100) { nodes { versions { nodes { trainedWith { algorithm { name } } } } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"
NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
ENTITIES = "query ($all: [_Any!]!) { _entities(representations: $all) { __typename } }"
FIRST = "query ($n: Int!) { models(first: $n) { totalCount } }"
SINCE = "query ($t: DateTime!) { models(filter: {createdAt: {from: $t}}) { totalCount } }"
NAMED = "query ($name: String!) { models(filter: {nameContains: $name}) { totalCount } }"
AFTER = "query ($after: String!) { models(after: $after) { totalCount nodes { id } } }"

OPERATIONS: Mapping[str, Attack] = {
    # Depth
    "nesting 12 times": Attack(nested(12), TOO_COMPLEX),
    "1000 braces": Attack("{ a" * 1_000 + "}" * 1_000, TOO_COMPLEX),
    "100 000 braces": Attack("{a" * 50_000, TOO_COMPLEX),
    "100 000 brackets": Attack("{ a(b: " + "[" * 99_000, TOO_COMPLEX),
    "depth in fragments": Attack(
        spreads({"A": "versions { nodes { model { ...B } } }"})
        + " ".join(f"fragment {n} on Model {{ versions {{ nodes {{ model {{ ...{m} }} }} }} }}" for n, m in
                   ("BC", "CD", "DE", "EF"))
        + " fragment F on Model { id }",
        TOO_COMPLEX,
    ),
    "a chain of 450 fragments": Attack(chained(450, "id"), TOO_COMPLEX),
    # Bombs
    "a fragment bomb": Attack(chained(25, "id name", repeat=2), TOO_COMPLEX),
    "1000 aliases": Attack("{ " + " ".join(f"a{n}: __typename" for n in range(1_000)) + " }", TOO_COMPLEX),
    "10 aliases of 10 fragments": Attack(
        "{ " + " ".join(f"a{n}: {MODEL} {{ ...A }}" for n in range(10)) + " } fragment A on Model { "
        + " ".join(f"b{n}: versions {{ totalCount }}" for n in range(10)) + " }",
        TOO_COMPLEX,
    ),
    "20 costly lists": Attack("{ " + " ".join(f"a{n}: {EXPENSIVE}" for n in range(20)) + " }", TOO_EXPENSIVE),
    "pages in pages": Attack(pages("models", "model"), TOO_EXPENSIVE),
    "pages in pages of algorithms": Attack(pages("algorithms", "algorithm"), TOO_EXPENSIVE),
    "pages in pages as edges": Attack(pages("models", "model", "edges { node {", "} }", levels=3), TOO_EXPENSIVE),
    "pages in pages that are streamed": Attack(
        pages("models", "model", "nodes @stream(initialCount: 1) {"), TOO_EXPENSIVE
    ),
    "pages in pages that are deferred": Attack(
        pages("models", "model", "nodes { ... @defer {", "} }"), TOO_EXPENSIVE
    ),
    "pages in pages by variables": Attack(
        pages("models", "model").replace("{ models", "query ($n: Int!) { models", 1).replace("100", "$n"),
        TOO_EXPENSIVE,
        {"n": 100},
    ),
    "pages in fragments": Attack(
        "{ models(first: 100) { nodes { ...A } } }"
        " fragment A on Model { versions(first: 100) { nodes { model { ...B } } } }"
        " fragment B on Model { versions(first: 100) { nodes { id } } }",
        TOO_EXPENSIVE,
    ),
    "30 pages of 100 objects": Attack(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Model { "
        + " ".join(f"a{n}: versions(first: 100) {{ nodes {{ id }} }}" for n in range(30)) + " } } }",
        TOO_EXPENSIVE,
        {"ids": ["pai:model/m"] * 100},
    ),
    "pages of 2000 references": Attack(
        ENTITIES.replace("__typename", "... on Model { versions(first: 100) { nodes { id } } }"),
        TOO_EXPENSIVE,
        {"all": [{"__typename": "Model", "id": "pai:model/m"}] * 2_000},
    ),
    "1000 directives": Attack("{ __typename" + " @include(if: true)" * 650 + " }", TOO_COMPLEX),
    "1000 unknown directives": Attack("{ __typename" + " @a" * 1_000 + " }", TOO_COMPLEX),
    "60 deferred parts": Attack(f"{{ {MODEL} {{ {'... @defer { name } ' * 60} }} }}", TOO_COMPLEX),
    "the same field 1990 times": Attack(f"{{ {MODEL} {{ {'name ' * 1_990} }} }}", TOO_COMPLEX),
    "the same list 800 times": Attack(f"{{ {MODEL} {{ {'versions { totalCount } ' * 800} }} }}", TOO_COMPLEX),
    "400 fields that conflict": Attack(
        "{ models { " + " ".join(f"nodes(x: {n}) {{ id }}" for n in range(400)) + " } }", TOO_COMPLEX
    ),
    "250 fragments side by side": Attack(spreads({f"F{n}": "name" for n in range(250)}), TOO_COMPLEX),
    "25 root fields": Attack("{ __typename " + " ".join(f"a{n}: __typename" for n in range(24)) + " }", TOO_COMPLEX),
    "1000 operations": Attack(" ".join(f"query Q{n} {{ __typename }}" for n in range(1_000)), TOO_COMPLEX),
    "50 operations": Attack(" ".join(f"query Q{n} {{ __typename }}" for n in range(50)), TOO_COMPLEX),
    # Cycles
    "a fragment that spreads itself": Attack(spreads({"A": "...A"}), INVALID),
    "fragments in a cycle": Attack(spreads({"A": "...B", "B": "...C", "C": "...A"}), INVALID),
    "10 fragments that spread all others": Attack(
        spreads({f"F{n}": " ".join(f"...F{m}" for m in range(10)) for n in range(10)}), INVALID
    ),
    "30 fragments that spread all others": Attack(
        spreads({f"F{n}": " ".join(f"...F{m}" for m in range(30)) for n in range(30)}), TOO_COMPLEX
    ),
    # The schema
    "deep introspection": Attack(INTROSPECTED, INVALID),
    "introspection 20 times": Attack(
        "{ " + " ".join(f"a{n}: __schema {{ types {{ {KINDS * 10} }} }}" for n in range(20)) + " }", TOO_COMPLEX
    ),
    "a mutation": Attack("mutation { __typename }", INVALID),
    # Values
    "10 000 ids in the document": Attack("{ nodes(ids: [" + '"a",' * 10_000 + "]) { id } }", TOO_COMPLEX),
    "10 000 ids": Attack(NODES, BAD_INPUT, {"ids": ["a"] * 10_000}, executed=True),
    "5000 references": Attack(ENTITIES, BAD_INPUT, {"all": [{"__typename": "Model", "id": "a"}] * 5_000},
                              executed=True),
    "references that nest": Attack(ENTITIES, BAD_INPUT, {"all": [nested_objects("a", 200)]}, executed=True),
    "variables that nest": Attack(NODE, "BAD_REQUEST", {"id": nested_objects("a", 500)}, status=400, closes=4400),
    "variables of 300 kB": Attack(NODE, "PAYLOAD_TOO_LARGE", {"id": "a" * 300_000}, status=413, closes=1009),
    "an id of 150 kB": Attack(NODE, "INVALID_ID", {"id": "a" * 150_000}, executed=True),
    "an id that is an object": Attack(NODE, BAD_INPUT, {"id": {"a": "b"}}),
    "a NUL in an id": Attack(NODE, "INVALID_ID", {"id": "pai:model/\0"}, executed=True),
    "a whole number of 5000 digits in the document": Attack(f"{{ models(first: {'9' * 5_000}) {{ totalCount }} }}",
                                                            INVALID),
    "a whole number of 19 digits": Attack(FIRST, BAD_INPUT, {"n": 10**19 - 1}),
    "a number beyond all numbers": Attack(FIRST, BAD_INPUT, {"n": 1e300}),
    "a page of minus one": Attack(FIRST, BAD_INPUT, {"n": -1}, executed=True),
    "a page of two thousand million": Attack(FIRST, BAD_INPUT, {"n": 2**31 - 1}, executed=True),
    "a day that no month has": Attack(SINCE, BAD_INPUT, {"t": "2024-02-30T00:00:00Z"}),
    "an hour that no day has": Attack(SINCE, BAD_INPUT, {"t": "2024-01-01T24:30:00Z"}),
    "digits that are not ASCII": Attack(SINCE, BAD_INPUT, {"t": "٢٠٢٤-01-01T00:00:00Z"}),
    "a filter of 100 kB": Attack(NAMED, BAD_INPUT, {"name": "a" * 100_000}, executed=True),
    "a cursor of 100 kB": Attack(AFTER, "INVALID_CURSOR", {"after": "a" * 100_000}, executed=True),
    "a cursor of another server": Attack(AFTER, "INVALID_CURSOR", {"after": "AAAA"}, executed=True),
    # Text
    "a lone surrogate": Attack('{ node(id: "\\uD800") { id } }', "GRAPHQL_PARSE_FAILED"),
    "a lone surrogate in braces": Attack('{ node(id: "\\u{DFFF}") { id } }', "GRAPHQL_PARSE_FAILED"),
    "a NUL in the document": Attack("{ __type\0name }", "GRAPHQL_PARSE_FAILED"),
    "a name of 90 kB": Attack("{ " + "a" * 90_000 + " }", INVALID),
    "an enumeration's value of 90 kB": Attack(
        "{ models(orderBy: {field: " + "A" * 90_000 + ", direction: ASC}) { totalCount } }", INVALID
    ),
    "an operation's name of 100 kB": Attack("{ __typename }", "OPERATION_RESOLUTION_FAILURE",
                                            operation_name="a" * 100_000),
}  # fmt: skip
"""Operations for every transport."""


@dataclass(frozen=True)
class InvalidBody:
    """A body that is not a GraphQL request, or has the wrong headers."""

    status: int
    code: str
    body: bytes = b'{"query": "{ __typename }"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


def typed(content_type: str, body: bytes = b'{"query": "{ __typename }"}') -> InvalidBody:
    return InvalidBody(415, "UNSUPPORTED_MEDIA_TYPE", body, {"Content-Type": content_type})


def encoded(encoding: str, body: bytes) -> InvalidBody:
    return InvalidBody(415, "UNSUPPORTED_MEDIA_TYPE", body, {"Content-Encoding": encoding})


def broken(body: bytes) -> InvalidBody:
    return InvalidBody(400, "BAD_REQUEST", body)


FORM = b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{"query": "{ __typename }"}\r\n--x--'

BODIES: Mapping[str, InvalidBody] = {
    "10 MB": InvalidBody(413, "PAYLOAD_TOO_LARGE", b" " * 10_000_000),
    "10 MB in chunks": InvalidBody(413, "PAYLOAD_TOO_LARGE", b" " * 10_000_000, chunked=True),
    "empty lines in chunks": InvalidBody(400, "BAD_REQUEST", b"\r\n\r\n" * 30_000, chunked=True),
    "a gzip bomb": encoded("gzip", gzip.compress(b" " * 100_000_000, 9)),
    "a deflated bomb": encoded("deflate", zlib.compress(b" " * 100_000_000, 9)),
    "deflate of garbage": encoded("deflate", b"\xff\x00garbage" * 100),
    "two encodings": encoded("gzip, identity", gzip.compress(b"{}")),
    "JSON that nests in lists": broken(b"[" * 1_000_000),
    "JSON that nests in objects": broken(b'{"a":' * 200_000),
    "600 000 empty lists": broken(b'{"a":[' + b"[]," * 600_000 + b"[]]}"),
    "a number of 1 MB": broken(b'{"query":' + b"9" * 1_000_000 + b"}"),
    "a lone surrogate": broken(b'{"query":"\\ud800"}'),
    "NULs": broken(b"\0" * 1_000),
    "no UTF-8": broken(b'{"query":"\xc0\xae"}'),
    "a batch of 1000": InvalidBody(400, "BATCH_TOO_LARGE", b"[" + b'{"query":"{__typename}"},' * 999 + b"{}]"),
    "a batch in a batch": broken(b'[[{"query":"{__typename}"}]]'),
    "a form of another page": typed("application/x-www-form-urlencoded", b"query={__typename}"),
    "a form with a file": typed("multipart/form-data; boundary=x", FORM),
    "plain text of another page": typed("text/plain"),
    "two types at once": typed("text/plain, application/json"),
    "a type within a type": typed("text/plain; a=application/json"),
    "another character set": typed("application/json; charset=utf-16", '{"query":"{__typename}"}'.encode("utf-16")),
}


@dataclass(frozen=True)
class RawBytes:
    """Raw bytes for a connection, and the statuses of the responses before it is closed."""

    content: bytes
    statuses: tuple[int, ...]


def request(*lines: str, body: bytes = b"", host: str = "Host: gateway") -> bytes:
    head = [lines[0], *([host] if host else []), *lines[1:], "\r\n"]
    return "\r\n".join(head).encode("latin-1") + body


def post(*lines: str, body: bytes = b"") -> bytes:
    return request("POST /graphql HTTP/1.1", "Content-Type: application/json", *lines, body=body)


CLOSE = "Connection: close"
HEALTH = "GET /healthz HTTP/1.1"
HIDDEN = b"0\r\n\r\n" + request("GET /schema.graphql HTTP/1.1")
CHUNKED = "Transfer-Encoding: chunked"

RAW_BYTES: Mapping[str, RawBytes] = {
    "length and chunks": RawBytes(post("Content-Length: 4", CHUNKED, body=HIDDEN), (400,)),
    "chunks and length": RawBytes(post(CHUNKED, "Content-Length: 4", body=HIDDEN), (400,)),
    "an unknown encoding": RawBytes(post("Transfer-Encoding: xchunked", body=HIDDEN), (400,)),
    "two encodings": RawBytes(post(CHUNKED, "Transfer-Encoding: identity", body=HIDDEN), (400,)),
    "two lengths": RawBytes(post("Content-Length: 4", "Content-Length: 40", body=HIDDEN), (400,)),
    "a negative length": RawBytes(post("Content-Length: -1"), (400,)),
    "a length with a sign": RawBytes(post("Content-Length: +2", body=b"{}"), (400,)),
    "a length of 23 digits": RawBytes(post("Content-Length: 99999999999999999999999"), (400,)),
    "a chunk larger than all": RawBytes(post(CHUNKED, body=b"fffffffffffffffff\r\n{}"), (400,)),
    "a chunk of minus one": RawBytes(post(CHUNKED, body=b"-1\r\n{}"), (400,)),
    "a folded header": RawBytes(request(HEALTH, "A: a\r\n b"), (400,)),
    "a blank before a colon": RawBytes(request(HEALTH, "A : a"), (400,)),
    "lines without CR": RawBytes(request(HEALTH).replace(b"\r", b""), (400,)),
    "a NUL in a header": RawBytes(request(HEALTH, "A: a\0b"), (400,)),
    "a CR in a header": RawBytes(request(HEALTH, "A: a\rb"), (400,)),
    "no host": RawBytes(request(HEALTH, "A: b", host=""), (400,)),
    "two hosts": RawBytes(request(HEALTH, "Host: other"), (400,)),
    "20 000 headers": RawBytes(request(HEALTH, *["A: b"] * 20_000), (431,)),
    "a header of 100 kB": RawBytes(request(HEALTH, f"A: {'b' * 100_000}"), (431,)),
    "a header without an end": RawBytes(request(HEALTH)[:-4] + b"\r\nA: " + b"b" * 100_000, (431,)),
    "an address of 100 kB": RawBytes(request(f"GET /healthz?{'a' * 100_000} HTTP/1.1"), (431,)),
    "a NUL in the path": RawBytes(request("GET /gra\0phql HTTP/1.1"), (400,)),
    "an encoded NUL in the path": RawBytes(request("GET /graphql%00 HTTP/1.1", CLOSE), (404,)),
    "a path in Latin-1": RawBytes(request("GET /graphq\xec HTTP/1.1"), (400,)),
    "percent signs that encode nothing": RawBytes(request("GET /%zz%ff%c0%ae HTTP/1.1", CLOSE), (404,)),
    "a query that encodes nothing": RawBytes(request("GET /graphql?query=%zz&%%%=&=%ff HTTP/1.1", CLOSE), (200,)),
    "a path that climbs": RawBytes(request("GET /assets/../../../../etc/passwd HTTP/1.1", CLOSE), (404,)),
    "a path that climbs in code": RawBytes(request("GET /assets/%2e%2e/%2e%2e/etc/passwd HTTP/1.1", CLOSE), (404,)),
    "a path with no slash": RawBytes(request("GET healthz HTTP/1.1"), (400,)),
    "an address of another host": RawBytes(request("GET http://169.254.169.254/latest HTTP/1.1", CLOSE), (404,)),
    "a proxy's request": RawBytes(request("CONNECT 169.254.169.254:80 HTTP/1.1"), (400,)),
    "no address at all": RawBytes(request("OPTIONS * HTTP/1.1", CLOSE), (404,)),
    "HTTP/1.0": RawBytes(request("GET /healthz HTTP/1.0", host=""), (200,)),
    "HTTP/2": RawBytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "HTTP/3.7": RawBytes(request("GET /healthz HTTP/3.7"), (400,)),
    "an unknown method": RawBytes(request("HACK /graphql HTTP/1.1"), (400,)),
    "TRACE": RawBytes(request("TRACE /graphql HTTP/1.1", CLOSE), (405,)),
    "an upgrade that hides a request": RawBytes(
        request(HEALTH, "Connection: upgrade", "Upgrade: websocket", "Content-Length: 47")
        + request("GET /schema.graphql HTTP/1.1")
        + request(HEALTH, CLOSE),
        (200, 200),
    ),
    "a trailer that would be a second length": RawBytes(post(CHUNKED, body=b"0\r\nContent-Length: 4\r\n\r\n"), (400,)),
    "an upgrade to HTTP/2": RawBytes(request(HEALTH, "Connection: upgrade, close", "Upgrade: h2c"), (200,)),
    "50 requests at once": RawBytes(request(HEALTH) * 49 + request(HEALTH, CLOSE), (200,) * 50),
    "garbage behind good requests": RawBytes(request(HEALTH) * 2 + b"\0\xff" * 100, (200, 200, 400)),
    "a request, and garbage behind it": RawBytes(request("HACK / HTTP/1.1") + b"\0\xff" * 100, (400,)),
    "TLS": RawBytes(bytes.fromhex("16030100a5010000a10303") + b"\0" * 200, (400,)),
}  # fmt: skip
