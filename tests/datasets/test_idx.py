from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import Idx
from tests.datasets.opening import labels, opened, whole

TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
SPEC = Idx(features={"x": "x"})


def idx(array: Any, dtype: str) -> bytes:
    head = struct.pack(f">2xBB{array.ndim}I", TYPES[dtype], array.ndim, *array.shape)
    return head + array.astype(f">{dtype}").tobytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_is_read_plain_and_compressed(tmp_path: Path, dtype: str, compressed: bool) -> None:
    values = np.random.default_rng(0).integers(0, 100, (11, 4, 3))
    (tmp_path / "x").write_bytes(gzip.compress(idx(values, dtype)) if compressed else idx(values, dtype))
    (tmp_path / "y").write_bytes(idx(np.arange(11), "u1"))
    dataset = opened(Idx(features={"x": "x"}, label="y", samples=6), tmp_path)
    found = whole(dataset, size=4)
    np.testing.assert_array_equal(found, values[labels(dataset)])
    assert found.dtype.itemsize == int(dtype[1])


def test_the_name_and_the_compression_are_no_part_of_a_samples_identity(tmp_path: Path) -> None:
    data = idx(np.arange(30).reshape(10, 3), "u1")
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "other.gz").write_bytes(gzip.compress(data))
    one, two = opened(SPEC, tmp_path), opened(Idx(features={"x": "other.gz"}), tmp_path)
    assert one.identities() == two.identities()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    head = struct.pack(">2xBB3I", 8, 3, 1, 1 << 31, 1 << 31)
    (tmp_path / "x").write_bytes(gzip.compress(head + bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(MlkitBuildError, match=r"expected at most .* bytes, found 'x' with shape"):
            opened(SPEC, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an IDX file, .* found nothing"),
        (b"PK\3\4", "expected an IDX file, .* found 50 4b 03 04"),
        (b"\0\0\x0d\xff" + bytes(2000), "expected an IDX file, .* found 00 00 0d ff"),
        (struct.pack(">2xBBI", 8, 2, 5), "truncated within its header"),
        (struct.pack(">2xBB", 8, 0), "found a scalar"),
        (idx(np.ones((4, 3)), "u1")[:-2], "truncated: it ends 2 bytes early, in sample 3"),
        (idx(np.ones((4, 3)), "u1") + b"1", "expected it to end after 4 samples of 3 bytes, as its header states, found more"),
        (gzip.compress(idx(np.ones((4, 3)), "u1") + b"1", mtime=0), "expected it to end after 4 samples of 3 bytes"),
        (gzip.compress(idx(np.ones((4, 300)), "u1"), mtime=0)[:-12], "damaged|truncated|cannot be read"),
        (idx(np.ones((0, 3)), "u1"), "expected samples, found none"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(SPEC, tmp_path))


@pytest.mark.parametrize("label", ["y", None])
def test_of_several_files_the_damaged_one_is_named(tmp_path: Path, label: str | None) -> None:
    images, labels = idx(np.zeros((3000, 20)), "u1"), idx(np.zeros(3000), "u1")
    (tmp_path / "a").write_bytes(images)
    (tmp_path / "x").write_bytes(images if label else gzip.compress(images, mtime=0)[:-9])
    (tmp_path / "y").write_bytes(labels[:-5])
    dataset = opened(Idx(features={"a": "a", "x": "x"}, label=label), tmp_path)
    named = "y: truncated: it ends 5 bytes early, in sample 2995" if label else "x: damaged: "
    with pytest.raises(MlkitBuildError, match=f"{tmp_path}/{named}"):
        whole(dataset, size=512)


def test_one_wrong_bit_of_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(idx(np.zeros((30, 20)), "u1"), 0, mtime=0))
    data[200] ^= 1
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(MlkitBuildError, match="x: damaged: CRC check failed"):
        whole(opened(SPEC, tmp_path))
