"""What differs between two frozen graphs is told by node, as TensorFlow's own messages write them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlkit_build.comparison.graph_defs import nodes
from mlkit_build.wire import WireError

tf = pytest.importorskip("tensorflow")


def graph(value: float = 2.0, *, operator: str = "Mul", device: str = "", reverse: bool = False) -> Any:
    found = tf.compat.v1.GraphDef()
    x = found.node.add(name="x", op="Placeholder")
    x.attr["dtype"].type = tf.float32.as_datatype_enum
    constant = found.node.add(name="two", op="Const", device=device)
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    found.node.add(name="y", op=operator, input=["x", "two"])
    if reverse:
        listed = list(found.node)[::-1]
        del found.node[:]
        found.node.extend(listed)
    function = found.library.function.add()
    function.signature.name = "body"
    function.node_def.add(name="inner", op="Identity", input=["x"])
    return found


def lines(first: Any, second: Any) -> list[str]:
    return [str(change) for change in nodes(first.SerializeToString(), second.SerializeToString()).changes]


def test_equal_graphs_differ_in_nothing() -> None:
    found = nodes(graph().SerializeToString(), graph().SerializeToString())
    assert (found.count, found.note) == (0, "")


def test_operators_devices_and_constants_are_told_by_node() -> None:
    assert lines(graph(), graph(operator="AddV2")) == ["y: operator: Mul -> AddV2"]
    assert lines(graph(), graph(device="/gpu:0")) == ["two: device:  -> /gpu:0"]
    (line,) = lines(graph(2.0), graph(3.0))  # as float32 0x40000000 and 0x40400000
    assert line.startswith("two: value: 1 of ")


def test_inputs_attributes_and_nodes_that_come_or_go_are_told() -> None:
    other = graph()
    other.node[2].input[0] = "x2"
    other.node[0].name = "x2"
    del other.node[1].attr["value"]
    other.library.function[0].node_def[0].op = "Neg"
    assert sorted(lines(graph(), other)) == [
        "function body: inner: operator: Identity -> Neg",
        "two: value: gone",
        "x2: new (Placeholder)",
        "x: gone",
        'y: inputs: ["x","two"] -> ["x2","two"]',
    ]


def test_nodes_in_another_order_are_called_so() -> None:
    found = nodes(graph().SerializeToString(), graph(reverse=True).SerializeToString())
    assert found.count == 0
    assert found.note.startswith("the nodes are the same, in another order; the first difference is at byte ")


def test_spoiled_graphs_are_compared_or_refused() -> None:
    data, chance = graph().SerializeToString(), random.Random(0)
    refused = 0
    for _ in range(300):
        spoiled = bytearray(data)
        spoiled[chance.randrange(len(data))] = chance.randrange(256)
        try:
            nodes(data, bytes(spoiled[: chance.randrange(len(data) + 1)]))
        except WireError:
            refused += 1
    assert 0 < refused < 300
