"""Which version of an operator its tensors and options need, by TensorFlow's rules.

Facts from `tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc` (`GetBuiltinOperatorVersion`) and `op_signature.cc` of
TensorFlow, and for float16 from the files of the same names in LiteRT (`tflite/converter/tools/versioning`).

TensorFlow's converter goes by them but for int16x8, where it writes the versions of int8; what its kernels know of int16 data and
int8 weights is in `measured`.
"""

from __future__ import annotations

from mlkit_build.tflite.versions.conditions import (
    ABSENT,
    Rules,
    always,
    both,
    broadcasts_above_4,
    by_type,
    converts,
    either,
    general_scales,
    grouped,
    kernel,
    option,
    option_is_not,
    per_channel,
    product_grows,
    quantized,
    rank_above,
    rank_is_not,
    reads,
    unless,
    writes,
)

_INT16 = both(reads(0, "int16"), writes(0, "int16"))
_INT8 = kernel("int8", "int8", "int8")
_INT8_BY_INT4 = kernel("int8", "int4", "int8")
_INT16_BY_INT8 = kernel("int16", "int8", "int16")
_HYBRID = kernel("float32", "int8", "float32")
_ASYMMETRIC = option("asymmetricQuantizeInputs")
_INT32 = 2
"""TensorType.INT32 of the schema."""
_INT32_BIAS = either(reads(2, "int32"), reads(3, "int32"), lambda op: getattr(op.options, "quantizedBiasType", 0) == _INT32)
"""TensorFlow asks whether the option says any type, but int64 is what the older kernels know."""

_INT8_IS_2: Rules = by_type(int8=2)
_INT8_IS_2_INT16_IS_3: Rules = by_type(int16=3, int8=2)
_INT8_IS_2_INT16_THROUGHOUT_IS_3: Rules = ((3, _INT16), *_INT8_IS_2)
_INTEGER_IS_2: Rules = by_type(int8=2, int16=2)
_EXTREME: Rules = ((4, _INT16), (3, broadcasts_above_4), *_INT8_IS_2)
_BLOCKS: Rules = ((4, reads(0, "int16")), (3, rank_is_not(4)), *_INT8_IS_2)
_PADDING: Rules = ((5, reads(0, "bool")), (4, rank_above(4)), *_INT8_IS_2_INT16_IS_3)
_HYBRID_RECURRENT = both(reads(1, "int8"), writes(0, "float32"))
_RECURRENT: Rules = ((3, both(_HYBRID_RECURRENT, _ASYMMETRIC)), (2, _HYBRID_RECURRENT))
_LSTM_HYBRID = kernel("float32", "int8", "float32", position=2)
_LSTM_INT16 = kernel("int16", "int8", "int16", position=2)
_BASIC_LSTM = option("kernelType")

