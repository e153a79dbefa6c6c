from __future__ import annotations

import hashlib
import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlkit_build.config.schema import GROUPS, kind_of
from mlkit_build.datasets import DATASETS, open_dataset
from mlkit_build.datasets.npz import NpzDataset
from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError
from mlkit_build.recipe import Npz

SPEC = Npz(path="", features={"x": "a"})


def write(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def opened(path: Path, spec: Npz = SPEC) -> NpzDataset:
    return NpzDataset(spec, path, "dataset")


def whole(dataset: NpzDataset, size: int = 64, feature: str = "x") -> NDArray[Any]:
    return np.concatenate([batch.features[feature] for batch in dataset.batches(size)])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64", "bool", ">f4"])
def test_the_stream_is_what_numpy_loads(tmp_path: Path, compressed: bool, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (23, 3, 2)).astype(dtype)
    path = write(tmp_path / "a.npz", compressed, a=values)
    with np.load(path) as archive:
        np.testing.assert_array_equal(whole(opened(path), 5), archive["a"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 40), size=st.integers(1, 50), read_bytes=st.integers(1, 200), chosen=st.integers(0, 40))
def test_batches_cut_the_samples_at_any_size_and_any_read_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, size: int, read_bytes: int, chosen: int
) -> None:
    monkeypatch.setattr("mlkit_build.datasets.arrays.READ_BYTES", read_bytes)
    values = np.arange(count * 3, dtype=np.int32).reshape(count, 3)
    path = write(tmp_path / "a.npz", True, a=values, b=np.arange(count))
    samples = min(chosen, count) or None
    dataset = opened(path, Npz(path="", features={"x": "a"}, label="b", samples=samples))
    batches = list(dataset.batches(size))
    assert [len(batch) for batch in batches] == [size] * (len(dataset) // size) + [len(dataset) % size] * (
        len(dataset) % size > 0
    )
    assert [batch.first for batch in batches] == list(range(0, len(dataset), size))
    labels = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
    np.testing.assert_array_equal(np.concatenate([batch.features["x"] for batch in batches]), values[labels])
    assert list(labels) == sorted(labels)


def test_several_features_and_labels_stay_together(tmp_path: Path) -> None:
    a, b = np.arange(30).reshape(15, 2), np.arange(15) * 10
    path = write(tmp_path / "a.npz", a=a, b=b, c=np.arange(15, dtype=np.uint8))
    dataset = opened(path, Npz(path="", features={"x": "a", "y": "b"}, label="c", samples=6))
    for batch in dataset.batches(4):
        assert batch.labels is not None
        assert batch.labels.dtype == np.uint8
        np.testing.assert_array_equal(batch.features["x"][:, 0], batch.labels * 2)
        np.testing.assert_array_equal(batch.features["y"], batch.labels * 10)


def test_the_same_samples_are_chosen_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(50, 4))
    some = Npz(path="", features={"x": "a"}, samples=12)
    one = whole(opened(write(tmp_path / "one.npz", a=values), some))
    two = whole(opened(write(tmp_path / "two.npz", a=values[::-1]), some))
    assert len(one) == 12
    assert {row.tobytes() for row in one} == {row.tobytes() for row in two}


def test_another_seed_makes_another_choice_of_the_same_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", a=np.random.default_rng(1).normal(size=(50, 4)))
    choices = [
        {row.tobytes() for row in whole(opened(path, Npz(path="", features={"x": "a"}, samples=12, seed=seed)))}
        for seed in (0, 0, 1)
    ]
    assert choices[0] == choices[1] != choices[2]
    assert len(choices[2]) == 12


def test_a_samples_identity_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (5, 3, 3)).astype(np.uint8)
    expected = [hashlib.sha256(row.tobytes()).digest() for row in values]
    assert opened(write(tmp_path / "a.npz", a=values)).identities() == expected


