"""`rgb_to_grayscale`: lets a model of grey images take RGB, which is all that ML Kit feeds.

Luma weights of ITU-R BT.601, section 2.5.1: 0.299 R + 0.587 G + 0.114 B. They sum to 1, so a grey pixel keeps its value and a
mean and std that are equal for the three channels mean the same before and after.

A convolution of the weighted sum is a convolution with weighted kernels. Where the image goes straight into convolutions, as
nearly always, the weights go into their kernels: no operator is added, and a quantized model does not round a grey image in
between. Elsewhere a 1x1 convolution is put in front.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel, only, replace_input
from mlkit_build.errors import ConfigError
from mlkit_build.graphs import TensorName, constant_node, placeholder_node
from mlkit_build.graphs.surgery import constant_value
from mlkit_build.signature import TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

LUMA = (0.299, 0.587, 0.114)


def adapt(model: FrozenModel) -> FrozenModel:
    """Replace the only input `[batch, height, width, 1]` by `[batch, height, width, 3]`.

    Raises:
        ConfigError: The input has another shape, or is not floating point.
    """
    old = only(model.signature.inputs, "input", "rgb_to_grayscale")
    if len(old.shape) != 4 or old.shape[-1] != 1 or not old.dtype.startswith("float"):
        raise ConfigError(
            f"adapters: rgb_to_grayscale needs a floating-point input [batch, height, width, 1], found {old.name} "
            f"{list(old.shape)} {old.dtype}",
            "drop the adapter" if old.shape and old.shape[-1] == 3 else "check signature.inputs",
        )
    return _weigh_kernels(model, old) or replace_input(model, old, (*old.shape[:3], 3), _to_grey)


def _weigh_kernels(model: FrozenModel, old: TensorSpec) -> FrozenModel | None:
    """Return the model with the weights in the kernels of the convolutions that read the image, or None if others read it too."""
    graph_def = type(model.graph_def)()
    graph_def.CopyFrom(model.graph_def)
    nodes = {node.name: node for node in graph_def.node}
    image = TensorName.parse(old.tensor)
    readers = [node for node in graph_def.node if any(TensorName.parse(item).node == image.node for item in node.input)]
    kernels = [_kernel(node, image, nodes) for node in readers]
    outputs = {TensorName.parse(spec.tensor).node for spec in model.signature.outputs}
    if not readers or image.node in outputs or any(kernel is None for kernel in kernels):
        return None
    new = f"adapters/{old.name}"
    for reader, kernel in zip(readers, kernels, strict=True):
        assert kernel is not None
        weighted = kernel * np.array(LUMA, kernel.dtype).reshape(1, 1, 3, 1)
        graph_def.node.append(constant_node(f"{new}/{reader.name}", weighted))
        reader.input[0], reader.input[1] = new, f"{new}/{reader.name}"
    shape = (*old.shape[:3], 3)
    graph_def.node.append(placeholder_node(new, old.dtype, shape))
    return FrozenModel(graph_def, replace(model.signature, inputs=(replace(old, tensor=f"{new}:0", shape=shape),)))


def _kernel(reader: NodeDef, image: TensorName, nodes: dict[str, NodeDef]) -> NDArray[Any] | None:
    """Return the constant kernel `[height, width, 1, channels]` of a convolution of the image; None for any other reader."""
    if reader.op != "Conv2D" or len(reader.input) != 2 or TensorName.parse(reader.input[0]) != image:
        return None
    if reader.attr["data_format"].s not in (b"", b"NHWC"):
        return None
    source = nodes[TensorName.parse(reader.input[1]).node]
    while source.op == "Identity":
        source = nodes[TensorName.parse(source.input[0]).node]
    value = constant_value(source)
    return value if value is not None and value.ndim == 4 and value.shape[2] == 1 else None


def _to_grey(rgb: Any) -> Any:
    """Weigh the channels in a 1x1 convolution, which every delegate and quantizer knows."""
    import tensorflow as tf

    weights = tf.constant(LUMA, dtype=rgb.dtype, shape=(1, 1, 3, 1), name="adapters/luma")
    return tf.nn.conv2d(rgb, weights, strides=1, padding="VALID", name="adapters/rgb_to_grayscale")
