"""`rgb_to_grayscale`: lets a model of grey images take RGB, which is all that ML Kit feeds.

Luma weights of ITU-R BT.601, section 2.5.1: 0.299 R + 0.587 G + 0.114 B. They sum to 1, so a grey pixel keeps its value and a
mean and std that are equal for the three channels mean the same before and after.
"""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.image_channels import Mix, mix_channels
from mlkit_build.adapters.options import InputOptions
from mlkit_build.adapters.stitching import chosen_input, unfit

LUMA = (0.299, 0.587, 0.114)


def adapt(model: FrozenModel, options: InputOptions) -> FrozenModel:
    """Replace an input `[batch, height, width, 1]` by `[batch, height, width, 3]`.

    Raises:
        ConfigError: The input has another shape, or is not floating point.
    """
    old = chosen_input(model, options.input, "rgb_to_grayscale")
    if len(old.shape) != 4 or old.shape[-1] != 1 or not old.dtype.startswith("float"):
        hint = "check signature.inputs"
        if old.shape and old.shape[-1] == 3:
            hint = "drop the adapter"
        elif len(old.shape) == 4 and old.shape[1] == 1:
            hint = "put nchw_to_nhwc before it"
        elif old.shape and old.shape[-1] == 1:
            hint = "put it before cast_input: an adapter acts on the input as those before it left it"
        raise unfit("rgb_to_grayscale", "a floating-point input [batch, height, width, 1]", old, hint)
    return mix_channels(model, old, Mix((0, 0, 0), LUMA), "rgb_to_grayscale")
