"""How far one operation may go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far lists are read that have to be sorted or filtered here: rows of one list for one page, and rows that
    cost a call of their own each; how many seconds an operation may take, and how many calls it may make; and how much
    may be asked at once: rows of a page, ids, and references of other subgraphs."""

    rows: int
    detail_rows: int
    seconds: float
    calls: int
    page_rows: int = 100
    ids: int = 100
    references: int = 2_000


DEFAULT_BOUNDS = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=1000)
