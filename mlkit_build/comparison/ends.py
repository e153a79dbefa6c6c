"""What two models are called with: their signatures, or inputs and outputs in order where they have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlkit_build.changes import changes
from mlkit_build.comparison.aspect import Aspect, aspect
from mlkit_build.mlkit.model_file import ModelFile, dtype_of, shape_of
from mlkit_build.mlkit.model_schema import Tensor, TensorMap


def signature(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare names, types and shapes of all that goes in and comes out."""
    return aspect(changes(_plain(first), _plain(second)))


def _plain(file: ModelFile) -> dict[str, Any]:
    stated = {}
    for each in file.model.signatures:
        ends = {"inputs": _named(each.inputs, each.subgraph, file), "outputs": _named(each.outputs, each.subgraph, file)}
        stated[f"signature {each.key or ''}".rstrip()] = ends
    in_order = {
        f"{what} {place}": _text(file.tensors[index])
        for what, indices in (("input", file.graph.inputs), ("output", file.graph.outputs))
        for place, index in enumerate(indices or ())
    }
    return {**in_order, **stated}


def _named(maps: Iterable[TensorMap], subgraph: int, file: ModelFile) -> dict[str, str]:
    graphs = file.model.subgraphs
    tensors = (graphs[subgraph].tensors or ()) if subgraph < len(graphs) else ()
    return {each.name or "": _text(tensors[each.tensor]) if each.tensor < len(tensors) else "no tensor" for each in maps}


def _text(tensor: Tensor) -> str:
    stated = tensor.shape_signature
    shape = stated if stated is not None and -1 in stated else shape_of(tensor)
    return f"{dtype_of(tensor)} {list(shape)}"
