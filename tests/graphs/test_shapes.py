from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.graphs import LoadedGraph
from mlkit_build.graphs.functions import library_of
from mlkit_build.graphs.shapes import renew_shapes
from mlkit_build.sources.live import open_live
from mlkit_build.stages.freeze import freeze_graph
from mlkit_build.stages.params import FreezeInput, FreezeParams
from tests.graphs import tf2
from tests.graphs.tf2 import assert_same, saved, values_for
from tests.sources.tf1 import digits, request, run_frozen

frozen = partial(tf2.frozen, unroll="never")
"""Loops stay: what is tested here is what is known of the shapes behind them."""
W = digits(4, [4])
SEQUENCE = [None, 6, 4]

KERAS: dict[str, Callable[[Any, Any], Any]] = {
    "LSTM": lambda layers, x: layers.LSTM(5)(x),
    "LSTM with sequences and states": lambda layers, x: layers.LSTM(5, return_sequences=True, return_state=True)(x),
    "GRU with sequences": lambda layers, x: layers.GRU(5, return_sequences=True)(x),
    "SimpleRNN": lambda layers, x: layers.SimpleRNN(5)(x),
    "Bidirectional LSTM": lambda layers, x: layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x),
    "cells one above the other": lambda layers, x: layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)])(x),
    "masked LSTM": lambda layers, x: layers.LSTM(5)(layers.Masking()(x)),
}


@pytest.mark.parametrize("generation", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", KERAS)
def test_a_recurrent_saved_model_with_an_open_batch_is_pinned_and_converts(tmp_path: Path, kind: str, generation: str) -> None:
    keras = pytest.importorskip(generation)
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    x = keras.Input((6, 4), name="x")
    model = keras.Model(x, KERAS[kind](keras.layers, x))
    model.export(tmp_path / "model", verbose=False) if generation == "keras" else tf.saved_model.save(
        model, str(tmp_path / "model")
    )
    assert_same(frozen(tmp_path / "model"), model)


@pytest.mark.parametrize("generation", ["keras", "tf_keras"])
def test_an_open_length_is_pinned_as_the_recipe_states_it(tmp_path: Path, generation: str) -> None:
    keras = pytest.importorskip(generation)
    import tensorflow as tf

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, keras.layers.LSTM(4)(keras.layers.Embedding(6, 3)(tokens)))
    model.export(tmp_path / "model", verbose=False) if generation == "keras" else tf.saved_model.save(
        model, str(tmp_path / "model")
    )
    assert_same(frozen(tmp_path / "model", {"tokens": [2, 7]}), model)


def array(module: Any, x: Any) -> Any:
    import tensorflow as tf

    rows = tf.TensorArray(tf.float32, 6).unstack(tf.transpose(x, [1, 0, 2]))

    def step(index: Any, state: Any, written: Any) -> Any:
        state = tf.tanh(rows.read(index) + state @ module.w)
        return index + 1, state, written.write(index, state)

    start = (0, tf.zeros([tf.shape(x)[0], 4]), tf.TensorArray(tf.float32, 6))
    _, _, written = tf.while_loop(lambda index, *_: index < 6, step, start)
    return written.stack()


def arrays_in_a_loop(module: Any, x: Any) -> Any:
    import tensorflow as tf

    def step(index: Any, state: Any, written: Any) -> Any:
        def inner(index: Any, state: Any, inside: Any) -> Any:
            return index + 1, tf.tanh(state @ module.w + x[:, index]), inside.write(index, state)

        _, state, inside = tf.while_loop(lambda index, *_: index < 6, inner, (0, state, tf.TensorArray(tf.float32, 6)))
        return index + 1, state, written.write(index, tf.reduce_sum(inside.stack(), 0))

    start = (0, tf.zeros([tf.shape(x)[0], 4]), tf.TensorArray(tf.float32, 3))
    _, state, written = tf.while_loop(lambda index, *_: index < 3, step, start)
    return {"state": state, "written": written.stack()}


def looked_back(module: Any, x: Any) -> Any:
    import tensorflow as tf

    def step(index: Any, written: Any) -> Any:
        return index + 1, written.write(index + 1, tf.tanh(written.read(index) @ module.w + x[:, 0]))

    start = (0, tf.TensorArray(tf.float32, 7, clear_after_read=False).write(0, x[:, 0]))
    return tf.while_loop(lambda index, *_: index < 6, step, start)[1].stack()


