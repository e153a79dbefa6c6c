from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import ADAPTERS, adapt
from mlkit_build.adapters.rgb_to_grayscale import LUMA
from mlkit_build.errors import ConfigError
from mlkit_build.stages.freeze import freeze_graph
from tests.sources.tf1 import constants_only, digits, loaded, request, run_frozen


def classifier(dtype: str = "float32", channels: int = 1, classes: int = 4, rank: int = 4) -> Any:
    def build(tf1: Any) -> None:
        shape = [1, 3, 3, channels] if rank == 4 else [1, 3 * channels]
        x = tf1.placeholder(dtype, shape, name="x")
        flat = tf1.reshape(tf1.cast(x, "float32"), [1, -1])
        weights = tf1.constant(digits(int(flat.shape[1]), [classes]))
        tf1.matmul(flat, weights, name="y")

    return freeze_graph(loaded(constants_only(build)[0]), request({"image": "x:0"}, {"scores": "y:0"}))


def test_softmax_is_that_of_the_logits() -> None:
    model = classifier()
    x = digits(1, [3, 3, 1]) * 5
    (logits,) = run_frozen(model, {"image": x})
    exponents = np.exp(logits.astype(np.float64) - logits.max())
    (scores,) = run_frozen(adapt(model, "softmax"), {"image": x})
    np.testing.assert_allclose(scores, exponents / exponents.sum(), atol=1e-7)


def test_softmax_keeps_the_outputs_name_shape_and_type() -> None:
    before, after = classifier(), adapt(classifier(), "softmax")
    assert (after.signature.outputs[0].name, after.signature.outputs[0].shape, after.signature.outputs[0].dtype) == (
        "scores",
        before.signature.outputs[0].shape,
        "float32",
    )
    assert after.signature.inputs == before.signature.inputs


def test_grey_is_the_luma_of_bt_601() -> None:
    # ITU-R BT.601-7, section 2.5.1: E_Y = 0.299 E_R + 0.587 E_G + 0.114 E_B.
    assert LUMA == (0.299, 0.587, 0.114)
    model = classifier()
    rgb = digits(1, [3, 3, 3])
    grey = (rgb.astype(np.float64) * [0.299, 0.587, 0.114]).sum(-1, keepdims=True).astype(np.float32)
    (expected,) = run_frozen(model, {"image": grey})
    np.testing.assert_allclose(run_frozen(adapt(model, "rgb_to_grayscale"), {"image": rgb})[0], expected, atol=1e-5)


def test_a_grey_pixel_keeps_its_value_through_rgb() -> None:
    model = classifier()
    grey = digits(1, [3, 3, 1])
    (expected,) = run_frozen(model, {"image": grey})
    found = run_frozen(adapt(model, "rgb_to_grayscale"), {"image": np.repeat(grey, 3, -1)})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rgb_to_grayscale_makes_the_input_three_channels() -> None:
    after = adapt(classifier(), "rgb_to_grayscale").signature.inputs[0]
    assert (after.name, after.shape, after.dtype) == ("image", (1, 3, 3, 3), "float32")


def test_adapters_combine() -> None:
    model = adapt(adapt(classifier(), "rgb_to_grayscale"), "softmax")
    (scores,) = run_frozen(model, {"image": digits(1, [3, 3, 3])})
    assert scores.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("rgb_to_grayscale", {"channels": 3}, r"needs a floating-point input .* found image \[1, 3, 3, 3\] float32"),
        ("rgb_to_grayscale", {"rank": 2}, r"needs a floating-point input .* found image \[1, 3\] float32"),
        ("rgb_to_grayscale", {"dtype": "uint8"}, r"needs a floating-point input .* found image \[1, 3, 3, 1\] uint8"),
        ("softmax", {"classes": 1}, r"at least two classes, found scores \[1, 1\] float32"),
    ],
)
def test_an_adapter_that_does_not_apply_says_what_it_needs_and_found(name: str, model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapt(classifier(**model), name)


def test_softmax_on_a_class_index_is_refused() -> None:
    def build(tf1: Any) -> None:
        tf1.argmax(tf1.placeholder("float32", [1, 4], name="x"), axis=1, name="y")

    model = freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}))
    with pytest.raises(ConfigError, match="needs floating-point logits") as caught:
        adapt(model, "softmax")
    assert "tensor of the logits" in caught.value.hint


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapter_refuses_a_model_in_which_it_cannot_tell_which_tensor_is_meant(name: str) -> None:
    def build(tf1: Any) -> None:
        a, b = (tf1.placeholder("float32", [1, 3, 3, 1], name=name) for name in ("a", "b"))
        tf1.identity(a + b, name="sum")
        tf1.identity(a - b, name="difference")

    asked = request({"a": "a:0", "b": "b:0"}, {"sum": "sum:0", "difference": "difference:0"})
    model = freeze_graph(loaded(constants_only(build)[0]), asked)
    with pytest.raises(ConfigError, match=f"adapters: {name} needs a model with one (input|output), found "):
        adapt(model, name)


def convolutional(**options: Any) -> Any:
    """A model whose image goes into two convolutions, and where `also` says so, elsewhere too."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 6, 6, 1], name="x")
        first = tf1.nn.conv2d(x, tf1.constant(digits(3, [3, 1, 4])), strides=2, padding="SAME")
        kernel = tf1.identity(tf1.constant(digits(5, [5, 1, 4])))
        second = tf1.nn.conv2d(x, kernel, strides=2, padding="SAME", dilations=1)
        total = first - second
        if options.get("also"):
            total += tf1.reduce_mean(x)
        tf1.identity(total, name="y")

    return freeze_graph(loaded(constants_only(build)[0]), request({"image": "x:0"}, {"scores": "y:0"}))


@pytest.mark.parametrize(("also", "added"), [(False, 0), (True, 1)])
def test_luma_goes_into_the_kernels_where_only_convolutions_read_the_image(also: bool, added: int) -> None:
    model = convolutional(also=also)
    rgb = digits(1, [6, 6, 3])
    grey = (rgb.astype(np.float64) * LUMA).sum(-1, keepdims=True).astype(np.float32)
    adapted = adapt(model, "rgb_to_grayscale")
    (expected,) = run_frozen(model, {"image": grey})
    np.testing.assert_allclose(run_frozen(adapted, {"image": rgb})[0], expected, atol=1e-5)

    def convolutions(found: Any) -> int:
        from mlkit_build.graphs import TensorName, canonical_form

        outputs = [TensorName.parse(spec.tensor) for spec in found.signature.outputs]
        return sum(node.op == "Conv2D" for node in canonical_form(found.graph_def, outputs).node)

    assert convolutions(adapted) == convolutions(model) + added


def test_an_image_that_is_an_output_too_keeps_its_shape() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 6, 6, 1], name="x")
        tf1.nn.conv2d(x, tf1.constant(digits(3, [3, 1, 4])), strides=1, padding="SAME", name="y")

    model = freeze_graph(loaded(constants_only(build)[0]), request({"image": "x:0"}, {"y": "y:0", "same": "x:0"}))
    adapted = adapt(model, "rgb_to_grayscale")
    results = run_frozen(adapted, {"image": digits(1, [6, 6, 3])})
    assert [list(result.shape) for result in results] == [[1, 6, 6, 4], [1, 6, 6, 1]]
