from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from mlkit_build.graphs import DeclaredSignature, DeclaredTensor
from mlkit_build.graphs.candidates import Candidates, candidates
from tests.sources.tf1 import constants_only, session


def found(build: Callable[[Any], Any]) -> Candidates:
    with session() as (tf1, running):
        build(tf1)
        return candidates(running.graph.as_graph_def())


def tensors(specs: tuple[DeclaredTensor, ...]) -> list[str]:
    return [spec.tensor for spec in specs]


def training(tf1: Any) -> None:
    """A classifier as people train it: dropout, batch norm, loss, accuracy, optimizer, summaries, a saver."""
    y = tf1.placeholder("float32", [None, 3], name="labels")
    x = tf1.placeholder("float32", [None, 8, 8, 1], name="images")
    keep = tf1.placeholder("float32", name="keep_prob")
    train = tf1.placeholder("bool", [], name="is_training")
    rate = tf1.placeholder("float32", [], name="learning_rate")
    w = tf1.get_variable("w", [3, 3, 1, 2])
    h = tf1.nn.relu(tf1.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME"))
    h = tf1.cond(train, lambda: h * 0.5, lambda: h)
    h = tf1.nn.dropout(tf1.reshape(h, [-1, 128]), keep_prob=keep)
    logits = tf1.add(tf1.matmul(h, tf1.get_variable("v", [128, 3])), tf1.get_variable("b", [3]), name="logits")
    tf1.nn.softmax(logits, name="scores")
    loss = tf1.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits), name="loss")
    right = tf1.equal(tf1.argmax(logits, 1), tf1.argmax(y, 1))
    tf1.summary.scalar("accuracy", tf1.reduce_mean(tf1.cast(right, "float32"), name="accuracy"))
    tf1.train.AdamOptimizer(rate).minimize(loss, global_step=tf1.train.get_or_create_global_step())
    tf1.global_variables_initializer()
    tf1.train.Saver()


def test_of_a_training_graph_the_pictures_and_the_scores_come_first() -> None:
    model = found(training)
    assert tensors(model.inputs)[0] == "images:0"
    assert tensors(model.outputs)[0] == "scores:0"
    assert set(tensors(model.choices)) == {"keep_prob:0", "is_training:0", "learning_rate:0"}
    assert "labels:0" in tensors(model.inputs)
    assert not [name for name in tensors(model.outputs) if name.startswith(("gradients", "save", "Adam", "loss"))]


def test_what_is_listed_of_a_training_graph_can_be_pasted() -> None:
    pasted = yaml.safe_load(found(training).as_recipe())["signature"]
    assert pasted["inputs"] == {"input": {"tensor": "images:0", "shape": [1, 8, 8, 1]}}
    assert pasted["outputs"] == {"output": {"tensor": "scores:0"}}
    assert pasted["constants"]["keep_prob:0"] == 1.0
    assert pasted["constants"]["is_training:0"] is False


def test_the_others_are_comments_that_can_take_the_place_of_the_first() -> None:
    text = found(training).as_recipe()
    others = [line.replace("# ", "", 1) for line in text.splitlines() if line.strip().startswith("# input:")]
    assert others, text
    assert yaml.safe_load(others[0])["input"]["tensor"] == "labels:0"


def test_a_graph_of_one_input_and_one_output_has_one_signature() -> None:
    def build(tf1: Any) -> None:
        tf1.nn.relu(tf1.placeholder("float32", [None, 4], name="a/b/x"), name="c/y")

    expected = DeclaredSignature(
        "", (DeclaredTensor("x", "a/b/x:0", (None, 4), "float32"),), (DeclaredTensor("y", "c/y:0", (None, 4), "float32"),)
    )
    assert found(build).signature() == expected


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_a_switch_beside_the_input_leaves_no_signature_that_is_sure(dtype: str) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 4], name="x")
        tf1.multiply(x, tf1.cast(tf1.placeholder(dtype, [], name="switch"), "float32"), name="y")

    model = found(build)
    assert model.signature() is None
    assert tensors(model.inputs) == ["x:0"]
    assert tensors(model.choices) == ["switch:0"]
    assert model.likely_value(model.choices[0]) == (False if dtype == "bool" else 1.0)


