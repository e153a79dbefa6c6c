"""A file with Flex operators, run from its own bytes, computes what TensorFlow computes; or says why it cannot be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.errors import StageError
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.flex import FlexModel, flex_operators
from tests.sources.tf1 import digits, request, run_graph
from tests.stages.built import signature_of, weights
from tests.stages.conftest import Built
from tests.stages.select import CROPPED, converted, cropped

Build = Callable[[Any], Any]
X_TO_Y = request({"x": "x:0"}, {"y": "y:0"})


def chain(tf1: Any) -> None:
    """Build stretches that alternate: two Flex operators in a row, built-in ones, and one more that reads the input's product."""
    x = tf1.placeholder("float32", [1, 3, 3], name="x")
    square = tf1.matmul(x, x, transpose_b=True) + 2.0 * tf1.eye(3)
    h = tf1.linalg.inv(tf1.linalg.cholesky(square))
    tf1.add(tf1.matmul(h, square), tf1.linalg.inv(square), name="y")


def of_unknown_shape(tf1: Any) -> None:
    """Build built-in operators on as many values as the Flex operator finds."""
    x = tf1.placeholder("float32", [1, 6], name="x")
    unique, index, count = tf1.unique_with_counts(tf1.reshape(tf1.round(2.0 * x), [-1]))
    h = tf1.gather(tf1.nn.relu(unique) * 2.0, index) + tf1.cast(tf1.gather(count, index), "float32")
    tf1.reshape(h, [1, 6], name="y")


def of_complex_numbers(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 8], name="x")
    tf1.abs(tf1.signal.ifft(tf1.complex(x, x * 2.0)), name="y")


def first_and_last(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3, 3], name="x")
    tf1.identity(tf1.linalg.inv(x), name="y")


def of_integers(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 6], name="x")
    bins = tf1.math.bincount(tf1.cast(tf1.reshape(tf1.abs(x) * 4.0, [-1]), "int32"), minlength=5, maxlength=5)
    tf1.reshape(bins + 1, [1, 5], name="y")


def looped(step: Callable[[Any, Any], Any], after: Callable[[Any, Any], Any]) -> Build:
    """Return a model with a loop whose number of steps depends on the input, so that it stays a loop."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 3], name="x")
        steps = tf1.cast(tf1.reduce_sum(tf1.abs(x)), "int32") + 1
        _, h = tf1.while_loop(lambda i, h: i < steps, lambda i, h: (i + 1, step(tf1, h)), [0, x])
        tf1.identity(after(tf1, h), name="y")

    return build


def dense(tf1: Any, h: Any) -> Any:
    return tf1.tanh(tf1.reshape(tf1.matmul(tf1.reshape(h, [3, 3]), tf1.constant(weights(3, 3))), [1, 3, 3]))


def inverse(tf1: Any, h: Any) -> Any:
    return tf1.linalg.inv(h + 4.0 * tf1.eye(3))


def answers(files: Mapping[str, Path], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what the frozen graph gives in TensorFlow."""
    import tensorflow as tf

    signature = signature_of(files)
    graph_def = tf.compat.v1.GraphDef.FromString(files["frozen_graph.pb"].read_bytes())
    feed = {signature.input(name).tensor: value for name, value in feeds.items()}
    return run_graph(graph_def, feed, [spec.tensor for spec in signature.outputs])


def opened(files: Mapping[str, Path]) -> FlexModel:
    return FlexModel(files["float.tflite"], signature_of(files))


