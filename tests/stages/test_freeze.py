from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import ConfigError, StageError
from mlkit_build.recipe import Tf1Checkpoint
from mlkit_build.signature import TensorSpec
from mlkit_build.sources import tf1_checkpoint
from mlkit_build.stages.freeze import freeze_graph
from tests.sources.tf1 import constants_only, digits, freeze_files, loaded, request, run_frozen, save, session


def layers(tf1: Any) -> None:
    image = tf1.placeholder("float32", [None, 4, 4, 1], name="image")
    first = tf1.nn.relu(image * 2.0 - 0.5, name="first")
    flat = tf1.reshape(first, [-1, 16], name="flat")
    tf1.nn.softmax(tf1.matmul(flat, tf1.constant(digits(16, [3]))), name="scores")


def test_an_unknown_batch_is_pinned_to_1() -> None:
    model = freeze_graph(loaded(constants_only(layers)[0]), request({"image": "image:0"}, {"scores": "scores:0"}))
    assert model.signature.inputs == (TensorSpec("image", "image:0", (1, 4, 4, 1), "float32"),)
    assert model.signature.outputs == (TensorSpec("scores", "scores:0", (1, 3), "float32"),)


def test_a_stated_shape_is_pinned() -> None:
    asked = request({"image": ("image:0", (3, 4, 4, 1))}, {"scores": "scores:0"})
    assert freeze_graph(loaded(constants_only(layers)[0]), asked).signature.outputs[0].shape == (3, 3)


def test_a_fixed_training_batch_can_be_pinned_to_1() -> None:
    def build(tf1: Any) -> None:
        image = tf1.placeholder("float32", [32, 28, 28, 1], name="image")
        tf1.reduce_mean(image, axis=[1, 2], name="y")

    graph_def, _ = constants_only(build)
    model = freeze_graph(loaded(graph_def), request({"image": ("image:0", (1, 28, 28, 1))}, {"y": "y:0"}))
    x = digits(1, [28, 28, 1])
    assert model.signature.outputs[0].shape == (1, 1)
    np.testing.assert_allclose(run_frozen(model, {"image": x})[0], x.mean((1, 2)), atol=1e-6)


def test_a_graph_that_insists_on_its_training_batch_is_refused_in_words() -> None:
    def build(tf1: Any) -> None:
        tf1.reshape(tf1.placeholder("float32", [32, 4], name="x"), [32, 2, 2], name="y")

    with pytest.raises(StageError, match=r"TensorFlow refuses the frozen graph: .*[Rr]eshape"):
        freeze_graph(loaded(constants_only(build)[0]), request({"x": ("x:0", (1, 4))}, {"y": "y:0"}))


def test_a_shape_that_contradicts_the_graph_is_refused_with_both() -> None:
    asked = request({"image": ("image:0", (1, 5, 4, 1))}, {"scores": "scores:0"})
    with pytest.raises(ConfigError, match=re.escape("expected [?, 4, 4, 1] as in the graph, found [1, 5, 4, 1]")):
        freeze_graph(loaded(constants_only(layers)[0]), asked)


def test_a_dynamic_dimension_beyond_the_batch_must_be_stated() -> None:
    def build(tf1: Any) -> None:
        tf1.identity(tf1.placeholder("float32", [None, None, 3], name="x") * 2.0, name="y")

    graph_def, _ = constants_only(build)
    with pytest.raises(ConfigError, match=re.escape("x:0 has dynamic dimensions in the graph: [?, ?, 3]")):
        freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}))
    model = freeze_graph(loaded(graph_def), request({"x": ("x:0", (1, 7, 3))}, {"y": "y:0"}))
    assert model.signature.outputs[0].shape == (1, 7, 3)


def test_an_unknown_shape_must_be_stated() -> None:
    def build(tf1: Any) -> None:
        tf1.identity(tf1.placeholder("float32", name="x") * 2.0, name="y")

    with pytest.raises(ConfigError, match="the graph does not know the shape of x:0"):
        freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}))


