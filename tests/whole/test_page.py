"""A person at a real browser, in front of the whole program."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.browser.driver import answers, ended, field, prose, questions
from tests.waiting import wait_until
from tests.whole.client import connected

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

    from tests.whole.process import Program

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.asyncio(loop_scope="session")]


async def say(page: Page, words: str) -> None:
    await field(page).fill(words)
    await field(page).press("Enter")


@pytest.mark.vllm
async def test_the_model_answers_on_the_page_and_remembers(context: BrowserContext, real: Program) -> None:
    page = await context.new_page()
    await page.goto(real.http)
    await say(page, "My name is Anna.")
    await expect(prose(page)).to_contain_text("Anna")
    await ended(page)
    await say(page, "What is my name?")
    await expect(answers(page)).to_have_count(2)
    await expect(prose(page)).to_contain_text("Anna")


async def test_a_reload_in_the_middle_shows_the_rest(context: BrowserContext, scripted: Program) -> None:
    page = await context.new_page()
    await page.goto(scripted.http)
    await say(page, "Go on. [tokens=240]")
    await expect(prose(page)).to_have_text(_longer_than(60))
    before = await prose(page).inner_text()
    await page.reload()
    await expect(prose(page)).to_have_text(_longer_than(len(before)))
    stored = await asyncio.to_thread(_the_answer, scripted)
    await expect(prose(page)).to_have_text(stored, use_inner_text=False)
    assert " ".join(stored.split()).startswith(" ".join(before.split())[:40])
    await expect(questions(page)).to_have_count(1)
    await expect(answers(page)).to_have_count(1)


@pytest.mark.vllm
async def test_a_reload_in_the_middle_shows_the_rest_of_a_real_answer(context: BrowserContext, real: Program) -> None:
    """Other callers keep the engine busy meanwhile, so that there is a middle."""
    busy = asyncio.gather(*(_keep_busy(real) for _ in range(48)))
    page = await context.new_page()
    await page.goto(real.http)
    await say(page, "Tell me a long story about a fox.")
    await expect(prose(page)).to_have_text(_longer_than(10))
    before = await prose(page).inner_text()
    await page.reload()
    await expect(prose(page)).to_have_text(_longer_than(len(before) + 20))
    assert (await prose(page).inner_text()).startswith(before[:10])
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    await expect(answers(page)).to_have_count(1)


async def _keep_busy(real: Program) -> None:
    async with connected(real.ws) as client:
        await client.create("Hello!", store=False, ignore_eos=True, max_output_tokens=1500)
        await client.events()


def _longer_than(characters: int) -> re.Pattern[str]:
    return re.compile(r"[\s\S]{" + str(characters + 1) + ",}")


def _the_answer(server: Program) -> str:
    """The stored answer of the only conversation, when it has ended."""

    def get(path: str) -> dict[str, list[dict[str, object]]]:
        with urllib.request.urlopen(server.http + path, timeout=30) as answer:
            body: dict[str, list[dict[str, object]]] = json.load(answer)
            return body

    (conversation,) = get("/v1/conversations")["data"]
    items = f"/v1/conversations/{conversation['id']}/items?order=asc"
    wait_until(lambda: len(get(items)["data"]) == 2, "the answer is stored")
    text: str = get(items)["data"][1]["content"][0]["text"]  # type: ignore[index]
    return text.strip()
