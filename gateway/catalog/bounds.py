"""Execution limits of one operation: rows, time, upstream calls, and sizes of responses, pages and lists."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one operation.

    ``rows`` bounds the rows of one list that are read for a page if the gateway sorts or filters the list,
    ``detail_rows`` those of a list in which each row needs a call. ``seconds`` is the time until the deadline, and
    ``calls`` the number of upstream calls. ``objects`` bounds the objects in the response. ``page_rows``, ``ids`` and
    ``references`` bound the size of a page, of a list of ids, and of a list of references from other subgraphs.
    """

    rows: int
    detail_rows: int
    seconds: float
    calls: int
    objects: int = 20_000
    page_rows: int = 100
    ids: int = 100
    references: int = 2_000


DEFAULT_BOUNDS = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=1000)
