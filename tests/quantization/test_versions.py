"""Operator versions against TensorFlow's own converter, which computes them from its table (op_version.cc)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.quantization.versions import raise_versions
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import converted, frozen, quantized, signature_of, weights
from tests.stages.conftest import Built

# TensorFlow leaves weights of fewer than 1024 values float, so these have more.
LAYERS: dict[str, tuple[list[int], Callable[[Any, Any], Any]]] = {
    "CONV_2D": ([1, 8, 8, 16], lambda tf1, x: tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 16, 32)), [1, 1, 1, 1], "SAME")),
    "DEPTHWISE_CONV_2D": (
        [1, 8, 8, 128],
        lambda tf1, x: tf1.nn.depthwise_conv2d(x, tf1.constant(weights(3, 3, 128, 1)), [1, 1, 1, 1], "SAME"),
    ),
    "FULLY_CONNECTED": ([1, 128], lambda tf1, x: tf1.matmul(x, tf1.constant(weights(128, 32)))),
    "BATCH_MATMUL": ([4, 3, 32], lambda tf1, x: tf1.matmul(x, tf1.constant(weights(4, 32, 16)))),
    "TRANSPOSE_CONV": (
        [1, 4, 4, 16],
        lambda tf1, x: tf1.nn.conv2d_transpose(x, tf1.constant(weights(3, 3, 32, 16)), [1, 8, 8, 32], [1, 2, 2, 1], "SAME"),
    ),
}


def layer(name: str, folder: Path) -> dict[str, Path]:
    shape, build = LAYERS[name]

    def graph(tf1: Any) -> None:
        tf1.identity(build(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

    return converted(frozen(graph, request({"x": "x:0"}, {"y": "y:0"}), folder), folder)


def by_tensorflow(files: dict[str, Path], folder: Path, per_channel: bool = True, float16: bool = False) -> Path:
    """Quantize with TensorFlow's converter, from the same frozen graph."""
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(files["frozen_graph.pb"].read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    signature = signature_of(files)
    ends = [[wrapped.graph.get_tensor_by_name(spec.tensor) for spec in specs] for specs in (signature.inputs, signature.outputs)]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([wrapped.prune(*ends)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = not per_channel
    if float16:
        converter.target_spec.supported_types = [tf.float16]
    (folder / "tensorflow.tflite").write_bytes(converter.convert())
    return folder / "tensorflow.tflite"


def versions(path: Path) -> dict[str, set[int]]:
    model = flatbuffer.read(path)
    found: dict[str, set[int]] = {}
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        found.setdefault(flatbuffer.operator_name(code), set()).add(code.version)
    return found


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_dynamic_range_operator_has_the_version_that_tensorflow_gives_it(tmp_path: Path, name: str) -> None:
    files = layer(name, tmp_path)
    ours = versions(quantized(files, "dynamic_range", "float32", tmp_path / "ours"))
    assert ours[name] == versions(by_tensorflow(files, tmp_path))[name]
    assert ours[name] != versions(files["float.tflite"])[name]


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_weights_with_one_scale_need_the_older_version(tmp_path: Path, name: str) -> None:
    path = by_tensorflow(layer(name, tmp_path), tmp_path, per_channel=False)
    expected = versions(path)[name]
    model = flatbuffer.read(path)
    for code in model.operatorCodes:
        code.version = 1
    raise_versions(model)
    flatbuffer.write(model, tmp_path / "raised.tflite")
    assert versions(tmp_path / "raised.tflite")[name] == expected


def test_a_float16_model_has_the_versions_that_tensorflow_gives_it(built: Built, tmp_path: Path) -> None:
    assert versions(built.models["float16", "float32"]) == versions(by_tensorflow(dict(built.files), tmp_path, float16=True))


def test_a_float_operator_keeps_its_version(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    before = [(flatbuffer.operator_name(code), code.version) for code in model.operatorCodes]
    raise_versions(model)
    assert [(flatbuffer.operator_name(code), code.version) for code in model.operatorCodes] == before


def test_a_version_that_is_high_enough_is_not_lowered(built: Built) -> None:
    model = flatbuffer.read(built.models["dynamic_range", "float32"])
    for code in model.operatorCodes:
        code.version = 40
    raise_versions(model)
    assert {code.version for code in model.operatorCodes} == {40}


def test_operators_of_one_kind_with_different_weights_get_different_versions_and_no_code_is_left_over(tmp_path: Path) -> None:
    def mixed(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 64], name="x")
        y = tf1.placeholder("float32", [64, 8], name="w")
        tf1.matmul(tf1.matmul(x, tf1.constant(weights(64, 64))), y, name="y")

    asked = request({"x": "x:0", "w": "w:0"}, {"y": "y:0"})
    files = converted(frozen(mixed, asked, tmp_path), tmp_path)
    path = quantized(files, "dynamic_range", "float32", tmp_path / "out")
    model = flatbuffer.read(path)
    used = {operator.opcodeIndex for operator in model.subgraphs[0].operators}
    assert used == set(range(len(model.operatorCodes)))
    assert 12 in versions(path)["FULLY_CONNECTED"]
    feeds = {"x": digits(1, [64]), "w": digits(64, [8])}
    answers = [_run(model, feeds) for model in (path, files["float.tflite"])]
    np.testing.assert_allclose(answers[0], answers[1], atol=0.05 * np.ptp(answers[1]))


def _run(path: Path, feeds: dict[str, Any]) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return runner(x=feeds["x"], w=feeds["w"])["y"]
