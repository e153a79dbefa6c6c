"""convert: the frozen graph becomes one float32 `.tflite`, from which every quantization is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.signature import FrozenSignature

_UNSUPPORTED = re.compile(r"tf\.([A-Z]\w*)")
"""Operators in the converter's messages; MLIR's own attributes, such as `tf.entry_function`, begin with a small letter."""


def convert(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `float.tflite`, with built-in operators only and the recipe's signature in it.

    Raises:
        StageError: TensorFlow's converter fails; names the operators where it does.
    """
    import tensorflow as tf

    from mlkit_build.tflite import model as flatbuffer
    from mlkit_build.tflite.signatures import sign

    signature = FrozenSignature.read(inputs["signature.json"])
    graph_def = tf.compat.v1.GraphDef.FromString(inputs["frozen_graph.pb"].read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    tensor = wrapped.graph.get_tensor_by_name
    with wrapped.graph.as_default():
        results = [tf.identity(tensor(spec.tensor), name=f"{spec.name}_output") for spec in signature.outputs]
    function = wrapped.prune([tensor(spec.tensor) for spec in signature.inputs], results)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converted = outputs / "converted.tflite"
    try:
        converted.write_bytes(converter.convert())
    except Exception as error:
        raise _explained(error) from error
    model = flatbuffer.read(converted)
    converted.unlink()
    sign(model, signature)
    flatbuffer.write(model, outputs / "float.tflite")


def _explained(error: Exception) -> StageError:
    import traceback

    traceback.print_exc()
    text = str(error)
    operators = sorted(set(_UNSUPPORTED.findall(text)))
    if operators:
        return StageError(
            f"convert: these operators have no LiteRT counterpart: {', '.join(operators)}",
            "cut the graph before them with signature.outputs or after them with signature.inputs, or express them with others",
        )
    lines = [line for line in text.splitlines() if line.strip()]
    return StageError(f"convert: TensorFlow's converter failed: {lines[0] if lines else type(error).__name__}")
