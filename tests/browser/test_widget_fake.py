"""The page in a real Chromium, under the real policy, against a peer that does what it is told."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.browser.driver import (
    answers,
    ask,
    button,
    ended,
    field,
    hurry,
    prose,
    questions,
    record_status,
    status,
    statuses,
    written,
)
from tests.browser.script import error

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page, Route

    from tests.browser.fake import Fake

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = " ".join(f"word{number}" for number in range(60))


async def test_an_answer_appears_as_it_is_written(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    await expect(status(page)).to_contain_text("Writing")
    await expect(prose(page)).not_to_contain_text("word59")
    fake.release()
    await ended(page)
    await written(page, WORDS)
    await expect(status(page)).to_be_hidden()


@pytest.mark.parametrize("position", [1, 4, 30])
async def test_a_reload_goes_on_where_it_was(page: Page, fake: Fake, position: int) -> None:
    """No gap, no repeat, no second generation, and the question is there once."""
    fake.answer, fake.hold_at = WORDS, position
    await page.goto(fake.url)
    await ask(page)
    await expect(button(page, "Stop")).to_be_visible()
    await fake.until_received("response.create")
    await page.reload()
    await fake.until_received("throughline:resume")
    fake.release()
    await ended(page)
    await written(page, WORDS)
    await expect(questions(page)).to_have_text(["How?"])
    assert len(fake.turns) == 1


@pytest.mark.parametrize(
    ("positions", "code"), [({0}, 1011), ({3}, 1012), ({30}, 1013), ({4, 9, 60}, 1011)], ids=lambda value: str(value)
)
async def test_a_lost_socket_goes_unnoticed_in_the_text(page: Page, fake: Fake, positions: set[int], code: int) -> None:
    fake.answer, fake.drop_at, fake.drop_code = WORDS, set(positions), code
    await hurry(page)
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    await written(page, WORDS)
    assert len(fake.turns) == 1
    assert not fake.drop_at


async def test_what_was_never_accepted_is_asked_again_with_the_same_key(page: Page, fake: Fake) -> None:
    fake.silent = True
    await hurry(page)
    await page.goto(fake.url)
    await ask(page)
    await fake.until_received("response.create")
    fake.silent = False
    await fake.drop_all(1012)
    await ended(page)
    await written(page, fake.answer)
    keys = [frame["idempotency_key"] for frame in fake.received if frame["type"] == "response.create"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(fake.turns) == 1


async def test_says_that_it_reconnects_and_tries_now_when_told(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await page.goto(fake.url)
    await page.evaluate("Math.random = () => 0.99")
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    fake.up = False
    await fake.drop_all(1013)
    await expect(status(page)).to_contain_text("Connection lost")
    await expect(status(page)).to_contain_text(re.compile(r"trying again in \d+ s"))
    await expect(prose(page)).to_contain_text("word10")
    fake.up = True
    fake.release()
    await button(page, "Try now").click()
    await ended(page)
    await written(page, WORDS)


async def test_a_connection_that_the_server_ended_says_why_and_can_be_taken_up_again(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    await fake.drop_all(1008)
    await expect(status(page)).to_contain_text("refused this connection")
    fake.release()
    await button(page, "Try again").click()
    await ended(page)
    await written(page, WORDS)


async def test_a_position_that_is_gone_shows_the_stored_answer(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await hurry(page)
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    fake.release()
    turn = next(iter(fake.turns.values()))
    fake.turns.clear()
    await fake.drop_all(1012)
    await ended(page)
    await written(page, WORDS)
    assert turn.ended


async def test_stop_stops_and_keeps_what_was_written(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    await button(page, "Stop").click()
    await expect(status(page)).to_have_text("Stopped")
    await expect(prose(page)).to_contain_text("word10")
    await expect(field(page)).to_be_focused()


async def test_stop_while_the_server_is_busy_takes_the_question_back(page: Page, fake: Fake) -> None:
    fake.refusals = [error(503, "server_overloaded", "Busy.", headers={"retry-after": "900"})]
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text("The server is busy")
    await expect(status(page)).to_contain_text(re.compile(r"trying again in (8[5-9]\d|900) s"))
    await button(page, "Stop").click()
    await expect(status(page)).to_have_text("Stopped")
    assert not fake.turns


async def test_a_busy_server_is_asked_again(page: Page, fake: Fake) -> None:
    fake.refusals = [
        error(503, "model_loading", "Loading.", headers={"retry-after": "1"}),
        error(429, "rate_limit_exceeded", "Slow down.", headers={"retry-after": "1"}),
    ]
    await hurry(page)
    await page.goto(fake.url)
    await record_status(page)
    await ask(page)
    await written(page, fake.answer)
    await ended(page)
    assert any("still loading" in text for text in await statuses(page))


async def test_another_tab_shows_the_same_answer_and_can_stop_it(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    fake.answer, fake.hold_at = WORDS, 20
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word10")
    other = await context.new_page()
    await other.goto(fake.url)
    await expect(prose(other)).to_contain_text("word10")
    await button(other, "Stop").click()
    await expect(status(other)).to_have_text("Stopped")
    await expect(status(page)).to_have_text("Stopped")
    assert await prose(page).text_content() == await prose(other).text_content()


async def test_another_tab_that_is_open_hears_of_a_new_turn(context: BrowserContext, page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    other = await context.new_page()
    await other.goto(fake.url)
    await expect(answers(other)).to_have_count(1)
    fake.hold_at = 5
    await ask(page, "Second?")
    await expect(button(other, "Stop")).to_be_visible()
    fake.release()
    await ended(other)
    await expect(questions(other)).to_have_text(["First?", "Second?"])
    await expect(answers(other)).to_have_count(2)


async def test_whoever_was_slower_sees_the_answer_and_keeps_the_question(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    fake.answer, fake.hold_at = WORDS, 20
    fake.begin({"idempotency_key": "elsewhere", "conversation": next(iter(fake.conversations)), "input": "Second?"})
    fake.refusals = [error(400, "conversation_locked", "Locked.")]
    await field(page).fill("Third?")
    await field(page).press("Enter")
    await expect(questions(page)).to_have_text(["First?", "Second?"])
    await expect(prose(page)).to_contain_text("word10")
    await expect(field(page)).to_have_value("Third?")
    fake.release()
    await written(page, WORDS)


async def test_a_failure_is_named_and_can_be_tried_again(page: Page, fake: Fake) -> None:
    """Trying again takes the place of the turn that failed."""
    fake.failure = {"code": "server_error", "message": "The engine died."}
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text("The server failed while it wrote this answer.")
    await expect(status(page)).to_contain_text("server_error")
    fake.failure = None
    await button(page, "Try again").click()
    await expect(status(page)).to_be_hidden()
    await written(page, fake.answer)
    await page.reload()
    await expect(questions(page)).to_have_text(["How?"])
    await expect(answers(page)).to_have_count(1)


async def test_a_question_that_was_never_answered_says_so_after_a_reload(page: Page, fake: Fake) -> None:
    fake.failure, fake.answer = {"code": "server_error", "message": ""}, ""
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text("server_error")
    await page.reload()
    await expect(status(page)).to_contain_text("This was not answered")
    fake.failure, fake.answer = None, "Now it is."
    await button(page, "Try again").click()
    await written(page, "Now it is.")
    await page.reload()
    await expect(questions(page)).to_have_text(["How?"])


async def test_a_refusal_shows_the_server_s_own_words_where_there_are_no_better(page: Page, fake: Fake) -> None:
    fake.refusals = [error(400, "strange", "The moon is in the wrong place.")]
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text("The moon is in the wrong place.")
    await expect(questions(page)).to_have_text(["How?"])


async def test_a_failed_model_says_why(page: Page, fake: Fake) -> None:
    fake.readiness = {"status": "loading", "engine": {"state": "failed", "error": "CUDA out of memory"}}
    await page.goto(fake.url)
    await expect(page.locator(".bar")).to_contain_text("The model could not be loaded")
    await expect(page.locator(".bar")).to_contain_text("CUDA out of memory")


async def test_a_loading_model_counts_until_it_is_ready(page: Page, fake: Fake) -> None:
    ready = fake.readiness
    fake.readiness = {"status": "loading", "engine": {"state": "loading", "seconds": 7.8, "model": "demo"}}
    await page.goto(fake.url)
    await expect(page.locator(".bar")).to_contain_text(re.compile(r"Loading demo([7-9]|\d\d) s"))
    fake.readiness = ready
    await expect(page.locator(".bar")).to_be_hidden()


async def test_a_server_that_cannot_be_reached_says_so(page: Page, fake: Fake) -> None:
    await page.route("**/readyz", lambda route: route.abort())
    await page.goto(fake.url)
    await expect(page.locator(".bar")).to_contain_text("cannot be reached")
    await page.unroute("**/readyz")
    await expect(page.locator(".bar")).to_be_hidden()


@pytest.mark.parametrize(
    ("notice", "words"),
    [
        ({"type": "throughline:queue", "position": 3, "estimated_seconds": 11.2}, "Queued · position 3about 12 s"),
        ({"type": "throughline:waiting", "reason": "prefill"}, "Reading"),
        ({"type": "throughline:waiting", "reason": "takeover"}, "Another node is taking over"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
async def test_says_what_it_waits_for(page: Page, fake: Fake, notice: dict[str, object], words: str) -> None:
    fake.hold_at = 1 if notice["type"] == "throughline:queue" else 2
    fake.notices = [] if fake.hold_at == 2 else [notice]
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text(re.compile("Queued|Reading"))
    for socket in fake.sockets if fake.hold_at == 2 else []:
        await socket.send_json({**notice, "sequence_number": 1})
    await expect(status(page)).to_contain_text(words)


@pytest.mark.parametrize("slow", ["**/v1/models", "**/readyz", "**/items?*"])
async def test_what_is_sent_before_the_page_has_begun_is_not_lost(page: Page, fake: Fake, slow: str) -> None:
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    late = asyncio.Event()

    async def hold(route: Route) -> None:
        await late.wait()
        await route.continue_()

    await page.route(slow, hold)
    await page.reload()
    await field(page).fill("Second?")
    await field(page).press("Enter")
    late.set()
    await expect(questions(page)).to_have_text(["First?", "Second?"])
    await expect(answers(page)).to_have_count(2)
    await written(page, fake.answer)
