from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError
from mlkit_build.graphs import TensorName, switch_off_dropout
from mlkit_build.stages.freeze import freeze_graph
from tests.sources.tf1 import constants_only, digits, loaded, request, run_frozen, run_graph

X = (1, 50)


def floor_idiom(tf1: Any, x: Any, keep: Any) -> Any:
    """`tf.nn.dropout` of TensorFlow 1.0 to 1.12 (python/ops/nn_ops.py)."""
    random = keep + tf1.random_uniform(tf1.shape(x), dtype=x.dtype)
    return (x / keep) * tf1.floor(random)


def compare_idiom(tf1: Any, x: Any, keep: Any) -> Any:
    """`tf.nn.dropout` of TensorFlow 1.13 to 1.15 and 2.0 to 2.3."""
    rate = 1.0 - keep
    random = tf1.random_uniform(tf1.shape(x), dtype=x.dtype)
    return x * (1.0 / (1.0 - rate)) * tf1.cast(random >= rate, x.dtype)


def select_idiom(tf1: Any, x: Any, keep: Any) -> Any:
    """`tf.nn.dropout` since TensorFlow 2.4: SelectV2 with zeros."""
    rate = 1.0 - keep
    random = tf1.random_uniform(tf1.shape(x), dtype=x.dtype)
    return tf1.where_v2(random >= rate, x * (1.0 / (1.0 - rate)), tf1.zeros_like(x))


def own_dropout(tf1: Any, x: Any, keep: Any) -> Any:
    """What the installed TensorFlow writes itself."""
    return tf1.nn.dropout(x, rate=1.0 - keep)


def uniform_idiom(tf1: Any, x: Any, keep: Any) -> Any:
    """Keras 1 and hand-written nets: a mask `u < keep`, drawn between stated limits."""
    random = tf1.random_uniform(tf1.shape(x), minval=0.0, maxval=1.0, dtype=x.dtype)
    return x * tf1.cast(random < keep, x.dtype) / keep


IDIOMS = [floor_idiom, compare_idiom, select_idiom, own_dropout, uniform_idiom]


def graph_with(idiom: Callable[..., Any]) -> Any:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", X, name="x")
        keep = tf1.placeholder("float32", [], name="keep_prob")
        tf1.identity(idiom(tf1, x * 3.0, keep) + 1.0, name="y")

    return constants_only(build)[0]


@pytest.mark.parametrize("idiom", IDIOMS)
def test_dropout_with_keep_probability_1_is_removed_and_nothing_else_changes(idiom: Callable[..., Any]) -> None:
    graph_def = graph_with(idiom)
    model = freeze_graph(loaded(graph_def), request({"x": "x:0"}, {"y": "y:0"}, {"keep_prob:0": 1.0}))
    x = digits(1, X[1:])
    (expected,) = run_graph(graph_def, {"x:0": x, "keep_prob:0": 1.0}, ["y:0"])
    assert not [node.op for node in model.graph_def.node if "Random" in node.op]
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], expected)


@pytest.mark.parametrize("keep", [0.5, 0.999])
@pytest.mark.parametrize("idiom", IDIOMS)
def test_dropout_that_still_drops_is_refused_with_a_hint(idiom: Callable[..., Any], keep: float) -> None:
    with pytest.raises(ConfigError, match="depend on random numbers") as caught:
        freeze_graph(loaded(graph_with(idiom)), request({"x": "x:0"}, {"y": "y:0"}, {"keep_prob:0": keep}))
    assert "keep probability to 1.0" in caught.value.hint
    assert "signature.constants" in caught.value.hint


def test_dropout_in_half_precision_is_removed_too() -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float16", X, name="x")
        tf1.identity(floor_idiom(tf1, x, tf1.constant(1.0, "float16")), name="y")

    graph_def, _ = constants_only(build)
    outputs = [TensorName("y")]
    folded = switch_off_dropout(graph_def, outputs)
    x = digits(1, X[1:]).astype(np.float16)
    np.testing.assert_array_equal(run_graph(folded, {"x:0": x}, ["y:0"])[0], run_graph(graph_def, {"x:0": x}, ["y:0"])[0])
    assert "Floor" not in {node.op for node in folded.node}