def run(runner: Any, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    for name, value in feeds.items():
        runner.buffer(name)[...] = value
    found: list[NDArray[Any]] = runner.invoke()
    return found


@pytest.mark.parametrize(
    ("build", "operators"),
    [
        (chain, {"FlexCholesky": 1, "FlexMatrixInverse": 2}),
        (of_unknown_shape, {"FlexUniqueWithCounts": 1}),
        (of_complex_numbers, {"FlexComplex": 1, "FlexIFFT": 1}),
        (first_and_last, {"FlexMatrixInverse": 1}),
        (of_integers, {"FlexDenseBincount": 1}),
        (looped(dense, inverse), {"FlexMatrixInverse": 1}),
    ],
)
def test_a_model_with_flex_operators_computes_what_tensorflow_computes(
    tmp_path: Path, build: Build, operators: dict[str, int]
) -> None:
    files = converted(build, X_TO_Y, tmp_path)
    assert flex_operators(flatbuffer.read(files["float.tflite"])) == operators
    runner = opened(files).runner()
    for seed in range(4):
        feeds = {"x": digits(1, signature_of(files).inputs[0].shape[1:], seed=seed)}
        for found, expected in zip(run(runner, feeds), answers(files, feeds), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_outputs_that_are_the_input_or_a_constant_are_given_too_and_stay_as_they_were(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 3], name="x")
        tf1.linalg.inv(x, name="y")
        tf1.identity(x, name="same")
        tf1.constant([[1.0, 2.0]], name="fixed")

    files = converted(build, request({"x": "x:0"}, {"y": "y:0", "same": "same:0", "fixed": "fixed:0"}), tmp_path)
    runner, values = opened(files).runner(), digits(2, [3, 3])
    first = run(runner, {"x": values[:1]})
    run(runner, {"x": values[1:]})
    for found, expected in zip(first, answers(files, {"x": values[:1]}), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        a = tf1.placeholder("float32", [1, 3, 3], name="a")
        b = tf1.placeholder("float32", [1, 3, 3], name="b")
        tf1.matmul(tf1.linalg.inv(b), a, name="quotient")
        tf1.subtract(a, b, name="difference")

    asked = request({"right": "b:0", "left": "a:0"}, {"difference": "difference:0", "quotient": "quotient:0"})
    files = converted(build, asked, tmp_path)
    feeds = {"left": digits(1, [3, 3]), "right": digits(1, [3, 3], seed=4)}
    for found, expected in zip(run(opened(files).runner(), feeds), answers(files, feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_runners_of_one_model_share_no_memory(tmp_path: Path) -> None:
    model = opened(converted(first_and_last, X_TO_Y, tmp_path))
    one, other = model.runner(), model.runner()
    one.buffer("x")[...] = np.eye(3)
    other.buffer("x")[...] = 2 * np.eye(3)
    np.testing.assert_array_equal(one.invoke()[0][0], np.eye(3, dtype=np.float32))


def test_a_stretch_holds_its_own_weights_and_no_others(tmp_path: Path) -> None:
    files = converted(cropped, CROPPED, tmp_path)
    before, _, after = opened(files).stretches
    # 3*3*3*32 weights lie before the crop, 512*10 after it, 4 bytes each.
    assert 4 * 864 < len(before.content) < 4 * 864 + 3000  # type: ignore[union-attr]
    assert 4 * 5120 < len(after.content) < 4 * 5120 + 3000  # type: ignore[union-attr]


def test_integers_with_a_scale_stand_for_real_values(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("int8", [1, 2, 2], name="x")
        tf1.identity(tf1.linalg.inv(tf1.cast(x, "float32")), name="y")

    files = converted(build, X_TO_Y, tmp_path)
    model = flatbuffer.read(files["float.tflite"])
    quantization = flatbuffer.schema().QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = np.array([0.5], np.float32), np.array([10])
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization = quantization
    flatbuffer.write(model, files["float.tflite"])
    runner = opened(files).runner()
    # By hand: 0.5 * (q - 10) of 2 is 14, of -4 is 2, of 0 is 10, of 1000 is 127, the greatest int8.
    values = runner.encode("x", np.array([[[2.0, 0.0], [1000.0, -4.0]]], np.float32))
    assert values.tolist() == [[[14, 10], [127, 2]]]
    np.testing.assert_allclose(run(runner, {"x": values})[0][0], np.linalg.inv([[14.0, 10.0], [127.0, 2.0]]), rtol=1e-5)


def test_a_model_of_builtin_operators_has_no_flex_operators(built: Built) -> None:
    for path in built.models.values():
        assert flex_operators(flatbuffer.read(path)) == {}


def test_a_flex_operator_inside_of_a_loop_is_found_and_refused_in_words(tmp_path: Path) -> None:
    files = converted(looped(inverse, dense), X_TO_Y, tmp_path)
    assert flex_operators(flatbuffer.read(files["float.tflite"])) == {"FlexMatrixInverse": 1}
    with pytest.raises(StageError, match=r"inside of a loop or branch, .* cannot be measured: FlexMatrixInverse") as caught:
        opened(files)
    assert "freeze.unroll=always" in caught.value.hint


def test_texts_between_the_runtimes_are_refused_with_the_tensor(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        joined = tf1.string_join([tf1.as_string(x), tf1.constant("a")])
        tf1.cast(tf1.string_to_hash_bucket_fast(joined, 7), "float32", name="y")

    with pytest.raises(StageError, match=r"the tensor \w+ passes a string to or from a Flex operator"):
        opened(converted(build, X_TO_Y, tmp_path))


def test_values_that_an_operator_refuses_are_refused_in_tensorflows_words(tmp_path: Path) -> None:
    runner = opened(converted(first_and_last, X_TO_Y, tmp_path)).runner()
    with pytest.raises(StageError, match=r"TensorFlow cannot run FlexMatrixInverse: .*not invertible"):
        run(runner, {"x": np.zeros((1, 3, 3), np.float32)})


def rename(model: Any) -> None:
    """Have the file describe an operator that TensorFlow lacks; the name is as long as before, so that all lengths hold."""
    for operator in model.subgraphs[0].operators:
        if operator.customOptions is not None:
            data = bytes(operator.customOptions).replace(b"MatrixInverse", b"MatrixInvents")
            operator.customOptions = np.frombuffer(data, np.uint8)


def shorten(model: Any) -> None:
    """Have a builtin operator of the file contradict itself."""
    graph = model.subgraphs[0]
    builtin = next(operator for operator in graph.operators if operator.customOptions is None)
    builtin.inputs = builtin.inputs[:1]


@pytest.mark.parametrize(
    ("edit", "message"),
    [(rename, "TensorFlow cannot run FlexMatrixInvents: "), (shorten, "LiteRT cannot run the model: ")],
)
def test_a_damaged_model_is_refused_and_says_by_whom(tmp_path: Path, edit: Callable[[Any], None], message: str) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 3], name="x")
        tf1.linalg.inv(x + 3.0 * tf1.eye(3), name="y")

    files = converted(build, X_TO_Y, tmp_path)
    model = flatbuffer.read(files["float.tflite"])
    edit(model)
    flatbuffer.write(model, files["float.tflite"])
    with pytest.raises(StageError, match=f"^evaluate: {message}"):
        opened(files).runner().invoke()