@pytest.mark.parametrize(("producer", "known"), [(21, False), (22, True)])
def test_an_empty_shape_is_unknown_in_graphs_of_old_producers_and_a_scalar_in_others(producer: int, known: bool) -> None:
    def build(tf1: Any) -> None:
        tf1.identity(tf1.placeholder("float32", [], name="x") * 2.0, name="y")

    graph_def, _ = constants_only(build)
    graph_def.versions.producer = producer
    stated = request({"x": ("x:0", (1, 3))}, {"y": "y:0"})
    if known:
        with pytest.raises(ConfigError, match=re.escape("expected [] as in the graph, found [1, 3]")):
            freeze_graph(loaded(graph_def), stated)
    else:
        assert freeze_graph(loaded(graph_def), stated).signature.outputs[0].shape == (1, 3)


def test_an_input_may_cut_the_graph_at_an_interior_tensor() -> None:
    graph_def, _ = constants_only(layers)
    model = freeze_graph(loaded(graph_def), request({"flat": ("flat:0", (1, 16))}, {"scores": "scores:0"}))
    assert "image" not in {node.name for node in model.graph_def.node}
    x = digits(1, [16])
    logits = x @ digits(16, [3])
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(run_frozen(model, {"flat": x})[0], expected, atol=1e-6)


def three_ways(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 6], name="x")
    a, b, c = tf1.split(x, 3, 1, name="parts")
    tf1.identity(a * 100.0 + b * 10.0 + c, name="y")
    tf1.identity(b - c, name="z")


def test_inputs_may_cut_at_several_tensors_of_one_node() -> None:
    asked = request({"b": "parts:1", "c": "parts:2"}, {"z": "z:0"})
    model = freeze_graph(loaded(constants_only(three_ways)[0]), asked)
    assert [spec.name for spec in model.signature.inputs] == ["b", "c"]
    found = run_frozen(model, {"b": np.array([[5, 7]], np.float32), "c": np.array([[1, 2]], np.float32)})
    np.testing.assert_array_equal(found[0], [[4, 5]])


def test_what_a_cut_node_gives_beside_the_cut_still_comes_from_the_graph() -> None:
    asked = request({"x": "x:0", "b": "parts:1"}, {"y": "y:0"})
    model = freeze_graph(loaded(constants_only(three_ways)[0]), asked)
    x = np.array([[1, 2, 3, 4, 5, 6]], np.float32)
    found = run_frozen(model, {"x": x, "b": np.zeros((1, 2), np.float32)})
    np.testing.assert_array_equal(found[0], [[105, 206]])


def test_several_inputs_and_outputs_keep_the_recipes_order() -> None:
    def build(tf1: Any) -> None:
        a, b = tf1.placeholder("float32", [1, 2], name="a"), tf1.placeholder("int32", [1, 2], name="b")
        tf1.identity(a * tf1.cast(b, "float32"), name="product")
        tf1.identity(b + 1, name="next")

    asked = request({"second": "b:0", "first": "a:0"}, {"successor": "next:0", "product": "product:0"})
    model = freeze_graph(loaded(constants_only(build)[0]), asked)
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [("second", "int32"), ("first", "float32")]
    found = run_frozen(model, {"first": np.array([[2, 3]], np.float32), "second": np.array([[4, 5]], np.int32)})
    np.testing.assert_array_equal(found[0], [[5, 6]])
    np.testing.assert_array_equal(found[1], [[8, 15]])


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("float32", [], 0.25),
        ("float32", [], 3),
        ("int32", [], 3),
        ("bool", [], True),
        ("float32", [3], [1.0, 2.0, 3.5]),
        ("int64", [3], [4, 5, 6]),
    ],
)
def test_a_constant_takes_the_place_of_its_placeholder(dtype: str, shape: list[int], value: Any) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(x + tf1.cast(tf1.placeholder(dtype, shape, name="k"), "float32"), name="y")

    x = digits(1, [3])
    graph_def, (expected,) = constants_only(build, {"x:0": x, "k:0": value}, ["y:0"])
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}, {"k:0": value}))
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


