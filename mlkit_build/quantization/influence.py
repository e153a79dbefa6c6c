"""How much of a tensor's noise reaches the model's outputs: an estimate, to know which operators to look at first.

Noise per signal stays about what it is through a product or a function of one tensor. Where tensors are added or put side by
side it counts as much as the tensor does in the result: in the first steps of an unrolled LSTM the state is hardly more than its
own noise, and nothing of it is left in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlkit_build.quantization.matching import names_of

_SUMS = {"ADD", "ADD_N", "CONCATENATION", "PACK", "SUB", "SUM"}


def influences(model: Any, powers: Mapping[int, float]) -> dict[int, float]:
    """Return tensor -> the part of its noise per signal that is left at the outputs, 0..1, on the way that leaves most.

    Args:
        model: The float model.
        powers: Tensor -> the sum of its squares, as far as known.
    """
    graph = model.subgraphs[0]
    found = {int(index): 1.0 for index in graph.outputs}
    for place in reversed(range(len(graph.operators))):
        operator = graph.operators[place]
        reached = max((found.get(int(index), 0.0) for index in operator.outputs), default=0.0)
        whole = powers.get(int(operator.outputs[0])) if names_of(model, place)[0] in _SUMS else None
        for index in {int(item) for item in operator.inputs if item >= 0}:
            part = min(1.0, powers[index] / whole) if whole and index in powers else 1.0
            found[index] = max(found.get(index, 0.0), reached * part)
    return found
