"""vLLM inside this process. Importing this package does not import vllm, `VllmEngine.start` does."""

from engine.vllm.engine import VllmEngine
from engine.vllm.process import preload

__all__ = ["VllmEngine", "preload"]
