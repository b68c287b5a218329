"""An engine without a model, for tests, load and fault runs: the same text for the same prompt on every node."""

from engine.scripted.answer import Levers
from engine.scripted.engine import ScriptedEngine

__all__ = ["Levers", "ScriptedEngine"]
