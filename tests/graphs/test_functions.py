from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.errors import SourceError, StageError
from mlkit_build.graphs import LoadedGraph
from mlkit_build.graphs.functions import library_of, write_out_calls
from mlkit_build.sources.live import open_live
from mlkit_build.stages.freeze import freeze_graph, freeze_model
from mlkit_build.stages.params import FreezeParams
from tests.graphs.tf2 import assert_same, frozen, saved, values_for
from tests.sources.tf1 import digits, loaded, request, run_frozen

W, V = digits(3, [3]), digits(3, [3], seed=9)


def operators(model: FrozenModel) -> set[str]:
    """Return the operators of the graph and of its functions."""
    found = {node.op for node in model.graph_def.node}
    return found | {node.op for function in model.graph_def.library.function for node in function.node_def}


def same(model: FrozenModel, reference: Any) -> None:
    """The frozen model gives in TensorFlow what the author's gives there."""
    import tensorflow as tf

    values = values_for(model)
    named = {spec.name: value for spec, value in zip(model.signature.inputs, values, strict=True)}
    expected = tf.nest.flatten(reference(*map(tf.constant, values)))
    for found, wanted in zip(run_frozen(model, named), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def graph(text: str) -> LoadedGraph:
    """Return a graph without variables from protobuf's text, for what today's TensorFlow no longer writes."""
    from google.protobuf import text_format
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return loaded(text_format.Parse(text + " versions { producer: 1000 }", GraphDef()))


def by_hand(text: str, x: NDArray[Any] | None = None) -> tuple[FrozenModel, NDArray[Any]]:
    """Freeze a graph from `x`, [2] float32, to `y`, and run it."""
    model = freeze_graph(graph(PLACEHOLDER + text), request({"x": "x:0"}, {"y": "y:0"}))
    return model, run_frozen(model, {"x": np.array([3, -5], np.float32) if x is None else x})[0]


FLOAT = 'attr { key: "T" value { type: DT_FLOAT } }'
PLACEHOLDER = """node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
                        attr { key: "shape" value { shape { dim { size: 2 } } } } } """
SPLIT = f"""function {{
    signature {{ name: "parts" input_arg {{ name: "a" type: DT_FLOAT }}
      output_arg {{ name: "negated" type: DT_FLOAT }} output_arg {{ name: "squared" type: DT_FLOAT }} }}
    node_def {{ name: "n" op: "Neg" input: "a" {FLOAT} }}
    node_def {{ name: "s" op: "Square" input: "n:y:0" {FLOAT} }}
    ret {{ key: "negated" value: "n:y:0" }} ret {{ key: "squared" value: "s:y:0" }} }} """


def one_node(name: str, operator: str) -> str:
    """Return a function that applies an operator."""
    return f"""function {{
        signature {{ name: "{name}" input_arg {{ name: "a" type: DT_FLOAT }} output_arg {{ name: "r" type: DT_FLOAT }} }}
        node_def {{ name: "n" op: "{operator}" input: "a" {FLOAT} }} ret {{ key: "r" value: "n:y:0" }} }}"""


# Calls.


def test_calls_in_calls_are_written_out(tmp_path: Path) -> None:
    import tensorflow as tf

    inner = tf.function(lambda x, w: tf.tanh(x @ w))
    outer = tf.function(lambda x, w: inner(x, w) + inner(inner(x * 2.0, w), w))
    reference = saved(lambda module, x: outer(x, module.w), tmp_path / "model", [None, 3], w=W)
    model = frozen(tmp_path / "model")
    assert not model.graph_def.library.function
    assert not any("Call" in op for op in operators(model))
    same(model, reference)


def test_a_call_may_have_several_results_and_each_may_be_an_output(tmp_path: Path) -> None:
    import tensorflow as tf

    three = tf.function(lambda x: (x + 1.0, x * 2.0, tf.reduce_sum(x, 1)))

    def function(module: Any, x: Any) -> Any:
        a, b, c = three(x)
        return {"a": a, "both": a + b, "sum": c, "b": b}

    reference = saved(function, tmp_path / "model", [None, 3])
    model = frozen(tmp_path / "model")
    assert [spec.name for spec in model.signature.outputs] == ["a", "b", "both", "sum"]
    same(model, reference)


def test_an_argument_may_be_a_result(tmp_path: Path) -> None:
    import tensorflow as tf

    passed = tf.function(lambda x, y: (y, x))
    reference = saved(lambda module, x: dict(zip("ab", passed(x, x * 2.0), strict=True)), tmp_path / "model", [1, 3])
    same(frozen(tmp_path / "model"), reference)


def test_checks_that_only_control_are_dropped(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function
    def checked(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_greater(x, -100.0), tf.print("seen")]):
            return x * 2.0

    reference = saved(lambda module, x: checked(x) + 1.0, tmp_path / "model", [1, 3])
    model = frozen(tmp_path / "model")
    assert operators(model) == {"Placeholder", "Const", "Mul", "AddV2", "Identity"}
    same(model, reference)


def test_control_inputs_inside_a_function_follow_it_out() -> None:
    text = f"""node {{ name: "y" op: "f" input: "x" }} library {{ function {{
        signature {{ name: "f" input_arg {{ name: "a" type: DT_FLOAT }} output_arg {{ name: "r" type: DT_FLOAT }} }}
        node_def {{ name: "n" op: "Neg" input: "a" {FLOAT} }}
        node_def {{ name: "s" op: "Square" input: "a" input: "^n" input: "^a" {FLOAT} }}
        ret {{ key: "r" value: "s:y:0" }} }} }}"""
    graph_def = graph(PLACEHOLDER + text).graph_def
    nodes = {node.name: node for node in graph_def.node}
    write_out_calls(nodes, library_of(graph_def), ["y"])
    assert list(nodes["y/s"].input) == ["x", "^y/n", "^x"]


def test_a_function_called_by_its_own_name_is_written_out() -> None:
    text = f'node {{ name: "c" op: "parts" input: "x" }} node {{ name: "y" op: "AddV2" input: "c" input: "c:1" {FLOAT} }}'
    model, y = by_hand(f"{text} library {{ {SPLIT} }}")
    assert operators(model) == {"Placeholder", "Neg", "Square", "AddV2"}
    np.testing.assert_array_equal(y, [6, 30])


def test_a_function_called_by_its_own_name_may_stand_in_another() -> None:
    text = f"""node {{ name: "y" op: "outer" input: "x" }} library {{ {SPLIT} function {{
        signature {{ name: "outer" input_arg {{ name: "b" type: DT_FLOAT }} output_arg {{ name: "r" type: DT_FLOAT }} }}
        node_def {{ name: "c" op: "parts" input: "b" }}
        node_def {{ name: "t" op: "AddV2" input: "c:negated:0" input: "c:squared:0" {FLOAT} }}
        ret {{ key: "r" value: "t:z:0" }} }} }}"""
    np.testing.assert_array_equal(by_hand(text)[1], [6, 30])


def test_a_function_takes_its_attributes_from_the_call() -> None:
    text = """node { name: "y" op: "f" input: "x" attr { key: "kind" value { type: DT_FLOAT } } } library { function {
        signature { name: "f" input_arg { name: "a" type_attr: "kind" } output_arg { name: "r" type_attr: "kind" }
          attr { name: "kind" type: "type" } }
        node_def { name: "n" op: "Neg" input: "a" attr { key: "T" value { placeholder: "kind" } } }
        ret { key: "r" value: "n:y:0" } } }"""
    np.testing.assert_array_equal(by_hand(text)[1], [-3, 5])


def test_recursion_is_refused() -> None:
    text = """node { name: "y" op: "f" input: "x" } library { function {
        signature { name: "f" input_arg { name: "a" type: DT_FLOAT } output_arg { name: "r" type: DT_FLOAT } }
        node_def { name: "again" op: "f" input: "a" } ret { key: "r" value: "again:r:0" } } }"""
    with pytest.raises(SourceError, match=r"the function f calls itself") as caught:
        by_hand(text)
    assert "without recursion" in str(caught.value.hint)


# Branches on a constant.


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("op", ["If", "StatelessIf"])
def test_a_branch_on_a_constant_is_taken(taken: bool, negated: bool, op: str) -> None:
    predicate = "LogicalNot" if negated else "Identity"
    kind = 'attr { key: "T" value { type: DT_BOOL } }'
    text = f"""node {{ name: "p" op: "Const" attr {{ key: "dtype" value {{ type: DT_BOOL }} }}
          attr {{ key: "value" value {{ tensor {{ dtype: DT_BOOL tensor_shape {{ }} bool_val: {str(taken).lower()} }} }} }} }}
        node {{ name: "q" op: "{predicate}" input: "p" {kind if not negated else ""} }}
        node {{ name: "i" op: "Identity" input: "q" {kind} }}
        node {{ name: "y" op: "{op}" input: "i" input: "x"
          attr {{ key: "Tcond" value {{ type: DT_BOOL }} }} attr {{ key: "Tin" value {{ list {{ type: DT_FLOAT }} }} }}
          attr {{ key: "Tout" value {{ list {{ type: DT_FLOAT }} }} }}
          attr {{ key: "then_branch" value {{ func {{ name: "then" }} }} }}
          attr {{ key: "else_branch" value {{ func {{ name: "else" }} }} }} }} library {{ {one_node("then", "Neg")}
          {one_node("else", "Square")} }}"""
    model, y = by_hand(text)
    assert not operators(model) & {"If", "StatelessIf"}
    np.testing.assert_array_equal(y, [-3, 5] if taken != negated else [9, 25])


@pytest.mark.parametrize(("number", "expected"), [(0, [-3, 5]), (1, [9, 25]), (7, [9, 25]), (-1, [9, 25])])
@pytest.mark.parametrize("op", ["Case", "StatelessCase"])
def test_a_branch_by_a_constant_number_is_taken_and_the_last_one_where_there_is_none(
    number: int, expected: list[float], op: str
) -> None:
    text = f"""node {{ name: "i" op: "Const" attr {{ key: "dtype" value {{ type: DT_INT32 }} }}
          attr {{ key: "value" value {{ tensor {{ dtype: DT_INT32 tensor_shape {{ }} int_val: {number} }} }} }} }}
        node {{ name: "y" op: "{op}" input: "i" input: "x" attr {{ key: "Tin" value {{ list {{ type: DT_FLOAT }} }} }}
          attr {{ key: "Tout" value {{ list {{ type: DT_FLOAT }} }} }}
          attr {{ key: "branches" value {{ list {{ func {{ name: "neg" }} func {{ name: "square" }} }} }} }} }}
        library {{ {one_node("neg", "Neg")} {one_node("square", "Square")} }}"""
    model, y = by_hand(text)
    assert not operators(model) & {"Case", "StatelessCase"}
    np.testing.assert_array_equal(y, expected)


def test_a_branch_on_data_stays(tmp_path: Path) -> None:
    import tensorflow as tf

    reference = saved(
        lambda module, x: tf.cond(tf.reduce_sum(x) > 9.0, lambda: x @ module.w, lambda: x), tmp_path / "model", [None, 3], w=W
    )
    model = frozen(tmp_path / "model")
    assert operators(model) & {"If", "StatelessIf"}
    assert_same(model, reference)


# Variables in functions that stay.


def looped(step: Any, x: Any, *more: Any) -> Any:
    import tensorflow as tf

    return tf.while_loop(lambda index, *_: index < 3, lambda index, *state: (index + 1, *step(*state)), [0, x, *more])[1]


def test_loops_and_branches_get_values_in_place_of_variables_however_deep(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        def inner(h: Any) -> Any:
            return tf.cond(tf.reduce_sum(h) > 0.0, lambda: h @ module.w, lambda: looped(lambda g: (g + h @ module.v,), h))

        return looped(lambda h: (tf.tanh(inner(h)),), x)

    reference = saved(function, tmp_path / "model", [None, 3], w=W, v=V)
    model = frozen(tmp_path / "model", unroll="never")
    assert not operators(model) & {"VarHandleOp", "ReadVariableOp"}
    assert_same(model, reference)


def test_a_loop_may_look_up_rows_of_a_variable(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        def step(h: Any) -> Any:
            row = tf.gather(module.table, tf.cast(tf.reduce_max(h), tf.int32) % 4)
            return (tf.tanh(h + row),)

        return looped(step, x) + tf.gather(module.table, [1])

    reference = saved(function, tmp_path / "model", [1, 3], table=digits(4, [3]))
    model = frozen(tmp_path / "model", unroll="never")
    assert "ResourceGather" not in operators(model)
    assert_same(model, reference)


def test_a_loop_may_read_variables_of_two_types(tmp_path: Path) -> None:
    import tensorflow as tf

    def function(module: Any, x: Any) -> Any:
        return looped(lambda h: (h @ module.w + tf.cast(module.counts, tf.float32),), x)

    reference = saved(function, tmp_path / "model", [1, 3], w=W, counts=np.array([1, 2, 3], np.int32))
    assert_same(frozen(tmp_path / "model", unroll="never"), reference)


def test_one_function_may_be_handed_different_variables(tmp_path: Path) -> None:
    import tensorflow as tf

    handle = tf.TensorSpec([], tf.resource)

    @tf.function(input_signature=[tf.TensorSpec([1, 3]), handle])
    def layer(x: Any, resource: Any) -> Any:
        def step(h: Any) -> Any:
            return (tf.tanh(h @ tf.ensure_shape(tf.raw_ops.ReadVariableOp(resource=resource, dtype=tf.float32), [3, 3])),)

        return looped(step, x)

    reference = saved(lambda module, x: layer(layer(x, module.w.handle), module.v.handle), tmp_path / "model", [1, 3], w=W, v=V)
    model = frozen(tmp_path / "model", unroll="never")
    same(model, reference)


def test_a_training_operator_on_a_variable_is_refused() -> None:
    import tensorflow as tf

    w = tf.Variable(W)

    @tf.function(input_signature=[tf.TensorSpec([1, 3], name="x")])
    def trains(x: Any) -> Any:
        tf.raw_ops.ResourceApplyGradientDescent(var=w.handle, alpha=0.1, delta=tf.ones([3, 3]))
        return x @ w

    opened = open_live(trains, "model.py", "source.function")
    model = freeze_model(opened, FreezeParams(request({}, {}).source, {}, {}))
    assert "ResourceApplyGradientDescent" not in operators(model)  # nothing depends on it

    @tf.function(input_signature=[tf.TensorSpec([1, 3], name="x")])
    def counts(x: Any) -> Any:
        return x @ w + tf.cast(tf.raw_ops.VarIsInitializedOp(resource=w.handle), tf.float32)

    with pytest.raises(SourceError, match=r"the operator VarIsInitializedOp .* uses the variable .* cannot be frozen") as caught:
        freeze_model(open_live(counts, "model.py", "source.function"), FreezeParams(request({}, {}).source, {}, {}))
    assert "model.py" in str(caught.value)
    assert "without training operators" in str(caught.value.hint)


def test_calls_inside_a_loops_body_are_written_out() -> None:
    import tensorflow as tf

    @tf.function(autograph=False)
    def inner(x: Any) -> Any:
        return tf.tanh(x) * 0.5

    @tf.function(autograph=False)
    def twice(x: Any) -> Any:
        return inner(inner(x))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, 4], name="x")])
    def looping(x: Any) -> Any:
        return tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, twice(h) + h), [tf.constant(0), x])[1]

    opened = open_live(looping, "model.py", "source.function")
    model = freeze_model(opened, FreezeParams(request({}, {}).source, {}, {}, unroll="never"))
    assert {"While", "StatelessWhile"} & operators(model)
    assert "Tanh" in operators(model)
    assert not {"PartitionedCall", "StatefulPartitionedCall"} & operators(model)
    same(model, looping)


