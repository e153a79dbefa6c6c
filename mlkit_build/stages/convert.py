"""convert: the frozen graph becomes one float32 `.tflite`, from which every quantization is made."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import MlkitBuildError, StageError
from mlkit_build.graphs.operators import describe, unconvertible
from mlkit_build.graphs.operators_failure import explain_failure
from mlkit_build.quantization.unread import without_unread_parts
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.sharing import share_equal_constants
from mlkit_build.tflite.signatures import sign

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

Quantizer = Callable[[Any], None]
"""Sets a TFLiteConverter up."""

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def convert(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `float.tflite`, with the recipe's signature in it.

    It has built-in operators only, or, with the parameter `allow_select_ops`, TensorFlow's own (Flex) where there is no other.

    Raises:
        StageError: An operator does not convert, or TensorFlow's converter fails; names the operators and their nodes.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    signature = FrozenSignature.read(inputs["signature.json"])
    graph_def = GraphDef.FromString(inputs["frozen_graph.pb"].read_bytes())
    converted = convert_graph(graph_def, signature, allow_select_ops=bool(params.get("allow_select_ops", False)))
    model = flatbuffer.parsed(converted)
    share_equal_constants(model)
    sign(model, signature)
    flatbuffer.write(model, outputs / "float.tflite")


@dataclass(frozen=True)
class _End:
    """All that the converter asks of a tensor. Real ones would take an import of the graph, every node through Python."""

    name: str
    shape: Any
    dtype: Any


def convert_graph(
    graph_def: GraphDef, signature: FrozenSignature, *, allow_select_ops: bool = False, quantizer: Quantizer | None = None
) -> bytes:
    """Return the flatbuffer that TensorFlow's converter makes of the graph; inputs and outputs keep the signature's order.

    Args:
        graph_def: The frozen graph. It is changed: every output gets a node of its own.
        signature: Its inputs and outputs.
        allow_select_ops: Let TensorFlow's own operators (Flex) stand where there is no other.
        quantizer: Sets the converter up for a quantized model.

    Raises:
        StageError: An operator does not convert, or the converter fails; names the operators and their nodes.
    """
    outputs = [spec.tensor.rpartition(":")[0] for spec in signature.outputs]
    found = unconvertible(graph_def, allow_select_ops=allow_select_ops, outputs=outputs)
    if found:
        message, hint = describe(found, allow_select_ops=allow_select_ops)
        for finding in found:
            print(f"{finding.operator}: {', '.join(finding.nodes)}")
        raise StageError(f"convert: {message}", hint)
    try:
        return _converted(graph_def, signature, allow_select_ops, quantizer)
    except MlkitBuildError:  # from the samples
        raise
    except Exception as error:
        traceback.print_exc()
        message, hint = explain_failure(error, graph_def, allow_select_ops=allow_select_ops)
        raise StageError(f"convert: {message}", hint) from error


def _converted(graph_def: GraphDef, signature: FrozenSignature, allow_select_ops: bool, quantizer: Quantizer | None) -> bytes:
    """Run the converter.

    The converter is handed the GraphDef itself. Measured, that gives the same bytes as a concrete function of it, three to five
    times faster: a function is frozen once more, every node twice through Python.
    """
    import tensorflow as tf

    ends = _add_outputs(graph_def, signature)
    inputs, results = (
        [_End(spec.tensor, tf.TensorShape(spec.shape), tf.as_dtype(spec.dtype)) for spec in specs]
        for specs in (signature.inputs, ends)
    )

    class Converter(tf.compat.v1.lite.TFLiteConverter):  # type: ignore[misc]
        def _optimize_tflite_model(self, model: bytes, *arguments: Any, **options: Any) -> bytes:
            # It reads and writes the file three times over, in Python, to share equal constants: `convert` does that. Full
            # integer quantization happens here too.
            if quantizer is None:
                return model
            parts = flatbuffer.parsed(model)
            if without_unread_parts(parts):  # calibration would take what lies in memory for the range of a part that is not read
                model = flatbuffer.packed(parts)
            optimized: bytes = super()._optimize_tflite_model(model, *arguments, **options)
            return optimized

    converter = Converter(graph_def, inputs, results)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.exclude_conversion_metadata = True  # the manifest says it, and it costs the converter a fifth of its time
    if quantizer is not None:
        quantizer(converter)
    if allow_select_ops:
        converter.target_spec.supported_ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
    model: bytes = converter.convert()
    return model


def _add_outputs(graph_def: GraphDef, signature: FrozenSignature) -> list[TensorSpec]:
    """Give every output of the signature a node of its own, in place; return the outputs under these nodes' names."""
    from tensorflow import as_dtype

    taken = {node.name.lower() for node in graph_def.node}
    ends = []
    for index, spec in enumerate(signature.outputs):
        name = first = _node_name(spec, index)
        number = 0
        while name.lower() in taken:
            number += 1
            name = f"{first}_{number}"
        taken.add(name.lower())
        node = graph_def.node.add(name=name, op="Identity", input=[spec.tensor])
        node.attr["T"].type = as_dtype(spec.dtype).as_datatype_enum
        ends.append(replace(spec, tensor=f"{name}:0"))
    return ends


def _node_name(spec: TensorSpec, index: int) -> str:
    """Return a name that TensorFlow takes for a node: the signature, written later, may call the output anything."""
    return f"{spec.name}_output" if _NODE_NAME.fullmatch(spec.name) else f"output_{index}"
