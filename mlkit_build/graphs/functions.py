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
BRANCHING = (*_BRANCHES, *_CASES, "Switch", "RefSwitch")
"""Operators that take one way or another."""


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
            body, results = call_body(function, nodes[name], arguments, library)
            for node in body:
                nodes[node.name] = node
                depth[node.name] = depth[name]
                added.append(node.name)
            moved |= {f"{name}:{index}": result for index, result in enumerate(results)}
            types = [arg.type or nodes[name].attr[arg.type_attr].type for arg in function.signature.output_arg]
            nodes[name] = _identities(nodes[name], results, types)
        waiting = added
    if moved:
        _reconnect(nodes, moved)


def write_out_nested_calls(library: Library) -> None:
    """Replace, in place, each call inside a function by the nodes of what it calls: loops and branches keep one function each.

    Raises:
        SourceError: A function calls itself.
    """
    done: set[str] = set()
    for start in list(library):
        waiting = [(start, False)]
        above: set[str] = set()
        while waiting:
            name, ready = waiting.pop()
            if name in done:
                continue
            callees = [callee for node in library[name].node_def if (callee := _callee(node, library))]
            if ready or not callees:
                _write_out_within(library[name], library)
                done.add(name)
                continue
            above.add(name)
            repeated = next((callee for callee in callees if callee in above and callee not in done), None)
            if repeated:
                raise SourceError(f"the function {repeated} calls itself", "export the model without recursion")
            waiting.append((name, True))
            waiting += [(callee, False) for callee in callees]


def _write_out_within(function: FunctionDef, library: Library) -> None:
    """Write out the calls of one function, whose callees hold no calls."""
    nodes: list[NodeDef] = []
    results: dict[str, str] = {}
    calls: set[str] = set()
    for node in function.node_def:
        callee = _callee(node, library)
        if callee is None:
            nodes.append(node)
            continue
        called, name = library[callee], node.name
        calls.add(name)
        data = [item for item in node.input if not item.startswith("^")]
        given = {arg.name: value for arg, value in zip(called.signature.input_arg, data, strict=True)}
        for inner in called.node_def:
            copy = _bound_copy(inner, node)
            copy.name = f"{name}/{inner.name}"
            del copy.input[:]
            copy.input.extend(_nested_entry(item, name, given) for item in inner.input)
            nodes.append(copy)
        for index, output in enumerate(called.signature.output_arg):
            label = f"{name}:{output.name}:0" if node.op == callee else f"{name}:output:{index}"
            results[label] = _nested_entry(called.ret[output.name], name, given)
    if not calls:
        return

    def settled(item: str) -> str:
        while item in results:
            item = results[item]
        return item

    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    for copy in copies:
        entries = [settled(item) for item in copy.input if not (item.startswith("^") and item[1:] in calls)]
        del copy.input[:]
        copy.input.extend(entries)
    del function.node_def[:]
    function.node_def.extend(copies)
    for key, value in list(function.ret.items()):
        function.ret[key] = settled(value)
    for key, value in list(function.control_ret.items()):
        if value in calls:
            del function.control_ret[key]


def _callee(node: NodeDef, library: Library) -> str | None:
    """Return the name of the function that the node calls, if it is a plain call."""
    name = node.attr["f"].func.name if node.op in _CALLS else node.op
    return name if name in library else None


def _nested_entry(item: str, call: str, given: Mapping[str, str]) -> str:
    if not item.startswith("^"):
        return given.get(item, f"{call}/{item}")
    return f"^{given[item[1:]].split(':')[0]}" if item[1:] in given else f"^{call}/{item[1:]}"


def _bound_copy(node: NodeDef, call: NodeDef) -> NodeDef:
    """Return a copy of a function's node with the attributes that its call settles."""
    copy = type(node)()
    copy.CopyFrom(node)
    for value in copy.attr.values():
        if value.placeholder:
            given = call.attr["f"].func.attr if call.op in _CALLS else call.attr
            value.CopyFrom(given[value.placeholder])
    return copy


def functions_of(node: NodeDef) -> Iterator[str]:
    """Yield the names of the functions that the node's attributes refer to, by the attributes' names: a map has no order."""
    for _, value in sorted(node.attr.items()):
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


def call_body(function: FunctionDef, call: NodeDef, arguments: list[str], library: Library) -> tuple[list[NodeDef], list[str]]:
    """Return the function's nodes with their names under the call's, and the tensors that are its results, in order."""
    tensors = {arg.name: value for arg, value in zip(function.signature.input_arg, arguments, strict=True)}
    for node in function.node_def:
        tensors |= {nested: f"{call.name}/{flat}" for nested, flat in flat_names(node, library).items()}
    body = []
    for node in function.node_def:
        copy = _bound_copy(node, call)
        copy.name = f"{call.name}/{node.name}"
        del copy.input[:]
        copy.input.extend(_entry(item, call.name, tensors) for item in node.input)
        body.append(copy)
    return body, [tensors[function.ret[arg.name]] for arg in function.signature.output_arg]


def _entry(item: str, call: str, tensors: Mapping[str, str]) -> str:
    if not item.startswith("^"):
        return tensors[item]
    argument = tensors.get(item[1:])
    return f"^{TensorName.parse(argument).node}" if argument else f"^{call}/{item[1:]}"


def flat_names(node: NodeDef, library: Library) -> dict[str, str]:
    """Return `node:output:index`, as functions name a node's tensors, to `node:index`, as graphs do (`function.proto`)."""
    from tensorflow.python.framework import op_def_registry  # the one place that knows every operator's outputs

    definition = library[node.op].signature if node.op in library else op_def_registry.get(node.op)
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
