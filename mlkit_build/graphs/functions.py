"""Functions of a graph's library: calls become the nodes that they stand for, and functions take values in place of variables.

TensorFlow 2 wraps what it traces in calls and hands variables to functions as handles. Freezing needs neither: a call is written
out where it stands, and the functions of a loop or a branch that stays are made to take the value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from mlkit_build.errors import SourceError
from mlkit_build.graphs.surgery import TensorName, constant_value, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Library = dict[str, "FunctionDef"]

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = {"If": ("then_branch", "else_branch"), "StatelessIf": ("then_branch", "else_branch")}
_CASES = ("Case", "StatelessCase")


def library_of(graph_def: GraphDef) -> Library:
    """Return the graph's functions by name."""
    return {function.signature.name: function for function in graph_def.library.function}


def write_out_calls(nodes: dict[str, NodeDef], library: Library, roots: Iterable[str], stops: Collection[str] = ()) -> None:
    """Replace, in place, each call that the roots need by the nodes of its function, and each branch on a constant by its call.

    The node itself stays as the identity of the function's results, under its name.

    Raises:
        SourceError: A function calls itself.
    """
    roots = list(roots)
    moved: dict[str, str] = {}
    depth: dict[str, int] = {}
    waiting = [name for name in needed_nodes(nodes, roots, stops) if name not in stops]
    while waiting:
        added = []
        for name in waiting:
            call = _called(nodes[name], nodes, library)
            if call is None:
                continue
            function, arguments = call
            depth[name] = depth.get(name, 0) + 1
            if depth[name] > len(library) + 1:
                raise SourceError(
                    f"the function {function.signature.name} ({name}) calls itself", "export the model without recursion"
                )
            body, results = call_body(function, nodes[name], arguments)
            for node in body:
                nodes[node.name] = node
                depth[node.name] = depth[name]
                added.append(node.name)
            moved |= {f"{name}:{index}": result for index, result in enumerate(results)}
            nodes[name] = _identities(nodes[name], results, [arg.type for arg in function.signature.output_arg])
        waiting = added
    if moved:
        _reconnect(nodes, moved)


def functions_of(node: NodeDef) -> Iterator[str]:
    """Yield the names of the functions that the node's attributes refer to."""
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        yield from (function.name for function in value.list.func)


def _called(node: NodeDef, nodes: Mapping[str, NodeDef], library: Library) -> tuple[FunctionDef, list[str]] | None:
    """Return the function that the node stands for and the tensors that it gets, or None."""
    data = [item for item in node.input if not item.startswith("^")]
    if node.op in _CALLS and node.attr["f"].func.name in library:
        return library[node.attr["f"].func.name], data
    if node.op in library:
        return library[node.op], data
    if node.op in _BRANCHES:
        value = _known_value(data[0], nodes)
        branch = None if value is None else node.attr[_BRANCHES[node.op][0 if value else 1]].func.name
        return (library[branch], data[1:]) if branch in library else None
    if node.op in _CASES:
        value = _known_value(data[0], nodes)
        branches = node.attr["branches"].list.func
        if value is None or not branches:
            return None
        return library[branches[int(value) if 0 <= value < len(branches) else -1].name], data[1:]
    return None


def _known_value(item: str, nodes: Mapping[str, NodeDef]) -> float | None:
    """Return the constant number or truth value that the tensor is, or None."""
    flip = False
    name = TensorName.parse(item)
    for _ in range(len(nodes)):
        node = nodes.get(name.node)
        if node is None:
            return None
        value = constant_value(node)
        if value is not None:
            if value.size != 1 or value.dtype.kind not in "biuf":
                return None
            number = float(value.ravel()[0])
            return float(not number) if flip else number
        if node.op not in ("Identity", "LogicalNot", "PlaceholderWithDefault", "StopGradient"):
            return None
        flip ^= node.op == "LogicalNot"
        name = TensorName.parse(node.input[0])
    return None


def call_body(function: FunctionDef, call: NodeDef, arguments: list[str]) -> tuple[list[NodeDef], list[str]]:
    """Return the function's nodes with their names under the call's, and the tensors that are its results, in order."""
    tensors = {arg.name: value for arg, value in zip(function.signature.input_arg, arguments, strict=True)}
    for node in function.node_def:
        tensors |= {nested: f"{call.name}/{flat}" for nested, flat in flat_names(node).items()}
    body = []
    for node in function.node_def:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.name = f"{call.name}/{node.name}"
        del copy.input[:]
        copy.input.extend(_entry(item, call.name, tensors) for item in node.input)
        for value in copy.attr.values():
            if value.placeholder:
                value.CopyFrom(call.attr[value.placeholder])
        body.append(copy)
    return body, [tensors[function.ret[arg.name]] for arg in function.signature.output_arg]


def _entry(item: str, call: str, tensors: Mapping[str, str]) -> str:
    if not item.startswith("^"):
        return tensors[item]
    argument = tensors.get(item[1:])
    return f"^{TensorName.parse(argument).node}" if argument else f"^{call}/{item[1:]}"


def flat_names(node: NodeDef) -> dict[str, str]:
    """Return `node:output:index`, as functions name a node's tensors, to `node:index`, as graphs do (`function.proto`)."""
    from tensorflow.python.framework import op_def_registry  # the one place that knows every operator's outputs

    definition = op_def_registry.get(node.op)
    if definition is None:
        return {f"{node.name}:output:0": f"{node.name}:0"}
    names: dict[str, str] = {}
    for output in definition.output_arg:
        if output.number_attr:
            count = node.attr[output.number_attr].i
        elif output.type_list_attr:
            count = len(node.attr[output.type_list_attr].list.type)
        else:
            count = 1
        names |= {f"{node.name}:{output.name}:{index}": f"{node.name}:{len(names) + index}" for index in range(count)}
    return names


def _identities(node: NodeDef, results: list[str], types: list[int]) -> NodeDef:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    identity = NodeDef(name=node.name, op="Identity" if len(results) == 1 else "IdentityN", input=results)
    if len(results) == 1:
        identity.attr["T"].type = types[0]
    else:
        identity.attr["T"].list.type.extend(types)
    return identity


def _reconnect(nodes: dict[str, NodeDef], moved: Mapping[str, str]) -> None:
    """Let what reads a call's result read the tensor itself."""

    def settled(item: str) -> str:
        if item.startswith("^"):
            return item
        name = str(TensorName.parse(item))
        while name in moved:
            name = str(TensorName.parse(moved[name]))
        return name

    for node in nodes.values():
        if any(str(TensorName.parse(item)) in moved for item in node.input if not item.startswith("^")):
            entries = [settled(item) for item in node.input]
            del node.input[:]
            node.input.extend(entries)
