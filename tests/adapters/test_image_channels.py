"""`rgb_to_grayscale` and `bgr_to_rgb`: into the kernels wherever that is exact, in front of the model elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import FrozenModel, adapt
from mlkit_build.adapters.rgb_to_grayscale import LUMA
from mlkit_build.errors import ConfigError
from tests.adapters.models import Array, adapted, camera, channels_first, classifier, lite, luma, model, operators
from tests.sources.tf1 import digits, run_frozen
from tests.stages.built import weights


def per_channel(channels: int, seed: int = 9) -> Array:
    return np.random.default_rng(seed).uniform(0.5, 1.5, channels).astype(np.float32)


def channelwise(tf1: Any, x: Any, kernel: Array) -> Any:
    return tf1.nn.depthwise_conv2d(x, tf1.constant(kernel), [1, 1, 1, 1], "SAME")


def batch_norm(tf1: Any, x: Any, c: int) -> Any:
    given = [tf1.constant(per_channel(c, seed)) for seed in range(4)]
    return tf1.nn.fused_batch_norm(x, given[0], given[1], given[2], given[3], is_training=False)[0]


def grouped(tf1: Any, x: Any, c: int) -> Any:
    """Convolve in two groups, whose kernels are as deep as the image."""
    h = tf1.nn.conv2d(x, tf1.constant(weights(1, 1, c, 2 * c)), 1, "SAME")
    return tf1.nn.conv2d(h, tf1.constant(weights(1, 1, 2 * c, c)), 1, "SAME")


def own_statistics(tf1: Any, x: Any, c: int) -> Any:
    given = [tf1.constant(per_channel(c, seed)) for seed in range(4)]
    return tf1.raw_ops.FusedBatchNormV3(
        x=x, scale=given[0], offset=given[1], mean=given[2], variance=given[3], is_training=True, exponential_avg_factor=0.5
    ).y


# Each goes between the image and a convolution; the channels may be changed behind it as well as before.
FOLDING: dict[str, Callable[[Any, Any, int], Any]] = {
    "nothing": lambda tf1, x, c: x,
    "identity": lambda tf1, x, c: tf1.stop_gradient(tf1.identity(x)),
    "one mean and std": lambda tf1, x, c: (x - 0.5) / 0.25,
    "a mean and std per channel": lambda tf1, x, c: (x - per_channel(c)) * per_channel(c, 2),
    "constants of the image's rank": lambda tf1, x, c: x / per_channel(c).reshape(1, 1, 1, c),
    "a mean image": lambda tf1, x, c: x - digits(1, [6, 6, c]),
    "from a constant": lambda tf1, x, c: per_channel(c) - x,
    "a computed deviation": lambda tf1, x, c: x / tf1.maximum(tf1.sqrt(tf1.constant(per_channel(c))), 1e-3),
    "bias": lambda tf1, x, c: tf1.nn.bias_add(x, tf1.constant(per_channel(c))),
    "batch normalization": batch_norm,
    "zero padding": lambda tf1, x, c: tf1.pad(x - per_channel(c), [[0, 0], [1, 2], [2, 1], [0, 0]]),
    "padding by a value": lambda tf1, x, c: tf1.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], constant_values=0.7),
    "mirroring": lambda tf1, x, c: tf1.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], "REFLECT"),
    "resizing": lambda tf1, x, c: tf1.raw_ops.ResizeBilinear(images=x, size=[9, 4], half_pixel_centers=True),
    "a cast": lambda tf1, x, c: tf1.cast(tf1.cast(x, "float16"), "float32"),
    "a kernel per channel": lambda tf1, x, c: channelwise(tf1, x, weights(3, 3, c, 1)),
}

# Changing the channels behind these is another thing, or nobody can tell from the graph that it is not.
NOT_FOLDING: dict[str, Callable[[Any, Any, int], Any]] = {
    "a quotient": lambda tf1, x, c: per_channel(c) / (x + 3.0),
    "a square": lambda tf1, x, c: x * x,
    "a maximum": lambda tf1, x, c: tf1.nn.relu(x),
    "rounding": lambda tf1, x, c: tf1.cast(tf1.cast(x * 9, "int32"), "float32"),
    "more channels": lambda tf1, x, c: grouped(tf1, tf1.pad(x, [[0, 0], [0, 0], [0, 0], [0, c]]), c),
    "several kernels per channel": lambda tf1, x, c: grouped(tf1, channelwise(tf1, x, weights(3, 3, c, 2)), c),
    "the image's own statistics": own_statistics,
    "another reader": lambda tf1, x, c: x + tf1.reduce_mean(x * per_channel(c)),
}


def behind(step: Callable[[Any, Any, int], Any], channels: int, dtype: str = "float32") -> FrozenModel:
    """Return a model that takes its image through the step into two convolutions."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder(dtype, [1, 6, 6, channels], name="x")
        h = step(tf1, tf1.cast(x, "float32"), channels)
        kernel = tf1.identity(tf1.constant(weights(5, 5, channels, 4, seed=2)))
        first = tf1.nn.conv2d(h, tf1.constant(weights(3, 3, channels, 4)), 2, "SAME")
        tf1.subtract(first, tf1.nn.conv2d(h, kernel, 2, "SAME"), name="y")

    return model(build, {"image": "x"}, {"y": "y"})