def test_one_number_alone_is_an_input_and_no_switch() -> None:
    model = found(lambda tf1: tf1.add(tf1.placeholder("float32", [], name="x"), 1.0, name="y"))
    assert tensors(model.inputs) == ["x:0"]
    assert model.choices == ()


def test_whoever_ends_in_the_best_class_has_the_scores_before_it() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 4], name="x")
        tf1.argmax(tf1.nn.softmax(x, name="scores"), 1, name="best")

    assert tensors(found(build).outputs) == ["scores:0", "best:0"]


def test_losses_and_accuracies_without_a_name_are_no_outputs() -> None:
    def build(tf1: Any) -> None:
        x, y = tf1.placeholder("float32", [None, 4], name="x"), tf1.placeholder("float32", [None, 3], name="labels")
        found = tf1.nn.relu(tf1.matmul(x, tf1.get_variable("w", [4, 3])), name="found")
        tf1.reduce_mean(tf1.square(found - y))
        tf1.reduce_mean(tf1.cast(tf1.equal(tf1.argmax(found, 1), tf1.argmax(y, 1)), "float32"))

    model = found(build)
    assert tensors(model.inputs) == ["x:0", "labels:0"]
    assert tensors(model.outputs)[0] == "found:0"
    assert not [name for name in tensors(model.outputs) if name.startswith("Mean")]


def test_two_inputs_that_come_together_have_their_joint_outputs() -> None:
    def build(tf1: Any) -> None:
        left, right = (tf1.placeholder("float32", [1, 4], name=name) for name in ("left", "right"))
        tf1.identity(tf1.nn.relu(left * 2.0) + tf1.nn.relu(right * 3.0), name="y")

    assert tensors(found(build).outputs) == ["y:0"]


def test_what_an_input_pipeline_gives_can_be_an_input() -> None:
    import tensorflow as tf

    def build(tf1: Any) -> None:
        dataset = tf.data.Dataset.from_tensor_slices([[1.0, 2.0]])
        tf1.nn.relu(tf1.data.make_one_shot_iterator(dataset).get_next(), name="y")

    model = found(build)
    assert tensors(model.inputs) == ["IteratorGetNext:0"]
    assert tensors(model.outputs) == ["y:0"]


def test_a_graph_that_is_frozen_already_is_ranked_without_variables() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("uint8", [1, 8, 8, 3], name="image")
        tf1.nn.softmax(tf1.reshape(tf1.cast(x, "float32"), [1, 192]), name="softmax")

    assert candidates(constants_only(build)[0]).signature() is not None


def test_a_loop_is_walked_through_to_what_comes_after_it() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 4], name="x")
        first = tf1.nn.relu(x, name="first")
        _, total = tf1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), [tf1.constant(0), first])
        tf1.identity(total, name="y")

    model = found(build)
    assert tensors(model.outputs) == ["y:0"]
    assert model.signature() is not None


def test_a_branch_is_walked_through_to_what_comes_after_it() -> None:
    def build(tf1: Any) -> None:
        x = tf1.nn.relu(tf1.placeholder("float32", [1, 4], name="x"), name="first")
        tf1.identity(tf1.cond(tf1.placeholder("bool", [], name="train"), lambda: x * 2.0, lambda: x), name="y")

    assert tensors(found(build).outputs) == ["y:0"]


def test_a_graph_that_tensorflow_refuses_is_ranked_all_the_same() -> None:
    graph_def, _ = constants_only(lambda tf1: tf1.nn.relu(tf1.placeholder("float32", [2], name="x"), name="y"))
    node = graph_def.node.add(name="z", op="OperatorOfTheirOwn")
    node.input.append("y")
    model = candidates(graph_def)
    assert tensors(model.outputs) == ["z:0"]
    assert model.outputs[0].shape is None


def test_an_empty_graph_has_no_candidates() -> None:
    model = found(lambda tf1: None)
    assert (model.inputs, model.outputs, model.choices) == ((), (), ())
    assert yaml.safe_load(model.as_recipe())["signature"] == {"inputs": None, "outputs": None}


def test_many_candidates_are_cut_short_and_counted() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [4], name="x")
        for number in range(9):
            tf1.nn.relu(x, name=f"y{number}")

    text = found(build).as_recipe()
    assert "# and 4 more" in text
    assert list(yaml.safe_load(text)["signature"]["outputs"]) == ["output"]
