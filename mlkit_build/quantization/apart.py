"""The float model with its operators cut apart: each reads inputs of the model in place of its neighbours' outputs.

One run of it tells what every float operator makes of what the quantized operators read, at the cost of one run of the float
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from mlkit_build.quantization.matching import Pair
from mlkit_build.records import dataclass
from mlkit_build.tflite.model import packed


@dataclass(frozen=True)
class Apart:
    """The cut model.

    Attributes:
        data: The flatbuffer. Its outputs have the float model's numbers.
        inputs: Tensor of the cut model -> the tensor of the quantized model whose value it takes.
    """

    data: bytes
    inputs: Mapping[int, int]


def cut_apart(float_model: Any, pairs: Sequence[Pair]) -> Apart:
    """Return the float operators of the comparable pairs, each by itself. The float model stays as it is."""
    graph = copy(float_model.subgraphs[0])
    graph.tensors = list(graph.tensors)
    fed: dict[tuple[int, int], int] = {}
    operators = []
    for pair in pairs:
        if pair.place is None or not pair.comparable:
            continue
        operator = copy(float_model.subgraphs[0].operators[pair.place])
        places = {}
        for found in pair.inputs:
            if found not in fed:
                fed[found] = len(graph.tensors)
                graph.tensors.append(_named(graph.tensors[found[0]], f"fed_{len(fed)}"))
            places[found[0]] = fed[found]
        operator.inputs = [places.get(int(index), int(index)) for index in operator.inputs]
        operators.append(operator)
    graph.operators = operators
    graph.inputs = list(fed.values())
    graph.outputs = list(dict.fromkeys(int(index) for operator in operators for index in operator.outputs))
    model = copy(float_model)
    model.subgraphs = [graph, *float_model.subgraphs[1:]]
    model.signatureDefs = []
    return Apart(packed(model), {index: other for (_, other), index in fed.items()})


def _named(tensor: Any, name: str) -> Any:
    clone = copy(tensor)
    clone.name = name.encode()
    return clone
