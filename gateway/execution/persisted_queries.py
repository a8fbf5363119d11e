"""Persisted queries: documents that clients name by id or hash instead of sending them.

Trusted documents come from a file, others are registered by clients. Source: Apollo's automatic persisted queries
(``extensions.persistedQuery``, version 1); ``documentId`` is the parameter of the GraphQL-over-HTTP specification's
draft on persisted documents.
"""

import re
from collections.abc import Callable, Mapping
from sys import getsizeof
from time import time
from typing import Any, Final

import orjson

from gateway.config.settings import DocumentsSettings
from gateway.config.watched_files import WatchedFile
from gateway.errors import (
    BadInput,
    DocumentNotTrusted,
    PersistedQueryMismatch,
    PersistedQueryNotFound,
    PersistedQueryNotSupported,
)
from gateway.execution.documents import digest
from gateway.execution.request import GraphQLRequest, InvalidParameters
from gateway.memory_budget import BoundedCache

REGISTERED_BYTES: Final = 800
"""The memory of a registered document beside its text and the name of its caller."""

PREFIX: Final = "sha256:"
"""The prefix of an id that is the hash of its document."""

HASH: Final = re.compile("[0-9A-Fa-f]{64}")

RegisteredName = tuple[str | None, str]
"""A caller and the hash of a document that the caller registered."""


NO_DOCUMENTS: Final[Mapping[str, str]] = {}

APOLLO: Final = "apollo-persisted-query-manifest"
"""The format of the manifest that Apollo's tools write."""


def parse_trusted(content: bytes) -> Mapping[str, str]:
    """Return the documents of a file, by id and by hash.

    The file is an object of documents by their id, as Relay and graphql-codegen write it, or Apollo's manifest. Raises
    ValueError for another one.
    """
    try:
        documents = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ValueError("not valid JSON") from None
    if isinstance(documents, dict) and documents.get("format") == APOLLO:
        documents = of_apollo(documents)
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise ValueError("must be an object of documents by their id, or Apollo's manifest")
    for id, text in documents.items():
        if id.startswith(PREFIX) and stored_name(id) != digest(text):
            raise ValueError(f"{id} is not the hash of its document")
    by_hash = {digest(text): text for text in documents.values()}
    return {**by_hash, **{stored_name(id): text for id, text in documents.items()}}


def of_apollo(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the documents of Apollo's manifest by their id. Raises ValueError for another version or form."""
    operations = manifest.get("operations")
    if manifest.get("version") != 1 or not isinstance(operations, list):
        raise ValueError("Apollo's manifest must have version 1 and a list of operations")
    for operation in operations:
        if not isinstance(operation, dict) or not all(isinstance(operation.get(key), str) for key in ("id", "body")):
            raise ValueError("each operation of Apollo's manifest must have an id and a body")
    return {operation["id"]: operation["body"] for operation in operations}


def stored_name(id: str) -> str:
    """Return an id as it is stored: a hash, with or without its prefix, becomes the hash in lower case."""
    name = id.removeprefix(PREFIX)
    return name.lower() if HASH.fullmatch(name) else id


class PersistedQueries:
    """Documents that requests can name. Only the caller that registered a document can name it.

    ``now`` returns seconds. Raises `SettingsError` for a file of trusted documents that cannot be used.
    """

    def __init__(
        self,
        settings: DocumentsSettings,
        cache: BoundedCache[RegisteredName, str],
        now: Callable[[], float] = time,
    ) -> None:
        self.settings = settings
        trusted = settings.trusted
        self._file = WatchedFile("documents.trusted", trusted, parse_trusted, now) if trusted else None
        self._registered = cache

    @property
    def trusted(self) -> Mapping[str, str]:
        """The trusted documents by id and by hash: the same object until the file changes."""
        return NO_DOCUMENTS if self._file is None else self._file.content

    def text(self, request: GraphQLRequest, caller: str | None = None) -> str:
        """Return the text of the requested document.

        A request may name its document by id and by hash, and have its text: all must agree.

        Raises `PersistedQueryNotFound`, `PersistedQueryNotSupported`, `PersistedQueryMismatch`, `BadInput`,
        `DocumentNotTrusted`, and `InvalidRequest` for a request without a document.
        """
        if request.is_own and request.query:
            return request.query
        hashed = self._hash(request)
        name = stored_name(request.document_id) if request.document_id else hashed
        text = self._find(name, request.query, caller)
        if request.query not in (None, "", text) or (hashed != name and hashed not in (None, digest(text))):
            raise PersistedQueryMismatch("The id or hash is that of another document.")
        return text

    def _find(self, name: str | None, query: str | None, caller: str | None) -> str:
        """Return the text of the document with a name, else the text that was sent."""
        if name is not None and (trusted := self.trusted.get(name)) is not None:
            return trusted
        if self.settings.only_trusted:
            if query and (trusted := self.trusted.get(digest(query))) is not None:
                return trusted
            raise DocumentNotTrusted("This gateway executes trusted documents only.")
        if name is not None:
            return self._registered_text((caller, name), query)
        if not query:
            raise InvalidParameters("The request has no `query`.")
        return query

    def register(self, request: GraphQLRequest, text: str, caller: str | None = None) -> RegisteredName | None:
        """Register a valid document that was sent with its hash. Returns the name of a registered document, else None.

        Call it with the result of `text`.
        """
        name = stored_name(request.document_id) if request.document_id else self._hash(request)
        if name is None or name in self.trusted or self.settings.only_trusted:
            return None
        registered = caller, name
        if request.query and self.settings.automatic and registered not in self._registered:
            size = REGISTERED_BYTES + getsizeof(text) + getsizeof(caller)
            self._registered.put(registered, text, size)
        return registered if registered in self._registered else None

    def touch(self, name: RegisteredName) -> bool:
        """Mark a registered document as used. Returns whether it is still registered."""
        return self._registered.get(name) is not None

    def _hash(self, request: GraphQLRequest) -> str | None:
        """Return the hash of the requested document, None without one."""
        extension = request.extensions.get("persistedQuery")
        if extension is None:
            return None
        if not self.settings.automatic and not self.trusted:
            if not request.query:
                raise PersistedQueryNotSupported
            return None
        valid = isinstance(extension, dict) and extension.get("version") == 1
        name = extension.get("sha256Hash") if valid else None
        if not isinstance(name, str):
            raise BadInput("`persistedQuery` must have version 1 and a `sha256Hash`.")
        return stored_name(name).lower()

    def _registered_text(self, name: RegisteredName, text: str | None) -> str:
        if not text:
            registered = self._registered.get(name)
            if registered is None:
                raise PersistedQueryNotFound
            return registered
        if digest(text) != name[1]:
            raise PersistedQueryMismatch("The id or hash is that of another document.")
        return text
