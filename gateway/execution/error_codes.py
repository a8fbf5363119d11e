"""Errors as clients see them: each with a stable code, and what was not foreseen without a word of its cause."""

import logging
from uuid import uuid4

from graphql import GraphQLError

from gateway.errors import GatewayError, shortened

logger = logging.getLogger("gateway.execution")


def assign_error_code(error: GraphQLError) -> None:
    """Give an error its stable code; one that was not foreseen goes to the log and only its id to the client."""
    cause = error.original_error
    if isinstance(cause, GatewayError) or "code" in (error.extensions or {}):
        return
    if cause is None or isinstance(cause, GraphQLError):
        error.message, error.extensions = shortened(error.message), {"code": "BAD_USER_INPUT"}
        return
    error_id = uuid4().hex
    logger.error("Unexpected error %s at %s", error_id, error.path, exc_info=cause)
    error.message = f"Something went wrong in the gateway; its log knows this as {error_id}."
    error.extensions = {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}
