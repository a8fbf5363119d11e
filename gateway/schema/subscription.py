"""What can be watched, and how each watcher is told what it asked for."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import strawberry

from gateway.catalog.polling import Look
from gateway.errors import GatewayError
from gateway.execution.context import SubscriptionContext
from gateway.execution.entity_references import validated_ref
from gateway.execution.operation_plan import BoundOperation, bound_operation
from gateway.schema.directives import CALL
from gateway.schema.types import ID, Info, ModelVersion


@strawberry.type(description="Everything that can be watched.")
class Subscription:
    @strawberry.subscription(
        description=(
            "The version of a global id, at once and whenever it changes, until it is ready, failed, approved or"
            " rejected; null when there is none, or no longer. Only the newest state is kept for a slow client."
        ),
        directives=[CALL],
    )
    def model_version_changed(self, info: Info, id: ID) -> AsyncGenerator[ModelVersion | None, None]:
        context: SubscriptionContext = info.context
        ref = validated_ref(context.operation.registries, id, "ModelVersion")
        looks = context.watches.watch(context.operation.registries[ref.registry], ref)
        return states(context, id, bound_operation(info), str(info.path.key), looks)


async def states(
    context: SubscriptionContext, id: str, bound: BoundOperation, key: str, looks: AsyncGenerator[Look, None]
) -> AsyncGenerator[Any, None]:
    """The states of a version as this client asked for them; a failure is the last of them.

    Each is told by an operation of its own, so that who may no longer see the version is told no more of it.
    """
    try:
        async with aclosing(looks):
            async for look in looks:
                operation = await context.renew(look.answers)
                operation.bindings = bound.bindings
                ref = validated_ref(operation.registries, id, "ModelVersion")
                yield await operation.entity(ref, bound.by_key[key].selection("ModelVersion"))
    except GatewayError as error:
        yield error
