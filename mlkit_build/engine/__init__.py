"""Plans and runs actions: key, look up, run on a miss, record. It knows stages by their interface only."""

from mlkit_build.engine.action import Action, Change, Decision, OutputOf, Result
from mlkit_build.engine.decide import decide
from mlkit_build.engine.run import Engine, Listener

__all__ = ["Action", "Change", "Decision", "Engine", "Listener", "OutputOf", "Result", "decide"]
