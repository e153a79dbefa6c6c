"""`resize`: the app feeds images of another size, and the model resizes them to its own.

Half-pixel centres and no aligned corners (`half_pixel_centers=True, align_corners=False`): what `tf.image.resize` and OpenCV
do. No antialiasing: LiteRT has no operator for it, so that shrinking to less than half the size skips pixels.
"""

from __future__ import annotations

from typing import Any

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.image_channels import looks_channels_first
from mlkit_build.adapters.options import ResizeOptions
from mlkit_build.adapters.stitching import chosen_input, replace_input, unfit
from mlkit_build.signature import TensorSpec


def adapt(model: FrozenModel, options: ResizeOptions) -> FrozenModel:
    """Replace an input `[batch, its height, its width, channels]` by `[batch, height, width, channels]`.

    Raises:
        ConfigError: The input is not a float32 image with channels last, or has that size already.
    """
    old = chosen_input(model, options.input, "resize")
    _check(old, options)
    shape = (old.shape[0], options.height, options.width, old.shape[3])
    return replace_input(model, old, "resize", lambda image: _resized(image, old.shape[1:3], options.method), shape)


def _check(old: TensorSpec, options: ResizeOptions) -> None:
    expected = "an image input [batch, height, width, channels]"
    if len(old.shape) != 4:
        raise unfit("resize", expected, old, "check signature.inputs")
    if looks_channels_first(old.shape):
        raise unfit("resize", expected, old, "put nchw_to_nhwc before it")
    if old.shape[1:3] == (options.height, options.width):
        raise unfit("resize", f"an image input of another size than {options.height}x{options.width}", old, "drop the adapter")
    if old.dtype != "float32":  # the converter has no RESIZE_NEAREST_NEIGHBOR of integers, and TensorFlow's bilinear gives floats
        raise unfit(
            "resize", "a float32 input", old, "put it before cast_input: an adapter acts on the input as those before it left it"
        )


def _resized(image: Any, size: tuple[int, ...], method: str) -> Any:
    import tensorflow as tf

    operator = tf.raw_ops.ResizeBilinear if method == "bilinear" else tf.raw_ops.ResizeNearestNeighbor
    return operator(images=image, size=tf.constant(size, tf.int32), align_corners=False, half_pixel_centers=True, name=method)
