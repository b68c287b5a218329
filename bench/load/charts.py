"""Charts as SVG text. Pure. Colours come from the page's style sheet, so that they suit light and dark.

The reader's machine chooses the font, so nothing here knows how large a label turns out. What keeps labels apart is
room for any of them: every row of text is nearly two ems high, and a character is taken to be three quarters of an em
wide. Common fonts need less than 1.5 and 0.7.
"""

import math
from collections.abc import Sequence
from html import escape

import msgspec

EM = 17  # of the larger text that a narrow chart has; a wide one has 12
ROW = 32  # of text; its baseline lies at BASE, so that 1.4 em are left above it and half an em below
BASE = 24
CHARACTER = 0.75 * EM  # the widest that is allowed for
WIDTH = 560
LEFT, RIGHT = 64, 30  # room for four characters beside the axis, and for half of them beyond its end
TOP, BOTTOM = 2 * ROW, 2 * ROW  # above: what is counted, the marks' names; below: the numbers, their unit
HEIGHT = TOP + 170 + BOTTOM
BINS = 40

LIGHT = "svg { --soft: #5b6675; --card: #f4f6f9; --edge: #dde2e9; --ink: #2463c5; --wash: #2463c526; --mark: #c2410c; }"
DARK = "svg { --soft: #9aa5b4; --card: #1b212a; --edge: #2c3541; --ink: #7aa9f7; --wash: #7aa9f72e; --mark: #fdba74; }"
LOOK = f"""
svg text {{ font: 12px system-ui, sans-serif; fill: var(--soft); }} .back {{ fill: var(--card); }}
svg .name {{ fill: var(--mark); }}
.area {{ fill: var(--wash); }} .bar {{ fill: var(--ink); }}
.line {{ fill: none; stroke: var(--ink); stroke-width: 1.8; }} .grid {{ stroke: var(--edge); }}
.mark {{ stroke: var(--mark); stroke-dasharray: 3 3; }}
@media (max-width: 560px) {{ svg text {{ font-size: {EM}px; }} }}
"""

Point = tuple[float, float]