def test_the_bytes_do_not_depend_on_what_the_process_traced_before() -> None:
    import tensorflow as tf

    def bytes_of_a_model() -> bytes:
        w = tf.Variable(W)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, 3], name="x")])
        def looping(x: Any) -> Any:
            return tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h @ w)), [tf.constant(0), x])[1]

        opened = open_live(looping, "model.py", "source.function")
        model = freeze_model(opened, FreezeParams(request({}, {}).source, {}, {}, unroll="never"))
        return bytes(model.graph_def.SerializeToString(deterministic=True))

    first = bytes_of_a_model()
    for count in range(3):
        tf.function(lambda x, count=count: tf.cond(x > count, lambda: x, lambda: -x)).get_concrete_function(tf.constant(1.0))
    assert bytes_of_a_model() == first


def test_variables_beyond_what_a_graph_can_hold_are_refused_before_they_are_copied() -> None:
    from tests.sources.tf1 import session

    with session() as (tf1, running):
        x = tf1.placeholder("float32", [1, 4], name="x")
        tf1.add(x, tf1.reduce_sum(tf1.Variable([1.0, 2.0], name="huge")), name="y")
        graph_def = running.graph.as_graph_def()
    huge = np.broadcast_to(np.float32(0), (2**29,))  # 2 GB that take no memory
    with pytest.raises(StageError, match=r"more than 2 GB \('huge' is one\)"):
        freeze_graph(LoadedGraph(graph_def, lambda name: huge, "model.meta"), request({"x": "x:0"}, {"y": "y:0"}))
