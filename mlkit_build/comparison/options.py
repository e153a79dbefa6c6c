"""The numbers among an operator's options, read without the generated classes of LiteRT: strides, padding, activations.

Which field is which: `tensorflow/compiler/mlir/lite/schema/schema.fbs` in tensorflow/tensorflow.
"""

from __future__ import annotations

import struct

from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_file import ModelFile, code_name
from mlkit_build.mlkit.model_reader import ModelReader
from mlkit_build.mlkit.model_schema import Operator

_STRIDES = ("padding", "stride_w", "stride_h")
_DILATIONS = ("fused_activation_function", "dilation_w_factor", "dilation_h_factor")
_POOL = (*_STRIDES, "filter_width", "filter_height", "fused_activation_function")
_ACTIVATED = ("fused_activation_function", "pot_scale_int16")
_RESIZE = ("", "", "align_corners", "half_pixel_centers")
_FIELDS = {
    "CONV_2D": (*_STRIDES, *_DILATIONS, "quantized_bias_type"),
    "DEPTHWISE_CONV_2D": (*_STRIDES, "depth_multiplier", *_DILATIONS),
    "TRANSPOSE_CONV": (*_STRIDES, "fused_activation_function", "quantized_bias_type"),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "L2_POOL_2D": _POOL,
    "FULLY_CONNECTED": (
        "fused_activation_function", "weights_format", "keep_num_dims", "asymmetric_quantize_inputs", "quantized_bias_type",
    ),
    "SOFTMAX": ("beta",),
    "CONCATENATION": ("axis", "fused_activation_function"),
    "ADD": _ACTIVATED,
    "SUB": _ACTIVATED,
    "MUL": ("fused_activation_function",),
    "DIV": ("fused_activation_function",),
    "MEAN": ("keep_dims",),
    "SUM": ("keep_dims",),
    "REDUCE_MAX": ("keep_dims",),
    "REDUCE_MIN": ("keep_dims",),
    "RESIZE_BILINEAR": _RESIZE,
    "RESIZE_NEAREST_NEIGHBOR": ("align_corners", "half_pixel_centers"),
    "GATHER": ("axis", "batch_dims"),
    "PACK": ("values_count", "axis"),
    "UNPACK": ("num", "axis"),
    "SPLIT": ("num_splits",),
    "LEAKY_RELU": ("alpha",),
    "STRIDED_SLICE": ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset"),
}  # fmt: skip
_NUMBERS = ("beta", "alpha")
"""Fields that are floating point."""
_WIDE = (
    "stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor", "depth_multiplier", "filter_width", "filter_height", "axis",
    "batch_dims", "values_count", "num", "num_splits", "begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask",
    "shrink_axis_mask",
)  # fmt: skip
"""Fields of four bytes; the others have one."""


_DEFAULTS = {"dilation_w_factor": 1, "dilation_h_factor": 1, "pot_scale_int16": 1}
"""What a field that is not stated means where that is not 0."""


def options(file: ModelFile, operator: Operator) -> dict[str, float]:
    """Return field -> number, also what is left out; nothing of an operator that is damaged, or not known here."""
    known = _FIELDS.get(code_name(file.model.codes[operator.code]), ())
    found: dict[str, float] = {name: _DEFAULTS.get(name, 0) for name in known if name}
    if operator.options is None:
        return found
    reader = ModelReader(file.data)
    try:
        reader.check_table(operator.options)
        for slot, name in enumerate(known):
            at = reader.field(operator.options, slot)
            if name and at is not None:
                found[name] = reader.number("<f" if name in _NUMBERS else "<i" if name in _WIDE else "<b", at)
    except (DamagedError, struct.error):
        return {}
    return found
