"""`report.html`: the bundle's page, self-contained and deterministic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlkit_build.forms import Hops, hop_text
from mlkit_build.gates import interval_text, tested_text
from mlkit_build.metrics import Measurement, Table, samples_text
from mlkit_build.mlkit.app_view import AppView
from mlkit_build.report import summary
from mlkit_build.report.drawing import TICKS, drawn
from mlkit_build.report.rendering import template
from mlkit_build.signature import FrozenSignature
from mlkit_build.tflite import FLEX

if TYPE_CHECKING:
    from mlkit_build.stages.params import PackageParams


def render(
    params: PackageParams,
    signature: FrozenSignature,
    metrics: Mapping[str, Measurement],
    labels: tuple[str, ...],
    quantization: Mapping[str, Any] | None,
    tables: Mapping[str, Table],
    view: AppView,
    told: str = "",
    hops: Hops | None = None,
) -> str:
    """Return the page.

    Args:
        params: What the recipe says.
        signature: Inputs and outputs.
        metrics: What was measured.
        labels: The classes' names; none hides the section.
        quantization: What the truth check found in a quantized model, as in the manifest.
        tables: What was measured and is no number.
        view: What came of looking at the file as an app does.
        told: What was noticed while measuring; empty for nothing.
        hops: How far every form of the model is from the one before it.
    """
    rows = [
        {
            "title": summary.title(name),
            "value": summary.value_text(name, found),
            "reference": "" if found.reference is None else summary.number(name, found.reference),
            "drop": "" if found.drop is None else summary.difference(name, found.drop),
            "interval": interval_text(name, found.interval) if found.interval else "",
            "test": tested_text(found.paired) if found.paired else "",
            "gates": [
                (summary.verdict_text(verdict), verdict.passed, verdict.warning)
                for verdict in params.verdicts
                if verdict.metric == name
            ],
        }
        for name, found in metrics.items()
        if not name.startswith(FLEX)
    ]
    return template("bundle.html").render(
        params=params,
        signature=signature,
        rows=rows,
        labels=labels,
        quantization=quantization,
        view=view,
        told=told,
        hops=[(hop.before, hop.after, hop_text(hop, hops.samples), hop is hops.first) for hop in hops.hops] if hops else [],
        compared=hops.samples if hops else 0,
        tables=[drawn(table, labels) for table in tables.values()],
        ticks=TICKS,
        runtimes=[(found.runtime, summary.runtime_text(found), found.installed, found.passed) for found in params.runtimes],
        delegate=summary.delegate_needed(metrics),
        not_measured=summary.not_measured(metrics),
        size=summary.size(int(metrics["size_bytes"].value)),
        numbers=_numbers,
        samples_text=samples_text,
        share=lambda value: f"{value:.2%}",
    )


def _numbers(values: Iterable[float]) -> str:
    """Return numbers as a recipe states them: `0, 255`, not `0.0, 255.0`."""
    return ", ".join(f"{value:g}" for value in values)
