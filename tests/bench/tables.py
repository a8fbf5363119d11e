"""Tables of measurements, their ratios, and the comparison of the ratios with those of a recorded run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import orjson

NAIVE = "naive Strawberry"
LIMIT = "prebuilt bytes"
REFERENCES = (NAIVE, LIMIT)
TOLERANCE = 1.25
"""A ratio may grow by this factor before it counts as worse."""

Ratios = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Ratios by table, row, column and reference: a cost divided by the cost of the reference, so less is better."""

Guarded = Mapping[tuple[str, str, str], Mapping[str, float]]
"""Ratios to both `REFERENCES` by table, row and column. If only one of the two changes, the reference has changed."""


class Figure(NamedTuple):
    """The cost of a request, and its upstream calls."""

    cost: float
    calls: float = 0.0


@dataclass(frozen=True)
class Table:
    """Figures by row and column, one for each round.

    ``references`` are the rows that the others are divided by; ``calls`` is true if the report shows upstream calls.
    """

    name: str
    about: str
    unit: str = "µs of CPU"
    references: tuple[str, ...] = REFERENCES
    calls: bool = False
    rounds: dict[str, dict[str, list[Figure]]] = field(default_factory=dict)

    def add(self, row: str, column: str, cost: float, calls: float = 0.0) -> None:
        self.rounds.setdefault(row, {}).setdefault(column, []).append(Figure(cost, calls))

    def medians(self) -> Mapping[str, Mapping[str, Figure]]:
        """Return the medians by row and column, the references first."""
        return {
            row: {
                column: Figure(*map(median, zip(*figures, strict=True)))
                for column, figures in sorted(self.rounds[row].items())
            }
            for row in sorted(self.rounds, key=lambda row: row not in self.references)
        }

    def ratios(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Return the ratios by row, column and reference, without the rows of the references."""
        medians = self.medians()
        return {
            row: {
                column: {name: figure.cost / medians[name][column].cost for name in self.references}
                for column, figure in columns.items()
            }
            for row, columns in medians.items()
            if row not in self.references
        }


def guarded(ratios: Ratios) -> Guarded:
    """Return the ratios that a comparison looks at."""
    return {
        (table, row, column): {reference: float(found[reference]) for reference in REFERENCES}
        for table, rows in ratios.items()
        for row, columns in rows.items()
        for column, found in columns.items()
        if set(found) == set(REFERENCES)
    }


def recorded(path: Path) -> Guarded:
    """Return the `guarded` ratios of a recorded run. Raises ValueError for another file."""
    try:
        found = guarded(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        found = {}
    if not found:
        raise ValueError(f"{path} is not the results.json of a run")
    return found


def worse(before: Guarded, now: Guarded) -> list[str]:
    """Return a line for each figure whose ratios to both references grew by more than `TOLERANCE`, or that is gone."""
    lines = []
    for place, old in before.items():
        new = now.get(place)
        if new is None:
            lines.append(f"{', '.join(place)}: not measured now")
        elif all(new[reference] > TOLERANCE * old[reference] for reference in REFERENCES):
            changes = [f"{old[reference]:.3g} → {new[reference]:.3g} (÷ {reference})" for reference in REFERENCES]
            lines.append(f"{', '.join(place)}: {', '.join(changes)}")
    return lines
