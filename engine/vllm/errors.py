"""vLLM's exceptions in terms of `engine.base`."""

from vllm import exceptions
from vllm.v1.engine.exceptions import EngineDeadError

from engine.base import BadRequest, EngineDead, EngineError, Overloaded


def translated(error: Exception) -> EngineError:
    """The error to raise in place of one that came out of a generation."""
    # The order matters: vLLM's exceptions inherit from each other.
    if isinstance(error, EngineError):
        return error
    if isinstance(error, EngineDeadError):
        return EngineDead("the engine's processes ended")
    if isinstance(error, exceptions.GracefulHTTPError):
        return Overloaded(str(error))
    if isinstance(error, exceptions.VLLMValidationError | ValueError):
        return BadRequest(str(error))
    return EngineError(f"the engine failed this generation: {error or type(error).__name__}")