def test_identities_do_not_depend_on_the_order_in_which_features_are_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", a=np.arange(6).reshape(3, 2), b=np.arange(3) * 7)
    one = opened(path, Npz(path="", features={"x": "a", "y": "b"})).identities()
    assert opened(path, Npz(path="", features={"y": "b", "x": "a"})).identities() == one


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("samples", [None, 100])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, compressed: bool, samples: int | None) -> None:
    def peak(count: int) -> int:
        rows = (np.arange(count) * 37 % 251).astype(np.uint8)[:, None].repeat(10_000, axis=1)
        path = write(tmp_path / f"{count}.npz", compressed, a=rows)
        del rows
        tracemalloc.start()
        try:
            total = sum(len(batch) for batch in opened(path, Npz(path="", features={"x": "a"}, samples=samples)).batches(64))
            found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert total == (samples or count)
        return found

    # 40 MB and 80 MB of samples: both beyond what is read at once.
    assert peak(8000) < peak(4000) + 4_000_000


def fortran(folder: Path) -> Path:
    return write(folder / "a.npz", a=np.asfortranarray(np.ones((4, 3))))


CASES: list[tuple[Callable[[Path], Path], Npz, type[MlkitBuildError], str]] = [
    (lambda d: write(d / "a.npz", b=np.ones(3)), SPEC, ConfigError, r"dataset\.features\.x: no array 'a' in .*; it holds b"),
    (lambda d: write(d / "a.npz", a=np.array(["x", "y"])), SPEC, ConfigError, "expected an array of numbers, found 'a'"),
    (
        lambda d: write(d / "a.npz", a=np.array([{}, []], dtype=object)),
        SPEC,
        ConfigError,
        "expected an array of numbers, found 'a' of dtype object",
    ),
    (lambda d: write(d / "a.npz", a=np.ones(3, complex)), SPEC, ConfigError, "expected an array of numbers"),
    (lambda d: write(d / "a.npz", a=np.float32(3)), SPEC, ConfigError, "found the scalar 'a'"),
    (fortran, SPEC, ConfigError, "expected 'a' in C order, found Fortran order"),
    (lambda d: write(d / "a.npz", a=np.ones((0, 3))), SPEC, ConfigError, "expected samples, found none"),
    (
        lambda d: write(d / "a.npz", a=np.ones((4, 3)), b=np.ones(5, int)),
        Npz(path="", features={"x": "a"}, label="b"),
        ConfigError,
        "equal numbers of samples, found a has 4, b has 5",
    ),
    (
        lambda d: write(d / "a.npz", a=np.ones((4, 3))),
        Npz(path="", features={"x": "a"}, samples=5),
        ConfigError,
        r"dataset\.samples: 5 asked, but .* has 4",
    ),
]


@pytest.mark.parametrize(("make", "spec", "error", "message"), CASES)
def test_an_archive_that_is_not_what_the_recipe_says_is_refused_in_words(
    tmp_path: Path, make: Callable[[Path], Path], spec: Npz, error: type[MlkitBuildError], message: str
) -> None:
    with pytest.raises(error, match=message):
        opened(make(tmp_path), spec)


