"""convert, second half: calibration statistics once, then any quantization of the float model. LiteRT only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlkit_build.datasets import Dataset, open_dataset
from mlkit_build.datasets.feeding import Feed
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.plain import from_plain, pretty, to_plain
from mlkit_build.quantization.statistics import Calibrated, Statistics
from mlkit_build.recipe import STATIC_MODES, Input
from mlkit_build.signature import SIGNATURE_KEY, FrozenSignature
from mlkit_build.stages.params import CalibrateParams, QuantizeParams

LARGEST = 1e30
"""Beyond it float32 products overflow, and ranges with them."""


def calibrate(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `statistics.json`: the range of every tensor over the calibration samples, and which samples they were.

    The range of an image input is that of its pixels, 0..255, whatever the samples show: a uint8 model is fed raw pixels, so
    its input scale must be exactly that of the normalization. What only a tanh or a sigmoid reads ends where the function does.

    Raises:
        ConfigError: A sample cannot be fed: wrong shape, NaN, infinite, or beyond the range of float32 arithmetic.
    """
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe import static_wi8_ai8
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    from mlkit_build.quantization.rules import rules_known
    from mlkit_build.quantization.saturation import saturation_limits
    from mlkit_build.tflite import model as flatbuffer
    from mlkit_build.tflite.signatures import signed_tensors

    _refuse_loops(flatbuffer.read(inputs["float.tflite"]))
    request = from_plain(CalibrateParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["calibration"], "calibration")
    feeds = {spec.name: Feed(dataset, spec, request.inputs.get(spec.name, Input())) for spec in signature.inputs}
    manager = RecipeManager()
    manager.load_quantization_recipe(static_wi8_ai8())
    # Left alone, it averages the ranges of single samples, weighting late ones more: values beyond the average are clipped,
    # and the order of the samples decides. A regression net of two dense layers was off by 2.2 in outputs of -2..3.
    calibrator = Calibrator(_observable(inputs["float.tflite"]), num_threads=1, qsv_update_func=min_max_update)
    with rules_known():
        calibrator.calibrate({SIGNATURE_KEY: _Samples(dataset, feeds, signature)}, manager)
    ranges = calibrator.get_model_qsvs()
    model = flatbuffer.read(inputs["float.tflite"])
    for tensor, limit in saturation_limits(model).items():
        for end in ("min", "max") if tensor in ranges else ():
            ranges[tensor][end] = ranges[tensor][end].clip(-limit, limit)
    for tensor, name in signed_tensors(model).items():
        if name in feeds and feeds[name].is_image and tensor in ranges:
            for end, value in zip(("min", "max"), feeds[name].range, strict=True):
                ranges[tensor][end] = ranges[tensor][end] * 0 + value
    samples = tuple(identity.hex() for identity in dataset.identities())
    Statistics(ranges, samples).write(outputs / "statistics.json")


def _refuse_loops(model: Any) -> None:
    """Refuse loops and branches: the quantizer sees nothing of what happens inside them.

    Raises:
        StageError: There is one.
    """
    if len(model.subgraphs) > 1:
        raise StageError(
            "calibrate: the model has a loop or a branch (WHILE or IF), whose inside static quantization cannot observe",
            "unroll it (in Keras `LSTM(..., unroll=True)`; loops of TensorFlow 1 with freeze.unroll=always), or use "
            "quantization=dynamic_range",
        )


def quantize(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `model.tflite` and `quantization.json`: what the truth check found, and on what the model was calibrated.

    Raises:
        StageError: ai-edge-quantizer fails, or the result is not what was asked.
    """
    from ai_edge_quantizer.quantizer import Quantizer

    from mlkit_build.quantization import truth
    from mlkit_build.quantization.io import to_uint8
    from mlkit_build.quantization.modes import recipe_for
    from mlkit_build.quantization.rules import rules_known
    from mlkit_build.quantization.versions import raise_versions
    from mlkit_build.tflite import model as flatbuffer

    request = from_plain(QuantizeParams, params)
    statistics = Statistics.read(inputs["statistics.json"]) if request.mode in STATIC_MODES else None
    float_model = _observable(inputs["float.tflite"]) if statistics else str(inputs["float.tflite"])
    quantizer = Quantizer(float_model, recipe_for(request.mode, request.io))
    try:
        ranges = {tensor: dict(ends) for tensor, ends in statistics.ranges.items()} if statistics else None
        with rules_known():
            data = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model
    except Exception as error:
        import traceback

        traceback.print_exc()
        text = str(error).strip().splitlines()
        raise StageError(
            f"quantize: ai-edge-quantizer failed for {request.mode}: {text[0] if text else type(error).__name__}",
            "use another quantization for this model",
        ) from error
    quantized = outputs / "model.tflite"
    quantized.write_bytes(bytes(data))
    model = flatbuffer.read(quantized)
    if request.io == "uint8":
        to_uint8(model)
    raise_versions(model)
    flatbuffer.write(model, quantized)
    before = truth.read_truth(flatbuffer.read(inputs["float.tflite"]))
    summary = truth.check(
        flatbuffer.read(quantized), request.mode, request.io, before.inputs, before.outputs, request.allow_select_ops
    )
    calibrated = Calibrated.on(statistics.samples) if statistics else None
    (outputs / "quantization.json").write_bytes(pretty({**to_plain(summary), "calibration": to_plain(calibrated)}))


def _observable(float_model: Path) -> bytes:
    """Return the float model as calibration can observe it: every tensor in it is read."""
    from mlkit_build.quantization.unread import without_unread_parts
    from mlkit_build.tflite import model as flatbuffer

    model = flatbuffer.read(float_model)
    return flatbuffer.packed(model) if without_unread_parts(model) else float_model.read_bytes()


class _Samples:
    """The calibration samples, one at a time, as often as ai-edge-quantizer asks for them."""

    def __init__(self, dataset: Dataset, feeds: Mapping[str, Feed], signature: FrozenSignature) -> None:
        self._dataset = dataset
        self._feeds = feeds
        self._signature = signature

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._dataset.batches(16):
            values = {name: self._checked(name, batch.features[name], batch.first) for name in self._feeds}
            for row in range(len(batch)):
                yield {spec.name: values[spec.name][row].reshape(spec.shape) for spec in self._signature.inputs}

    def _checked(self, name: str, raw: Any, first: int) -> Any:
        import numpy as np

        values = self._feeds[name].values(raw, first)
        if values.dtype.kind == "f" and (np.abs(values) > LARGEST).any():
            row = int(np.nonzero(np.abs(values) > LARGEST)[0][0])
            raise ConfigError(
                f"{self._dataset.origin}, array {self._dataset.array_name(name)!r}: sample {first + row} has values beyond "
                f"{LARGEST:g}, which no integer range can represent",
                "remove the sample, or check how the array was made",
            )
        return values
