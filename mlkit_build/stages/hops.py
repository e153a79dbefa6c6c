"""hops: the same samples through every form that the model takes on its way to the app, and where two of them part.

The model as its author saved it, the frozen graph, the float `.tflite`, the shipped file. Every other figure of a build
compares with the frozen graph; here the frozen graph itself is compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlkit_build.datasets import open_dataset
from mlkit_build.datasets.python import refuse_other_samples
from mlkit_build.forms import FLOAT, FROZEN, SHIPPED, Hop, Hops, Parting
from mlkit_build.metrics import Subject
from mlkit_build.metrics.options import NoOptions
from mlkit_build.metrics.parity import Parity
from mlkit_build.plain import from_plain, pretty
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.inference import LiteRtModel, Outputs, feeds
from mlkit_build.stages.measuring import scored_output
from mlkit_build.stages.params import SAMPLES_DIGEST, HopsParams
from mlkit_build.stages.validate import Reference


def hops(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `hops.json`, see Hops. What the source answers was compared before, in `origin.json`.

    Raises:
        ConfigError: The samples do not fit the signature, or are not those of the reference.
        StageError: A form cannot be run.
    """
    request = from_plain(HopsParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
    if SAMPLES_DIGEST in inputs:
        refuse_other_samples(dataset, inputs[SAMPLES_DIGEST])
    batch = next(dataset.batches(request.samples))
    feeding = feeds(dataset, signature, request.inputs)
    tables = Reference(inputs["reference.bin"], signature, len(dataset), "r").arrays
    found = [from_plain(Hop, json.loads(inputs["origin.json"].read_bytes()))]
    scored = scored_output(signature.outputs, request.output, request.scores_of)
    before, results = FROZEN, [table[: len(batch)] for table in tables]
    for name in (FLOAT, SHIPPED):
        if name in inputs:
            now = LiteRtModel(inputs[name], signature, feeding, batch).run(batch)
            found.append(Hop(before, name, partings(signature.outputs, results, now, scored)))
            before, results = name, now
    (outputs / "hops.json").write_bytes(pretty(Hops(len(batch), tuple(found))))


def partings(specs: Sequence[TensorSpec], before: Outputs, after: Outputs, scored: int | None) -> tuple[Parting, ...]:
    """Return how far each output moved.

    Args:
        specs: The outputs.
        before: `[n, values]` for each output.
        after: Likewise.
        scored: The place of the output that has class scores, if any does.
    """
    found = []
    for place, (spec, expected, ours) in enumerate(zip(specs, before, after, strict=True)):
        parity = Parity(NoOptions(), Subject(spec, len(ours), ""))
        parity.update(ours, expected)
        result = parity.result()
        changed = int((ours.argmax(axis=1) != expected.argmax(axis=1)).sum()) if place == scored else 0
        found.append(Parting(spec.name, spec.dtype, result["max_abs_error"].value, result["sqnr_db"].value, changed))
    return tuple(found)
