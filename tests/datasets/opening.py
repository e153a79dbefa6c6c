"""Opens datasets for a model input as the stages do, and reads them whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Dataset, open_dataset
from mlkit_build.recipe import AnyDataset
from mlkit_build.signature import FrozenSignature, TensorSpec


def signature(**inputs: tuple[int, ...]) -> FrozenSignature:
    """Return a signature of float32 inputs with these shapes."""
    return FrozenSignature(tuple(TensorSpec(name, f"{name}:0", shape, "float32") for name, shape in inputs.items()), ())


def opened(spec: AnyDataset, path: Path, **inputs: tuple[int, ...]) -> Dataset:
    return open_dataset(spec, path, "dataset", signature(**inputs))


def whole(dataset: Dataset, feature: str = "x", size: int = 7) -> NDArray[Any]:
    return np.concatenate([batch.features[feature] for batch in dataset.batches(size)])


def labels(dataset: Dataset, size: int = 7) -> list[int]:
    return [int(label) for batch in dataset.batches(size) if batch.labels is not None for label in batch.labels]
