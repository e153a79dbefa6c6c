"""The graph between the signature's tensors, with values in place of placeholders and variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError, StageError
from mlkit_build.graphs import (
    LoadedGraph,
    TensorName,
    constant_node,
    find_tensor,
    needed_nodes,
    placeholder_node,
    take_known_branches,
    without_training_marks,
)
from mlkit_build.graphs.description import described, shown_shape
from mlkit_build.graphs.functions import BRANCHING, Library, library_of, write_out_calls, write_out_nested_calls
from mlkit_build.graphs.modern import modernize
from mlkit_build.graphs.state import refuse_state
from mlkit_build.graphs.surgery import CONTROL_FLOW_V1, PLACEHOLDERS, drop_control_inputs, with_all_attributes
from mlkit_build.graphs.variables import put_variables, reader_node
from mlkit_build.records import dataclass
from mlkit_build.signature import TensorSpec
from mlkit_build.stages.params import FreezeParams

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_SCALAR_MEANS_UNKNOWN = 21
"""Up to this producer version a placeholder's empty shape stands for an unknown one (`array_ops.cc`, Placeholder)."""


@dataclass(frozen=True)
class CutGraph:
    """A graph of constants between placeholders and outputs.

    Attributes:
        graph_def: Its nodes, inputs before users; loops may be of control flow v1.
        inputs: Under their placeholders' names, with static shapes.
        outputs: Name -> tensor.
    """

    graph_def: GraphDef
    inputs: tuple[TensorSpec, ...]
    outputs: Mapping[str, TensorName]


def cut_graph(loaded: LoadedGraph, request: FreezeParams) -> CutGraph:
    """Cut the graph to its signature and put values in place of placeholders and variables.

    Args:
        request: Complete: every input and output has its tensor.

    Raises:
        ConfigError: A tensor is not in the graph, a shape does not fit, or an output depends on a placeholder without a value.
        SourceError: A variable has no value.
    """
    graph_def = without_training_marks(loaded.graph_def)
    nodes = {node.name: node for node in graph_def.node}
    library = library_of(graph_def)
    inputs = {
        name: find_tensor(spec.tensor or "", nodes, f"signature.inputs.{name}.tensor", loaded.origin)
        for name, spec in request.inputs.items()
    }
    outputs = {
        name: find_tensor(tensor or "", nodes, f"signature.outputs.{name}.tensor", loaded.origin)
        for name, tensor in request.outputs.items()
    }
    specs = [_input_spec(name, tensor, request.inputs[name].shape, graph_def, nodes) for name, tensor in inputs.items()]
    _put_constants(request.constants, graph_def, nodes, loaded.origin)
    specs = _put_inputs(specs, nodes)
    cut = [TensorName.parse(spec.tensor).node for spec in specs]
    roots = [tensor.node for tensor in outputs.values()]
    write_out_nested_calls(library)
    write_out_calls(nodes, library, roots, cut)
    needed = _needed(nodes, roots, cut)
    inputs = {spec.name: TensorName.parse(spec.tensor) for spec in specs}
    _check_reachable(needed, nodes, inputs, outputs)
    refuse_state(needed, nodes, {node.name: node for node in loaded.graph_def.node}, cut)
    put_variables(needed, nodes, loaded, library)
    if any(nodes[name].op in BRANCHING for name in needed):  # on a variable, perhaps, which is a constant now
        write_out_calls(nodes, library, roots, cut)
        needed = _needed(nodes, roots, cut)
        put_variables(needed, nodes, loaded, library)
    modernize(nodes, needed)
    _refuse_foreign(needed, nodes, library)
    graph_def = with_all_attributes(_with_nodes(graph_def, [nodes[name] for name in needed], library))
    return CutGraph(graph_def, tuple(specs), outputs)


