from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.convert import convert
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request, run_graph
from tests.stages.built import TWO, converted, frozen, interpreted, pictures, two_inputs, weights
from tests.stages.conftest import Built


def tensorflow_answers(files: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """Run the frozen graph in a plain session, sample by sample."""
    import tensorflow as tf

    signature = FrozenSignature.read(files["signature.json"])
    graph_def = tf.compat.v1.GraphDef.FromString(files["frozen_graph.pb"].read_bytes())
    rows = []
    for index in range(len(next(iter(feeds.values())))):
        feed = {spec.tensor: feeds[spec.name][index : index + 1] for spec in signature.inputs}
        rows.append(run_graph(graph_def, feed, [spec.tensor for spec in signature.outputs]))
    return {spec.name: np.concatenate(column) for spec, column in zip(signature.outputs, zip(*rows, strict=True), strict=True)}


def test_the_float_model_answers_as_tensorflow_does(built: Built) -> None:
    feeds = {"picture": pictures(8).astype(np.float32) / 255}
    found = interpreted(built.files["float.tflite"], feeds)
    np.testing.assert_allclose(found["classes"], tensorflow_answers(built.files, feeds)["classes"], atol=1e-5)


def test_the_model_is_called_by_the_recipes_names(built: Built) -> None:
    from ai_edge_litert.interpreter import Interpreter

    for path in built.models.values():
        found = Interpreter(model_path=str(path)).get_signature_list()
        assert found == {"serving_default": {"inputs": ["picture"], "outputs": ["classes"]}}


def test_several_inputs_and_outputs_answer_under_their_own_names(tmp_path: Path) -> None:
    files = converted(frozen(two_inputs, TWO, tmp_path), tmp_path)
    feeds = {"left": digits(4, [8]), "right": digits(4, [6], seed=9)}
    found, expected = interpreted(files["float.tflite"], feeds), tensorflow_answers(files, feeds)
    assert set(found) == {"wide", "narrow"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_inputs_of_equal_shape_are_not_mixed_up(tmp_path: Path) -> None:
    def difference(tf1: Any) -> None:
        a, b = tf1.placeholder("float32", [1, 3], name="a"), tf1.placeholder("float32", [1, 3], name="b")
        tf1.subtract(a, b, name="minus")
        tf1.subtract(b * 2.0, a, name="plus")

    asked = request({"second": "b:0", "first": "a:0"}, {"plus": "plus:0", "minus": "minus:0"})
    files = converted(frozen(difference, asked, tmp_path), tmp_path)
    one, two = np.full((1, 3), 5, np.float32), np.full((1, 3), 3, np.float32)
    found = interpreted(files["float.tflite"], {"first": one, "second": two})
    np.testing.assert_array_equal(found["minus"], [[2, 2, 2]])
    np.testing.assert_array_equal(found["plus"], [[1, 1, 1]])


def test_an_output_that_is_an_input_of_another_operator_is_kept(tmp_path: Path) -> None:
    def chain(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.add(tf1.multiply(x, 2.0, name="inner"), 1.0, name="outer")

    asked = request({"x": "x:0"}, {"outer": "outer:0", "inner": "inner:0"})
    files = converted(frozen(chain, asked, tmp_path), tmp_path)
    found = interpreted(files["float.tflite"], {"x": np.array([[1, 2, 3]], np.float32)})
    np.testing.assert_array_equal(found["inner"], [[2, 4, 6]])
    np.testing.assert_array_equal(found["outer"], [[3, 5, 7]])


def test_converting_twice_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    again = converted(built.files, tmp_path)["float.tflite"]
    assert again.read_bytes() == built.files["float.tflite"].read_bytes()


def test_an_operator_without_a_counterpart_is_named_with_what_to_do(tmp_path: Path) -> None:
    def special(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(tf1.digamma(x, name="a") + tf1.linalg.inv(tf1.linalg.diag(x), name="b"), name="y")

    with pytest.raises(StageError) as caught:
        converted(frozen(special, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    assert caught.value.message == "convert: these operators have no LiteRT counterpart: Digamma (a); MatrixInverse (b)"
    assert "convert.allow_select_ops=true would not help with Digamma" in caught.value.hint


def inverse(tf1: Any) -> None:
    """Build [1, 3] -> [1, 3, 3] with a matrix inverse, which only TensorFlow's own kernel computes."""
    x = tf1.placeholder("float32", [1, 3], name="x")
    h = tf1.matmul(x, tf1.constant(weights(3, 3)), name="h")
    tf1.identity(tf1.linalg.inv(tf1.linalg.diag(h) + tf1.eye(3), name="inverse"), name="y")


INVERSE = request({"x": "x:0"}, {"y": "y:0"})


def test_without_select_ops_a_model_that_needs_them_is_refused_and_told_of_them(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        converted(frozen(inverse, INVERSE, tmp_path), tmp_path)
    assert caught.value.message == "convert: this operator has no LiteRT counterpart: MatrixInverse (inverse)"
    assert "signature.outputs: {" in caught.value.hint
    assert "for target=custom, convert.allow_select_ops=true keeps it" in caught.value.hint


def test_with_select_ops_tensorflows_own_operator_is_in_the_model(tmp_path: Path) -> None:
    files = frozen(inverse, INVERSE, tmp_path)
    convert({"allow_select_ops": True}, files, tmp_path)
    model = flatbuffer.read(tmp_path / "float.tflite")
    assert "FlexMatrixInverse" in {flatbuffer.operator_name(code) for code in model.operatorCodes}
    assert model.signatureDefs[0].signatureKey == b"serving_default"


def test_select_ops_do_not_help_an_operator_they_lack(tmp_path: Path) -> None:
    def special(tf1: Any) -> None:
        tf1.digamma(tf1.placeholder("float32", [1, 3], name="x"), name="y")

    files = frozen(special, INVERSE, tmp_path)
    with pytest.raises(StageError) as caught:
        convert({"allow_select_ops": True}, files, tmp_path)
    assert "neither a LiteRT counterpart nor a kernel for convert.allow_select_ops: Digamma (y)" in caught.value.message


def test_an_operator_that_converts_in_other_types_only_is_named_with_its_node(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def double(tf1: Any) -> None:
        x = tf1.placeholder("float64", [1, 3], name="x")
        with tf1.name_scope("wave"):
            h = tf1.sin(x, name="sine")
        tf1.identity(h, name="y")

    with pytest.raises(StageError) as caught:
        converted(frozen(double, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    assert caught.value.message == (
        "convert: the model computes in float64 (Sin; for instance wave/sine), and LiteRT's operators compute in float32"
    )
    assert "tf.cast(..., tf.float32)" in caught.value.hint
    assert "allow_select_ops" not in caught.value.hint
    log = capfd.readouterr().err
    assert "'tf.Sin' op is neither a custom op nor a flex op" in log
    assert "TF Select ops: Sin" in log


def test_a_list_of_unknown_element_shape_is_named_with_what_to_do(tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder("float32", [4, 3], name="x")
        with tf.name_scope("rnn"):
            empty = tf.raw_ops.TensorListReserve(element_shape=-1, num_elements=4, element_dtype=tf.float32, name="list")
            _, filled = tf.while_loop(
                lambda step, _: step < 4,
                lambda step, items: (step + 1, tf.raw_ops.TensorListSetItem(input_handle=items, index=step, item=x[: step + 1])),
                [0, empty],
            )
        tf.raw_ops.TensorListGetItem(input_handle=filled, index=2, element_shape=[-1, 3], element_dtype=tf.float32, name="item")
        tf.reduce_sum(graph.get_tensor_by_name("item:0"), keepdims=True, name="y")
    files = {"frozen_graph.pb": tmp_path / "frozen_graph.pb", "signature.json": tmp_path / "signature.json"}
    files["frozen_graph.pb"].write_bytes(graph.as_graph_def().SerializeToString())
    signature = FrozenSignature((TensorSpec("x", "x:0", (4, 3), "float32"),), (TensorSpec("y", "y:0", (1, 1), "float32"),))
    signature.write(files["signature.json"])
    with pytest.raises(StageError) as caught:
        convert({}, files, tmp_path)
    assert caught.value.message.startswith("convert: a loop keeps a list whose elements have no static shape: ")
    assert "rnn/list" in caught.value.message
    assert "signature.inputs" in caught.value.hint


def test_the_float_model_has_builtin_operators_of_float_type_only(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    types = {flatbuffer.type_name(tensor) for tensor in model.subgraphs[0].tensors}
    assert types <= {"float32", "int32"}


@pytest.mark.parametrize("name", ["my scores", "ß", "_b", "y:0", "a'b"])
def test_an_output_may_have_any_name(name: str, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    def build(tf1: Any) -> None:
        tf1.identity(tf1.placeholder("float32", [1, 3], name="x") * 2.0, name="y")

    files = converted(frozen(build, request({"x": "x:0"}, {name: "y:0"}), tmp_path), tmp_path)
    runner = Interpreter(model_path=str(files["float.tflite"])).get_signature_runner("serving_default")
    assert list(runner(x=np.ones((1, 3), np.float32))) == [name]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_model_of_mixed_precision_is_told_its_type_once(tmp_path: Path, name: str) -> None:
    def mixed(tf1: Any) -> None:
        x = tf1.cast(tf1.placeholder("float32", [1, 3], name="x"), name)
        h = tf1.nn.relu(tf1.matmul(x, tf1.cast(tf1.ones([3, 3]), name)), name="relu")
        tf1.cast(h, "float32", name="y")

    with pytest.raises(StageError) as caught:
        converted(frozen(mixed, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    assert f"convert: the model computes in {name} (" in caught.value.message
    assert 'policy "float32"' in caught.value.hint
    assert "quantization=float16 then ships" in caught.value.hint
    assert "signature" not in caught.value.hint
