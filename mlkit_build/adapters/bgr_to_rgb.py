"""`bgr_to_rgb`: lets a model that was trained on BGR, as OpenCV reads images, take RGB, which is what apps have."""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.image_channels import Mix, mix_channels
from mlkit_build.adapters.options import InputOptions
from mlkit_build.adapters.stitching import chosen_input, unfit


def adapt(model: FrozenModel, options: InputOptions) -> FrozenModel:
    """Reverse the channels of an input `[batch, height, width, 3]`.

    A mean and std per channel that the recipe states are then in the order of RGB.

    Raises:
        ConfigError: The input has another shape.
    """
    old = chosen_input(model, options.input, "bgr_to_rgb")
    if len(old.shape) != 4 or old.shape[-1] != 3:
        channels_first = len(old.shape) == 4 and old.shape[1] == 3
        hint = "put nchw_to_nhwc before it" if channels_first else "drop the adapter, or check signature.inputs"
        raise unfit("bgr_to_rgb", "an input [batch, height, width, 3]", old, hint)
    return mix_channels(model, old, Mix((2, 1, 0), (1.0, 1.0, 1.0)), "bgr_to_rgb")
