"""Plain Strawberry over the published schema, for what the gateway leaves to Strawberry: introspection."""

import sys
from copy import copy
from typing import Any

from strawberry.asgi import GraphQL

from gateway.schema.schema import SCHEMA
from tests.bench.processes import serve

PLAIN = copy(SCHEMA)
PLAIN.extensions = ()  # the gateway's extension supplies a document that the pipeline has parsed
APPLICATION = GraphQL[Any, Any](PLAIN, graphql_ide=None)


if __name__ == "__main__":
    serve(APPLICATION, int(sys.argv[1]))
