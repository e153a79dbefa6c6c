"""Adapters of outputs. That they compute the right thing is in `test_adapters.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import FrozenModel, adapt
from mlkit_build.errors import ConfigError
from tests.adapters.models import adapted, camera, channels_first, classifier, model, operators, pair, softmax
from tests.sources.tf1 import digits, run_frozen


def written_out(tf1: Any, logits: Any) -> Any:
    exponents = tf1.exp(logits - tf1.reduce_max(logits, -1, keepdims=True))
    return exponents / tf1.reduce_sum(exponents, -1, keepdims=True)


SCORES: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda tf1, logits: tf1.nn.softmax(logits),
    "sigmoid": lambda tf1, logits: tf1.nn.sigmoid(logits),
    "renamed": lambda tf1, logits: tf1.identity(tf1.identity(tf1.nn.softmax(logits))),
    "reshaped": lambda tf1, logits: tf1.squeeze(tf1.reshape(tf1.nn.softmax(logits), [1, 1, -1]), [1]),
    "written out": written_out,
    "adapted": lambda tf1, logits: tf1.nn.softmax(logits, name="adapters/softmax/softmax"),
}


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("kind", sorted(SCORES))
def test_scores_are_not_made_scores_again(name: str, kind: str) -> None:
    with pytest.raises(
        ConfigError, match=f"adapters: {name} needs logits, found scores .* scores already: the result of the "
    ) as caught:
        adapt(classifier(behind=SCORES[kind]), name)
    assert caught.value.hint == "drop the adapter"


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_an_adapter_listed_twice_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="scores already"):
        adapted(classifier(), name, name)


@pytest.mark.parametrize(
    "behind",
    [
        lambda tf1, logits: tf1.nn.log_softmax(logits),
        lambda tf1, logits: tf1.nn.softmax(logits) * 8.0,
        lambda tf1, logits: tf1.exp(logits) / (1.0 + tf1.reduce_sum(tf1.abs(logits))),
    ],
)
def test_what_only_looks_like_scores_gets_its_softmax(behind: Callable[[Any, Any], Any]) -> None:
    old = classifier(behind=behind)
    image = digits(1, [6, 6, 1])
    (logits,), (scores,) = run_frozen(old, {"image": image}), run_frozen(adapt(old, "softmax"), {"image": image})
    np.testing.assert_allclose(scores, softmax(logits), atol=1e-6)


def test_softmax_and_sigmoid_keep_the_outputs_name_shape_and_type() -> None:
    for name in ("softmax", "sigmoid"):
        before, after = (found.signature for found in (classifier(), adapt(classifier(), name)))
        assert after.inputs == before.inputs
        assert [(s.name, s.shape, s.dtype) for s in after.outputs] == [(s.name, s.shape, s.dtype) for s in before.outputs]


@pytest.mark.parametrize(
    ("name", "old", "message", "hint"),
    [
        ("softmax", classifier(classes=1), r"at least two classes, found scores \[1, 1\] float32", "sigmoid"),
        ("softmax", classifier(behind=lambda tf1, y: tf1.argmax(y, 1)), r"found scores \[1\] int64", "argmax_to_logits"),
        ("sigmoid", classifier(behind=lambda tf1, y: tf1.argmax(y, 1)), r"found scores \[1\] int64", "signature.outputs"),
    ],
)
def test_what_is_not_logits_is_refused(name: str, old: FrozenModel, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"adapters: {name} needs floating-point logits.*{message}") as caught:
        adapt(old, name)
    assert hint in caught.value.hint


def test_a_single_logit_becomes_a_score_by_sigmoid() -> None:
    old, image = classifier(classes=1), {"image": digits(1, [6, 6, 1])}
    (logit,), (score,) = run_frozen(old, image), run_frozen(adapt(old, "sigmoid"), image)
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-logit)), atol=1e-6)


def test_an_index_becomes_scores_by_two_adapters() -> None:
    old = classifier(behind=lambda tf1, logits: tf1.argmax(logits, 1))
    image = {"image": digits(1, [6, 6, 1])}
    found = adapted(old, "argmax_to_logits", "softmax")
    assert "ArgMax" not in operators(found)
    (scores,) = run_frozen(found, image)
    np.testing.assert_allclose(scores, softmax(run_frozen(classifier(), image)[0]), atol=1e-6)
    assert scores.argmax(1) == run_frozen(old, image)[0]


def test_the_classes_may_lie_on_any_axis() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 6, 8], name="x")
        tf1.argmax(x * 2.0, 1, name="y")

    found = adapt(model(build, {"image": "x"}, {"map": "y"}), "argmax_to_logits")
    assert found.signature.outputs[0].shape == (1, 3, 6, 8)


def test_another_output_than_an_argmax_is_reported_with_what_made_it() -> None:
    old = classifier(behind=lambda tf1, logits: tf1.cast(tf1.squeeze(tf1.argmin(logits, 1)), "int32"))
    with pytest.raises(
        ConfigError, match=r"found scores \(y:0\), which comes from Identity \(y\), from Cast \(.*\), from Squeeze"
    ):
        adapt(old, "argmax_to_logits")
    with pytest.raises(ConfigError, match=r"from ArgMin \("):
        adapt(old, "argmax_to_logits")


def test_squeeze_removes_every_axis_of_one_but_the_batch() -> None:
    old = classifier(behind=lambda tf1, logits: tf1.reshape(logits, [1, 1, 4, 1]))
    assert adapt(old, "squeeze_output").signature.outputs[0].shape == (1, 4)
    assert adapt(old, "squeeze_output", {"axes": [-1]}).signature.outputs[0].shape == (1, 1, 4)
    assert adapt(old, "squeeze_output", {"axes": [0, 1, 3]}).signature.outputs[0].shape == (4,)


@pytest.mark.parametrize("axes", [[2], [1, 2], [4], [-5]])
def test_an_axis_of_another_size_is_not_squeezed(axes: list[int]) -> None:
    old = classifier(behind=lambda tf1, logits: tf1.reshape(logits, [1, 1, 4, 1]))
    with pytest.raises(ConfigError, match=r"an output whose axis -?\d has size 1, found scores \[1, 1, 4, 1\]") as caught:
        adapt(old, "squeeze_output", {"axes": axes})
    assert caught.value.hint == "axes of size 1: [0, 1, 3]"


def test_squeezing_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="axes of size 1 beside the batch, found scores"):
        adapt(classifier(), "squeeze_output")


@pytest.mark.parametrize("shape", [[1, 3], [1, -1, 3], [1, 8], [5, -1]])
def test_a_shape_of_another_size_is_refused(shape: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"as many values as \[.*\] holds, found scores \[1, 4\]") as caught:
        adapt(classifier(), "reshape_output", {"shape": shape})
    assert caught.value.hint == "the sizes must multiply to 4"


@pytest.mark.parametrize(("shape", "result"), [([1, 2, 2], (1, 2, 2)), ([-1, 4], (1, 4)), ([4], (4,)), ([-1, 2], (2, 2))])
def test_an_output_takes_any_shape_of_its_size(shape: list[int], result: tuple[int, ...]) -> None:
    image = {"image": digits(1, [6, 6, 1])}
    found = adapt(classifier(), "reshape_output", {"shape": shape})
    assert found.signature.outputs[0].shape == result
    np.testing.assert_array_equal(run_frozen(found, image)[0], run_frozen(classifier(), image)[0].reshape(result))


def test_a_reshaped_model_still_runs_with_another_batch() -> None:
    # Validation runs models on many samples at once where they can.
    def build(tf1: Any) -> None:
        tf1.add(tf1.placeholder("float32", [1, 6, 1], name="x"), 1.0, name="y")

    for adapter in ("squeeze_output", {"reshape_output": {"shape": [1, 2, 3]}}):
        found = adapted(model(build, {"x": "x"}, {"y": "y"}), adapter)
        for node in found.graph_def.node:
            if node.op == "Placeholder":
                node.attr["shape"].shape.dim[0].size = -1
        assert run_frozen(found, {"x": digits(5, [6, 1])})[0].shape[0] == 5


def test_selecting_an_output_drops_what_only_the_others_needed() -> None:
    kept = adapt(camera(), "select_output", {"output": "mask"})
    assert [spec.name for spec in kept.signature.outputs] == ["mask"]
    assert "MatMul" not in operators(kept)


def test_an_input_that_no_kept_output_needs_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"select_output: the input 'b' \(b:0\) is not needed by left"):
        adapt(pair(), "select_output", {"output": "left"})


def test_an_output_that_is_left_does_not_keep_channels_from_going_into_kernels() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 6, 6, 3], name="x")
        tf1.nn.conv2d(x, tf1.constant(digits(3, [3, 3, 4])), 1, "SAME", name="y")
        tf1.reduce_mean(x, name="brightness")

    old = model(build, {"image": "x"}, {"y": "y", "brightness": "brightness"})
    assert operators(adapted(old, {"select_output": {"output": "y"}}, "bgr_to_rgb")) == {"Placeholder": 1, "Conv2D": 1}


def test_an_output_is_chosen_by_name_and_the_others_stay() -> None:
    after = adapt(camera(), "squeeze_output", {"output": "mask"})
    assert after.signature.outputs[0] == camera().signature.outputs[0]
    assert adapt(channels_first(), "sigmoid", {"output": "map"}).signature.outputs[0].name == "map"