RULES: dict[str, Rules] = {
    "CONV_2D": (
        (8, both(_INT16_BY_INT8, _INT32_BIAS)),
        (6, grouped),
        (4, kernel("int16", "int16", "int16")),
        (3, _INT8),
        (7, _INT8_BY_INT4),
        (5, both(_HYBRID, per_channel(1))),
        (2, _HYBRID),
    ),
    "DEPTHWISE_CONV_2D": (
        (5, kernel("int16", "int16", "int16")),
        (6, both(_HYBRID, per_channel(1))),
        (4, _HYBRID),
        (3, _INT8),
        (7, _INT8_BY_INT4),
        (2, either(option_is_not("dilationWFactor", 1), option_is_not("dilationHFactor", 1))),
    ),
    "TRANSPOSE_CONV": (
        (5, both(reads(2, "int16"), reads(1, "int8"), _INT32_BIAS)),
        (4, option("fusedActivationFunction")),
        (3, unless(reads(3, ABSENT))),
        (2, reads(1, "int8")),
    ),
    "FULLY_CONNECTED": (
        (14, reads(1, "int2")),
        (13, kernel("int16", "int4", "int16")),
        (12, both(_HYBRID, per_channel(1))),
        (11, both(_INT16_BY_INT8, _INT32_BIAS)),
        (8, lambda op: op.input(1).sparse),
        (7, kernel("int16", "int16", "int16")),
        (6, lambda op: len(op.inputs) == 2),
        (5, option("keepNumDims")),
        (4, _INT8),
        (10, _INT8_BY_INT4),
        (9, both(_HYBRID, _ASYMMETRIC)),
        (3, _HYBRID),
        (2, option("weightsFormat")),
    ),
    "BATCH_MATMUL": (*_INT8_IS_2_INT16_IS_3, (4, both(_HYBRID, _ASYMMETRIC))),
    "EMBEDDING_LOOKUP": ((4, either(reads(1, "int4"), per_channel(1))), (5, reads(1, "int2"))),
    "SVDF": ((3, reads(0, "int8")), (4, both(_HYBRID, _ASYMMETRIC)), (2, _HYBRID)),
    "LSTM": (
        (5, both(_LSTM_INT16, unless(_BASIC_LSTM))),
        (4, both(_LSTM_HYBRID, _ASYMMETRIC, unless(_BASIC_LSTM))),
        (3, both(_LSTM_HYBRID, unless(_BASIC_LSTM))),
        (2, _BASIC_LSTM),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        (5, _LSTM_INT16),
        (4, option("diagonalRecurrentTensors")),
        (3, both(_LSTM_HYBRID, _ASYMMETRIC)),
        (2, _LSTM_HYBRID),
    ),
    "RNN": _RECURRENT,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_RNN": _RECURRENT,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _RECURRENT,
    "DEQUANTIZE": (
        *by_type(uint4=8, int2=7, int4=6, int16=3, float16=3),
        (5, both(reads(0, "int8"), per_channel(0))),
        (2, reads(0, "int8")),
    ),
    "QUANTIZE": (
        (5, converts("uint4")),
        (4, converts("int4")),
        (3, lambda op: len(op.output().scales) > 1),
        (2, writes(0, "int16")),
    ),
    "FAKE_QUANT": ((2, option("narrowRange")),),
    "ADD": (
        (6, reads(0, "float16")),
        (5, both(reads(0, "int16"), unless(quantized))),
        (4, reads(0, "int64")),
        (3, both(_INT16, general_scales)),
        *_INT8_IS_2,
    ),
    "SUB": ((5, both(_INT16, general_scales)), (4, reads(0, "int64")), (3, broadcasts_above_4), *_INT8_IS_2),
    "MUL": (
        (8, reads(0, "float16")),
        (7, either(both(reads(0, "int16"), unless(quantized)), reads(0, "uint32"))),
        *by_type(complex64=6, int64=5, int16=4),
        (3, product_grows),
        *_INT8_IS_2,
    ),
    "DIV": ((2, broadcasts_above_4),),
    "MAXIMUM": _EXTREME,
    "MINIMUM": _EXTREME,
    "SQUARED_DIFFERENCE": _INT8_IS_2,
    "FLOOR_DIV": by_type(int16=3, int8=3, float32=2),
    "FLOOR_MOD": _INTEGER_IS_2,
    "ABS": (
        (5, reads(0, "int32")),
        (3, both(reads(0, "int16"), quantized)),
        *by_type(int16=4, int8=2, uint8=2),
    ),
    "SIGN": by_type(int32=2),
    "SIN": by_type(float16=2),
    "COS": by_type(float16=2),
    "EXP": _INTEGER_IS_2,
    "LOG": _INTEGER_IS_2,
    "SQRT": _INTEGER_IS_2,
    "RSQRT": _INT8_IS_2_INT16_IS_3,
    "RELU": by_type(int16=3, int8=2, uint8=2),
    "RELU6": _INT8_IS_2_INT16_IS_3,
    "LEAKY_RELU": by_type(int16=2),
    "GELU": by_type(int8=2, uint8=2),
    "TANH": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "LOGISTIC": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "SOFTMAX": by_type(float16=4, int16=3, int8=2),
    "LOG_SOFTMAX": _INT8_IS_2,
    "L2_NORMALIZATION": ((2, writes(0, "int8")),),
    "MAX_POOL_2D": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "AVERAGE_POOL_2D": _INT8_IS_2_INT16_THROUGHOUT_IS_3,
    "MEAN": _INT8_IS_2_INT16_IS_3,
    "SUM": _INT8_IS_2,
    "REDUCE_MAX": _INT8_IS_2_INT16_IS_3,
    "REDUCE_MIN": _INT8_IS_2_INT16_IS_3,
    "REDUCE_PROD": _INTEGER_IS_2,
    "ARG_MAX": by_type(bool=3, int8=2),
    "ARG_MIN": by_type(bool=3, int8=2),
    "TOPK_V2": ((3, either(reads(0, "int16"), reads(1, "int16"), writes(1, "int16"))), *_INT8_IS_2),
    "RESIZE_BILINEAR": ((4, reads(0, "int16")), (3, option("halfPixelCenters")), *_INT8_IS_2),
    "RESIZE_NEAREST_NEIGHBOR": ((4, reads(0, "int16")), (3, option("halfPixelCenters", "alignCorners")), *_INT8_IS_2),
    "PAD": _PADDING,
    "PADV2": _PADDING,
    "MIRROR_PAD": _INT8_IS_2_INT16_IS_3,
    "CONCATENATION": by_type(float16=6, int4=5, uint32=4, int16=3, int8=2),
    "PACK": ((2, reads(0, "int8")), (3, _INT16), (4, reads(0, "uint32"))),
    "UNPACK": (*by_type(int8=2, uint8=2, bool=3), (4, _INT16), *by_type(float16=5, bfloat16=5)),
    "SPLIT": by_type(1, int16=4, int32=3, int8=2),
    "SPLIT_V": _INT8_IS_2,
    "SLICE": ((8, reads(0, "float16")), *by_type(int4=7, uint32=6), (5, rank_above(4)), *by_type(int16=4, string=3, int8=2)),
    "STRIDED_SLICE": (
        (8, option("offset")),
        (7, reads(0, "uint32")),
        (6, option("ellipsisMask", "newAxisMask")),
        (5, reads(0, "string")),
        (4, rank_above(4)),
        *by_type(bool=3, int8=2),
    ),
    "DYNAMIC_UPDATE_SLICE": (*by_type(bfloat16=6, int4=5, int16=4, float16=3), (2, reads(2, "int64"))),
    "GATHER": (
        (7, reads(0, "int4")),
        (6, reads(1, "int16")),
        (5, option("batchDims")),
        *by_type(int16=4, bool=3, int8=2),
    ),
    "GATHER_ND": ((5, reads(0, "bool")), (4, reads(1, "int16")), *by_type(int16=3, string=2)),
    "TRANSPOSE": (
        (9, reads(0, "float16")),
        (8, either(rank_above(6), reads(0, "bfloat16"))),
        (7, reads(0, "int4")),
        (6, rank_above(5)),
        (5, reads(0, "int16")),
        (4, rank_above(4)),
        *by_type(bool=3, int8=2),
    ),
    "REVERSE_V2": by_type(int8=3, bool=2),
    "TILE": by_type(int8=3, string=2),
    "SQUEEZE": by_type(string=2),
    "BROADCAST_TO": ((3, reads(0, "int8", "int16")), (2, always)),
    "SPACE_TO_BATCH_ND": _BLOCKS,
    "BATCH_TO_SPACE_ND": _BLOCKS,
    "SPACE_TO_DEPTH": _INT8_IS_2,
    "DEPTH_TO_SPACE": _INT8_IS_2,
    "SPARSE_TO_DENSE": by_type(2, int8=3, uint8=3, int64=2),
    "FILL": by_type(1, float16=4, int8=3, int16=3, bool=2, string=2),
    "RANGE": by_type(int64=2),
    "EQUAL": by_type(int16=5, string=3, int8=2),
    "NOT_EQUAL": by_type(int16=4, string=3, int8=2),
    "LESS": _INT8_IS_2_INT16_IS_3,
    "GREATER_EQUAL": _INT8_IS_2_INT16_IS_3,
    "GREATER": _INT8_IS_2,
    "LESS_EQUAL": _INT8_IS_2,
    "SELECT": (
        (4, reads(0, "uint32")),
        (3, lambda op: any(len(op.input(index).shape) == 5 for index in range(3))),
        *_INT8_IS_2,
    ),
    "SELECT_V2": by_type(uint32=2),
    "WHERE": ((1, reads(0, "bool")), (2, always)),
    "CAST": (
        (8, converts("int2", "uint4")),
        (7, converts("bfloat16")),
        (6, both(reads(0, "int4"), writes(0, "float32"))),
        (5, converts("float64", "float16")),
        (4, converts("uint16")),
        (3, converts("int8")),
        (2, converts("uint32")),
    ),
}
"""Operator -> its rules. Where none holds it is version 1, as is every operator that is not here."""