def test_arrays_are_the_members_that_are_called_so_and_none_is_there_twice(tmp_path: Path) -> None:
    data = io.BytesIO()
    np.save(data, np.ones(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a", data.getvalue())
    with pytest.raises(ConfigError, match=r"no array 'a' in .*; it holds no file that ends with \.npy"):
        opened(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", data.getvalue())
    with pytest.raises(SourceError, match=r"expected every array once, found 'a\.npy' twice"):
        opened(tmp_path / "a.npz")


def test_a_file_that_is_no_archive_is_refused_with_how_to_write_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(SourceError, match="expected a NumPy archive") as caught:
        opened(tmp_path / "a.npy")
    assert "savez_compressed" in caught.value.hint


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_array_is_refused(tmp_path: Path, compressed: bool) -> None:
    path = write(tmp_path / "a.npz", compressed, a=np.random.default_rng(0).normal(size=(50, 40)))
    data = bytearray(path.read_bytes())
    for offset in range(1000, 3000):
        data[offset] ^= 0x55
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"damaged|truncated"):
        whole(opened(path))


def test_an_array_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((50, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes()[:-100])
    with pytest.raises(SourceError, match="the array 'a': truncated: it ends 100 bytes early, in sample 46"):
        whole(opened(tmp_path / "a.npz"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_longer_than_its_header_says_is_refused(tmp_path: Path, method: int) -> None:
    """One bit of a header makes 58 samples 50, and nothing else would tell: the checksum comes after the last byte."""
    np.save(tmp_path / "a.npy", np.ones((58, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes().replace(b"(58, 4)", b"(50, 4)"))
    with pytest.raises(SourceError, match=r"the array 'a': expected it to end after 50 samples of 32 bytes, .* found more"):
        whole(opened(tmp_path / "a.npz"))


def test_an_archive_that_was_cut_off_is_not_called_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", False, a=np.ones((50, 4)))
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(SourceError, match=r"a\.npz: truncated: it begins as a NumPy archive \(\.npz\) and has no end\n"):
        opened(path)
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="found an empty file"):
        opened(path)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"not an array")
    with pytest.raises(SourceError, match="the array 'a' cannot be read"):
        opened(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels", [np.eye(5, dtype=np.float32), np.arange(40, dtype=np.uint8).reshape(5, 2, 4), np.arange(5) / 4]
)
@pytest.mark.parametrize("samples", [None, 3])
def test_labels_of_any_shape_stay_with_their_samples(tmp_path: Path, labels: Any, samples: int | None) -> None:
    path = write(tmp_path / "a.npz", a=np.arange(5, dtype=np.float32)[:, None], b=labels)
    dataset = opened(path, Npz(path="", features={"x": "a"}, label="b", samples=samples))
    for batch in dataset.batches(2):
        assert batch.labels is not None
        np.testing.assert_array_equal(batch.labels, labels[batch.features["x"][:, 0].astype(int)])


def test_labels_in_a_column_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", a=np.ones((3, 2)), b=np.array([[2], [0], [1]], np.uint8))
    (batch,) = opened(path, Npz(path="", features={"x": "a"}, label="b")).batches(8)
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0, 1]


def test_the_table_opens_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", a=np.ones((3, 2)))
    dataset = open_dataset(SPEC, path, "calibration")
    assert (len(dataset), dataset.sample_shape("x"), dataset.array_name("x")) == (3, (2,), "a")
    assert dataset.origin == f"calibration.path: {path}"


def test_every_kind_of_dataset_is_in_the_schema_and_in_the_table() -> None:
    assert [kind_of(cls) for cls in GROUPS["dataset"]] == sorted(DATASETS, key=[kind_of(cls) for cls in GROUPS["dataset"]].index)
    for entry in DATASETS.values():
        assert callable(import_module(entry.module).open_dataset)


def test_a_sample_of_an_absurd_size_is_refused_before_room_is_made(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1, 1 << 40)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(ConfigError, match=r"dataset\.features\.x: expected at most .* samples of at most .* bytes"):
        opened(tmp_path / "a.npz")


def test_a_header_that_claims_too_much_is_refused_before_room_is_made(tmp_path: Path) -> None:
    claimed = 200 << 20
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(b"\x93NUMPY\2\0" + claimed.to_bytes(4, "little"))
        for _ in range(claimed >> 20):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=f"the array 'a': damaged header: expected at most 65536 bytes, found {claimed} "):
            opened(tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_what_inflates_without_bound_is_refused(tmp_path: Path, method: int, name: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((50, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    with pytest.raises(SourceError, match=f"'a': expected it stored or deflated, as NumPy writes it, found {name}") as caught:
        opened(tmp_path / "a.npz")
    assert "savez_compressed" in caught.value.hint


def test_choosing_takes_time_in_proportion_to_the_samples(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        dataset = opened(write(tmp_path / f"{count}.npz", a=np.arange(count)), Npz(path="", features={"x": "a"}, split="20:100%"))
        best = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            assert sum(map(len, dataset.batches(8))) == len(dataset)
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds(80_000) < 8 * seconds(20_000), "four times as many"
