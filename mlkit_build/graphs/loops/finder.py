"""Finds the loops and branches of TensorFlow 1 in a graph: Enter, Merge, Switch and the like, read as while_loop and cond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlkit_build.errors import StageError
from mlkit_build.graphs.loops.structure import OUTSIDE, Choice, Guard, Region, Structure, Unit, Variable, data_inputs, op_of
from mlkit_build.graphs.surgery import TensorName, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_PASSING = ("Identity", "Enter", "Exit")


def find_structure(nodes: Mapping[str, NodeDef], roots: Iterable[str]) -> Structure:
    """Return the loops and branches among the nodes that `roots` need.

    Raises:
        StageError: Control flow that no `while_loop` or `cond` writes.
    """
    return _Finder(nodes, list(roots)).structure()


class _Finder:
    """Finds ways through a graph in passes over one order: loops, then conds, then what varies with what."""

    def __init__(self, nodes: Mapping[str, NodeDef], roots: list[str]) -> None:
        self.nodes = {name: nodes[name] for name in needed_nodes(nodes, roots)}
        self.inputs = {name: data_inputs(node) for name, node in self.nodes.items()}
        self.ops = {name: op_of(node) for name, node in self.nodes.items()}
        self.frames: dict[str, str] = {}
        self.variables: dict[str, Variable] = {}
        self.conditions: dict[str, str] = {}
        for name, op in self.ops.items():
            if op == "Merge":
                self._loop_variable(name)
        for name, op in self.ops.items():
            if op == "Switch" and self._is_loop_switch(name):
                self.conditions.setdefault(self.frames[self._merge_behind(name)], self.inputs[name][1].node)
        self.invariant: dict[str, bool] = {}
        for name in self.variables:
            self._is_invariant(name)
        self.order = self._order(roots)
        self.guards: dict[str, Guard] = {}
        self.choices: dict[str, Choice] = {}
        for name in self.order:
            self._guard(name)
        self.depends, self.outer = self._depends()
        self.wanted = self._wanted(roots)

    def structure(self) -> Structure:
        """Return what was found."""
        regions = {OUTSIDE: Region(OUTSIDE)}
        for name in self.order:
            frame = self.frames.get(name)
            if frame is not None and name in self.wanted and not self.invariant[name]:
                regions.setdefault(frame, self._region(frame)).variables.append(self.variables[name])
        for name in self.order:
            frame = self._enter_frame(name) if self.ops[name] == "Enter" else OUTSIDE
            if frame != OUTSIDE and frame in regions:
                regions[frame].guard = _both(regions[frame].guard, self.guards[name])
        region_of = {name: self._deepest(self.depends[name]) for name in self.order}
        structure = Structure(regions, region_of, self.choices, self.guards)
        self._place_units(structure)
        return structure

    def _loop_variable(self, name: str) -> None:
        back = [item.node for item in self.inputs[name] if self.ops.get(item.node) == "NextIteration"]
        enters = [item for item in self.inputs[name] if self.ops.get(item.node) == "Enter"]
        if not back:
            return
        if len(back) != 1 or len(enters) != 1:
            raise StageError(f"freeze: the Merge {name!r} of a while loop has {len(enters)} starts and {len(back)} ways back")
        self.frames[name] = self._enter_frame(enters[0].node)
        self.variables[name] = Variable(name, enters[0], self.inputs[back[0]][0])

    def _enter_frame(self, name: str) -> str:
        return str(self.nodes[name].attr["frame_name"].s.decode())

    def _is_loop_switch(self, name: str) -> bool:
        return self.ops.get(self.inputs[name][1].node) == "LoopCond"

    def _merge_behind(self, name: str) -> str:
        """Return the loop variable that the Switch or Exit `name` passes on."""
        seen = name
        while seen not in self.variables:
            if self.ops[seen] not in ("Switch", "Exit", "Identity"):
                raise StageError(f"freeze: {self.ops[name]} {name!r} does not follow a loop variable")
            seen = self.inputs[seen][0].node
        return seen

    def _is_invariant(self, merge: str) -> bool:
        """Return whether every step of the loop hands the variable on unchanged."""
        if merge not in self.invariant:
            self.invariant[merge] = False
            source = self.variables[merge].following.node
            while source != merge:
                if source in self.variables:
                    if not self._is_invariant(source):
                        return False
                    source = self.variables[source].start.node
                elif self.ops[source] in _PASSING or (self.ops[source] == "Switch" and self._is_loop_switch(source)):
                    source = self.inputs[source][0].node
                else:
                    return False
            self.invariant[merge] = True
        return self.invariant[merge]

    def _varies(self, name: str) -> bool:
        """Return whether the node is a loop variable: its loop gives it its value."""
        return name in self.variables and not self.invariant[name]

    def _reads(self, name: str) -> list[str]:
        """Return the nodes whose values `name` needs within one step; for a loop variable and its exit, that is the loop's."""
        if name in self.variables:
            return [self.variables[name].start.node] if self.invariant[name] else []
        if self.ops[name] == "Exit" and not self.invariant[self._merge_behind(name)]:
            return []
        read = [item.node for item in self.inputs[name]]
        if self.ops[name] == "Switch" and self._is_loop_switch(name):
            return read[:1]
        return [*read, self.choices[name].predicate.node] if name in self.choices else read

    def _before(self, name: str) -> list[str]:
        """Return the nodes that must be seen before `name`: its inputs, but a loop's way back only before its exits."""
        if name in self.variables:
            return [self.variables[name].start.node]
        before = [TensorName.parse(item).node for item in self.nodes[name].input]
        if self.ops[name] == "Exit":
            frame = self.frames[self._merge_behind(name)]
            before += [variable.following.node for merge, variable in self.variables.items() if self.frames[merge] == frame]
            before.append(self.conditions[frame])
        return before

    def _order(self, roots: list[str]) -> list[str]:
        order: list[str] = []
        seen: set[str] = set()
        for root in roots:
            stack = [(root, False)]
            while stack:
                name, done = stack.pop()
                if done:
                    order.append(name)
                elif name not in seen and name in self.nodes:
                    seen.add(name)
                    stack.append((name, True))
                    stack += [(item, False) for item in reversed(self._before(name))]
        return order

    def _wanted(self, roots: list[str]) -> set[str]:
        """Return the nodes whose values count: not what only controls, nor what only an invariant's way back reads."""
        wanted: set[str] = set()
        stack = list(roots)
        while stack:
            name = stack.pop()
            if name in wanted or name not in self.nodes:
                continue
            wanted.add(name)
            stack += self._reads(name)
            if self._varies(name):
                variable = self.variables[name]
                stack += [variable.start.node, variable.following.node, self.inputs[self._condition(self.frames[name])][0].node]
            elif self.ops[name] == "Exit":
                stack.append(self._merge_behind(name))
        return wanted

    def _condition(self, frame: str) -> str:
        if frame not in self.conditions:
            raise StageError(f"freeze: the while loop {frame!r} has no condition")
        return self.conditions[frame]

    def _guard(self, name: str) -> None:
        if self.ops[name] == "Merge" and name not in self.variables:
            self.choices[name], self.guards[name] = self._choice(name)
            return
        guard: Guard = ()
        for item in [str(self.variables[name].start)] if name in self.variables else self.nodes[name].input:
            guard = _both(guard, self._tensor_guard(TensorName.parse(item)))
        self.guards[name] = guard

    def _tensor_guard(self, tensor: TensorName) -> Guard:
        guard = self.guards.get(tensor.node, ())
        if self.ops.get(tensor.node) == "Switch" and not self._is_loop_switch(tensor.node):
            return _both(guard, ((self._predicate(self.inputs[tensor.node][1]), tensor.index == 1),))
        return guard

    def _predicate(self, tensor: TensorName) -> TensorName:
        while self.ops.get(tensor.node) == "Identity":
            tensor = self.inputs[tensor.node][0]
        return tensor

    def _choice(self, name: str) -> tuple[Choice, Guard]:
        inputs = self.inputs[name]
        if len(inputs) == 2:
            first, second = (self._tensor_guard(item) for item in inputs)
            for number, (predicate, taken) in enumerate(first):
                if (predicate, not taken) in second:
                    found = Choice(predicate, *(inputs if taken else inputs[::-1]))
                    return found, first[:number]
        raise StageError(
            f"freeze: the Merge {name!r} joins branches, but which predicate chooses between them cannot be told",
            "cut the graph before it with signature.outputs, or give its predicate a value in signature.constants",
        )

    def _depends(self) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
        """Return the frames that each node's value varies with, and those that each loop as a whole does."""
        outer = dict.fromkeys(self.frames.values(), frozenset[str]())
        while True:
            depends: dict[str, frozenset[str]] = {}
            before = dict(outer)
            for name in self.order:
                if self._varies(name):
                    frame = self.frames[name]
                    depends[name] = outer[frame] | {frame}
                elif self.ops[name] == "Exit" and not self.invariant[self._merge_behind(name)]:
                    depends[name] = outer[self.frames[self._merge_behind(name)]]
                else:
                    depends[name] = frozenset[str]().union(*(depends[item] for item in self._reads(name)))
                    if self.ops[name] == "Enter" and self._enter_frame(name) in outer:
                        # In a branch, a loop as a whole depends on what chooses the branch: without it, it might not end.
                        choosing = (depends[predicate.node] for predicate, _ in self.guards[name])
                        outer[self._enter_frame(name)] |= depends[name].union(*choosing)
            if outer == before:
                return depends, outer

    def _deepest(self, frames: frozenset[str]) -> str:
        for frame in frames:
            if len(self.outer[frame]) == len(frames) - 1:
                return frame
        if frames:
            raise StageError(f"freeze: the while loops {', '.join(sorted(frames))} overlap, but neither lies in the other")
        return OUTSIDE

    def _region(self, frame: str) -> Region:
        condition = self._condition(frame)
        scope = condition.rpartition("/")[0] or frame
        return Region(frame, scope, self._deepest(self.outer[frame]), condition=self.inputs[condition][0])

    def _place_units(self, structure: Structure) -> None:
        """Give each region its units, each after what it reads."""
        edges = _Edges(structure)
        for name in self.order:
            if name not in self.wanted:
                continue
            here = structure.region_of[name]
            if self._varies(name):
                # What the loop reads of the region around it counts even where no node of the loop reads it.
                condition = self.inputs[self.conditions[self.frames[name]]][0]
                for read in (self.variables[name].start, self.variables[name].following, condition):
                    if structure.region_of[read.node] != self.frames[name] and not self._varies(read.node):
                        edges.add(Unit(name), self.frames[name], read.node)
                continue
            edges.of[here].setdefault(Unit(name), [])
            if self.ops[name] == "Exit" and not self.invariant[self._merge_behind(name)]:
                edges.of[here][Unit(name)].append(Unit(self.frames[self._merge_behind(name)], loop=True))
            for item in self._reads(name):
                if not self._varies(item):
                    edges.add(Unit(name), here, item)
        for frame, region in structure.regions.items():
            for predicate, _ in region.guard:
                if not self._varies(predicate.node):
                    edges.add(Unit(frame, loop=True), region.parent, predicate.node)
        for frame, region in structure.regions.items():
            region.units = edges.sorted(frame, list(edges.of[frame]))
            if region.condition is not None:
                region.condition_units = edges.sorted(frame, [Unit(region.condition.node)])


