"""Which version of an operator its tensors and options need: TensorFlow's rules, as a table.

Facts from `tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc` (`GetBuiltinOperatorVersion`) and `op_signature.cc` of
TensorFlow 2.21, and for float16 from the files of the same names in LiteRT (`tflite/converter/tools/versioning`). What those
rules leave open is in `BEYOND`, each line with the measurement it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"


@dataclass(frozen=True)
class Tensor:
    """One input or output of an operator.

    Attributes:
        type: NumPy's name of the type, e.g. `int8`; `absent` for an optional input that is left out.
        shape: As the flatbuffer says it; empty when it says none.
        scales: Of its quantization; empty when it has none.
        axis: The dimension that the scales run along.
        blocks: Whether the scales are of blocks rather than of channels.
        sparse: Whether only its nonzero values are stored.
    """

    type: str = ABSENT
    shape: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    axis: int = 0
    blocks: bool = False
    sparse: bool = False

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale for each channel."""
        return len(self.scales) > 1


@dataclass(frozen=True)
class Operation:
    """One operator, as far as its version depends on it: tensors in order, and its table of the schema (None without)."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Any = None

    def input(self, index: int) -> Tensor:
        """Return an input, absent where there are fewer."""
        return self.inputs[index] if index < len(self.inputs) else Tensor()

    def output(self, index: int) -> Tensor:
        """Return an output, absent where there are fewer."""
        return self.outputs[index] if index < len(self.outputs) else Tensor()


Condition = Callable[[Operation], bool]


def _any(_: Operation) -> bool:
    return True


def _in(index: int, *types: str) -> Condition:
    return lambda op: op.input(index).type in types


def _out(index: int, *types: str) -> Condition:
    return lambda op: op.output(index).type in types


def _all(*conditions: Condition) -> Condition:
    return lambda op: all(condition(op) for condition in conditions)


def _either(*conditions: Condition) -> Condition:
    return lambda op: any(condition(op) for condition in conditions)


def _is(data: str, weights: str, result: str, position: int = 1) -> Condition:
    return _all(_in(0, data), _in(position, weights), _out(0, result))


def _option(*names: str) -> Condition:
    return lambda op: any(getattr(op.options, name, 0) for name in names)


def _differs(name: str, value: int) -> Condition:
    return lambda op: getattr(op.options, name, value) != value


def _channels(index: int) -> Condition:
    return lambda op: op.input(index).per_channel


def _rank_above(limit: int, index: int = 0) -> Condition:
    return lambda op: len(op.input(index).shape) > limit


def _quantized(op: Operation) -> bool:
    return any(tensor.scales for tensor in op.inputs[:2])


def _not(condition: Condition) -> Condition:
    return lambda op: not condition(op)


def _broadcasts_above_4(op: Operation) -> bool:
    return op.input(0).shape != op.input(1).shape and max(len(tensor.shape) for tensor in op.inputs) > 4


def _grouped(op: Operation) -> bool:
    data, filters = op.input(0).shape, op.input(1).shape
    return len(data) == len(filters) == 4 and data[3] != filters[3]


def _product_grows(op: Operation) -> bool:
    scales = [tensor.scales[0] if tensor.scales else 0.0 for tensor in (*op.inputs[:2], op.output(0))]
    return len(scales) == 3 and all(scales) and scales[0] * scales[1] / scales[2] >= 1


def _scales_are_general(op: Operation) -> bool:
    """Return whether the kernel that knows powers of two only will not do, which the option may say, or the scales.

    ai-edge-quantizer leaves the option at its default, which says that all scales are powers of two.
    """
    scales = [scale for tensor in (*op.inputs[:2], op.output(0)) for scale in tensor.scales[:1]]
    return not getattr(op.options, "potScaleInt16", True) or any(math.frexp(scale)[0] != 0.5 for scale in scales)


_INT16 = _all(_in(0, "int16"), _out(0, "int16"))
_INT8 = _is("int8", "int8", "int8")
_INT8_BY_INT4 = _is("int8", "int4", "int8")
_INT16_BY_INT8 = _is("int16", "int8", "int16")
_HYBRID = _is("float32", "int8", "float32")
_ASYMMETRIC = _option("asymmetricQuantizeInputs")

Rules = tuple[tuple[int, Condition], ...]
"""Version and what needs it, in order; the first that holds decides, and version 1 is what is left."""


def _by_input(index: int = 0, **versions: int) -> Rules:
    """Version of each type of an input."""
    return tuple((version, _in(index, name)) for name, version in versions.items())


_INT8_IS_2: Rules = _by_input(int8=2)
_INT8_IS_2_INT16_IS_3: Rules = _by_input(int16=3, int8=2)
_INT8_IS_2_INT16_THROUGHOUT_IS_3: Rules = ((3, _INT16), *_INT8_IS_2)
_INTEGER_IS_2: Rules = _by_input(int8=2, int16=2)
_EXTREME: Rules = ((4, _INT16), (3, _broadcasts_above_4), *_INT8_IS_2)
_BLOCKS: Rules = ((4, _in(0, "int16")), (3, lambda op: len(op.input(0).shape) != 4), *_INT8_IS_2)
_PADDING: Rules = ((5, _in(0, "bool")), (4, _rank_above(4)), *_INT8_IS_2_INT16_IS_3)
_HYBRID_RECURRENT = _all(_in(1, "int8"), _out(0, "float32"))
_RECURRENT: Rules = ((3, _all(_HYBRID_RECURRENT, _ASYMMETRIC)), (2, _HYBRID_RECURRENT))
_LSTM_HYBRID = _is("float32", "int8", "float32", position=2)
_LSTM_INT16 = _is("int16", "int8", "int16", position=2)

RULES: dict[str, Rules] = {
    "CONV_2D": (
        (8, _all(_INT16_BY_INT8, _option("quantizedBiasType"))),
        (6, _grouped),
        (4, _is("int16", "int16", "int16")),
        (3, _INT8),
        (7, _INT8_BY_INT4),
        (5, _all(_HYBRID, _channels(1))),
        (2, _HYBRID),
    ),
    "DEPTHWISE_CONV_2D": (
        (5, _is("int16", "int16", "int16")),
        (6, _all(_HYBRID, _channels(1))),
        (4, _HYBRID),
        (3, _INT8),
        (7, _INT8_BY_INT4),
        (2, _either(_differs("dilationWFactor", 1), _differs("dilationHFactor", 1))),
    ),
    "TRANSPOSE_CONV": (
        (5, _all(_INT16_BY_INT8, _option("quantizedBiasType"))),
        (4, _option("fusedActivationFunction")),
        (3, _not(_in(3, ABSENT))),
        (2, _in(1, "int8")),
    ),
    "FULLY_CONNECTED": (
        (14, _in(1, "int2")),
        (13, _is("int16", "int4", "int16")),
        (12, _all(_HYBRID, _channels(1))),
        (11, _all(_INT16_BY_INT8, _option("quantizedBiasType"))),
        (8, lambda op: op.input(1).sparse),
        (7, _is("int16", "int16", "int16")),
        (6, lambda op: len(op.inputs) == 2),
        (5, _option("keepNumDims")),
        (4, _INT8),
        (10, _INT8_BY_INT4),
        (9, _all(_HYBRID, _ASYMMETRIC)),
        (3, _HYBRID),
        (2, _option("weightsFormat")),
    ),
    "BATCH_MATMUL": (*_INT8_IS_2_INT16_IS_3, (4, _all(_HYBRID, _ASYMMETRIC))),
    "EMBEDDING_LOOKUP": ((4, _either(_in(1, "int4"), _channels(1))), (5, _in(1, "int2"))),
    "SVDF": ((3, _in(0, "int8")), (4, _all(_HYBRID, _ASYMMETRIC)), (2, _HYBRID)),
    "LSTM": (
        (5, _all(_LSTM_INT16, _not(_option("kernelType")))),
        (4, _all(_LSTM_HYBRID, _ASYMMETRIC, _not(_option("kernelType")))),
        (3, _all(_LSTM_HYBRID, _not(_option("kernelType")))),
        (2, _option("kernelType")),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        (5, _LSTM_INT16),
        (4, _option("diagonalRecurrentTensors")),
        (3, _all(_LSTM_HYBRID, _ASYMMETRIC)),
        (2, _LSTM_HYBRID),
    ),
    "RNN": _RECURRENT,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_RNN": _RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _RECURRENT,
    "DEQUANTIZE": (
        *_by_input(uint4=8, int2=7, int4=6, int16=3, float16=3),
        (5, _all(_in(0, "int8"), _channels(0))),
        (2, _in(0, "int8")),
    ),
    "QUANTIZE": (
        (5, _either(_in(0, "uint4"), _out(0, "uint4"))),
        (4, _either(_in(0, "int4"), _out(0, "int4"))),
        (3, lambda op: op.output(0).per_channel),
        (2, _out(0, "int16")),
    ),
    "FAKE_QUANT": ((2, _option("narrowRange")),),
    "ADD": (
        (6, _in(0, "float16")),
        (5, _all(_in(0, "int16"), _not(_quantized))),
        (4, _in(0, "int64")),
        (3, _all(_INT16, _scales_are_general)),
        *_INT8_IS_2,
    ),
    "SUB": ((5, _all(_INT16, _scales_are_general)), (4, _in(0, "int64")), (3, _broadcasts_above_4), *_INT8_IS_2),
    "MUL": (
        (8, _in(0, "float16")),
        (7, _either(_all(_in(0, "int16"), _not(_quantized)), _in(0, "uint32"))),
        *_by_input(complex64=6, int64=5, int16=4),
        (3, _product_grows),
        *_INT8_IS_2,
    ),
    "DIV": ((2, _broadcasts_above_4),),
    "MAXIMUM": _EXTREME,
    "MINIMUM": _EXTREME,
    "SQUARED_DIFFERENCE": _INT8_IS_2,
    "FLOOR_DIV": _by_input(int16=3, int8=3, float32=2),
    "FLOOR_MOD": _INTEGER_IS_2,
    "ABS": (
        (5, _in(0, "int32")),
        (3, _all(_in(0, "int16"), _quantized)),
        *_by_input(int16=4, int8=2, uint8=2),
    ),
    "SIGN": _by_input(int32=2),
    "SIN": _by_input(float16=2),
    "COS": _by_input(float16=2),
    "EXP": _INTEGER_IS_2,
    "LOG": _INTEGER_IS_2,
    "SQRT": _INTEGER_IS_2,
    "RSQRT": _INT8_IS_2_INT16_IS_3,
    "RELU": _by_input(int16=3, int8=2, uint8=2),
    "RELU6": _INT8_IS_2_INT16_IS_3,
    "LEAKY_RELU": _by_input(int16=2),
    "GELU": _by_input(int8=2, uint8=2),
    "TANH": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "LOGISTIC": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "SOFTMAX": _by_input(float16=4, int16=3, int8=2),
    "LOG_SOFTMAX": _INT8_IS_2,
    "L2_NORMALIZATION": ((2, _out(0, "int8")),),
    "MAX_POOL_2D": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "AVERAGE_POOL_2D": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "MEAN": _INT8_IS_2_INT16_IS_3,
    "SUM": _INT8_IS_2,
    "REDUCE_MAX": _INT8_IS_2_INT16_IS_3,
    "REDUCE_MIN": _INT8_IS_2_INT16_IS_3,
    "REDUCE_PROD": _INTEGER_IS_2,
    "ARG_MAX": _by_input(bool=3, int8=2),
    "ARG_MIN": _by_input(bool=3, int8=2),
    "TOPK_V2": ((3, _either(_in(0, "int16"), _in(1, "int16"), _out(1, "int16"))), *_INT8_IS_2),
    "RESIZE_BILINEAR": ((4, _in(0, "int16")), (3, _option("halfPixelCenters")), *_INT8_IS_2),
    "RESIZE_NEAREST_NEIGHBOR": ((4, _in(0, "int16")), (3, _option("halfPixelCenters", "alignCorners")), *_INT8_IS_2),
    "PAD": _PADDING,
    "PADV2": _PADDING,
    "MIRROR_PAD": _INT8_IS_2_INT16_IS_3,
    "CONCATENATION": _by_input(float16=6, int4=5, uint32=4, int16=3, int8=2),
    "PACK": ((2, _in(0, "int8")), (3, _INT16), (4, _in(0, "uint32"))),
    "UNPACK": (*_by_input(int8=2, uint8=2, bool=3), (4, _INT16), *_by_input(float16=5, bfloat16=5)),
    "SPLIT": _by_input(1, int16=4, int32=3, int8=2),
    "SPLIT_V": _INT8_IS_2,
    "SLICE": ((8, _in(0, "float16")), *_by_input(int4=7, uint32=6), (5, _rank_above(4)), *_by_input(int16=4, string=3, int8=2)),
    "STRIDED_SLICE": (
        (8, _option("offset")),
        (7, _in(0, "uint32")),
        (6, _option("ellipsisMask", "newAxisMask")),
        (5, _in(0, "string")),
        (4, _rank_above(4)),
        *_by_input(bool=3, int8=2),
    ),
    "DYNAMIC_UPDATE_SLICE": (*_by_input(bfloat16=6, int4=5, int16=4, float16=3), (2, _in(2, "int64"))),
    "GATHER": (
        (7, _in(0, "int4")),
        (6, _in(1, "int16")),
        (5, _option("batchDims")),
        *_by_input(int16=4, bool=3, int8=2),
    ),
    "GATHER_ND": ((5, _in(0, "bool")), (4, _in(1, "int16")), *_by_input(int16=3, string=2)),
    "TRANSPOSE": (
        (9, _in(0, "float16")),
        (8, _either(_rank_above(6), _in(0, "bfloat16"))),
        (7, _in(0, "int4")),
        (6, _rank_above(5)),
        (5, _in(0, "int16")),
        (4, _rank_above(4)),
        *_by_input(bool=3, int8=2),
    ),
    "REVERSE_V2": _by_input(int8=3, bool=2),
    "TILE": _by_input(int8=3, string=2),
    "SQUEEZE": _by_input(string=2),
    "BROADCAST_TO": ((3, _in(0, "int8", "int16")), (2, _any)),
    "SPACE_TO_BATCH_ND": _BLOCKS,
    "BATCH_TO_SPACE_ND": _BLOCKS,
    "SPACE_TO_DEPTH": _INT8_IS_2,
    "DEPTH_TO_SPACE": _INT8_IS_2,
    "SPARSE_TO_DENSE": _by_input(2, int8=3, uint8=3, int64=2),
    "FILL": _by_input(1, float16=4, int8=3, int16=3, bool=2, string=2),
    "RANGE": _by_input(int64=2),
    "EQUAL": _by_input(int16=5, string=3, int8=2),
    "NOT_EQUAL": _by_input(int16=4, string=3, int8=2),
    "LESS": _INT8_IS_2_INT16_IS_3,
    "GREATER_EQUAL": _INT8_IS_2_INT16_IS_3,
    "GREATER": _INT8_IS_2,
    "LESS_EQUAL": _INT8_IS_2,
    "SELECT": (
        (4, _in(0, "uint32")),
        (3, lambda op: any(len(op.input(index).shape) == 5 for index in range(3))),
        *_INT8_IS_2,
    ),
    "SELECT_V2": _by_input(uint32=2),
    "WHERE": ((1, _in(0, "bool")), (2, _any)),
    "CAST": (
        (8, _either(_in(0, "int2", "uint4"), _out(0, "int2", "uint4"))),
        (7, _either(_in(0, "bfloat16"), _out(0, "bfloat16"))),
        (6, _all(_in(0, "int4"), _out(0, "float32"))),
        (5, _either(_in(0, "float64", "float16"), _out(0, "float64", "float16"))),
        (4, _either(_in(0, "uint16"), _out(0, "uint16"))),
        (3, _either(_in(0, "int8"), _out(0, "int8"))),
        (2, _either(_in(0, "uint32"), _out(0, "uint32"))),
    ),
}
"""Operator -> its rules. An operator that is not here is of version 1 whatever its tensors."""


def needed(name: str, operation: Operation) -> int:
    """Return the version that an operator needs."""
    return next((version for version, condition in RULES.get(name, ()) if condition(operation)), 1)
