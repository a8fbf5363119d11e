"""Stable error codes: every error in a response has one, and unexpected errors are masked."""

import logging
from uuid import uuid4

from graphql import GraphQLError

from gateway.errors import BadInput, GatewayError, RegistryBadValue
from gateway.execution.error_messages import shown_message

logger = logging.getLogger("gateway.execution")


def assign_error_code(error: GraphQLError) -> None:
    """Set the code of an error in place.

    An unexpected error is logged with its traceback; the client gets an id that finds it in the log.
    """
    cause = error.original_error
    if isinstance(cause, GatewayError) or "code" in (error.extensions or {}):
        return
    if cause is None or isinstance(cause, GraphQLError):
        # unlike an invalid argument, a value that its type cannot represent has no place in the document
        is_bad_value = cause is not None and error.path is not None and not cause.nodes
        code = RegistryBadValue.code if is_bad_value else BadInput.code
        error.message, error.extensions = shown_message(error.message), {"code": code}
        return
    error_id = uuid4().hex
    logger.error("Unexpected error %s at %s", error_id, error.path, exc_info=cause)
    error.message = f"Something went wrong in the gateway. The log has the details under {error_id}."
    error.extensions = {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}
