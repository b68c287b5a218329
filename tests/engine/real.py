"""What tests of the real engine need."""

import importlib.util
import os
from pathlib import Path

from tests.requirements import missing

MODEL = os.environ.get("TEST_MODEL") or str(Path(__file__).parents[2] / "engine" / "demo" / "model")
OPTIONS = ("--max-model-len", "1024")


def require_vllm() -> None:
    """Skip the test where vLLM is not installed; fail it where CI is set."""
    if importlib.util.find_spec("vllm") is None:
        missing("vllm is not installed: no test of the real engine ran")
