"""Field tables: how the schema's fields are read from a registry's raw JSON.

A table maps the names of unified fields (those of the schema, in snake case) to `Field`s. The first part of the module
declares the types of the table format, the second the conversions of values (``as_…``), the third the functions that
make `Field`s.

Conversions accept what the clouds really send: numbers where text is documented, text where an object is, ``""`` and
null for "not set". A missing or unusable value becomes None, never a default.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from gateway.errors import RegistryBadValue
from gateway.upstream.json_documents import read_json

Raw = Mapping[str, Any]
"""A JSON object as the registry sent it."""
Table = Mapping[str, "Field"]
"""The fields of an entity or value object, by their unified names."""


class NotProvided:
    """The type of `NOT_PROVIDED`."""

    def __repr__(self) -> str:
        return "NOT_PROVIDED"


NOT_PROVIDED: Final = NotProvided()
"""The value of a field that this response leaves open: another call must supply it. Differs from None, "not set"."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """How one unified field is read from a raw object.

    The value is a scalar, unless ``table``, ``layout`` or ``lookup`` is set; at most one of them is.
    """

    keys: tuple[str, ...]
    """The native keys that the field represents completely. Keys that no field represents become part of ``extra``."""
    read: Callable[[Raw], Any]
    """Returns the value for a raw object: None if it is not set, or what ``fallback`` allows."""
    table: Table | None = None
    """For a value object: the table of its fields. ``read`` returns a raw object or a list of them."""
    layout: "EntityLayout | None" = None
    """For another entity: its layout. ``read`` returns a raw object or, for a list, `Rows`."""
    lookup: str | None = None
    """For an entity that another call finds: the name of the `Lookup`. ``read`` returns its keys."""
    fallback: "NotProvided | type[Rows] | None" = None
    """What ``read`` may return instead of a value: `NOT_PROVIDED` or, for one entity, the `Rows` that contain it."""
    convert: Callable[[Any], Any] | None = None
    """The conversion, if ``read`` only converts the value under the single key in ``keys``. Readers then inline it."""

    is_number: bool = False
    """Whether the value is a number. If it is None although the raw value under the single key in ``keys`` is a number,
    readers supply an error."""

    @property
    def is_direct(self) -> bool:
        """Whether the raw object always contains the complete value."""
        return self.layout is None and self.lookup is None and self.fallback is None


@dataclass(frozen=True, slots=True, eq=False)
class EntityLayout:
    """One form in which a registry sends an entity, such as a list row or a single object."""

    entity: str
    """The type name in the schema, such as ``Model``."""
    key: Callable[[Raw], str | None]
    """Returns the entity's own native key: for a version, without that of its model or algorithm."""
    fields: Table
    """The fields that this layout supplies. Another call supplies the others."""
    parent: Callable[[Raw], str | None] = lambda raw: None
    """For a version: returns the native key of its model or algorithm, None if the layout does not contain it."""
    is_entity: bool = True
    """False for a list of versions in place of the entity: it proves that the entity exists only if it has rows."""
    owner: "EntityLayout | None" = None
    """For a version: the fields of its model or algorithm that the same raw object supplies."""
    of_versions: Mapping[str, Callable[[Raw, str], Any]] = dataclasses.field(default_factory=dict)
    """For a model: the fields of its versions that its raw object supplies, each a function of that and of the
    version's own key. They are used where the version's own layout lacks the field."""
    references: Mapping[str, Callable[[Raw], tuple[str, ...] | None]] = dataclasses.field(default_factory=dict)
    """The keys of what the raw object refers to, such as the run that produced a version, by the names that
    `Call.follows` uses. None if it refers to nothing."""


@dataclass(slots=True)
class Rows:
    """The rows of one page of a list."""

    items: Sequence[Raw]
    """The raw objects of this page."""
    total: int | None
    """The number of rows on all pages, None if the registry does not supply it."""
    next: str | None = None
    """The marker of the next page, for lists that are paged by marker. None on the last page."""
    left_out: int = 0
    """The number of rows on this page that are not objects. A value that is no list is one such row."""
    truncated: bool = False
    """Whether more rows follow that no call returns: the registry announces a next page without its marker."""

    @classmethod
    def of(cls, value: Any, total: int | None, next: str | None = None, truncated: bool = False) -> "Rows":
        """Return the rows in a list, no rows for null, and one left-out row for any other value."""
        items = as_objects(value) or []
        sent = len(value) if isinstance(value, list) else int(value is not None)
        return cls(items, total, next, sent - len(items), truncated)

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the list, and all of them are objects."""
        return self.left_out == 0 and self.total == len(self.items)

    @classmethod
    def all_of(cls, value: Any, count: Any = None) -> "Rows":
        """Return the rows of a list that an answer contains as a whole. ``count`` is the registry's count of them."""
        rows = cls.of(value, None)
        rows.total = max(len(rows.items) + rows.left_out, as_integer(count) or 0)
        return rows


