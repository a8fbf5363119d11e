"""Documents that clients name instead of sending them: trusted ones from a file, others remembered by their hash.

Source: Apollo's automatic persisted queries (``extensions.persistedQuery``, version 1); ``documentId`` is the parameter
of the GraphQL-over-HTTP specification's draft on persisted documents.
"""

from collections import OrderedDict
from pathlib import Path
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
from gateway.http.requests import GraphQLRequest, InvalidRequest

ROOM: Final = 2_000_000

Name = tuple[str | None, str]
"""A caller, and the hash of a document that the caller registered."""


def trusted(path: str) -> dict[str, str]:
    """The documents of a file by their ids, and by their hashes. Raises `SettingsError`."""
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
    """The documents that can be named; those that clients registered are bounded to `ROOM` characters."""

    def __init__(self, settings: DocumentsSettings) -> None:
        self.settings = settings
        self.trusted = trusted(settings.trusted)
        self._registered: OrderedDict[Name, str] = OrderedDict()
        self._room = ROOM

    def text(self, asked: GraphQLRequest, caller: str | None = None) -> str:
        """The text of the document that is asked for. What a caller registered is nobody else's.

        Raises `PersistedQueryNotFound` and its kin, `DocumentNotTrusted`, and `InvalidRequest` when there is none.
        """
        hashed = asked.document_id or self._hash(asked)
        if hashed is not None and (known := self.trusted.get(hashed.removeprefix("sha256:"))) is not None:
            return known
        if self.settings.only_trusted:
            if asked.query is not None and (known := self.trusted.get(digest(asked.query))) is not None:
                return known
            raise DocumentNotTrusted("Only documents that this gateway was given are executed.")
        if hashed is None:
            if not asked.query:
                raise InvalidRequest(400, "The request has no `query`.")
            return asked.query
        return self._registering((caller, hashed), asked.query)

    def name(self, asked: GraphQLRequest, caller: str | None = None) -> Name | None:
        """What the document is registered as that `text` has found; None for one that nobody registered."""
        hashed = asked.document_id or self._hash(asked)
        return (caller, hashed) if hashed is not None and (caller, hashed) in self._registered else None

    def use(self, name: Name) -> bool:
        """Whether a document is registered still; this counts as a use of it."""
        if name in self._registered:
            self._registered.move_to_end(name)
        return name in self._registered

    def _hash(self, asked: GraphQLRequest) -> str | None:
        named = asked.extensions.get("persistedQuery")
        if named is None:
            return None
        if not self.settings.automatic and not self.trusted:
            if asked.query is None:
                raise PersistedQueryNotSupported
            return None
        hashed = named.get("sha256Hash") if isinstance(named, dict) and named.get("version") == 1 else None
        if not isinstance(hashed, str):
            raise BadInput("`persistedQuery` must have version 1 and a `sha256Hash`.")
        return hashed.lower()

    def _registering(self, name: tuple[str | None, str], text: str | None) -> str:
        """A document by its hash, which is remembered when it comes with its text."""
        if text is None:
            if name not in self._registered:
                raise PersistedQueryNotFound
            self._registered.move_to_end(name)
            return self._registered[name]
        if digest(text) != name[1]:
            raise PersistedQueryMismatch("The hash is not the one of the document.")
        if self.settings.automatic and name not in self._registered:
            self._registered[name] = text
            self._room -= len(text)
            while self._room < 0:
                self._room += len(self._registered.popitem(last=False)[1])
        return text
