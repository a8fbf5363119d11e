"""The same operation over the same registries, executed by Strawberry and graphql-core, and by compiled projection."""

import asyncio
import random
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any
from unittest.mock import patch

import orjson
from graphql import GraphQLError, get_variable_values

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.operation import Operation
from gateway.errors import RegistryUnavailable
from gateway.execution.context import OperationContext
from gateway.execution.operation_plan import BoundOperation, PlannedOperation
from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from tests.catalog.clouds import DOCUMENTS, Clouds

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """An answer as its bytes, so that the order of keys counts; its errors, and failures that only errors can show.

    Errors of one root field stand in their order; root fields are answered at the same time, and the specification
    leaves open in which order they fail.
    """

    data: bytes
    errors: list[Any]
    failures: list[Any]

    @classmethod
    def of(cls, data: Any, errors: list[GraphQLError] | None, context: OperationContext) -> "Outcome":
        formatted = [orjson.loads(without_ids(orjson.dumps(error.formatted))) for error in errors or ()]
        failures = [[path.as_list(), str(failure)] for path, failure in context.failures]
        formatted.sort(key=lambda error: str(error.get("path", [""])[0]))
        return cls(orjson.dumps(data, default=str), formatted, sorted(failures))

    def agrees(self, other: "Outcome") -> bool:
        """Whether both are the same. An error that leaves no data cancels what is under way: which others came before
        it is a matter of time."""
        if self.data == other.data == b"null" and any("path" in error for error in self.errors):
            return any(error in other.errors for error in self.errors)
        return self == other


def without_ids(text: bytes) -> bytes:
    """Unforeseen errors have an id of their own each time."""
    return re.sub(rb"[0-9a-f]{32}", b"some id", text)


def compile_document(text: str, name: str | None = None) -> PlannedOperation | None:
    """The planned operation, None where projection does not support it."""
    document = DOCUMENTS.read(text)
    assert not document.errors, document.errors
    planned = PlannedOperation(GRAPHQL_SCHEMA, document.node, document.operation(name))
    return planned if planned.projected else None


async def executed(clouds: Clouds, text: str, variables: Variables) -> Outcome:
    """As graphql-core and Strawberry alone do it: what everything else must agree with."""
    context = OperationContext(DOCUMENTS.read(text).node, Operation(clouds.registries))
    result = await SCHEMA.execute(None, dict(variables), context)
    return Outcome.of(result.data, result.errors, context)


def bound(text: str, one: PlannedOperation, variables: Variables) -> BoundOperation:
    definitions = DOCUMENTS.read(text).operation(None).variable_definitions or ()
    coerced = get_variable_values(GRAPHQL_SCHEMA, definitions, dict(variables))
    assert not isinstance(coerced, list), coerced
    return one.bind(coerced)


async def answered(clouds: Clouds, text: str, question: BoundOperation, bounds: Bounds = DEFAULT_BOUNDS) -> Outcome:
    context = OperationContext(DOCUMENTS.read(text).node, Operation(clouds.registries, bounds))
    result = await question.execute(context)
    return Outcome.of(result.data, result.errors, context)


def both(text: str, variables: Variables | None = None, failing: frozenset[str] = frozenset()) -> tuple[Outcome, ...]:
    """What the executor answers, and what the compiled operation answers; twice, since the second time it is kept, with
    what was worked out for these registries."""
    one = compile_document(text)
    assert one is not None, "not covered"

    async def run() -> tuple[Outcome, ...]:
        outcomes = [await executed(clouds(failing), text, variables or {})]
        question, asked = bound(text, one, variables or {}), clouds(failing)
        outcomes += [await answered(asked, text, question) for _ in range(2)]
        return tuple(outcomes)

    return asyncio.run(run())


def clouds(failing: frozenset[str]) -> Clouds:
    made = Clouds()
    made.failing |= failing
    return made


# Records as no registry makes them

BAD: tuple[Any, ...] = (
    None,
    None,
    "NO_SUCH_WORD",
    "",
    7,
    -(2**40),
    1.5,
    float("inf"),
    True,
    [],
    {},
    ["text", None],
    [{}],
    RegistryUnavailable("pai"),
    ValueError("a secret"),
)
GONE = object()


def spoiled(value: Any, seed: int, share: float, place: str) -> Any:
    """A record with a share of its values replaced by bad ones or left out, the same each time."""
    dice = random.Random(zlib.crc32(f"{seed}{place}".encode()))  # noqa: S311
    if dice.random() < share:
        return dice.choice([*BAD, GONE])
    if isinstance(value, dict):
        parts = {
            key: item if key == "__typename" else spoiled(item, seed, share, f"{place}/{key}")
            for key, item in value.items()
        }
        return {key: item for key, item in parts.items() if item is not GONE}
    if isinstance(value, list):
        parts = [spoiled(item, seed, share, f"{place}/{number}") for number, item in enumerate(value)]
        return [None if item is GONE else item for item in parts]
    return value


@contextmanager
def spoiling(seed: int, share: float) -> Iterator[None]:
    """Root fields give records with bad values."""

    def spoils(root: Any) -> Any:
        async def answer(root_field: RootFieldContext) -> Any:
            value = root(root_field)
            record = spoiled(await value if isawaitable(value) else value, seed, share, str(root_field.path.key))
            return None if record is GONE else record

        return answer

    with patch.dict(ROOT_FIELDS, {name: spoils(root) for name, root in ROOT_FIELDS.items()}):
        yield
