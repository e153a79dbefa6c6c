"""A loop step by step: what its body computes is written once for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mlkit_build.errors import StageError
from mlkit_build.graphs.loops.emitter import same
from mlkit_build.graphs.loops.structure import Region
from mlkit_build.graphs.loops.values import Known, Nothing, Symbol, Value

if TYPE_CHECKING:
    from mlkit_build.graphs.loops.interpreter import Interpreter

ENDLESS = 100_000
"""Steps after which a loop whose condition never becomes false is taken for an endless one."""

_LIMIT_HINT = "unroll it all the same with freeze.unroll=always, or shorten the sequence with signature.inputs.<name>.shape"
_DATA_HINT = "pin what it depends on (signature.inputs.<name>.shape, signature.constants), or cut the graph at the loop"


class NotUnrolled(Exception):  # noqa: N818 - a decision, not an error
    """A loop cannot be unrolled, or is not to be; says why, and what would help."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class Loop(Protocol):
    """A loop of either generation: variables that every step gives new values, while a condition holds."""

    scope: str
    """Its name as its author wrote it."""

    def condition(self, step: int, values: Mapping[str, Value]) -> Value:
        """Begin a step with these values of the variables; return whether it is taken."""

    def parts(self) -> list[Value]:
        """Return what the condition just computed is the logical and of; nothing where it is none."""

    def following(self) -> dict[str, Value]:
        """Compute the rest of the step; return the variables' next values."""

    def name(self, text: str) -> str:
        """Return a name for what the loop adds to the present step."""


class RegionLoop:
    """A loop of control flow v1."""

    def __init__(self, interpreter: Interpreter, region: Region) -> None:
        early = set(region.condition_units)
        self.interpreter = interpreter
        self.region = region
        self.scope = region.scope
        self._rest = [unit for unit in region.units if unit not in early]

    def condition(self, step: int, values: Mapping[str, Value]) -> Value:
        """See `Loop`."""
        assert self.region.condition is not None
        self.interpreter.enter_step(self.region, step, values)
        self.interpreter.run(self.region.condition_units)
        return self.interpreter.look_up(self.region.condition)

    def parts(self) -> list[Value]:
        """See `Loop`."""
        assert self.region.condition is not None
        node = self.interpreter.nodes[self.region.condition.node]
        return [self.interpreter.look_up(item) for item in self.interpreter.inputs[node.name]] if node.op == "LogicalAnd" else []

    def following(self) -> dict[str, Value]:
        """See `Loop`."""
        self.interpreter.run(self._rest)
        return {variable.merge: self.interpreter.look_up(variable.following) for variable in self.region.variables}

    def name(self, text: str) -> str:
        """See `Loop`."""
        return self.interpreter.name(text, self.region.frame)


class Unrolling:
    """One loop on its way to a row of steps.

    Where data end a loop that has a greatest number of steps all the same (`maximum_iterations`, a padded sequence), and
    unrolling is insisted on, every step is computed, and the values of the last one that counts are selected.
    """

    def __init__(self, interpreter: Interpreter, loop: Loop, starts: Mapping[str, Value]) -> None:
        self.interpreter = interpreter
        self.emitter = interpreter.emitter
        self.loop = loop
        self.running = dict(starts)
        self.results = self.running
        self.active: Symbol | None = None
        """Whether the loop still runs, where data decide."""

    def write(self) -> dict[str, Value]:
        """Write the loop; return its variables' values after it.

        Raises:
            NotUnrolled: The number of steps depends on data, or a limit was reached.
            StageError: It never ends.
        """
        if self.interpreter.limits.steps == 0:
            raise NotUnrolled("freeze.unroll is never", "try freeze.unroll=auto")
        size, step = len(self.emitter.writer.nodes), 0
        while self._goes_on(self.loop.condition(step, self.running)):
            self._check(step, len(self.emitter.writer.nodes) - size)
            self._advance(step)
            step += 1
        return self.results

    def _goes_on(self, condition: Value) -> bool:
        """Return whether there may be another step."""
        if isinstance(condition, Known):
            return bool(condition.array)
        if not isinstance(condition, Symbol):
            raise NotUnrolled(condition.reason if isinstance(condition, Nothing) else "its condition is no tensor", _DATA_HINT)
        # A part of the condition that is known counts the steps: it will end the loop whatever data say.
        bounded = any(isinstance(part, Known) for part in self.loop.parts())
        if self.interpreter.limits.functional or not bounded:
            hint = f"{_DATA_HINT}; or compute all steps that it may have with freeze.unroll=always" if bounded else _DATA_HINT
            raise NotUnrolled(f"its number of steps depends on {self.interpreter.cause(condition)}", hint)
        name = self.loop.name(f"{self.loop.scope}/active")
        together = condition if self.active is None else self.emitter.make("LogicalAnd", name, [self.active, condition])
        assert isinstance(together, Symbol)
        self.active = together
        return True

    def _check(self, step: int, nodes: int) -> None:
        limits = self.interpreter.limits
        if step == ENDLESS and limits.steps is None:
            raise StageError(f"freeze: the while loop {self.loop.scope!r} does not end within {ENDLESS} steps", _DATA_HINT)
        if step == limits.steps:
            raise NotUnrolled(f"it has more than {step} steps", _LIMIT_HINT)
        if limits.nodes is not None and nodes > limits.nodes:
            raise NotUnrolled(f"unrolled it has more than {limits.nodes} operators", _LIMIT_HINT)

    def _advance(self, step: int) -> None:
        """Let the variables have their values of the next step."""
        before, self.running = self.running, self.loop.following()
        if all(same(before[name], value) for name, value in self.running.items()):
            raise StageError(f"freeze: the while loop {self.loop.scope!r} never ends: step {step} changes nothing")
        if self.active is None:
            self.results = self.running
            return
        results = {}
        for variable, value in self.running.items():
            name = self.loop.name(variable)
            try:
                results[variable] = self.interpreter.choose(self.active, value, self.results[variable], name)
            except ValueError as error:
                results[variable] = Nothing(f"data decide when the loop {self.loop.scope!r} ends, and {error}")
        self.results = results
