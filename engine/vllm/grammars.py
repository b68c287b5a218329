"""Tries grammars out before the engine gets them, away from the event loop."""

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import llguidance.hf
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.utils.mistral import is_mistral_tokenizer
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.structured_output.backend_guidance import serialize_guidance_grammar
from vllm.v1.structured_output.request import get_structured_output_key

from engine.vllm.tryout import TOO_COMPLEX, sentence

GUIDANCE = "guidance"
ROOT = Path(__file__).parents[2]


class Grammars:
    """What the engine's one grammar library makes of a grammar; see `engine.vllm.backend` for which one it is."""

    def __init__(self, llm: AsyncLLM, *, patience: float) -> None:
        self._llm = llm
        self._config = llm.vllm_config.structured_outputs_config
        self.backend: str = self._config.backend
        self.special = _special_tokens(llm) if self.backend == GUIDANCE else {}
        self._tryout = TryOutProcess(patience=patience)

    @property
    def flexible_whitespace(self) -> bool:
        """Whether JSON may have white space between its parts."""
        return not self._config.disable_any_whitespace

    def refusal(self, outputs: StructuredOutputsParams) -> str | None:
        """Why this grammar cannot be followed; None for one that can. Blocks while it is compiled.

        Called from one thread at a time.
        """
        if self.backend != GUIDANCE:
            return self._refusal_of_vllm(outputs)
        try:
            grammar = serialize_guidance_grammar(
                *get_structured_output_key(outputs),
                self._config.disable_any_whitespace,
                self._config.disable_additional_properties,
            )
        except (ValueError, KeyError, TypeError) as error:
            return sentence(str(error))
        return self._tryout.refusal(grammar)

    def refusal_of_schema(self, schema: dict[str, Any]) -> str | None:
        """The same for an answer in JSON."""
        return self.refusal(StructuredOutputsParams(json=json.dumps(schema)))

    def close(self) -> None:
        """End the process that compiles."""
        self._tryout.close()

    def _refusal_of_vllm(self, outputs: StructuredOutputsParams) -> str | None:
        try:
            SamplingParams(structured_outputs=outputs).verify(
                self._llm.model_config, None, self._config, self._llm.get_tokenizer()
            )
        except (VLLMValidationError, ValueError) as error:
            return sentence(str(error))
        return None


class TryOutProcess:
    """One process that compiles a grammar at a time; it is started when it is needed, and again after its end."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience  # seconds for one grammar, on a machine that is busy
        self._process: subprocess.Popen[bytes] | None = None

    def refusal(self, grammar: str) -> str | None:
        """As `engine.vllm.tryout` says; a grammar that ends the process is too complex."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        try:
            answer = self._ask(self._process, json.dumps(grammar).encode() + b"\n")
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self.close()
            return TOO_COMPLEX
        refusal: str | None = json.loads(answer)
        return refusal

    def close(self) -> None:
        """Kill the process. A grammar that it was at is refused."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe and pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "engine.vllm.tryout"]
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environ = os.environ | {"PYTHONPATH": paths, "LLGUIDANCE_LOG_LEVEL": "0"}
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, env=environ)

    def _ask(self, process: subprocess.Popen[bytes], line: bytes) -> bytes:
        """The answer, or what there is of it when the process ends or the time is over."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        answer, until = b"", time.monotonic() + self._patience
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n") and (left := until - time.monotonic()) > 0:
                if selector.select(left):
                    read = os.read(process.stdout.fileno(), 1 << 16)
                    if not read:
                        break
                    answer += read
        return answer


def _special_tokens(llm: AsyncLLM) -> dict[str, int]:
    """Tokens that no text of an answer stands for, by how they are written."""
    tokenizer = llm.get_tokenizer()
    if is_mistral_tokenizer(tokenizer):
        known = tokenizer.llg_tokenizer
    else:
        known = llguidance.hf.from_tokenizer(tokenizer, max(llm.model_config.get_vocab_size(), len(tokenizer)))
    return {text: id for text, id in tokenizer.get_added_vocab().items() if text and known.is_special_token(id)}
