"""Random numbers with a constant seed are constants: a model that has them answers the same each time, and is not refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlkit_build.graphs.dropout import random_nodes
from mlkit_build.graphs.operators import describe, unconvertible
from mlkit_build.stages.freeze import freeze_graph
from tests.graphs.tf2 import lite
from tests.sources.tf1 import constants_only, loaded, request, run_frozen, run_graph

ASKED = request({"x": "x:0"}, {"y": "y:0"})
X = np.ones((1, 4), np.float32)


def uniform(tf: Any, x: Any) -> Any:
    return tf.random.stateless_uniform([1, 4], seed=[1, 2])


def normal(tf: Any, x: Any) -> Any:
    return tf.random.stateless_truncated_normal([1, 4], seed=tf.constant([3, 4]) * 2)


def split(tf: Any, x: Any) -> Any:
    return tf.random.stateless_normal([1, 4], seed=tf.random.split([1, 2], 2)[1])


def graph(draw: Callable[[Any, Any], Any]) -> Any:
    import tensorflow as tf

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 4], name="x")
        tf1.add(x, draw(tf, x), name="y")

    return constants_only(build)[0]


@pytest.mark.parametrize("draw", [uniform, normal, split])
def test_numbers_of_a_constant_seed_become_part_of_the_model(draw: Callable[[Any, Any], Any]) -> None:
    graph_def = graph(draw)
    model = freeze_graph(loaded(graph_def), ASKED)
    (expected,) = run_graph(graph_def, {"x:0": X}, ["y:0"])
    assert not [node.op for node in model.graph_def.node if "Random" in node.op or "Stateless" in node.op]
    np.testing.assert_array_equal(run_frozen(model, {"x": X})[0], expected)
    np.testing.assert_array_equal(lite(model, X)[0], expected)


def test_a_seed_that_depends_on_the_input_is_left_to_the_converter_and_explained() -> None:
    def draw(tf: Any, x: Any) -> Any:
        return tf.random.stateless_uniform([1, 4], seed=tf.cast(x[0, :2], tf.int32))

    model = freeze_graph(loaded(graph(draw)), ASKED)
    assert random_nodes(model.graph_def) == []
    assert "give it a constant seed" in describe(unconvertible(model.graph_def))[1]