class _Edges:
    """Which unit of a region reads which other."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.of: dict[str, dict[Unit, list[Unit]]] = {frame: {} for frame in structure.regions}
        for frame, region in structure.regions.items():
            if frame != OUTSIDE:
                self.of[region.parent][Unit(frame, loop=True)] = []

    def add(self, unit: Unit, here: str, read: str) -> None:
        """Note that `unit` of the region `here` reads a node; where that lies further out, the loop between reads it."""
        there = self.structure.region_of[read]
        while here != there:
            if here == OUTSIDE:
                raise StageError(f"freeze: {unit.name!r} reads {read!r} inside a while loop without an Exit")
            unit, here = Unit(here, loop=True), self.structure.regions[here].parent
        self.of[here].setdefault(unit, []).append(Unit(read))

    def sorted(self, frame: str, roots: list[Unit]) -> list[Unit]:
        """Return the units that the roots need, each after those that it reads."""
        edges = self.of[frame]
        order: list[Unit] = []
        seen: set[Unit] = set()
        for root in roots:
            stack = [(root, False)]
            while stack:
                unit, done = stack.pop()
                if done:
                    order.append(unit)
                elif unit not in seen and unit in edges:
                    seen.add(unit)
                    stack.append((unit, True))
                    stack += [(item, False) for item in reversed(edges[unit])]
        return order


def _both(first: Guard, second: Guard) -> Guard:
    return first + tuple(item for item in second if item not in first)
