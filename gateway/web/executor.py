"""The one seat through which every transport runs operations: what holds here holds on all of them."""

from collections.abc import AsyncIterator, Container, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues, get_variable_values
from strawberry import Schema
from strawberry.types import ExecutionResult

from gateway.catalog.operation import Bounds, Operation
from gateway.catalog.registry import Registry
from gateway.errors import Forbidden, GatewayError
from gateway.graph.compiled import Compiled, compiled
from gateway.graph.context import Context
from gateway.graph.documents import Document, Documents
from gateway.graph.wholes import Wholes
from gateway.upstream.source import Freshness
from gateway.web.gate import Gate
from gateway.web.persisted import Persisted
from gateway.web.requests import Asked


@dataclass(frozen=True, slots=True)
class Scene:
    """What surrounds an operation: the registries that the caller may read, how far and how fresh they are read,
    what else the caller may do: ``raw`` (see objects verbatim), ``explain`` (see the schema and plans); and the
    caller's name, where callers have names."""

    registries: Mapping[str, Registry]
    bounds: Bounds
    wanted: Freshness
    roles: Container[str]
    caller: str | None = None

    def operation(self) -> Operation:
        return Operation(self.registries, self.bounds, self.wanted)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an operation: the response as JSON, the codes of its errors, and what it was made of.

    Without an operation the request was refused, and nothing was executed; ``retry_after`` says in how many seconds
    it may be asked again.
    """

    body: bytes
    codes: tuple[str, ...] = ()
    operation: Operation | None = None
    retry_after: float | None = None


def refusal(*errors: GraphQLError, retry_after: float | None = None) -> Result:
    """A response without data."""
    formatted = [error.formatted for error in errors]
    return Result(orjson.dumps({"errors": formatted}), codes(formatted), retry_after=retry_after)


def refused(error: GatewayError) -> Result:
    shown = GraphQLError(str(error), original_error=error, extensions=error.extensions)
    return refusal(shown, retry_after=getattr(error, "retry_after", None))


def codes(formatted: Any) -> tuple[str, ...]:
    return tuple(error["extensions"]["code"] for error in formatted)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An operation that may be executed, and the coerced values of its variables."""

    asked: Asked
    document: Document
    operation: OperationDefinitionNode
    coerced: VariableValues

    @property
    def type(self) -> OperationType:
        return self.operation.operation

    @property
    def name(self) -> str | None:
        return self.asked.operation_name

    @property
    def variables(self) -> dict[str, Any]:
        return dict(self.asked.variables)


class Executor:
    """Reads, checks and runs operations on one schema."""

    def __init__(
        self, schema: Schema, documents: Documents, persisted: Persisted, gate: Gate, wholes: Wholes | None = None
    ) -> None:
        self.schema, self.documents, self.persisted, self.gate = schema, documents, persisted, gate
        self.wholes = wholes or Wholes(0)

    def prepare(self, asked: Asked, scene: Scene) -> Prepared | Result:
        """The operation that is asked for, checked against all that does not need its execution; or its refusal.

        Raises `Refused` for a request without a document.
        """
        try:
            document = self.documents.read(self.persisted.text(asked))
            if document.errors:
                return refusal(*document.errors)
            operation = document.operation(asked.operation_name)
            if document.introspects and "explain" not in scene.roles:
                raise Forbidden("The schema is not shown to this caller.")
            if "raw" in document.fields and "raw" not in scene.roles:
                raise Forbidden("`raw` is not shown to this caller.")
        except GatewayError as error:
            return refused(error)
        coerced = get_variable_values(
            self.documents.schema,
            operation.variable_definitions or (),
            dict(asked.variables),
            hide_suggestions=not self.documents.suggestions,
        )
        if isinstance(coerced, list):
            for failure in coerced:
                failure.extensions = {"code": "BAD_USER_INPUT"}
            return refusal(*coerced)
        return Prepared(asked, document, operation, coerced)

    async def answer(self, prepared: Prepared, scene: Scene) -> Result:
        """Run a query to its end: compiled, or by Strawberry what is not compiled."""
        try:
            with self.gate.let_in(scene.caller):
                ready = self.compiled(prepared)
                operation = scene.operation()
                if ready is not None and ready.lasting:
                    return await self.whole(ready, prepared, operation)
                return await self.run(ready, prepared, operation)
        except GatewayError as error:
            return refused(error)

    async def whole(self, ready: Compiled, prepared: Prepared, operation: Operation) -> Result:
        """The answer of a lasting operation, kept whole."""
        key = self.wholes.key(ready, prepared.variables, operation)
        kept = self.wholes.find(key, operation.wanted)
        if kept is not None:
            operation.reused = kept.answer
            return Result(kept.body, (), operation)
        result = await self.run(ready, prepared, operation)
        if not result.codes:
            self.wholes.keep(key, result.body, operation)
        return result

    async def run(self, ready: Compiled | None, prepared: Prepared, operation: Operation) -> Result:
        context = Context(prepared.document, operation)
        result: Any = await (
            self.schema.execute(None, prepared.variables, context, operation_name=prepared.name)
            if ready is None
            else ready.answer(prepared.coerced, context)
        )
        return outcome(result.data, result.errors or (), context)

    def compiled(self, prepared: Prepared) -> Compiled | None:
        """The operation compiled, the first time that it is asked for."""
        name, derived = prepared.name, prepared.document.derived
        if name not in derived:
            derived[name] = compiled(self.documents.schema, prepared.document, prepared.operation)
        ready: Compiled | None = derived[name]
        return ready

    async def stream(self, prepared: Prepared, scene: Scene) -> AsyncIterator[Result]:
        """Run any operation; a subscription has many results."""
        if prepared.type is not OperationType.SUBSCRIPTION:
            yield await self.answer(prepared, scene)
            return
        try:
            with self.gate.let_in(scene.caller):
                context = Context(prepared.document, scene.operation())
                async for result in await self.schema.stream(
                    None, prepared.variables, context, operation_name=prepared.name
                ):
                    assert isinstance(result, ExecutionResult)
                    yield outcome(result.data, result.errors or (), context)
        except GatewayError as error:
            yield refused(error)


def outcome(data: Any, errors: Any, context: Context) -> Result:
    """The response of an executed operation, with the failures that only errors can show."""
    formatted = [error.formatted for error in errors]
    formatted += [
        GraphQLError(str(failure), path=path.as_list(), original_error=failure).formatted
        for path, failure in context.failures
    ]
    body = {"data": data, **({"errors": formatted} if formatted else {})}
    return Result(orjson.dumps(body), codes(formatted), context.operation)
