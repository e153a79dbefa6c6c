"""convert, second half: any quantization of the float model, from statistics that all static ones share. LiteRT only."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.errors import StageError
from mlkit_build.plain import from_plain, pretty, to_plain
from mlkit_build.quantization import truth
from mlkit_build.quantization.io import to_uint8
from mlkit_build.quantization.kernels import fit_to_kernels
from mlkit_build.quantization.modes import recipe_for
from mlkit_build.quantization.rules import rules_known
from mlkit_build.quantization.selection import Selection
from mlkit_build.quantization.statistics import Calibrated, Hessians, Statistics
from mlkit_build.quantization.unread import without_unread_parts
from mlkit_build.recipe import Quantization
from mlkit_build.stages.params import QuantizeParams
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.versions import miscomputed, oldest_runtime, set_versions


def quantize(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `model.tflite` and `quantization.json`: what the truth check found, and on what the model was calibrated.

    Raises:
        ConfigError: A rule fits no operator.
        StageError: ai-edge-quantizer fails, or the result is not what was asked.
    """
    request = from_plain(QuantizeParams, params)
    quantization = request.quantization()
    model = flatbuffer.read(inputs["float.tflite"])
    before = truth.read_truth(model)
    Selection(quantization).check_rules(model)
    statistics = Statistics.read(inputs["statistics.json"]) if quantization.needs_calibration else None
    hessians = Hessians.read(inputs["hessians.npz"]) if "hessians.npz" in inputs else None
    if statistics:
        without_unread_parts(model)
    quantized = flatbuffer.parsed(_quantized(model, quantization, statistics, hessians))
    if request.io == "uint8":
        to_uint8(quantized)
    fit_to_kernels(quantized)
    set_versions(quantized)
    flatbuffer.write(quantized, outputs / "model.tflite")
    summary = truth.check(
        flatbuffer.read(outputs / "model.tflite"), quantization, before.inputs, before.outputs, request.allow_select_ops
    )
    told = json.loads(inputs["calibration.json"].read_bytes())["warning"] if statistics else ""
    calibrated = Calibrated.on(statistics.samples) if statistics else None
    write_summary(summary, quantized, calibrated, told, outputs / "quantization.json")


def write_summary(summary: truth.Truth, model: Any, calibrated: Calibrated | None, told: str, path: Path) -> None:
    """Write what the truth check found, and what else is known of the model.

    That is `calibration` (on what), `oldest_runtime` (the first that computes all its operators, where known), and `warning`:
    what calibration told of its samples, what the truth check did, and which operators some runtime computes wrongly.
    """
    warning = "; ".join(text for text in (told, summary.warning, *miscomputed(model)) if text)
    rest = {"warning": warning, "oldest_runtime": oldest_runtime(model), "calibration": to_plain(calibrated)}
    path.write_bytes(pretty({**to_plain(summary), **rest}))


def _quantized(model: Any, quantization: Quantization, statistics: Statistics | None, hessians: Hessians | None) -> bytes:
    """Return the flatbuffer that ai-edge-quantizer makes of the float model.

    Raises:
        StageError: It fails.
    """
    from ai_edge_quantizer.quantizer import Quantizer

    recipe = recipe_for(quantization, model)
    if not recipe:  # no operator has the mode of its rule; the quantizer would only say that it has no recipe
        return flatbuffer.packed(model)
    try:
        quantizer = Quantizer(flatbuffer.packed(model), recipe)
        with rules_known():
            found = quantizer.quantize(_seen(statistics, hessians), enable_progress_bar=False, enable_progress_report=False)
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().splitlines()
        blocks = (
            "the rows of dense layers must be multiples of a block; use smaller blocks, or quantization.granularity=per_channel"
        )
        raise StageError(
            f"quantize: ai-edge-quantizer failed for {quantization.title}: {text[0] if text else type(error).__name__}",
            blocks if quantization.granularity.startswith("blockwise") else "use another quantization for this model",
        ) from error
    return bytes(found.quantized_model)


def _seen(statistics: Statistics | None, hessians: Hessians | None) -> dict[str, dict[str, Any]] | None:
    """Return the statistics as ai-edge-quantizer takes them; it changes what it is given."""
    if statistics is None:
        return None
    seen = {tensor: dict(ends) for tensor, ends in statistics.ranges.items()}
    for tensor, matrix in (hessians.matrices if hessians else {}).items():
        seen[tensor] = {**seen[tensor], "hessian": matrix.copy()}
    return seen
