"""convert, second half: the range of every tensor over the calibration samples, once for all static variants. LiteRT only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, open_dataset
from mlkit_build.datasets.listing import listed, to_bytes
from mlkit_build.datasets.parallel import in_order
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.plain import from_plain, pretty
from mlkit_build.quantization.observing import (
    Observer,
    Tensor,
    UnrunnableSampleError,
    dense_inputs,
    folded,
    observed_tensors,
    percentiles,
)
from mlkit_build.quantization.saturation import saturation_limits
from mlkit_build.quantization.statistics import Hessians, Statistics
from mlkit_build.quantization.steps import unseen_steps
from mlkit_build.quantization.unread import without_unread_parts
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.params import SAMPLES, CalibrateParams
from mlkit_build.stages.samples import Samples
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import operator_name, tensor_name
from mlkit_build.tflite.signatures import signed_inputs, signed_tensors

BATCH = 8
"""Samples that a core takes at once. Sums over samples are made batch by batch, so their bits depend on it."""

T = TypeVar("T")


def calibrate(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `statistics.json`: the range of every tensor over the calibration samples, and which samples they were.

    And `calibration.json`: what was fed, as `inputs` (name -> least and greatest value), and what the user should know of it, as
    `warning`; empty when the samples look like data. And `samples.json`: see `datasets.listing`. For GPTQ also `hessians.npz`.

    The range of an image input is that of its pixels, 0..255, whatever the samples show: a uint8 model is fed raw pixels, so
    its input scale must be exactly that of the normalization. What only a tanh or a sigmoid reads ends where the function does.

    Raises:
        ConfigError: A sample cannot be fed: wrong shape, NaN, infinite, or beyond the range of float32 arithmetic.
        StageError: The model has a loop, or LiteRT cannot run it.
    """
    request = from_plain(CalibrateParams, params)
    model = flatbuffer.read(inputs["float.tflite"])
    _refuse_loops(model)
    without_unread_parts(model)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["calibration"], "calibration", signature)
    samples = Samples(dataset, signature, request.inputs)
    run = _Run(model, samples)
    tensors = observed_tensors(model)
    identities = dataset.identities()
    ends = _ends(run, tensors, identities, request)
    ranges = {tensor.name: (float(ends[index, 0]), float(ends[index, 1])) for index, tensor in enumerate(tensors)}
    ranges |= _limited(ranges, model) | _pixels(ranges, model, samples)
    ranges |= unseen_steps(ranges)
    Statistics.of({tensor: ranges[tensor.name] for tensor in tensors}, identities).write(outputs / "statistics.json")
    (outputs / "calibration.json").write_bytes(pretty({"inputs": samples.ranges(), "warning": samples.warning()}))
    listing = listed(request.dataset, inputs["calibration"], "calibration", signature)
    (outputs / SAMPLES).write_bytes(to_bytes(listing))
    if request.hessians:
        wanted = [tensor for tensor in tensors if tensor.name in dense_inputs(model)]
        parts = run.batches(wanted, Observer.products)
        Hessians.summed([tensor.name for tensor in wanted], parts).write(outputs / "hessians.npz")


class _Run:
    """Takes the samples through the float model, as often as something is to be looked at."""

    def __init__(self, model: Any, samples: Samples) -> None:
        self._data = flatbuffer.packed(model)
        self._inputs = signed_inputs(model)
        self._samples = samples

    def batches(self, tensors: tuple[Tensor, ...] | list[Tensor], look: Callable[..., T], *rest: Any) -> Iterator[T]:
        """Yield what a method of Observer finds in each batch, in the dataset's order."""
        observer, dataset = Observer(self._data, tensors, self._inputs), self._samples.dataset

        def observed(batch: Batch) -> T:
            try:
                return look(observer, self._samples.values(batch), len(batch), *rest)
            except UnrunnableSampleError as error:
                raise ConfigError(
                    f"{dataset.origin}: {dataset.sample(batch.first + error.row)}: LiteRT cannot run the model on it: "
                    f"{error.reason}",
                    "an input of indices may reach beyond the table that it picks from",
                ) from error

        for _, found in in_order(dataset, BATCH, observed):
            yield found


def _ends(run: _Run, tensors: tuple[Tensor, ...], identities: list[bytes], request: CalibrateParams) -> NDArray[np.float32]:
    """Return `[tensors, 2]`: what the observer makes of the ranges in all samples, folded in the order of their contents."""
    seen = np.concatenate(list(run.batches(tensors, Observer.ranges)))
    order = sorted(range(len(identities)), key=lambda index: identities[index])
    ends = folded(seen[order], request.observer)
    if request.observer == "percentile":
        counts = sum(run.batches(tensors, Observer.histograms, ends), np.zeros(1, np.int64))
        return percentiles(counts, ends, request.percentile)
    return ends


def _limited(ranges: Mapping[str, tuple[float, float]], model: Any) -> dict[str, tuple[float, float]]:
    """Return the ranges that end where the function that reads them does."""
    limits = {tensor: limit for tensor, limit in saturation_limits(model).items() if tensor in ranges}
    return {
        tensor: (max(-limit, min(limit, ranges[tensor][0])), max(-limit, min(limit, ranges[tensor][1])))
        for tensor, limit in limits.items()
    }


def _pixels(ranges: Mapping[str, tuple[float, float]], model: Any, samples: Samples) -> dict[str, tuple[float, float]]:
    """Return the ranges of the image inputs."""
    named = {tensor: samples.feeds[name] for tensor, name in signed_tensors(model).items() if name in samples.feeds}
    return {tensor: feed.range for tensor, feed in named.items() if feed.is_image and tensor in ranges}


def _refuse_loops(model: Any) -> None:
    """Refuse loops and branches: the quantizer sees nothing of what happens inside them.

    Raises:
        StageError: There is one.
    """
    if len(model.subgraphs) == 1:
        return
    graph = model.subgraphs[0]
    found = [
        f"{name} {tensor_name(graph.tensors[operator.outputs[0]])}"
        for operator in graph.operators
        if (name := operator_name(model.operatorCodes[operator.opcodeIndex])) in ("WHILE", "IF") and len(operator.outputs)
    ]
    raise StageError(
        f"calibrate: the model has a loop or a branch ({', '.join(found[:3]) or 'WHILE or IF'}), whose inside static "
        "quantization cannot observe",
        "unroll a loop with freeze.unroll=always, which says why where it cannot be, or use quantization=dynamic_range",
    )