def with_default(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    tf1.identity(x * tf1.placeholder_with_default(np.float32(2), [], name="k"), name="y")


@pytest.mark.parametrize(("constants", "factor"), [({}, 2.0), ({"k:0": 5.0}, 5.0)])
def test_a_placeholder_with_default_is_its_default_unless_a_constant_says_otherwise(
    constants: dict[str, Any], factor: float
) -> None:
    model = freeze_graph(loaded(constants_only(with_default)[0]), request({"x": "x:0"}, {"y": "y:0"}, constants))
    assert "PlaceholderWithDefault" not in {node.op for node in model.graph_def.node}
    x = digits(1, [3])
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], x * np.float32(factor))


def test_a_placeholder_with_default_can_be_an_input() -> None:
    asked = request({"x": "x:0", "k": "k:0"}, {"y": "y:0"})
    model = freeze_graph(loaded(constants_only(with_default)[0]), asked)
    x = digits(1, [3])
    np.testing.assert_array_equal(run_frozen(model, {"x": x, "k": np.float32(7)})[0], x * np.float32(7))


def test_a_placeholder_without_value_is_refused_with_the_line_to_add() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(x * tf1.placeholder("float32", [], name="keep_prob"), name="y")

    with pytest.raises(ConfigError, match="also depend on the placeholder keep_prob:0") as caught:
        freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}))
    assert 'constants: {"keep_prob:0": ...}' in caught.value.hint


def test_an_output_that_does_not_depend_on_an_input_is_refused() -> None:
    def build(tf1: Any) -> None:
        tf1.identity(tf1.placeholder("float32", [1, 3], name="x") * 2.0, name="y")
        tf1.placeholder("float32", [1, 3], name="unrelated")

    asked = request({"x": "x:0", "other": "unrelated:0"}, {"y": "y:0"})
    with pytest.raises(ConfigError, match=r"y \(y:0\) cannot be reached from the input 'other' \(unrelated:0\)"):
        freeze_graph(loaded(constants_only(build)[0]), asked)


def test_a_constant_for_something_that_is_no_placeholder_is_refused() -> None:
    asked = request({"image": "image:0"}, {"scores": "scores:0"}, {"first:0": 1.0})
    with pytest.raises(ConfigError, match="expected a placeholder, found an operator Relu"):
        freeze_graph(loaded(constants_only(layers)[0]), asked)


def test_a_constant_of_a_wrong_kind_is_refused() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(x * tf1.placeholder("float32", [], name="k"), name="y")

    with pytest.raises(ConfigError, match="expected a value of type float32, found 'yes'"):
        freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}, {"k:0": "yes"}))


def test_control_dependencies_are_dropped_with_what_they_wait_for() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        with tf1.control_dependencies([tf1.print("side effect"), tf1.placeholder("float32", [], name="queue")]):
            tf1.identity(x * 2.0, name="y")

    model = freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}))
    assert not [item for node in model.graph_def.node for item in node.input if item.startswith("^")]
    assert {node.op for node in model.graph_def.node} == {"Placeholder", "Const", "Mul", "Identity"}


def test_control_flow_elsewhere_in_the_training_graph_does_not_bring_its_control_dependencies() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        with tf1.control_dependencies([tf1.placeholder("float32", [], name="queue")]):
            tf1.identity(x * 2.0, name="y")
        tf1.cond(tf1.placeholder("bool", [], name="log"), lambda: x, lambda: -x)

    model = freeze_graph(loaded(constants_only(build)[0]), request({"x": "x:0"}, {"y": "y:0"}))
    assert {node.op for node in model.graph_def.node} == {"Placeholder", "Const", "Mul", "Identity"}


