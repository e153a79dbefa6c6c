"""What adapters know of the channels of images: another set of channels at a model's input, folded into its kernels.

A convolution of a weighted sum of channels is a convolution with weighted kernels. Where an image goes into convolutions by
way of nothing but channelwise affine operators - normalization, padding, resizing - the weights go into their kernels and the
per-channel constants on the way follow the channels: no operator is added, and a quantized model does not round in between.
Elsewhere a 1x1 convolution is put in front. Measured on a float [1, 224, 224, 3] image in LiteRT 2.3, one thread, beyond the
model alone: 1x1 convolution 0.09 ms, REVERSE_V2 0.12 ms (not in int8 models: ai-edge-quantizer leaves it float), GATHER
0.56 ms, SPLIT and CONCATENATION 1.16 ms; in int8 0.20, -, 0.56 and 1.22 ms, all with the same error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.graph_view import RENAMING, GraphView
from mlkit_build.adapters.stitching import free_scope, replace_input, with_input
from mlkit_build.graphs import TensorName, constant_node, placeholder_node
from mlkit_build.records import dataclass
from mlkit_build.signature import TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = (*RENAMING, "ResizeBilinear", "ResizeNearestNeighbor")
"""Operators that treat every channel alike."""
_PADDING = ("Pad", "PadV2", "MirrorPad")
_ENDS = ("Conv2D", "Shape")
"""Operators whose result is as before, so that nothing behind them needs to know."""
_EITHER_SIDE = ("Add", "AddV2", "Sub", "Mul")
_LEFT_SIDE = ("RealDiv", "Div")
_NORMALIZATION = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")

Constants = dict[int, NDArray[Any]]
"""Input of a node -> the constant that it reads instead."""


@dataclass(frozen=True)
class Mix:
    """How the channels that the app feeds make those that the model was trained on.

    Each new channel goes into one old channel. The shares of an old channel sum to 1, so that what is added to a channel may
    be added before as well as after.

    Attributes:
        into: New channel -> the old channel that it goes into.
        shares: New channel -> its share.
    """

    into: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def old_channels(self) -> int:
        """How many channels the model was trained on."""
        return max(self.into) + 1


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether the second of four axes is the smallest but the batch, as channels are."""
    return len(shape) == 4 and shape[1] < min(shape[2], shape[3])


def mix_channels(model: FrozenModel, old: TensorSpec, mix: Mix, adapter: str) -> FrozenModel:
    """Replace the input `[batch, height, width, old channels]` by one with the channels of the mix."""
    folded = _fold(model, old, mix, free_scope(model, adapter))
    if folded is not None:
        return folded
    shape = (*old.shape[:3], len(mix.into))
    return replace_input(model, old, adapter, lambda image: _in_front(image, mix), shape)


def _in_front(image: Any, mix: Mix) -> Any:
    import tensorflow as tf

    if not image.dtype.is_floating:  # convolutions take no integers; channels that only change places need no arithmetic
        assert mix.shares == (1.0,) * len(mix.into)
        return tf.gather(image, np.argsort(mix.into), axis=-1, name="channels")
    kernel = np.zeros((1, 1, len(mix.into), mix.old_channels))
    kernel[0, 0, np.arange(len(mix.into)), mix.into] = mix.shares
    weights = tf.constant(kernel, image.dtype, name="kernel")
    return tf.nn.conv2d(image, weights, strides=1, padding="VALID", name="channels")


