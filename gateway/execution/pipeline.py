"""The one seat through which every transport runs operations: what holds here holds on all of them."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
from graphql import OperationDefinitionNode, OperationType
from graphql.execution.values import get_variable_values
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog import explain
from gateway.catalog.cache_dependencies import CacheDependencies, Key
from gateway.catalog.calls import Answers
from gateway.catalog.operation import Operation
from gateway.catalog.polling import VersionPollers
from gateway.errors import GatewayError, QueryTooExpensive, shortened
from gateway.execution.compiler import BoundOperation, CompiledOperation, changing, compiled
from gateway.execution.context import OperationContext, SubscriptionContext
from gateway.execution.documents import Document, Documents
from gateway.execution.findings import Findings
from gateway.execution.forecast import Forecasts
from gateway.execution.incremental import IncrementalPayloads
from gateway.execution.joint import Joint
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.prepared import Prepared
from gateway.execution.request_context import RequestContext, permit
from gateway.execution.response_cache import CachedResponse, ResponseCache, key_of
from gateway.execution.results import Result, codes, made, noted, outcome, refusal, refused, unforeseen
from gateway.http.requests import GraphQLRequest, InvalidRequest
from gateway.schema.schema import Schema
from gateway.telemetry.events import State
from gateway.telemetry.observer import Observer
from gateway.telemetry.operation_log import OperationReport
from gateway.upstream.caching_client import ANY


class Pipeline:
    """Reads, checks and runs operations on one schema; each is told to the ``observer`` once."""

    def __init__(
        self,
        schema: Schema,
        documents: Documents,
        persisted: PersistedQueries,
        gate: CallerRateLimiter,
        observer: Observer,
        watches: VersionPollers,
        wholes: ResponseCache,
        findings: Findings,
    ) -> None:
        self.schema, self.documents, self.persisted, self.gate = schema, documents, persisted, gate
        self.observer, self.watches, self.wholes, self.findings = observer, watches, wholes, findings
        self.forecasts = Forecasts()
        self.joint: Joint[Result] = Joint()
        self.changing = changing(documents.schema)

    def prepare(self, asked: GraphQLRequest, scene: RequestContext) -> Prepared | Result:
        """The operation that is asked for, checked against all that does not need its execution; or its refusal.

        Raises `InvalidRequest` for a request without a document.
        """
        report = OperationReport(name=asked.operation_name, caller=scene.caller)
        try:
            prepared = self._prepare(asked, scene, report)
        except InvalidRequest:
            raise
        except Exception as cause:
            prepared = unforeseen(cause)
        if isinstance(prepared, Result):
            with self.observer.operation(report):
                return noted(report, prepared)
        return prepared

    def _prepare(self, asked: GraphQLRequest, scene: RequestContext, report: OperationReport) -> Prepared | Result:
        try:
            document = self.documents.read(self.persisted.text(asked, scene.caller))
            report.document = document.digest
            if document.errors:
                return refusal(*document.errors)
            operation = document.operation(asked.operation_name)
            report.type = operation.operation.value
            report.name = operation.name.value if operation.name else None
            permit(document, scene)
            ready = self.compiled(asked.operation_name, document, operation)
            key = None
            registered = self.persisted.name(asked, scene.caller)
            if ready is not None and ready.lasting and scene.plan is None:
                key = key_of(ready, asked.variables, scene.registries, scene.bounds)
                kept = self.wholes.find(key, scene.wanted)
                if kept is not None:  # so its variables and its cost were found to be right before
                    return Prepared(asked, document, operation, report, key=key, kept=kept, registered=registered)
            coerced = get_variable_values(
                self.documents.schema,
                operation.variable_definitions or (),
                dict(asked.variables),
                hide_suggestions=not self.documents.suggestions,
            )
            if isinstance(coerced, list):
                for failure in coerced:
                    failure.message, failure.extensions = shortened(failure.message), {"code": "BAD_USER_INPUT"}
                return refusal(*coerced)
            cost = self.forecasts.of(document, asked.operation_name, coerced, scene.registries, scene.bounds)
            if cost.calls > scene.bounds.calls and scene.plan != "only":
                raise QueryTooExpensive(cost.calls, scene.bounds.calls)
        except GatewayError as error:
            return refused(error)
        question = None if ready is None else ready.posed(coerced)
        return Prepared(asked, document, operation, report, cost, question, key, None, registered)

    def at_hand(self, prepared: Prepared, scene: RequestContext) -> CachedResponse | None:
        """The whole answer to what nobody in particular asks, if nothing has to be waited for: as it was kept, or made
        of what was found before."""
        key = prepared.key
        if key is None or not (self.wholes.keeps or self.findings.keeps):
            return None
        report = prepared.report.anew()
        whole = self.wholes.find(key, ANY) if self.wholes.keeps else None
        if whole is None and prepared.question is not None and self.findings.keeps:
            whole = self.found(prepared.question, key, scene)
        if whole is not None:
            report.calls, report.answered = whole.basis.calls, whole.answered
            whole.basis.tell(self.observer)
            self.observer.at_once(report)
        return whole

    def found(self, question: BoundOperation, key: Key, scene: RequestContext) -> CachedResponse | None:
        """A whole answer out of what was found before, kept for those who ask the same again."""
        given = question.given(self.findings, scene.registries, scene.bounds)
        if given is None:
            return None
        data, basis = given
        whole = CachedResponse(orjson.dumps({"data": data}), None not in data.values(), basis)
        if self.wholes.keeps:
            self.wholes.keep(key, whole)
        return whole

    async def answer(self, prepared: Prepared, scene: RequestContext, report: OperationReport | None = None) -> Result:
        """Run a query to its end; ``report`` is told of it, if it is not the first time that it is run."""
        report = report or prepared.report
        with self.observer.operation(report):
            try:
                with self.gate.let_in(scene.caller):
                    result = await self._answer(prepared, scene)
            except GatewayError as error:
                result = refused(error)
            except Exception as cause:
                result = unforeseen(cause)
            return noted(report, result)

    def _answer(self, prepared: Prepared, scene: RequestContext) -> Awaitable[Result]:
        operation = scene.operation()
        if prepared.kept is not None:
            return self.again(prepared.kept, operation)
        if scene.plan == "only":
            return self.planned(prepared, operation)
        if prepared.key is None or scene.wanted is not ANY:
            return self.run(prepared, operation, scene.plan is not None)
        return self.shared(prepared, prepared.key, operation)

    async def planned(self, prepared: Prepared, operation: Operation) -> Result:
        """What it costs, and no more."""
        context = OperationContext(prepared.document.node, operation)
        return outcome(None, (), context, explain.planned(prepared.cost, operation.bounds.calls))

    async def shared(self, prepared: Prepared, key: Key, operation: Operation) -> Result:
        """The answer of the registries, made once for all who ask the same at the same time, and kept whole."""
        while (coming := self.joint.join(key)) is not None:
            made = await coming
            if made is not None:
                for call in made.operation.calls if made.operation else ():
                    self.observer.answered(call.registry, call.name, State.SHARED)
                return made._replace(shared=True)
        try:
            result = await self.run(prepared, operation, explained=False)
        except BaseException as error:
            self.joint.fail(key, error)
            raise
        self.joint.tell(key, result)
        if self.wholes.keeps and not result.codes and not operation.partial:
            basis = CacheDependencies.of(operation)
            if basis is not None:
                self.wholes.keep(key, CachedResponse(result.body, result.answered, basis))
        return result

    async def again(self, kept: CachedResponse, operation: Operation) -> Result:
        """An answer that was kept whole."""
        operation.reuse(kept.basis)
        kept.basis.tell(self.observer)
        return Result(kept.body, (), operation, answered=kept.answered)

    async def run(self, prepared: Prepared, operation: Operation, explained: bool) -> Result:
        """The answer of the registries: compiled, or by graphql-core's executor what is not compiled."""
        question, document = prepared.question, prepared.document
        lasting = question.compiled.lasting if question is not None else document.fields.isdisjoint(self.changing)
        findings = self.findings if lasting and self.findings.keeps and not explained else None
        context = OperationContext(document.node, operation, findings=findings, ways=document.ways)
        result: Any = await (
            self.schema.answer(context, prepared.variables, prepared.name)
            if question is None
            else question.answer(context)
        )
        for basis in operation.reused:
            basis.tell(self.observer)
        plan = explain.made(operation, prepared.cost) if explained else None
        return outcome(result.data, result.errors or (), context, plan)

    def compiled(
        self, name: str | None, document: Document, operation: OperationDefinitionNode
    ) -> CompiledOperation | None:
        """The operation compiled, the first time that it is asked for."""
        if name not in document.derived:
            document.derived[name] = compiled(self.documents.schema, document, operation)
        ready: CompiledOperation | None = document.derived[name]
        return ready

    async def stream(
        self, prepared: Prepared, scene: RequestContext, enter: Callable[[], Awaitable[RequestContext]]
    ) -> AsyncGenerator[Result, None]:
        """Run any operation; a subscription has many results, or a refusal.

        Before each result of a subscription ``enter`` gives the scene anew; it raises a `GatewayError` when the caller
        may ask no more.
        """
        if prepared.type is not OperationType.SUBSCRIPTION:
            yield await self.answer(prepared, scene)
            return
        with self.observer.operation(prepared.report), self.observer.watchers.track_inprogress():
            async with aclosing(self._stream(prepared, scene, enter)) as results:
                async for result in results:
                    yield noted(prepared.report, result)

    async def _stream(
        self, prepared: Prepared, scene: RequestContext, enter: Callable[[], Awaitable[RequestContext]]
    ) -> AsyncGenerator[Result, None]:
        async def renew(answers: Answers) -> Operation:
            now = await enter()
            permit(prepared.document, now)
            return now.operation(answers)

        try:
            with self.gate.let_in(scene.caller):  # as one that is asked; those that run have bounds of their own
                context = SubscriptionContext(
                    prepared.document.node, scene.operation(), watches=self.watches, renew=renew
                )
                results = await self.schema.stream(None, prepared.variables, context, operation_name=prepared.name)
            async with aclosing(results):
                async for result in results:
                    assert isinstance(result, ExecutionResult)
                    if isinstance(result, PreExecutionError):
                        yield refusal(*result.errors or ())
                    else:
                        yield outcome(result.data, result.errors or (), context)
        except GatewayError as error:
            yield refused(error)

    async def stage(self, prepared: Prepared, scene: RequestContext) -> AsyncIterator[bytes]:
        """Run a query whose parts may come one after the other; the payloads as JSON.

        Source: the incremental delivery proposal of 2023 (``pending``, ``completed``), with the ``path`` of the one
        before beside each part, for its clients.
        """
        with self.observer.operation(prepared.report):
            async with aclosing(self._stage(prepared, scene)) as results:
                async for result in results:
                    yield noted(prepared.report, result).body

    async def _stage(self, prepared: Prepared, scene: RequestContext) -> AsyncGenerator[Result, None]:
        assert prepared.document.staged is not None
        try:
            with self.gate.let_in(scene.caller):
                context = OperationContext(prepared.document.staged, scene.operation())
                frames = IncrementalPayloads(context)
                async for part in await self.schema.stream(
                    None, prepared.variables, context, operation_name=prepared.name
                ):
                    payload = frames.payload(part)
                    places = (payload, *payload.get("incremental", ()), *payload.get("completed", ()))
                    errors = [error for place in places for error in place.get("errors") or ()]
                    yield made(payload, codes(errors), context)
        except GatewayError as error:
            yield refused(error)
