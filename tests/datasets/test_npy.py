from __future__ import annotations

import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.errors import MlkitBuildError, SourceError
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
        ("two", "expected it to end with the array that its header states, found 224 bytes more"),
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
    elif data == "two":
        np.save(path, np.ones((4, 3)))
        path.write_bytes(2 * path.read_bytes())
    elif data == "fortran":
        np.save(path, np.asfortranarray(np.ones((4, 3))))
    with pytest.raises(MlkitBuildError, match=message):
        opened(SPEC, tmp_path)


def stated(header: bytes, version: int = 1) -> bytes:
    """Return the beginning of a NumPy file, by numpy.lib.format's description."""
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2 if version == 1 else 4, "little") + header


def of_shape(shape: str, descr: str = "'<f4'") -> bytes:
    return stated(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode())


DAMAGED = {
    "bool": of_shape("(4, True)"),
    "negative": of_shape("(4, -3)"),
    "dimensions": of_shape(f"(4{', 1' * 70})"),
    "empty and too long": of_shape(f"(4, 0, {10**30})"),
    "empty and too large": of_shape(f"(4, 0, {2**40}, {2**40})"),
    "no dtype": of_shape("(4, 3)", "'<q9'"),
    "no dtype tuple": of_shape("(4, 3)", "[('a',)]"),
    "bracket": of_shape("(4, 3"),
    "quote": stated(b"{'descr: '<f4'}\n"),
    "deep": stated(b"(" * 5000),
    "null": stated(b"{'descr': \0"),
    "too long for NumPy": stated(b" " * 20_000),
    "ends": of_shape("(4, 3)")[:40],
    "no length": b"\x93NUMPY\1\0\x40",
}


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_header_is_refused_with_its_file_and_array(tmp_path: Path, name: str, archive: bool) -> None:
    (tmp_path / "x.npy").write_bytes(DAMAGED[name])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as written:
        written.writestr("x.npy", DAMAGED[name])
    spec, path = (Npz(features={"x": "x"}), tmp_path / "a.npz") if archive else (SPEC, tmp_path)
    with pytest.raises(SourceError, match=r"a\.npz: the array 'x': damaged header: " if archive else r"x\.npy: damaged header: "):
        opened(spec, path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(8, 127), byte=st.integers(0, 255))
def test_whatever_byte_of_a_header_is_another_it_is_read_or_refused_in_words(tmp_path: Path, place: int, byte: int) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    data = bytearray((tmp_path / "x.npy").read_bytes())
    data[place] = byte
    (tmp_path / "x.npy").write_bytes(data)
    with suppress(MlkitBuildError):
        assert whole(opened(SPEC, tmp_path)).size
