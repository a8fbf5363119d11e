"""The subscription root type."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import strawberry

from gateway.catalog.polling import Observation
from gateway.errors import GatewayError
from gateway.execution.entity_references import validated_ref
from gateway.execution.operation_plan import BoundOperation, bound_operation
from gateway.execution.strawberry_context import SubscriptionContext
from gateway.schema.directives import CALL
from gateway.schema.types import ID, Info, ModelVersion


@strawberry.type(description="The root of all subscriptions.")
class Subscription:
    @strawberry.subscription(
        description=(
            "A model version: its state at the start, and again after each change. Ends when the version has failed,"
            " or is ready and approved or rejected; of a registry that has only one of `readiness` and `approval`,"
            " that one decides. Null if the version does not exist or was deleted."
            " A client that reads slowly skips intermediate states."
        ),
        directives=[CALL],
    )
    def model_version_changed(self, info: Info, id: ID) -> AsyncGenerator[ModelVersion | None, None]:
        context: SubscriptionContext = info.context
        ref = validated_ref(context.execution.registries, id, "ModelVersion")
        observations = context.pollers.watch(context.execution.registries[ref.registry], ref)
        return states(context, id, bound_operation(info), str(info.path.key), observations)


async def states(
    context: SubscriptionContext,
    id: str,
    bound: BoundOperation,
    key: str,
    observations: AsyncGenerator[Observation, None],
) -> AsyncGenerator[Any, None]:
    """Yield the record of a version for each state that the poller reports; a failure is the last item.

    A new operation reads each state, so that a caller that loses access to the version receives no further states.
    """
    try:
        async with aclosing(observations):
            async for observation in observations:
                execution = await context.renew(observation.answers)
                execution.bindings |= bound.by_key[key].bindings
                ref = validated_ref(execution.registries, id, "ModelVersion")
                try:
                    record = await execution.entity(ref, bound.by_key[key].selection("ModelVersion"))
                finally:
                    execution.end()
                yield record
    except GatewayError as error:
        yield error
