"""MLflow's language of filters and orders: comparisons that are joined by AND, and columns with a direction.

Source: `mlflow.utils.search_utils` and the SQL store of mlflow 3.18; the error messages are those of its server.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.twins.lazy_rows import Order
from gateway.twins.rows import Json
from gateway.twins.wire_formats import CloudError

INVALID = "INVALID_PARAMETER_VALUE"
PROMPT_TAG = "mlflow.prompt.is_prompt"
"""The tag of prompts, which are stored as models. A search without this tag leaves them out."""

SINGLE, DOUBLE, TICKED = r"'(?:''|\\'|[^'])*'", r'"(?:""|\\"|[^"])*"', r"`[^`]*`"
COMPARISON = re.compile(
    rf"""\s*(?:(?P<entity>\w+)\.)?(?P<key>{TICKED}|{DOUBLE}|[\w.]+)
    \s*(?P<operator>!=|<=|>=|=|<|>|NOT\s+IN\b|IN\b|I?LIKE\b)
    \s*(?P<value>{SINGLE}|{DOUBLE}|\((?:{SINGLE}|{DOUBLE}|[^)'"])*\)|[\w.]+)\s*""",
    re.VERBOSE | re.IGNORECASE,
)
AND = re.compile(r"AND\b", re.IGNORECASE)
QUOTED = re.compile(rf"{SINGLE}|{DOUBLE}")
LIST = re.compile(rf"\(\s*(?:{SINGLE}|{DOUBLE})(?:\s*,\s*(?:{SINGLE}|{DOUBLE}))*\s*\)")
ORDER = re.compile(r"\s*(?P<key>\S+?)(?:\s+(?P<direction>ASC|DESC))?\s*", re.IGNORECASE)


def like(flags: int) -> Callable[[str, str], bool]:
    """Return a test with a pattern, in which ``%`` is any text and ``_`` any character."""
    wildcards = {"%": ".*", "_": "."}

    def matches(value: str, pattern: str) -> bool:
        expression = "".join(wildcards.get(character) or re.escape(character) for character in pattern)
        return re.fullmatch(expression, value, flags | re.DOTALL) is not None

    return matches


Comparisons = Mapping[str, Callable[[Any, Any], bool]]
EQUALITY: Comparisons = {"=": operator.eq, "!=": operator.ne}
TEXT: Comparisons = {**EQUALITY, "LIKE": like(0), "ILIKE": like(re.IGNORECASE)}
TEXT_OR_LIST: Comparisons = {
    **TEXT,
    "IN": lambda value, texts: value in texts,
    "NOT IN": lambda value, texts: value not in texts,
}
NUMBER: Comparisons = {**EQUALITY, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def updated(row: Json) -> Any:
    return row["last_updated_timestamp"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: how it is read from a row, its comparisons in filters, and whether rows can be sorted by it."""

    read: Callable[[Json], Any]
    comparisons: Comparisons = field(default_factory=dict)
    sorts: bool = True


MODEL_COLUMNS: Mapping[str, Column] = {
    "name": Column(lambda row: row["name"], TEXT_OR_LIST),
    "last_updated_timestamp": Column(updated),
    "timestamp": Column(updated),
}
VERSION_COLUMNS: Mapping[str, Column] = {
    "name": Column(lambda row: row["name"], TEXT_OR_LIST),
    "run_id": Column(lambda row: row.get("run_id"), TEXT_OR_LIST, sorts=False),
    "source_path": Column(lambda row: row.get("source"), TEXT, sorts=False),
    "version_number": Column(lambda row: int(row["version"]), NUMBER),
    "creation_timestamp": Column(lambda row: row["creation_timestamp"]),
    "last_updated_timestamp": Column(updated),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a column, or of a tag."""

    matches: Callable[[Json], bool]
    operator: str
    value: Any
    column: str = ""
    tag: str = ""


def tag_value(row: Json, key: str) -> str | None:
    return next((tag["value"] for tag in row.get("tags", ()) if tag["key"] == key), None)


def parse_filter(text: str, columns: Mapping[str, Column]) -> list[Condition]:
    """Return the conditions of a filter, which a row must all meet. Raises `CloudError` if the filter is invalid."""
    conditions: list[Condition] = []
    position = 0
    while position < len(text):
        joined = AND.match(text, position) if conditions else None
        found = COMPARISON.match(text, joined.end() if joined else position)
        if found is None or (conditions and joined is None):
            if not text[position:].strip():
                break
            raise CloudError(INVALID, f"Invalid clause(s) in filter string: {text[position:].strip()}")
        conditions.append(_condition(found, columns))
        position = found.end()
    return _without_prompts(conditions)


def _without_prompts(conditions: list[Condition]) -> list[Condition]:
    asked = next((condition for condition in conditions if condition.tag == PROMPT_TAG), None)
    if asked and (asked.operator, asked.value.lower()) in (("=", "true"), ("!=", "false")):
        return conditions
    is_model = Condition(lambda row: tag_value(row, PROMPT_TAG) != "true", "!=", "true", tag=PROMPT_TAG)
    return [*(condition for condition in conditions if condition.tag != PROMPT_TAG), is_model]


def _condition(found: re.Match[str], columns: Mapping[str, Column]) -> Condition:
    entity, key, value = found["entity"] or "attribute", found["key"], found["value"]
    name = " ".join(found["operator"].upper().split())
    if entity not in ("attribute", "tag", "tags"):
        valid = "('attribute', 'tag', 'tags')"
        raise CloudError(INVALID, f"Invalid entity type '{entity}'. Valid entity types are {valid}")
    if entity != "attribute":
        if not QUOTED.fullmatch(value):
            raise CloudError(INVALID, f"Expected a quoted string value for tag (e.g. 'my-value'). Got value {value}")
        tag = key[1:-1] if key[0] in '`"' else key
        matches = _compare(name, value[1:-1], Column(lambda row: tag_value(row, tag), TEXT), "tag")
        return Condition(matches, name, value[1:-1], tag=tag)
    column = columns.get(key)
    if column is None or not column.comparisons:
        valid = ", ".join(repr(name) for name, column in columns.items() if column.comparisons)
        raise CloudError(INVALID, f"Invalid attribute key '{key}' specified. Valid keys are '{{{valid}}}'")
    if column.comparisons is NUMBER:
        wanted: Any = _number(key, value)
    elif LIST.fullmatch(value) and name in ("IN", "NOT IN"):
        wanted = frozenset(text[1:-1] for text in QUOTED.findall(value))
    elif QUOTED.fullmatch(value) and name not in ("IN", "NOT IN"):
        wanted = value[1:-1]
    else:
        message = "Parameter value is either not quoted or unidentified quote types used for string value"
        raise CloudError(INVALID, f"{message} {value}. Use either single or double quotes.")
    return Condition(_compare(name, wanted, column, "attribute"), name, wanted, column=key)


def _number(key: str, text: str) -> int:
    digits = text[1:-1] if QUOTED.fullmatch(text) else text
    if not (digits.isascii() and digits.isdigit()):
        raise CloudError(INVALID, f"Invalid value for numeric attribute '{key}': {digits!r}")
    return int(digits)


def _compare(name: str, wanted: Any, column: Column, entity: str) -> Callable[[Json], bool]:
    compare = column.comparisons.get(name)
    if compare is None:
        raise CloudError(INVALID, f"Invalid comparator for {entity}: {name}")

    def matches(row: Json) -> bool:
        value = column.read(row)
        return value is not None and compare(value, wanted)

    return matches


def parse_orders(clauses: Sequence[str], columns: Mapping[str, Column], *last: str) -> Order[Json]:
    """Return an order from clauses, then by the ``last`` clauses. Raises `CloudError` if one is invalid."""
    order: dict[Callable[[Json], Any], bool] = {}
    for number, clause in enumerate((*clauses, *last)):
        found = ORDER.fullmatch(clause)
        if found is None:
            raise CloudError(INVALID, f"Invalid ordering key in order_by clause '{clause}'.")
        column = columns.get(found["key"])
        if column is None or not column.sorts:
            valid = ", ".join(repr(name) for name, column in columns.items() if column.sorts)
            raise CloudError(INVALID, f"Invalid order by key '{found['key']}' specified. Valid keys are '{{{valid}}}'")
        if number < len(clauses) and column.read in order:
            raise CloudError("INTERNAL_ERROR", f"`order_by` contains duplicate fields: {list(clauses)}")
        order.setdefault(column.read, (found["direction"] or "").upper() == "DESC")
    return list(order.items())
