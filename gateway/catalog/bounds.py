"""Limits of one operation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one operation: ``rows`` of one list that are read for one page where the gateway sorts or filters it,
    ``detail_rows`` where each of them costs a call; ``seconds`` until its deadline; upstream ``calls``; and the sizes
    of a page, of a list of ids, and of a list of references from other subgraphs."""

    rows: int
    detail_rows: int
    seconds: float
    calls: int
    page_rows: int = 100
    ids: int = 100
    references: int = 2_000


DEFAULT_BOUNDS = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=1000)
