"""convert with the backend `converter`: TensorFlow's own quantizer makes the model from the frozen graph, in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.datasets import open_dataset
from mlkit_build.datasets.listing import listed, to_bytes
from mlkit_build.plain import from_plain, pretty
from mlkit_build.quantization import truth
from mlkit_build.quantization.io import feed_pixels
from mlkit_build.quantization.kernels import fit_to_kernels
from mlkit_build.quantization.statistics import Calibrated
from mlkit_build.recipe import Quantization
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.convert import convert_graph
from mlkit_build.stages.params import SAMPLES, QuantizeGraphParams
from mlkit_build.stages.quantize import write_summary
from mlkit_build.stages.samples import Samples
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.order import put_in_order
from mlkit_build.tflite.signatures import sign
from mlkit_build.tflite.versions import set_versions


def quantize_graph(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `model.tflite`, `quantization.json` (what the truth check found, and on what the model was calibrated) and
    `calibration.json` (what was fed); of modes that calibrate also `samples.json`, see `datasets.listing`.

    Raises:
        ConfigError: A sample cannot be fed.
        StageError: An operator does not convert, the converter fails, or the result is not what was asked.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    request = from_plain(QuantizeGraphParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    graph_def = GraphDef.FromString(inputs["frozen_graph.pb"].read_bytes())
    samples = None
    if request.dataset is not None:
        dataset = open_dataset(request.dataset, inputs["calibration"], "calibration", signature)
        samples = Samples(dataset, signature, request.inputs)
        for _ in _fed(samples, signature):  # every one is checked before the converter, which some would kill, sees the first
            pass
    data = convert_graph(
        graph_def,
        signature,
        allow_select_ops=request.allow_select_ops,
        quantizer=lambda converter: _set_up(converter, request, samples, signature),
    )
    model = flatbuffer.parsed(data)
    put_in_order(model)
    sign(model, _quantized(signature, request.io))
    if samples:
        feed_pixels(model, {name: feed.range for name, feed in samples.feeds.items() if feed.is_image})
    fit_to_kernels(model)
    set_versions(model)
    flatbuffer.write(model, outputs / "model.tflite")
    summary = truth.check(
        flatbuffer.read(outputs / "model.tflite"),
        Quantization(mode=request.mode, io=request.io, granularity=request.granularity, backend="converter"),
        tuple(spec.dtype for spec in signature.inputs),
        tuple(spec.dtype for spec in signature.outputs),
        request.allow_select_ops,
    )
    seen = {"inputs": samples.ranges(), "warning": samples.warning()} if samples else {"inputs": {}, "warning": ""}
    (outputs / "calibration.json").write_bytes(pretty(seen))
    if request.dataset is not None:
        listing = listed(request.dataset, inputs["calibration"], "calibration", signature)
        (outputs / SAMPLES).write_bytes(to_bytes(listing))
    calibrated = Calibrated.on(tuple(identity.hex() for identity in samples.dataset.identities())) if samples else None
    write_summary(summary, model, calibrated, samples.warning() if samples else "", outputs / "quantization.json")


def _set_up(converter: Any, request: QuantizeGraphParams, samples: Samples | None, signature: FrozenSignature) -> None:
    """Ask TensorFlow's converter for the mode (`tf.lite.TFLiteConverter`, post-training quantization)."""
    import tensorflow as tf

    spec = converter.target_spec
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = request.granularity == "per_tensor"
    converter._experimental_disable_per_channel_quantization_for_dense_layers = request.granularity == "per_tensor"
    if request.mode == "float16":
        spec.supported_types = [tf.float16]
    if samples is not None:
        converter.representative_dataset = lambda: _fed(samples, signature)
    if request.mode == "int8":
        spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(request.io)
    if request.mode == "int16x8":
        spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


def _fed(samples: Samples, signature: FrozenSignature) -> Iterator[list[Any]]:
    """Yield each sample as the converter wants it: the inputs in their order."""
    for batch in samples.dataset.batches(16):
        values = samples.values(batch)
        for row in range(len(batch)):
            yield [values[spec.name][row] for spec in signature.inputs]


def _quantized(signature: FrozenSignature, io: str) -> FrozenSignature:
    """Return the signature with the types that inputs and outputs have now."""

    def typed(specs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(replace(spec, dtype=io) if spec.dtype == "float32" else spec for spec in specs)

    return FrozenSignature(typed(signature.inputs), typed(signature.outputs))
