"""How much memory a `.tflite` needs for its activations, as LiteRT's own planner lays them out.

Constants stay in the file, which is mapped. XNNPACK packs weights and plans buffers of its own, so that the plan is the one of
the plain interpreter, without delegates: what every runtime needs at least, and the figure to compare variants by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlkit_build.tflite import model as flatbuffer


def arena_bytes(path: Path) -> int:
    """Return the bytes from the first to the last activation of the main subgraph; scratch memory between them counts.

    Variable tensors lie in an arena of their own, and tensors whose size only running decides in none: they do not count.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = flatbuffer.read(path)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    ends = [place for index in _activations(model) if (place := _place(interpreter, index))]
    return max((end for _, end in ends), default=0) - min((start for start, _ in ends), default=0)


def _activations(model: Any) -> list[int]:
    graph = model.subgraphs[0]
    written = {int(index) for operator in graph.operators for index in operator.outputs if index >= 0} | set(graph.inputs)
    return sorted(index for index in written if not graph.tensors[index].isVariable and _is_static(graph.tensors[index]))


def _is_static(tensor: Any) -> bool:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else ()
    return all(size >= 0 for size in signature)


def _place(interpreter: Any, index: int) -> tuple[int, int] | None:
    """Return where a tensor lies in memory; None where it lies nowhere yet."""
    try:
        memory = interpreter.tensor(index)()
    except (ValueError, RuntimeError):
        return None
    start = memory.__array_interface__["data"][0]
    return start, start + memory.nbytes