Path = tuple[str | int, ...]
"""Where a value is in JSON: the keys of nested objects, and positions in lists, from 0."""


def at(raw: Any, path: Path) -> Any:
    """Return the value at a path, None if there is none."""
    for step in path:
        if type(raw) is dict or isinstance(raw, Mapping):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw = raw[step]
        else:
            return None
    return raw


# Conversions of values


def as_text(value: Any) -> str | None:
    """Convert to text: text unchanged, other values as compact JSON, None for empty text and null."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_integer(value: Any) -> int | None:
    """Convert to a signed 64-bit integer, also from text of at most 18 digits. None for other values."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and -(2**63) <= value < 2**63 else None


def as_boolean(value: Any) -> bool | None:
    """Return a boolean unchanged, None for other values."""
    return value if isinstance(value, bool) else None


def as_list(value: Any) -> list[Any] | None:
    """Return a list unchanged, None for other values."""
    return value if isinstance(value, list) else None


def as_objects(value: Any) -> list[Raw] | None:
    """Return the objects in a list and drop all other items; the same list if nothing is dropped."""
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not dict:
            return [item for item in value if isinstance(item, Mapping)]
    return value


def as_object(value: Any) -> Raw | None:
    """Convert to an object, also from JSON text; ``""`` is an empty object. None for other values."""
    decoded = value if type(value) is dict else as_json(value)
    return decoded if type(decoded) is dict or isinstance(decoded, Mapping) else None


def as_json(value: Any) -> Any:
    """Convert to a JSON value: decode text that contains a JSON object or list, also if it is escaped twice.

    ``""`` becomes ``{}``. All other values stay unchanged.
    """
    if not isinstance(value, str):
        return value
    if not value:
        return {}
    if value.lstrip().startswith(("{", "[")):
        for candidate in (value, value.replace('\\"', '"')):
            with suppress(ValueError):
                return read_json(candidate.encode())
    return value


def as_texts(value: Any) -> list[str] | None:
    """Convert to a list of texts: the same list if it contains only text. None for other values."""
    if not isinstance(value, list):
        return None
    for item in value:
        if type(item) is not str:
            return [as_text(item) or "" for item in value]
    return value


def as_moment(value: Any) -> float:
    """Convert a time to seconds since 1970, for comparison. Other values become negative infinity."""
    time = as_time(value)
    return float("-inf") if time is None else datetime.fromisoformat(time).timestamp()


def as_number(value: Any) -> float | None:
    """Convert a finite number to a float. None for other values, booleans included."""
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return None if number is None or not isfinite(number) else number


NUMBER = re.compile(r"-?([0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|Infinity)|NaN")
"""The texts of numbers, as `gateway.upstream.json_documents` leaves those that JSON cannot write."""


def number_or_error(value: float | None, native: Any) -> float | RegistryBadValue | None:
    """Return the converted value, or an error if it is None in place of a number, such as one out of range."""
    if value is not None:
        return value
    if isinstance(native, str):
        is_number = NUMBER.fullmatch(native) is not None and not abs(float(native)) < 2**63
    else:
        is_number = isinstance(native, (int, float)) and not isinstance(native, bool)
    return RegistryBadValue() if is_number else None


NUMERIC = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def as_measure(value: Any) -> float | None:
    """Convert a finite number, or text that is one, to a float. None for other values."""
    if isinstance(value, str):
        value = float(value) if NUMERIC.fullmatch(value.strip()) else None
    return as_number(value)


def as_measured_text(value: Any) -> str | None:
    """Convert a measured value that is no finite number to text. None for numbers."""
    return as_text(value) if as_measure(value) is None else None


CHINA = timezone(timedelta(hours=8))
TIME_CACHE_SIZE: Final = 5_000
"""The number of converted times to cache. The same rows are read again and again."""
ENUM_CACHE_SIZE: Final = 200
"""The number of converted values to cache for each enumeration."""
NOT_SET: Final = ("0000", "0001-01-01")
"""The beginnings of times that mean "not set": MySQL's zero date, and the zero time of Go and .NET."""
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass(frozen=True, slots=True, eq=False)
class MemoizedConversion:
    """A conversion that caches its results for text."""

    text: Callable[[str], str | None]
    """The cached conversion of text."""
    other: Callable[[Any], str | None] = lambda value: None
    """The conversion of all other values."""

    def __call__(self, value: Any) -> str | None:
        return self.text(value) if type(value) is str else self.other(value)


@lru_cache(TIME_CACHE_SIZE)
def in_utc(value: str) -> str | None:
    """Convert ISO 8601 text to UTC, None if it is not a time."""
    if value.startswith(NOT_SET):
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
"""Convert to ISO 8601 text in UTC with ``Z``. Text without a zone is in UTC+8. None for those of `NOT_SET` and for
other values."""


@lru_cache(ENUM_CACHE_SIZE)
def spdx(text: str) -> str | None:
    """Return the canonical form of an SPDX license expression, None for other text."""
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None


