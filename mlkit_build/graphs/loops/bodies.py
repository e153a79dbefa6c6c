"""Functions of the library as the interpreter reads them: their nodes in order, and tensors named as in graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mlkit_build.graphs.functions import flat_names, functions_of, library_of
from mlkit_build.graphs.loops.operators import Operation, known_constant
from mlkit_build.graphs.loops.structure import data_inputs
from mlkit_build.graphs.loops.values import Known
from mlkit_build.graphs.surgery import TensorName, needed_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

WHILES = ("While", "StatelessWhile")


@dataclass(frozen=True, eq=False)
class Step:
    """One node of a function.

    Attributes:
        constant: Its value, where it is a small constant.
    """

    node: NodeDef
    inputs: tuple[TensorName, ...]
    constant: Known | None

    @cached_property
    def operation(self) -> Operation:
        """The node's operator: made once, however often the function runs."""
        return Operation.of(self.node)


@dataclass(frozen=True, eq=False)
class Body:
    """A function: what its results need, each node after those that it reads."""

    arguments: tuple[str, ...]
    steps: tuple[Step, ...]
    results: tuple[TensorName, ...]
    _names: dict[str, dict[str, str]] = field(default_factory=dict)

    def names(self, caller: str) -> Mapping[str, str]:
        """Return the nodes' names without what they share with their caller's: `MatMul` for `rnn/while/MatMul`.

        A tracer names a body's nodes by the whole scope that it traced them in.
        """
        if caller not in self._names:
            parts = caller.split("/")
            self._names[caller] = {step.node.name: _below(step.node.name.split("/"), parts) for step in self.steps}
        return self._names[caller]


class Bodies:
    """The functions of one graph."""

    def __init__(self, graph_def: GraphDef) -> None:
        self._library = library_of(graph_def)
        self._read: dict[str, Body] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._library

    def __getitem__(self, name: str) -> Body:
        """Return a function.

        Raises:
            ValueError: It is not there, or its types depend on its caller.
        """
        if name not in self._library:
            raise ValueError(f"the function {name} is missing")
        if name not in self._read:
            self._read[name] = self._body(self._library[name])
        return self._read[name]

    def _body(self, function: FunctionDef) -> Body:
        tensors = {argument.name: argument.name for argument in function.signature.input_arg}
        for node in function.node_def:
            tensors |= flat_names(node, self._library)
        nodes: dict[str, NodeDef] = {}
        for node in function.node_def:
            if any(value.placeholder for value in node.attr.values()):
                raise ValueError(f"the types in the function {function.signature.name} depend on its caller")
            copy = type(node)()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(tensors[item] for item in node.input if not item.startswith("^"))
            nodes[node.name] = copy
        results = tuple(TensorName.parse(tensors[function.ret[argument.name]]) for argument in function.signature.output_arg)
        order = [nodes[name] for name in needed_nodes(nodes, [result.node for result in results])]
        steps = tuple(Step(node, tuple(data_inputs(node)), known_constant(node)) for node in order)
        return Body(tuple(argument.name for argument in function.signature.input_arg), steps, results)

    def has_loop(self, nodes: Iterable[NodeDef]) -> bool:
        """Return whether one of the nodes, or of the functions that they use, is a functional While."""
        seen: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node.op in WHILES:
                return True
            for name in (node.op, *functions_of(node)):
                if name in self._library and name not in seen:
                    seen.add(name)
                    waiting.extend(self._library[name].node_def)
        return False


def _below(name: Sequence[str], caller: Sequence[str]) -> str:
    for count in range(min(len(caller), len(name) - 1), 0, -1):
        if caller[-count:] == name[:count]:
            return "/".join(name[count:])
    return "/".join(name)
