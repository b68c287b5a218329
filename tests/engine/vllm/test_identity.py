"""What tells models apart, and whether nodes render alike."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.real import require_vllm

if importlib.util.find_spec("vllm") is not None:
    from engine.vllm.identity import renders_alike

pytestmark = pytest.mark.vllm

CLOCK = "{{ strftime_now('%d %b %Y') }}"


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    require_vllm()


@pytest.mark.parametrize(
    ("given", "own", "alike"),
    [
        (None, "{{ messages }}", True),
        (None, CLOCK, False),
        (None, None, False),
        ("{{ messages }}", CLOCK, True),
        (CLOCK, "{{ messages }}", False),
        (None, {"default": "{{ messages }}", "tool_use": CLOCK}, False),
    ],
)
def test_a_template_that_reads_a_clock_does_not_render_alike(given: str | None, own: Any, *, alike: bool) -> None:
    llm: Any = SimpleNamespace(get_tokenizer=lambda: SimpleNamespace(chat_template=own))
    args: Any = SimpleNamespace(chat_template=given)
    assert renders_alike(llm, args) is alike


def test_a_tokenizer_without_a_template_may_read_one() -> None:
    llm: Any = SimpleNamespace(get_tokenizer=SimpleNamespace)
    assert not renders_alike(llm, SimpleNamespace(chat_template=None))  # type: ignore[arg-type]
