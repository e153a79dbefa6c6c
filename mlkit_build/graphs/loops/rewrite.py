"""The graph without loops: what is asked of this package, and the order in which it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlkit_build.errors import StageError
from mlkit_build.graphs.loops.arrays import OPERATORS
from mlkit_build.graphs.loops.bodies import Bodies
from mlkit_build.graphs.loops.emitter import integers
from mlkit_build.graphs.loops.finder import find_structure
from mlkit_build.graphs.loops.functions import keep_used_functions, settled
from mlkit_build.graphs.loops.interpreter import Interpreter
from mlkit_build.graphs.loops.limits import Limits, limits_of
from mlkit_build.graphs.loops.operators import Operation
from mlkit_build.graphs.loops.structure import OUTSIDE
from mlkit_build.graphs.loops.values import Known, Nothing, Symbol, Tensor
from mlkit_build.graphs.shapes import renew_shapes
from mlkit_build.graphs.shapes_inference import LOOPS
from mlkit_build.graphs.surgery import CONTROL_FLOW_V1, PLACEHOLDERS, TensorName, needed_nodes

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


_HINT = "cut the graph before it with signature.outputs, or after it with signature.inputs"


def has_loops(graph_def: GraphDef) -> bool:
    """Return whether the graph has control flow of TensorFlow 1 or TensorArrays."""
    return any(node.op in CONTROL_FLOW_V1 or node.op in OPERATORS for node in graph_def.node)


def without_loops(graph_def: GraphDef, outputs: Sequence[TensorName], *, unroll: str = "auto") -> GraphDef:
    """Return a graph that computes the same without control flow v1 and TensorArrays, and without loops that can be unrolled.

    Outputs and placeholders keep their names. Equal graphs give equal bytes. A graph without loops is returned as it is, and so
    is one whose loops are functional and stay.

    Args:
        graph_def: A frozen graph: constants for variables, placeholders of static shape.
        outputs: The tensors that count; nothing else is kept.
        unroll: `auto` unrolls what `AUTO` allows; `always`, `never`, or the most steps as text. The rest becomes a While.

    Raises:
        ConfigError: `unroll` is none of these.
        StageError: A loop can be neither unrolled nor made functional; names it and says why.
    """
    limits = limits_of(unroll)
    if limits.steps != 0 and _has_functional_loops(graph_def, outputs):
        found = _with_functional_loops_unrolled(graph_def, outputs, limits)
        if found is not None:
            return found
    if not has_loops(graph_def):
        return graph_def
    return _result(graph_def, _interpreted(graph_def, outputs, limits), outputs)


def _has_functional_loops(graph_def: GraphDef, outputs: Sequence[TensorName]) -> bool:
    if not graph_def.library.function:
        return False
    nodes = {node.name: node for node in graph_def.node}
    needed = needed_nodes(nodes, [output.node for output in outputs])
    return Bodies(graph_def).has_loop(nodes[name] for name in needed)


def _with_functional_loops_unrolled(graph_def: GraphDef, outputs: Sequence[TensorName], limits: Limits) -> GraphDef | None:
    """Return the graph without loops that can be unrolled, or None where it has none.

    Raises:
        StageError: Every loop has to be, and one cannot.
    """
    from tensorflow.errors import OpError

    # Where every loop is unrolled, its shapes show by themselves; to work them out first takes as long as all the rest.
    with contextlib.suppress(StageError, ValueError, KeyError, IndexError, RecursionError, OpError):
        result = _result(graph_def, _interpreted(graph_def, outputs, limits, functional=True), outputs)
        if not any(node.op in LOOPS for node in result.node):
            return result
    renewed = type(graph_def)()
    renewed.CopyFrom(graph_def)
    renew_shapes(renewed)  # a loop that stays tells those behind it what it returns
    try:
        interpreter = _interpreted(renewed, outputs, limits, functional=True)
    except StageError:
        if not limits.functional:
            raise
        return None
    except (ValueError, KeyError, IndexError, RecursionError, OpError) as error:
        # What a loop holds that nobody thought of is no reason to fail where it converts as it is.
        if not limits.functional:
            raise StageError(
                f"freeze: the while loops cannot be unrolled: {error}", "let them stay with freeze.unroll=auto"
            ) from error
        return None
    return _result(renewed, interpreter, outputs) if interpreter.calls and interpreter.calls.unrolled else None


def _interpreted(graph_def: GraphDef, outputs: Sequence[TensorName], limits: Limits, *, functional: bool = False) -> Interpreter:
    """Run through the graph.

    Raises:
        StageError: A loop can be neither unrolled nor made functional, or an output lies in it.
    """
    nodes = {node.name: node for node in graph_def.node}
    structure = find_structure(nodes, [output.node for output in outputs])
    for output in outputs:
        if structure.region_of[output.node] != OUTSIDE:
            scope = structure.regions[structure.region_of[output.node]].scope
            raise StageError(
                f"freeze: the output {output} lies inside the loop {scope!r}: it has a value at every step",
                "take what the loop returns as the output",
            )
    interpreter = Interpreter(graph_def, nodes, structure, limits, functional=functional)
    for output in outputs:
        interpreter.emitter.writer.reserve(output.node, output=True)
    interpreter.run(structure.regions[OUTSIDE].units)
    _keep_names(interpreter, outputs)
    return interpreter


def _keep_names(interpreter: Interpreter, outputs: Sequence[TensorName]) -> None:
    """Give every output a node of its old name."""
    writer = interpreter.emitter.writer
    wanted: dict[str, int] = {}
    for output in outputs:
        wanted[output.node] = max(output.index, wanted.get(output.node, 0))
    for name, last in wanted.items():
        if name in writer.nodes:
            continue
        values: list[Tensor] = []
        for index in range(last + 1):
            value = interpreter.look_up(TensorName(name, index))
            if TensorName(name, index) not in outputs and not isinstance(value, Known | Symbol):
                value = integers(0, f"{name}/unused")
            if isinstance(value, Nothing):
                raise StageError(f"freeze: {name}:{index} cannot be computed: {value.reason}", value.hint or _HINT)
            if not isinstance(value, Known | Symbol):
                raise StageError(
                    f"freeze: the output {name}:{index} is a TensorArray", "take what its stack() gives as the output"
                )
            values.append(value)
        if last == 0:
            writer.write(name, Operation.new("Identity", T=values[0].spec.dtype), [values[0].spec], values)
        else:
            types = [value.spec.dtype for value in values]
            writer.write(name, Operation.new("IdentityN", T=types), [value.spec for value in values], values)


def _result(graph_def: GraphDef, interpreter: Interpreter, outputs: Sequence[TensorName]) -> GraphDef:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    written = interpreter.emitter.writer.nodes
    needed = needed_nodes(written, [output.node for output in outputs])
    kept = [written[name] for name in needed]
    unused = [node for node in graph_def.node if node.op in PLACEHOLDERS and node.name not in set(needed)]
    result = GraphDef(versions=graph_def.versions, library=interpreter.functions.proto(kept))
    result.node.extend([*unused, *kept])
    if interpreter.calls is not None:
        keep_used_functions(result)
    if result.library.function and has_loops(graph_def):  # those that this package wrote
        settled(result, outputs)
    return result