def _fold(model: FrozenModel, old: TensorSpec, mix: Mix, scope: str) -> FrozenModel | None:
    """Return the model with the mix in its kernels, or None where the image also goes into something else."""
    view = GraphView(model)
    outputs = {TensorName.parse(spec.tensor).node for spec in model.signature.outputs}
    image = TensorName.parse(old.tensor)
    waiting, changes = [image], {}
    while waiting:
        tensor = waiting.pop()
        if tensor.node in outputs:
            return None
        for reader in view.readers(tensor.node):
            constants = _follow(reader, tensor, mix, view)
            if constants is None:
                return None
            changes[reader.name] = constants
            if reader.op not in _ENDS:
                waiting.append(TensorName(reader.name))
    for name, constants in changes.items():
        for index, value in constants.items():
            view.graph_def.node.append(constant_node(f"{scope}/{name}/{index}", value))
            view.nodes[name].input[index] = f"{scope}/{name}/{index}"
    for reader in view.readers(image.node):
        entries = [f"{scope}/input" if TensorName.parse(item) == image else item for item in reader.input]
        del reader.input[:]
        reader.input.extend(entries)
    new = replace(old, tensor=f"{scope}/input:0", shape=(*old.shape[:3], len(mix.into)))
    view.graph_def.node.append(placeholder_node(f"{scope}/input", new.dtype, new.shape))
    return FrozenModel(view.graph_def, with_input(model.signature, old, new, new.tensor))


def _follow(reader: NodeDef, tensor: TensorName, mix: Mix, view: GraphView) -> Constants | None:
    """Return the constants with which a reader's result is mixed as its input is, or as before in `_ENDS`; None if none do."""
    positions = [index for index, item in enumerate(reader.input) if TensorName.parse(item).node == tensor.node]
    if len(positions) != 1 or TensorName.parse(reader.input[positions[0]]) != tensor or reader.input[positions[0]][0] == "^":
        return None
    if reader.op in _EITHER_SIDE or (reader.op in _LEFT_SIDE and positions == [0]):
        return _elementwise(reader, 1 - positions[0], mix, view)
    if positions != [0]:
        return None
    if reader.op in _PASSING or (reader.op == "Shape" and len(mix.into) == mix.old_channels):
        return {}
    if reader.op in _PADDING:
        paddings = view.constant(reader.input[1])
        return {} if paddings is not None and len(paddings) == 4 and not paddings[3].any() else None
    if reader.op == "Cast":
        from tensorflow import as_dtype

        return {} if as_dtype(reader.attr["DstT"].type).is_floating else None
    if reader.attr["data_format"].s not in (b"", b"NHWC"):
        return None
    if reader.op == "BiasAdd":
        return _per_channel(reader, (1,), mix, view)
    if reader.op in _NORMALIZATION and not reader.attr["is_training"].b:
        return _per_channel(reader, (1, 2, 3, 4), mix, view)
    if reader.op in ("Conv2D", "DepthwiseConv2dNative"):
        return _kernel(reader, mix, view)
    return None


def _elementwise(reader: NodeDef, index: int, mix: Mix, view: GraphView) -> Constants | None:
    value = view.constant(reader.input[index])
    if value is None or value.ndim > 4:
        return None
    if value.ndim == 0 or value.shape[-1] == 1:
        return {}  # one value for all channels
    return {index: value[..., mix.into]} if value.shape[-1] == mix.old_channels else None


def _per_channel(reader: NodeDef, indices: tuple[int, ...], mix: Mix, view: GraphView) -> Constants | None:
    values = {index: view.constant(reader.input[index]) for index in indices}
    taken = {i: value[..., mix.into] for i, value in values.items() if value is not None and value.shape == (mix.old_channels,)}
    return taken if len(taken) == len(values) else None


def _kernel(reader: NodeDef, mix: Mix, view: GraphView) -> Constants | None:
    """Return the mixed kernel; a depthwise one leaves the channels apart, so that the mix goes on behind it.

    It may not make several channels of one: in a grouped convolution behind it, they would look like the image's.
    """
    kernel = view.constant(reader.input[1])
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != mix.old_channels:
        return None
    taken = kernel[:, :, mix.into, :]
    if reader.op == "DepthwiseConv2dNative":
        return {1: taken} if kernel.shape[3] == 1 else None
    return {1: taken * np.array(mix.shares, kernel.dtype).reshape(1, 1, -1, 1)}