MIXES: dict[str, tuple[int, Callable[[Array], Array]]] = {
    "bgr_to_rgb": (3, lambda rgb: rgb[..., ::-1]),
    "rgb_to_grayscale": (1, luma),
}


@pytest.mark.parametrize("name", sorted(MIXES))
@pytest.mark.parametrize("step", sorted(FOLDING))
def test_channels_go_into_the_kernels_and_add_no_operator(name: str, step: str) -> None:
    channels, before = MIXES[name]
    old = behind(FOLDING[step], channels)
    new = adapt(old, name)
    assert not operators(new) - operators(old)
    image = digits(1, [6, 6, 3])
    (expected,), (found,) = run_frozen(old, {"image": before(image)}), run_frozen(new, {"image": image})
    limit = 3e-3 if step == "a cast" else 5e-6  # float16 has eleven bits
    np.testing.assert_allclose(found, expected, atol=limit * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", sorted(MIXES))
@pytest.mark.parametrize("step", sorted(NOT_FOLDING))
def test_where_it_would_not_be_exact_a_convolution_goes_in_front(name: str, step: str) -> None:
    channels, before = MIXES[name]
    old = behind(NOT_FOLDING[step], channels)
    new = adapt(old, name)
    assert operators(new) - operators(old) == {"Conv2D": 1}
    image = digits(1, [6, 6, 3])
    # Luma sums three products where NumPy rounds once: 10 times the nearest integer's edge is not hit by these digits.
    (expected,), (found,) = run_frozen(old, {"image": before(image)}), run_frozen(new, {"image": image})
    np.testing.assert_allclose(found, expected, atol=5e-6 * max(1, np.abs(expected).max()))


def test_channels_change_places_exactly() -> None:
    image = digits(1, [6, 6, 3])
    front = adapt(behind(NOT_FOLDING["a maximum"], 3), "bgr_to_rgb")
    (expected,) = run_frozen(behind(NOT_FOLDING["a maximum"], 3), {"image": image[..., ::-1]})
    np.testing.assert_array_equal(run_frozen(front, {"image": image})[0], expected)


@pytest.mark.parametrize("step", ["a maximum", "a mean and std per channel"])
def test_bgr_of_integer_pixels(step: str, tmp_path: Path) -> None:
    old = behind((FOLDING | NOT_FOLDING)[step], 3, "uint8")
    new = adapt(old, "bgr_to_rgb")
    assert operators(new) - operators(old) == ({"GatherV2": 1} if step == "a maximum" else {})
    pixels = np.random.default_rng(1).integers(0, 256, (1, 6, 6, 3)).astype(np.uint8)
    (expected,) = run_frozen(old, {"image": pixels[..., ::-1]})
    for (found,) in (run_frozen(new, {"image": pixels}), lite(new, {"image": pixels}, tmp_path)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_a_constant_that_others_read_too_stays_as_it_was_for_them() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 6, 6, 3], name="x")
        shared = tf1.constant(weights(3, 3, 3, 3))
        h = tf1.nn.conv2d(x, shared, 1, "SAME")
        tf1.nn.conv2d(h, shared, 1, "SAME", name="y")

    old = model(build, {"image": "x"}, {"y": "y"})
    image = digits(1, [6, 6, 3])
    (expected,) = run_frozen(old, {"image": image[..., ::-1]})
    np.testing.assert_allclose(run_frozen(adapt(old, "bgr_to_rgb"), {"image": image})[0], expected, atol=1e-6)


