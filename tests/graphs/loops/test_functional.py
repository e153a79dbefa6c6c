"""Functional loops of TensorFlow 2: while_loop, map_fn, scan, loops of AutoGraph, TensorArrays in every use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import FrozenModel
from mlkit_build.errors import StageError
from tests.graphs.tf2 import assert_same, frozen, saved
from tests.sources.tf1 import digits

W = digits(3, [3])


def operators(model: FrozenModel) -> list[str]:
    return [node.op for node in model.graph_def.node]


def functional(model: FrozenModel) -> set[str]:
    """What is left of functional loops, and the functions that they used."""
    left = {
        op for op in operators(model) if op.startswith("TensorList") or op in ("While", "StatelessWhile", "If", "StatelessIf")
    }
    return left | {function.signature.name for function in model.graph_def.library.function}


def count(steps: Any, body: Callable[[Any, Any], Any], start: Any) -> Any:
    import tensorflow as tf

    return tf.while_loop(lambda i, _: i < steps, lambda i, x: (i + 1, body(i, x)), (0, start))[1]


def until(x: Any, most: int | None = None) -> Any:
    """A loop whose number of steps depends on data."""
    import tensorflow as tf

    return tf.while_loop(lambda y: tf.reduce_sum(y) < 20.0, lambda y: (y + 0.7,), (x,), maximum_iterations=most)[0]


def nested(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return count(3, lambda i, y: count(i + 1, lambda j, z: tf.tanh(z @ module.w) + tf.cast(i * j, tf.float32), y), x)


def autograph(module: Any, x: Any) -> Any:
    import tensorflow as tf

    for step in tf.range(6):
        if step == 4:
            break
        x = tf.tanh(x @ module.w) + tf.cast(step, tf.float32)
    return x


def growing_array(module: Any, x: Any) -> Any:
    import tensorflow as tf

    array = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[3, 3])
    array = count(4, lambda i, a: a.write(i, x * tf.cast(i, tf.float32)), array)
    return array.stack(), array.concat(), array.gather([2, 0]), array.size()


def untouched_elements(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return count(3, lambda i, a: a.write(i + 1, x[i]), tf.TensorArray(tf.float32, 5, element_shape=[3])).stack()


def an_array_that_an_inner_loop_writes(module: Any, x: Any) -> Any:
    import tensorflow as tf

    outer = lambda i, a: count(i + 1, lambda j, b: b.write(j, x[i] + tf.cast(j, tf.float32)), a)  # noqa: E731
    return count(3, outer, tf.TensorArray(tf.float32, 3, element_shape=[3])).stack()


def a_stack_of_lists(module: Any, x: Any) -> Any:
    import tensorflow as tf

    raw = tf.raw_ops
    full = lambda i, held: raw.TensorListPushBack(input_handle=held, tensor=x[i])  # noqa: E731
    held = count(3, full, raw.EmptyTensorList(element_shape=[3], max_num_elements=-1, element_dtype=tf.float32))
    held, last = raw.TensorListPopBack(input_handle=held, element_shape=[3], element_dtype=tf.float32)
    held = raw.TensorListResize(input_handle=held, size=4)
    return last + raw.TensorListStack(input_handle=held, element_shape=[3], element_dtype=tf.float32, num_elements=4)


def branches(module: Any, x: Any) -> Any:
    import tensorflow as tf

    def step(i: Any, y: Any) -> Any:
        y = tf.cond(i % 2 == 0, lambda: y + 1.0, lambda: y @ module.w)
        return tf.cond(tf.reduce_sum(y) > 1.0, lambda: y - tf.gather(module.w, i), lambda: y @ module.w + 0.3)

    return count(3, step, x)


UNROLLED: dict[str, Callable[[Any, Any], Any]] = {
    "a loop that counts": lambda module, x: count(4, lambda i, y: y @ module.w, x),
    "a loop that never runs": lambda module, x: count(0, lambda i, y: y + 1.0, x) * 2.0,
    "a loop in a loop": nested,
    "AutoGraph with a break": autograph,
    "an array that grows": growing_array,
    "elements that nothing was written to": untouched_elements,
    "an array handed to an inner loop and back": an_array_that_an_inner_loop_writes,
    "a list that is pushed to, popped from and resized": a_stack_of_lists,
    "branches on steps and on data": branches,
}


@pytest.mark.parametrize("name", UNROLLED)
def test_a_loop_of_known_length_is_unrolled(tmp_path: Path, name: str) -> None:
    reference = saved(UNROLLED[name], tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model")
    assert not functional(model)
    assert_same(model, reference)


@pytest.mark.parametrize("name", ["map_fn", "scan", "foldr"])
def test_the_loops_of_functional_operators_are_unrolled(tmp_path: Path, name: str) -> None:
    import tensorflow as tf

    def loop(module: Any, x: Any) -> Any:
        if name == "map_fn":
            return tf.map_fn(lambda row: tf.nn.softmax(row) * 2.0, x)
        return getattr(tf, name)(lambda total, row: tf.tanh(total) + row, x)

    reference = saved(loop, tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model")
    assert not functional(model)
    assert_same(model, reference)


def test_what_every_step_reads_is_there_once_and_every_step_has_a_name(tmp_path: Path) -> None:
    import tensorflow as tf

    saved(lambda module, x: count(5, lambda i, y: tf.tanh(y @ module.w), x), tmp_path / "model", [3, 3], w=digits(3, [3]))
    model = frozen(tmp_path / "model")
    assert operators(model).count("MatMul") == 5
    assert operators(model).count("Const") == 1
    assert [node.name for node in model.graph_def.node if node.op == "MatMul"][4].endswith("while/step_4/matmul")


def test_a_loop_that_is_unrolled_has_the_shape_that_its_steps_make(tmp_path: Path) -> None:
    import tensorflow as tf

    def growing(module: Any, x: Any) -> Any:
        invariants = [tf.TensorShape([]), tf.TensorShape([None, 3])]
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.concat([y, y[:1]], 0)), [0, x], invariants)[1]

    reference = saved(growing, tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model")
    assert model.signature.outputs[0].shape == (6, 3)
    assert_same(model, reference)


@pytest.mark.parametrize("unroll", ["never", "3"])
def test_a_loop_that_is_not_to_be_unrolled_stays_as_it_was(tmp_path: Path, unroll: str) -> None:
    reference = saved(lambda module, x: count(4, lambda i, y: y @ module.w, x), tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model", unroll=unroll)
    assert {"While", "StatelessWhile"} & set(operators(model))
    assert_same(model, reference)
    as_before = frozen(tmp_path / "model", unroll="never").graph_def
    assert model.graph_def.SerializeToString(deterministic=True) == as_before.SerializeToString(deterministic=True)


def test_a_loop_over_the_limits_of_auto_stays_and_always_unrolls_it(tmp_path: Path) -> None:
    reference = saved(lambda module, x: count(300, lambda i, y: y * 0.99 + 0.01, x), tmp_path / "model", [3, 3])
    assert "StatelessWhile" in operators(frozen(tmp_path / "model"))
    model = frozen(tmp_path / "model", unroll="always")
    assert not functional(model)
    assert_same(model, reference)


def test_two_freezes_of_an_unrolled_loop_give_the_same_bytes(tmp_path: Path) -> None:
    saved(nested, tmp_path / "model", [3, 3], w=W)
    one, other = (frozen(tmp_path / "model").graph_def.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


# Loops whose number of steps depends on data.


def test_data_may_decide_how_long_one_loop_runs_while_another_behind_it_is_unrolled(tmp_path: Path) -> None:
    reference = saved(lambda module, x: count(3, lambda i, y: y @ module.w, until(x)), tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model")
    assert sum(op in ("While", "StatelessWhile") for op in operators(model)) == 1
    assert operators(model).count("MatMul") == 3
    assert_same(model, reference)


def test_arrays_go_from_an_unrolled_loop_into_one_that_stays_and_out_again(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        rows = tf.TensorArray(tf.float32, 3, element_shape=[3]).unstack(x)
        rows = count(3, lambda i, a: a.write(i, tf.tanh(a.read(i))), rows)
        step = lambda i, a, y: (i + 1, a.write(i % 3, y[0]), y + 0.9 + a.read(0))  # noqa: E731
        _, rows, y = tf.while_loop(lambda i, a, y: tf.reduce_sum(y) < 20.0, step, (0, rows, x))
        return y + count(3, lambda i, total: total + rows.read(i), tf.zeros([3]))

    reference = saved(function, tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model")
    assert sum(op in ("While", "StatelessWhile") for op in operators(model)) == 1
    assert_same(model, reference)


def test_a_loop_around_one_that_stays_stays_too(tmp_path: Path) -> None:
    reference = saved(lambda module, x: count(3, lambda i, y: until(y) * 0.3, x), tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model")
    assert sum(op in ("While", "StatelessWhile") for op in operators(model)) == 1
    assert_same(model, reference)


def test_always_computes_every_step_of_a_loop_that_data_may_end_early(tmp_path: Path) -> None:
    reference = saved(lambda module, x: until(x, most=4), tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model", unroll="always")
    assert not functional(model)
    assert_same(model, reference)


def test_a_loop_in_a_branch_that_data_choose_is_unrolled_and_both_branches_are_computed(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 9.0, lambda: count(3, lambda i, y: y @ module.w, x), lambda: x)

    reference = saved(function, tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model")
    assert not functional(model)
    assert_same(model, reference)


def test_a_loop_in_a_branch_that_might_never_end_there_keeps_its_branch(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        chosen = tf.cond(tf.reduce_sum(x) > 0.0, lambda: until(x), lambda: x)
        return count(2, lambda i, y: y @ module.w, chosen)

    reference = saved(function, tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model")
    assert {"If", "StatelessIf"} & set(operators(model))
    assert not {"While", "StatelessWhile"} & set(operators(model))
    assert_same(model, reference)


# What always refuses.


@pytest.mark.parametrize(
    "function",
    [
        lambda module, x: until(x),
        lambda module, x: count(3, lambda i, y: until(y), x),
        lambda module, x: count(3, lambda i, y: y @ module.w, until(x)),
    ],
)
def test_always_names_the_loop_and_the_data_that_its_steps_depend_on(tmp_path: Path, function: Callable[[Any, Any], Any]) -> None:
    saved(function, tmp_path / "model", [3, 3], w=W)
    with pytest.raises(StageError, match=r"the while loop '.*while' cannot be unrolled: .* depends on data \(.*x0:0\)") as caught:
        frozen(tmp_path / "model", unroll="always")
    assert "freeze.unroll=auto" in caught.value.hint
    assert "signature.constants" in caught.value.hint


def test_an_operator_that_no_step_can_be_written_with_leaves_the_loop(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        rows = tf.TensorArray(tf.float32, 3, element_shape=[3], clear_after_read=False).unstack(x)
        place = tf.cast(x[0, 0] * 0.0, tf.int32)
        return count(3, lambda i, a: a.write(place, a.read(i) + 1.0), rows).stack()

    reference = saved(function, tmp_path / "model", [3, 3])
    model = frozen(tmp_path / "model")
    assert {"While", "StatelessWhile"} & set(operators(model))
    assert_same(model, reference)
    with pytest.raises(StageError, match=r"data decide where in the TensorArray .* is written"):
        frozen(tmp_path / "model", unroll="always")


def test_values_at_the_ends_of_their_range_survive_unrolling(tmp_path: Path) -> None:
    reference = saved(lambda module, x: count(3, lambda i, y: y * module.w, x), tmp_path / "model", [3, 3], w=W)
    model = frozen(tmp_path / "model")
    from tests.sources.tf1 import run_frozen

    extreme = np.array([[0, -0.0, 1e30], [np.inf, 1e-38, -1], [1, 2, 3]], np.float32)
    (found,) = run_frozen(model, {model.signature.inputs[0].name: extreme})
    np.testing.assert_array_equal(found, np.asarray(reference(extreme)))
