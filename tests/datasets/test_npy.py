from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import Npy, Npz
from tests.datasets.opening import labels, opened, whole

SPEC = Npy(features={"x": "x.npy"})


def write(folder: Path, **arrays: Any) -> Path:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_files_are_read_as_numpy_does(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 3, 2)), np.arange(20) % 4
    dataset = opened(Npy(features={"x": "x.npy"}, label="y.npy"), write(tmp_path, x=x, y=y))
    np.testing.assert_array_equal(whole(dataset), x)
    assert labels(dataset) == y.tolist()


def test_samples_and_identities_are_those_of_an_npz(tmp_path: Path) -> None:
    x, z = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50)
    np.savez(tmp_path / "a.npz", x=x, z=z)
    npz = opened(Npz(features={"b": "x", "a": "z"}, samples=9), tmp_path / "a.npz")
    npy = opened(Npy(features={"a": "z.npy", "b": "x.npy"}, samples=9), write(tmp_path, x=x, z=z))
    assert npy.identities() == npz.identities()
    np.testing.assert_array_equal(whole(npy, "b", 4), whole(npz, "b"))


def test_a_choice_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", (np.arange(8000) * 37 % 251).astype(np.uint8)[:, None].repeat(10_000, axis=1))
    tracemalloc.start()
    try:
        dataset = opened(Npy(features={"x": "x.npy"}, samples=100), tmp_path)
        assert sum(len(batch) for batch in dataset.batches(16)) == 100
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"dataset\.features\.x: .*x\.npy: expected a NumPy file"),
        (b"not an array", "expected a NumPy file"),
        (None, "cannot be read: No such file"),
        ("object", "expected an array of numbers, found 'x.npy' of dtype object"),
        ("truncated", "truncated: the array ends 5 bytes early"),
        ("fortran", "in C order, found Fortran order"),
    ],
)
def test_what_is_no_array_of_samples_is_refused(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "x.npy"
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data == "object":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif data == "truncated":
        np.save(path, np.ones((4, 3)))
        path.write_bytes(path.read_bytes()[:-5])
    elif data == "fortran":
        np.save(path, np.asfortranarray(np.ones((4, 3))))
    with pytest.raises(MlkitBuildError, match=message):
        opened(SPEC, tmp_path)
