"""Operator versions against TensorFlow's own converter, which computes them from its table (op_version.cc)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.quantization.truth import read_truth
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import schema
from mlkit_build.tflite.versions import miscomputed, oldest_runtime, set_versions
from mlkit_build.tflite.versions.measured import FORMS
from mlkit_build.tflite.versions.rules import RULES
from mlkit_build.tflite.versions.runtimes import FIRST_RUNTIMES, first_runtime, newest
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


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"BATCH_MATMUL"}))
def test_a_dynamic_range_operator_has_the_version_that_tensorflow_gives_it(tmp_path: Path, name: str) -> None:
    files = layer(name, tmp_path)
    ours = versions(quantized(files, "dynamic_range", "float32", tmp_path / "ours"))
    assert ours[name] == versions(by_tensorflow(files, tmp_path))[name]
    assert ours[name] != versions(files["float.tflite"])[name]


def test_a_dynamic_range_matrix_product_has_one_scale_which_every_runtime_computes_rightly(tmp_path: Path) -> None:
    model = flatbuffer.read(quantized(layer("BATCH_MATMUL", tmp_path), "dynamic_range", "float32", tmp_path / "ours"))
    assert read_truth(model).weight_scales == {"per_tensor": 1}
    assert (oldest_runtime(model), miscomputed(model)) == ("2.3.0", ())


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_weights_with_one_scale_need_the_older_version(tmp_path: Path, name: str) -> None:
    path = by_tensorflow(layer(name, tmp_path), tmp_path, per_channel=False)
    expected = versions(path)[name]
    model = flatbuffer.read(path)
    for code in model.operatorCodes:
        code.version = 1
    set_versions(model)
    flatbuffer.write(model, tmp_path / "raised.tflite")
    assert versions(tmp_path / "raised.tflite")[name] == expected


def test_a_float16_model_has_the_versions_that_tensorflow_gives_it(built: Built, tmp_path: Path) -> None:
    assert versions(built.models["float16", "float32"]) == versions(by_tensorflow(dict(built.files), tmp_path, float16=True))


def test_a_float_operator_keeps_its_version(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    before = [(flatbuffer.operator_name(code), code.version) for code in model.operatorCodes]
    set_versions(model)
    assert [(flatbuffer.operator_name(code), code.version) for code in model.operatorCodes] == before


def test_a_version_that_is_higher_than_the_form_needs_is_lowered_to_what_it_needs(built: Built) -> None:
    model = flatbuffer.read(built.models["dynamic_range", "float32"])
    right = newest_versions(model)
    for code in model.operatorCodes:
        code.version = 40 if flatbuffer.operator_name(code) in RULES else code.version
    set_versions(model)
    assert newest_versions(model) == right
    assert len(model.operatorCodes) == len(right)


def test_an_operator_without_a_rule_keeps_its_version(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    code = next(code for code in model.operatorCodes if flatbuffer.operator_name(code) == "RESHAPE")
    assert "RESHAPE" not in RULES
    code.version = 3
    set_versions(model)
    assert code in model.operatorCodes
    assert code.version == 3


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


Build = Callable[[Any, Any], Any]
ORACLE: dict[str, tuple[list[int], Build]] = {
    "convolutions": (
        [1, 16, 16, 16],
        lambda tf, x: tf.nn.depthwise_conv2d(
            tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 16, 128), 1, "SAME")),
            weights(3, 3, 128, 1),
            [1, 1, 1, 1],
            "SAME",
            dilations=[2, 2],
        ),
    ),
    "grouped convolution": ([1, 8, 8, 64], lambda tf, x: tf.nn.conv2d(x, weights(3, 3, 16, 32), 1, "SAME")),
    "transposed convolution": (
        [1, 4, 4, 16],
        lambda tf, x: tf.nn.relu(tf.nn.conv2d_transpose(x, weights(3, 3, 32, 16), [1, 8, 8, 32], 2, "SAME") + weights(32)),
    ),
    "dense": ([1, 128], lambda tf, x: tf.nn.softmax(x @ weights(128, 64) + weights(64))),
    "dense of three dimensions": ([1, 4, 128], lambda tf, x: tf.einsum("abc,cd->abd", x, weights(128, 32)) + weights(32)),
    "matrices": ([4, 3, 64], lambda tf, x: x @ weights(4, 64, 32)),
    "arithmetic": (
        [1, 4, 8],
        lambda tf, x: tf.maximum(x + weights(8), tf.minimum(x - weights(4, 8), tf.math.squared_difference(x, x * weights(8)))),
    ),
    "broadcast in five dimensions": (
        [1, 2, 2, 4, 8],
        lambda tf, x: tf.maximum(x - weights(1, 1, 2, 4, 1), x / (2.0 + weights(1, 2, 1, 4, 1) ** 2)),
    ),
    "a product that grows": ([1, 8], lambda tf, x: tf.tanh(x * 100.0) * tf.tanh(x[:, ::-1] * 100.0) * 0.001),
    "activations": (
        [1, 4, 8],
        lambda tf, x: (
            tf.nn.gelu(tf.nn.elu(tf.nn.leaky_relu(x)))
            + tf.tanh(x) * tf.sigmoid(x)
            + tf.nn.log_softmax(x)
            + tf.math.l2_normalize(tf.abs(x), -1)
        ),
    ),
    "roots": ([1, 8], lambda tf, x: tf.sqrt(tf.exp(x)) + tf.math.rsqrt(tf.abs(x) + 1.0)),
    "pools and resizes": (
        [1, 8, 8, 4],
        lambda tf, x: (
            tf.compat.v1.image.resize_bilinear(tf.nn.max_pool2d(x, 2, 2, "VALID"), [8, 8], half_pixel_centers=True)
            + tf.compat.v1.image.resize_nearest_neighbor(tf.nn.avg_pool2d(x, 2, 2, "VALID"), [8, 8], align_corners=True)
        ),
    ),
    "reductions": (
        [1, 4, 4, 8],
        lambda tf, x: tf.reduce_mean(x, [1, 2]) + tf.reduce_sum(x, [1, 2]) + tf.reduce_max(x, [1, 2]) - tf.reduce_min(x, [1, 2]),
    ),
    "parts": (
        [1, 2, 4, 4, 8],
        lambda tf, x: tf.pad(
            tf.concat([tf.transpose(x, [0, 2, 1, 3, 4]), tf.gather(x, [0, 1, 1, 0], axis=1)[:, :, :2]], 3),
            [[0, 0], [1, 1], [0, 0], [0, 0], [0, 0]],
        ),
    ),
    "moves": (
        [1, 4, 4, 8],
        lambda tf, x: tf.stack(
            [
                tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2),
                tf.reverse(x, [1]),
                tf.tile(x[:, :, :2], [1, 1, 2, 1]),
                tf.concat(tf.split(x, 2, -1)[::-1], -1),
                tf.where(x > 0.0, x, tf.pad(x[:, 1:3, 1:3], [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")),
                tf.batch_to_space(tf.space_to_batch(x, [2, 2], [[0, 0], [0, 0]]), [2, 2], [[0, 0], [0, 0]]),
            ]
        ),
    ),
    "choices": ([1, 8], lambda tf, x: tf.cast(tf.argmax(x, -1), tf.float32) + tf.math.top_k(x, 3)[0]),
}
"""Name -> shape of the input and what is done to it, with operators whose version depends on their types, shapes or options."""


def converted_by_tensorflow(shape: list[int], build: Build, mode: str) -> Any:
    """Return what TensorFlow's converter makes of a function, quantized by the rules of its own."""
    import tensorflow as tf

    function = tf.function(lambda x: build(tf, x), input_signature=[tf.TensorSpec(shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode == "dynamic range, one scale":
        converter._experimental_disable_per_channel = True
    if mode == "int8":
        rng = np.random.default_rng(0)
        converter.representative_dataset = lambda: ([rng.normal(0, 1, shape).astype(np.float32)] for _ in range(3))
    return flatbuffer.parsed(converter.convert())


def newest_versions(model: Any) -> dict[str, int]:
    """Return the greatest version of each operator: TensorFlow writes one for all operators of a kind."""
    found: dict[str, int] = {}
    for code in model.operatorCodes:
        name = flatbuffer.operator_name(code)
        found[name] = max(found.get(name, 0), code.version)
    return found


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic range", "dynamic range, one scale", "int8"])
def test_every_operator_has_the_version_that_tensorflow_gives_it(mode: str) -> None:
    different = {}
    for name, (shape, build) in ORACLE.items():
        model = converted_by_tensorflow(shape, build, mode)
        expected = newest_versions(model)
        for code in model.operatorCodes:
            code.version = 1
        set_versions(model)
        if (ours := newest_versions(model)) != expected:
            different[name] = {key: (ours[key], expected[key]) for key in expected if ours[key] != expected[key]}
    if mode == "dynamic range, one scale":
        assert different.pop("grouped convolution") == {"CONV_2D": (8, 6)}, "measured: the runtime 2.14 computes 6 wrongly"
    assert different == {}


def test_a_dense_layer_with_one_output_runs_where_weights_with_one_scale_do() -> None:
    model = converted_by_tensorflow([1, 2048], lambda tf, x: x @ weights(2048, 1), "dynamic range")
    assert newest_versions(model) == {"FULLY_CONNECTED": 12}
    set_versions(model)
    assert newest_versions(model) == {"FULLY_CONNECTED": 9}
    assert oldest_runtime(model) == "2.3.0"


@pytest.mark.parametrize("table", [RULES, FIRST_RUNTIMES, {form.operator for form in FORMS}])
def test_every_operator_of_a_table_is_in_the_schema(table: Any) -> None:
    assert [name for name in table if not hasattr(schema().BuiltinOperator, name)] == []


def test_of_every_version_that_a_rule_gives_the_first_runtime_is_known() -> None:
    given = {(name, version) for name, rules in RULES.items() for version, _ in rules} | {
        (form.operator, form.version) for form in FORMS
    }
    unknown = {(name, version) for name, version in given if first_runtime(name, version) is None}
    # TensorFlow's and LiteRT's tables leave these out.
    assert unknown == {("LSTM", 5), ("UNIDIRECTIONAL_SEQUENCE_LSTM", 5), ("TRANSPOSE", 9), ("SOFTMAX", 4)}


def test_the_oldest_runtime_is_that_of_the_newest_operator(built: Built) -> None:
    assert oldest_runtime(flatbuffer.read(built.models["float16", "float32"])) == "1.15.0"
    assert oldest_runtime(flatbuffer.read(built.models["dynamic_range", "float32"])) == "2.17.0"
    assert oldest_runtime(flatbuffer.read(built.models["int8", "int8"])) == "1.14.0"


def test_runtimes_are_in_the_order_of_time_not_of_the_alphabet() -> None:
    assert newest({"2.3.0", "2.14.0", "1.15.0"}) == "2.14.0"
    assert newest({"2.14.0", "2.14.4"}) == "2.14.4"


def test_of_an_operator_that_is_not_known_nothing_is_said_and_of_a_custom_one_nothing_is_asked(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    before = oldest_runtime(model)
    reshape = next(code for code in model.operatorCodes if flatbuffer.operator_name(code) == "RESHAPE")
    reshape.version = 9
    assert oldest_runtime(model) is None
    reshape.version, reshape.customCode = 1, b"FlexReshape"
    reshape.builtinCode = reshape.deprecatedBuiltinCode = schema().BuiltinOperator.CUSTOM
    assert oldest_runtime(model) == before
    model.subgraphs[0].operators = []
    assert oldest_runtime(model) is None


def test_the_metadata_follow_the_versions() -> None:
    shape, build = ORACLE["dense"]
    model = converted_by_tensorflow(shape, build, "dynamic range")
    metadata = {flatbuffer.text(entry.name): model.buffers[entry.buffer] for entry in model.metadata}["min_runtime_version"]
    written = bytes(metadata.data)
    assert written == b"2.17.0".ljust(16, b"\0")
    metadata.data = np.frombuffer(b"1.5.0".ljust(16, b"\0"), np.uint8)
    set_versions(model)
    assert bytes(metadata.data) == written


def test_what_no_version_protects_is_told(tmp_path: Path) -> None:
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe import dynamic_wi8_afp32

    for name, said in {
        "BATCH_MATMUL": "has int8 weights with a scale per channel, which runtimes before 2.18 compute wrongly",
        "DEPTHWISE_CONV_2D": "has int8 weights with one scale, which all runtimes compute wrongly",
    }.items():
        files = layer(name, tmp_path / name)
        if name == "BATCH_MATMUL":  # as ai-edge-quantizer's own recipe has it
            quantizer = Quantizer(str(files["float.tflite"]), dynamic_wi8_afp32())
            model = flatbuffer.parsed(bytes(quantizer.quantize(enable_progress_report=False).quantized_model))
            set_versions(model)
            assert oldest_runtime(model) == "2.20.0"
        else:
            model = flatbuffer.read(by_tensorflow(files, tmp_path / name, per_channel=False))
            assert oldest_runtime(model) is None
        (line,) = miscomputed(model)
        assert line.startswith(f"{name} (")
        assert line.endswith(said)


def test_float_models_and_full_integer_ones_are_computed_rightly_by_all(built: Built) -> None:
    for key in (("float16", "float32"), ("dynamic_range", "float32"), ("int8", "int8")):
        assert miscomputed(flatbuffer.read(built.models[key])) == ()
