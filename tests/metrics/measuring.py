"""Measures arrays as validation does: through the table of metrics, batch after batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.metrics import METRICS, Measurement, Metric, Subject, create
from mlkit_build.metrics.labels import labels_as
from mlkit_build.recipe import MetricChoice
from mlkit_build.signature import TensorSpec


def run(
    name: str,
    ours: Any,
    theirs: Any,
    labels: Any = None,
    size: int = 1000,
    code: Any = None,
    scores_of: str = "samples",
    **options: Any,
) -> Metric:
    """Return the metric after all samples, in batches of `size`; labels are brought into its form."""
    spec = TensorSpec("scores", "scores:0", (1, *ours.shape[1:]), "float32")
    subject = Subject(spec, len(ours), "dataset.path: data.npz", code or {}, scores_of=scores_of)
    metric = create(MetricChoice(name=name, options=options), subject)
    for start in range(0, len(ours), size):
        part = slice(start, start + size)
        told = None if labels is None else labels_as(METRICS[name].labels, np.asarray(labels)[part], subject, start)
        metric.update(ours[part].astype(np.float32), theirs[part].reshape(len(ours[part]), -1).astype(np.float32), told)
    return metric


def measured(name: str, ours: Any, theirs: Any, labels: Any = None, size: int = 1000, **options: Any) -> dict[str, Measurement]:
    """Return the values."""
    return run(name, ours, theirs, labels, size, **options).result()


def written(folder: Path, text: str) -> dict[str, Path]:
    """Write the code of a custom metric; return it as the evaluate action gets it."""
    path = folder / "metric.py"
    path.write_text(text, encoding="utf-8")
    return {"metric.py": path}
