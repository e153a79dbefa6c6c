"""A loop as TensorFlow 2 writes it: a functional While, its condition and body as functions, its arrays as TensorLists.

For loops whose number of steps depends on data, or is too large to unroll. The converter needs static shapes of everything that
such a loop carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlkit_build.graphs.loops.arrays import Arrays
from mlkit_build.graphs.loops.emitter import Emitter, shown
from mlkit_build.graphs.loops.functions import function_of, while_operation
from mlkit_build.graphs.loops.structure import Region, Unit
from mlkit_build.graphs.loops.values import Array, ArrayHandle, Known, ListArray, Nothing, Shape, Symbol, Tensor, Value
from mlkit_build.graphs.loops.writer import Writer
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from mlkit_build.graphs.loops.interpreter import Interpreter

_ATTEMPTS = 3
"""The first finds the shapes of what the body writes to arrays, the second is written with them."""


class NotFunctional(Exception):  # noqa: N818 - a decision, not an error
    """A loop cannot become a functional While; says why."""


class _Again(Exception):  # noqa: N818
    """The body showed the shape of an array's elements: write it once more, now knowing it."""


@dataclass(frozen=True)
class _Carried:
    """A loop variable, as the While has it.

    Attributes:
        start: Its first value in the graph around.
        array: The TensorArray that it stands for, where it is one.
    """

    merge: str
    start: Tensor
    array: ListArray | None

    def value(self, tensor: Symbol) -> Value:
        """Return what the loop's body sees when it is handed `tensor`."""
        return tensor if self.array is None else replace(self.array, handle=tensor)


class WhileLoop:
    """One loop on its way to a functional While."""

    def __init__(self, interpreter: Interpreter, region: Region, starts: Mapping[str, Value]) -> None:
        self.interpreter = interpreter
        self.emitter: Emitter = interpreter.emitter
        self.arrays: Arrays = interpreter.arrays
        self.outer: Writer = interpreter.emitter.writer
        self.region = region
        self.starts = starts
        self.name = interpreter.name(region.scope, region.parent)
        self.elements: dict[str, Shape] = {}

    def write(self) -> dict[str, Value]:
        """Write the loop; return its variables' values after it.

        Raises:
            NotFunctional: The converter would not take it.
        """
        for _ in range(_ATTEMPTS):
            mark = self.outer.mark()
            try:
                return self._write()
            except _Again:
                self.outer.go_back(mark)
            except ValueError as error:
                raise NotFunctional(str(error)) from error
            finally:
                self.emitter.writer = self.outer
        names = ", ".join(sorted(self.elements))
        raise NotFunctional(f"the shape of the elements of its TensorArray {names} is unknown")

    def _write(self) -> dict[str, Value]:
        carried = [item for variable in self.region.variables if (item := self._carried(variable.merge)) is not None]
        fixed = {merge: value for merge, value in self.starts.items() if isinstance(value, ArrayHandle | Nothing)}
        guard = self._guard()
        body, arguments = self._enter(carried, fixed, self.region.units)
        following = {variable.merge: variable.following for variable in self.region.variables}
        results = [self._result(item, self.interpreter.look_up(following[item.merge]), body) for item in carried]
        condition, condition_arguments = self._enter(carried, fixed, self.region.condition_units)
        assert self.region.condition is not None
        goes_on = self.interpreter.look_up(self.region.condition)
        if not isinstance(goes_on, Known | Symbol):
            raise NotFunctional(goes_on.reason if isinstance(goes_on, Nothing) else "its condition is no tensor")
        for predicate in guard:
            goes_on = self.emitter.make("LogicalAnd", f"{self.name}/taken", [predicate, goes_on])
        verdict = condition.local(goes_on)
        self.emitter.writer = self.outer

        captured = list(dict.fromkeys([*body.captured(results), *condition.captured([verdict])]))
        start = [self.outer.local(item.start) for item in carried] + captured
        specs = [argument.spec for argument in arguments] + [symbol.spec for symbol in captured]
        library = self.interpreter.functions
        called = (
            library.add(function_of(f"{self.name}_body", body, arguments, captured, [*results, *captured])),
            library.add(function_of(f"{self.name}_cond", condition, condition_arguments, captured, [verdict])),
        )
        made = self.outer.add(while_operation(*called, specs), self.name, start, specs)
        return {**fixed, **{item.merge: item.value(symbol) for item, symbol in zip(carried, made, strict=False)}}

    def _carried(self, merge: str) -> _Carried | None:
        value = self.starts[merge]
        if isinstance(value, Known | Symbol):
            if not value.spec.static:
                raise NotFunctional(f"the shape of the loop variable {merge!r} is unknown: {shown(value.spec)}")
            return _Carried(merge, value, None)
        if isinstance(value, Array | ListArray):
            element = self.elements.get(value.spec.name, value.spec.element)
            listed = self.arrays.as_list(value, element, f"{self.name}/{value.spec.name.rpartition('/')[2]}")
            return _Carried(merge, listed.handle, listed)
        return None

    def _guard(self) -> list[Tensor]:
        """Return what must hold for the loop to be run at all: a branch that is not taken might never end."""
        found: list[Tensor] = []
        for predicate, wanted in self.region.guard:
            value = self.interpreter.look_up(predicate)
            if isinstance(value, Symbol):
                found.append(value if wanted else self.emitter.make("LogicalNot", f"{self.name}/not_taken", [value]))
        return found

    def _enter(
        self, carried: Sequence[_Carried], fixed: Mapping[str, Value], units: Sequence[Unit]
    ) -> tuple[Writer, list[Symbol]]:
        """Compute `units` in a new function."""
        writer = Writer(self.emitter.operators, self.outer)
        arguments = [writer.argument(item.merge, item.start.spec) for item in carried]
        values = {item.merge: item.value(argument) for item, argument in zip(carried, arguments, strict=True)}
        self.emitter.writer = writer
        self.interpreter.set_variables(self.region, {**fixed, **values})
        self.interpreter.run(units)
        return writer, arguments

    def _result(self, item: _Carried, value: Value, body: Writer) -> Symbol:
        if isinstance(value, Nothing):
            self._discover()
            raise NotFunctional(value.reason)
        if item.array is not None:
            self._discover()
            if not isinstance(value, ListArray):
                raise NotFunctional(f"the loop variable {item.merge!r} becomes another TensorArray at every step")
            if value.spec.element is None or None in value.spec.element:
                raise NotFunctional(f"the shape of the elements of the TensorArray {value.spec.name!r} is unknown")
            return body.local(value.handle)
        if not isinstance(value, Known | Symbol):
            raise NotFunctional(f"the loop variable {item.merge!r} becomes a TensorArray")
        if value.spec != item.start.spec:
            change = f"from {shown(item.start.spec)} to {shown(value.spec)}"
            raise NotFunctional(f"the loop variable {item.merge!r} changes its shape {change} at a step")
        return body.local(value)

    def _discover(self) -> None:
        """Begin again where the body has shown what an array holds."""
        found = {name: shape for name, shape in self.arrays.discovered.items() if shape is not None and None not in shape}
        new = {name: shape for name, shape in found.items() if self.elements.get(name) != shape}
        self.arrays.discovered.clear()
        if new:
            self.elements.update(new)
            raise _Again