def test_an_output_whose_size_depends_on_data_is_refused() -> None:
    def build(tf1: Any) -> None:
        tf1.boolean_mask(tf1.placeholder("float32", [4], name="x"), tf1.placeholder("bool", [4], name="m"), name="y")

    graph_def, _ = constants_only(build)
    output = next(node.name for node in graph_def.node if node.op == "GatherV2")
    with pytest.raises(ConfigError, match="has no static shape"):
        freeze_graph(loaded(graph_def), request({"x": "x:0", "m": "m:0"}, {"y": f"{output}:0"}))


def net(tf1: Any, width: int) -> None:
    x = tf1.placeholder("float32", [None, 5], name="x")
    w = tf1.get_variable("w", [5, width])
    tf1.nn.tanh(tf1.matmul(x, w), name="y")


def saved(prefix: Path, build: Callable[[Any], None]) -> tuple[dict[str, Path], np.ndarray[Any, Any]]:
    with session() as (tf1, running):
        build(tf1)
        running.run(tf1.global_variables_initializer())
        save(running, prefix)
        expected = running.run("y:0", {"x:0": digits(1, [5])})
    return tf1_checkpoint.files(Tf1Checkpoint(path=str(prefix)), prefix.parent), expected


def test_the_same_model_gives_the_same_bytes_again_and_after_other_models(tmp_path: Path) -> None:
    asked = request({"x": "x:0"}, {"y": "y:0"}, kind="tf1_checkpoint", adapters=("softmax",))
    files, _ = saved(tmp_path / "a" / "net", lambda tf1: net(tf1, 3))
    other, _ = saved(tmp_path / "b" / "net", lambda tf1: net(tf1, 4))
    for number, source in enumerate([files, files, other, files]):
        freeze_files(asked, source, tmp_path / str(number))
    graphs = [(tmp_path / str(number) / "frozen_graph.pb").read_bytes() for number in range(4)]
    signatures = [(tmp_path / str(number) / "signature.json").read_bytes() for number in range(4)]
    assert graphs[0] == graphs[1] == graphs[3] != graphs[2]
    assert signatures[0] == signatures[1] == signatures[3] != signatures[2]


def test_the_frozen_graph_answers_as_the_session_it_was_saved_from(tmp_path: Path) -> None:
    files, expected = saved(tmp_path / "net", lambda tf1: net(tf1, 3))
    model = freeze_files(request({"x": "x:0"}, {"y": "y:0"}, kind="tf1_checkpoint"), files, tmp_path / "out")
    np.testing.assert_array_equal(run_frozen(model, {"x": digits(1, [5])})[0], expected)


def test_a_graph_saved_in_another_order_of_nodes_freezes_to_the_same_bytes(tmp_path: Path) -> None:
    import tensorflow as tf

    asked = request({"x": "x:0"}, {"y": "y:0"}, kind="tf1_checkpoint")
    files, _ = saved(tmp_path / "net", lambda tf1: net(tf1, 3))
    freeze_files(asked, files, tmp_path / "one")
    meta = tf.compat.v1.MetaGraphDef.FromString(files["meta"].read_bytes())
    nodes = list(reversed(meta.graph_def.node))
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(nodes)
    files["meta"].write_bytes(meta.SerializeToString())
    freeze_files(asked, files, tmp_path / "two")
    assert (tmp_path / "one" / "frozen_graph.pb").read_bytes() == (tmp_path / "two" / "frozen_graph.pb").read_bytes()


def test_an_operator_that_tensorflow_does_not_have_is_named() -> None:
    graph_def, _ = constants_only(lambda tf1: tf1.identity(tf1.placeholder("float32", [1, 3], name="x"), name="y"))
    next(node for node in graph_def.node if node.name == "y").op = "ContribResampler"
    with pytest.raises(StageError, match=r"not TensorFlow's own: ContribResampler \(y\)"):
        freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}))