as_spdx: Final = MemoizedConversion(spdx)
"""Convert an SPDX license expression to its canonical form. None for other values."""


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def since_epoch(unit: timedelta) -> MemoizedConversion:
    """Return a conversion of the time since 1970, in whole or broken units, to ISO 8601 text in UTC with ``Z``.

    None for text that is no number, and for times that no date can express.
    """

    @lru_cache(TIME_CACHE_SIZE)
    def convert(value: float) -> str | None:
        try:
            moment = EPOCH + value * unit
        except (OverflowError, ValueError):
            return None
        text = moment.replace(tzinfo=None).isoformat()
        return f"{text.rstrip('0') if '.' in text else text}Z"

    def text(value: str) -> str | None:
        number = as_integer(value)
        return None if number is None else convert(number)

    def other(value: Any) -> str | None:
        return convert(value) if type(value) is int or type(value) is float else None

    return MemoizedConversion(text, other)


as_milliseconds: Final = since_epoch(timedelta(milliseconds=1))
as_seconds: Final = since_epoch(timedelta(seconds=1))


# Fields


def field(key: str, convert: Callable[[Any], Any], table: Table | None = None) -> Field:
    """The converted value under a key."""
    return Field((key,), lambda raw: convert(raw.get(key)), table, convert=convert)


def text(key: str) -> Field:
    """Text."""
    return field(key, as_text)


def texts(key: str) -> Field:
    """A list of texts."""
    return field(key, as_texts)


def integer(key: str) -> Field:
    """A 64-bit integer."""
    return Field((key,), lambda raw: as_integer(raw.get(key)), convert=as_integer, is_number=True)


def number(key: str) -> Field:
    """A number."""
    return Field((key,), lambda raw: as_number(raw.get(key)), convert=as_number, is_number=True)


def metric(name: Field, value: str) -> Table:
    """The table of a metric, whose value is under a key: a number, also if it is sent as text, or else a text."""
    measure = Field((value,), lambda raw: as_measure(raw.get(value)), convert=as_measure, is_number=True)
    return {"name": name, "value": measure, "text": field(value, as_measured_text)}


def boolean(key: str) -> Field:
    """A boolean."""
    return field(key, as_boolean)


def time(key: str) -> Field:
    """A time."""
    return field(key, as_time)


def milliseconds(key: str) -> Field:
    """A time in milliseconds since 1970."""
    return field(key, as_milliseconds)


def seconds(key: str) -> Field:
    """A time in seconds since 1970, which may have a fraction."""
    return field(key, as_seconds)


def json_value(key: str) -> Field:
    """Any JSON value, decoded if it is text."""
    return field(key, as_json)


def enum(key: str, values: Mapping[str, str]) -> Field:
    """An enumeration value. ``values`` maps native values, as `as_enum` normalizes them, to the schema's."""

    @lru_cache(ENUM_CACHE_SIZE)
    def convert_text(value: str) -> str | None:
        return as_enum(value, values)

    return field(key, MemoizedConversion(convert_text, lambda value: as_enum(value, values)))


def as_enum(value: Any, values: Mapping[str, str]) -> str | None:
    """Convert a native enumeration value to the schema's, to OTHER if ``values`` does not contain it.

    Ignores case, whitespace, ``-`` and ``_``: the keys of ``values`` are lower case without them.
    """
    native = as_text(value)
    return None if native is None else values.get(re.sub(r"[\s_-]", "", native).lower(), "OTHER")


def fixed(value: Any) -> Field:
    """A constant that the layout implies."""
    return Field((), lambda raw: value)


def computed(*keys: str, read: Callable[[Raw], Any]) -> Field:
    """A value that ``read`` computes from the raw object. ``keys`` are the native keys that it represents."""
    return Field(keys, read)


def nested(key: str, table: Table) -> Field:
    """A value object."""
    return field(key, as_object, table)


def nested_list(key: str, table: Table) -> Field:
    """A list of value objects."""
    return field(key, as_objects, table)


def gathered(*keys: str, table: Table) -> Field:
    """A value object whose parts are keys of the raw object itself. None if all of them are unset."""
    return Field(keys, lambda raw: raw if any(raw.get(k) not in (None, "") for k in keys) else None, table)


ABSENT: Final = Field((), lambda raw: None)
"""A field that the registry does not have. Its value is None."""


def absent(*names: str) -> dict[str, Field]:
    """The fields of a value object that the registry does not have."""
    return dict.fromkeys(names, ABSENT)


def extra(table: Table, *excluded: str) -> Table:
    """A table of ``raw`` and ``extra``, to add to ``table``.

    ``raw`` is the raw object itself, ``extra`` its keys that neither ``table`` nor ``excluded`` contains.
    """
    known = {key for entry in table.values() for key in entry.keys} | set(excluded)
    return {
        "raw": Field((), lambda raw: raw),
        "extra": Field((), lambda raw: {key: value for key, value in raw.items() if key not in known}),
    }
