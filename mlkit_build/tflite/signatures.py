"""The model's SignatureDef, written under the recipe's own names. The converter writes none for a frozen graph."""

from __future__ import annotations

from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.signature import SIGNATURE_KEY, FrozenSignature, TensorSpec
from mlkit_build.tflite.model import schema, tensor_name, text, type_name


def sign(model: Any, signature: FrozenSignature) -> None:
    """Give the model the one signature of the recipe.

    The converter keeps the order of inputs and outputs; shapes and types are compared to be sure.

    Raises:
        StageError: The model's inputs or outputs are not those of the signature.
    """
    graph = model.subgraphs[0]
    definition = schema().SignatureDefT()
    definition.signatureKey = SIGNATURE_KEY
    definition.subgraphIndex = 0
    definition.inputs = _maps(graph, list(graph.inputs), signature.inputs, "input")
    definition.outputs = _maps(graph, list(graph.outputs), signature.outputs, "output")
    model.signatureDefs = [definition]


def _maps(graph: Any, indices: list[int], specs: tuple[TensorSpec, ...], what: str) -> list[Any]:
    found = [(list(graph.tensors[index].shape), type_name(graph.tensors[index])) for index in indices]
    expected = [(list(spec.shape), spec.dtype) for spec in specs]
    if found != expected:
        raise StageError(f"convert: the converter's {what}s are {found}, expected {expected} as in the signature")
    maps = []
    for index, spec in zip(indices, specs, strict=True):
        entry = schema().TensorMapT()
        entry.name = spec.name
        entry.tensorIndex = index
        maps.append(entry)
    return maps


def signed_tensors(model: Any) -> dict[str, str]:
    """Return tensor name -> signature name, for inputs and outputs."""
    graph, definition = model.subgraphs[0], model.signatureDefs[0]
    entries = [*definition.inputs, *definition.outputs]
    return {tensor_name(graph.tensors[entry.tensorIndex]): text(entry.name) for entry in entries}


def signed_inputs(model: Any) -> dict[str, int]:
    """Return signature name -> index of the tensor, for inputs."""
    return {text(entry.name): int(entry.tensorIndex) for entry in model.signatureDefs[0].inputs}