def _input_spec(
    name: str, tensor: TensorName, wanted: tuple[int, ...] | None, graph_def: GraphDef, nodes: Mapping[str, NodeDef]
) -> TensorSpec:
    """Settle an input's shape: the recipe's where stated, else the graph's with an unknown batch pinned to 1."""
    where = f"signature.inputs.{name}"
    dtype, found = _type_of(tensor, graph_def, nodes, where)
    if wanted is None:
        if found is None:
            raise ConfigError(
                f"{where}.shape: missing, and the graph does not know the shape of {tensor}",
                f'state it, batch first: `{name}: {{tensor: "{tensor}", shape: [1, ...]}}`',
            )
        pinned = tuple(1 if index == 0 and size is None else size for index, size in enumerate(found))
        if None in pinned:
            raise ConfigError(
                f"{where}.shape: missing, and {tensor} has dynamic dimensions in the graph: {shown_shape(found)}",
                "the converter needs static shapes; state the whole shape, batch first",
            )
        return TensorSpec(name, str(tensor), tuple(int(size) for size in pinned if size is not None), dtype)
    compatible = found is None or (
        len(found) == len(wanted) and all(known in (None, size) for known, size in zip(found, wanted, strict=True))
    )
    batch_only = found is not None and len(found) == len(wanted) and found[1:] == wanted[1:]
    if not compatible and not batch_only:
        raise ConfigError(f"{where}.shape: expected {shown_shape(found)} as in the graph, found {list(wanted)}")
    return TensorSpec(name, str(tensor), wanted, dtype)


def _type_of(
    tensor: TensorName, graph_def: GraphDef, nodes: Mapping[str, NodeDef], where: str
) -> tuple[str, tuple[int | None, ...] | None]:
    """Return a tensor's dtype and shape as the graph knows them."""
    import tensorflow as tf

    node = nodes[tensor.node]
    if node.op in (*PLACEHOLDERS, "PlaceholderWithDefault"):
        shape = node.attr["shape"].shape
        known = None if shape.unknown_rank or (node.op != "PlaceholderWithDefault" and "shape" not in node.attr) else shape
        if graph_def.versions.producer <= _SCALAR_MEANS_UNKNOWN and not shape.dim:
            known = None
        sizes = None if known is None else tuple(None if dim.size < 0 else int(dim.size) for dim in known.dim)
        return tf.as_dtype(node.attr["dtype"].type).name, sizes
    part = _with_nodes(graph_def, [nodes[name] for name in needed_nodes(nodes, [tensor.node])])
    try:
        return described(part, [str(tensor)])[0]
    except ValueError as error:
        raise ConfigError(f"{where}.tensor: {tensor} cannot be cut out of the graph: {error}") from error


def _put_constants(constants: Mapping[str, Any], graph_def: GraphDef, nodes: dict[str, NodeDef], origin: str) -> None:
    import tensorflow as tf

    for text, value in constants.items():
        where = f"signature.constants.{text}"
        tensor = find_tensor(text, nodes, where, origin)
        node = nodes[tensor.node]
        if node.op not in (*PLACEHOLDERS, "PlaceholderWithDefault"):
            raise ConfigError(f"{where}: expected a placeholder, found an operator {node.op}")
        dtype = tf.as_dtype(node.attr["dtype"].type)
        array = _typed(value, dtype.as_numpy_dtype)
        if array is None:
            raise ConfigError(f"{where}: expected a value of type {dtype.name}, found {value!r}")
        _, shape = _type_of(tensor, graph_def, nodes, where)
        if shape is not None and not tf.TensorShape(shape).is_compatible_with(array.shape):
            raise ConfigError(f"{where}: expected the shape {shown_shape(shape)} as in the graph, found {list(array.shape)}")
        nodes[tensor.node] = constant_node(tensor.node, array)


def _typed(value: Any, dtype: Any) -> NDArray[Any] | None:
    """Return `value` as an array of `dtype`, or None where that type cannot hold it: NumPy reads 'false' and 2 as true."""
    try:
        given = np.array(value)
        if given.dtype.kind == "O" or (given.dtype.kind == "f" and not np.isfinite(given).all()):
            return None
        if (given.dtype.kind in "US") != (np.dtype(dtype).kind in "OSU"):
            return None
        array: NDArray[Any] = given.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return None
    exact = array.dtype.kind == "f" or given.dtype.kind in "US" or np.array_equal(array, given)
    return array if exact else None


