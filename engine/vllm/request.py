"""One request to AsyncLLM, as both kinds of generation make and end it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import Prompt


def engine_input(prompt: Prompt, said: Sequence[int] = ()) -> dict[str, Any]:
    """A rendered prompt, and the ids said after it, in the form in which vLLM's renderer returns a prompt."""
    rendered: dict[str, Any] = {"type": "token", "prompt_token_ids": [*prompt.token_ids, *said]}
    if prompt.salt is not None:
        rendered["cache_salt"] = prompt.salt
    return rendered


async def abort(llm: AsyncLLM, id: str) -> None:
    """Free the slot. vLLM does so too when it sees a cancellation, which a layer between may have swallowed."""
    with suppress(Exception):  # a dead engine has nothing to abort
        await llm.abort(id)
