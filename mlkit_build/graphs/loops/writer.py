"""The graph that is being written: unique readable names, equal computations once, and the way back to any earlier state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.loops.operators import Operation, Operators
from mlkit_build.graphs.loops.values import Known, Spec, Symbol, Tensor
from mlkit_build.graphs.surgery import TensorName, constant_node, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Mark = tuple[int, ...]


class Writer:
    """Writes the nodes of one graph, or of one function's body.

    Attributes:
        nodes: By name, each after those that it reads.
        parent: Where a function is called from: tensors of it are captured.
        captures: The parent's tensors that the function reads, with the argument that hands each in.
    """

    def __init__(self, operators: Operators, parent: Writer | None = None) -> None:
        self.operators = operators
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.nodes: dict[str, NodeDef] = {}
        self.operations: dict[str, Operation] = {}
        self.captures: dict[Symbol, Symbol] = {}
        self._arguments: dict[str, Spec] = {}
        self._names: dict[str, None] = {}
        self._suffixes: dict[str, int] = {}
        self._reserved: set[str] = set()
        self._computed: dict[tuple[Any, ...], tuple[Symbol, ...]] = {}
        self._constants: dict[tuple[Any, ...], Symbol] = {}

    def reserve(self, name: str, *, output: bool = False) -> None:
        """Keep a name for the node that has it in the source; an output's even from that node's value as a constant."""
        self._reserved.add(name)
        if output:
            self._names[name] = None

    def mark(self) -> Mark:
        """Return the present state, to come back to."""
        return tuple(len(table) for table in self._tables())

    def go_back(self, mark: Mark) -> None:
        """Forget all that was written since `mark`. Tables only ever grow at their end."""
        for table, size in zip(self._tables(), mark, strict=True):
            while len(table) > size:
                table.popitem()

    def _tables(self) -> tuple[dict[Any, Any], ...]:
        own = (self.nodes, self.operations, self.captures, self._arguments, self._names, self._computed, self._constants)
        return own if self.parent is None else (*own, *self.parent._tables())

    def argument(self, name: str, spec: Spec) -> Symbol:
        """Add an argument to the function."""
        symbol = Symbol(self.depth, self._unique(name.replace("/", "_")), 0, spec)
        self._arguments[symbol.node] = spec
        return symbol

    def keep(self, node: NodeDef, operation: Operation, specs: Sequence[Spec], inputs: Sequence[Tensor]) -> tuple[Symbol, ...]:
        """Write a node of the source under its own name."""
        self._names[node.name] = None
        return self.write(node.name, operation, specs, inputs)

    def add(self, operation: Operation, name: str, inputs: Sequence[Tensor], specs: Sequence[Spec] = ()) -> tuple[Symbol, ...]:
        """Return the results of an operator on `inputs`, of an earlier node where one computes the same.

        Raises:
            ValueError: TensorFlow refuses the operator on these inputs.
        """
        specs = specs or self.operators.specs(operation, inputs)
        if operation.stateful:
            return self.write(self._unique(name), operation, specs, inputs)
        key = (operation.key, *(item.key if isinstance(item, Known) else item for item in inputs))
        if key not in self._computed:
            self._computed[key] = self.write(self._unique(name), operation, specs, inputs)
        return self._computed[key]

    def write(self, name: str, operation: Operation, specs: Sequence[Spec], inputs: Sequence[Tensor]) -> tuple[Symbol, ...]:
        """Write a node under exactly this name."""
        from tensorflow.core.framework.node_def_pb2 import NodeDef

        read = [self.local(item) for item in inputs]
        node = NodeDef(name=name, op=operation.op, input=[str(item) if item.index else item.node for item in read])
        for attribute, value in operation.attributes.items():
            node.attr[attribute].CopyFrom(value)
        self.nodes[name] = node
        self.operations[name] = operation
        return tuple(Symbol(self.depth, name, index, spec) for index, spec in enumerate(specs))

    def local(self, item: Tensor) -> Symbol:
        """Return the tensor as this graph has it: a known value as a constant, another graph's tensor as an argument."""
        if isinstance(item, Known):
            return self._constant(item)
        if item.owner == self.depth:
            return item
        assert self.parent is not None
        outer = self.parent.local(item)
        if outer not in self.captures:
            source = self.parent.nodes.get(outer.node)
            if source is not None and source.op == "Const":
                copy = self.write(self._unique(outer.node), self.parent.operations[outer.node], [outer.spec], [])
                self.captures[outer] = copy[0]
            else:
                self.captures[outer] = self.argument(outer.node, outer.spec)
        return self.captures[outer]

    def captured(self, results: Sequence[Symbol]) -> list[Symbol]:
        """Return the parent's tensors that the function's results really need."""
        used = set(needed_nodes(self.nodes, [result.node for result in results]))
        read = {TensorName.parse(item).node for name in used for item in self.nodes[name].input}
        read |= {result.node for result in results}
        return [outer for outer, mine in self.captures.items() if mine.node in read and mine.node in self._arguments]

    def _constant(self, value: Known) -> Symbol:
        if value.key not in self._constants:
            own = value.name in self._reserved and value.name not in self._names
            node = constant_node(value.name if own else self._unique(value.name), value.array)
            self._names[node.name] = None
            node.attr["dtype"].type = node.attr["value"].tensor.dtype = value.spec.dtype
            self.nodes[node.name] = node
            self.operations[node.name] = Operation.of(node)
            self._constants[value.key] = Symbol(self.depth, node.name, 0, value.spec)
        return self._constants[value.key]

    def _unique(self, name: str) -> str:
        found, number = name, self._suffixes.get(name, 0)
        while found in self._names or found in self._reserved:
            number += 1
            found = f"{name}_{number}"
        if number:
            self._suffixes[name] = number
        self._names[found] = None
        return found
