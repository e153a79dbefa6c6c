"""The operators of a model as the tables of rules see them. Also of files by anyone: what points nowhere is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlkit_build.records import dataclass
from mlkit_build.tflite.model import operator_name, schema, tensor_name, type_name
from mlkit_build.tflite.versions.conditions import Operation, Tensor


@dataclass(frozen=True)
class Placed:
    """An operator where it stands.

    Attributes:
        name: E.g. `CONV_2D`; a custom operator's own name.
        code: Its operator code: the objects are those of the model.
        operator: Itself.
        operation: What its version depends on.
        writes: The name of its first output; empty where it has none.
    """

    name: str
    code: Any
    operator: Any
    operation: Operation
    writes: str

    @property
    def custom(self) -> bool:
        """Whether it is a custom or a Flex operator, which comes with the app."""
        return builtin(self.code) == int(schema().BuiltinOperator.CUSTOM)


def operations(model: Any) -> Iterator[Placed]:
    """Yield the operators of every subgraph, in order."""
    codes = model.operatorCodes or ()
    for graph in model.subgraphs or ():
        tensors = graph.tensors or ()
        for operator in graph.operators or ():
            if 0 <= operator.opcodeIndex < len(codes):
                code = codes[operator.opcodeIndex]
                inputs, outputs = (_listed(tensors, indices) for indices in (operator.inputs, operator.outputs))
                operation = Operation(
                    tuple(Tensor() if tensor is None else _tensor(tensor) for tensor in inputs),
                    tuple(Tensor() if tensor is None else _tensor(tensor) for tensor in outputs),
                    operator.builtinOptions,
                )
                first = next((tensor for tensor in outputs if tensor is not None), None)
                yield Placed(operator_name(code), code, operator, operation, "" if first is None else tensor_name(first))


def builtin(code: Any) -> int:
    """Return the number of an operator code's operator, which old files keep in another field."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _listed(tensors: Sequence[Any], indices: Any) -> list[Any]:
    """Return the tensors; None for one that is left out. An empty list is None in the object form."""
    return [tensors[index] if 0 <= index < len(tensors) else None for index in (() if indices is None else indices)]


def _tensor(tensor: Any) -> Tensor:
    quantization = tensor.quantization
    scales = quantization.scale if quantization is not None else None
    return Tensor(
        type=type_name(tensor),
        shape=() if tensor.shape is None else tuple(map(int, tensor.shape)),
        scales=() if scales is None else tuple(map(float, scales)),
        blocks=quantization is not None and quantization.detailsType == schema().QuantizationDetails.BlockwiseQuantization,
        sparse=tensor.sparsity is not None,
    )
