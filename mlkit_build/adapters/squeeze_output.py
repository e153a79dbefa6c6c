"""`squeeze_output`: removes axes of size 1 from an output, e.g. `[1, 1, 1, 1000]` to `[1, 1000]`."""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import SqueezeOutputOptions
from mlkit_build.adapters.reshape_output import reshape
from mlkit_build.adapters.stitching import chosen_output, unfit


def adapt(model: FrozenModel, options: SqueezeOutputOptions) -> FrozenModel:
    """Remove the axes from an output's shape.

    Raises:
        ConfigError: An axis does not exist, has another size than 1, or there is none to remove.
    """
    output = chosen_output(model, options.output, "squeeze_output")
    rank = len(output.shape)
    asked = options.axes if options.axes is not None else tuple(i for i, size in enumerate(output.shape) if size == 1 and i > 0)
    axes = {axis + rank if axis < 0 else axis for axis in asked}
    wrong = sorted(axis for axis in axes if not 0 <= axis < rank or output.shape[axis] != 1)
    if wrong or not axes:
        ones = [axis for axis, size in enumerate(output.shape) if size == 1]
        expected = f"an output whose axis {wrong[0]} has size 1" if wrong else "an output with axes of size 1 beside the batch"
        raise unfit("squeeze_output", expected, output, f"axes of size 1: {ones}" if wrong else "drop the adapter")
    return reshape(model, output, tuple(size for axis, size in enumerate(output.shape) if axis not in axes), "squeeze_output")
