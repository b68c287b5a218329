"""What tells one model from another: whether a turn may move between two nodes."""

import hashlib
from argparse import Namespace
from pathlib import Path

from vllm.v1.engine.async_llm import AsyncLLM

SAMPLE = 1 << 16  # bytes read at three places of every file of weights


def version(llm: AsyncLLM, args: Namespace) -> str:
    """A digest of what decides which ids a chat becomes and which text follows, equal on every node that serves the
    same model.
    """
    config = llm.model_config
    parts = [config.dtype, config.quantization, config.max_model_len, args.reasoning_parser, args.tool_call_parser]
    parts += [args.chat_template, args.chat_template_content_format]
    for place in dict.fromkeys((config.model, config.tokenizer)):
        if Path(place).is_dir():
            parts += [_file_digest(file) for file in sorted(Path(place).iterdir()) if _is_identifying(file)]
        else:
            parts += [place, getattr(config.hf_config, "_commit_hash", None) or config.revision]
    return hashlib.sha256(repr([str(part) for part in parts]).encode()).hexdigest()[:16]


def _is_identifying(file: Path) -> bool:
    return file.is_file() and file.suffix in {".json", ".safetensors", ".bin", ".gguf", ".model", ".jinja", ".txt"}


def renders_alike(llm: AsyncLLM, args: Namespace) -> bool:
    """Whether the chat template reads no clock. Where it cannot be seen, it may."""
    template = args.chat_template or getattr(llm.get_tokenizer(), "chat_template", None)
    return template is not None and "strftime_now" not in str(template)


def _file_digest(file: Path) -> str:
    """Of name, size and three samples: reading 100 GiB of weights at every start would take minutes."""
    size = file.stat().st_size
    digest = hashlib.sha256(f"{file.name} {size}".encode())
    with file.open("rb") as stream:
        for offset in (0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)):
            stream.seek(offset)
            digest.update(stream.read(SAMPLE))
    return digest.hexdigest()
