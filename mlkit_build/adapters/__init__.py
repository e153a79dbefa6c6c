"""Small graph edits that make a model fit its target. One module per adapter; adding one adds a line to the table below.

An adapter is a function from a frozen model to a frozen model, applied at freeze in the recipe's order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import ConfigError
from mlkit_build.signature import FrozenSignature, TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

__all__ = ["ADAPTERS", "FrozenModel", "adapt", "only", "replace_input", "replace_output"]

ADAPTERS = {
    "rgb_to_grayscale": "mlkit_build.adapters.rgb_to_grayscale",
    "softmax": "mlkit_build.adapters.softmax",
}


@dataclass(frozen=True)
class FrozenModel:
    """A frozen graph and what its tensors stand for."""

    graph_def: GraphDef
    signature: FrozenSignature


def adapt(model: FrozenModel, name: str) -> FrozenModel:
    """Apply the adapter called `name`.

    Raises:
        ConfigError: It does not apply to this model.
    """
    adapted: FrozenModel = import_module(ADAPTERS[name]).adapt(model)
    return adapted


def only(specs: tuple[TensorSpec, ...], what: str, adapter: str) -> TensorSpec:
    """Return the single input or output.

    Raises:
        ConfigError: There are several, and the adapter cannot tell which is meant.
    """
    if len(specs) != 1:
        raise ConfigError(f"adapters: {adapter} needs a model with one {what}, found {', '.join(spec.name for spec in specs)}")
    return specs[0]


def replace_input(model: FrozenModel, old: TensorSpec, shape: tuple[int, ...], build: Callable[[Any], Any]) -> FrozenModel:
    """Give the model a new input of `shape`; `build` computes the old input from it."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        placeholder = tf.compat.v1.placeholder(old.dtype, shape, name=f"adapters/{old.name}")
        inner = build(placeholder)
        tf.graph_util.import_graph_def(model.graph_def, input_map={old.tensor: inner}, name="")
    new = replace(old, tensor=placeholder.name, shape=shape)
    inputs = tuple(new if spec is old else spec for spec in model.signature.inputs)
    outputs = tuple(replace(spec, tensor=inner.name) if spec.tensor == old.tensor else spec for spec in model.signature.outputs)
    return FrozenModel(graph.as_graph_def(), FrozenSignature(inputs, outputs))


def replace_output(model: FrozenModel, old: TensorSpec, build: Callable[[Any], Any]) -> FrozenModel:
    """Give the model a new output that `build` computes from the old one."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        (tensor,) = tf.graph_util.import_graph_def(model.graph_def, return_elements=[old.tensor], name="")
        output = build(tensor)
    new = TensorSpec(old.name, output.name, tuple(output.shape.as_list()), output.dtype.name)
    outputs = tuple(new if spec is old else spec for spec in model.signature.outputs)
    return FrozenModel(graph.as_graph_def(), replace(model.signature, outputs=outputs))
