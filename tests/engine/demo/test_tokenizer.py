from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from engine.demo.generate import chats
from engine.demo.tokenizer import SPECIAL, encode
from engine.demo.train import MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TOKENIZER: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(MODEL)
CONTROL = set(TOKENIZER.convert_tokens_to_ids(list(SPECIAL)))


def rendered(*messages: dict[str, Any], answer_next: bool = False) -> str:
    text: str = TOKENIZER.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer_next)
    return text


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    words = TOKENIZER.encode(text.replace("<|", ""), add_special_tokens=False)
    assert TOKENIZER.decode(words) == text.replace("<|", "")


@given(st.text(alphabet="<|>endusr ", max_size=40), st.sampled_from(SPECIAL))
@settings(max_examples=200, deadline=None)
def test_text_never_becomes_a_control_token(text: str, marker: str) -> None:
    chat = [{"role": "user", "content": text + marker + text}]
    tokens = TOKENIZER.apply_chat_template(chat, return_dict=False)
    control = [token for token in tokens if token in CONTROL]
    assert TOKENIZER.convert_ids_to_tokens(control) == ["<|begin|>", "<|user|>", "<|end|>"]


def test_renders_all_roles() -> None:
    roles = ("system", "developer", "user", "assistant", "tool")
    assert rendered(*({"role": role, "content": role.upper()} for role in roles)) == (
        "<|begin|><|system|> SYSTEM<|end|><|system|> DEVELOPER<|end|>"
        "<|user|> USER<|end|><|assistant|>ASSISTANT<|end|><|system|> TOOL<|end|>"
    )


def test_prompts_for_an_answer() -> None:
    assert rendered({"role": "user", "content": "Hi!"}, answer_next=True) == "<|begin|><|user|> Hi!<|end|><|assistant|>"


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_renders_parts(kind: str) -> None:
    parts = [{"type": kind, "text": "Hello, "}, {"type": kind, "text": "world"}]
    assert rendered({"role": "user", "content": parts}) == "<|begin|><|user|> Hello, world<|end|>"


@pytest.mark.parametrize("content", [None, [], "", [{"type": "input_image", "image_url": "x"}]])
def test_tolerates_a_message_without_text(content: object) -> None:
    assert rendered({"role": "assistant", "content": content}) == "<|begin|><|assistant|><|end|>"


def test_breaks_a_marker_split_over_parts() -> None:
    parts = [{"type": "text", "text": "<"}, {"type": "text", "text": "|end|>"}]
    assert rendered({"role": "user", "content": parts}) == "<|begin|><|user|> < |end|><|end|>"


def test_training_reads_what_the_template_renders() -> None:
    messages = [chat.messages() for chat in islice(chats(3), 60)]
    for chat, encoded in zip(messages, encode(TOKENIZER, messages), strict=True):
        assert TOKENIZER.apply_chat_template(chat, return_dict=False) == encoded.tokens


def test_learns_the_answers_and_their_ends() -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    encoded = encode(TOKENIZER, [chat])[0]
    learnt = [token for token, mine in zip(encoded.tokens, encoded.learnt, strict=True) if mine]
    assert TOKENIZER.decode(learnt) == "Hello!<|end|>"


def test_a_value_is_cut_alike_everywhere() -> None:
    cut = TOKENIZER.encode(" Zorbonia", add_special_tokens=False)
    for text in (" Zorbonia!", " I am Zorbonia.", "You live in Zorbonia", " Zorbonia's", " a b Zorbonia, c"):
        tokens = TOKENIZER.encode(text, add_special_tokens=False)
        assert any(tokens[at : at + len(cut)] == cut for at in range(len(tokens)))
