"""freeze: any source becomes the one canonical form - constants for variables, static shapes, nothing but the signature.

Everything after this stage is one code path, and its bytes depend on the computation alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.adapters import FrozenModel, adapt
from mlkit_build.errors import ConfigError, MlkitBuildError, StageError
from mlkit_build.graphs import LoadedGraph, OpenedModel, TensorName, canonical_form, switch_off_dropout
from mlkit_build.graphs.description import described, shown_shape
from mlkit_build.graphs.dropout import random_nodes
from mlkit_build.graphs.loops import without_loops
from mlkit_build.graphs.operators import describe, unconvertible
from mlkit_build.graphs.shapes import renew_shapes
from mlkit_build.graphs.variables import MAX_BYTES
from mlkit_build.plain import from_plain
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.sources import source
from mlkit_build.stages.binding import bind
from mlkit_build.stages.cutting import cut_graph
from mlkit_build.stages.params import FreezeParams

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


def freeze(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `frozen_graph.pb` and `signature.json`.

    Raises:
        ConfigError: The signature does not fit the graph.
        SourceError: The source is damaged, or a variable has no value.
        StageError: TensorFlow refuses the result.
    """
    request = from_plain(FreezeParams, params)
    model = freeze_model(source(request.source.kind).load(inputs, request.source), request)
    for index, adapter in enumerate(request.adapters):
        model = adapt(model, adapter.name, adapter.options, f"adapters[{index}]")
    size = model.graph_def.ByteSize()
    if size > MAX_BYTES:
        raise StageError(
            f"freeze: the frozen graph needs {size} bytes; a GraphDef can hold 2 GB",
            "models of this size cannot be converted from a GraphDef",
        )
    (outputs / "frozen_graph.pb").write_bytes(model.graph_def.SerializeToString(deterministic=True))
    model.signature.write(outputs / "signature.json")


def freeze_model(model: OpenedModel, request: FreezeParams) -> FrozenModel:
    """Settle the signature, then freeze the graph that the model has for it."""
    bound = bind(request, model)
    return freeze_graph(model.graph(bound.shapes), bound.request)


def freeze_graph(loaded: LoadedGraph, request: FreezeParams) -> FrozenModel:
    """Return the canonical form of the graph between the signature's tensors."""
    cut = cut_graph(loaded, request)
    outputs = list(cut.outputs.values())
    try:
        graph_def = without_loops(cut.graph_def, outputs, unroll=request.unroll)
    except StageError as error:
        raise _with_operators(error, cut.graph_def, cut.outputs) or error from error
    graph_def = switch_off_dropout(graph_def, outputs)
    graph_def = canonical_form(graph_def, cut.outputs.values())
    if renew_shapes(graph_def):  # which numbers the functions anew
        graph_def = canonical_form(graph_def, cut.outputs.values())
    _refuse_randomness(graph_def)
    return FrozenModel(graph_def, FrozenSignature(cut.inputs, _output_specs(cut.outputs, graph_def)))


def _refuse_randomness(graph_def: GraphDef) -> None:
    random = random_nodes(graph_def)
    if random:
        raise ConfigError(
            f"signature.outputs: they depend on random numbers ({random[0].op} {random[0].name}), so every run differs",
            "dropout is still on: set its keep probability to 1.0 or is_training to false in signature.constants"
            if random[0].op == "RandomUniform"
            else "export the model without the layer that adds noise, or cut the graph before it",
        )


def _with_operators(problem: MlkitBuildError, graph_def: GraphDef, outputs: Mapping[str, TensorName]) -> StageError | None:
    """Return the problem with the operators beside it that would not convert anyway: None where there are none."""
    found = [
        finding
        for finding in unconvertible(graph_def, outputs=[tensor.node for tensor in outputs.values()])
        if not finding.operator.startswith("TensorArray")
    ]
    if not found:
        return None
    message, hint = describe(found)
    return StageError(f"{problem.message}; and {message}", "; ".join(text for text in (problem.hint, hint) if text))


def _output_specs(outputs: Mapping[str, TensorName], graph_def: GraphDef) -> tuple[TensorSpec, ...]:
    try:
        found = described(graph_def, [str(tensor) for tensor in outputs.values()])
    except ValueError as error:
        raise StageError(f"freeze: TensorFlow refuses the frozen graph: {str(error).splitlines()[0]}") from error
    specs = []
    for (name, tensor), (dtype, shape) in zip(outputs.items(), found, strict=True):
        sizes = [size for size in shape or () if size is not None]
        if shape is None or len(sizes) < len(shape):
            problem = ConfigError(
                f"signature.outputs.{name}: {tensor} has no static shape ({shown_shape(shape)})",
                "the converter needs static shapes; cut the graph before the operator that makes the size depend on data",
            )
            raise _with_operators(problem, graph_def, outputs) or problem
        specs.append(TensorSpec(name, str(tensor), tuple(sizes), dtype))
    return tuple(specs)
