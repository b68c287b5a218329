import importlib.util

import pytest

from tests.engine.real import require_vllm

if importlib.util.find_spec("vllm") is not None:
    from engine.vllm.backend import translates

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize(
    ("parser", "wanted"), [(None, True), ("hermes", True), ("mistral", True), ("qwen3_coder", False), ("glm47", False)]
)
def test_calls_in_json_can_be_translated(parser: str | None, wanted: bool) -> None:
    """The others keep the library that vLLM describes them to."""
    require_vllm()
    assert translates(parser) is wanted
