"""Prepared rows: the rows of a cached page as responses need them, read and encoded once."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, Protocol

from gateway.catalog.calls import Calls
from gateway.catalog.ids import Ref
from gateway.catalog.query_plan import BoundCall, EntityPlan
from gateway.catalog.record_readers import Record
from gateway.registries.fields import Raw
from gateway.upstream.cache import DerivedValues, Origin
from gateway.upstream.caching_client import Answer

RECORD_BYTES, FIELD_BYTES = 350, 100
"""The memory of a cached record, and of each of its fields."""
DEPENDENCY_BYTES: Final = 400
"""The memory of a call that a row was built from."""


class RowEncoder(Protocol):
    """Encodes the records of rows for one field of a response.

    Returns the encoded record, or the record itself if it has an error, and its memory in bytes. ``number`` identifies
    the encoder; no other ever has the same.
    """

    @property
    def number(self) -> int: ...

    def __call__(self, record: Record) -> tuple[Any, int]: ...


def records_bytes(plan: EntityPlan, rows: int) -> int:
    """Return the memory of the records that a plan reads from rows, in bytes."""
    return RECORD_BYTES + rows * (RECORD_BYTES + FIELD_BYTES * plan.selection.fields)


class PreparedRows:
    """The rows of a page as responses need them: records, or encoded records. Each is prepared when it is first needed.

    They are found by their global ids. ``read`` are those that needed no call. A row that needed calls is valid while
    their answers are in the cache.
    """

    __slots__ = ("_called", "_key", "_size", "_stored_size", "read")

    def __init__(self, key: Hashable) -> None:
        self.read: dict[str, Any] = {}
        self._called: dict[str, tuple[Any, Sequence[tuple[BoundCall, Origin]], int]] = {}
        self._key, self._size, self._stored_size = key, RECORD_BYTES, 0

    def add_read(self, id: str, ref: Ref, plan: EntityPlan, raw: Raw, encode: RowEncoder | None) -> Any:
        """Read a row that needs no call, and return it."""
        record = plan.reader.read(raw, ref)
        value, size = (record, records_bytes(plan, 1)) if encode is None else encode(record)
        self._size += size
        self.read[id] = value
        return value

    def reused(self, ids: Iterable[str], calls: Calls) -> dict[str, Any]:
        """Return the rows that needed calls, by id, and make these from the cache.

        Rows are left out unless all of their calls have the same fresh answers.
        """
        known = self._called
        return {id: known[id][0] for id in ids if id in known and calls.reuse(known[id][1])}

    def add_called(self, id: str, record: Record, used: Sequence[BoundCall], calls: Calls, encode: RowEncoder) -> Any:
        """Encode a row that was built from the answers of calls, and return it."""
        value, size = encode(record)
        dependencies = []
        for bound in used:
            answer = calls.answers[bound]
            if not isinstance(answer, Answer) or answer.origin is None:
                return value
            dependencies.append((bound, answer.origin))
        if value is not record:
            size += DEPENDENCY_BYTES * len(dependencies)
            _, _, replaced = self._called.pop(id, (None, (), 0))
            self._called[id] = value, dependencies, size
            self._size += size - replaced
        return value

    def store(self, derived: DerivedValues) -> None:
        """Cache the rows with their answer, or count them again."""
        if self._size != self._stored_size:
            self._stored_size = self._size
            derived.store(self._key, self, self._size)
