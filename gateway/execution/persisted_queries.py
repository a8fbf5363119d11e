"""Persisted queries: documents that clients name by id or hash instead of sending them.

Trusted documents come from a file, others are registered by clients. Source: Apollo's automatic persisted queries
(``extensions.persistedQuery``, version 1); ``documentId`` is the parameter of the GraphQL-over-HTTP specification's
draft on persisted documents.
"""

from pathlib import Path
from sys import getsizeof
from typing import Final

import orjson

from gateway.config.settings import DocumentsSettings, SettingsError
from gateway.errors import (
    BadInput,
    DocumentNotTrusted,
    PersistedQueryMismatch,
    PersistedQueryNotFound,
    PersistedQueryNotSupported,
)
from gateway.execution.documents import digest
from gateway.execution.request import GraphQLRequest, InvalidRequest
from gateway.memory_budget import BoundedCache

REGISTERED_BYTES: Final = 800
"""The memory of a registered document beside its text and the name of its caller."""

RegisteredName = tuple[str | None, str]
"""A caller and the hash of a document that the caller registered."""


def load_trusted(path: str) -> dict[str, str]:
    """Load the documents of a file, by id and by hash. Raises `SettingsError`."""
    if not path:
        return {}
    try:
        documents = orjson.loads(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid JSON"
        raise SettingsError((f"documents.trusted: {path}: {reason}",)) from None
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise SettingsError((f"documents.trusted: {path}: must be an object of documents by their id",))
    by_hash = {digest(text): text for text in documents.values()}
    return {**by_hash, **{id.removeprefix("sha256:"): text for id, text in documents.items()}}


class PersistedQueries:
    """Documents that requests can name. Only the caller that registered a document can name it."""

    def __init__(self, settings: DocumentsSettings, cache: BoundedCache[RegisteredName, str]) -> None:
        self.settings = settings
        self.trusted = load_trusted(settings.trusted)
        self._registered = cache

    def text(self, request: GraphQLRequest, caller: str | None = None) -> str:
        """Return the text of the requested document.

        Raises `PersistedQueryNotFound`, `PersistedQueryNotSupported`, `PersistedQueryMismatch`, `BadInput`,
        `DocumentNotTrusted`, and `InvalidRequest` for a request without a document.
        """
        name = request.document_id or self._hash(request)
        if name is not None and (trusted := self.trusted.get(name.removeprefix("sha256:"))) is not None:
            return trusted
        if self.settings.only_trusted:
            if request.query is not None and (trusted := self.trusted.get(digest(request.query))) is not None:
                return trusted
            raise DocumentNotTrusted("This gateway executes trusted documents only.")
        if name is None:
            if not request.query:
                raise InvalidRequest(400, "The request has no `query`.")
            return request.query
        return self._registered_text((caller, name), request.query)

    def register(self, request: GraphQLRequest, text: str, caller: str | None = None) -> RegisteredName | None:
        """Register a valid document that was sent with its hash. Returns the name of a registered document, else None.

        Call it with the result of `text`.
        """
        name = request.document_id or self._hash(request)
        if name is None or name.removeprefix("sha256:") in self.trusted or self.settings.only_trusted:
            return None
        registered = caller, name
        if request.query is not None and self.settings.automatic and registered not in self._registered:
            size = REGISTERED_BYTES + getsizeof(text) + getsizeof(caller)
            self._registered.put(registered, text, size)
        return registered if registered in self._registered else None

    def touch(self, name: RegisteredName) -> bool:
        """Mark a registered document as used. Returns whether it is still registered."""
        return self._registered.get(name) is not None

    def _hash(self, request: GraphQLRequest) -> str | None:
        extension = request.extensions.get("persistedQuery")
        if extension is None:
            return None
        if not self.settings.automatic and not self.trusted:
            if request.query is None:
                raise PersistedQueryNotSupported
            return None
        valid = isinstance(extension, dict) and extension.get("version") == 1
        name = extension.get("sha256Hash") if valid else None
        if not isinstance(name, str):
            raise BadInput("`persistedQuery` must have version 1 and a `sha256Hash`.")
        return name.lower()

    def _registered_text(self, name: RegisteredName, text: str | None) -> str:
        if text is None:
            registered = self._registered.get(name)
            if registered is None:
                raise PersistedQueryNotFound
            return registered
        if digest(text) != name[1]:
            raise PersistedQueryMismatch("The hash does not match the document.")
        return text
