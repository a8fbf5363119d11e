"""JSON from outside, read so that every part of it can be written as strict JSON again.

orjson reads almost all documents. It refuses a whole document for one odd value: half of a surrogate pair, bytes that
are not UTF-8, NaN, a number out of range. It reads some documents that it cannot write again, or not exactly: those
that are nested deeply, and integers of more than 64 bits. Such documents are read tolerantly, and only the odd values
are replaced:

- Half a surrogate pair, and each byte that is not UTF-8, becomes U+FFFD, in values and in names of members.
- NaN, Infinity, and a number out of range become their text, such as ``"1e400"``.
- An object or list below `MAX_DEPTH` levels becomes its text.

An object with a replaced value, at any depth, has the additional member `REPLACED`.
"""

import json
import re
from functools import reduce
from itertools import count
from math import isfinite
from secrets import token_hex
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 128
"""Levels of objects and lists in a document. orjson writes 254, and a response nests a document further."""
REPLACED: Final = "$replaced"
"""The member that lists the names of those members whose values, or names, are not exactly as they were sent."""

SPARE_LEVELS: Final = range(254 - MAX_DEPTH)
DIGITS_AS_ZEROS: Final = bytes.maketrans(b"0123456789", b"0" * 10)
LONG_NUMBER: Final = b"0" * 20
"""Twenty digits, as zeros: the shortest integer of more than 64 bits."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""The integers that orjson reads exactly."""

NESTING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")


class OddNumber(str):
    """The text of a number that JSON cannot write."""

    __slots__ = ()


def read_json(content: bytes) -> Any:
    """Return a JSON document. Raises ValueError if it is none, even with tolerance."""
    try:
        document = orjson.loads(content)
        if content.count(b"{") + content.count(b"[") > MAX_DEPTH:
            orjson.dumps(reduce(lambda inner, _: [inner], SPARE_LEVELS, document))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return read_tolerantly(content)
    if LONG_NUMBER in content.translate(DIGITS_AS_ZEROS) and orjson.dumps(document) != content:
        return read_tolerantly(content)
    return document


def read_tolerantly(content: bytes) -> Any:
    """Return a JSON document whose odd values are replaced. Raises ValueError if it is none."""
    text = content.decode("utf-8-sig", "surrogateescape").lstrip()
    if not text.startswith(("{", "[")):
        raise ValueError("neither an object nor a list")
    mark = token_hex(16)
    document = json.loads(
        without_deep_values(text, mark),
        strict=False,
        parse_float=float_or_text,
        parse_int=integer_or_text,
        parse_constant=OddNumber,
    )
    return without_odd_values(document, mark)[0]


def float_or_text(text: str) -> float | OddNumber:
    number = float(text)
    return number if isfinite(number) else OddNumber(text)


def integer_or_text(text: str) -> int | OddNumber:
    if len(text) <= len(str(MIN_INTEGER)) and MIN_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        return number
    return OddNumber(text)


def without_deep_values(text: str, mark: str) -> str:
    """Replace each object and list below the maximum depth by its text, as a string that starts with ``mark``."""
    parts, copied, depth, start = list[str](), 0, 0, 0
    for token in NESTING.finditer(text):
        if token[0] in ("{", "["):
            depth += 1
            if depth == MAX_DEPTH + 1:
                start = token.start()
        elif token[0] in ("}", "]"):
            if depth == MAX_DEPTH + 1:
                parts += text[copied:start], json.dumps(mark + text[start : token.end()])
                copied = token.end()
            depth -= 1
    if depth > MAX_DEPTH:
        raise ValueError("not closed")
    return "".join((*parts, text[copied:]))


def without_odd_values(value: Any, mark: str) -> tuple[Any, bool]:
    """Return a value without odd values, and whether it had any."""
    if isinstance(value, OddNumber):
        return str(value), True
    if isinstance(value, str):
        return clean_text(value.removeprefix(mark)), value.startswith(mark) or SURROGATE.search(value) is not None
    if isinstance(value, list):
        items = [without_odd_values(item, mark) for item in value]
        return [item for item, _ in items], any(replaced for _, replaced in items)
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        odd = []
        for name, member in value.items():
            clean_name = clean_text(name)
            if clean_name != name:
                clean_name = next(each for n in count() if (each := clean_name + "\ufffd" * n) not in members)
            members[clean_name], replaced = without_odd_values(member, mark)
            if replaced or clean_name != name:
                odd.append(clean_name)
        return (members | {REPLACED: odd} if odd else members), bool(odd)
    return value, False


def clean_text(text: str) -> str:
    """Replace the halves of surrogate pairs by U+FFFD, since UTF-8 cannot carry them."""
    return SURROGATE.sub("\ufffd", text)
