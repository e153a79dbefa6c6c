"""Functional control flow, as TensorFlow 2 writes it: While, If, Case and calls, whose insides are functions of the library.

A While is unrolled like a loop of TensorFlow 1. One that cannot be stays as it is, and so does what contains it. An If that data
decide stays as well, unless a loop is in it or around it: what is unrolled is to hold no branches, as that of TensorFlow 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlkit_build.errors import StageError
from mlkit_build.graphs.loops.bodies import WHILES, Bodies, Body
from mlkit_build.graphs.loops.lists import Lists
from mlkit_build.graphs.loops.operators import Operation
from mlkit_build.graphs.loops.unrolling import NotUnrolled, Unrolling
from mlkit_build.graphs.loops.values import Known, Nothing, Spec, Symbol, Value
from mlkit_build.graphs.surgery import TensorName

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from mlkit_build.graphs.loops.interpreter import Interpreter

_IFS = ("If", "StatelessIf")
_CASES = ("Case", "StatelessCase")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

OPERATORS = frozenset([*WHILES, *_IFS, *_CASES, *_CALLS])

Values = dict[str, tuple[Value, ...]]


class Calls:
    """Carries out functional control flow.

    Attributes:
        unrolled: How many loops of the graph itself were.
    """

    def __init__(self, interpreter: Interpreter, graph_def: GraphDef) -> None:
        self.interpreter = interpreter
        self.bodies = Bodies(graph_def)
        self.lists = Lists(interpreter.arrays)
        self.unrolled = 0
        self._depth = 0

    def perform(
        self, node: NodeDef, inputs: Sequence[Value], name: str, keep: NodeDef | None, *, sure: bool
    ) -> tuple[Value, ...]:
        """Return the results of one of `OPERATORS`.

        Args:
            node: It.
            inputs: What it reads.
            name: What it is called at this place.
            keep: The node of the source that it is, where it runs once.
            sure: Whether it is run in any case, and not in a branch that data choose.

        Raises:
            ValueError: It cannot be done; says why.
            NotUnrolled: It is, or holds, a loop in a loop that cannot be unrolled.
            StageError: The same, where every loop has to be.
        """
        if node.op in WHILES:
            return self._while(node, inputs, name, keep, sure=sure)
        if node.op in _CALLS:
            return self._call(self.bodies[node.attr["f"].func.name], inputs, name, node, sure=sure)
        branches = [node.attr[key].func.name for key in ("else_branch", "then_branch")] if node.op in _IFS else []
        branches = branches or [function.name for function in node.attr["branches"].list.func]
        predicate, given = inputs[0], inputs[1:]
        if isinstance(predicate, Known):
            body = self.bodies[branches[_taken(node.op, predicate, len(branches))]]
            return self._call(body, given, name, node, sure=sure)
        if node.op in _IFS and isinstance(predicate, Symbol) and (self._depth or self.bodies.has_loop([node])):
            chosen = self._chosen(predicate, branches, given, name, node)
            if chosen is not None:
                return chosen
        return self._kept(node, inputs, name, keep)

    def evaluate(self, body: Body, arguments: Sequence[Value], name: str, caller: NodeDef, *, sure: bool) -> Values:
        """Compute a function; return the values of its nodes and arguments."""
        values: Values = {argument: (value,) for argument, value in zip(body.arguments, arguments, strict=True)}
        names = body.names(caller.name)
        for step in body.steps:
            own = f"{name}/{names[step.node.name]}"
            if step.constant is not None:
                values[step.node.name] = (Known(step.constant.array, step.constant.spec.dtype, own),)
                continue
            inputs = [value_of(values, tensor) for tensor in step.inputs]
            values[step.node.name] = self.interpreter.operate(step.node, step.operation, inputs, own, None, sure=sure)
        return values

    def _call(self, body: Body, arguments: Sequence[Value], name: str, node: NodeDef, *, sure: bool) -> tuple[Value, ...]:
        values = self.evaluate(body, arguments, name, node, sure=sure)
        return tuple(value_of(values, result) for result in body.results)

    def _chosen(
        self, predicate: Symbol, branches: Sequence[str], given: Sequence[Value], name: str, node: NodeDef
    ) -> tuple[Value, ...] | None:
        """Return what an If gives by computing both branches, or None where only the operator itself can choose."""
        from tensorflow import bool as boolean

        if predicate.spec != Spec(boolean.as_datatype_enum, ()):
            return None
        mark, unrolled = self.interpreter.emitter.writer.mark(), self.unrolled
        try:
            no, yes = (self._call(self.bodies[branch], given, name, node, sure=False) for branch in branches)
            pairs = zip(yes, no, strict=True)
            return tuple(self.interpreter.choose(predicate, *pair, f"{name}/result_{index}") for index, pair in enumerate(pairs))
        except ValueError:
            self.interpreter.emitter.writer.go_back(mark)
            self.unrolled = unrolled
            return None

    def _while(self, node: NodeDef, inputs: Sequence[Value], name: str, keep: NodeDef | None, *, sure: bool) -> tuple[Value, ...]:
        interpreter = self.interpreter
        mark = interpreter.emitter.writer.mark()
        self._depth += 1
        try:
            loop = FunctionalLoop(self, node, name, sure=sure)
            results = Unrolling(interpreter, loop, dict(zip(loop.body.arguments, inputs, strict=True))).write()
            reason = next((value for value in results.values() if isinstance(value, Nothing)), None)
            if reason is not None:
                raise NotUnrolled(reason.reason, reason.hint)
        except (NotUnrolled, StageError, ValueError) as error:
            interpreter.emitter.writer.go_back(mark)
            if not interpreter.limits.functional:
                raise error if isinstance(error, StageError) else _refusal(node, error) from error
            if self._depth > 1:
                raise NotUnrolled(f"the loop {node.name!r} in it cannot be: {error}", getattr(error, "hint", "")) from error
            if not sure:  # computed where its branch is not taken, it might never end
                raise ValueError(f"cannot be unrolled: {error}") from error
            return self._kept(node, inputs, name, keep)
        finally:
            self._depth -= 1
        self.unrolled += not self._depth
        return tuple(results.values())

    def _kept(self, node: NodeDef, inputs: Sequence[Value], name: str, keep: NodeDef | None) -> tuple[Value, ...]:
        """Return the results of the operator itself."""
        given = [self.lists.handle(value, f"{name}/input_{index}") for index, value in enumerate(inputs)]
        operation = Operation.of(node)
        emitter = self.interpreter.emitter
        specs = emitter.operators.specs(operation, given)
        if keep is not None:
            return emitter.writer.keep(keep, operation, specs, given)
        return emitter.writer.add(operation, name, given, specs)


class FunctionalLoop:
    """A While or StatelessWhile, to be unrolled."""

    def __init__(self, calls: Calls, node: NodeDef, name: str, *, sure: bool) -> None:
        self.calls = calls
        self.node = node
        self.scope = node.name
        self.body = calls.bodies[node.attr["body"].func.name]
        self._condition = calls.bodies[node.attr["cond"].func.name]
        self._name = name
        self._sure = sure
        self._step = 0
        self._given: Sequence[Value] = ()
        self._tested: Values = {}

    def condition(self, step: int, values: Mapping[str, Value]) -> Value:
        """See `Loop`."""
        self._step, self._given = step, list(values.values())
        self._tested = self.calls.evaluate(self._condition, self._given, self.name(""), self.node, sure=self._sure)
        return value_of(self._tested, self._condition.results[0])

    def parts(self) -> list[Value]:
        """See `Loop`."""
        steps = {step.node.name: step for step in self._condition.steps}
        step = steps.get(self._condition.results[0].node)
        while step is not None and step.node.op == "Identity":
            step = steps.get(step.inputs[0].node)
        return [value_of(self._tested, item) for item in step.inputs] if step and step.node.op == "LogicalAnd" else []

    def following(self) -> dict[str, Value]:
        """See `Loop`.

        Raises:
            NotUnrolled: One cannot be computed.
        """
        values = self.calls.evaluate(self.body, self._given, self.name(""), self.node, sure=self._sure)
        results = [value_of(values, result) for result in self.body.results]
        for value in results:
            if isinstance(value, Nothing):
                raise NotUnrolled(value.reason, value.hint)
        return dict(zip(self.body.arguments, results, strict=True))

    def name(self, text: str) -> str:
        """See `Loop`."""
        return "/".join([self._name, f"step_{self._step}", *([text.removeprefix(f"{self.scope}/")] if text else [])])


def value_of(values: Values, tensor: TensorName) -> Value:
    """Return a tensor's value within a function."""
    found = values[tensor.node]
    if tensor.index >= len(found):
        return found[0] if found and isinstance(found[0], Nothing) else Nothing(f"{tensor} does not exist")
    return found[tensor.index]


def _taken(op: str, predicate: Known, count: int) -> int:
    """Return which branch a known predicate takes (`functional_ops.cc`: of an If, what is not a scalar is true if not empty)."""
    value = predicate.array
    if op in _IFS:
        return int(bool(value) if value.ndim == 0 else value.size > 0)
    index = int(np.ravel(value)[0])
    return index if 0 <= index < count else count - 1


def _refusal(node: NodeDef, why: Exception) -> StageError:
    hint = getattr(why, "hint", "")
    return StageError(
        f"freeze: the while loop {node.name!r} cannot be unrolled: {why}",
        f"{hint}; or let it stay a functional While with freeze.unroll=auto" if hint else "let it stay with freeze.unroll=auto",
    )
