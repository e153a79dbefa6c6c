"""Where an adapter meets a model: the input or output it means, and new nodes in front of the one or behind the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlkit_build.adapters import FrozenModel
from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.graphs import TensorName
from mlkit_build.signature import FrozenSignature, TensorSpec


def chosen_input(model: FrozenModel, name: str | None, adapter: str) -> TensorSpec:
    """Return the input called `name`, or the only one.

    Raises:
        ConfigError: There is none of that name, or there are several and none is named.
    """
    return _chosen(model.signature.inputs, name, "input", adapter)


def chosen_output(model: FrozenModel, name: str | None, adapter: str) -> TensorSpec:
    """Return the output called `name`, or the only one.

    Raises:
        ConfigError: There is none of that name, or there are several and none is named.
    """
    return _chosen(model.signature.outputs, name, "output", adapter)


def _chosen(specs: tuple[TensorSpec, ...], name: str | None, what: str, adapter: str) -> TensorSpec:
    names = [spec.name for spec in specs]
    if name is None:
        if len(specs) == 1:
            return specs[0]
        example = f"`{{{adapter}: {{{what}: {names[0]}}}}}`" if names else ""
        raise ConfigError(
            f"{adapter} needs a model with one {what}, found {', '.join(names)}", f"name the one you mean: {example}"
        )
    if name not in names:
        raise ConfigError(f"{adapter}: no {what} {name!r}; expected one of {', '.join(names)}", did_you_mean(name, names))
    return specs[names.index(name)]


def unfit(adapter: str, expected: str, found: TensorSpec, hint: str) -> ConfigError:
    """Return the error for an input or output that the adapter does not apply to."""
    return ConfigError(f"{adapter} needs {expected}, found {found.name} {list(found.shape)} {found.dtype}", hint)


def free_scope(model: FrozenModel, adapter: str) -> str:
    """Return the scope for an adapter's new nodes: `adapters/softmax`, and with a number when it is used again."""
    taken = {"/".join(node.name.split("/")[:2]) for node in model.graph_def.node if node.name.startswith("adapters/")}
    scope, number = f"adapters/{adapter}", 1
    while scope in taken:
        number += 1
        scope = f"adapters/{adapter}_{number}"
    return scope


def replace_input(
    model: FrozenModel,
    old: TensorSpec,
    adapter: str,
    build: Callable[[Any], Any],
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
) -> FrozenModel:
    """Give the model a new input of `shape` and `dtype`, the old ones when left out; `build` computes the old input from it."""
    import tensorflow as tf

    scope = free_scope(model, adapter)
    new = replace(old, tensor=f"{scope}/input:0", shape=shape or old.shape, dtype=dtype or old.dtype)
    with tf.Graph().as_default() as graph:
        placeholder = tf.compat.v1.placeholder(new.dtype, new.shape, name=f"{scope}/input")
        with tf.name_scope(f"{scope}/"):
            inner = build(placeholder)
        tf.graph_util.import_graph_def(model.graph_def, input_map={old.tensor: inner}, name="")
    return FrozenModel(graph.as_graph_def(), with_input(model.signature, old, new, inner.name))


def with_input(signature: FrozenSignature, old: TensorSpec, new: TensorSpec, inner: str) -> FrozenSignature:
    """Return the signature with `new` in place of `old`; an output that was the input itself is now the tensor `inner`."""
    inputs = tuple(new if spec is old else spec for spec in signature.inputs)
    outputs = tuple(replace(spec, tensor=inner) if spec.tensor == old.tensor else spec for spec in signature.outputs)
    return FrozenSignature(inputs, outputs)


def replace_output(model: FrozenModel, old: TensorSpec, adapter: str, build: Callable[[Any], Any]) -> FrozenModel:
    """Give the model a new output that `build` computes from the old one."""
    import tensorflow as tf

    scope = free_scope(model, adapter)
    with tf.Graph().as_default() as graph:
        (tensor,) = tf.graph_util.import_graph_def(model.graph_def, return_elements=[old.tensor], name="")
        with tf.name_scope(f"{scope}/"):
            output = build(tensor)
    new = _spec(old.name, output)
    outputs = tuple(new if spec is old else spec for spec in model.signature.outputs)
    return FrozenModel(graph.as_graph_def(), replace(model.signature, outputs=outputs))


def tensor_spec(model: FrozenModel, name: str, tensor: str) -> TensorSpec:
    """Return the shape and type that a tensor of the graph has, as a signature's entry called `name`."""
    import tensorflow as tf

    text = str(TensorName.parse(tensor))
    with tf.Graph().as_default():
        (found,) = tf.graph_util.import_graph_def(model.graph_def, return_elements=[text], name="")
    return _spec(name, found)


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name, tensor.name, tuple(tensor.shape.as_list()), tensor.dtype.base_dtype.name)
