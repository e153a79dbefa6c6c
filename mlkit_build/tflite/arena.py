"""How much memory a `.tflite` needs for its activations, as LiteRT's own planner lays them out.

Constants stay in the file, which is mapped. XNNPACK packs weights and plans buffers of its own, so that the plan is the one of
the plain interpreter, without delegates: what every runtime needs at least, and the figure to compare variants by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_ALIGNMENT = 64
"""Of every tensor in an arena (LiteRT's `util.h`, kDefaultTensorAlignment)."""


def arena_bytes(path: Path) -> int | None:
    """Return the bytes from the first to the last activation; scratch memory between them counts.

    Variable tensors lie in an arena of their own, and tensors whose size only running decides in none: they do not count. None
    for a model with loops or branches, whose bodies are planned each time that they run.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    wrapped = interpreter._interpreter  # the public list of operators copies every tensor's description
    if wrapped.NumSubgraphs() > 1:
        return None
    written = {int(index) for node in range(wrapped.NumNodes()) for index in wrapped.NodeOutputs(node) if index >= 0}
    written |= {int(index) for index in wrapped.InputIndices()}
    places = [place for index in sorted(written) if (place := _place(interpreter, index))]
    base = min((start for start, _ in places), default=0)
    if any((start - base) % _ALIGNMENT for start, _ in places):
        return None
    return max((end for _, end in places), default=0) - base


def _place(interpreter: Any, index: int) -> tuple[int, int] | None:
    """Return where a tensor lies in memory; None where it lies nowhere before the model runs."""
    try:
        memory = interpreter.tensor(index)()
    except (ValueError, RuntimeError):
        return None
    start = memory.__array_interface__["data"][0]
    return start, start + memory.nbytes
