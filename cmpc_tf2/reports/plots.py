"""Plots as inline SVG. They are 360 units wide, so that their text is readable on a telephone."""

import html
import math

import numpy as np

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 124, 12, 8, 34
_ROW, _STEP = 22, 12
# Characters of a row's name that fit.
_LONGEST = 18
# Colours differ for most readers, and shapes for all; they repeat.
_SHAPES = (
    '<circle class="mark0" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    '<rect class="mark1" x="{left:.1f}" y="{top:.1f}" width="7" height="7"/>',
    '<path class="mark2" d="M{x:.1f} {above:.1f}l5 8.5h-10z"/>',
    '<path class="mark3" d="M{x:.1f} {above:.1f}l5 5-5 5-5-5z"/>',
    '<path class="mark4" d="M{x:.1f} {below:.1f}l5-8.5h-10z"/>',
)

Point = tuple[float, list[float] | None]


def dot_plot(title: str, unit: str, rows: list[str], series: dict[str, list[Point]]) -> str:
    """Values with error bars, a row for each score or group, and a legend.

    Args:
        title: Title for readers who do not see it.
        unit: Name of the axis.
        rows: Names of the rows.
        series: Values by name: for each row a value, and the ends of its interval.
    """
    ends = [end for points in series.values() for value, bar in points for end in (value, *(bar or ()))]
    low, high, ticks = _axis(min(ends), max(ends))
    pitch = max(_ROW, _STEP * len(series) + 8)
    top = _TOP + 16 * len(series)
    bottom = top + pitch * len(rows)

    def place(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [_tick(place(tick), tick, top, bottom, is_zero=tick == 0) for tick in ticks]
    for number, (name, points) in enumerate(series.items()):
        parts += [_mark(number, 8, _TOP + 16 * number + 4), _text(20, _TOP + 16 * number + 8, name)]
        for row, (value, bar) in enumerate(points):
            y = top + pitch * (row + 0.5) + _STEP * (number - (len(series) - 1) / 2)
            if bar:
                ends = f'x1="{place(bar[0]):.1f}" x2="{place(bar[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
                parts.append(f'<line class="mark{number % len(_SHAPES)}" stroke-width="2" {ends}/>')
            parts.append(_mark(number, place(value), y))
    for row, name in enumerate(rows):
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
        parts.append(_text(_LEFT - 6, top + pitch * (row + 0.5) + 4, short, "end"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + _BOTTOM - 4, unit, "middle"))
    return _svg(title, bottom + _BOTTOM, parts)


def histogram(title: str, unit: str, values: list[float], bins: int = 20) -> str:
    """How many of the values from 0 to 1 lie in each bin.

    Args:
        title: Title for readers who do not see it.
        unit: Name of the axis.
        values: The values.
        bins: Bins of equal width.
    """
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    left, top, height = 44, 12, 140
    scale, width = height / max(counts.max(), 1), (_WIDTH - left - _RIGHT) / bins
    bottom = top + height
    parts = [
        f'<rect class="mark0" stroke="none" x="{left + width * number + 1:.1f}" y="{bottom - scale * count:.1f}" '
        f'width="{width - 2:.1f}" height="{scale * count:.1f}"><title>{edges[number]:.2f} to {edges[number + 1]:.2f}: '
        f"{count} samples</title></rect>"
        for number, count in enumerate(counts)
    ]
    parts.append(f'<line class="axis" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(left + tick * width * bins, bottom + 15, f"{tick:g}", "middle"))
    for count in (0, int(counts.max())):
        parts.append(_text(left - 6, bottom - scale * count + 4, str(count), "end"))
    parts.append(_text((left + _WIDTH - _RIGHT) / 2, bottom + 31, unit, "middle"))
    return _svg(title, bottom + 36, parts)


def _axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """Ends of an axis for values from `low` to `high`, and its ticks."""
    spread = max(high - low, 1e-3)
    power = 10 ** math.floor(math.log10(spread / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 4 >= spread)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]
    return ticks[0], ticks[-1], ticks


def _tick(x: float, value: float, top: float, bottom: float, is_zero: bool) -> str:
    line = f'<line class="{"axis" if is_zero else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:.1f}"/>'
    return line + _text(x, bottom + 14, f"{value:g}", "middle")


def _mark(number: int, x: float, y: float) -> str:
    shape = _SHAPES[number % len(_SHAPES)]
    return shape.format(x=x, y=y, left=x - 3.5, top=y - 3.5, above=y - 5, below=y + 4.5)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(title: str, height: float, parts: list[str]) -> str:
    label = html.escape(title)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"
    )
