"""origin: did freezing change what the model computes? The frozen graph beside the model as its author saved it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel, adapt, parse
from mlkit_build.adapters.options import NchwToNhwcOptions
from mlkit_build.datasets import open_dataset
from mlkit_build.forms import FROZEN, SOURCE, Hop
from mlkit_build.graphs import TensorName
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import Adapter
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.sources import source
from mlkit_build.stages.binding import bind
from mlkit_build.stages.freeze import freeze_graph
from mlkit_build.stages.hops import partings
from mlkit_build.stages.inference import Outputs, feeds
from mlkit_build.stages.measuring import scored_output
from mlkit_build.stages.original import NotRunnableError, OriginalModel
from mlkit_build.stages.params import SOURCE_PREFIX, OriginParams

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


def origin(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `origin.json`, a Hop from the source to the frozen graph.

    Adapters change on purpose what a model computes. Where there are any, the frozen graph is the one before them, and both
    sides are fed what the adapters of inputs make of the samples.

    Raises:
        ConfigError: The samples do not fit the signature.
    """
    request = from_plain(OriginParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
    batch = next(dataset.batches(request.samples))
    feeding = feeds(dataset, signature, request.inputs)
    samples = {name: feed.values(batch.features[name], batch.first)[:, np.newaxis] for name, feed in feeding.items()}
    files = {name.removeprefix(SOURCE_PREFIX): path for name, path in inputs.items() if name.startswith(SOURCE_PREFIX)}
    opened = source(request.freeze.source.kind).load(files, request.freeze.source)
    bound = bind(request.freeze, opened)
    loaded = opened.graph(bound.shapes)
    frozen = FrozenModel(_parsed(inputs["frozen_graph.pb"]), signature)
    if request.freeze.adapters:
        frozen = freeze_graph(loaded, bound.request)
        samples = _fed(frozen, request.freeze.adapters, samples)
    try:
        theirs = OriginalModel(loaded, bound.request).run(samples)
        scored = _scored(frozen.signature.outputs, request)
        hop = Hop(SOURCE, FROZEN, partings(frozen.signature.outputs, theirs, _run(frozen, samples), scored))
    except NotRunnableError as error:
        hop = Hop(SOURCE, FROZEN, skipped=str(error))
    (outputs / "origin.json").write_bytes(pretty(hop))


def _scored(outputs: Sequence[TensorSpec], request: OriginParams) -> int | None:
    """Return the place of the output that has class scores. Before adapters that choose one, the first may be another."""
    if len(outputs) > 1 and request.output not in [spec.name for spec in outputs]:
        return None
    return scored_output(outputs, request.output if len(outputs) > 1 else None, request.scores_of)


def _parsed(path: Path) -> GraphDef:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef.FromString(path.read_bytes())


def _fed(model: FrozenModel, adapters: Sequence[Adapter], samples: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what reaches the model behind the adapters of its inputs, which are applied to a model that returns its input."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        for spec in model.signature.inputs:
            node = TensorName.parse(spec.tensor).node
            tf.identity(tf.compat.v1.placeholder(spec.dtype, spec.shape, name=node), name=f"reached/{node}")
    reached = tuple(replace(spec, tensor=f"reached/{spec.tensor}") for spec in model.signature.inputs)
    echo = FrozenModel(graph.as_graph_def(), FrozenSignature(model.signature.inputs, reached))
    for index, adapter in enumerate(adapters):
        options = _of_inputs(adapter, f"adapters[{index}]")
        if options is not None:
            echo = adapt(echo, adapter.name, options, f"adapters[{index}]")
    values = _run(echo, samples)
    return {
        spec.name: array.reshape(len(array), *spec.shape).astype(spec.dtype)
        for spec, array in zip(echo.signature.outputs, values, strict=True)
    }


def _of_inputs(adapter: Adapter, where: str) -> Mapping[str, Any] | None:
    """Return the adapter's options as far as they concern inputs; None where it concerns outputs only."""
    options = parse(adapter.name, adapter.options, where)
    if isinstance(options, NchwToNhwcOptions):
        stated = {name: value for name, value in adapter.options.items() if name != "outputs"}
        return None if options.inputs == () else stated
    return adapter.options if hasattr(options, "input") else None


def _run(model: FrozenModel, samples: Mapping[str, NDArray[Any]]) -> Outputs:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(model.graph_def, name="")
    fetched = [spec.tensor for spec in model.signature.outputs]
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        rows = [
            session.run(fetched, {spec.tensor: samples[spec.name][row] for spec in model.signature.inputs})
            for row in range(len(next(iter(samples.values()))))
        ]
    return [np.stack([np.asarray(value, np.float32).reshape(-1) for value in column]) for column in zip(*rows, strict=True)]
