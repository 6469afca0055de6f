"""Results as a picture: an SVG with a small chart of bars for each row.

A mark on a chart is what was asked of arriero with two workers, in the unit of the row. Light and
dark pages both show it; text is text, so that it can be searched.
"""

from html import escape

from ..results import Results
from ..rows import ROWS, USUAL, Row

_COLOURS = {"direct": "#9aa5b1", "nginx": "#3a9d5d", "llama-swap": "#d08c1f", "arriero": "#3b6fd4"}
_OTHER = "#8250df"

_COLUMNS = 2
_WIDTH = 440
_NAME = 92  # of a target, left of its bar
_FIGURE = 70  # right of it
_BAR = 15  # its height, with the gap
_TITLE = 24
_GAP = 18

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 12px; }
.quiet { fill: #6e7781; }
.asked { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 3 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #8b949e; }
  .asked { stroke: #ff7b72; }
}
"""


def svg(results: Results) -> str:
    """Return the picture of all rows that were measured of two targets or more."""
    charts = [(row, found) for row in ROWS.values() if len(found := _figures(results, row)) > 1]
    heights = [_TITLE + _BAR * len(found) + _GAP for _, found in charts]
    tops: list[int] = []
    bottoms = [0] * _COLUMNS
    places = []
    for height in heights:
        column = bottoms.index(min(bottoms))
        places.append(column)
        tops.append(bottoms[column])
        bottoms[column] += height
    body = "".join(
        f'<g transform="translate({column * (_WIDTH + _GAP)} {top})">'
        f"{_chart(row, found, _asked_figure(results, row))}</g>\n"
        for (row, found), column, top in zip(charts, places, tops, strict=True)
    )
    width = _COLUMNS * (_WIDTH + _GAP)
    height = max(bottoms, default=0) + _GAP
    legend = f'<text class="quiet" x="0" y="{height - 6}">dashed: asked of {USUAL}</text>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">\n'
        f"<title>What make bench measured</title>\n<style>{_STYLE}</style>\n{body}{legend}</svg>\n"
    )


def _figures(results: Results, row: Row) -> dict[str, float]:
    found = {target: results.median(target, row.name) for target in results.targets}
    return {target: value for target, value in found.items() if value is not None}


def _asked_figure(results: Results, row: Row) -> float | None:
    """What the first promise on a row means in its unit; None if its reference is missing."""
    for asked in row.asked:
        if asked.to is None:
            return asked.limit
        if reference := results.median(asked.to, row.name):
            return asked.limit * reference
    return None


def _chart(row: Row, found: dict[str, float], asked: float | None) -> str:
    """Return one chart, its left upper corner at the origin."""
    better = "more is better" if row.more_is_better else "less is better"
    unit = f"{row.unit}, " if row.unit else ""
    lines = [
        f'<text class="title" x="0" y="14">{escape(row.title)} '
        f'<tspan class="quiet" font-weight="400">({escape(unit)}{better})</tspan></text>'
    ]
    scale = (_WIDTH - _NAME - _FIGURE) / (max(*found.values(), asked or 0.0) or 1.0)
    tops = [_TITLE + number * _BAR for number in range(len(found))]
    for (target, value), top in zip(found.items(), tops, strict=True):
        colour = _COLOURS.get(target.rpartition(" x")[0] or target, _OTHER)
        lines.append(
            f'<rect x="{_NAME}" y="{top}" width="{value * scale:.1f}" height="{_BAR - 3}" rx="1.5" '
            f'fill="{colour}"/>'
        )
    if asked is not None:
        at = _NAME + asked * scale
        lines.append(f'<path class="asked" d="M{at:.1f} {_TITLE - 3}V{tops[-1] + _BAR}"/>')
    for (target, value), top in zip(found.items(), tops, strict=True):
        lines += [
            f'<text x="{_NAME - 6}" y="{top + 10}" text-anchor="end">{escape(target)}</text>',
            f'<text class="figure" x="{_NAME + value * scale + 5:.1f}" y="{top + 10}">'
            f"{value:,.{row.digits}f}</text>",
        ]
    return "".join(lines)
