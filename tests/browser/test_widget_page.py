"""The page as a person, a screen reader or an attacker meets it, under the real policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.browser.driver import answers, ask, at_end, button, distance, ended, field, prose, questions, written

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

    from tests.browser.fake import Fake

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = " ".join(f"word{number}" for number in range(60))

HOSTILE = """\
<script>window.hit = 1</script>

<img src=x onerror="window.hit = 1"><svg onload="window.hit = 1">

![pixel](https://evil.example/pixel.gif) ![near](/pixel.gif) <img src="/near.gif">

[one](javascript:window.hit=1) [two](JaVaScRiPt:window.hit=1) [three](data:text/html,<script>1</script>)
[four](javascript&#58;window.hit=1) [five](//evil.example) <javascript:window.hit=1>

<a href="javascript:window.hit=1">six</a> <iframe src="https://evil.example"></iframe>
<style>@import "//evil.example";</style>

```"><img src=x onerror=window.hit=1>
</code><script>window.hit = 1</script>
```

| <img src=x onerror=window.hit=1> |
|---|
| [seven](javascript:window.hit=1) |

The end.
"""


async def test_a_hostile_answer_runs_nothing_and_fetches_nothing(page: Page, fake: Fake) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    fake.answer, fake.chunk = HOSTILE, 3
    await page.goto(fake.url)
    await ask(page, HOSTILE)
    await ended(page)
    await expect(prose(page)).to_contain_text("The end.")
    assert await page.evaluate("window.hit") is None
    assert not [url for url in requests if not url.startswith(fake.url)]
    assert not {"/pixel.gif", "/near.gif", "/x"} & set(fake.paths)
    assert await prose(page).locator("script, img, svg, iframe, style, [onerror], [onload]").count() == 0
    links = await prose(page).locator("a").evaluate_all("all => all.map((a) => a.href)")
    assert all(link.startswith("https://") for link in links)


async def test_the_keyboard_is_enough(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await field(page).focus()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await expect(field(page)).to_have_value("one\ntwo")
    await page.keyboard.press("Enter")
    await expect(questions(page)).to_have_text(["one\ntwo"])
    await ended(page)
    await expect(field(page)).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await expect(page.get_by_role("log")).to_be_focused()


async def test_enter_that_belongs_to_an_input_method_sends_nothing(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await field(page).fill("にほ")
    for composing in ({"isComposing": True, "keyCode": 13}, {"isComposing": False, "keyCode": 229}):
        await field(page).dispatch_event("keydown", {"key": "Enter", "bubbles": True, "composed": True, **composing})
    await expect(field(page)).to_have_value("にほ")
    assert not fake.received


async def test_conversations_are_listed_opened_renamed_and_deleted(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    chats = page.get_by_role("navigation", name="Chats")
    for question in ("First one", "Second one"):
        await button(page, "New chat").click()
        await ask(page, question)
        await expect(answers(page)).to_have_count(1)
        await ended(page)
        await expect(chats.locator(".open").first).to_have_text(question)
    await expect(chats.locator(".open")).to_have_text(["Second one", "First one"])
    await button(page, "First one").click()
    await expect(questions(page)).to_have_text(["First one"])
    await button(page, "First one").hover()
    await button(page, "Rename: First one").click()
    await page.get_by_role("textbox", name="Title").fill("Better name")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Better name")
    await button(page, "Better name").hover()
    await button(page, "Delete: Better name").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(chats.locator(".open")).to_have_text(["Second one"])
    await expect(page.get_by_role("heading", level=1)).to_have_text("New chat")
    assert len(fake.conversations) == 1


async def test_a_deleted_conversation_is_forgotten(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    fake.conversations.clear()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("New chat")
    await expect(page.locator(".bar")).to_be_hidden()


async def test_the_browser_keeps_ids_and_no_words(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page, "A secret question")
    await ended(page)
    kept = await page.evaluate("Object.values({...localStorage, ...sessionStorage})")
    assert kept
    assert all(re.fullmatch(r"conv_\w+", value) for value in kept)


async def test_a_key_is_asked_for_and_opens_sockets_with_tickets(page: Page, fake: Fake) -> None:
    fake.key = "secret"
    await page.goto(fake.url)
    key = page.get_by_role("textbox", name="API key")
    await expect(key).to_be_focused()
    await key.fill("wrong")
    await key.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("did not accept")
    await key.fill("secret")
    await key.press("Enter")
    await ask(page)
    await ended(page)
    await written(page, fake.answer)
    assert "/v1/tickets" in fake.paths
    await page.reload()
    await expect(answers(page)).to_have_count(1)
    assert "secret" not in str(await page.evaluate("({...localStorage})"))


async def test_scrolling_up_is_respected(page: Page, fake: Fake) -> None:
    fake.answer, fake.chunk, fake.hold_at = "A paragraph.\n\n" * 80, 14, 60
    await page.goto(fake.url)
    await ask(page)
    log = page.get_by_role("log")
    await expect(prose(page).locator("p").nth(50)).to_be_visible()
    await at_end(page)
    await log.evaluate("log => log.scrollTo({ top: 300, behavior: 'instant' })")
    await expect(button(page, "Latest")).to_be_visible()
    fake.release()
    await ended(page)
    assert await log.evaluate("log => log.scrollTop") == 300
    await button(page, "Latest").click()
    await at_end(page)
    await expect(button(page, "Latest")).to_be_hidden()


async def test_a_wheel_is_not_fought_while_text_is_written(page: Page, fake: Fake) -> None:
    fake.answer, fake.chunk, fake.pace = "A paragraph.\n\n" * 800, 14, 0.02
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page).locator("p").nth(40)).to_be_attached()
    await page.get_by_role("log").hover()
    await page.mouse.wheel(0, -15)
    await expect(button(page, "Latest")).to_be_visible()
    count = await prose(page).locator("p").count()
    await expect(prose(page).locator("p").nth(count + 20)).to_be_attached()
    assert await distance(page) > 200
    await button(page, "Stop").click()


async def test_a_selection_survives_the_writing(page: Page, fake: Fake) -> None:
    fake.answer, fake.hold_at = WORDS, 12
    await page.goto(fake.url)
    await ask(page)
    await expect(prose(page)).to_contain_text("word5")
    await prose(page).evaluate(
        """prose => {
            window.text = prose.querySelector("p").firstChild;
            getSelection().setBaseAndExtent(text, 0, text, 11);
        }"""
    )
    fake.release()
    await ended(page)
    assert await page.evaluate("text.isConnected && getSelection().toString()") == "word0 word1"


async def test_a_screen_reader_hears_sentences_from_one_place(page: Page, fake: Fake) -> None:
    fake.answer, fake.chunk = "One is said. Two is said. Three is said.", 3
    await page.goto(fake.url)
    await record_announcements(page)
    await ask(page)
    await ended(page)
    await expect(page.locator("[role=status]")).to_contain_text("Answer complete")
    said = await page.evaluate("window.said")
    assert all(re.search(r"\.$|complete$|Sending|Connecting|Queued|Reading|Writing", text) for text in said), said
    assert "".join(said).count("Two is said.") == 1
    await expect(page.locator("[role=log]")).to_have_attribute("aria-live", "off")
    assert await page.locator("[aria-live=polite]").count() == 1


async def test_narrow_pages_have_a_drawer_and_nothing_sticks_out(page: Page, fake: Fake) -> None:
    fake.answer = f"| {'column | ' * 9}\n|{'---|' * 9}\n| {'cell | ' * 9}\n\n```\n{'long ' * 40}\n```\n\n{'x' * 200}"
    await page.set_viewport_size({"width": 320, "height": 600})
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    chats = page.get_by_role("navigation", name="Chats")
    await expect(chats).to_be_hidden()
    assert await page.evaluate("document.documentElement.scrollWidth") == 320
    assert await page.get_by_role("log").evaluate("log => log.scrollWidth <= log.clientWidth")
    await button(page, "Show chats").press("Enter")
    await expect(chats).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(chats).to_be_hidden()
    await expect(button(page, "Show chats")).to_be_focused()


async def test_code_can_be_copied(context: BrowserContext, page: Page, fake: Fake) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    fake.answer = "```python\nprint(1)\n```\n"
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    await prose(page).get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == "print(1)"
    await answers(page).last.get_by_role("button", name="Copy").last.click()
    assert await page.evaluate("navigator.clipboard.readText()") == fake.answer


async def test_a_plain_http_address_is_enough(page: Page, fake: Fake) -> None:
    """Browsers keep some of their functions for secure pages."""
    await page.add_init_script("delete Crypto.prototype.randomUUID; delete Navigator.prototype.clipboard")
    fake.answer = "```\ntext\n```\n"
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    await prose(page).get_by_role("button", name="Copy").click()
    await field(page).focus()
    await page.keyboard.press("Control+V")
    await expect(field(page)).to_have_value("text")


async def test_code_gets_its_colours_when_there_is_code(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page, "No code")
    await ended(page)
    assert "/highlight.js" not in fake.paths
    fake.answer = "```python\nreturn '<b>'  # text\n```\n\nAnd then:\n\n```unknown\nx\n```\n"
    await ask(page, "Code")
    await ended(page)
    code = prose(page).locator("code").first
    await expect(code.locator(".t-keyword")).to_have_text("return")
    await expect(code.locator(".t-string")).to_have_text("'<b>'")
    assert await code.text_content() == "return '<b>'  # text"


async def test_formulas_are_drawn_and_cannot_link(page: Page, fake: Fake) -> None:
    fake.answer = "It is $E = mc^2$ for $5.\n\n$$\n\\frac{1}{2}\n$$\n\nBut $\\href{javascript:window.hit=1}{x}$ is not."
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    await expect(prose(page).locator("math")).to_have_count(2)
    await expect(prose(page).locator("math mfrac")).to_have_count(1)
    await expect(prose(page)).to_contain_text("for $5.")
    await expect(prose(page)).to_contain_text("href")
    assert await prose(page).locator("a, [href]").count() == 0


async def test_the_element_works_inside_another_page(page: Page, fake: Fake) -> None:
    await page.set_viewport_size({"width": 900, "height": 700})
    await page.goto(fake.url + "/embedded")
    await ask(page)
    await ended(page)
    await written(page, fake.answer)
    chat = page.locator("throughline-chat")
    box = await chat.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (400, 500)
    await expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
    assert await page.locator("h1").first.evaluate("title => getComputedStyle(title).fontSize") == "32px"
    await chat.evaluate("chat => { const place = chat.parentNode; chat.remove(); place.append(chat); }")
    await written(page, fake.answer)


async def test_a_change_of_theme_keeps_the_chat(page: Page, fake: Fake) -> None:
    await page.goto(fake.url)
    await ask(page)
    await ended(page)
    chat = page.locator("throughline-chat")
    light = await chat.evaluate("chat => getComputedStyle(chat).backgroundColor")
    await chat.evaluate("chat => chat.setAttribute('theme', 'dark')")
    assert await chat.evaluate("chat => getComputedStyle(chat).backgroundColor") != light
    await written(page, fake.answer)


async def record_announcements(page: Page) -> None:
    await page.evaluate("""() => {
        window.said = [];
        const region = document.querySelector("throughline-chat").shadowRoot.querySelector("[role=status]");
        const note = () => window.said.push(region.textContent);
        new MutationObserver(note).observe(region, { childList: true, characterData: true, subtree: true });
    }""")
