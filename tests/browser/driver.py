"""What a person does on the page, in words the tests use."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page


PATIENCE = 30.0  # seconds until a test is told that something never came


def field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


def answers(page: Page) -> Locator:
    return page.get_by_role("article", name="Assistant")


def questions(page: Page) -> Locator:
    return page.get_by_role("article", name="You").locator(".bubble")


def prose(page: Page) -> Locator:
    """The text of the last answer."""
    return answers(page).last.locator(".prose")


def status(page: Page) -> Locator:
    return page.locator(".status")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


async def ask(page: Page, text: str = "How?") -> None:
    await field(page).fill(text)
    await field(page).press("Enter")
    await expect(questions(page).last).to_have_text(text)


async def ended(page: Page) -> None:
    """Until the button sends again."""
    await expect(button(page, "Send")).to_be_visible()


async def written(page: Page, text: str) -> None:
    """Exactly this, nothing twice, nothing missing."""
    await expect(prose(page)).to_have_text(re.compile(f"^{re.escape(text)}$"))


async def distance(page: Page) -> float:
    """From the end of the conversation, in pixels."""
    measured = await page.get_by_role("log").evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight")
    return float(measured)


async def at_end(page: Page) -> None:
    """Until the end of the conversation is in sight: the page scrolls with its next frame."""
    async with asyncio.timeout(PATIENCE):
        while await distance(page) >= 2:
            await page.wait_for_timeout(20)


async def record_status(page: Page) -> None:
    """From now on keep what the status line says, however short it is there."""
    await page.evaluate("""() => {
        window.statuses = [];
        const root = document.querySelector("throughline-chat").shadowRoot;
        const note = () => window.statuses.push(root.querySelector(".status")?.textContent ?? "");
        new MutationObserver(note).observe(root, { childList: true, characterData: true, subtree: true });
    }""")


async def statuses(page: Page) -> list[str]:
    """What was kept."""
    kept: list[str] = await page.evaluate("window.statuses")
    return kept


async def hurry(page: Page) -> None:
    """Dice that always show the shortest wait."""
    await page.add_init_script("Math.random = () => 0")
