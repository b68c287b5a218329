"""What a person typed is never lost, and sent once: with a node that is away, over reloads, in many tabs."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.browser.driver import answers, ask, button, ended, field, hurry, prose, questions, status, written
from tests.browser.script import error

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Locator, Page, Route

    from tests.browser.fake import Fake

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NODE = re.compile(r"/(v1/.*|readyz)$")


async def refuse(route: Route) -> None:
    await route.abort()


async def away(context: BrowserContext, fake: Fake) -> None:
    """The node dies: its sockets break, and nothing answers but the page that a browser has."""
    fake.up = False
    await context.route(NODE, refuse)
    await fake.drop_all(1011)


async def back(context: BrowserContext, fake: Fake) -> None:
    fake.up = True
    await context.unroute(NODE, refuse)


def unsent(page: Page) -> Locator:
    return page.locator(".unsent article")


def chats(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Chats").locator("li")


async def say(page: Page, text: str) -> None:
    await field(page).fill(text)
    await field(page).press("Enter")


async def answered_once(page: Page, fake: Fake, *asked: str) -> None:
    """Every question has one turn, one conversation has them all, and nothing waits."""
    await expect(prose(page)).to_have_text(fake.answer)
    await ended(page)
    await expect(questions(page)).to_have_text(list(asked))
    await expect(unsent(page)).to_have_count(0)
    assert sorted(turn.question for turn in fake.turns.values()) == sorted(asked)
    assert len(fake.conversations) == 1


async def test_a_question_survives_a_new_chat_while_the_node_is_away(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await expect(page.locator(".bar")).to_be_hidden()
    await away(context, fake)
    await say(page, "Where are you?")
    await expect(unsent(page)).to_contain_text("Where are you?")
    await expect(unsent(page)).to_contain_text("Not sent: The server cannot be reached.")
    await expect(page.get_by_role("status")).to_have_text("Not sent")
    await expect(page.locator(".bar")).to_contain_text("The server cannot be reached")
    await button(page, "New chat").click()
    await expect(unsent(page)).to_have_count(0)
    await expect(chats(page)).to_contain_text(["Where are you?Not sent"])
    await button(page, "Where are you?").click()
    await expect(unsent(page)).to_contain_text("Where are you?")
    await back(context, fake)
    await answered_once(page, fake, "Where are you?")
    await expect(page.locator(".mark")).to_have_count(0)


async def test_it_is_sent_while_another_chat_is_open(context: BrowserContext, page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await away(context, fake)
    await say(page, "Later?")
    await button(page, "New chat").click()
    await expect(page.locator(".mark")).to_have_count(1)
    await back(context, fake)
    await expect(page.locator(".mark")).to_have_count(0)
    await button(page, "Later?").click()
    await answered_once(page, fake, "Later?")


@pytest.mark.parametrize("comes", ["reload", "new tab"])
async def test_it_survives_the_page(context: BrowserContext, page: Page, fake: Fake, comes: str) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await away(context, fake)
    await say(page, "Still there?")
    await expect(unsent(page)).to_have_count(1)
    if comes == "reload":
        await page.reload()
    else:
        await page.close()
        page = await context.new_page()
        await page.goto(fake.url)
        await button(page, "Still there?").click()
    await expect(unsent(page)).to_contain_text("Still there?")
    await back(context, fake)
    if comes == "new tab":  # it cannot know that the other one is gone, and would leave it the question for a while
        await button(page, "Try now").click()
    await answered_once(page, fake, "Still there?")


async def test_a_question_in_a_conversation_waits_there(context: BrowserContext, page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    await away(context, fake)
    await say(page, "Second?")
    await expect(status(page).first).to_contain_text("Not sent")
    await button(page, "New chat").click()
    await button(page, "First?").click()
    await expect(unsent(page)).to_contain_text("Second?")
    await back(context, fake)
    await answered_once(page, fake, "First?", "Second?")


@pytest.mark.parametrize("leaves", ["stays", "goes", "reloads"])
async def test_a_question_that_was_accepted_unheard_is_not_sent_again(page: Page, fake: Fake, leaves: str) -> None:
    """The socket died between the turn's beginning and its first event."""
    fake.mute = True
    await page.goto(fake.url)
    if leaves == "stays":
        await hurry(page)
    await say(page, "Twice?")
    await fake.until_received("response.create")
    if leaves == "reloads":
        await page.reload()
    elif leaves == "goes":
        await button(page, "New chat").click()
        await button(page, "Twice?").click()
    await answered_once(page, fake, "Twice?")
    await page.reload()
    await answered_once(page, fake, "Twice?")


async def test_a_conversation_that_was_made_unheard_is_not_made_again(page: Page, fake: Fake) -> None:
    fake.forgetful = 1
    await hurry(page)
    await page.goto(fake.url)
    await say(page, "One?")
    await answered_once(page, fake, "One?")


