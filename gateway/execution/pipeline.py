"""The pipeline: every transport runs GraphQL operations through it, in these steps.

1. Read the document: parse, validate and check its size.
2. Authorize the document for the caller.
3. Check the rate limits of the caller, and look up the response in the response cache.
4. Coerce the variables, and bind the operation to them.
5. Compute its cost from its query plan, which is built on first use and cached.
6. Compare the cost with the limit, and cache the document.
7. Join an identical operation that is under way, or execute.
8. Store the response in the response cache.

Steps 1 and 2 are `Pipeline.prepare`, which does no I/O. The others are `Pipeline.execute`, which can be repeated:
steps 4 and 5 then happen only once. Between the two, a transport checks whether it can carry the operation. Only the
results of subscriptions and of incremental delivery are streams; they share steps 1, 2 and 4 to 6.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import strawberry
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType, get_operation_ast
from graphql.execution.values import VariableValues, get_variable_values
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gateway.catalog.cache_dependencies import CacheDependencies
from gateway.catalog.cache_tags import response_tags
from gateway.catalog.calls import Answers
from gateway.catalog.cost import Cost, check_cost, made_calls, planned_calls
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.polling import VersionPollers
from gateway.errors import BadInput, UnknownOperation
from gateway.execution.documents import MAX_ERRORS, Document, Documents, digest, relocate
from gateway.execution.incremental import IncrementalPayloads
from gateway.execution.operation_plan import BoundOperation, PlannedOperation, tags_of_fields
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request import GraphQLRequest, InvalidRequest, OnError
from gateway.execution.request_context import RequestContext, authorize
from gateway.execution.response_cache import CachedResponse, ResponseCache, cache_key
from gateway.execution.results import (
    OperationResult,
    RequestErrors,
    add_to_report,
    cached,
    codes,
    executed,
    payload,
    refused,
)
from gateway.execution.strawberry_context import OperationContext, SubscriptionContext
from gateway.telemetry.events import CallState
from gateway.telemetry.observer import Observer
from gateway.telemetry.operation_log import OperationReport
from gateway.upstream.caching_client import ANY
from gateway.upstream.single_flight import SingleFlight

INCREMENTAL_OBJECT: Final = 20
"""The objects that the compiled projection handles in the time of one object of incremental delivery."""


class RateLimiter(Protocol):
    """Limits the operations of a caller; entering the context of one raises `TooManyRequests`."""

    def operation(self, caller: str | None) -> AbstractContextManager[None]: ...


class Pipeline:
    """Prepares and executes operations on one schema, and reports each of them to the ``observer`` once.

    With ``tags`` all results have cache tags.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        documents: Documents,
        persisted_queries: PersistedQueries,
        rate_limiter: RateLimiter,
        observer: Observer,
        pollers: VersionPollers,
        responses: ResponseCache,
        tags: bool = False,
    ) -> None:
        self.schema, self.documents, self.persisted_queries = schema, documents, persisted_queries
        self.rate_limiter, self.observer, self.pollers, self.responses = rate_limiter, observer, pollers, responses
        self.tags = tags
        self.executions: SingleFlight[Hashable, OperationResult] = SingleFlight(cancel_abandoned=True)

    async def run(self, request: GraphQLRequest, context: RequestContext) -> OperationResult:
        """Run a query from its request to its result. Raises `InvalidRequest` for a request without a document."""
        prepared = self.prepare(request, context)
        return prepared if isinstance(prepared, OperationResult) else await self.execute(prepared, context)

    def prepare(self, request: GraphQLRequest, context: RequestContext) -> PreparedOperation | OperationResult:
        """Read and authorize the document of a request. Returns a result if the request is refused.

        Raises `InvalidRequest` for a request without a document, and for a mutation with a safe method.
        """
        report = OperationReport(name=request.operation_name, caller=context.caller)
        try:
            text = self.persisted_queries.text(request, context.caller)
            report.document = sha256 = digest(text)
            document = self.documents.read(text, sha256)
            if request.is_safe and is_mutation(document, request.operation_name):
                raise InvalidRequest(405, "Mutations use POST.", "METHOD_NOT_ALLOWED", Allow="POST")
            if document.errors:
                raise RequestErrors(document.errors)
            node = document.operation(request.operation_name)
            report.type, report.name = node.operation.value, node.name.value if node.name else None
            authorize(document, context)
            planned = self._planned(document, document.node, node)
            key = cache_key(document, planned, request.variables, context.registries, context.shows_tags)
        except InvalidRequest:
            raise
        except Exception as error:
            with self.observer.operation(report):
                return add_to_report(report, refused(error))
        trusted = self.persisted_queries.trusted
        return PreparedOperation(request, document, node, planned, text, sha256, key, report, trusted)

    async def execute(
        self, prepared: PreparedOperation, context: RequestContext, report: OperationReport | None = None
    ) -> OperationResult:
        """Execute a query. A repeated execution needs a ``report`` of its own."""
        report = report or prepared.report
        with self.observer.operation(report):
            try:
                with self.rate_limiter.operation(context.caller):
                    result = await self._execute(prepared, context)
            except Exception as error:
                result = refused(error)
            return add_to_report(report, result)

    async def _execute(self, prepared: PreparedOperation, context: RequestContext) -> OperationResult:
        key = prepared.cache_key if context.plan_mode is None else None
        response = None if key is None else self.responses.get(key, context.freshness)
        if response is not None:
            if prepared.is_stored:
                self.documents.touch(prepared.document)
            else:
                self._keep(prepared, context)
            response.dependencies.count_hits(self.observer)
            return cached(response)
        bound = self.bind(prepared, context)
        if context.plan_mode == "only":
            extensions = planned_calls(prepared.cost, context.bounds)
            operation_context = OperationContext(prepared.document.node, context.execution())
            return executed(operation_context, None, (), extensions)
        self._accept(prepared, context)
        if key is None or context.freshness is not ANY:
            return await self._resolve(prepared, bound, context)
        resolve = partial(self._resolve, prepared, bound, context, store=True)
        # errors have the locations in the text
        flight = key, prepared.digest, prepared.request.on_error
        result, shared = await self.executions.run(flight, resolve)
        if shared:
            for call in result.calls:
                self.observer.answered(call.registry, call.name, CallState.SHARED)
            return result.shared
        return result

    def bind(self, prepared: PreparedOperation, context: RequestContext) -> BoundOperation:
        """Coerce the variables, bind them to the operation's plan, and compute its cost: once for all its executions.

        Raises `RequestErrors` for invalid variables, also in ``@defer`` and ``@stream``.
        """
        if prepared.bound is None:
            variables = self._variables(prepared)
            bound = prepared.planned.bind(variables)
            # With @defer and @stream, fields and rows that are delivered later may need more calls.
            incremental = self._incremental(prepared)
            try:
                costly = bound if incremental is None else incremental.bind(variables)
            except GraphQLError as error:
                raise RequestErrors([error]) from None
            prepared.cost = costly.cost(context.registries, context.bounds)
            if incremental is not None:
                prepared.cost = replace(prepared.cost, objects=INCREMENTAL_OBJECT * prepared.cost.objects)
            prepared.bound = bound
        return prepared.bound

    def cost(self, prepared: PreparedOperation, context: RequestContext) -> Cost:
        """Return the maximum cost of an operation, nothing if `execute` refuses it."""
        try:
            self.bind(prepared, context)
            check_cost(prepared.cost, context.bounds)
        except Exception:  # `execute` reports it
            return Cost()
        return prepared.cost

    async def _resolve(
        self, prepared: PreparedOperation, bound: BoundOperation, context: RequestContext, store: bool = False
    ) -> OperationResult:
        """Get the response from the registries, and store it in the response cache if all of it is cached."""
        execution = context.execution()
        operation_context = OperationContext(prepared.document.node, execution, bound=bound, text=prepared.text)
        try:
            if prepared.planned.projected:
                answer: Any = await bound.execute(operation_context, prepared.request.on_error)
            else:
                answer = await self.schema.execute(
                    None, prepared.variables, operation_context, operation_name=prepared.name
                )
        finally:
            execution.end()
        is_complete = not (answer.errors or operation_context.failures or execution.partial)
        tags = response_tags(execution.answers) if is_complete and (self.tags or context.shows_tags) else ()
        extensions = {} if context.plan_mode is None else made_calls(execution, prepared.cost)
        if context.shows_tags and tags:
            extensions = {**extensions, **tags_of_fields(bound, context.registries, tags)}
        result = executed(operation_context, answer.data, answer.errors or (), extensions or None)
        result = result._replace(tags=tags)
        if store and prepared.cache_key is not None and is_complete:
            dependencies = CacheDependencies.of(execution)
            if dependencies is not None:
                response = CachedResponse(result.body, result.answered, dependencies, tags)
                self.responses.store(prepared.cache_key, response)
        return result

    # Streams

    async def stream(
        self,
        prepared: PreparedOperation,
        context: RequestContext,
        authenticate: Callable[[], Awaitable[RequestContext]],
    ) -> AsyncGenerator[OperationResult, None]:
        """Execute an operation of any type: yields one result for a query, any number for a subscription.

        Each event of a subscription has a context of its own, from ``authenticate``, which raises a `GatewayError`
        when the caller's access has ended.
        """
        if prepared.type is not OperationType.SUBSCRIPTION:
            yield await self.execute(prepared, context)
            return
        with self.observer.operation(prepared.report), self.observer.watchers.track_inprogress():
            async with aclosing(self._subscribe(prepared, context, authenticate)) as results:
                async for result in results:
                    yield add_to_report(prepared.report, result)

    async def _subscribe(
        self,
        prepared: PreparedOperation,
        context: RequestContext,
        authenticate: Callable[[], Awaitable[RequestContext]],
    ) -> AsyncGenerator[OperationResult, None]:
        async def renew(answers: Answers) -> PlanExecution:
            current = await authenticate()
            authorize(prepared.document, current)
            return current.execution(answers)

        try:
            check_on_error(prepared)
            with self.rate_limiter.operation(context.caller):  # counts the start; subscriptions have their own limits
                bound = self.bind(prepared, context)
                self._accept(prepared, context)
                operation_context = SubscriptionContext(
                    prepared.document.node,
                    context.execution(),
                    bound=bound,
                    text=prepared.text,
                    pollers=self.pollers,
                    renew=renew,
                )
                events = await self.schema.stream(
                    None, prepared.variables, operation_context, operation_name=prepared.name
                )
            async with aclosing(events):
                async for event in events:
                    assert isinstance(event, ExecutionResult)
                    if isinstance(event, PreExecutionError):
                        yield refused(RequestErrors(event.errors or ()))
                    else:
                        yield executed(operation_context, event.data, event.errors or ())
        except Exception as error:
            yield refused(error)

    async def deliver(
        self, prepared: PreparedOperation, context: RequestContext
    ) -> AsyncGenerator[OperationResult, None]:
        """Execute a query with ``@defer`` or ``@stream``: yields the initial result and later payloads."""
        with self.observer.operation(prepared.report):
            async with aclosing(self._deliver(prepared, context)) as payloads:
                async for result in payloads:
                    yield add_to_report(prepared.report, result)

    async def _deliver(
        self, prepared: PreparedOperation, context: RequestContext
    ) -> AsyncGenerator[OperationResult, None]:
        assert prepared.document.incremental is not None
        execution = context.execution()
        try:
            check_on_error(prepared)
            with self.rate_limiter.operation(context.caller):
                variables = self.bind(prepared, context).variables
                self._accept(prepared, context)
                bound = (self._incremental(prepared) or prepared.planned).bind(variables)
                operation_context = OperationContext(
                    prepared.document.incremental, execution, bound=bound, text=prepared.text
                )
                payloads = IncrementalPayloads(operation_context)
                async for part in await self.schema.stream(
                    None, prepared.variables, operation_context, operation_name=prepared.name
                ):
                    body = payloads.format(part)
                    parts = (body, *body.get("incremental", ()), *body.get("completed", ()))
                    errors = (error for entry in parts for error in entry.get("errors") or ())
                    yield payload(operation_context, body, codes(errors))
        except Exception as error:
            yield refused(error)
        finally:
            execution.end()

    def _planned(self, document: Document, tree: DocumentNode, node: OperationDefinitionNode) -> PlannedOperation:
        """Return an operation of one of a document's trees, with its plans. Cached with the document."""
        planned = document.planned.get(id(node))
        if planned is None:
            planned = document.planned[id(node)] = PlannedOperation(self.documents.schema, tree, node)
        assert isinstance(planned, PlannedOperation)
        return planned

    def _accept(self, prepared: PreparedOperation, context: RequestContext) -> None:
        """Check the cost of an operation, and cache its document. Raises `QueryTooExpensive`."""
        check_cost(prepared.cost, context.bounds)
        self._keep(prepared, context)

    def _keep(self, prepared: PreparedOperation, context: RequestContext) -> None:
        """Cache the document of an operation that is executed, and register it if its hash was sent with it."""
        self.documents.store(prepared.document, prepared.digest)
        prepared.registered = self.persisted_queries.register(prepared.request, prepared.text, context.caller)
        prepared.is_stored = True

    def _incremental(self, prepared: PreparedOperation) -> PlannedOperation | None:
        """Return the operation with its ``@defer`` and ``@stream``, None if it has none."""
        tree = prepared.document.incremental
        node = None if tree is None else get_operation_ast(tree, prepared.name)
        return None if tree is None or node is None else self._planned(prepared.document, tree, node)

    def _variables(self, prepared: PreparedOperation) -> VariableValues:
        """Coerce the variables. Raises `RequestErrors`."""
        variables = get_variable_values(
            self.documents.schema,
            prepared.node.variable_definitions or (),
            prepared.variables,
            max_errors=MAX_ERRORS,
            hide_suggestions=not self.documents.suggestions,
        )
        if isinstance(variables, list):
            relocate(variables, prepared.text)
            raise RequestErrors(variables)
        return variables


def check_on_error(prepared: PreparedOperation) -> None:
    """Raise `BadInput` for a choice of ``onError`` that streams of results do not support."""
    if prepared.request.on_error is not OnError.PROPAGATE:
        raise BadInput("Subscriptions and incremental delivery support `onError: PROPAGATE` only.")


def is_mutation(document: Document, name: str | None) -> bool:
    """Whether the requested operation of a document is a mutation. The document may have errors."""
    try:
        return document.operation(name).operation is OperationType.MUTATION
    except UnknownOperation:
        return False
