"""validate, on request: where the accuracy of a quantized model went, operator by operator. LiteRT only."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlkit_build.datasets import Dataset, open_few
from mlkit_build.datasets.views import HeldSamples
from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain, pretty, to_plain
from mlkit_build.quantization.attribution import (
    LEAST_GAIN_DB,
    NEGLIGIBLE_DB,
    Attribution,
    OperatorError,
    OutputError,
    Trial,
    nodes_of,
    scope_of,
)
from mlkit_build.quantization.errors_by_operator import (
    Comparison,
    Found,
    agreement,
    compared,
    decibels,
    outputs_of,
    together,
)
from mlkit_build.quantization.influence import losses
from mlkit_build.quantization.leaving_float import Trials, suspects
from mlkit_build.quantization.matching import Pair, matched
from mlkit_build.quantization.unread import without_unread_parts
from mlkit_build.recipe import STATIC_MODES, Rule
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.inference import Outputs
from mlkit_build.stages.measuring import scored_output
from mlkit_build.stages.params import AttributeParams
from mlkit_build.stages.quantize import quantize
from mlkit_build.stages.samples import Samples
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.flex import flex_operators
from mlkit_build.tflite.model import tensor_name

BATCH = 4


def attribute(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `attribution.json`: an Attribution.

    Raises:
        ConfigError: A sample cannot be fed, or the model has Flex operators.
        StageError: LiteRT cannot run one of the models.
    """
    request = from_plain(AttributeParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    models = {name: flatbuffer.read(inputs[name]) for name in ("float.tflite", "model.tflite")}
    for model in models.values():
        _refuse_flex(model)
    if "statistics.json" in inputs:
        without_unread_parts(models["float.tflite"])
    few = open_few(request.dataset, inputs["samples"], request.samples_from, signature, request.samples)
    dataset = HeldSamples(few, BATCH)
    with tempfile.TemporaryDirectory() as scratch:
        found = _Run(request, inputs, signature, dataset, Path(scratch)).attribution(
            models["float.tflite"], models["model.tflite"]
        )
    (outputs / "attribution.json").write_bytes(pretty(found))


def _refuse_flex(model: Any) -> None:
    flex = flex_operators(model)
    if flex:
        raise ConfigError(
            f"convert.allow_select_ops: the model has {', '.join(flex)}, which LiteRT cannot run by itself, and so its tensors "
            "cannot be looked at",
            "the metrics of the build say how good the whole model is",
        )


class _Run:
    """One report in the making."""

    def __init__(
        self, request: AttributeParams, inputs: Mapping[str, Path], signature: FrozenSignature, dataset: Dataset, scratch: Path
    ) -> None:
        self._request = request
        self._inputs = inputs
        self._signature = signature
        self._dataset = dataset
        self._scratch = scratch
        self._values = Samples(dataset, signature, request.inputs).values
        self._expected = outputs_of(inputs["float.tflite"], signature, dataset, self._values)
        self._scored = scored_output(signature.outputs, request.output, request.scores_of)

    def attribution(self, float_model: Any, quantized: Any) -> Attribution:
        matching = matched(float_model, quantized)
        comparison = Comparison(float_model, quantized, matching)
        found = comparison.run(self._dataset, self._values)
        path = self._inputs["model.tflite"]
        outputs = outputs_of(path, self._signature, self._dataset, self._values)
        noise = together(self._expected, outputs)
        sizes = self._inputs["float.tflite"].stat().st_size, path.stat().st_size
        trials = Trials(float_model, self._quantized, self._judge, sizes, noise)
        lost = losses(float_model, matching.pairs, found)
        tried = self._tried(trials, float_model, matching.pairs, lost) if noise > 0 else {}
        best = [] if _is_negligible(noise) else trials.steps()
        rows = [
            _row(index, pair, item, comparison, float_model, tried.get(index), _share(lost, index))
            for index, (pair, item) in enumerate(zip(matching.pairs, found, strict=True))
        ]
        stated = self._request.quantize.rules if self._request.quantize else ()
        return Attribution(
            samples=len(self._dataset),
            samples_from=self._request.samples_from,
            size_bytes=path.stat().st_size,
            outputs=tuple(
                OutputError(spec.name, compared(one, other).difference())
                for spec, one, other in zip(self._signature.outputs, self._expected, outputs, strict=True)
            ),
            sqnr_db=decibels(noise),
            top1_agreement=self._agreement(outputs),
            operators=tuple(sorted(rows, key=_rank)),
            unmatched=matching.unmatched,
            tried=len(tried),
            best=tuple(best),
            rules=(*stated, *best[-1].rules) if best else stated,
            note=self._note(noise, tried, best),
        )

    def _tried(self, trials: Trials, float_model: Any, pairs: tuple[Pair, ...], lost: list[float]) -> dict[int, Trial]:
        """Return what leaving each suspect float comes to, by the number of its pair."""
        if self._request.quantize is None:
            return {}
        static = bool(self._request.quantize.quantization().modes & set(STATIC_MODES))
        chosen = suspects(float_model, pairs, lost, self._request.tries, static)
        results = {suspect.pair: trials.best_of(suspect) for suspect in chosen}
        return {pair: result for pair, result in results.items() if result is not None}

    def _quantized(self, rules: tuple[Rule, ...]) -> Path:
        asked = self._request.quantize
        assert asked is not None, "nothing is tried without"
        quantize(to_plain(replace(asked, rules=(*asked.rules, *rules))), self._inputs, self._scratch)
        return self._scratch / "model.tflite"

    def _judge(self, path: Path) -> tuple[float, float | None]:
        outputs = outputs_of(path, self._signature, self._dataset, self._values)
        return together(self._expected, outputs), self._agreement(outputs)

    def _agreement(self, outputs: Outputs) -> float | None:
        return None if self._scored is None else agreement(self._expected[self._scored], outputs[self._scored])

    def _note(self, noise: float, tried: Mapping[int, Any], best: list[Trial]) -> str:
        if best:
            return ""
        if noise == 0:
            return "the outputs are those of the float model: nothing is lost"
        if self._request.quantize is None:
            return (
                "TensorFlow's converter quantizes all operators alike, so none was left float; "
                "quantization.backend=litert takes rules"
            )
        if not tried:
            return "no operator could be left float" if self._request.tries else "no operator was left float: --tries is 0"
        if _is_negligible(noise):
            return f"no operator's error matters: the outputs are {NEGLIGIBLE_DB:g} dB or more above their noise"
        those = "the worst operator" if len(tried) == 1 else f"one of the {len(tried)} worst"
        return (
            f"no operator stands out: what leaving {those} float recovers is less than "
            f"{LEAST_GAIN_DB:g} dB, or costs more than half of what quantization saved; "
            "another quantization as a whole may recover more"
        )


def _is_negligible(noise: float) -> bool:
    found = decibels(noise)
    return found is None or found >= NEGLIGIBLE_DB


def _row(
    position: int, pair: Pair, found: Found, comparison: Comparison, float_model: Any, trial: Trial | None, share: float
) -> OperatorError:
    expected, other = pair.outputs[0]
    tensor = tensor_name(float_model.subgraphs[0].tensors[expected])
    nodes = nodes_of(tensor)
    low, high = (found.first.low, found.first.high) if found.first.count else (0.0, 0.0)
    ends = comparison.representable(other)
    return OperatorError(
        position=position,
        operator=pair.operator,
        tensor=tensor,
        nodes=nodes,
        scope=scope_of(nodes),
        total=found.total.difference(),
        own=found.own.difference() if found.own is not None else None,
        own_share=share,
        seen=(_short(low), _short(high)),
        quantized=None if ends is None else (_short(ends[0]), _short(ends[1])),
        clipped_share=round(found.first.clipped / found.first.count, 6) if found.first.count else 0.0,
        left_float=trial,
    )


def _share(lost: list[float], index: int) -> float:
    whole = math.fsum(lost)
    return round(lost[index] / whole, 4) if whole else 0.0


def _rank(row: OperatorError) -> tuple[float, float]:
    """The most that leaving it float recovers, then the most that it loses itself."""
    return -(row.left_float.gain_db if row.left_float is not None else -1e9), -row.own_share


def _short(value: float) -> float:
    return float(f"{value:.6g}")
