"""`nchw_to_nhwc`: a model with channels first, as PyTorch and ONNX have them, takes channels last, as LiteRT and apps do.

Exports from ONNX to TensorFlow turn their inputs to channels last for every convolution; where the graph does so at once, the
two transpositions cancel and nothing is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.graph_view import RENAMING, GraphView
from mlkit_build.adapters.image_channels import looks_channels_first
from mlkit_build.adapters.options import NchwToNhwcOptions
from mlkit_build.adapters.stitching import chosen_input, chosen_output, replace_input, replace_output, unfit
from mlkit_build.errors import ConfigError
from mlkit_build.signature import TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

TO_FIRST = (0, 3, 1, 2)
TO_LAST = (0, 2, 3, 1)


def adapt(model: FrozenModel, options: NchwToNhwcOptions) -> FrozenModel:
    """Replace inputs and outputs `[batch, channels, height, width]` by `[batch, height, width, channels]`.

    Raises:
        ConfigError: One of them has not four dimensions, or none is named and it is not clear which is meant.
    """
    if options.inputs is None:
        inputs = [_only_channels_first(model).name]
    else:
        inputs = list(options.inputs)
    for name in inputs:
        old = chosen_input(model, name, "nchw_to_nhwc")
        _check(old, "an input")
        shape = tuple(old.shape[axis] for axis in TO_LAST)
        model = replace_input(model, old, "nchw_to_nhwc", lambda image: _transposed(image, TO_FIRST), shape)
    for name in options.outputs:
        output = chosen_output(model, name, "nchw_to_nhwc")
        _check(output, "an output")
        model = replace_output(model, output, "nchw_to_nhwc", lambda image: _transposed(image, TO_LAST))
    return _cancelled(model)


def _check(spec: TensorSpec, what: str) -> None:
    if len(spec.shape) != 4:
        raise unfit("nchw_to_nhwc", f"{what} [batch, channels, height, width]", spec, "leave it out")


def _only_channels_first(model: FrozenModel) -> TensorSpec:
    found = [spec for spec in model.signature.inputs if looks_channels_first(spec.shape)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in model.signature.inputs)
    raise ConfigError(
        "nchw_to_nhwc needs one input [batch, channels, height, width], with fewer channels than rows or columns, found "
        + listed,
        "name the inputs to turn: `{nchw_to_nhwc: {inputs: [...]}}`",
    )


def _transposed(image: Any, axes: tuple[int, ...]) -> Any:
    import tensorflow as tf

    return tf.transpose(image, axes, name="transpose")


def _cancelled(model: FrozenModel) -> FrozenModel:
    """Return the model in which each transposition that undoes another one passes on what that one read."""
    view = GraphView(model)
    for node in view.graph_def.node:
        if node.op != "Transpose":
            continue
        before = view.origin(node.input[0], RENAMING)
        if before.op == "Transpose" and {_axes(node, view), _axes(before, view)} == {TO_FIRST, TO_LAST}:
            node.op, node.input[:] = "Identity", [before.input[0]]
            del node.attr["Tperm"]
    return FrozenModel(view.graph_def, model.signature)


def _axes(node: NodeDef, view: GraphView) -> tuple[int, ...]:
    axes = view.constant(node.input[1])
    return () if axes is None else tuple(int(axis) for axis in axes)
