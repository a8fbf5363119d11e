"""How a unified field is read from a registry's raw JSON: the words that the field tables are written in.

A table maps unified field names to `Field`s. Readers accept what the clouds really send: numbers where text is
documented, text where an object is, ``""`` and null for "not set". What is not there is None, never a default.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final

import orjson

Raw = Mapping[str, Any]
Table = Mapping[str, "Field"]


class NotProvided:
    """This answer does not tell, another call may."""

    def __repr__(self) -> str:
        return "NOT_PROVIDED"


NOT_PROVIDED: Final = NotProvided()


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One unified field: ``read`` gives its value from the raw object, or UNSAID.

    ``keys`` are the native keys that it represents whole (what no field represents ends up in ``extra``).
    With ``table`` the value is a raw object (or a list of them) that is projected further; with ``shape`` it is an
    entity of its own (`Rows` when there are many); with ``lookup`` it is the key tuple of that lookup. ``instead`` is
    what ``read`` may give where the answer holds no value: UNSAID, or for one entity the `Rows` to find it among.
    Where ``read`` does no more than to ``convert`` what stands under the one native key, that is said, too.
    """

    keys: tuple[str, ...]
    read: Callable[[Raw], Any]
    table: Table | None = None
    shape: "EntityLayout | None" = None
    lookup: str | None = None
    instead: "NotProvided | type[Rows] | None" = None
    convert: Callable[[Any], Any] | None = None

    @property
    def stands(self) -> bool:
        """Whether the value, or all that it is made of, stands in the raw object itself."""
        return self.shape is None and self.lookup is None and self.instead is None


@dataclass(frozen=True, slots=True, eq=False)
class EntityLayout:
    """One form in which a registry sends an entity: its type, where its own key stands, and its fields.

    ``parent`` reads the key of the owning entity where the form carries it. A form that is not ``whole`` only lists
    what belongs to the entity: it proves that the entity exists when the list is not empty. ``owner`` is what a
    version's form tells of the model or algorithm that it belongs to.
    """

    entity: str
    key: Callable[[Raw], str | None]
    fields: Table
    parent: Callable[[Raw], str | None] = lambda raw: None
    whole: bool = True
    owner: "EntityLayout | None" = None


@dataclass(slots=True)
class Rows:
    """Entities of one answer: this page's raw rows, how many there are in all where the registry says, and the marker
    of the next page where pages have markers."""

    items: Sequence[Raw]
    total: int | None
    next: str | None = None


def at(raw: Any, path: tuple[str, ...]) -> Any:
    """The value under nested keys, None where a step is missing."""
    for key in path:
        if type(raw) is not dict and not isinstance(raw, Mapping):
            return None
        raw = raw.get(key)
    return raw


# Values


def as_text(value: Any) -> str | None:
    """Text as it is; numbers and booleans spelled as JSON does; empty text is None."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_integer(value: Any) -> int | None:
    """Whole numbers of 64 bits, also written as text."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -(2**63) <= value < 2**63 else None


def as_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def as_list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def as_objects(value: Any) -> list[Raw] | None:
    """The objects of a list, which is this very list if nothing else is in it; anything else is dropped."""
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not dict:
            return [item for item in value if isinstance(item, Mapping)]
    return value


def as_object(value: Any) -> Raw | None:
    """An object, or one written as JSON text; ``""`` is an empty object."""
    decoded = value if type(value) is dict else as_json(value)
    return decoded if type(decoded) is dict or isinstance(decoded, Mapping) else None


def as_json(value: Any) -> Any:
    """Free JSON; text that holds a JSON object or list, even one escaped twice, is decoded; ``""`` is ``{}``."""
    if not isinstance(value, str):
        return value
    if not value:
        return {}
    for candidate in (value, value.replace('\\"', '"')):
        try:
            decoded = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        if isinstance(decoded, (dict, list)):
            return decoded
    return value


