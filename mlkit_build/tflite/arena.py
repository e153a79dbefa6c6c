"""How much memory a `.tflite` needs for its activations, as LiteRT's own planner lays them out.

Constants stay in the file, which is mapped. XNNPACK packs weights and plans buffers of its own, so that the plan is the one of
the plain interpreter, without delegates: what every runtime needs at least, and the figure to compare variants by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_ALIGNMENT = 64
"""Of every tensor in an arena (LiteRT's `util.h`, kDefaultTensorAlignment)."""

_OF_SHAPES = ("SHAPE", "RANK")
"""Operators whose output is known before the model runs, whatever they are fed with."""


def arena_bytes(path: Path) -> int | None:
    """Return the bytes from the first to the last activation; scratch memory between them counts.

    What follows from constants and shapes alone is computed once and kept elsewhere, variable tensors lie in an arena of their
    own, and tensors whose size only running decides in none: they do not count. None for a model with loops or branches, whose
    bodies are planned each time that they run, and where two interpreters lay the tensors out in different ways.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the model.
    """
    first, second = _interpreter(path), _interpreter(path)  # both live, so that what lies outside of the arena lies apart
    wrapped = first._interpreter  # the public list of operators copies every tensor's description
    if wrapped.NumSubgraphs() > 1:
        return None
    activations = _activations(wrapped)
    places = _places(first, activations)
    if places != _places(second, activations) or any(start % _ALIGNMENT for start, _ in places):
        return None
    return max((end for _, end in places), default=0)


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    return interpreter


def _activations(wrapped: Any) -> list[int]:
    """Return the tensors that follow from what the model is fed, which are those that LiteRT puts into the arena.

    An operator fed with constants only, such as the DEQUANTIZE of float16 weights, and SHAPE and RANK make persistent tensors
    (`allocation_type` in LiteRT's kernels).
    """
    found = {int(index) for index in wrapped.InputIndices()}
    for node in range(wrapped.NumNodes()):
        if wrapped.NodeName(node) not in _OF_SHAPES and not found.isdisjoint(map(int, wrapped.NodeInputs(node))):
            found |= {int(index) for index in wrapped.NodeOutputs(node) if index >= 0}
    return sorted(found)


def _places(interpreter: Any, tensors: list[int]) -> list[tuple[int, int]]:
    """Return where each tensor starts and ends, in bytes after the first."""
    places = [place for index in tensors if (place := _place(interpreter, index))]
    base = min((start for start, _ in places), default=0)
    return [(start - base, end - base) for start, end in places]


def _place(interpreter: Any, index: int) -> tuple[int, int] | None:
    """Return where a tensor lies in memory; None for one that lies nowhere yet, and for a scalar, which is copied."""
    try:
        memory = interpreter.tensor(index)()
    except (ValueError, RuntimeError):
        return None
    if not isinstance(memory, np.ndarray):
        return None
    start = memory.__array_interface__["data"][0]
    return start, start + memory.nbytes
