"""What cannot be done is said with the loop's name, the reason, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.errors import ConfigError, StageError
from mlkit_build.graphs import TensorName
from mlkit_build.graphs.loops import without_loops
from tests.graphs.loops.v1 import case, values


def refused(build: Any, feed: Any, unroll: str = "auto") -> StageError:
    with pytest.raises(StageError) as caught:
        case(build, feed).rewritten(unroll)
    return caught.value


def until(tf1: Any, limit: float = 3.0) -> Any:
    x = tf1.placeholder("float32", [2], name="x")
    with tf1.name_scope("decoder"):
        return tf1.while_loop(lambda y: tf1.reduce_sum(y) < limit, lambda y: (y * 1.5 + 0.1,), (abs(x),))


def test_always_names_the_loop_and_the_data_that_its_steps_depend_on() -> None:
    error = refused(until, {"x": values(2)}, "always")
    assert error.message == (
        "freeze: the while loop 'decoder/while' cannot be unrolled: its number of steps depends on data (x:0)"
    )
    assert "freeze.unroll=auto" in error.hint


def test_a_functional_loop_needs_variables_of_constant_shape() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [1, 2], name="x")
        shapes = (tf1.TensorShape([None, 2]),)
        return tf1.while_loop(
            lambda y: tf1.reduce_sum(y) < 9.0, lambda y: (tf1.concat([y, y[:1] + 1.0], 0),), (x,), shape_invariants=shapes
        )

    error = refused(build, {"x": values(1, 2)})
    assert "'while'" in error.message
    assert "changes its shape from [1, 2] to [2, 2]" in error.message
    assert "signature" in error.hint


def test_too_many_steps_for_the_limit_and_no_functional_loop_says_how_to_unroll_it() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        array = tf1.TensorArray("float32", 0, dynamic_size=True)
        return tf1.while_loop(lambda i, a: i < 9, lambda i, a: (i + 1, a.write(i, x)), (0, array))[1].stack()

    error = refused(build, {"x": values(2)}, "8")
    assert "it has more than 8 steps" in error.message
    assert "freeze.unroll=always" in error.hint
    case(build, {"x": values(2)}).check("9")


def test_branches_of_different_shapes_cannot_be_chosen_by_data() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2, 2], name="x")
        return tf1.cond(x[0, 0] > 0.0, lambda: x, lambda: x[:1]) * 2.0

    error = refused(build, {"x": values(2, 2)})
    assert "cond/Merge" in error.message
    assert "data (x:0)" in error.message
    assert "[2, 2] and [1, 2]" in error.message


def test_side_effects_in_a_branch_that_data_choose_are_refused() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        return tf1.cond(x[0] > 0.0, lambda: x + tf1.random_uniform([2]), lambda: x)

    assert "RandomUniform" in refused(build, {"x": values(2)}).message


def test_an_output_inside_a_loop_is_refused() -> None:
    built = case(lambda tf1: tf1.while_loop(lambda i: i < 3, lambda i: (i + 1,), (0,)))
    with pytest.raises(StageError, match="the output while/add:0 lies inside the loop 'while'"):
        without_loops(built.graph_def, [TensorName("while/add")])


def test_an_endless_loop_is_refused() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        return tf1.while_loop(lambda i, y: tf1.logical_or(i < 3, tf1.rank(y) > 0), lambda i, y: (i + 0, y), (0, x))

    from tests.sources.tf1 import session

    with session() as (tf1, running):
        output = build(tf1)[0]
        graph_def = running.graph.as_graph_def()
    with pytest.raises(StageError, match="'while' never ends"):
        without_loops(graph_def, [TensorName.parse(output.name)], unroll="always")


@pytest.mark.parametrize("wrong", ["", "sometimes", "-1", "1.5"])
def test_an_unknown_way_to_unroll_is_refused(wrong: str) -> None:
    built = case(lambda tf1: tf1.while_loop(lambda i: i < 3, lambda i: (i + 1,), (0,)))
    with pytest.raises(ConfigError, match=r"freeze\.unroll: expected auto, always, never or a number"):
        built.rewritten(wrong)
