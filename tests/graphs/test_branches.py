from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.recipe import Tf1Checkpoint
from mlkit_build.sources import tf1_checkpoint
from mlkit_build.stages.freeze import freeze_graph, freeze_model
from tests.sources.tf1 import constants_only, digits, loaded, request, run_frozen, save, session


def operators(model: Any) -> set[str]:
    return {node.op for node in model.graph_def.node}


def branching(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 3], name="x")
    training = tf1.placeholder("bool", [], name="is_training")
    tf1.identity(tf1.cond(training, lambda: x * 2.0 + 1.0, lambda: x - 5.0), name="y")


@pytest.mark.parametrize("training", [False, True])
def test_a_cond_on_a_constant_becomes_the_branch_that_it_takes(training: bool) -> None:
    x = digits(1, [3])
    graph_def, (expected,) = constants_only(branching, {"x:0": x, "is_training:0": training}, ["y:0"])
    assert {"Switch", "Merge"} <= {node.op for node in graph_def.node}
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}, {"is_training:0": training}))
    assert not operators(model) & {"Switch", "Merge"}
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_conds_in_conds_and_negated_predicates_fold_too(first: bool, second: bool) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        a, b = tf1.placeholder("bool", [], name="a"), tf1.placeholder("bool", [], name="b")
        inside = lambda: tf1.cond(tf1.logical_not(b), lambda: x * 3.0, lambda: x / 4.0)  # noqa: E731
        tf1.identity(tf1.cond(a, inside, lambda: x - 5.0), name="y")

    x = digits(1, [3])
    graph_def, (expected,) = constants_only(build, {"x:0": x, "a:0": first, "b:0": second}, ["y:0"])
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}, {"a:0": first, "b:0": second}))
    assert not operators(model) & {"Switch", "Merge"}
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


def test_the_index_that_a_merge_gives_is_that_of_the_taken_branch() -> None:
    def build(tf1: Any) -> None:
        from tensorflow.python.ops import control_flow_ops

        x = tf1.placeholder("float32", [1, 3], name="x")
        training = tf1.placeholder("bool", [], name="is_training")
        when_false, when_true = control_flow_ops.switch(x, training)
        merged, index = control_flow_ops.merge([when_true + 1.0, when_false - 1.0])
        tf1.multiply(merged, tf1.cast(index, "float32") + 10.0, name="y")

    x = digits(1, [3])
    graph_def, (expected,) = constants_only(build, {"x:0": x, "is_training:0": False}, ["y:0"])
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}, {"is_training:0": False}))
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


def test_a_cond_on_data_keeps_both_branches() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        tf1.identity(tf1.cond(tf1.reduce_sum(x) > 0.0, lambda: x * 2.0, lambda: x - 5.0), name="y")

    graph_def, _ = constants_only(build)
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}))
    for x in (np.ones((1, 3), np.float32), -np.ones((1, 3), np.float32)):
        expected = x * 2 if x.sum() > 0 else x - 5
        np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


def test_a_while_loop_is_no_branch_and_is_unrolled() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3], name="x")
        _, y = tf1.while_loop(lambda i, _: i < 4, lambda i, v: (i + 1, v * 2.0), [tf1.constant(0), x])
        tf1.reshape(y, [1, 3], name="y")

    x = digits(1, [3])
    graph_def, (expected,) = constants_only(build, {"x:0": x}, ["y:0"])
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}))
    assert not {"LoopCond", "Merge", "Switch"} & set(operators(model))
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


@pytest.mark.parametrize("predicate", ["a constant", "a default"])
@pytest.mark.parametrize("style", ["fused", "moving averages updated in the branch"])
def test_batch_normalization_under_a_cond_on_is_training_freezes_to_inference(tmp_path: Path, style: str, predicate: str) -> None:
    x = digits(1, [6, 6, 3])
    with session() as (tf1, running):
        image = tf1.placeholder("float32", [None, 6, 6, 3], name="x")
        if predicate == "a constant":
            training = tf1.placeholder("bool", [], name="is_training")
        else:
            training = tf1.placeholder_with_default(False, [], name="is_training")

        def variable(name: str, low: float, high: float) -> Any:
            initializer = tf1.random_uniform_initializer(low, high)
            return tf1.get_variable(name, [4], initializer=initializer, use_resource=False)

        features = tf1.nn.conv2d(image, tf1.get_variable("w", [3, 3, 3, 4], use_resource=False), [1, 1, 1, 1], "SAME")
        scale, offset = variable("scale", 0.5, 1.5), variable("offset", -1, 1)
        mean, deviation = variable("mean", -1, 1), variable("variance", 0.5, 1.5)
        if style == "fused":
            y = tf1.cond(
                training,
                lambda: tf1.nn.fused_batch_norm(features, scale, offset, is_training=True)[0],
                lambda: tf1.nn.fused_batch_norm(features, scale, offset, mean, deviation, is_training=False)[0],
            )
        else:
            batch_mean, batch_variance = tf1.nn.moments(features, [0, 1, 2])

            def update() -> tuple[Any, Any]:
                moved = [
                    tf1.assign_sub(mean, (mean - batch_mean) * 0.1),
                    tf1.assign_sub(deviation, (deviation - batch_variance) * 0.1),
                ]
                with tf1.control_dependencies(moved):
                    return tf1.identity(batch_mean), tf1.identity(batch_variance)

            used = tf1.cond(training, update, lambda: (tf1.identity(mean), tf1.identity(deviation)))
            y = tf1.nn.batch_normalization(features, used[0], used[1], offset, scale, 1e-3)
        y = tf1.identity(y, name="y")
        running.run(tf1.global_variables_initializer())
        expected = running.run(y, {image: x, training: False})
        prefix = save(running, tmp_path / "model" / "net")
    files = tf1_checkpoint.files(Tf1Checkpoint(path=str(prefix)), tmp_path)
    constants = {"is_training:0": False} if predicate == "a constant" else {}
    model = freeze_model(tf1_checkpoint.load(files, Tf1Checkpoint()), request({"x": "x:0"}, {"y": "y:0"}, constants))
    assert not operators(model) & {"Switch", "RefSwitch", "Merge", "AssignSub"}
    np.testing.assert_allclose(run_frozen(model, {"x": x})[0], expected, atol=1e-6)
