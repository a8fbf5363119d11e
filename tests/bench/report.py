"""Reports: tables in Markdown, and plots of growth as SVG."""

from collections.abc import Sequence
from html import escape
from math import log10

from tests.bench.growth import Series
from tests.bench.tables import Table

WIDTH, HEIGHT, LEFT, TOP, INNER_WIDTH, INNER_HEIGHT = 400, 260, 60, 40, 310, 170


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows))


def section(found: Table) -> str:
    """Return a heading, the description, and a table of medians with their ratios to the references."""
    medians, ratios = found.medians(), found.ratios()
    columns = list(next(iter(medians.values())))

    def cell(row: str, column: str) -> str:
        if column not in medians[row]:
            return ""
        figure = medians[row][column]
        text = number(figure.cost)
        if row in ratios:
            text += f" ({', '.join(map(number, ratios[row][column].values()))})"
        return f"{text}; {number(figure.calls)}" if found.calls else text

    unit = f"{found.unit} ({', '.join(f'÷ {name}' for name in found.references)}){'; calls' if found.calls else ''}"
    rows = [[row, *(cell(row, column) for column in columns)] for row in medians]
    return f"## {found.name}\n\n{found.about}\n\n{table([unit, *columns], rows)}"


def growths(all_series: Sequence[Series]) -> str:
    rows = [
        [one.name, "flat" if one.flat else "linear", ", ".join(f"{many:,}: {number(cpu)}" for many, cpu in one.points)]
        for one in all_series
    ]
    return table(["µs of CPU by", "should be", "figures"], rows)


def plot(all_series: Sequence[Series]) -> str:
    """Return one panel per series as SVG. Both axes are logarithmic: constant cost is a horizontal line."""
    panels = [
        f'<g transform="translate({WIDTH * (at % 3)},{HEIGHT * (at // 3)})">{panel(one)}</g>'
        for at, one in enumerate(all_series)
    ]
    width, height = WIDTH * 3, HEIGHT * -(-len(all_series) // 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def panel(one: Series) -> str:
    across = [log10(many) for many, _ in one.points]
    lowest = int(log10(min(cpu for _, cpu in one.points)) // 1)
    highest = max(lowest + 2, -int(-log10(max(cpu for _, cpu in one.points)) // 1))

    def x(many: float) -> float:
        return LEFT + INNER_WIDTH * (log10(many) - across[0]) / (across[-1] - across[0])

    def y(cpu: float) -> float:
        return TOP + INNER_HEIGHT * (highest - log10(cpu)) / (highest - lowest)

    path = " ".join(f"{x(many):.1f},{y(cpu):.1f}" for many, cpu in one.points)
    parts = [f'<text x="{LEFT}" y="24" font-size="13">µs of CPU by {escape(one.name)}</text>']
    for power in range(lowest, highest + 1):
        at = y(10**power)
        parts.append(f'<path d="M{LEFT} {at:.1f}h{INNER_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10**power:,g}</text>')
    for many, cpu in one.points:
        bottom = TOP + INNER_HEIGHT + 16
        parts.append(f'<text x="{x(many):.1f}" y="{bottom}" text-anchor="middle">{many:,}</text>')
        parts.append(f'<circle cx="{x(many):.1f}" cy="{y(cpu):.1f}" r="3" fill="#06c"/>')
    parts.append(f'<polyline points="{path}" fill="none" stroke="#06c"/>')
    return "".join(parts)
