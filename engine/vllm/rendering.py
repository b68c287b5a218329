"""Chat messages become token ids, by the model's chat template and tokenizer."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.renderers import ChatParams, TokenizeParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import BadRequest, Params, Prompt
from engine.offload import in_thread

# Characters of all messages up to which a chat is rendered on the event loop. A thread costs a hop, which may wait for
# the interpreter while the loop is busy; a longer text would block the loop for more.
INLINE_CHARACTERS = 4096
LONG_CHARACTERS = 128 * 1024  # above which a chat is long
# What a message costs besides its text, in characters: vLLM and the template go through each in Python.
MESSAGE_CHARACTERS = 64


class ChatRenderer:
    """Renders for one loaded model. `template` replaces the model's own."""

    def __init__(self, llm: AsyncLLM, template: str | None, content_format: str) -> None:
        self._llm = llm
        self._template = template
        self._content_format = content_format  # as vLLM's --chat-template-content-format
        # Held while a thread renders: one is enough beside the event loop, but nobody waits for a much longer chat.
        self._rendering, self._rendering_long = asyncio.Lock(), asyncio.Lock()

    async def render(
        self, messages: list[dict[str, Any]], params: Params, salt: str | None, *, with_tools: bool
    ) -> Prompt:
        """Raises BadRequest for messages that the template refuses.

        Special tokens are split off by the tokenizer wherever they stand, so a user who writes `<|im_end|>` ends
        their own message: vLLM renders a chat to one string first. Whoever must prevent that strips them before.
        """
        length = len(messages) * MESSAGE_CHARACTERS + sum(map(_length, messages))
        if not params.tools and length <= INLINE_CHARACTERS:
            return self._rendered(messages, params, salt, with_tools=with_tools)
        # vLLM's own asynchronous way reads the messages on the event loop: a second for some ten thousand.
        async with self._rendering if length <= LONG_CHARACTERS else self._rendering_long:
            return await in_thread(self._rendered, messages, params, salt, with_tools=with_tools)

    def _rendered(
        self, messages: list[dict[str, Any]], params: Params, salt: str | None, *, with_tools: bool
    ) -> Prompt:
        for message in messages:
            _check_message(message)
        chat_params = self._chat_params(params, with_tools=with_tools)
        tokenizing = TokenizeParams(max_total_tokens=None, add_special_tokens=False)
        try:
            _, (rendered,) = self._llm.renderer.render_chat([messages], chat_params, tokenizing)
        except (VLLMValidationError, ValueError, TypeError, TimeoutError) as error:
            raise BadRequest(f"the chat template refuses this input: {error}") from error
        return Prompt(tuple(rendered["prompt_token_ids"]), salt)

    def _chat_params(self, params: Params, *, with_tools: bool) -> ChatParams:
        arguments = template_arguments(params) | {"tokenize": False}
        if with_tools:
            arguments["tools"] = _chat_tools(params)
        return ChatParams(
            chat_template=self._template,
            chat_template_content_format=self._content_format,
            chat_template_kwargs=arguments,
        )


def template_arguments(params: Params) -> dict[str, Any]:
    """Arguments of the chat template, which vLLM's parsers read too; a template ignores those that it does not name."""
    arguments: dict[str, Any] = {"add_generation_prompt": True, "continue_final_message": False}
    if params.reasoning_effort is not None:
        arguments["reasoning_effort"] = params.reasoning_effort
        arguments["enable_thinking"] = params.reasoning_effort != "none"
    return arguments


def _chat_tools(params: Params) -> list[dict[str, Any]]:
    """The tools of a Responses request in the nesting of a chat completion, which templates expect."""
    fields = ("name", "description", "parameters", "strict")
    return [{"type": "function", "function": _only(tool, fields)} for tool in params.tools]


def _only(tool: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return {field: tool[field] for field in fields if tool.get(field) is not None}


def _length(message: dict[str, Any]) -> int:
    content = message.get("content") or ""
    return len(content) if isinstance(content, str) else sum(len(str(part.get("text"))) for part in content)


def _check_message(message: dict[str, Any]) -> None:
    """Refuse anything but text: vLLM would fetch pictures from wherever a message says."""
    if not isinstance(message.get("role"), str):
        raise BadRequest("a message without a role")
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    if not all(part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        raise BadRequest("this model reads text only")
