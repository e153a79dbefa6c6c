"""Recurrent graphs as TensorFlow 1 wrote them, run before and after, in TensorFlow and in LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.graphs import TensorName, needed_nodes
from mlkit_build.graphs.loops import without_loops
from mlkit_build.graphs.surgery import CONTROL_FLOW_V1
from tests.sources.tf1 import run_graph, session


@dataclass
class Case:
    """A graph with loops, values for its placeholders, and what TensorFlow gives for its outputs."""

    graph_def: Any
    feed: dict[str, NDArray[Any]]
    outputs: list[str]
    expected: list[NDArray[Any]]

    def names(self) -> list[TensorName]:
        return [TensorName.parse(output) for output in self.outputs]

    def rewritten(self, unroll: str = "auto") -> Any:
        """Return the graph without loops, after checking that none is left."""
        result = without_loops(self.graph_def, self.names(), unroll=unroll)
        left = {node.op for node in result.node if node.op in CONTROL_FLOW_V1 or node.op.startswith("TensorArray")}
        assert not left, left
        return result

    def check(self, unroll: str = "auto", atol: float = 1e-6) -> Any:
        """Assert that the graph without loops computes the same; return it."""
        result = self.rewritten(unroll)
        found = run_graph(result, self.feed, self.outputs)
        for name, before, after in zip(self.outputs, self.expected, found, strict=True):
            assert before.dtype == after.dtype, name
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=atol, err_msg=name)
        return result


def case(build: Callable[[Any], Any], feed: Mapping[str, Any] | None = None) -> Case:
    """Build a graph; `build` returns its output tensors, or one. What they do not need is dropped, as freezing does."""
    with session() as (tf1, running):
        tensors = build(tf1)
        outputs = [tensor.name for tensor in (tensors if isinstance(tensors, list | tuple) else [tensors])]
        given = {f"{name}:0": np.asarray(value) for name, value in (feed or {}).items()}
        expected = running.run(outputs, given)
        graph_def = running.graph.as_graph_def()
    nodes = {node.name: node for node in graph_def.node}
    kept = [nodes[name] for name in needed_nodes(nodes, [TensorName.parse(name).node for name in outputs])]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    return Case(graph_def, given, outputs, expected)


def converted(graph_def: Any, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Convert as the convert stage does, with builtin operators only."""
    import tensorflow as tf

    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    tensor = wrapped.graph.get_tensor_by_name
    with wrapped.graph.as_default():
        results = [tf.identity(tensor(name), name=f"result_{index}") for index, name in enumerate(outputs)]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([wrapped.prune([tensor(name) for name in inputs], results)])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model: bytes = converter.convert()
    return model


def run_lite(model: bytes, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a model of LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def check_lite(case: Case, unroll: str = "auto", atol: float = 1e-5) -> bytes:
    """Assert that the graph without loops converts, and that LiteRT computes the same; return the model."""
    inputs = list(case.feed)
    model = converted(case.rewritten(unroll), inputs, case.outputs)
    found = run_lite(model, [case.feed[name] for name in inputs])
    assert len(found) == len(case.expected)
    for before, after in zip(case.expected, found, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=atol)
    return model


def values(*shape: int, seed: int = 5, scale: float = 1.0) -> NDArray[np.float32]:
    """Return reproducible values in -scale..scale."""
    return np.random.default_rng(seed).uniform(-scale, scale, shape).astype(np.float32)


class Cell:
    """What the cells of `tf.nn.rnn_cell` have in common, as far as `dynamic_rnn` asks; weights are constants, as when frozen."""

    state_size: Any
    output_size: int

    def zero_state(self, batch: Any, dtype: Any) -> Any:
        import tensorflow as tf

        sizes = self.state_size if isinstance(self.state_size, tuple) else (self.state_size,)
        states = tuple(tf.zeros(tf.stack([batch, size]), dtype) for size in sizes)
        return states if isinstance(self.state_size, tuple) else states[0]


class Lstm(Cell):
    """LSTMCell, with peepholes or a projection where asked; gates in the order i, j, f, o (`rnn_cell_impl.py`)."""

    def __init__(self, units: int, inputs: int, *, peepholes: bool = False, projection: int = 0, seed: int = 1) -> None:
        out = projection or units
        self.state_size, self.output_size = (units, out), out
        self.kernel, self.bias = values(inputs + out, 4 * units, seed=seed, scale=0.5), values(4 * units, seed=seed + 1)
        self.peepholes = values(3, units, seed=seed + 2) if peepholes else np.zeros((3, units), np.float32)
        self.projection = values(units, projection, seed=seed + 3, scale=0.5) if projection else None

    def __call__(self, x: Any, state: Any, scope: Any = None) -> Any:
        import tensorflow as tf

        cell, hidden = state
        with tf.name_scope("lstm_cell"):
            both = tf.matmul(tf.concat([x, hidden], 1), tf.constant(self.kernel, name="kernel"))
            i, j, f, o = tf.split(tf.nn.bias_add(both, tf.constant(self.bias, name="bias")), 4, axis=1)
            cell_after = tf.sigmoid(f + 1.0 + self.peepholes[0] * cell) * cell
            cell_after += tf.sigmoid(i + self.peepholes[1] * cell) * tf.tanh(j)
            hidden_after = tf.sigmoid(o + self.peepholes[2] * cell_after) * tf.tanh(cell_after)
            if self.projection is not None:
                hidden_after = tf.matmul(hidden_after, tf.constant(self.projection, name="projection"))
        return hidden_after, (cell_after, hidden_after)


class Gru(Cell):
    """GRUCell."""

    def __init__(self, units: int, inputs: int, seed: int = 1) -> None:
        self.state_size = self.output_size = units
        self.gates, self.candidate = (values(inputs + units, n * units, seed=seed + n, scale=0.5) for n in (2, 1))

    def __call__(self, x: Any, state: Any, scope: Any = None) -> Any:
        import tensorflow as tf

        with tf.name_scope("gru_cell"):
            r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([x, state], 1), self.gates)), 2, axis=1)
            candidate = tf.tanh(tf.matmul(tf.concat([x, r * state], 1), self.candidate))
            after = u * state + (1.0 - u) * candidate
        return after, after


class Stack(Cell):
    """MultiRNNCell."""

    def __init__(self, *cells: Cell) -> None:
        self.cells = cells
        self.state_size = tuple(cell.state_size for cell in cells)
        self.output_size = cells[-1].output_size

    def zero_state(self, batch: Any, dtype: Any) -> Any:
        return tuple(cell.zero_state(batch, dtype) for cell in self.cells)

    def __call__(self, x: Any, state: Any, scope: Any = None) -> Any:
        import tensorflow as tf

        after = []
        for number, (cell, before) in enumerate(zip(self.cells, state, strict=True)):
            with tf.name_scope(f"cell_{number}"):
                x, new = cell(x, before)
            after.append(new)
        return x, tuple(after)
