"""Shapes behind functional loops and branches, once the inputs are pinned.

A traced graph notes what its loops return and what its TensorLists hold, with the open batch of the day it was traced. TensorFlow
and its converter believe the notes, so that a pinned input would not reach the outputs: here they are worked out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.functions import Library, functions_of, library_of
from mlkit_build.graphs.shapes_inference import BRANCHES, CALL, CALLS, LOOPS, Analysis, Part, Taken
from mlkit_build.graphs.surgery import constant_node
from mlkit_build.graphs.tensor_lists import LIST_OPERATORS

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef


def renew_shapes(graph_def: GraphDef) -> bool:
    """Work out, in place, what loops and branches return and what TensorLists hold; return whether there are any.

    What is stated already stays as it is, and so does all of a graph whose shapes contradict each other.
    """
    if not any(node.op in (*LOOPS, *BRANCHES, *CALLS) or node.op in LIST_OPERATORS for node in graph_def.node):
        return False
    from tensorflow.errors import OpError

    library = library_of(graph_def)
    analysis = Analysis(library, graph_def)
    whole = Part(analysis, list(graph_def.node), {}, "", ())
    try:
        whole.evaluate()
    except (ValueError, KeyError, IndexError, RecursionError, OpError):  # what TensorFlow refuses is a ValueError, mostly
        return False
    whole.settle_made()
    _Rewriting(library).rewrite(whole, graph_def)
    return True


class _Rewriting:
    """Puts what was found into the graph and its functions. A function used for different shapes gets a version for each."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._versions: dict[tuple[str, bytes, Taken], str] = {}
        self._made: list[FunctionDef] = []

    def rewrite(self, whole: Part, graph_def: GraphDef) -> None:
        """Change the graph in place."""
        self._change(whole, graph_def.node, "")
        if self._made:
            library = self._library | {function.signature.name: function for function in self._made}
            used = _reached(graph_def.node, library)
            kept = [function for name, function in library.items() if name in used]
            del graph_def.library.function[:]
            graph_def.library.function.extend(kept)

    def _change(self, part: Part, listed: Any, output: str) -> None:
        """Change the nodes in place. `output` is what a tensor's name has behind its node's."""
        nodes = {node.name: node for node in listed}
        added: dict[str, list[NodeDef]] = {}
        for name, entries in part.entries.items():
            node = nodes[_own(name)]
            for entry, value in entries.items():
                constant = constant_node(f"{node.name}/shape_{entry}", value)
                node.input[entry] = f"{constant.name}{output}"
                added.setdefault(node.name, []).append(constant)
        for name, attributes in part.attributes.items():
            for key, value in attributes.items():
                nodes[_own(name)].attr[key].CopyFrom(value)
        for name, used in part.inside.items():
            node = nodes[_own(name)]
            versions = [(was, self._version(was, inner)) for was, inner in used]
            if node.op in self._library:
                node.op = versions[0][1]
                continue
            places = [node.attr[key].func for key in ("body", "cond", "then_branch", "else_branch", "f") if key in node.attr]
            places += list(node.attr["branches"].list.func) if "branches" in node.attr else []
            for place, (_, version) in zip(places, versions, strict=True):
                place.name = version
        if added:  # inputs before users, as TensorFlow would order a function's nodes
            ordered = [new for node in listed for new in (*added.get(node.name, ()), node)]
            del listed[:]
            listed.extend(ordered)

    def _version(self, name: str, part: Part) -> str:
        """Return the name of the function as this part has it."""
        from tensorflow.core.framework.function_pb2 import FunctionDef

        function = FunctionDef()
        function.CopyFrom(self._library[name])
        self._change(part, function.node_def, ":output:0")
        changed = function != self._library[name]
        # The converter gives a function one set of shapes, so that one used with others needs a version of its own.
        key = (name, function.SerializeToString(deterministic=True), part.taken())
        if key not in self._versions:
            first = not changed and name not in self._versions.values()
            self._versions[key] = name if first else f"{name}_{len(self._library) + len(self._made)}"
            if not first:
                function.signature.name = self._versions[key]
                self._made.append(function)
        return self._versions[key]


def _own(name: str) -> str:
    return name.removeprefix(f"{CALL}/")


def _reached(nodes: Any, library: Library) -> set[str]:
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        for name in (node.op, *functions_of(node)):
            if name in library and name not in found:
                found.add(name)
                waiting.extend(library[name].node_def)
    return found
