"""Runs a `.tflite` with Flex operators, which are TensorFlow's own: no interpreter on this machine has the delegate for them.

What runs is the file itself. Its main graph is cut where built-in and Flex operators meet: a stretch of built-in operators
becomes a model of its own in LiteRT, a stretch of Flex operators a TensorFlow graph of the NodeDefs that the file carries for
the delegate.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import StageError, operator_reason
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature
from mlkit_build.tflite import FLEX
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import operator_name, schema, tensor_name, type_name
from mlkit_build.tflite.node_defs import node_def
from mlkit_build.tflite.runner import Port

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

_OPAQUE = ("string", "resource", "variant")
"""Types whose values are not plain numbers, and so cannot be handed from one runtime to the other."""

Run = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]
"""Takes the inputs of a stretch, gives its outputs."""


def flex_operators(model: Any) -> dict[str, int]:
    """Return Flex operator -> how many of it are in the model, those inside of loops and branches included."""
    found = Counter(_name(model, operator) for graph in model.subgraphs for operator in graph.operators or ())
    return {name: count for name, count in sorted(found.items()) if name.startswith(FLEX)}


class FlexModel:
    """A model with Flex operators, cut into stretches. Threads may share it; each opens a runner of its own.

    Args:
        path: The model.
        signature: Names, and shapes of one sample.

    Raises:
        StageError: Flex operators are where they cannot be run alone, or TensorFlow does not take what the file says of them.
    """

    def __init__(self, path: Path, signature: FrozenSignature) -> None:
        model = flatbuffer.read(path)
        _refuse_nested(model)
        graph, definition = model.subgraphs[0], model.signatureDefs[0]
        ports = {flatbuffer.text(entry.name): entry.tensorIndex for entry in [*definition.inputs, *definition.outputs]}
        self.inputs = {spec.name: (_port(graph, ports[spec.name]), spec.shape) for spec in signature.inputs}
        self.outputs = [_port(graph, ports[spec.name]) for spec in signature.outputs]
        self.stretches = _stretches(model)
        made = {*_indices(graph, "inputs"), *(index for stretch in self.stretches for index in stretch.outputs)}
        self.constants = {port.index: _constant(model, port.index) for port in self.outputs if port.index not in made}

    def runner(self) -> FlexRunner:
        """Return what runs the model in one thread."""
        return FlexRunner(self)


class FlexRunner:
    """Runs one sample at a time, single-threaded, through every stretch. The interface is that of `Runner`."""

    def __init__(self, model: FlexModel) -> None:
        self._inputs = {name: port for name, (port, _) in model.inputs.items()}
        self._outputs = model.outputs
        self._buffers = {name: np.zeros(shape, port.dtype) for name, (port, shape) in model.inputs.items()}
        self._constants = model.constants
        self._steps = [(stretch.inputs, stretch.open(), stretch.outputs) for stretch in model.stretches]

    def buffer(self, name: str) -> NDArray[Any]:
        """Return the memory of an input, `[1, ...]`, to be written before `invoke`."""
        return self._buffers[name]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of an input, as the model takes it."""
        dtype: np.dtype[Any] = self._inputs[name].dtype
        return dtype

    def encode(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return real values in the type of the input: rounded and clipped to its integers, where it is quantized."""
        return self._inputs[name].encode(values)

    def invoke(self) -> list[NDArray[Any]]:
        """Return the outputs for what is in the buffers, in the signature's order, as real values.

        Raises:
            StageError: An operator refuses its values.
        """
        values = {**self._constants, **{port.index: self._buffers[name] for name, port in self._inputs.items()}}
        for inputs, run, outputs in self._steps:
            values.update(zip(outputs, run([values[index] for index in inputs]), strict=True))
        return [port.decode(values[port.index]).copy() for port in self._outputs]  # an output may be an input's buffer


@dataclass(frozen=True)
class _Builtin:
    """A stretch of built-in operators.

    Attributes:
        inputs: Tensors of the whole model that it takes.
        outputs: Tensors of the whole model that it gives.
        content: The stretch as a model; its inputs and outputs are in this order.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    content: bytes

    def open(self) -> Run:
        """Return an interpreter's work. Memory waits for the first inputs: shapes after a Flex operator are known by then."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=self.content, num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise _refusal("LiteRT", "the model", error) from error
        taken = [detail["index"] for detail in interpreter.get_input_details()]
        given = [detail["index"] for detail in interpreter.get_output_details()]
        shapes: list[tuple[int, ...]] = []

        def run(values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            found = [value.shape for value in values]
            try:
                if found != shapes:
                    for index, shape in zip(taken, found, strict=True):
                        interpreter.resize_tensor_input(index, shape, strict=False)
                    interpreter.allocate_tensors()
                    shapes[:] = found
                for index, value in zip(taken, values, strict=True):
                    interpreter.set_tensor(index, value)
                interpreter.invoke()
            except (ValueError, RuntimeError) as error:
                raise _refusal("LiteRT", "the model", error) from error
            return [interpreter.get_tensor(index) for index in given]

        return run


class _Flex:
    """A stretch of Flex operators, in a session that threads share.

    Args:
        graph_def: The operators, with placeholders in front of them.
        inputs: Tensor of the whole model -> its placeholder.
        outputs: Tensor of the whole model -> the operators' tensor.
    """

    def __init__(self, graph_def: GraphDef, inputs: Mapping[int, str], outputs: Mapping[int, str]) -> None:
        import tensorflow as tf

        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._names = ", ".join(sorted({f"{FLEX}{node.op}" for node in graph_def.node} - {f"{FLEX}Placeholder", f"{FLEX}Const"}))
        try:
            with tf.Graph().as_default() as graph:
                tf.graph_util.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise _refusal("TensorFlow", self._names, error) from error
        threads = os.cpu_count() or 1
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=threads)
        session = tf.compat.v1.Session(graph=graph, config=config)
        self._call = session.make_callable(list(outputs.values()), feed_list=list(inputs.values()))
        self._error = tf.errors.OpError

    def open(self) -> Run:
        """Return the session's work."""
        return self._run

    def _run(self, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            return [np.asarray(value) for value in self._call(*values)]
        except self._error as error:
            raise _refusal("TensorFlow", self._names, error) from error


def _stretches(model: Any) -> list[_Builtin | _Flex]:
    """Return the main graph in pieces that run one after another, without those that nothing needs."""
    graph = model.subgraphs[0]
    made, wanted = _tensors(graph.operators, "outputs") | {*_indices(graph, "inputs")}, {*_indices(graph, "outputs")}
    found: list[_Builtin | _Flex] = []
    runs = [(flex, list(run)) for flex, run in groupby(graph.operators, lambda one: _name(model, one).startswith(FLEX))]
    for flex, operators in reversed(runs):
        used, own = _tensors(operators, "inputs"), _tensors(operators, "outputs")
        inputs, outputs = sorted((used & made) - own), sorted(own & wanted)
        if not outputs:
            continue
        _refuse_opaque(graph, [*inputs, *outputs])
        cut = _flex if flex else _builtin
        found.append(cut(model, operators, inputs, outputs))
        wanted |= used
    return found[::-1]


def _builtin(model: Any, operators: list[Any], inputs: list[int], outputs: list[int]) -> _Builtin:
    """Return the operators as a model that holds only what they need: there may be many stretches in a large model."""
    graph = model.subgraphs[0]
    kept = sorted(_tensors(operators, "inputs") | _tensors(operators, "outputs") | _tensors(operators, "intermediates"))
    place = {-1: -1, **{index: number for number, index in enumerate(kept)}}
    main = copy(graph)
    main.tensors = [graph.tensors[index] for index in kept]
    main.operators = [_moved(operator, place) for operator in operators]
    main.inputs, main.outputs = [place[index] for index in inputs], [place[index] for index in outputs]
    part = copy(model)
    part.subgraphs = [main, *(model.subgraphs[1:] if any(map(_calls, operators)) else ())]
    held = {tensor.buffer for one in part.subgraphs for tensor in one.tensors}
    empty = schema().BufferT()
    part.buffers = [buffer if index in held else empty for index, buffer in enumerate(model.buffers)]
    part.signatureDefs = part.metadata = part.metadataBuffer = None
    return _Builtin(tuple(inputs), tuple(outputs), flatbuffer.packed(part))


def _moved(operator: Any, place: Mapping[int, int]) -> Any:
    moved = copy(operator)
    for what in ("inputs", "outputs", "intermediates"):
        setattr(moved, what, [place[index] for index in _indices(operator, what)])
    return moved


def _flex(model: Any, operators: list[Any], inputs: list[int], outputs: list[int]) -> _Flex:
    """Return the operators as a TensorFlow graph."""
    import tensorflow as tf
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph, graph_def = model.subgraphs[0], GraphDef()
    names: dict[int, str] = {}
    for index in inputs:
        node = graph_def.node.add(name=f"tensor_{index}", op="Placeholder")
        node.attr["dtype"].type = tf.as_dtype(type_name(graph.tensors[index])).as_datatype_enum
        names[index] = f"{node.name}:0"
    for index in sorted(_tensors(operators, "inputs") - _tensors(operators, "outputs") - {*inputs}):
        _refuse_opaque(graph, [index])
        value = _constant(model, index)
        node = graph_def.node.add(name=f"tensor_{index}", op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        names[index] = f"{node.name}:0"
    for number, operator in enumerate(operators):
        node = graph_def.node.add()
        node.MergeFromString(node_def(bytes(operator.customOptions)))
        node.name, node.device = f"{node.op}_{number}", ""
        del node.input[:]
        node.input.extend(names[index] for index in _indices(operator, "inputs"))
        names.update({index: f"{node.name}:{output}" for output, index in enumerate(_indices(operator, "outputs"))})
    return _Flex(graph_def, {index: names[index] for index in inputs}, {index: names[index] for index in outputs})


def _constant(model: Any, index: int) -> NDArray[Any]:
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    shape = () if tensor.shape is None else tuple(tensor.shape)
    return np.frombuffer(b"" if data is None else bytes(data), np.dtype(type_name(tensor))).reshape(shape)


def _port(graph: Any, index: int) -> Port:
    tensor = graph.tensors[index]
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        return Port({"index": int(index), "dtype": type_name(tensor), "quantization": (0, 0)})
    return Port({"index": int(index), "dtype": type_name(tensor), "quantization": (found.scale[0], found.zeroPoint[0])})


def _tensors(operators: Iterable[Any], what: str) -> set[int]:
    """Return the indices of the operators' `inputs`, `outputs` or `intermediates`; -1 stands for an input left out."""
    return {index for operator in operators for index in _indices(operator, what) if index >= 0}


def _indices(item: Any, what: str) -> list[int]:
    found = getattr(item, what)
    return [] if found is None else [int(index) for index in found]


def _calls(operator: Any) -> bool:
    """Return whether the operator runs another subgraph: every option that names one says so in its own name."""
    options = (operator.builtinOptions, operator.builtinOptions2)
    return any("ubgraph" in name for option in options if option is not None for name in vars(option))


def _name(model: Any, operator: Any) -> str:
    return operator_name(model.operatorCodes[operator.opcodeIndex])


def _refuse_nested(model: Any) -> None:
    nested = copy(model)
    nested.subgraphs = model.subgraphs[1:]
    found = ", ".join(flex_operators(nested))
    if found:
        raise StageError(
            f"evaluate: the model has Flex operators inside of a loop or branch, where they cannot be measured: {found}",
            "set freeze.unroll=always if the loop has a fixed number of steps, or build without a dataset",
        )


def _refuse_opaque(graph: Any, indices: Iterable[int]) -> None:
    for index in indices:
        tensor = graph.tensors[index]
        if type_name(tensor) in _OPAQUE:
            raise StageError(
                f"evaluate: the tensor {tensor_name(tensor)} passes a {type_name(tensor)} to or from a Flex operator, "
                "which cannot be measured: expected numbers",
                "cut the graph there, or build without a dataset",
            )


def _refusal(who: str, what: str, error: Exception) -> StageError:
    return StageError(f"evaluate: {who} cannot run {what}: {operator_reason(error)}")