class Frame(msgspec.Struct, frozen=True):
    """From values to places in a picture; both axes begin at `low` and end at `high`."""

    x_low: float
    x_high: float
    y_high: float
    steps: tuple[float, ...] = ()  # that stand at equal distances: the axis is logarithmic then

    def x(self, value: float) -> float:
        """The horizontal position of a value, in units of the view box."""
        low, high, at = (math.log(each) if self.steps else each for each in (self.x_low, self.x_high, value))
        return LEFT + (at - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The vertical position of a value, in units of the view box."""
        return HEIGHT - BOTTOM - value / (self.y_high or 1) * (HEIGHT - TOP - BOTTOM)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover a range."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 10) for index in range(first, int(high / step + 1e-9) + 1)]


def x_ticks(low: float, high: float) -> list[float]:
    """Round numbers for the horizontal axis: as many as stand beside each other in any font."""
    for most in range(6, 1, -1):
        found = ticks(low, high, most)
        widest = max(len(short(value)) for value in found) + 1  # and a space
        if len(found) * widest * CHARACTER <= WIDTH - LEFT:
            return found
    return ticks(low, high, 1)


def short(value: float) -> str:
    """A number for an axis, as 0.5, 20, 1.5k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def bins(values: Sequence[float], high: float, count: int = BINS) -> list[int]:
    """How many values lie in each of `count` equal parts from 0 to `high`; those above are in none."""
    counts = [0] * count
    for value in values:
        if 0 <= value <= high:
            counts[min(count - 1, int(value / high * count))] += 1
    return counts


def histogram(values: Sequence[float], marks: dict[str, float], unit: str, what: str) -> str:
    """Bars over the values up to a little above the last mark, with named lines. It says how many lie beyond."""
    high = max([*marks.values(), 0.0]) * 1.15 or 1.0
    counts = bins(values, high)
    beyond = len(values) - sum(counts)
    frame = Frame(0.0, high, max(counts) * 1.08 or 1)
    width = (WIDTH - LEFT - RIGHT) / BINS
    bars = "".join(_bar(frame, high * index / BINS, count, width) for index, count in enumerate(counts) if count)
    unit = f"{unit} ({beyond:,} more beyond)" if beyond else unit
    return _svg(_axes(frame, unit, what) + bars + _marks(frame, marks))


def curve(
    points: Sequence[Point],
    x_unit: str,
    y_unit: str,
    marks: dict[str, float] | None = None,
    *,
    steps: Sequence[float] = (),
) -> str:
    """A line over a filled area. With `steps`, as 1, 10, 100, these are what the logarithmic axis shows."""
    if not points:
        return _svg(_axes(Frame(0.0, 1.0, 1.0), x_unit, y_unit))
    low, high = (min(steps), max(steps)) if steps else (0.0, max(x for x, _ in points) or 1.0)
    frame = Frame(low, high, max(y for _, y in points) * 1.08 or 1.0, tuple(steps))
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    first, last = frame.x(points[0][0]), frame.x(points[-1][0])
    area = f'<polygon class="area" points="{first:.1f},{frame.y(0):.1f} {path} {last:.1f},{frame.y(0):.1f}"/>'
    line = f'<polyline class="line" points="{path}"/>'
    return _svg(_axes(frame, x_unit, y_unit) + area + line + _marks(frame, marks or {}))


def cumulative(values: Sequence[float], most: int = 200) -> list[Point]:
    """For each value, the percentage of values up to it; thinned to about `most` points."""
    ordered = sorted(values)
    step = max(1, len(ordered) // most)
    chosen = sorted({*range(0, len(ordered), step), len(ordered) - 1} - {-1})
    return [(ordered[index], 100 * (index + 1) / len(ordered)) for index in chosen]


def standalone(picture: str) -> str:
    """A picture as a file of its own, which brings its colours."""
    inside = f"<style>{LIGHT} @media (prefers-color-scheme: dark) {{ {DARK} }} {LOOK}</style>"
    back = f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>'
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{inside}{back}", 1)


def _bar(frame: Frame, at: float, count: int, width: float) -> str:
    top = frame.y(count)
    height = HEIGHT - BOTTOM - top
    title = f"<title>{count}</title>"
    place = f'x="{frame.x(at):.1f}" y="{top:.1f}" width="{width - 1:.1f}" height="{height:.1f}"'
    return f'<rect class="bar" {place}>{title}</rect>'


def _marks(frame: Frame, marks: dict[str, float]) -> str:
    """Upright lines. Their names stand above the picture in the order of the lines, which may be close together."""
    names = escape(", ".join(marks))
    place = f'x="{WIDTH - RIGHT}" y="{ROW + BASE}" text-anchor="end"'
    text = f'<text class="name" {place}>{names}</text>' if marks else ""
    return "".join(_line(frame.x(value)) for value in marks.values()) + text


def _line(x: float) -> str:
    return f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'


def _axes(frame: Frame, x_unit: str, y_unit: str) -> str:
    under = f'y="{HEIGHT - BOTTOM + BASE}" text-anchor="middle"'
    across = "".join(
        f'<text class="tick" x="{frame.x(value):.1f}" {under}>{short(value)}</text>'
        for value in frame.steps or x_ticks(frame.x_low, frame.x_high)
    )
    up = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(value):.1f}" y2="{frame.y(value):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{frame.y(value) + 4:.1f}" text-anchor="end">{short(value)}</text>'
        for value in ticks(0.0, frame.y_high, 5)
    )
    names = (
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - ROW + BASE}" text-anchor="end">{escape(x_unit)}</text>'
        f'<text class="unit" x="4" y="{BASE}">{escape(y_unit)}</text>'
    )
    return up + across + names


def _svg(inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{inside}</svg>'
