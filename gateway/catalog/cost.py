"""What an operation costs, in upstream calls: a sum that can be compared with a limit, and lines that can be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Line(NamedTuple):
    """One call of a plan: where in the answer it is first needed, what is called, how many times at most, and why."""

    path: str
    registry: str
    call: str
    times: int
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """The calls of an operation.

    All of ``lines`` may be made. ``rows`` has, for each list, what its rows cost in each form that they may come in: a
    page has only so many rows, so that the dearest form counts.
    """

    lines: tuple[Line, ...] = ()
    rows: tuple[tuple["Cost", ...], ...] = ()

    @property
    def calls(self) -> int:
        """How many calls are made at most."""
        return sum(line.times for line in self.lines) + sum(
            max((form.calls for form in forms), default=0) for forms in self.rows
        )

    def __iter__(self) -> Iterator[Line]:
        yield from self.lines
        for forms in self.rows:
            for form in forms:
                yield from form
