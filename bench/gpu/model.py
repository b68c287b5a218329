"""A model folder with the shape of a real model and no weights: the engine draws them at random.

What an engine computes does not depend on what its weights say, so nothing has to be fetched.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

DEMO = Path(__file__).parents[2] / "engine" / "demo" / "model"
COPIED = ("tokenizer_config.json", "chat_template.jinja", "generation_config.json")


class Architecture(msgspec.Struct, frozen=True):
    """Of Llama's kind."""

    hidden: int
    inner: int  # of the feed-forward part
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int = 4096

    @property
    def parameters(self) -> int:
        """How many there are, with an output layer of its own."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * head * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.inner + 2 * self.hidden
        return self.layers * layer + 2 * self.vocabulary * self.hidden + self.hidden


EIGHT = Architecture(hidden=4096, inner=14336, layers=32, heads=32, kv_heads=8, vocabulary=128_256)
TINY = Architecture(hidden=128, inner=256, layers=2, heads=2, kv_heads=1, vocabulary=2304)


def write(shape: Architecture, folder: Path) -> Path:
    """Make the folder: configuration, tokenizer, chat template."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config(shape), indent=1))
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(padded(tokenizer, shape.vocabulary), ensure_ascii=False))
    for name in COPIED:
        shutil.copy(DEMO / name, folder / name)
    return folder


def config(shape: Architecture) -> dict[str, Any]:
    """What vLLM reads. The tokens that begin and end a text are the demo model's."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 4,
        "pad_token_id": 4,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "head_dim": shape.hidden // shape.heads,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "vocab_size": shape.vocabulary,
    }


def padded(tokenizer: dict[str, Any], size: int) -> dict[str, Any]:
    """The same with made-up words up to `size`: a token without a text would be an event that is never sent.

    No merge leads to them, so prompts are encoded as before. Raises ValueError for a size below the tokenizer's own.
    """
    model = tokenizer["model"]
    vocabulary: dict[str, int] = model["vocab"]
    if size < len(vocabulary):
        raise ValueError(f"the tokenizer has {len(vocabulary)} tokens, more than {size}")
    more = {f"\u0120#{number:x}": number for number in range(len(vocabulary), size)}
    return tokenizer | {"model": model | {"vocab": vocabulary | more}}
