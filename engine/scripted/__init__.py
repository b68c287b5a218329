"""An engine without a model, for tests, load and fault runs: the same text for the same prompt on every node."""

from engine.scripted.engine import ScriptedEngine
from engine.scripted.script import Levers

__all__ = ["Levers", "ScriptedEngine"]
