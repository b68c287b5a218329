"""What all tests share."""

from tests.engine.real import vllm_engine

__all__ = ["vllm_engine"]
