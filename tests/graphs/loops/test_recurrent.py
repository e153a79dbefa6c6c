"""The recurrent nets that people trained with TensorFlow 1: dynamic_rnn and its relatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.graphs import TensorName
from mlkit_build.graphs.loops import without_loops
from mlkit_build.graphs.loops.limits import AUTO
from tests.graphs.loops.v1 import Case, Cell, Gru, Lstm, Stack, case, check_lite, values

CELLS = {
    "lstm": lambda: Lstm(4, 3),
    "peepholes": lambda: Lstm(4, 3, peepholes=True),
    "projection": lambda: Lstm(5, 3, projection=2),
    "gru": lambda: Gru(4, 3),
    "two layers": lambda: Stack(Lstm(4, 3), Gru(3, 4)),
}


def recurrent(cell: Cell, x: Any, **options: Any) -> Case:
    """dynamic_rnn over x; outputs and last state."""

    def build(tf1: Any) -> Any:
        placeholder = tf1.placeholder("float32", x.shape, name="x")
        outputs, state = tf1.nn.dynamic_rnn(cell, placeholder, dtype="float32", **options)
        return [tf1.identity(item, name=f"y{number}") for number, item in enumerate([outputs, *flat(state)])]

    return case(build, {"x": x})


def flat(state: Any) -> list[Any]:
    return [leaf for item in state for leaf in flat(item)] if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("unroll", ["always", "never"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_computes_the_same_unrolled_and_functional(cell: str, unroll: str) -> None:
    found = recurrent(CELLS[cell](), values(2, 6, 3)).check(unroll)
    operators = {node.op for node in found.node}
    assert ("StatelessWhile" in operators) == (unroll == "never")


@pytest.mark.parametrize("unroll", ["always", "never"])
@pytest.mark.parametrize("options", [{"time_major": True}, {"swap_memory": True}, {"parallel_iterations": 1}])
def test_the_options_of_dynamic_rnn_make_no_difference(options: dict[str, Any], unroll: str) -> None:
    recurrent(Gru(4, 3), values(2, 5, 3), **options).check(unroll)


@pytest.mark.parametrize("unroll", ["always", "never"])
def test_known_sequence_lengths_fold_into_the_steps_that_count(unroll: str) -> None:
    built = recurrent(Lstm(4, 3), values(3, 6, 3), sequence_length=np.array([2, 5, 0], np.int32))
    found = built.check(unroll)
    if unroll == "always":
        # Five steps: the longest sequence.
        assert {node.name.split("/")[2] for node in found.node if "/step_" in node.name} == {f"step_{n}" for n in range(5)}
        assert not any(node.op == "SelectV2" for node in found.node)


@pytest.mark.parametrize("lengths", [[4, 2], [1, 6], [0, 0]])
def test_sequence_lengths_that_are_data_give_a_functional_loop(lengths: list[int]) -> None:
    def build(tf1: Any) -> Any:
        x, length = tf1.placeholder("float32", [2, 6, 3], name="x"), tf1.placeholder("int32", [2], name="length")
        return tf1.nn.dynamic_rnn(Gru(4, 3), x, dtype="float32", sequence_length=length)

    built = case(build, {"x": values(2, 6, 3), "length": np.array(lengths, np.int32)})
    assert any(node.op == "StatelessWhile" for node in built.check("auto").node)


@pytest.mark.parametrize("unroll", ["always", "never"])
def test_bidirectional_nets_run_both_ways(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [2, 5, 3], name="x")
        lengths = np.array([5, 3], np.int32)
        outputs, states = tf1.nn.bidirectional_dynamic_rnn(
            Lstm(4, 3), Gru(3, 3, seed=9), x, dtype="float32", sequence_length=lengths
        )
        return [tf1.concat(outputs, 2, name="both"), *flat(states)]

    case(build, {"x": values(2, 5, 3)}).check(unroll)


@pytest.mark.parametrize("unroll", ["auto", "never"])
def test_a_layer_that_reads_another_layers_outputs(unroll: str) -> None:
    def build(tf1: Any) -> Any:
        x = tf1.placeholder("float32", [1, 5, 3], name="x")
        first, _ = tf1.nn.dynamic_rnn(Lstm(4, 3), x, dtype="float32", scope="first")
        _, last = tf1.nn.dynamic_rnn(Gru(3, 4), first, dtype="float32", scope="second")
        return tf1.nn.softmax(last, name="scores")

    case(build, {"x": values(1, 5, 3)}).check(unroll)


def test_raw_rnn_that_feeds_on_its_own_output() -> None:
    def build(tf1: Any) -> Any:
        cell, start = Gru(3, 3), tf1.placeholder("float32", [2, 3], name="x")

        def step(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
            following = cell.zero_state(2, "float32") if output is None else state
            finished = tf1.fill([2], time >= 4)
            return finished, start if output is None else output, following, output, None

        outputs, state, _ = tf1.nn.raw_rnn(cell, step)
        return [outputs.stack("stacked"), state]

    built = case(build, {"x": values(2, 3)})
    built.check("auto")
    # Its arrays have no size but the number of steps.
    with pytest.raises(StageError, match=r"'rnn/while'.*'rnn/rnn_output_0' grows as it is written"):
        built.rewritten("never")


def test_names_of_steps_can_be_read() -> None:
    built = recurrent(Lstm(4, 3), values(1, 3, 3))
    names = [node.name for node in built.rewritten().node]
    assert "rnn/while/step_2/lstm_cell/MatMul" in names
    assert "rnn/while/lstm_cell/kernel" in names
    assert not any("step_3" in name for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("unroll", ["auto", "never"])
def test_equal_graphs_give_equal_bytes_however_their_nodes_are_listed(unroll: str) -> None:
    built = recurrent(Stack(Lstm(4, 3), Gru(3, 4)), values(1, 4, 3))
    before = built.rewritten(unroll).SerializeToString(deterministic=True)
    shuffled = type(built.graph_def)()
    shuffled.CopyFrom(built.graph_def)
    del shuffled.node[:]
    order = np.random.default_rng(1).permutation(len(built.graph_def.node))
    shuffled.node.extend(built.graph_def.node[int(index)] for index in order)
    assert without_loops(shuffled, built.names(), unroll=unroll).SerializeToString(deterministic=True) == before


def test_the_source_graph_is_left_as_it_was() -> None:
    built = recurrent(Lstm(4, 3), values(1, 4, 3))
    before = built.graph_def.SerializeToString(deterministic=True)
    built.rewritten()
    assert built.graph_def.SerializeToString(deterministic=True) == before


def test_what_no_output_needs_is_dropped() -> None:
    built = recurrent(Lstm(4, 3), values(1, 4, 3))
    both = built.rewritten()
    state_only = without_loops(built.graph_def, [TensorName("y2")])
    assert len(state_only.node) < len(both.node)
    assert not any(node.op == "Pack" for node in state_only.node)


@pytest.mark.parametrize("unroll", ["auto", "never"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_nets_convert_with_builtin_operators(cell: str, unroll: str) -> None:
    built = recurrent(CELLS[cell](), values(1, 5, 3))
    built.outputs, built.expected = built.outputs[:1], built.expected[:1]
    check_lite(built, unroll)


def test_thousands_of_steps_are_no_deeper_than_one() -> None:
    # More than Python's recursion limit. Running the result takes TensorFlow ten times as long as unrolling it: see below.
    found = recurrent(Gru(2, 1), values(1, 2000, 1)).rewritten("always")
    assert sum(node.op == "Tanh" for node in found.node) == 2000


def test_three_hundred_steps_compute_the_same() -> None:
    recurrent(Gru(2, 1), values(1, 300, 1)).check("always", atol=1e-5)


def test_auto_unrolls_short_loops_and_makes_long_ones_functional() -> None:
    assert AUTO.steps
    for steps, functional in ((AUTO.steps, False), (AUTO.steps + 1, True)):
        x = values(steps + 1, 1)  # foldl begins with the first
        built = case(lambda tf1, x=x: tf1.foldl(lambda a, b: a + b, tf1.placeholder("float32", x.shape, name="x")), {"x": x})
        assert any(node.op == "StatelessWhile" for node in built.check("auto", atol=1e-4).node) == functional
    wide = recurrent(Lstm(2, 1), values(1, 200, 1))
    assert any(node.op == "StatelessWhile" for node in wide.check("auto", atol=1e-5).node)
