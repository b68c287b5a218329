"""A real Chromium, and pages that must not break the policy they run under."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tests.browser.fake import Fake
from tests.browser.fake_http import serving
from tests.requirements import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

PATIENCE = 30_000  # milliseconds until a test is told that something never came
VIOLATION = re.compile("Content Security Policy|Trusted(Script|HTML)")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    return path or missing("NO BROWSER TEST RAN: there is no Chromium; set CHROMIUM or put `chromium` on the PATH")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One person's browser; every page in it is watched."""
    context = await browser.new_context(viewport={"width": 1000, "height": 700})
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    context.on("page", lambda page: watch(page, complaints))
    yield context
    await context.close()
    assert not complaints


def watch(page: Page, complaints: list[str]) -> None:
    def note(message: ConsoleMessage) -> None:
        if VIOLATION.search(message.text):
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))


@pytest_asyncio.fixture(loop_scope="session")
async def fake() -> AsyncIterator[Fake]:
    async with serving(Fake()) as fake:
        yield fake


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, fake: Fake) -> Page:
    """A page that is not loaded yet, so that a test can set the levers first."""
    assert fake.url
    return await context.new_page()
