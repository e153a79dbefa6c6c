"""Loops written by hand: while_loop, map_fn, scan, conds inside, arrays in every use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.graphs.loops.v1 import case, check_lite, values

BOTH = pytest.mark.parametrize("unroll", ["always", "never"])


def count(tf1: Any, steps: Any, body: Callable[[Any, Any], Any], start: Any, **options: Any) -> Any:
    """A while_loop that counts to `steps`; return the last value."""
    return tf1.while_loop(lambda i, _: i < steps, lambda i, x: (i + 1, body(i, x)), (0, start), **options)[1]


@BOTH
def test_a_loop_that_counts(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2, 3], name="x")
        return tf1.identity(count(tf1, 4, lambda i, y: y * 0.5 + tf1.cast(i, "float32"), x), name="y")

    case(build, {"x": values(2, 3)}).check(unroll)


@BOTH
def test_a_loop_whose_exit_is_the_output_keeps_the_exits_name(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        return count(tf1, 3, lambda i, y: y + 1.0, tf1.placeholder("float32", [2], name="x"))

    built = case(build, {"x": values(2)})
    assert built.outputs == ["while/Exit_1:0"]
    built.check(unroll)


@BOTH
def test_a_loop_that_never_runs_gives_its_start(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        return count(tf1, 0, lambda i, y: y + 1.0, tf1.placeholder("float32", [2], name="x"))

    case(build, {"x": values(2)}).check(unroll)


@BOTH
def test_a_loop_in_a_loop(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x, w = tf1.placeholder("float32", [3, 3], name="x"), tf1.constant(values(3, 3))
        inner = lambda i, y: count(tf1, i + 1, lambda j, z: tf1.tanh(tf1.matmul(z, w)) + tf1.cast(i * j, "float32"), y)  # noqa: E731
        return count(tf1, 3, inner, x)

    found = case(build, {"x": values(3, 3)}).check(unroll)
    if unroll == "always":
        assert sum(node.op == "MatMul" for node in found.node) == 1 + 2 + 3
        assert any(node.name.startswith("while/step_2/while/step_1/") for node in found.node)


def test_what_does_not_change_is_computed_once() -> None:
    def build(tf1: Any) -> Any:
        x, w = tf1.placeholder("float32", [3, 3], name="x"), tf1.placeholder("float32", [3, 3], name="w")

        def body(i: Any, y: Any) -> Any:
            kernel = tf1.matmul(w, w)  # of invariants alone
            fixed = count(tf1, 2, lambda j, z: tf1.sin(z), w)  # a whole loop of invariants
            return tf1.nn.relu(y) @ kernel + fixed

        return count(tf1, 5, body, x)

    found = case(build, {"x": values(3, 3), "w": values(3, 3, seed=8)}).check("always")
    operators = [node.op for node in found.node]
    assert operators.count("MatMul") == 1 + 5
    assert operators.count("Sin") == 2


@BOTH
def test_a_variable_that_is_only_handed_on_counts_as_invariant(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [4], name="x")
        body = lambda i, shape, y: (i + 1, shape, tf1.reshape(tf1.reshape(y, shape) + 1.0, [4]))  # noqa: E731
        return tf1.while_loop(lambda i, shape, y: i < 3, body, (0, tf1.constant([2, 2]), x))[2]

    case(build, {"x": values(4)}).check(unroll)


@BOTH
@pytest.mark.parametrize("name", ["map_fn", "scan", "foldl", "foldr"])
def test_the_loops_of_functional_operators(name: str, unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [5, 3], name="x")
        if name == "map_fn":
            return tf1.map_fn(lambda row: tf1.nn.softmax(row) * 2.0, x)
        loop = {"scan": tf1.scan, "foldl": tf1.foldl, "foldr": tf1.foldr}[name]
        return loop(lambda total, row: tf1.tanh(total) + row, x)

    case(build, {"x": values(5, 3)}).check(unroll)


@BOTH
def test_map_fn_over_several_tensors(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x, y = tf1.placeholder("float32", [4, 3], name="x"), tf1.placeholder("float32", [4], name="y")
        pair = tf1.map_fn(lambda item: (item[0] * item[1], item[1] > 0.0), (x, y), dtype=("float32", "bool"))
        return [pair[0], tf1.cast(pair[1], "int32")]

    case(build, {"x": values(4, 3), "y": values(4)}).check(unroll)


@BOTH
def test_an_array_that_one_loop_writes_and_another_reads_backwards(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2, 3], name="x")
        array = tf1.TensorArray("float32", 4)
        array = tf1.while_loop(lambda i, a, y: i < 4, lambda i, a, y: (i + 1, a.write(i, y), y * 0.5 + 1.0), (0, array, x))[1]
        return count(tf1, 4, lambda i, y: y * 0.9 + array.read(3 - i), tf1.zeros([2, 3]))

    case(build, {"x": values(2, 3)}).check(unroll)


@BOTH
def test_concatenated_and_split_arrays(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [6, 2], name="x")
        pieces = tf1.TensorArray("float32", 3, infer_shape=False, clear_after_read=False).split(x, [1, 2, 3])
        array = tf1.TensorArray("float32", 3, element_shape=[2, 2])
        body = lambda i, a: (i + 1, a.write(i, x[:2] * tf1.cast(i, "float32")))  # noqa: E731
        array = tf1.while_loop(lambda i, a: i < 3, body, (0, array))[1]
        return [tf1.identity(pieces.concat(), name="a"), tf1.identity(array.concat(), name="b"), pieces.read(1)]

    case(build, {"x": values(6, 2)}).check(unroll)


def test_arrays_outside_of_loops_need_no_operator() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [4, 2], name="x")
        array = tf1.TensorArray("float32", 4, clear_after_read=False).unstack(x)
        size = tf1.cast(array.size(), "float32")
        return [array.gather([3, 0, 2]), array.read(1) * size, array.stack("stacked")]

    found = case(build, {"x": values(4, 2)}).check()
    # One for [3, 0, 2]; stacking what was unstacked is the tensor itself.
    assert sum(node.op == "Pack" for node in found.node) == 1


@BOTH
def test_elements_that_were_not_written_are_zero(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        array = tf1.TensorArray("float32", 5, element_shape=[2])
        body = lambda i, a: (i + 2, a.write(i, x + tf1.cast(i, "float32")))  # noqa: E731
        return tf1.while_loop(lambda i, a: i < 5, body, (0, array))[1].stack()

    case(build, {"x": values(2)}).check(unroll)


def test_an_array_that_grows() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        array = tf1.TensorArray("float32", 0, dynamic_size=True)
        body = lambda i, a: (i + 1, a.write(i, x * tf1.cast(i, "float32")))  # noqa: E731
        return tf1.while_loop(lambda i, a: i < 4, body, (0, array))[1].stack()

    case(build, {"x": values(2)}).check()


def test_a_variable_may_change_its_shape_when_unrolled() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [1, 2], name="x")
        shapes = (tf1.TensorShape([]), tf1.TensorShape([None, 2]))
        body = lambda i, y: (i + 1, tf1.concat([y, y[:1] * 0.5], 0))  # noqa: E731
        return tf1.while_loop(lambda i, y: i < 3, body, (0, x), shape_invariants=shapes)[1]

    assert case(build, {"x": values(1, 2)}).check().node


@BOTH
def test_a_cond_on_the_step_number(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [3], name="x")
        body = lambda i, y: tf1.cond(i < 2, lambda: y * 2.0, lambda: tf1.constant(values(3)))  # noqa: E731
        return count(tf1, 3, body, x)

    found = case(build, {"x": values(3)}).check(unroll)
    assert unroll == "never" or not any(node.op == "SelectV2" for node in found.node)


@BOTH
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_cond_on_data_inside_a_loop(sign: float, unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [3], name="x")
        deep = lambda y: tf1.cond(y[0] > 0.5, lambda: y - 0.25, lambda: tf1.constant([1.0, 2.0, 3.0]))  # noqa: E731
        body = lambda i, y: tf1.cond(tf1.reduce_sum(y) > 1.0, lambda: deep(y * 0.5), lambda: y + 0.75)  # noqa: E731
        return count(tf1, 4, body, x)

    case(build, {"x": values(3) * sign}).check(unroll)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_cond_on_data_outside_of_loops(sign: float) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [3], name="x")
        return tf1.cond(x[0] > 0.0, lambda: (x * 2.0, tf1.constant(1)), lambda: (x - 1.0, tf1.constant(0)))

    found = case(build, {"x": values(3) * sign}).check()
    assert sum(node.op == "SelectV2" for node in found.node) == 2


@BOTH
@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_cond_on_data_that_writes_an_array(sign: float, stated: bool, unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [3], name="x")
        array = tf1.TensorArray("float32", 3, element_shape=[3] if stated else None)

        def body(i: Any, a: Any) -> Any:
            return i + 1, tf1.cond(x[i] > 0.0, lambda: a.write(i, x * 2.0), lambda: a)

        return tf1.while_loop(lambda i, a: i < 3, body, (0, array))[1].stack()

    case(build, {"x": values(3) * sign}).check(unroll)


@pytest.mark.parametrize("limit", [0.5, 3.0, 100.0])
def test_a_loop_that_runs_until_data_say_stop(limit: float) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        return tf1.while_loop(lambda y: tf1.reduce_sum(y) < limit, lambda y: (y * 1.5 + 0.1,), (x,))

    built = case(build, {"x": np.abs(values(2))})
    found = built.check()
    assert any(node.op == "StatelessWhile" for node in found.node)
    check_lite(built)


def test_a_loop_on_data_inside_a_loop_that_is_unrolled() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")

        def body(i: Any, y: Any) -> Any:
            top = tf1.cast(i, "float32") + 2.0
            return tf1.while_loop(lambda z: tf1.reduce_sum(z) < top, lambda z: (z * 1.5 + 0.1,), (y,))

        return count(tf1, 3, body, x)

    built = case(build, {"x": np.abs(values(2))})
    found = built.check()
    assert sum(node.op == "StatelessWhile" for node in found.node) == 3
    check_lite(built)


def test_nested_functional_loops_convert() -> None:
    def build(tf1: Any) -> Any:
        x, w = tf1.placeholder("float32", [2, 3], name="x"), tf1.constant(values(3, 3))
        inner = lambda i, y: count(tf1, i + 1, lambda j, z: tf1.tanh(z @ w) + tf1.cast(i * j, "float32"), y)  # noqa: E731
        return count(tf1, 3, inner, x)

    check_lite(case(build, {"x": values(2, 3)}), "never")


def test_a_loop_in_a_branch_that_data_do_not_take_may_be_endless() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [], name="x")
        endless = lambda: tf1.while_loop(lambda y: y < 10.0, lambda y: (y + x,), (x,))  # noqa: E731
        return tf1.cond(x > 0.0, endless, lambda: x)

    for value in (0.5, -1.0):
        built = case(build, {"x": np.float32(value)})
        built.check()


def test_a_graph_without_loops_is_handed_back() -> None:
    built = case(lambda tf1: tf1.placeholder("float32", [2], name="x") + 1.0, {"x": values(2)})
    assert built.rewritten() is built.graph_def


@pytest.mark.parametrize("limit", [0.5, 2.0, 100.0])
def test_a_loop_that_data_end_early_is_unrolled_to_its_greatest_number_of_steps_where_insisted_on(limit: float) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")
        array = tf1.TensorArray("float32", 5, element_shape=[2])
        body = lambda i, y, a: (i + 1, y * 1.5 + 0.1, a.write(i, y))  # noqa: E731
        ends = lambda i, y, a: tf1.reduce_sum(y) < limit  # noqa: E731
        i, y, array = tf1.while_loop(ends, body, (0, x, array), maximum_iterations=5)
        return [tf1.identity(i, name="count"), tf1.identity(y, name="y"), array.stack()]

    found = case(build, {"x": np.abs(values(2))}).check("always")
    assert not any(node.op == "StatelessWhile" for node in found.node)


@pytest.mark.parametrize("index", [0, 2, 7])
def test_what_would_fail_in_a_branch_that_is_not_taken_does_not(index: int) -> None:
    def build(tf1: Any) -> Any:
        x, i = tf1.placeholder("float32", [3, 2], name="x"), tf1.placeholder("int32", [], name="i")
        row = tf1.cond(i < 3, lambda: tf1.gather(x, i), lambda: tf1.constant([5.0, 6.0]))
        cell = tf1.cond(i < 3, lambda: tf1.gather_nd(x, tf1.stack([i, 1])), lambda: tf1.constant(7.0))
        part = tf1.cond(i > 0, lambda: 9 // i, lambda: tf1.constant(3))
        return [tf1.identity(item, name=f"y{number}") for number, item in enumerate([row, cell, part])]

    built = case(build, {"x": values(3, 2), "i": np.int32(index)})
    built.check()
    check_lite(built)


def test_the_arrays_of_the_second_generation_are_understood() -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [4, 2], name="x")
        return tf1.map_fn(lambda row: row * 2.0 + 1.0, x)

    built = case(build, {"x": values(4, 2)})
    before = built.graph_def
    for node in before.node:
        entries = [
            f"{entry.split(':')[0]}/flow" if entry.endswith(("TensorArray:1", "TensorArray_1:1")) else entry
            for entry in node.input
        ]
        del node.input[:]
        node.input.extend(entries)
        if node.op.startswith("TensorArray"):
            node.op = node.op.replace("V3", "V2")
    for name in [node.name for node in before.node if node.op == "TensorArrayV2"]:
        flow = before.node.add(name=f"{name}/flow", op="Const")
        flow.attr["dtype"].type = 1
        flow.attr["value"].tensor.dtype = 1
        flow.attr["value"].tensor.tensor_shape.SetInParent()
        flow.attr["value"].tensor.float_val.append(0.0)
    assert any(node.op == "TensorArrayReadV2" for node in before.node)
    built.check()


@pytest.mark.parametrize("index", [1, 9])
def test_what_would_fail_is_safe_even_where_it_is_computed_once_for_all_steps(index: int) -> None:
    def build(tf1: Any) -> Any:
        x, i = tf1.placeholder("float32", [3, 2], name="x"), tf1.placeholder("int32", [], name="i")
        row = lambda y: tf1.cond(tf1.reduce_sum(y) > 50.0 - 7.0 * float(index), lambda: tf1.gather(x, i), lambda: y + 0.1)  # noqa: E731
        return count(tf1, 3, lambda step, y: row(y), tf1.ones([2]) * (0.0 if index == 1 else -50.0))

    built = case(build, {"x": values(3, 2), "i": np.int32(index)})
    built.check()
    check_lite(built)


@BOTH
def test_a_flag_that_a_loop_carries_says_nothing_about_what_is_computed_around_it(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2], name="x")

        def outer(i: Any, y: Any) -> Any:
            # sin(y) belongs to the outer loop, although it is written in a branch of the inner one.
            inner = lambda j, flag, z: (j + 1, False, tf1.cond(flag, lambda: z + tf1.sin(y), lambda: z * 0.5))  # noqa: E731
            return tf1.while_loop(lambda j, flag, z: j < 3, inner, (0, tf1.constant(True), y))[2]

        return count(tf1, 3, outer, x)

    case(build, {"x": values(2)}).check(unroll)


def test_an_endless_loop_of_invariants_stays_in_its_branch() -> None:
    def build(tf1: Any) -> Any:
        x, w = tf1.placeholder("float32", [], name="x"), tf1.placeholder("float32", [], name="w")
        endless = lambda: tf1.while_loop(lambda z: z < 10.0, lambda z: (z + w,), (tf1.constant(0.5),))  # noqa: E731
        return count(tf1, 2, lambda i, y: tf1.cond(y > 0.0, endless, lambda: y - 1.0), x)

    built = case(build, {"x": np.float32(-1.0), "w": np.float32(0.0)})
    built.check()
