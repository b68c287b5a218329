"""The report of a load run, as a browser lays it out."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from bench.load.metrics import Rules
from bench.load.options import Options
from bench.load.page import page as report
from bench.load.result import numbers
from bench.load.sample import Sample
from bench.load.workers import Run
from bench.processes import ResourceUsage
from tests.requirements import missing

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TOO_WIDE = "[...document.querySelectorAll('html, .card')].filter(each => each.scrollWidth > each.clientWidth).length"
BOX = "each => { const box = each.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; }"
TEXTS = f"[...document.querySelectorAll('svg')].map(svg => [svg, ...svg.querySelectorAll('text')].map({BOX}))"

FONTS = ("DejaVu Sans", "Noto Sans", "Liberation Sans", "Arial", "Helvetica")
SOURCES = ", ".join(f"local('{font}')" for font in FONTS)
LARGE = f"""
@font-face {{ font-family: large; src: {SOURCES}; size-adjust: 115%; ascent-override: 120%; descent-override: 40%; }}
svg text {{ font-family: large !important; }}"""

Box = tuple[float, float, float, float]  # left, top, right, bottom


def samples(scale: float) -> list[Sample]:
    """ResponseDecoder whose percentiles lie close together, and some that failed; `scale` is in seconds."""
    rng = random.Random(7)
    made = []
    for index in range(800):
        stamps = [index / 40 + scale * rng.gauss(12, 1.2)]
        stamps += [stamps[0] + scale * number * rng.gauss(0.05, 0.002) for number in range(1, 30)]
        made.append(Sample(index / 40, index / 40, stamps, ended=stamps[-1], input_tokens=9, output_tokens=30))
    return [*made, Sample(1.0, 1.0, [], ended=2.0, error="error " + "long_" * 30)]


def html(scale: float) -> str:
    rules = Rules(slos={"ttft": 500, "tpot": 50, "e2el": 20_000, "stall": 1000})
    asked = Options("ws", "http://h", "a-model-of-a-long-name-" * 5, concurrency=64, rules=rules, label="label_" * 20)
    run = Run(0.0, samples(scale), 7.0, ResourceUsage(1.0, 0.1, 5.0), ResourceUsage(9.0, 0.1, 5.0, 64 << 20, 0))
    return report(numbers(asked, run, "2026-01-01T00:00:00+00:00"), run.samples, run.began)


def apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("font", ["system-ui", "large"])
@pytest.mark.parametrize("scale", [0.001, 1.0])
@pytest.mark.parametrize("width", [400, 700, 1280])
async def test_labels_of_charts_are_legible_whole_and_apart(
    context: BrowserContext, width: int, scale: float, font: str
) -> None:
    """In the font of this machine, and in one that is taller and wider than any in common use."""
    page = await context.new_page()
    await page.set_viewport_size({"width": width, "height": 800})
    await page.set_content(html(scale))
    if font == "large":
        await page.add_style_tag(content=LARGE)
        if not await page.evaluate("document.fonts.load('12px large').then(found => found.length)"):
            missing(f"none of these fonts is on this machine: {', '.join(FONTS)}")
    assert await page.evaluate(TOO_WIDE) == 0
    pictures: list[list[Box]] = await page.evaluate(TEXTS)
    assert len(pictures) == 4
    for (left, top, right, bottom), *texts in pictures:
        assert min(text[3] - text[1] for text in texts) >= 11
        assert all(left - 1 <= text[0] and text[2] <= right + 1 for text in texts)
        assert all(top - 1 <= text[1] and text[3] <= bottom + 1 for text in texts)
        assert all(apart(*pair) for pair in itertools.combinations(texts, 2))
