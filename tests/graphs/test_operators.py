"""What does not convert: named, placed, and with a way out; what converts is never refused. The table is tried for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.graphs import TensorName, canonical_form
from mlkit_build.graphs.operators import Finding, describe, unconvertible
from mlkit_build.graphs.operators_table import BUILTIN, CUSTOM, SELECT
from tests.graphs import operators_trial
from tests.sources.tf1 import constants_only

Find = Callable[[str], Path]


def graph(build: Callable[[Any], Any], output: str = "y") -> Any:
    """Return what `build` makes, pruned to one output as freeze leaves it."""
    return canonical_form(constants_only(build)[0], [TensorName(output)])


def functional(build: Callable[[Any], Any]) -> Any:
    """Return a graph with control flow as functions, pruned to the output `y`."""
    import tensorflow as tf

    with tf.Graph().as_default() as built:
        build(tf)
    return canonical_form(built.as_graph_def(), [TensorName("y")])


def named(found: tuple[Finding, ...]) -> dict[str, tuple[str, ...]]:
    return {finding.operator: finding.nodes for finding in found}


def converts(graph_def: Any) -> bool:
    inputs = [f"{node.name}:0" for node in graph_def.node if node.op == "Placeholder"]
    return operators_trial.convert_one(graph_def, inputs, ["y:0"], "")[0] == operators_trial.BUILTIN


def test_operators_are_named_with_nodes_and_scopes() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        with tf1.name_scope("front/end/inner"):
            h = tf1.digamma(tf1.digamma(x, name="a"), name="b")
        tf1.identity(tf1.linalg.inv(tf1.linalg.diag(h), name="inverse"), name="y")

    found = unconvertible(graph(build))
    assert named(found) == {"Digamma": ("front/end/inner/a", "front/end/inner/b"), "MatrixInverse": ("inverse",)}
    assert [finding.scopes for finding in found] == [("front/end",), ()]
    assert [finding.selectable for finding in found] == [False, True]
    message, hint = describe(found, allow_select_ops=False)
    assert message == (
        "these operators have no LiteRT counterpart: 2 x Digamma (front/end/inner/a, front/end/inner/b); MatrixInverse (inverse)"
    )
    assert "allow_select_ops=true would not help with Digamma" in hint
    assert "allow_select_ops" not in describe(found)[1]


def test_with_select_ops_only_what_they_lack_is_named() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(tf1.linalg.inv(tf1.linalg.diag(tf1.digamma(x))), name="y")

    assert set(named(unconvertible(graph(build), allow_select_ops=True))) == {"Digamma"}


def test_a_long_list_of_nodes_is_cut_short_and_says_where_they_are() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [3], name="x")
        for index in range(5):
            with tf1.name_scope(f"part{index % 2}"):
                x = tf1.digamma(x)
        tf1.identity(x, name="y")

    message, _ = describe(unconvertible(graph(build)))
    assert "5 x Digamma (part0/Digamma, part0_1/Digamma, part0_2/Digamma, ... in part0, part0_1, part0_2, part1" in message


def test_an_operator_inside_a_loops_function_is_placed_by_the_node_that_calls_it() -> None:
    def build(tf: Any) -> None:
        x = tf.compat.v1.placeholder("float32", [1, 3], name="x")
        with tf.name_scope("outer"):
            loop = tf.while_loop(
                lambda step, _: step < 3, lambda step, h: (step + 1, tf.math.digamma(h, name="inner")), [0, x], name="loop"
            )
        tf.identity(loop[1], name="y")

    (found,) = unconvertible(functional(build))
    assert found.nodes[0].startswith("inner")
    assert found.nodes[0].endswith(" (in outer/loop)")
    assert found.scopes == ("outer",)


def constants_of(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    tf1.add(x, tf1.digamma(tf1.constant([1.0, 2.0, 3.0])), name="y")


def shape_of(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    tf1.add(x, tf1.cast(tf1.shape(tf1.digamma(x))[1], "float32"), name="y")


def gelu(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    tf1.identity(0.5 * x * (1.0 + tf1.erf(x / 1.41421356)), name="y")


def condition(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    tf1.identity(tf1.cond(tf1.reduce_sum(x) > 0, lambda: x * 2.0, lambda: tf1.tanh(x)), name="y")


@pytest.mark.parametrize("build", [constants_of, shape_of, gelu, condition], ids=lambda build: str(build.__name__))
def test_what_converts_in_its_place_is_not_refused(build: Callable[[Any], None]) -> None:
    graph_def = graph(build)
    assert unconvertible(graph_def) == ()
    assert converts(graph_def)


def test_an_operator_in_a_function_that_nothing_calls_does_not_count() -> None:
    def build(tf: Any) -> None:
        x = tf.compat.v1.placeholder("float32", [1, 3], name="x")
        tf.identity(tf.function(tf.math.digamma)(x), name="unused")
        tf.identity(x, name="y")

    assert unconvertible(functional(build)) == ()


def test_a_front_end_gets_the_tensor_after_it_as_input() -> None:
    def build(tf1: Any) -> None:
        import tensorflow as tf

        x = tf1.placeholder("float32", [160, 1], name="x")
        spectrum = tf.raw_ops.AudioSpectrogram(input=x, window_size=64, stride=32, name="spectrum")
        features = tf.raw_ops.Mfcc(spectrogram=spectrum * 2.0, sample_rate=tf1.constant(16000), name="features")
        tf1.matmul(tf1.reshape(features, [1, -1]), tf1.ones([4 * 13, 5]), name="y")

    found = unconvertible(graph(build))
    assert set(named(found)) == {"AudioSpectrogram", "Mfcc"}
    assert (
        'start the model after them and compute what comes before in the app: signature.inputs: {features: {tensor: "features:0"'
        in (describe(found)[1])
    )
    assert "shape: [1, 4, 13]" in describe(found)[1]


def test_a_tail_gets_the_tensor_before_it_as_output() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 30], name="x")
        scores = tf1.matmul(x, tf1.ones([30, 8]), name="head/scores")
        tf1.identity(tf1.digamma(tf1.reshape(scores, [8])) + 1.0, name="y")

    cut = unconvertible(graph(build))[0].cut
    assert cut.startswith("end the model before it and compute the rest in the app: signature.outputs: {reshape: {tensor: ")


def test_what_lies_in_the_middle_leaves_two_models() -> None:
    def build(tf1: Any) -> None:
        h = tf1.matmul(tf1.placeholder("float32", [1, 30], name="x"), tf1.ones([30, 30]), name="first")
        tf1.matmul(tf1.digamma(h, name="special"), tf1.ones([30, 30]), name="y")

    cut = unconvertible(graph(build))[0].cut
    assert cut == (
        'it lies in the middle of the model; convert it as two, one with signature.outputs: {first: {tensor: "first:0"}} and '
        'one with signature.inputs: {features: {tensor: "special:0", shape: [1, 30]}}, and compute what is between in the app'
    )


def read(path: Path, output: str) -> Any:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return canonical_form(GraphDef.FromString(path.read_bytes()), [TensorName(output)])


def test_the_keyword_spotters_audio_front_end_is_cut_at_its_features(shared_model: Find) -> None:
    found = unconvertible(read(shared_model("frozen_graph/kws_lstm.pb"), "labels_softmax"))
    assert {"AudioSpectrogram", "DecodeWav", "Mfcc"} <= set(named(found))
    assert 'signature.inputs: {features: {tensor: "Mfcc:0", shape: [1, 25, 10]}}' in found[0].cut


def test_the_face_detectors_operators_are_named(shared_model: Find) -> None:
    found = unconvertible(read(shared_model("frozen_graph/mtcnn.pb"), "box"))
    assert {"CropAndResize", "NonMaxSuppressionV2", "TensorArrayV3"} <= set(named(found))
    assert {"onet", "pnet", "rnet"} <= {scope.split("/")[0] for finding in found for scope in finding.scopes}
    assert "in the middle" in found[0].cut


@pytest.mark.parametrize("file", ["kws_lstm.pb", "kws_gru.pb"])
def test_from_its_features_on_a_keyword_spotter_has_nothing_but_its_loop(shared_model: Find, file: str) -> None:
    from mlkit_build.graphs import placeholder_node

    graph_def = read(shared_model(f"frozen_graph/{file}"), "labels_softmax")
    nodes = [placeholder_node("Mfcc", "float32", [1, 25, 10]) if node.name == "Mfcc" else node for node in graph_def.node]
    del graph_def.node[:]
    graph_def.node.extend(nodes)
    found = unconvertible(canonical_form(graph_def, [TensorName("labels_softmax")]))
    assert found
    assert all(finding.operator.startswith("TensorArray") and "unrolled" in finding.hint for finding in found)


@pytest.mark.parametrize("file", ["mnist_fc-layers.pb", "cpm/model.pb", "mobilenet_v1_025_128/frozen_graph.pb"])
def test_nothing_is_refused_in_models_that_convert(shared_model: Find, file: str) -> None:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    folder = shared_model("frozen_graph")
    files = [folder / file] if (folder / file).is_file() else sorted((folder / file).parent.glob("*.pb"))
    assert files
    for path in files:
        assert unconvertible(GraphDef.FromString(path.read_bytes())) == ()


def test_the_table_names_each_operator_once_and_tensorflow_knows_it() -> None:
    assert not BUILTIN & SELECT
    assert not BUILTIN & CUSTOM
    assert not SELECT & CUSTOM
    assert set(operators_trial.operators()) >= BUILTIN | SELECT | CUSTOM


TABLE = {operators_trial.BUILTIN: BUILTIN, operators_trial.SELECT: SELECT, operators_trial.CUSTOM: CUSTOM}
SELECTED = """
AudioSpectrogram CropAndResize DecodeJpeg DecodeWav FusedBatchNormV2 MatrixInverse Mfcc NonMaxSuppressionV2 ParseExampleV2
StringLength TensorArrayV3
"""
SAMPLE = {
    operators_trial.BUILTIN: [
        "Conv2D",
        "FusedBatchNormV3",
        "MatrixDiagV3",
        "NonMaxSuppressionV3",
        "RandomUniform",
        "RFFT2D",
        "TopKV2",
        "Where",
    ],
    operators_trial.SELECT: SELECTED.split(),
    operators_trial.CUSTOM: ["Digamma", "IteratorGetNext", "PyFunc", "ResizeArea"],
}


@pytest.mark.parametrize(("what", "name"), [(what, name) for what, names in SAMPLE.items() for name in names])
def test_the_table_says_what_the_converter_does(what: str, name: str) -> None:
    """A sample of the table; `python -m tests.graphs.operators_trial` tries all of it."""
    assert name in TABLE[what]
    found, why = operators_trial.verdict(name, most=6)
    assert found == what, why
