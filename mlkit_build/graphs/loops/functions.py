"""Functions of a graph's library: the conditions and bodies of functional loops."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlkit_build.graphs.functions import functions_of, library_of
from mlkit_build.graphs.loops.operators import Operation, output_names
from mlkit_build.graphs.loops.values import Spec, Symbol
from mlkit_build.graphs.loops.writer import Writer
from mlkit_build.graphs.surgery import TensorName, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.function_pb2 import FunctionDef, FunctionDefLibrary
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef


class Library:
    """The functions of the graph that is being written, the source's own among them."""

    def __init__(self, graph_def: GraphDef) -> None:
        self._source = graph_def.library
        self._functions: dict[str, FunctionDef] = {}

    def add(self, function: FunctionDef) -> str:
        """Add a function; return the name that it has from now on, which ends in a digest of its content.

        TensorFlow keeps the functions of all graphs of a process in one table and refuses two of one name.
        """
        digest = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()[:12]
        name = f"{function.signature.name}_{digest}"
        function.signature.name = re.sub(r"\W", "_", name)
        self._functions[name] = function
        return name

    def proto(self, nodes: Iterable[NodeDef]) -> FunctionDefLibrary:
        """Return the library as a graph of these nodes needs it: a loop may have been written and then forgotten."""
        from tensorflow.core.framework.function_pb2 import FunctionDefLibrary

        library = FunctionDefLibrary()
        library.CopyFrom(self._source)
        used: dict[str, FunctionDef] = {}
        waiting = list(nodes)
        while waiting:
            for value in waiting.pop().attr.values():
                function = self._functions.get(value.func.name)
                if function is not None and value.func.name not in used:
                    used[value.func.name] = function
                    waiting.extend(function.node_def)
        library.function.extend(used[name] for name in sorted(used))
        return library


def function_of(
    name: str, writer: Writer, arguments: Sequence[Symbol], captured: Sequence[Symbol], results: Sequence[Symbol]
) -> FunctionDef:
    """Return what `writer` wrote as a function.

    Args:
        name: What it is for.
        writer: Holds its nodes.
        arguments: Its first arguments.
        captured: The tensors of the graph around that are handed in after them.
        results: Its results, or captured tensors that it hands on.
    """
    from tensorflow.core.framework.function_pb2 import FunctionDef

    inner = [writer.captures.get(item) for item in captured]
    names: dict[str, str] = {}
    function = FunctionDef()
    function.signature.name = re.sub(r"\W", "_", name)
    for argument, outer in zip([*arguments, *inner], [*arguments, *captured], strict=True):
        plain = _argument_name(outer.node if argument is None else argument.node, names)
        function.signature.input_arg.add(name=plain, type=outer.spec.dtype)
        names[f"outer {outer}" if argument is None else argument.node] = plain
    handed = [_handed(item, writer, captured) for item in results]
    nodes = needed_nodes(writer.nodes, [item.node for item in handed if isinstance(item, Symbol)])

    def reference(tensor: TensorName) -> str:
        if tensor.node not in writer.nodes:
            return names[tensor.node]
        argument, position = output_names(writer.operations[tensor.node])[tensor.index]
        return f"{tensor.node}:{argument}:{position}"

    for node in nodes:
        if node not in writer.nodes:
            continue
        made = function.node_def.add()
        made.CopyFrom(writer.nodes[node])
        del made.input[:]
        made.input.extend(reference(TensorName.parse(item)) for item in writer.nodes[node].input)
    for index, item in enumerate(handed):
        function.signature.output_arg.add(name=f"result_{index}", type=results[index].spec.dtype)
        tensor = names[item] if isinstance(item, str) else reference(TensorName(item.node, item.index))
        function.ret[f"result_{index}"] = tensor
    return function


def _handed(item: Symbol, writer: Writer, captured: Sequence[Symbol]) -> Symbol | str:
    """Return a result as a tensor of the function, or as the key of an argument that the function does not read itself."""
    if item.owner == writer.depth:
        return item
    return writer.captures[item] if writer.captures.get(item) is not None else f"outer {item}"


def _argument_name(name: str, taken: dict[str, str]) -> str:
    plain = re.sub(r"\W", "_", name).lower().strip("_") or "argument"
    plain = found = plain if plain[0].isalpha() else f"argument_{plain}"
    number = 0
    while found in taken.values():
        number += 1
        found = f"{plain}_{number}"
    return found


def while_operation(body: str, condition: str, specs: Sequence[Spec]) -> Operation:
    """Return the While over values of these types and shapes. What may be in it has no side effects."""
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    shapes = AttrValue()
    for spec in specs:
        shape = shapes.list.shape.add()
        if spec.shape is None:
            shape.unknown_rank = True
        for size in spec.shape or ():
            shape.dim.add(size=-1 if size is None else size)
    attributes = {
        "T": _types(specs),
        "body": _function(body),
        "cond": _function(condition),
        "output_shapes": shapes,
        "parallel_iterations": AttrValue(i=10),
    }
    return Operation("StatelessWhile", attributes)


def keep_used_functions(graph_def: GraphDef) -> None:
    """Drop, in place, the functions that the graph does not use."""
    library = library_of(graph_def)
    used: dict[str, None] = {}
    waiting = list(graph_def.node)
    for node in waiting:  # grows while it is walked
        for name in (node.op, *functions_of(node)):
            if name in library and name not in used:
                used[name] = None
                waiting.extend(library[name].node_def)
    del graph_def.library.function[:]
    graph_def.library.function.extend(library[name] for name in used)


def settled(graph_def: GraphDef, outputs: Sequence[TensorName]) -> None:
    """Put the graph's functions, in place, into the form that TensorFlow's own optimizer leaves as it is.

    The converter runs that optimizer, and TensorFlow refuses a function whose definition differs from the one that the same
    process knows under its name: `Attempting to add a duplicate function` (`convert_to_constants.py`).
    """
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.python.grappler import tf_optimizer

    meta_graph = MetaGraphDef(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value.extend(str(output) for output in outputs)
    config = ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    config.graph_options.rewrite_options.optimizers.append("function")
    optimized = tf_optimizer.OptimizeGraph(config, meta_graph)
    by_name = {function.signature.name: function for function in optimized.library.function}
    for function in graph_def.library.function:
        if function.signature.name in by_name:
            function.CopyFrom(by_name[function.signature.name])


def _types(specs: Sequence[Spec]) -> AttrValue:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    return AttrValue(list=AttrValue.ListValue(type=[spec.dtype for spec in specs]))


def _function(name: str) -> AttrValue:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue, NameAttrList

    return AttrValue(func=NameAttrList(name=name))