def scanned(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.scan(lambda state, row: tf.tanh(row + state @ module.w), tf.transpose(x, [1, 0, 2]))


def mapped(module: Any, x: Any) -> Any:
    import tensorflow as tf

    both = (tf.float32, tf.float32)
    one, other = tf.map_fn(lambda row: (row @ module.w, tf.reduce_sum(row, 0)), x, fn_output_signature=both)
    return {"one": one, "other": other}


def mapped_in_a_map(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.map_fn(lambda rows: tf.map_fn(lambda row: row * 2.0 + tf.reduce_sum(module.w), rows), x)


def branches(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.cond(tf.reduce_sum(x) > 9.0, lambda: array(module, x), lambda: tf.zeros([6, tf.shape(x)[0], 4]))


def branch_in_a_loop(module: Any, x: Any) -> Any:
    import tensorflow as tf

    def step(index: Any, state: Any) -> Any:
        return index + 1, tf.cond(index > 2, lambda: state @ module.w, lambda: state + tf.zeros([tf.shape(x)[0], 6, 4]))

    return tf.while_loop(lambda index, _: index < 5, step, [0, x])[1]


def forgotten(module: Any, x: Any) -> Any:
    import tensorflow as tf

    invariants = [tf.TensorShape([]), tf.TensorShape(None)]
    return tf.while_loop(lambda i, _: i < 3, lambda i, state: (i + 1, state @ module.w), [0, x], shape_invariants=invariants)[1]


@pytest.mark.parametrize(
    "function",
    [array, arrays_in_a_loop, looked_back, scanned, mapped, mapped_in_a_map, branches, branch_in_a_loop, forgotten],
)
def test_a_function_with_loops_and_an_open_batch_is_pinned_and_converts(tmp_path: Path, function: Any) -> None:
    reference = saved(function, tmp_path / "model", SEQUENCE, w=W)
    assert_same(frozen(tmp_path / "model"), reference)


def test_the_batch_may_be_any(tmp_path: Path) -> None:
    reference = saved(array, tmp_path / "model", SEQUENCE, w=W)
    assert_same(frozen(tmp_path / "model", {"x0": [3, 6, 4]}), reference)


def test_a_function_used_for_two_shapes_gets_a_version_for_each(tmp_path: Path) -> None:
    import tensorflow as tf

    doubled = tf.function(
        lambda x, w: tf.map_fn(lambda rows: rows @ w, x), input_signature=[tf.TensorSpec(None), tf.TensorSpec([4, 4])]
    )

    def twice(module: Any, x: Any) -> Any:
        return doubled(x, module.w) + doubled(tf.concat([x, x], 1), module.w)[:, :6]

    reference = saved(twice, tmp_path / "model", SEQUENCE, w=W)
    model = frozen(tmp_path / "model")
    bodies = {node.attr["body"].func.name for node in model.graph_def.node if node.op.endswith("While")}
    assert len(bodies) == 2
    assert_same(model, reference)


def test_a_branch_by_number_has_the_shape_that_its_branches_share(tmp_path: Path) -> None:
    import tensorflow as tf

    def chosen(module: Any, x: Any) -> Any:
        choice = tf.cast(tf.reduce_sum(x) > 9.0, tf.int32)
        return tf.switch_case(choice, [lambda: x @ module.w, lambda: x * 2.0, lambda: tf.ones([tf.shape(x)[0], 6, 4])])

    reference = saved(chosen, tmp_path / "model", SEQUENCE, w=W)
    model = frozen(tmp_path / "model")
    assert model.signature.outputs[0].shape == (1, 6, 4)
    (x,) = values_for(model)
    np.testing.assert_allclose(run_frozen(model, {"x0": x})[0], reference(tf.constant(x)), atol=1e-6)


def test_a_loop_whose_shape_depends_on_its_steps_is_left_to_be_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    def growing(module: Any, x: Any) -> Any:
        invariants = [tf.TensorShape([]), tf.TensorShape([None, None, 4])]
        longer = lambda i, state: (i + 1, tf.concat([state, state[:, -1:]], 1))  # noqa: E731
        return tf.while_loop(lambda i, _: i < 3, longer, [0, x], shape_invariants=invariants)[1]

    saved(growing, tmp_path / "model", SEQUENCE)
    with pytest.raises(ConfigError, match=r"no static shape \(\[1, \?, 4\]\)"):
        frozen(tmp_path / "model")


def test_elements_of_several_shapes_leave_their_list_as_it_was(tmp_path: Path) -> None:
    import tensorflow as tf

    def ragged(module: Any, x: Any) -> Any:
        rows = tf.TensorArray(tf.float32, 2, infer_shape=False).write(0, x[:, 0]).write(1, x[:, 1, :2])
        return tf.ensure_shape(rows.read(0), [1, 4])

    reference = saved(ragged, tmp_path / "model", SEQUENCE)
    model = frozen(tmp_path / "model")
    (x,) = values_for(model)
    np.testing.assert_array_equal(run_frozen(model, {"x0": x})[0], reference(tf.constant(x)))


def live(function: Any, shape: list[int | None]) -> LoadedGraph:
    import tensorflow as tf

    traced = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    model = open_live(traced, "model", "where")
    return model.graph({"x": tuple(size or 1 for size in shape)})


def test_static_loops_stay_byte_for_byte() -> None:
    import tensorflow as tf

    w = tf.constant(W)

    def scanned_twice(x: Any) -> Any:
        rows = tf.scan(lambda state, row: tf.tanh(row + state @ w), tf.transpose(x, [1, 0, 2]))
        return tf.cond(tf.reduce_sum(x) > 9.0, lambda: rows, lambda: rows * 2.0)

    graph_def = live(scanned_twice, [1, 6, 4]).graph_def
    before = graph_def.SerializeToString(deterministic=True)
    assert any(node.op == "StatelessWhile" for node in graph_def.node) or graph_def.library.function
    renew_shapes(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before


def test_renewing_twice_changes_nothing_more(tmp_path: Path) -> None:
    saved(arrays_in_a_loop, tmp_path / "model", SEQUENCE, w=W)
    graph_def = frozen(tmp_path / "model").graph_def
    before = graph_def.SerializeToString(deterministic=True)
    renew_shapes(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before


def test_the_frozen_graph_is_the_same_each_time(tmp_path: Path) -> None:
    saved(arrays_in_a_loop, tmp_path / "model", SEQUENCE, w=W)
    one, other = (frozen(tmp_path / "model").graph_def.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_functions_that_call_themselves_in_a_loop_are_left_alone() -> None:
    import tensorflow as tf

    graph_def = live(lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), [0, x])[1], [2, 3]).graph_def
    (loop,) = [node for node in graph_def.node if node.op.endswith("While")]
    body = library_of(graph_def)[loop.attr["body"].func.name]
    inner = body.node_def.add(name="again", op=loop.op, input=[argument.name for argument in body.signature.input_arg])
    for name, value in loop.attr.items():
        inner.attr[name].CopyFrom(value)
    before = graph_def.SerializeToString(deterministic=True)
    renew_shapes(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before


def test_a_graph_without_loops_costs_nothing() -> None:
    graph_def = live(lambda x: x * 2.0, [2, 3]).graph_def
    for index in range(500):
        node = graph_def.node.add(name=f"n{index}", op="NoSuchOperator")  # so that it cannot have been looked at
        node.input.append("x")
    began = time.process_time()
    renew_shapes(graph_def)
    assert time.process_time() - began < 0.05


def test_a_frozen_graph_whose_placeholder_is_pinned_is_renewed_too() -> None:
    import tensorflow as tf

    w = tf.constant(W)
    loaded = live(lambda x: tf.scan(lambda state, row: tf.tanh(row + state @ w), tf.transpose(x, [1, 0, 2])), SEQUENCE)
    outputs = [node.name for node in loaded.graph_def.node if node.name.startswith("outputs/")]
    params = FreezeParams(request({}, {}).source, {"x": FreezeInput("x:0", (1, 6, 4))}, {"y": f"{outputs[0]}:0"}, unroll="never")
    assert freeze_graph(loaded, params).signature.outputs[0].shape == (6, 1, 4)
