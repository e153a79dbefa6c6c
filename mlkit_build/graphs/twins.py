"""Training graphs that hold their model twice: once fed for training, once for evaluation, with the same weights.

It is the second that is exported; often its placeholder says less, and what the first says of shapes holds for it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlkit_build.graphs.loaded import DeclaredTensor
from mlkit_build.graphs.surgery import TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = ("Identity", "Cast", "CheckNumerics")
_READING = ("Identity", "Cast", "ReadVariableOp")
_OF_DATA = (
    *("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "BiasAdd", "MaxPool"),
    *("AvgPool", "Reshape", "Transpose", "Pad", "Squeeze", "ExpandDims", "Unpack", "Split", "ResizeBilinear", "GatherV2"),
)
"""What these read first has dimensions: it is data, and no switch of the training."""


def carries_data(tensor: str, nodes: Mapping[str, NodeDef]) -> bool:
    """Return whether something reads the tensor that reads nothing but data with dimensions."""
    waiting, seen = [TensorName.parse(tensor).node], set[str]()
    while waiting:
        name = waiting.pop()
        for reader in nodes.values():
            if reader.name in seen or not reader.input or TensorName.parse(reader.input[0]).node != name:
                continue
            if reader.op in _OF_DATA:
                return True
            if reader.op in _PASSING:
                seen.add(reader.name)
                waiting.append(reader.name)
    return False


def for_evaluation_first(
    inputs: Sequence[DeclaredTensor],
    nodes: Mapping[str, NodeDef],
    depends: Mapping[str, set[str]],
    trains: Callable[[NodeDef], bool],
) -> list[DeclaredTensor]:
    """Return the inputs with each one that no training reads before its twin that training does, and with the twin's shape.

    Args:
        inputs: Placeholders, the likeliest first.
        nodes: All nodes.
        depends: Node -> the input tensors that it depends on.
        trains: Whether a node serves training.
    """
    trained = {tensor for name, tensors in depends.items() if trains(nodes[name]) for tensor in tensors}
    found = list(inputs)
    for spec in inputs:
        twin = next((other for other in found if other.tensor in trained and _are_twins(spec, other, nodes)), None)
        if spec.tensor in trained or twin is None:
            continue
        found.remove(spec)
        shape = spec.shape if spec.shape is not None or twin.shape is None else (None, *twin.shape[1:])
        found.insert(found.index(twin), replace(spec, shape=shape))
    return found


def _are_twins(one: DeclaredTensor, other: DeclaredTensor, nodes: Mapping[str, NodeDef]) -> bool:
    return one.tensor != other.tensor and bool(_read_beside(one, nodes) & _read_beside(other, nodes))


def _read_beside(spec: DeclaredTensor, nodes: Mapping[str, NodeDef]) -> set[tuple[str, ...]]:
    """Return (operator, its other inputs) of what reads the tensor together with something else: its weights."""
    placeholder = TensorName.parse(spec.tensor).node
    readers = [node for node in nodes.values() if len(node.input) > 1 and TensorName.parse(node.input[0]).node == placeholder]
    return {(node.op, *(_weights(item, nodes) for item in node.input[1:])) for node in readers}


def _weights(item: str, nodes: Mapping[str, NodeDef]) -> str:
    """Return the variable or constant that an input is read from."""
    name = TensorName.parse(item).node
    while name in nodes and nodes[name].op in _READING and nodes[name].input:
        name = TensorName.parse(nodes[name].input[0]).node
    return name