def test_asking_for_the_images_shape_does_not_keep_bgr_out_of_the_kernels() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 6, 6, 3], name="x")
        h = tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 3, 4)), 1, "SAME")
        tf1.reshape(h, tf1.stack([tf1.raw_ops.Shape(input=x)[0], 144]), name="y")

    old = model(build, {"image": "x"}, {"y": "y"})
    image = digits(1, [6, 6, 3])
    new = adapt(old, "bgr_to_rgb")
    assert operators(new)["Conv2D"] == 1
    (expected,) = run_frozen(old, {"image": image[..., ::-1]})
    np.testing.assert_allclose(run_frozen(new, {"image": image})[0], expected, atol=1e-6)


def test_bgr_twice_is_the_model_as_it_was() -> None:
    image = digits(1, [8, 6, 3])
    for found, expected in zip(
        run_frozen(adapted(camera(), "bgr_to_rgb", "bgr_to_rgb"), {"image": image}),
        run_frozen(camera(), {"image": image}),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_model_of_grey_images_that_normalizes_takes_rgb_with_one_mean() -> None:
    model = adapted(classifier(), {"normalize": {"mean": [127.5], "std": [127.5]}}, "rgb_to_grayscale")
    assert operators(model)["Conv2D"] == operators(classifier())["Conv2D"]
    rgb = np.random.default_rng(1).integers(0, 256, (1, 6, 6, 3)).astype(np.float32)
    (expected,) = run_frozen(classifier(), {"image": (luma(rgb) - 127.5) / 127.5})
    np.testing.assert_allclose(run_frozen(model, {"image": rgb})[0], expected, atol=1e-5)


def test_grey_is_the_luma_of_bt_601() -> None:
    # ITU-R BT.601-7, section 2.5.1: E_Y = 0.299 E_R + 0.587 E_G + 0.114 E_B.
    assert LUMA == (0.299, 0.587, 0.114)


def test_a_grey_pixel_keeps_its_value_through_rgb() -> None:
    grey = digits(1, [6, 6, 1])
    (expected,) = run_frozen(classifier(), {"image": grey})
    found = run_frozen(adapt(classifier(), "rgb_to_grayscale"), {"image": np.repeat(grey, 3, -1)})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "old", "found", "hint"),
    [
        ("rgb_to_grayscale", classifier(3), r"a floating-point input .*, found image \[1, 6, 6, 3\] float32", "drop"),
        ("rgb_to_grayscale", classifier(dtype="uint8"), r"found image \[1, 6, 6, 1\] uint8", "put it before cast_input"),
        ("rgb_to_grayscale", channels_first(), r"found image \[1, 3, 6, 8\] float32", "check signature.inputs"),
        ("bgr_to_rgb", classifier(1), r"an input \[batch, height, width, 3\], found image \[1, 6, 6, 1\] float32", "drop"),
        ("bgr_to_rgb", channels_first(), r"found image \[1, 3, 6, 8\] float32", "put nchw_to_nhwc before it"),
    ],
)
def test_a_model_of_other_images_is_refused(name: str, old: FrozenModel, found: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"adapters: {name} needs .*{found}") as caught:
        adapt(old, name)
    assert hint in caught.value.hint