def _put_inputs(specs: list[TensorSpec], nodes: dict[str, NodeDef]) -> list[TensorSpec]:
    """Put a placeholder in place of every input; return the inputs under the placeholders' names.

    Where a tensor is one of several that its node gives, the node may still be needed for the others: the placeholder then
    has a name of its own. A default that nothing overrides is a constant.
    """
    several = {name for node in nodes.values() for name in map(TensorName.parse, node.input) if name.index > 0}
    several_nodes = {name.node for name in several} | {tensor.node for tensor in _tensors(specs) if tensor.index > 0}
    placed, renamed = [], {}
    for spec, tensor in zip(specs, _tensors(specs), strict=True):
        name = tensor.node
        if name in several_nodes:
            name = f"{tensor.node}/output_{tensor.index}"
            renamed[str(tensor)] = name
        nodes[name] = placeholder_node(name, spec.dtype, spec.shape)
        placed.append(replace(spec, tensor=f"{name}:0"))
    for node in nodes.values() if renamed else ():
        entries = [item if item.startswith("^") else renamed.get(str(TensorName.parse(item)), item) for item in node.input]
        if entries != list(node.input):
            del node.input[:]
            node.input.extend(entries)
    for name, node in nodes.items():
        if node.op == "PlaceholderWithDefault":
            nodes[name] = reader_node("Identity", node, "dtype", node)
    return placed


def _tensors(specs: list[TensorSpec]) -> list[TensorName]:
    return [TensorName.parse(spec.tensor) for spec in specs]


def _needed(nodes: dict[str, NodeDef], roots: list[str], cut: list[str]) -> list[str]:
    """Return the nodes between `cut` and `roots`; where no control flow v1 is left among them, nothing controls them."""
    take_known_branches(nodes, roots, cut)
    needed = needed_nodes(nodes, roots, cut, control=False)
    if any(nodes[name].op in CONTROL_FLOW_V1 for name in needed):
        return needed_nodes(nodes, roots, cut)
    for name in needed:
        drop_control_inputs(nodes[name])
    return needed


def _check_reachable(
    needed: list[str], nodes: Mapping[str, NodeDef], inputs: Mapping[str, TensorName], outputs: Mapping[str, TensorName]
) -> None:
    cut = {tensor.node for tensor in inputs.values()}
    for name, tensor in inputs.items():
        if tensor.node not in needed:
            listed = ", ".join(f"{output} ({tensor})" for output, tensor in outputs.items())
            raise ConfigError(
                f"signature.outputs: {listed} cannot be reached from the input {name!r} ({tensor})",
                "check both tensor names: a training graph often has an evaluation branch beside the one you want; an input that "
                "the model does not use is left out by stating the others in signature.inputs",
            )
    starving = [name for name in needed if nodes[name].op in PLACEHOLDERS and name not in cut]
    if starving:
        stated = ", ".join(f'"{name}:0": ...' for name in starving)
        raise ConfigError(
            f"signature: the outputs also depend on the placeholder {starving[0]}:0, which is neither input nor constant",
            f"give it a value: `constants: {{{stated}}}`; keep probabilities are 1.0 and is_training is false",
        )


def _refuse_foreign(needed: list[str], nodes: Mapping[str, NodeDef], library: Library) -> None:
    """Refuse operators that this TensorFlow does not have: custom ones, and those of `tf.contrib`."""
    from tensorflow.python.framework import op_def_registry

    foreign = [nodes[name] for name in needed if nodes[name].op not in library and op_def_registry.get(nodes[name].op) is None]
    if foreign:
        listed = ", ".join(f"{node.op} ({node.name})" for node in foreign[:5])
        raise StageError(
            f"freeze: these operators are not TensorFlow's own: {listed}{', ...' if len(foreign) > 5 else ''}",
            "cut the graph before them with signature.outputs, or after them with signature.inputs, or export without them",
        )


def _with_nodes(graph_def: GraphDef, nodes: list[NodeDef], library: Library | None = None) -> GraphDef:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    result = GraphDef(versions=graph_def.versions)
    result.node.extend(nodes)
    if library is None:
        result.library.CopyFrom(graph_def.library)
    else:
        result.library.function.extend(library.values())
    return result
