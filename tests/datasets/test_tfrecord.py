"""TFRecord files that TensorFlow wrote, read without it; and what nobody should have written."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlkit_build.datasets.examples import features_of, read
from mlkit_build.datasets.framing import crc32c, masked_crc32c
from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import ExampleFeature, TfRecord
from mlkit_build.wire import WireError
from tests.datasets.opening import labels, opened, whole

FLOATS = TfRecord(features={"x": ExampleFeature(key="values", format="float")})


def feature(value: Any) -> Any:
    import tensorflow as tf

    if isinstance(value, (bytes, list)):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value] if isinstance(value, bytes) else value))
    if np.asarray(value).dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(value)))


def example(**values: Any) -> bytes:
    import tensorflow as tf

    features = {name: feature(value) for name, value in values.items()}
    data: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return data


def write(path: Path, *examples: bytes, compression: str = "") -> Path:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for data in examples:
            writer.write(data)
    return path


def framed(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_every_format_is_read(tmp_path: Path, compression: str) -> None:
    source = np.random.default_rng(0)
    images = source.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
    floats, raw = source.normal(size=(6, 2, 3)).astype(np.float32), source.integers(-9, 9, (6, 4)).astype("<i2")
    integers = source.integers(-(2**62), 2**62, (6, 3))
    examples = [
        example(i=png(images[n]), f=floats[n], r=raw[n].tobytes(), n=integers[n], label=n % 3, name=b"two" if n % 2 else b"one")
        for n in range(6)
    ]
    path = write(tmp_path / "a.tfrecord", *examples, compression=compression)
    formats = {"i": ("i", "image"), "f": ("f", "float"), "r": ("r", "raw"), "n": ("n", "int64")}
    features = {name: ExampleFeature(key=key, format=form, type="int16") for name, (key, form) in formats.items()}
    spec = TfRecord(features=features, label="name", classes=("one", "two"))
    dataset = opened(spec, path, i=(1, 5, 4, 3), f=(1, 2, 3), r=(1, 2, 2), n=(1, 3))
    np.testing.assert_array_equal(whole(dataset, "i", 4), images)
    np.testing.assert_array_equal(whole(dataset, "f", 4), floats)
    np.testing.assert_array_equal(whole(dataset, "r", 4), raw.reshape(6, 2, 2))
    np.testing.assert_array_equal(whole(dataset, "n", 4), integers)
    assert labels(dataset) == [0, 1] * 3
    by_number = TfRecord(features={"f": features["f"]}, label="label")
    assert labels(opened(by_number, path, f=(1, 2, 3))) == [0, 1, 2] * 2


def test_shards_are_one_dataset_and_their_number_does_not_matter(tmp_path: Path) -> None:
    examples = [example(values=np.float32([n, n / 2])) for n in range(30)]
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    write(one / "all.tfrecord", *examples)
    for shard in range(4):
        write(many / f"test-{shard:05}-of-00004", *examples[shard::4])
    write(many / "train-00000-of-00001", example(values=np.float32([99, 99])))
    whole_one = opened(FLOATS, one / "all.tfrecord", x=(1, 2))
    whole_many = opened(TfRecord(features=FLOATS.features, files="test-*"), many, x=(1, 2))
    assert sorted(whole_many.identities()) == sorted(whole_one.identities())
    chosen = opened(TfRecord(features=FLOATS.features, samples=7), one / "all.tfrecord", x=(1, 2))
    some = opened(TfRecord(features=FLOATS.features, files="test-*", samples=7), many, x=(1, 2))
    assert sorted(some.identities()) == sorted(chosen.identities())


@pytest.mark.parametrize("shards", [1, 3])
def test_the_damaged_shard_of_a_folder_is_named_with_its_record(tmp_path: Path, shards: int) -> None:
    for shard in range(shards):
        (tmp_path / f"part-{shard}").write_bytes(b"".join(framed(example(values=np.float32([n, 0]))) for n in range(4)))
    last = tmp_path / f"part-{shards - 1}"
    data = bytearray(last.read_bytes())
    data[-20] ^= 1
    last.write_bytes(data)
    with pytest.raises(MlkitBuildError, match=f"part-{shards - 1}: record 3: damaged"):
        opened(FLOATS, tmp_path, x=(1, 2))


def test_reading_imports_no_tensorflow(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tfrecord", example(values=np.float32([1, 2])))
    code = (
        "import sys; from pathlib import Path; from mlkit_build.datasets import open_dataset;"
        "from mlkit_build.recipe import ExampleFeature, TfRecord;"
        "spec = TfRecord(features={'x': ExampleFeature(key='values', format='float')});"
        f"print([b.features['x'].tolist() for b in open_dataset(spec, Path({str(path)!r}), 'dataset').batches(4)]);"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[[[1.0, 2.0]]]", "")


def test_the_checksum_is_castagnolis() -> None:
    # RFC 3720, section B.4; and the check value of the catalogue of CRCs.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9000), st.integers(0, 2**32))
def test_the_checksum_of_any_length_is_that_of_the_definition(length: int, seed: int) -> None:
    data, crc = np.random.default_rng(seed).bytes(length), 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_lists_that_are_not_packed_are_read() -> None:
    floats = b"".join(b"\x0d" + struct.pack("<f", value) for value in (1.5, -2))
    integers = b"\x08\x07" + b"\x08" + b"\xff" * 9 + b"\x01"
    assert read(b"\x12" + bytes([len(floats)]) + floats)[1].tolist() == [1.5, -2]  # type: ignore[union-attr]
    assert read(b"\x1a" + bytes([len(integers)]) + integers)[1].tolist() == [7, -1]  # type: ignore[union-attr]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_bring_the_reader_down(data: bytes) -> None:
    try:
        for value in features_of(data).values():
            read(value)
    except WireError:
        pass


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    data = framed(example(values=np.float32([1, 2]))) * 2
    path = tmp_path / "a"
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        if length == len(data) // 2:
            continue
        with pytest.raises(MlkitBuildError, match="truncated"):
            opened(FLOATS, path, x=(1, 2))


def test_one_wrong_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    data = framed(example(values=np.float32([1, 2])))
    for place in range(len(data)):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x10
        (tmp_path / "a").write_bytes(bytes(spoilt))
        with pytest.raises(MlkitBuildError, match=r"record 0: .*(checksum|truncated)"):
            opened(FLOATS, tmp_path / "a", x=(1, 2))


def huge() -> bytes:
    head = struct.pack("<Q", 1 << 60)
    return head + struct.pack("<I", masked_crc32c(head)) + bytes(1000)


@pytest.mark.parametrize("data", [huge(), gzip.compress(huge())], ids=["plain", "gzip"])
def test_an_absurd_length_is_refused_in_little_memory(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    crc32c(b"")  # its table is no part of it
    tracemalloc.start()
    try:
        with pytest.raises(MlkitBuildError, match=r"record 0: expected at most .* bytes, its length says 1152921504606846976"):
            opened(FLOATS, tmp_path / "a", x=(1, 2))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("make", "spec", "message"),
    [
        (lambda: b"", FLOATS, "expected samples, found none"),
        (lambda: b"PK\3\4" + bytes(60), FLOATS, "its length has not the checksum"),
        (lambda: framed(b"\xff" * 9), FLOATS, "record 0: expected a tf.train.Example"),
        (lambda: framed(example(value=1.5)), FLOATS, r"dataset\.features\.x: no feature 'values' in record 0 .*; it has value"),
        (
            lambda: framed(example(values=[b"a"])),
            FLOATS,
            "'float' is read from a float list, but in record 0 'values' is a bytes list",
        ),
        (lambda: framed(example(values=1.5)) + framed(example(values=np.float32([1, 2]))), FLOATS, "record 1.*expected 1 values"),
        (
            lambda: framed(example(values=1.5, label=[b"a", b"b"])),
            TfRecord(features=FLOATS.features, label="label"),
            "expected numbers, or one name as the class, found 2 of bytes",
        ),
        (
            lambda: framed(example(values=b"abc")),
            TfRecord(features={"x": ExampleFeature(key="values", format="image")}),
            "record 0, feature 'values': the image cannot be decoded",
        ),
        (
            lambda: framed(example(values=b"abc")),
            TfRecord(features={"x": ExampleFeature(key="values", format="raw", type="int16")}),
            "3 bytes in 'values' are no whole number of int16",
        ),
    ],
)
def test_what_is_not_as_the_recipe_says_is_named(tmp_path: Path, make: Any, spec: TfRecord, message: str) -> None:
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(spec, tmp_path / "a", x=(1, 2, 2, 3)))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        record = framed(example(values=np.zeros(10_000, np.float32)))
        (tmp_path / "a").write_bytes(record * count)
        tracemalloc.start()
        try:
            assert sum(len(batch.features["x"]) for batch in opened(FLOATS, tmp_path / "a", x=(1, 10_000)).batches(8)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(200) < peak(50) + 1_000_000
