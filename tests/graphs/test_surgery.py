from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.graphs import TensorName, canonical_form, find_tensor, needed_nodes
from tests.sources.tf1 import constants_only


def two_branches(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 4], name="x")
    tf1.add(tf1.multiply(x, 2.0, name="twice"), 1.0, name="y")
    tf1.square(x, name="beside")


def reordered(graph_def: Any, order: list[int]) -> Any:
    result = type(graph_def)()
    result.CopyFrom(graph_def)
    nodes = [graph_def.node[index] for index in order]
    del result.node[:]
    result.node.extend(nodes)
    return result


def test_the_canonical_form_has_equal_bytes_whatever_the_order_of_nodes_in_the_file() -> None:
    graph_def, _ = constants_only(two_branches)
    count = len(graph_def.node)
    orders = [list(range(count)), list(reversed(range(count))), [*range(count // 2, count), *range(count // 2)]]
    forms = {
        canonical_form(reordered(graph_def, order), [TensorName("y")]).SerializeToString(deterministic=True) for order in orders
    }
    assert len(forms) == 1


def test_the_canonical_form_drops_what_the_outputs_do_not_need() -> None:
    graph_def, _ = constants_only(two_branches)
    names = [node.name for node in canonical_form(graph_def, [TensorName("y")]).node]
    assert "beside" in [node.name for node in graph_def.node]
    assert "beside" not in names
    assert names[-1] == "y"


def test_the_canonical_form_lists_inputs_before_their_users() -> None:
    graph_def, _ = constants_only(two_branches)
    seen: set[str] = set()
    for node in canonical_form(reordered(graph_def, list(reversed(range(len(graph_def.node))))), [TensorName("y")]).node:
        assert {TensorName.parse(item).node for item in node.input} <= seen
        seen.add(node.name)


def test_the_canonical_form_forgets_devices_colocation_and_recorded_shapes() -> None:
    graph_def, _ = constants_only(two_branches)
    plain = canonical_form(graph_def, [TensorName("y")]).SerializeToString(deterministic=True)
    for node in graph_def.node:
        node.device = "/device:GPU:0"
        node.attr["_class"].list.s.append(b"loc:@x")
        node.attr["_output_shapes"].list.shape.add().unknown_rank = True
    assert canonical_form(graph_def, [TensorName("y")]).SerializeToString(deterministic=True) == plain


def test_the_canonical_form_keeps_a_function_only_if_it_is_used_also_from_another_function() -> None:
    import tensorflow as tf

    @tf.function(autograph=False)
    def inner(x: Any) -> Any:
        return x * 3.0

    @tf.function(autograph=False)
    def outer(x: Any) -> Any:
        return inner(x) + 1.0

    @tf.function(autograph=False)
    def unused(x: Any) -> Any:
        return x - 7.0

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1], name="x")
        tf.identity(outer(x), name="y")
        tf.identity(unused(x), name="z")
    graph_def = graph.as_graph_def()
    kept = [function.signature.name for function in canonical_form(graph_def, [TensorName("y")]).library.function]
    assert len(graph_def.library.function) == 3
    assert kept == ["outer_0", "inner_1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scores:0", TensorName("scores", 0)),
        ("scores:2", TensorName("scores", 2)),
        ("scores", TensorName("scores", 0)),
        ("^scores", TensorName("scores", 0)),
        ("a/b:c:1", TensorName("a/b:c", 1)),
    ],
)
def test_a_tensor_is_named_by_node_and_index(text: str, expected: TensorName) -> None:
    assert TensorName.parse(text) == expected


def test_a_tensor_name_prints_as_it_is_written() -> None:
    assert str(TensorName.parse("layer/out:3")) == "layer/out:3"


def test_a_tensor_that_is_not_there_is_answered_with_the_nearest_names() -> None:
    graph_def, _ = constants_only(two_branches)
    nodes = {node.name: node for node in graph_def.node}
    with pytest.raises(ConfigError) as caught:
        find_tensor("twic:0", nodes, "signature.outputs.y.tensor", "graph.pb")
    assert caught.value.message.startswith("signature.outputs.y.tensor: no tensor 'twic:0' in graph.pb (")
    assert "twice:0" in caught.value.hint


def test_a_tensor_that_resembles_nothing_is_answered_with_the_placeholders() -> None:
    graph_def, _ = constants_only(two_branches)
    with pytest.raises(ConfigError) as caught:
        find_tensor("qqqqqqqq", {node.name: node for node in graph_def.node}, "signature.inputs.a.tensor", "graph.pb")
    assert caught.value.hint == "placeholders: x"


def test_needed_nodes_stop_where_the_graph_is_cut() -> None:
    graph_def, _ = constants_only(two_branches)
    nodes = {node.name: node for node in graph_def.node}
    assert "x" in needed_nodes(nodes, ["y"])
    assert "x" not in needed_nodes(nodes, ["y"], {"twice"})
