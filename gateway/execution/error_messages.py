"""Messages of graphql-core's errors as clients get them: values are in JSON, and long messages are truncated.

graphql-core writes values as Python does: ``None``, ``True``, ``{'a': 1}``. All its messages write them with one
function, which this module replaces for values that JSON has.
"""

import json
import sys
from typing import Any, Final

from graphql import Undefined

MAX_LENGTH: Final = 400
"""The maximum length of a message, in characters. It may quote any part of the document."""
MAX_ITEMS, MAX_TEXT, MAX_DEPTH = 10, 240, 2
"""The maximum size of a value in a message: items of a list or object, characters of a text, and levels."""
NOT_NULL: Final = " not to be None."

inspection: Final[Any] = sys.modules["graphql.pyutils.inspect"]  # the package's attribute of this name is the function
inspect_as_python: Final = inspection.inspect_recursive


def inspect_as_json(value: Any, seen: list[Any]) -> str:
    """Return a value in JSON, shortened. Other values, such as types, are written by graphql-core."""
    try:
        return json.dumps(shortened(value), ensure_ascii=False)
    except TypeError:
        return str(inspect_as_python(value, seen))


inspection.inspect_recursive = inspect_as_json


def shortened(value: Any, depth: int = 0) -> Any:
    """Return a JSON value of limited size. Raises TypeError for other values."""
    if isinstance(value, list | dict) and value and depth == MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [shortened(item, depth + 1) for item in value[:MAX_ITEMS]] + ["…"] * (len(value) > MAX_ITEMS)
    if isinstance(value, dict):
        items = list(value.items())
        rest = {"…": "…"} if len(items) > MAX_ITEMS else {}
        return {str(name): shortened(item, depth + 1) for name, item in items[:MAX_ITEMS]} | rest
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"
    if value is Undefined or not isinstance(value, bool | int | float | None):
        raise TypeError
    return value


def shown_message(message: str) -> str:
    """Return the message of an error of graphql-core for clients."""
    if message.endswith(NOT_NULL):
        message = message.removesuffix(NOT_NULL) + " not to be null."
    return message if len(message) <= MAX_LENGTH else f"{message[:MAX_LENGTH]}…"
