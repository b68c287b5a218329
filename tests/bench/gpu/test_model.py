"""A model folder that an engine can load without weights."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from bench.gpu.model import DEMO, EIGHT, TINY, config, padded, write


def test_the_shape_is_one_of_eight_billion() -> None:
    assert EIGHT.parameters == pytest.approx(8.03e9, rel=0.001)
    assert TINY.parameters < 1e6


def test_the_configuration_divides_evenly() -> None:
    for shape in (EIGHT, TINY):
        made = config(shape)
        assert made["num_attention_heads"] * made["head_dim"] == made["hidden_size"]
        assert made["num_attention_heads"] % made["num_key_value_heads"] == 0


def test_every_token_has_a_text_and_prompts_stay_as_they_are(tmp_path: Path) -> None:
    made = Tokenizer.from_file(str(write(TINY, tmp_path / "model") / "tokenizer.json"))
    before = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    assert made.get_vocab_size() == TINY.vocabulary
    assert made.decode([TINY.vocabulary - 1, 2048]) == " #8ff #800"
    said = "The river runs #800 times."
    assert made.encode(said).ids == before.encode(said).ids


def test_a_vocabulary_cannot_shrink() -> None:
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text())
    with pytest.raises(ValueError, match="2048 tokens, more than 2000"):
        padded(tokenizer, 2000)
