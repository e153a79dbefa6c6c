"""Interprets a graph: runs through it, each loop step by step, and writes what it computes on the way.

What loops repeat is written once per step, what conds choose is chosen here where the predicate is known and by SelectV2 where
it is not, and what TensorArrays hold is looked up. Loops run forwards, so that neither depth nor memory grows with steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlkit_build.errors import StageError
from mlkit_build.graphs.loops.arrays import OPERATORS, Arrays
from mlkit_build.graphs.loops.calls import OPERATORS as CONTROL_FLOW_V2
from mlkit_build.graphs.loops.calls import Calls
from mlkit_build.graphs.loops.emitter import Emitter, integers
from mlkit_build.graphs.loops.functional import NotFunctional, WhileLoop
from mlkit_build.graphs.loops.functions import Library
from mlkit_build.graphs.loops.guarded import made_safe
from mlkit_build.graphs.loops.limits import Limits
from mlkit_build.graphs.loops.lists import OPERATORS as LIST_OPERATORS
from mlkit_build.graphs.loops.operators import Operation, Operators, known_constant
from mlkit_build.graphs.loops.structure import OUTSIDE, Guard, Region, Structure, Unit, data_inputs, op_of
from mlkit_build.graphs.loops.unrolling import NotUnrolled, RegionLoop, Unrolling
from mlkit_build.graphs.loops.values import Array, ArrayHandle, Known, ListArray, Nothing, Symbol, Value
from mlkit_build.graphs.surgery import PLACEHOLDERS, TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = ("Identity", "Enter", "NextIteration", "LoopCond", "StopGradient", "PreventGradient", "Snapshot")


class Interpreter:
    """Runs through a graph's regions, each node's values in the table of the region that it belongs to."""

    def __init__(
        self, graph_def: GraphDef, nodes: Mapping[str, NodeDef], structure: Structure, limits: Limits, *, functional: bool = False
    ) -> None:
        """Prepare to run through a graph; `functional` says whether functional control flow is looked into."""
        self.nodes = nodes
        self.structure = structure
        self.limits = limits
        self.emitter = Emitter(Operators(graph_def))
        self.arrays = Arrays(self.emitter)
        self.functions = Library(graph_def)
        self.calls = Calls(self, graph_def) if functional else None
        self.values: dict[str, dict[str, tuple[Value, ...]]] = {frame: {} for frame in structure.regions}
        self._steps: dict[str, int] = {}
        self._around = {frame: {OUTSIDE, *(item.frame for item in structure.chain(frame))} for frame in structure.regions}
        self.inputs = {name: data_inputs(node) for name, node in nodes.items()}
        self._operations: dict[str, Operation] = {}
        for name, frame in structure.region_of.items():
            if frame == OUTSIDE:
                self.emitter.writer.reserve(name)

    def set_variables(self, region: Region, values: Mapping[str, Value]) -> None:
        """Begin a step of a loop, or leave it, with these values of its variables."""
        self.values[region.frame] = {merge: (value,) for merge, value in values.items()}

    def enter_step(self, region: Region, step: int, values: Mapping[str, Value]) -> None:
        """Begin a step of a loop that is unrolled; from now on it is part of the names."""
        self._steps[region.frame] = step
        self.set_variables(region, values)

    def look_up(self, tensor: TensorName) -> Value:
        """Return a tensor's value at the present step of the loops around it."""
        values = self.values.get(self.structure.region_of[tensor.node], {}).get(tensor.node)
        if values is None:
            return Nothing(f"{tensor} is not computed")
        if tensor.index >= len(values):
            return values[0] if values and isinstance(values[0], Nothing) else Nothing(f"{tensor} does not exist")
        return values[tensor.index]

    def run(self, units: Iterable[Unit]) -> None:
        """Compute the units in their order."""
        for unit in units:
            if unit.loop:
                self._run_loop(self.structure.regions[unit.name])
            else:
                region = self.structure.region_of[unit.name]
                self.values[region][unit.name] = self._perform(self.nodes[unit.name], region)

    def name(self, name: str, frame: str) -> str:
        """Return a node's name at the present step: `rnn/while/step_3/MatMul` for `rnn/while/MatMul`."""
        parts: list[str] = []
        taken = 0
        for region in self.structure.chain(frame):
            step = self._steps.get(region.frame)
            if step is None:
                continue
            scope = f"{region.scope}/"
            if name.startswith(scope) and len(scope) > taken:
                parts.append(name[taken : len(scope)])
                taken = len(scope)
            elif not taken:
                parts.append(scope)
            parts.append(f"step_{step}/")
        return "".join([*parts, name[taken:]])

    def _taken(self, guard: Guard, frame: str) -> bool | None:
        """Return whether these branches are taken; None where data decide, or a loop further in than `frame`."""
        taken: bool | None = True
        for predicate, wanted in guard:
            here = self.structure.region_of[predicate.node] in self._around[frame]
            value = self.look_up(predicate) if here else None
            if isinstance(value, Known) and bool(value.array) != wanted:
                return False
            if not isinstance(value, Known):
                taken = None
        return taken

    def _perform(self, node: NodeDef, frame: str) -> tuple[Value, ...]:
        name = node.name
        guard = self.structure.guards.get(name, ())
        taken = self._taken(guard, frame) if guard else True
        if taken is False:
            return (Nothing(f"{name} lies in a branch that is never taken"),)
        op = op_of(node)
        if op == "Merge":
            return self._merge(node, frame)
        inputs = [self.look_up(item) for item in self.inputs[name]]
        if op in _PASSING:
            return (inputs[0],)
        if op == "Switch":
            return (inputs[0], inputs[0])
        if op == "Exit":
            return (self._exit(name),)
        known = known_constant(node)
        if known is not None:
            return (known,)
        if name not in self._operations:
            self._operations[name] = Operation.of(node)
        keep = node if frame == OUTSIDE else None
        return self.operate(node, self._operations[name], inputs, self.name(name, frame), keep, sure=taken is True)

    def operate(
        self, node: NodeDef, operation: Operation, inputs: list[Value], name: str, keep: NodeDef | None, *, sure: bool
    ) -> tuple[Value, ...]:
        """Return the results of a node that is no control flow v1.

        Args:
            node: It, in the graph or in a function.
            operation: What it does.
            inputs: What it reads.
            name: What it is called at this place.
            keep: The node of the source that it is, where it runs once.
            sure: Whether it is run in any case, and not in a branch that data choose.
        """
        nothing = next((item for item in inputs if isinstance(item, Nothing)), None)
        if nothing is not None:
            return (nothing,)
        try:
            if node.op in OPERATORS:
                return self.arrays.perform(node, inputs, name)
            if node.op.startswith(("TensorArrayGrad", "Stack", "TemporaryVariable")):
                raise ValueError("is an operator of training: export the inference graph")
            if self.calls is not None:
                found = self._functional_operator(self.calls, node, inputs, name, keep, sure=sure)
                if found is not None:
                    return found
            return self._compute(operation, inputs, name, keep, sure=sure)
        except ValueError as error:
            return (Nothing(f"{node.op} {node.name}: {error}"),)

    def _functional_operator(
        self, calls: Calls, node: NodeDef, inputs: list[Value], name: str, keep: NodeDef | None, *, sure: bool
    ) -> tuple[Value, ...] | None:
        """Return the results of an operator that only TensorFlow 2 writes, or None."""
        if node.op in CONTROL_FLOW_V2:
            return calls.perform(node, inputs, name, keep, sure=sure)
        if node.op in _PASSING or node.op == "IdentityN":
            return tuple(inputs)
        found = calls.lists.perform(node, inputs, name) if node.op in LIST_OPERATORS else None
        if found is None:
            inputs[:] = [calls.lists.handle(item, f"{name}/list") if isinstance(item, Array) else item for item in inputs]
        return found

    def _compute(
        self, operation: Operation, inputs: list[Value], name: str, keep: NodeDef | None, *, sure: bool
    ) -> tuple[Value, ...]:
        tensors = [item for item in inputs if isinstance(item, Known | Symbol)]
        if len(tensors) != len(inputs):
            raise ValueError("reads a TensorArray")
        if not sure and operation.op not in PLACEHOLDERS:
            if operation.stateful:
                raise ValueError("has side effects, in a branch that data choose")
            tensors = made_safe(operation, tensors, self.emitter, name)
        return self.emitter.compute(operation, name, tensors, keep)

    def _merge(self, node: NodeDef, frame: str) -> tuple[Value, ...]:
        """Return what a cond gives: one branch, or a choice between both."""
        if node.name not in self.structure.choices:
            start = next(item for item in self.inputs[node.name] if op_of(self.nodes[item.node]) == "Enter")
            return (self.look_up(start),)
        choice = self.structure.choices[node.name]
        predicate, yes, no = (self.look_up(item) for item in (choice.predicate, choice.when_true, choice.when_false))
        name = self.name(node.name, frame)
        positions = [self.inputs[node.name].index(item) for item in (choice.when_true, choice.when_false)]
        numbers = [self._position(position, name) for position in positions]
        if isinstance(predicate, Known):
            return (yes, numbers[0]) if bool(predicate.array) else (no, numbers[1])
        if not isinstance(predicate, Symbol):
            return (predicate,)
        try:
            return self.choose(predicate, yes, no, name), self.choose(predicate, numbers[0], numbers[1], f"{name}/value_index")
        except ValueError as error:
            reason = f"the tf.cond that ends in {node.name!r} depends on {self.cause(predicate)}, and {error}"
            return (Nothing(reason, "give its predicate a value in signature.constants, or cut the graph before it"),)

    def _position(self, position: int, name: str) -> Known:
        return integers(position, f"{name}/value_index_{position}")

    def choose(self, predicate: Symbol, yes: Value, no: Value, name: str) -> Value:
        """Return one of two values as a data-dependent predicate says, both being computed.

        Raises:
            ValueError: They cannot be told apart by SelectV2.
        """
        for value in (yes, no):
            if isinstance(value, Nothing):
                raise ValueError(value.reason)
        if isinstance(yes, Known | Symbol) and isinstance(no, Known | Symbol):
            return self.emitter.select(predicate, yes, no, name)
        if isinstance(yes, Array) and isinstance(no, Array):
            return self.arrays.select(predicate, yes, no, name)
        if isinstance(yes, ArrayHandle) or yes == no:
            return yes
        if isinstance(yes, ListArray) and isinstance(no, ListArray):
            return self.arrays.select_list(predicate, yes, no, name)
        raise ValueError("its branches are of different kinds")

    def cause(self, value: Symbol) -> str:
        """Return the data that a value depends on, for a message: the inputs behind it."""
        writer = self.emitter.writer
        found: list[str] = []
        seen: set[str] = set()
        stack = [value.node]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            node = writer.nodes.get(name)
            if node is None:
                found.append(name)
            elif node.op in PLACEHOLDERS:
                found.append(f"{name}:0")
            else:
                stack += [TensorName.parse(item).node for item in node.input]
        return f"data ({', '.join(sorted(found))})" if found else f"the tensor {value}"

    def _exit(self, name: str) -> Value:
        tensor = TensorName(name)
        while op_of(self.nodes[tensor.node]) in ("Exit", "Switch", "Identity"):
            tensor = self.inputs[tensor.node][0]
        return self.look_up(tensor)

    def _run_loop(self, region: Region) -> None:
        """Run a loop to its end: its variables' values are then those of the last step."""
        self.values[region.frame] = {}
        starts = {variable.merge: self.look_up(variable.start) for variable in region.variables}
        if self._taken(region.guard, region.parent) is False:
            self.set_variables(region, dict.fromkeys(starts, Nothing(f"the loop {region.scope!r} is never run")))
            return
        mark = self.emitter.writer.mark()
        try:
            self.set_variables(region, Unrolling(self, RegionLoop(self, region), starts).write())
        except NotUnrolled as reason:
            self.emitter.writer.go_back(mark)
            self.set_variables(region, self._functional(region, starts, reason))
        finally:
            self._steps.pop(region.frame, None)

    def _functional(self, region: Region, starts: Mapping[str, Value], why: NotUnrolled) -> dict[str, Value]:
        """Write a loop as a functional While.

        Raises:
            StageError: That is not wanted or not possible.
        """
        message = f"freeze: the while loop {region.scope!r} cannot be unrolled: {why}"
        if not self.limits.functional:
            raise StageError(message, f"{why.hint}; or let it become a functional While with freeze.unroll=auto")
        try:
            return WhileLoop(self, region, starts).write()
        except NotFunctional as error:
            raise StageError(f"{message}. Nor can it become a functional While: {error}", why.hint) from error
