"""A family of small classifiers `[1, 2, 2, 3] -> [1, 12]`: one that keeps every rule of ML Kit, and any change of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.flatbuffer import encode
from mlkit_build.tflite import model as tflite

LABELS = "".join(f"class {index}\n" for index in range(12)).encode()
NORMALIZED = schema.ProcessUnit(schema.NormalizationOptions((127.5,), (127.5,)))
RGB = schema.Content(schema.ImageProperties(schema.ColorSpace.RGB))
LABEL_FILE = schema.AssociatedFile("labels.txt", "", schema.FileType.TENSOR_AXIS_LABELS)
IMAGE = schema.TensorMetadata("image", content=RGB, process_units=(NORMALIZED,))
SCORES = schema.TensorMetadata("scores", associated_files=(LABEL_FILE,))


@dataclass(frozen=True)
class Member:
    """A model, in the terms that the rules speak of.

    Attributes:
        input: Its shape.
        output: Its shape.
        types: Of input and output.
        last: The operator that makes each output of the reshaped input.
        version: Of that operator.
        inputs: How many inputs it has, all alike.
        outputs: How many outputs.
        metadata: What it says of itself; None for nothing.
        identifier: Of the metadata.
        files: What lies behind the model.
        compressed: Whether that is.
        output_types: The types of the outputs, where they differ.
        signature_shape: The input's shape as the model's author stated it, `shape_signature`.
        edit: A last change of the model's objects.
    """

    input: tuple[int, ...] = (1, 2, 2, 3)
    output: tuple[int, ...] = (1, 12)
    types: tuple[str, str] = ("FLOAT32", "FLOAT32")
    last: str = "SOFTMAX"
    version: int = 1
    inputs: int = 1
    outputs: int = 1
    metadata: schema.ModelMetadata | None = field(
        default_factory=lambda: schema.ModelMetadata(
            "small", subgraph_metadata=(schema.SubGraphMetadata("", "", (IMAGE,), (SCORES,)),), min_parser_version="1.0.0"
        )
    )
    identifier: bytes = schema.IDENTIFIER
    files: Mapping[str, bytes] = field(default_factory=lambda: {"labels.txt": LABELS})
    compressed: bool = False
    output_types: tuple[str, ...] = ()
    signature_shape: tuple[int, ...] = ()
    edit: Callable[[Any], object] | None = None

    def saying(self, image: Any = IMAGE, scores: Any = SCORES) -> Member:
        """Return the model with other metadata of its input or output, one or several."""
        ends = [tuple(end) if isinstance(end, (list, tuple)) else (end,) for end in (image, scores)]
        return replace(self, metadata=replace(self.metadata, subgraph_metadata=(schema.SubGraphMetadata("", "", *ends),)))

    def build(self) -> bytes:
        """Return the file."""
        objects = tflite.schema()
        model, graph = objects.ModelT(), objects.SubGraphT()
        model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [objects.BufferT()], [graph], []
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        for index in range(self.inputs):
            graph.inputs.append(_tensor(graph, f"image{index or ''}", self.input, self.types[0]))
            if self.signature_shape:
                graph.tensors[-1].shapeSignature = list(self.signature_shape)
        for index in range(self.outputs):
            kind = self.output_types[index] if self.output_types else self.types[1]
            self._head(model, graph, f"scores{index or ''}", kind)
        if self.metadata is not None:
            entry = objects.MetadataT()
            entry.name, entry.buffer = schema.NAME, len(model.buffers)
            model.buffers.append(objects.BufferT())
            model.buffers[-1].data = np.frombuffer(encode(self.metadata, self.identifier), np.uint8)
            model.metadata = [entry]
        if self.edit is not None:
            self.edit(model)
        return tflite.packed(model) + self._archive()

    def _head(self, model: Any, graph: Any, name: str, kind: str) -> None:
        objects = tflite.schema()
        buffer = objects.BufferT()
        buffer.data = np.frombuffer(np.array(self.output, np.int32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        shape = _tensor(graph, f"{name}_shape", (len(self.output),), "INT32", len(model.buffers) - 1)
        flat = _tensor(graph, f"{name}_flat", self.output, self.types[0])
        _operator(model, graph, "RESHAPE", 1, [graph.inputs[0], shape], [flat])
        if kind == self.types[0]:
            values = flat
        else:
            values = _tensor(graph, f"{name}_values", self.output, kind)
            quantized = [end in ("UINT8", "INT8") for end in (self.types[0], kind)]
            between = "QUANTIZE" if quantized[1] else "DEQUANTIZE" if quantized[0] else "CAST"
            _operator(model, graph, between, 1, [flat], [values])
        out = _tensor(graph, name, self.output, kind)
        _operator(model, graph, self.last, self.version, [values], [out])
        graph.outputs.append(out)

    def _archive(self) -> bytes:
        if not self.files:
            return b""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in self.files.items():
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if self.compressed else zipfile.ZIP_STORED)
        return stream.getvalue()


def _tensor(graph: Any, name: str, shape: tuple[int, ...], kind: str, buffer: int = 0) -> int:
    objects = tflite.schema()
    tensor = objects.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), getattr(objects.TensorType, kind), buffer
    if kind in ("UINT8", "INT8"):
        tensor.quantization = objects.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1 / 256], [0 if kind == "UINT8" else -128]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model: Any, graph: Any, name: str, version: int, inputs: list[int], outputs: list[int]) -> None:
    """Add an operator; a name that is none of LiteRT's is a custom operator."""
    objects = tflite.schema()
    builtin = getattr(objects.BuiltinOperator, name, objects.BuiltinOperator.CUSTOM)
    code = objects.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    if builtin == objects.BuiltinOperator.CUSTOM:
        code.customCode = name
    model.operatorCodes.append(code)
    operator = objects.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, inputs, outputs
    if name == "SOFTMAX":
        operator.builtinOptionsType = objects.BuiltinOptions.SoftmaxOptions
        operator.builtinOptions = objects.SoftmaxOptionsT()
        operator.builtinOptions.beta = 1.0
    elif name == "CAST":
        operator.builtinOptionsType = objects.BuiltinOptions.CastOptions
        operator.builtinOptions = objects.CastOptionsT()
    graph.operators.append(operator)
