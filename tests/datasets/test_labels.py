"""Labels of any shape and type, in every kind of dataset that can hold them: streamed beside their samples, and never apart."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.datasets import Dataset
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import AnyDataset, Csv, ExampleFeature, Npy, Npz, PythonSamples, TfRecord
from tests.conftest import Workspace
from tests.datasets.opening import opened
from tests.datasets.test_python import same_folder as same_folder
from tests.datasets.test_tfrecord import example, framed

COUNT = 30
TABLE = """
import numpy as np

def samples():
    with np.load("all.npz") as found:
        yield from ({"x": x, "y": y} for x, y in zip(found["x"], found["y"]))
"""


def npz(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> tuple[AnyDataset, Path]:
    np.savez(folder / "all.npz", x=x, y=y)
    return Npz(path="all.npz", features={"x": "x"}, label="y"), folder / "all.npz"


def npy(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> tuple[AnyDataset, Path]:
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return Npy(features={"x": "x.npy"}, label="y.npy"), folder


def table(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> tuple[AnyDataset, Path]:
    columns = y.reshape(len(y), -1)
    with (folder / "all.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", *(f"y{column}" for column in range(columns.shape[1]))])
        writer.writerows(zip(x.reshape(-1), *columns.T, strict=True))
    label = "y0" if columns.shape[1] == 1 else f"y0..y{columns.shape[1] - 1}"
    return Csv(path="all.csv", features={"x": ("x",)}, label=label), folder / "all.csv"


def tfrecord(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> tuple[AnyDataset, Path]:
    (folder / "all").write_bytes(b"".join(framed(example(x=a, y=b)) for a, b in zip(x, y, strict=True)))
    return TfRecord(path="all", features={"x": ExampleFeature(key="x", format="float")}, label="y"), folder / "all"


def python(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> tuple[AnyDataset, Path]:
    np.savez(folder / "all.npz", x=x, y=y)
    (folder / "data.py").write_text(TABLE)
    return PythonSamples(function="data.py:samples", files=("all.npz",), features={"x": "x"}, label="y"), folder


KINDS: list[Callable[[Path, NDArray[Any], NDArray[Any]], tuple[AnyDataset, Path]]] = [npz, npy, table, tfrecord, python]
LABELS = {
    "targets": np.arange(COUNT, dtype=np.float32) / 8 - 1,
    "negatives": -np.arange(COUNT, dtype=np.int64),
    "one_hot": np.eye(COUNT, dtype=np.uint8),
    "points": (np.arange(COUNT * 4, dtype=np.float32) / 64 - 1).reshape(COUNT, 4),
    "maps": np.arange(COUNT * 6, dtype=np.uint8).reshape(COUNT, 2, 3),
}


def pairs(dataset: Dataset, size: int) -> Iterator[tuple[Any, Any]]:
    for batch in dataset.batches(size):
        assert batch.labels is not None
        yield from zip(batch.features["x"], batch.labels, strict=True)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("write", KINDS)
def test_labels_of_any_form_stay_with_their_samples(tmp_path: Path, write: Any, labels: NDArray[Any]) -> None:
    spec, path = write(tmp_path, np.arange(COUNT, dtype=np.float32)[:, None], labels)
    for samples in (None, 11):
        found = list(pairs(opened(type(spec)(**{**vars(spec), "samples": samples}), path, x=(1, 1)), 4))
        assert len(found) == (samples or COUNT)
        for x, label in found:
            np.testing.assert_array_equal(np.ravel(label), np.ravel(labels[int(x[0])]))


@pytest.mark.parametrize("write", KINDS)
def test_a_regression_is_measured_alike_in_every_kind(workspace: Workspace, write: Any) -> None:
    folder = workspace.copy("add_one", "mine")
    x = np.linspace(-4, 4, COUNT, dtype=np.float32)
    spec, _ = write(folder, x, x + np.where(np.arange(COUNT) % 2, 1.5, 0.75).astype(np.float32))  # the model says x + 1
    stated = {name: value for name, value in vars(spec).items() if value is not None and name not in ("classes", "types")}
    if isinstance(spec, TfRecord):
        stated["features"] = {"x": {"key": "x", "format": "float"}}
    workspace.edit("mine", {"name": "mine", "dataset": stated, "validation": {"metrics": ["mae", "rmse"]}})
    report = workspace.build("recipe=mine")
    assert report.metrics is not None, report.error
    assert report.metrics["mae"].value == pytest.approx(0.375, rel=1e-4)
    assert report.metrics["rmse"].value == pytest.approx(np.sqrt((0.25 + 0.0625) / 2), rel=1e-4)


@pytest.mark.parametrize("write", [tfrecord, python])
def test_a_label_unlike_those_before_it_is_named(tmp_path: Path, write: Any) -> None:
    spec, path = write(tmp_path, np.zeros((3, 1), np.float32), np.zeros((3, 2), np.float32))
    if isinstance(spec, TfRecord):
        path.write_bytes(path.read_bytes() + framed(example(x=np.float32([1]), y=np.float32([1, 2, 3]))))
    else:
        (tmp_path / "data.py").write_text(TABLE + '        yield {"x": found["x"][0], "y": np.zeros(3)}\n')
    for size in (1, 8):
        with pytest.raises(ConfigError, match=r"(record|sample) 3: expected a label of shape \[2\], .*, found \[3\]"):
            list(pairs(opened(spec, path, x=(1, 1)), size))


@pytest.mark.parametrize("write", [npz, npy])
def test_maps_are_never_all_in_memory(tmp_path: Path, write: Any) -> None:
    def peak(count: int) -> int:
        spec, path = write(tmp_path, np.zeros((count, 1), np.float32), np.zeros((count, 200, 200), np.uint8))
        tracemalloc.start()
        try:
            assert sum(1 for _ in pairs(opened(spec, path, x=(1, 1)), 8)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(400) < peak(100) + 1_000_000
