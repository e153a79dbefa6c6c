"""`nchw_to_nhwc`, `normalize`, `resize` and `cast_input`. That they compute the right thing is in `test_adapters.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import FrozenModel, adapt
from mlkit_build.errors import ConfigError
from tests.adapters.models import adapted, camera, channels_first, classifier, lite, model, operators, pair, resized
from tests.sources.tf1 import digits, run_frozen


def vectors(dtype: str = "float32", shape: tuple[int, ...] = (1, 6)) -> FrozenModel:
    """Return a model that adds 1 to a tensor."""

    def build(tf1: Any) -> None:
        tf1.add(tf1.placeholder(dtype, shape, name="x"), tf1.constant(1, dtype), name="y")

    return model(build, {"x": "x"}, {"y": "y"})


def test_transpositions_that_undo_each_other_go() -> None:
    turned = adapt(channels_first(), "nchw_to_nhwc", {"outputs": ["map"]})
    assert operators(channels_first())["Transpose"] == 2
    assert "Transpose" not in operators(turned)


def test_a_model_without_transpositions_gets_one_at_each_end(tmp_path: Path) -> None:
    old = channels_first(transposed=False)
    turned = adapt(old, "nchw_to_nhwc", {"outputs": ["map"]})
    assert operators(turned)["Transpose"] == 2
    image = digits(1, [6, 8, 3])
    (expected,) = run_frozen(old, {"image": image.transpose(0, 3, 1, 2)})
    for (found,) in (run_frozen(turned, {"image": image}), lite(turned, {"image": image}, tmp_path)):
        np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))


def test_outputs_stay_channels_first_unless_named() -> None:
    assert adapt(channels_first(), "nchw_to_nhwc").signature.outputs == channels_first().signature.outputs


def test_other_transpositions_of_the_model_stay() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 6, 8], name="x")
        first = tf1.reduce_mean(tf1.transpose(x, [0, 2, 3, 1]), 3)
        tf1.add(first, tf1.reduce_mean(tf1.transpose(x, [0, 2, 1, 3]), 2), name="y")

    old = model(build, {"image": "x"}, {"y": "y"})
    turned = adapt(old, "nchw_to_nhwc")
    image = digits(1, [6, 8, 3])
    (expected,) = run_frozen(old, {"image": image.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(run_frozen(turned, {"image": image})[0], expected, atol=1e-6)


@pytest.mark.parametrize("old", [pair(), classifier(3), vectors()])
def test_channels_first_is_not_guessed(old: FrozenModel) -> None:
    with pytest.raises(ConfigError, match=r"needs one input .* with fewer channels than rows or columns, found ") as caught:
        adapt(old, "nchw_to_nhwc")
    assert "inputs: [...]" in caught.value.hint


def test_a_small_image_is_turned_when_it_is_named() -> None:
    turned = adapt(pair(), "nchw_to_nhwc", {"inputs": ["a", "b"]})
    assert [spec.shape for spec in turned.signature.inputs] == [(1, 4, 3, 4)] * 2


def test_what_has_not_four_dimensions_cannot_be_turned() -> None:
    with pytest.raises(ConfigError, match=r"needs an input \[batch, channels, height, width\], found x \[1, 6\] float32"):
        adapt(vectors(), "nchw_to_nhwc", {"inputs": ["x"]})
    with pytest.raises(ConfigError, match=r"needs an output \[batch, channels, height, width\], found scores \[1, 5\] float32"):
        adapt(camera(), "nchw_to_nhwc", {"inputs": [], "outputs": ["scores"]})


def test_an_image_is_normalized_by_one_operator_and_anything_else_by_two() -> None:
    options = {"mean": [1], "std": [2]}
    assert operators(adapt(camera(), "normalize", options)) - operators(camera()) == {"DepthwiseConv2dNative": 1, "BiasAdd": 1}
    assert operators(adapt(vectors(), "normalize", options)) - operators(vectors()) == {"Sub": 1, "Mul": 1}


@pytest.mark.parametrize("options", [{"mean": [3], "std": [-4]}, {"mean": [1, 2, 3, 4, 5, 6], "std": [7]}])
def test_vectors_are_normalized_too(options: dict[str, list[float]], tmp_path: Path) -> None:
    x = digits(1, [6]) * 9
    normalized = adapt(vectors(), "normalize", options)
    expected = (x - np.array(options["mean"])) / np.array(options["std"]) + 1
    for (found,) in (run_frozen(normalized, {"x": x}), lite(normalized, {"x": x}, tmp_path)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_normalizing_leaves_the_border_of_a_padded_convolution_as_it_was() -> None:
    # With SAME padding the border is 0 after normalization; folded into the kernels it would be the mean.
    raw = np.full((1, 6, 6, 1), 200, np.float32)
    (expected,) = run_frozen(classifier(), {"image": (raw - 200) / 50})
    np.testing.assert_array_equal(
        run_frozen(adapt(classifier(), "normalize", {"mean": [200], "std": [50]}), {"image": raw})[0], expected
    )


def test_normalize_refuses_other_channels_and_integers() -> None:
    three = {"mean": [1, 2, 3], "std": [1]}
    with pytest.raises(ConfigError, match=r"one for each of the 6 channels of x \[1, 6\], found 3") as caught:
        adapt(vectors(), "normalize", three)
    assert "check mean and std" in caught.value.hint
    with pytest.raises(ConfigError, match=r"one for each of the 8 channels of image \[1, 3, 6, 8\], found 3") as caught:
        adapt(channels_first(), "normalize", three)
    assert "nchw_to_nhwc" in caught.value.hint
    with pytest.raises(ConfigError, match=r"needs a floating-point input, found image \[1, 8, 6, 3\] uint8") as caught:
        adapt(camera("uint8"), "normalize", {"mean": [0], "std": [1]})
    assert "before cast_input" in caught.value.hint


def test_the_nearest_pixel_is_that_under_the_centre(tmp_path: Path) -> None:
    shrunk = adapted(camera(), {"resize": {"height": 24, "width": 2, "method": "nearest"}})
    image = digits(1, [24, 2, 3])
    # Centres of 8 rows in 24 are 1, 4, ...; six columns in two repeat each three times.
    expected = run_frozen(camera(), {"image": image[:, 1::3].repeat(3, axis=2)})
    for found in (run_frozen(shrunk, {"image": image}), lite(shrunk, {"image": image}, tmp_path)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_resizing_is_what_tensorflow_2_does() -> None:
    import tensorflow as tf

    image = digits(1, [5, 13, 3])
    np.testing.assert_allclose(tf.image.resize(image, (8, 6)).numpy(), resized(image, 8, 6), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "options", "expected", "hint"),
    [
        (vectors(), {}, r"an image input \[batch, height, width, channels\], found x \[1, 6\]", "check signature.inputs"),
        (channels_first(), {}, r"an image input .*, found image \[1, 3, 6, 8\]", "nchw_to_nhwc"),
        (camera(), {"height": 8, "width": 6}, "an image input of another size than 8x6", "drop"),
        (camera("uint8"), {}, "a float32 input, found image .* uint8", "before cast_input"),
    ],
)
def test_resize_refuses_what_it_cannot_resize(old: FrozenModel, options: dict[str, Any], expected: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"adapters: resize needs {expected}") as caught:
        adapt(old, "resize", {"height": 9, "width": 9, **options})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("model_type", "fed"),
    [("float32", "uint8"), ("float32", "int8"), ("float32", "int16"), ("int32", "uint8"), ("int64", "int32"), ("int32", "int16")],
)
def test_values_keep_what_they_are_in_another_type(model_type: str, fed: str, tmp_path: Path) -> None:
    limits = np.iinfo(fed)
    x = np.array([[limits.min, 0, 1, 2, 3, limits.max - (fed == "int32")]], fed)  # the model adds 1
    cast = adapt(vectors(model_type), "cast_input", {"dtype": fed})
    for (found,) in (run_frozen(cast, {"x": x}), lite(cast, {"x": x}, tmp_path)):
        assert found.dtype == model_type
        np.testing.assert_array_equal(found, x.astype(model_type) + 1)


@pytest.mark.parametrize(
    ("model_type", "fed", "hint"),
    [
        ("float32", "int32", "uint8, int8, int16"),  # 24 bits of mantissa
        ("float32", "float32", "uint8, int8, int16"),
        ("int32", "float32", "uint8, int8, int16"),
        ("uint8", "int8", "drop"),
        ("uint8", "uint8", "drop"),
    ],
)
def test_a_type_whose_values_the_model_cannot_hold_is_refused(model_type: str, fed: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"holds every {fed}, found x \[1, 6\] {model_type}") as caught:
        adapt(vectors(model_type), "cast_input", {"dtype": fed})
    assert hint in caught.value.hint
