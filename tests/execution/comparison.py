"""Executes an operation with graphql-core and by compiled projection, for comparison."""

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
from gateway.catalog.plan_execution import PlanExecution
from gateway.errors import RegistryUnavailable
from gateway.execution.operation_plan import BoundOperation, PlannedOperation
from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from gateway.execution.strawberry_context import OperationContext
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from tests.catalog.clouds import DOCUMENTS, FakeClouds

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The data of a response as bytes, so that the order of keys counts; its errors, and the failures of lists.

    Errors of one root field are in order. Root fields are execute in parallel, and the specification leaves the order
    of their errors open.
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
        """Whether both are equal. An error that leaves no data cancels the operation, so which other errors
        came before it depends on timing."""
        if self.data == other.data == b"null" and any("path" in error for error in self.errors):
            return any(error in other.errors for error in self.errors)
        return self == other


def without_ids(text: bytes) -> bytes:
    """Replace the random ids of unexpected errors."""
    return re.sub(rb"[0-9a-f]{32}", b"some id", text)


def compile_document(text: str, name: str | None = None) -> PlannedOperation | None:
    """Return the planned operation, or None if projection does not support it."""
    document = DOCUMENTS.read(text)
    assert not document.errors, document.errors
    planned = PlannedOperation(GRAPHQL_SCHEMA, document.node, document.operation(name))
    return planned if planned.projected else None


async def execute(clouds: FakeClouds, text: str, variables: Variables) -> Outcome:
    """Execute with Strawberry and graphql-core alone, as the reference."""
    context = OperationContext(DOCUMENTS.read(text).node, PlanExecution(clouds.registries))
    result = await SCHEMA.execute(None, dict(variables), context)
    return Outcome.of(result.data, result.errors, context)


def bind(text: str, one: PlannedOperation, variables: Variables) -> BoundOperation:
    definitions = DOCUMENTS.read(text).operation(None).variable_definitions or ()
    coerced = get_variable_values(GRAPHQL_SCHEMA, definitions, dict(variables))
    assert not isinstance(coerced, list), coerced
    return one.bind(coerced)


async def execute_compiled(
    clouds: FakeClouds, text: str, operation: BoundOperation, bounds: Bounds = DEFAULT_BOUNDS
) -> Outcome:
    context = OperationContext(DOCUMENTS.read(text).node, PlanExecution(clouds.registries, bounds))
    result = await operation.execute(context)
    return Outcome.of(result.data, result.errors, context)


def outcomes_of(
    text: str, variables: Variables | None = None, failing: frozenset[str] = frozenset()
) -> tuple[Outcome, ...]:
    """Return the outcome of graphql-core, and two of the compiled operation: a first and a repeated execution."""
    one = compile_document(text)
    assert one is not None, "not covered"

    async def run() -> tuple[Outcome, ...]:
        outcomes = [await execute(clouds(failing), text, variables or {})]
        operation, compiled = bind(text, one, variables or {}), clouds(failing)
        outcomes += [await execute_compiled(compiled, text, operation) for _ in range(2)]
        return tuple(outcomes)

    return asyncio.run(run())


def clouds(failing: frozenset[str]) -> FakeClouds:
    fake = FakeClouds()
    fake.failing |= failing
    return fake


# Records with invalid values

INVALID: tuple[Any, ...] = (
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
MISSING = object()


def damaged(value: Any, seed: int, share: float, place: str) -> Any:
    """Return a record with a share of its values replaced by invalid ones or left out, the same for the same seed."""
    rng = random.Random(zlib.crc32(f"{seed}{place}".encode()))  # noqa: S311
    if rng.random() < share:
        return rng.choice([*INVALID, MISSING])
    if isinstance(value, dict):
        parts = {
            key: item if key == "__typename" else damaged(item, seed, share, f"{place}/{key}")
            for key, item in value.items()
        }
        return {key: item for key, item in parts.items() if item is not MISSING}
    if isinstance(value, list):
        parts = [damaged(item, seed, share, f"{place}/{number}") for number, item in enumerate(value)]
        return [None if item is MISSING else item for item in parts]
    return value


@contextmanager
def damaged_root_fields(seed: int, share: float) -> Iterator[None]:
    """Let root fields return records with invalid values."""

    def damaging(root: Any) -> Any:
        async def resolve(root_field: RootFieldContext) -> Any:
            value = root(root_field)
            record = damaged(await value if isawaitable(value) else value, seed, share, str(root_field.path.key))
            return None if record is MISSING else record

        return resolve

    with patch.dict(ROOT_FIELDS, {name: damaging(root) for name, root in ROOT_FIELDS.items()}):
        yield
