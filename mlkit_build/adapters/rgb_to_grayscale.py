"""`rgb_to_grayscale`: lets a model of grey images take RGB, which is all that ML Kit feeds.

Luma weights of ITU-R BT.601, section 2.5.1: 0.299 R + 0.587 G + 0.114 B. They sum to 1, so a grey pixel keeps its value and a
mean and std that are equal for the three channels mean the same before and after.
"""

from __future__ import annotations

from typing import Any

from mlkit_build.adapters import FrozenModel, only, replace_input
from mlkit_build.errors import ConfigError

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
    return replace_input(model, old, (*old.shape[:3], 3), _to_grey)


def _to_grey(rgb: Any) -> Any:
    """Weigh the channels in a 1x1 convolution, which every delegate and quantizer knows."""
    import tensorflow as tf

    weights = tf.constant(LUMA, dtype=rgb.dtype, shape=(1, 1, 3, 1), name="adapters/luma")
    return tf.nn.conv2d(rgb, weights, strides=1, padding="VALID", name="adapters/rgb_to_grayscale")