async def test_drafts_stay_where_they_were_written(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    await field(page).fill("half a sec")
    await button(page, "New chat").click()
    await expect(field(page)).to_have_value("")
    await field(page).fill("something else")
    await button(page, "First?").click()
    await expect(field(page)).to_have_value("half a sec")
    await page.reload()
    await expect(field(page)).to_have_value("half a sec")
    await button(page, "New chat").click()
    await expect(field(page)).to_have_value("something else")
    await say(page, "something else")
    await ended(page)
    await button(page, "New chat").click()
    await expect(field(page)).to_have_value("")


@pytest.mark.parametrize("storage", ["full", "refused"])
async def test_a_browser_that_keeps_nothing_says_so_and_works(
    context: BrowserContext, page: Page, fake: Fake, storage: str
) -> None:
    broken = {
        "full": "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }",
        "refused": "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })",
    }
    await page.add_init_script(broken[storage])
    await hurry(page)
    await page.goto(fake.url)
    await away(context, fake)
    await say(page, "Kept?")
    await expect(unsent(page)).to_contain_text("This browser keeps nothing")
    await button(page, "New chat").click()
    await button(page, "Kept?").click()
    await back(context, fake)
    await answered_once(page, fake, "Kept?")


async def test_a_stopped_question_waits_for_the_person(context: BrowserContext, page: Page, fake: Fake) -> None:
    fake.refusals = [error(503, "server_overloaded", "Busy.", headers={"retry-after": "30"})]
    await page.goto(fake.url)
    await say(page, "Now?")
    await expect(status(page).first).to_contain_text("Not sent: The server is busy")
    await button(page, "Stop").click()
    await page.reload()
    await expect(unsent(page)).to_contain_text("Now?")
    await expect(unsent(page)).to_contain_text("Not sent")
    assert not fake.turns
    await button(page, "Try again").click()
    await answered_once(page, fake, "Now?")


async def test_what_is_discarded_is_gone_in_every_tab(context: BrowserContext, page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await away(context, fake)
    await say(page, "Never mind")
    await expect(unsent(page)).to_have_count(1)
    other = await context.new_page()
    await other.goto(fake.url)
    await button(other, "Never mind").click()
    await expect(unsent(other)).to_contain_text("Never mind")
    await button(other, "Discard").click()
    for each in (page, other):
        await expect(unsent(each)).to_have_count(0)
        await expect(each.locator(".mark")).to_have_count(0)
    await back(context, fake)
    await expect(page.locator(".bar")).to_be_hidden()
    assert not fake.turns


async def test_two_tabs_of_one_conversation_send_both_questions_once(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    other = await context.new_page()
    await hurry(other)
    await other.goto(fake.url)
    await expect(answers(other)).to_have_count(1)
    await away(context, fake)
    await say(page, "Second?")
    await say(other, "Third?")
    await back(context, fake)
    async with asyncio.timeout(20):
        while len(fake.turns) < 3:
            for each in (page, other):
                # Whoever was slower has the question in the field again, where it did not wait for the other one.
                if await field(each).input_value() and await button(each, "Send").is_visible():
                    await field(each).press("Enter")
            await asyncio.sleep(0.05)
    for each in (page, other):
        await expect(answers(each)).to_have_count(3)
    assert sorted(turn.question for turn in fake.turns.values()) == ["First?", "Second?", "Third?"]


async def test_deleting_a_chat_deletes_what_was_not_sent_in_it(context: BrowserContext, page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await away(context, fake)
    await say(page, "Secret")
    await expect(unsent(page)).to_have_count(1)
    await chats(page).first.hover()
    await button(page, "Delete: Secret").click()
    await expect(page.get_by_role("dialog")).to_contain_text("was not sent")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(chats(page)).to_have_count(0)
    await expect(unsent(page)).to_have_count(0)
    assert "Secret" not in json.dumps(await page.evaluate("({...localStorage, ...sessionStorage})"))
    await back(context, fake)
    await expect(page.locator(".bar")).to_be_hidden()
    assert not fake.turns


async def test_what_was_written_for_a_chat_that_is_gone_is_kept(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    await away(context, fake)
    await say(page, "Second?")
    await expect(status(page).first).to_contain_text("Not sent")
    await button(page, "New chat").click()
    fake.conversations.clear()
    await back(context, fake)
    await expect(page.locator(".mark")).to_have_count(1)
    await page.reload()
    await expect(chats(page)).to_contain_text(["Second?Not sent"])
    await chats(page).first.locator(".open").click()
    await expect(unsent(page)).to_contain_text("Not sent: Its chat was deleted elsewhere.")
    await button(page, "Try again").click()
    await expect(questions(page)).to_have_text(["Second?"])
    await written(page, fake.answer)


async def test_a_new_key_takes_along_what_waits(page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    await field(page).fill("half a draft")
    fake.key = "secret"
    await button(page, "New chat").click()
    await say(page, "Second?")
    await page.get_by_label("API key").fill("wrong")
    await button(page, "Continue").click()
    await expect(page.get_by_text("did not accept this key")).to_be_visible()
    await page.get_by_label("API key").fill("secret")
    await button(page, "Continue").click()
    await expect(prose(page)).to_have_text(fake.answer)
    await expect(questions(page)).to_have_text(["Second?"])
    await expect(page.locator(".mark")).to_have_count(0)
    assert sorted(turn.question for turn in fake.turns.values()) == ["First?", "Second?"]


async def test_being_offline_is_said_at_once(context: BrowserContext, page: Page, fake: Fake) -> None:
    await hurry(page)
    await page.goto(fake.url)
    await ask(page, "First?")
    await ended(page)
    await context.set_offline(True)
    await expect(page.locator(".bar")).to_contain_text("You are offline")
    await context.set_offline(False)
    await expect(page.locator(".bar")).to_be_hidden()


async def test_a_node_that_goes_away_while_nothing_runs_is_noticed(
    context: BrowserContext, page: Page, fake: Fake
) -> None:
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    await away(context, fake)
    await expect(page.locator(".bar")).to_contain_text("The server cannot be reached")
    await back(context, fake)
    await expect(page.locator(".bar")).to_be_hidden()


async def test_no_speed_is_shown_while_nothing_comes(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at, fake.pace = " ".join("word" for _ in range(60)), 40, 0.05
    await page.goto(fake.url)
    await ask(page)
    await expect(status(page)).to_contain_text("tokens/s")
    await expect(status(page)).not_to_contain_text("tokens/s")
    await expect(status(page)).to_contain_text("Writing")
    fake.release()
    await ended(page)