def test_a_mask_that_is_itself_an_output_keeps_its_shape() -> None:
    def build(tf1: Any) -> None:
        tf1.placeholder("float32", X, name="x")
        tf1.floor(tf1.random_uniform(X) + 1.0, name="mask")

    graph_def, _ = constants_only(build)
    assert run_graph(switch_off_dropout(graph_def, [TensorName("mask")]), {}, ["mask:0"])[0].shape == X


def test_a_sum_that_rounds_up_to_the_next_number_is_not_called_certain() -> None:
    # Near 2**23 float32 has no fractions: 2**23 + u rounds to 2**23 or to 2**23 + 1, though u < 1.
    def build(tf1: Any) -> None:
        tf1.identity(tf1.floor(tf1.random_uniform([1000], seed=1) + np.float32(2**23)) - np.float32(2**23), name="y")

    graph_def, (found,) = constants_only(build, {}, ["y:0"])
    assert set(found.tolist()) == {0.0, 1.0}
    assert "Floor" in {node.op for node in switch_off_dropout(graph_def, [TensorName("y")]).node}


NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.1, 0.9, 0.3, 2.0, 1e-8, 0.99999994, -0.5, 8388608.0, 1e30, 3.0])
STEPS = st.lists(st.tuples(st.sampled_from(["add", "sub", "rsub", "mul"]), NUMBERS), max_size=4)
DECISIONS = st.sampled_from(["greater_equal", "less", "floor"])


@settings(max_examples=120, deadline=None)
@given(steps=STEPS, decision=DECISIONS, limit=NUMBERS)
def test_a_random_decision_is_never_called_certain_when_sampling_shows_both_ways(
    steps: list[tuple[str, float]], decision: str, limit: float
) -> None:
    def build(tf1: Any) -> None:
        value = tf1.random_uniform([4], name="u")
        for step, number in steps:
            constant = tf1.constant(number, "float32")
            value = {
                "add": lambda v, c: v + c,
                "sub": lambda v, c: v - c,
                "rsub": lambda v, c: c - v,
                "mul": lambda v, c: v * c,
            }[step](value, constant)
        constant = tf1.constant(limit, "float32")
        decided = {"greater_equal": value >= constant, "less": value < constant, "floor": tf1.floor(value)}[decision]
        tf1.identity(tf1.cast(decided, "float32"), name="y")

    from mlkit_build.graphs.surgery import constant_value

    graph_def, _ = constants_only(build)
    folded = {node.name: node for node in switch_off_dropout(graph_def, [TensorName("y")]).node}
    original = {node.name: node for node in graph_def.node}
    decided = next(name for name, node in original.items() if node.op in ("GreaterEqual", "Less", "Floor"))
    value = constant_value(folded[decided])
    if value is None:
        return
    # Every number that TensorFlow's float32 generator can draw is k * 2**-23; the ends decide, the rest is a sample.
    draws = (np.array([0, 1, 2, 3, 2**22, 2**23 - 3, 2**23 - 2, 2**23 - 1, *range(4, 2**23, 2**17)]) * 2.0**-23).astype(
        np.float32
    )
    for step, number in steps:
        constant = np.float32(number)
        if step == "mul":
            draws = draws * constant
        elif step == "add":
            draws = draws + constant
        else:
            draws = draws - constant if step == "sub" else constant - draws
    limit32 = np.float32(limit)
    possible = {"greater_equal": draws >= limit32, "less": draws < limit32, "floor": np.floor(draws)}[decision]
    assert {float(value)} == set(possible.astype(np.float32).tolist())


@pytest.mark.parametrize("idiom", [floor_idiom, compare_idiom, own_dropout, uniform_idiom])
def test_a_keep_probability_of_0_is_refused_by_the_division_that_it_makes(idiom: Callable[..., Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"signature.constants: the model's dropout divides by zero \(.*keep_prob:0 is 0"
    ) as caught:
        freeze_graph(loaded(graph_with(idiom)), request({"x": "x:0"}, {"y": "y:0"}, {"keep_prob:0": 0}))
    assert "1.0 at inference" in caught.value.hint