def as_texts(value: Any) -> list[str] | None:
    """A list of texts, which is this very list if nothing else is in it."""
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not str:
            return [as_text(item) or "" for item in value]
    return value


def as_moment(value: Any) -> float:
    """A time as seconds since 1970, for comparison; what is none is before all others."""
    said = as_time(value)
    return float("-inf") if said is None else datetime.fromisoformat(said).timestamp()


def as_number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


CHINA = timezone(timedelta(hours=8))
MOST_TIMES: Final = 20_000
"""Times that are remembered in a form that took work: the same rows are read again and again."""
MOST_WORDS: Final = 200
"""Spellings of one enumeration's words that are remembered."""
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass(frozen=True, slots=True, eq=False)
class MemoizedConversion:
    """A conversion that remembers what it made of each ``text``; ``other`` is for all that is none."""

    text: Callable[[str], str | None]
    other: Callable[[Any], str | None] = lambda value: None

    def __call__(self, value: Any) -> str | None:
        return self.text(value) if type(value) is str else self.other(value)


@lru_cache(MOST_TIMES)
def in_utc(value: str) -> str | None:
    if value.startswith("0000"):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if UTC_TIME.fullmatch(value):
        return value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=CHINA)
    try:
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return None


as_time: Final = MemoizedConversion(in_utc)
"""ISO 8601 in UTC with ``Z``; a time without a zone is China's; the all-zero time and nonsense are None."""


# Fields


def field(key: str, convert: Callable[[Any], Any], table: Table | None = None) -> Field:
    return Field((key,), lambda raw: convert(raw.get(key)), table, convert=convert)


def text(key: str) -> Field:
    return field(key, as_text)


def texts(key: str) -> Field:
    """A list of texts."""
    return field(key, as_texts)


def integer(key: str) -> Field:
    return field(key, as_integer)


def boolean(key: str) -> Field:
    return field(key, as_boolean)


def time(key: str) -> Field:
    return field(key, as_time)


def free(key: str) -> Field:
    """Free JSON."""
    return field(key, as_json)


def term(key: str, words: Mapping[str, str]) -> Field:
    """A word of an enumeration: spelling differences in case, space, ``-`` and ``_`` do not matter."""

    @lru_cache(MOST_WORDS)
    def word(said: str) -> str | None:
        return as_term(said, words)

    return field(key, MemoizedConversion(word, lambda value: as_term(value, words)))


def as_term(value: Any, words: Mapping[str, str]) -> str | None:
    """The unified word; OTHER for one that is not known."""
    said = as_text(value)
    return None if said is None else words.get(re.sub(r"[\s_-]", "", said).lower(), "OTHER")


def fixed(value: Any) -> Field:
    """A field that this form implies without saying it."""
    return Field((), lambda raw: value)


def computed(*keys: str, read: Callable[[Raw], Any]) -> Field:
    return Field(keys, read)


def nested(key: str, table: Table) -> Field:
    """A value object of its own table."""
    return field(key, as_object, table)


def nested_list(key: str, table: Table) -> Field:
    return field(key, as_objects, table)


def gathered(*keys: str, table: Table) -> Field:
    """A value object whose parts stand beside each other in the raw object; None when all of them are absent."""
    return Field(keys, lambda raw: raw if any(raw.get(k) not in (None, "") for k in keys) else None, table)


def absent(*names: str) -> Table:
    """Fields that this registry never says."""
    return dict.fromkeys(names, ABSENT)


ABSENT: Final = Field((), lambda raw: None)


def extra(table: Table, *envelope: str) -> Table:
    """``raw`` (the object verbatim) and ``extra`` (what no field of the table represents) for a table."""
    known = {key for entry in table.values() for key in entry.keys} | set(envelope)
    return {
        "raw": Field((), lambda raw: raw),
        "extra": Field((), lambda raw: {key: value for key, value in raw.items() if key not in known}),
    }
