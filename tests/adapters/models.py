"""Small frozen models for adapters, and adapted models run in TensorFlow and in LiteRT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel, adapt
from mlkit_build.graphs import TensorName, canonical_form
from mlkit_build.signature import FrozenSignature, TensorSpec
from tests.sources.tf1 import write_frozen
from tests.stages.built import converted, interpreted, weights

Array = NDArray[Any]


def model(build: Callable[[Any], None], inputs: Mapping[str, str], outputs: Mapping[str, str]) -> FrozenModel:
    """Return what freeze makes of a graph of constants: its tensors by name, in canonical form."""
    import tensorflow as tf

    def specs(tensors: Mapping[str, str]) -> tuple[TensorSpec, ...]:
        found = {name: graph.get_tensor_by_name(f"{node}:0") for name, node in tensors.items()}
        return tuple(TensorSpec(name, t.name, tuple(t.shape.as_list()), t.dtype.name) for name, t in found.items())

    with tf.Graph().as_default() as graph:
        build(tf.compat.v1)
    signature = FrozenSignature(specs(inputs), specs(outputs))
    roots = [TensorName.parse(spec.tensor) for spec in signature.outputs]
    return FrozenModel(canonical_form(graph.as_graph_def(), roots), signature)


def adapted(before: FrozenModel, *adapters: Any) -> FrozenModel:
    """Apply adapters as a recipe lists them: a name, or a name with options."""
    for entry in adapters:
        ((name, options),) = entry.items() if isinstance(entry, dict) else ((entry, {}),)
        before = adapt(before, name, options)
    return before


def lite(tested: FrozenModel, values: Mapping[str, Array], folder: Path) -> list[Array]:
    """Run a model in LiteRT, made by the convert stage."""
    found = interpreted(converted(write_frozen(tested, folder), folder)["float.tflite"], values)
    return [found[spec.name] for spec in tested.signature.outputs]


def operators(tested: FrozenModel) -> Counter[str]:
    """Return how many nodes of each operator the graph has, without constants."""
    return Counter(node.op for node in tested.graph_def.node if node.op != "Const")


def camera(dtype: str = "float32") -> FrozenModel:
    """Return a model of pictures [1, 8, 6, 3] with its own normalization: logits [1, 5] and a mask [1, 4, 3, 1]."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder(dtype, [1, 8, 6, 3], name="x")
        h = (tf1.cast(x, "float32") - [0.1, 0.2, -0.3]) * [1.5, 2.0, 0.5]
        h = tf1.pad(h, [[0, 0], [0, 1], [0, 1], [0, 0]])
        h = tf1.nn.relu(tf1.nn.conv2d(h, tf1.constant(weights(3, 3, 3, 8)), 2, "VALID"))
        tf1.nn.conv2d(h, tf1.constant(weights(1, 1, 8, 1)), 1, "VALID", name="mask")
        h = tf1.reshape(tf1.nn.depthwise_conv2d(h, tf1.constant(weights(3, 3, 8, 1)), [1, 1, 1, 1], "SAME"), [1, -1])
        tf1.matmul(h, tf1.constant(weights(96, 5)), name="logits")

    return model(build, {"image": "x"}, {"scores": "logits", "mask": "mask"})


def classifier(channels: int = 1, size: int = 6, classes: int = 4, dtype: str = "float32", behind: Any = None) -> FrozenModel:
    """Return a convolution and a dense layer: [1, size, size, channels] -> [1, classes], or what `behind` makes of it."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder(dtype, [1, size, size, channels], name="x")
        h = tf1.nn.conv2d(tf1.cast(x, "float32"), tf1.constant(weights(3, 3, channels, 4)), 2, "SAME")
        h = tf1.reshape(tf1.nn.relu(h), [1, -1])
        logits = tf1.matmul(h, tf1.constant(weights(int(h.shape[1]), classes)))
        tf1.identity(behind(tf1, logits) if behind else logits, name="y")

    return model(build, {"image": "x"}, {"scores": "y"})


def channels_first(transposed: bool = True, size: int = 6) -> FrozenModel:
    """Return a model [1, 3, size, size + 2] -> [1, 4, size, size + 2], as exports from ONNX have it, or elementwise only."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, size, size + 2], name="x")
        if transposed:
            h = tf1.nn.conv2d(tf1.transpose(x, [0, 2, 3, 1]), tf1.constant(weights(3, 3, 3, 4)), 1, "SAME")
            tf1.transpose(h, [0, 3, 1, 2], name="y")
        else:
            tf1.nn.relu(x * np.array([1.0, -2.0, 3.0], np.float32).reshape(3, 1, 1), name="y")

    return model(build, {"image": "x"}, {"map": "y"})


def pair() -> FrozenModel:
    """Return a model of two images [1, 4, 4, 3] and two outputs [1, 2], of which `left` needs only the first image."""

    def build(tf1: Any) -> None:
        a, b = (tf1.reshape(tf1.placeholder("float32", [1, 4, 4, 3], name=name), [1, 48]) for name in "ab")
        h = tf1.matmul(a, tf1.constant(weights(48, 2)), name="left")
        tf1.add(h, tf1.matmul(b, tf1.constant(weights(48, 2, seed=6))), name="both")

    return model(build, {"a": "a", "b": "b"}, {"left": "left", "both": "both"})


def resized(image: Array, height: int, width: int) -> Array:
    """Return the image [1, ..., channels] resized by half-pixel bilinear interpolation, in NumPy."""

    def along(values: Array, axis: int, size: int) -> Array:
        old = values.shape[axis]
        place = (np.arange(size) + 0.5) * old / size - 0.5
        low = np.floor(place).astype(int)
        share = np.reshape(place - low, [-1 if i == axis else 1 for i in range(4)])
        first, second = (np.take(values, np.clip(low + i, 0, old - 1), axis) for i in (0, 1))
        return first * (1 - share) + second * share

    return along(along(image.astype(np.float64), 1, height), 2, width).astype(np.float32)


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def luma(rgb: Array) -> Array:
    """Return the grey image of ITU-R BT.601-7, section 2.5.1: E_Y = 0.299 E_R + 0.587 E_G + 0.114 E_B."""
    grey: Array = (rgb.astype(np.float64) * [0.299, 0.587, 0.114]).sum(-1, keepdims=True).astype(np.float32)
    return grey
