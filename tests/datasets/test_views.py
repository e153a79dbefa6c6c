from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlkit_build.datasets import open_dataset
from mlkit_build.datasets.views import FirstSamples
from mlkit_build.recipe import Npz


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 10, 99])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_first_samples_are_those_of_the_whole(tmp_path: Path, count: int, size: int) -> None:
    values, labels = np.arange(20).reshape(10, 2), np.arange(10)
    np.savez(tmp_path / "data.npz", x=values, y=labels)
    whole = open_dataset(Npz(path="", features={"x": "x"}, label="y"), tmp_path / "data.npz", "dataset")
    first = FirstSamples(whole, count)
    batches = list(first.batches(size))
    assert len(first) == sum(map(len, batches)) == min(count, 10)
    np.testing.assert_array_equal(np.concatenate([batch.features["x"] for batch in batches]), values[:count])
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), labels[:count])
    assert first.identities() == whole.identities()[:count]
