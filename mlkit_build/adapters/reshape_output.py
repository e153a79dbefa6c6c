"""`reshape_output`: gives an output another shape of as many values."""

from __future__ import annotations

import math

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import ReshapeOutputOptions
from mlkit_build.adapters.stitching import chosen_output, replace_output, unfit
from mlkit_build.signature import TensorSpec


def adapt(model: FrozenModel, options: ReshapeOutputOptions) -> FrozenModel:
    """Reshape an output.

    Raises:
        ConfigError: The new shape holds another number of values.
    """
    output = chosen_output(model, options.output, "reshape_output")
    known = math.prod(size for size in options.shape if size != -1)
    shape = tuple(output.size // known if size == -1 else size for size in options.shape)
    if math.prod(shape) != output.size:
        expected = f"an output with as many values as {list(options.shape)} holds"
        raise unfit("reshape_output", expected, output, f"the sizes must multiply to {output.size}")
    return reshape(model, output, shape, "reshape_output")


def reshape(model: FrozenModel, output: TensorSpec, shape: tuple[int, ...], adapter: str) -> FrozenModel:
    """Give an output a shape of as many values; where the batch stays, the graph can still run with another one."""
    import tensorflow as tf

    batched = len(shape) > 0 and output.shape[:1] == shape[:1]
    sizes = (-1, *shape[1:]) if batched else shape
    return replace_output(model, output, adapter, lambda values: tf.reshape(values, sizes, name="reshape"))
