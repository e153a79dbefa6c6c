"""Datasets that TensorFlow Datasets prepared, read without it, against what it reads itself; and what is damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.datasets import contents
from mlkit_build.datasets.tfds import renumbered
from mlkit_build.errors import ConfigError, MlkitBuildError
from mlkit_build.recipe import Tfds
from tests.datasets.opening import labels, opened, whole
from tests.datasets.test_tfrecord import example, framed, png

INPUTS = {
    **dict.fromkeys(("image",), (1, 6, 5, 3)),
    **dict.fromkeys(("d", "h", "u64", "b", "nest/inner"), (1, 2)),
    **dict.fromkeys(("u8", "raw", "z"), (1, 2, 3)),
    **dict.fromkeys(("f", "box"), (1, 4)),
    **dict.fromkeys(("n", "label", "nest/deep/x", "nest/deep/kind"), (1,)),
    "seq": (1, 3),
    "rows": (1, 2, 2),
    "open": (1, 3),
    "objects/bbox": (1, 2, 4),
    "audio": (1, 5),
}
"""Feature -> the shape of an input that it feeds."""


@pytest.fixture
def tiny(prepared: Path) -> Path:
    return prepared / "tfrecord" / "tiny" / "1.2.0"


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


def one(feature: str, **stated: Any) -> Tfds:
    return Tfds(**{"split": "test", "features": {"x": feature}, **stated})


def write(folder: Path, feature: dict[str, Any], *examples: bytes, stated: int | None = None) -> Path:
    """Write a dataset with the feature `x`, or features, by hand: what the library would refuse to write."""
    features = feature if "x" in feature else {"x": feature}
    (folder / "features.json").write_text(json.dumps({"pythonClassName": "FeaturesDict", "featuresDict": {"features": features}}))
    count = len(examples) if stated is None else stated
    (folder / "dataset_info.json").write_text(json.dumps({"name": "a", "splits": [{"name": "test", "shardLengths": [count]}]}))
    (folder / "a-test.tfrecord-00000-of-00001").write_bytes(b"".join(map(framed, examples)))
    return folder


def tensor(dtype: str, *shape: int, encoding: str = "none") -> dict[str, Any]:
    content = {"dtype": dtype, "shape": {"dimensions": list(shape)}, "encoding": encoding}
    return {"pythonClassName": "Tensor", "tensor": content}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_every_feature_is_what_the_library_reads(prepared: Path, file_format: str) -> None:
    with np.load(prepared / "expected.npz") as archive:
        expected = {name: archive[name] for name in archive}
    features = {f"x{index}": name for index, name in enumerate(INPUTS)}
    shapes = {f"x{index}": shape for index, shape in enumerate(INPUTS.values())}
    folder = prepared / file_format / "tiny" / "1.2.0"
    dataset = opened(Tfds(split="test", features=features, label="label"), folder, **shapes)
    assert len(dataset) == 9
    for feature, name in features.items():
        found = whole(dataset, feature, 4)
        assert found.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
    assert labels(dataset) == expected["label"].tolist()


def test_photos_are_decoded_and_brought_to_the_models_size(tiny: Path, prepared: Path) -> None:
    with np.load(prepared / "expected.npz") as archive:
        expected = archive["photo"]
    found = whole(opened(one("photo"), tiny, x=(1, 16, 24, 3)))
    assert np.abs(found.astype(int) - expected).max() <= 12  # Pillow and TensorFlow decode JPEG with other rounding
    assert np.abs(found.astype(int) - expected).mean() < 1
    assert whole(opened(one("photo"), tiny, x=(1, 5, 7, 1))).shape == (9, 5, 7, 1)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_slices_are_read_in_order_from_the_shards_that_hold_them(prepared: Path, file_format: str) -> None:
    numbers = json.loads((prepared / "slices.json").read_text())
    if file_format == "array_record":  # it is shuffled otherwise
        whole_of = {
            name: whole(opened(one("n", split=name), prepared / file_format / "tiny" / "1.2.0", x=(1,))).tolist()
            for name in ("train", "test")
        }
        numbers = {"train[4:12]": whole_of["train"][4:12], "test+train[-3:]": whole_of["test"] + whole_of["train"][-3:]}
    for stated, expected in numbers.items():
        assert whole(opened(one("n", split=stated), prepared / file_format / "tiny" / "1.2.0", x=(1,))).tolist() == expected, (
            stated
        )


def test_labels_are_classes_texts_numbers_and_maps(tiny: Path, prepared: Path) -> None:
    with np.load(prepared / "expected.npz") as archive:
        numbers, masks, floats = archive["label"], archive["mask"], archive["f"]

    def found(label: str, **stated: Any) -> NDArray[Any]:
        batches = opened(one("image", label=label, **stated), tiny, x=(1, 6, 5, 3)).batches(9)
        return next(np.asarray(batch.labels) for batch in batches)

    assert found("label").tolist() == numbers.tolist()
    assert found("name", classes=("emu", "dog", "cat")).tolist() == (2 - numbers).tolist()
    assert found("label", classes=("emu", "dog", "cat")).tolist() == (2 - numbers).tolist()
    assert found("label", classes=("nothing", "cat", "dog", "emu")).tolist() == (numbers + 1).tolist()
    assert found("label", classes=("Katze", "Hund", "Emu")).tolist() == numbers.tolist()
    np.testing.assert_array_equal(found("f"), floats)
    np.testing.assert_array_equal(found("mask"), masks[..., 0])


def test_class_labels_are_taken_by_name_or_by_number_and_never_half() -> None:
    names = ("cat", "dog", "emu")
    assert renumbered(names, (), "f") is renumbered((), names, "f") is renumbered(names, names, "f") is None
    assert renumbered(names, ("cat", "hound", "emu"), "f") is None
    assert renumbered(("crane", "dog", "crane"), ("crane", "dog", "crane"), "f") is None
    assert np.asarray(renumbered(names, ("emu", "cat", "dog"), "f")).tolist() == [1, 2, 0]
    with pytest.raises(
        ConfigError, match="f: class 0 of the dataset is 'cat', which the recipe's classes have as 1, but they lack 'dog'"
    ):
        renumbered(names, ("hound", "cat", "emu"), "f")
    with pytest.raises(ConfigError, match="some of these have the same name"):
        renumbered(names, ("dog", "cat", "emu", "emu"), "f")


def test_the_choice_and_the_identities_do_not_depend_on_the_shards(tiny: Path, copied: Path) -> None:
    spec = one("image", split="train", samples=7)
    dataset = opened(spec, tiny, x=(1, 6, 5, 3))
    info = json.loads((copied / "dataset_info.json").read_text())
    shards = [copied / f"tiny-train.tfrecord-{index:05}-of-00003" for index in range(3)]
    (copied / "tiny-train.tfrecord-00000-of-00001").write_bytes(b"".join(path.read_bytes() for path in reversed(shards)))
    info["splits"] = [{**split, "shardLengths": ["17"]} for split in info["splits"]]
    (copied / "dataset_info.json").write_text(json.dumps(info))
    again = opened(spec, copied, x=(1, 6, 5, 3))
    assert sorted(again.identities()) == sorted(dataset.identities())
    assert sorted(contents(again.batches(9))) == sorted(contents(dataset.batches(9)))
    pixels = [image.tobytes() for image in whole(dataset)]
    assert sorted(contents(dataset.batches(9))) == sorted(hashlib.sha256(image).digest() for image in pixels)
    other = opened(one("image", split="train", samples=7, seed=1), tiny, x=(1, 6, 5, 3))
    assert sorted(other.identities()) != sorted(dataset.identities())


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_reading_imports_neither_tensorflow_nor_the_library(prepared: Path, file_format: str) -> None:
    folder = prepared / file_format / "tiny" / "1.2.0"
    code = (
        "import sys; from pathlib import Path; from mlkit_build.datasets import open_dataset;"
        "from mlkit_build.recipe import Tfds;"
        "spec = Tfds(split='test', features={'x': 'f'}, label='label');"
        f"print(sum(len(b.features['x']) for b in open_dataset(spec, Path({str(folder)!r}), 'dataset').batches(4)));"
        "assert not {'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("9", 0), done.stderr


def test_without_the_package_array_record_is_refused_with_what_to_install(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(ConfigError, match="reading array_record needs the package array-record") as raised:
        whole(opened(one("n"), prepared / "array_record" / "tiny" / "1.2.0", x=(1,)))
    assert 'pip install "mlkit-build[tfds]"' in raised.value.hint


SHARD = "tiny-test.tfrecord-00001-of-00003"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-9], f"{SHARD}: record [0-9]: truncated"),
        (
            lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
            f"{SHARD}: record 0: damaged: its bytes have not the checksum",
        ),
        (lambda data: b"", f"{SHARD}: expected [0-9] samples, as dataset_info.json says, found 0"),
        (lambda data: data + data, f"{SHARD}: expected [0-9] samples, as dataset_info.json says, found more"),
        (lambda data: b"PK" + bytes(100), "its length has not the checksum"),
    ],
)
def test_a_damaged_shard_is_named(copied: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    (copied / SHARD).write_bytes(spoil((copied / SHARD).read_bytes()))
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(one("f"), copied, x=(1, 4)))


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:70_000], lambda data: b"", lambda data: b"nothing" * 20_000, lambda data: bytes(len(data))]
)
def test_a_damaged_array_record_is_named(prepared: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = Path(shutil.copytree(prepared / "array_record" / "tiny" / "1.2.0", tmp_path / "tiny"))
    shard = folder / SHARD.replace("tfrecord", "array_record")
    shard.write_bytes(spoil(shard.read_bytes()))
    with pytest.raises(MlkitBuildError, match=f"{shard.name}: (expected|records)"):
        whole(opened(one("f"), folder, x=(1, 4)))


def test_an_array_record_with_a_wrong_bit_is_refused_or_reads_the_same(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared / "array_record" / "tiny" / "1.2.0", tmp_path / "tiny"))
    shard = folder / SHARD.replace("tfrecord", "array_record")
    data, right, refused = shard.read_bytes(), whole(opened(one("f"), folder, x=(1, 4))), 0
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        shard.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            np.testing.assert_array_equal(whole(opened(one("f"), folder, x=(1, 4))), right)
        except MlkitBuildError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("varies", r"dataset\.features\.x: 'varies' has no fixed length, and .* has \d values; expected what the input takes"),
        ("name", "expected an image or numbers, found 'name', which is Text"),
        ("film", "expected an image, numbers or a class label, found 'film', which is Video"),
        ("lacking", "record [0-9]: expected 'lacking', which samples may lack, found none"),
    ],
)
def test_a_feature_that_no_input_can_take_is_refused_in_words(tiny: Path, feature: str, message: str) -> None:
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(one(feature), tiny, x=(1, 7) if feature == "varies" else (1, 2)))


def test_a_sample_of_another_length_than_the_first_is_named(tmp_path: Path) -> None:
    write(tmp_path, tensor("float32", -1), example(x=np.float32([1, 2])), example(x=np.float32([1, 2, 3])))
    with pytest.raises(MlkitBuildError, match=r"record 1, feature 'x': expected 2 values, found 3") as raised:
        whole(opened(one("x"), tmp_path, x=(1, 2)))
    assert "kind python" in str(raised.value)


@pytest.mark.parametrize(
    ("feature", "data", "message"),
    [
        (
            tensor("uint8", 2),
            lambda: example(x=np.array([1, 300])),
            "record 0, feature 'x': expected values of uint8, found 1 to 300",
        ),
        (tensor("uint8", 2), lambda: example(x=np.array([1, 2, 3])), "expected 2 values, found 3"),
        (
            tensor("uint8", 2),
            lambda: example(x=np.float32([1, 2])),
            "expected uint8, as features.json says, found a list of float32",
        ),
        (
            tensor("float32", 2),
            lambda: example(x=np.array([1, 2])),
            "expected float32, as features.json says, found a list of int64",
        ),
        (tensor("float32", 2), lambda: example(x=b"ab"), "expected numbers in 'x', as features.json says, found a list of bytes"),
        (tensor("float32", 2), lambda: example(y=b"ab"), "expected 'x', as features.json says, found none"),
        (tensor("float32", 2), lambda: b"\xff" * 9, "expected a tf.train.Example"),
        (tensor("float32", -1), lambda: b"\xff" * 9, "expected a tf.train.Example"),
        (tensor("int16", 2, encoding="bytes"), lambda: example(x=b"abc"), "expected 4 bytes of int16, found 3"),
        (tensor("int16", 2, encoding="bytes"), lambda: example(x=b"abcdef"), "expected 4 bytes of int16, found 6 or more"),
        (tensor("int16", 2, encoding="bytes"), lambda: example(x=[b"abcd"] * 2), "expected one value in 'x', found 2"),
        (
            tensor("int16", 2, encoding="bytes"),
            lambda: example(x=np.array([1, 2])),
            "expected bytes in 'x', as features.json says, found a list",
        ),
        (tensor("int16", 2, encoding="zlib"), lambda: example(x=b"abcd"), "record 0, feature 'x': damaged"),
        (tensor("uint8", 1 << 30), lambda: example(x=np.array([1])), "expected at most 268435456 bytes a sample"),
    ],
)
def test_a_record_that_is_not_as_features_json_says_is_named(
    tmp_path: Path, feature: dict[str, Any], data: Callable[[], bytes], message: str
) -> None:
    write(tmp_path, feature, data())
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(one("x"), tmp_path, x=(1, 2)))


def test_a_list_of_numbers_is_a_whole_list_of_int64(tmp_path: Path) -> None:
    write(tmp_path, tensor("int64", 2), example(x=np.array([-(2**62), 300])))
    assert whole(opened(one("x"), tmp_path, x=(1, 2))).tolist() == [[-(2**62), 300]]


def test_what_inflates_without_end_is_refused_in_little_memory(tmp_path: Path) -> None:
    import zlib

    bomb = zlib.compress(bytes(200_000_000), 9)
    write(tmp_path, tensor("uint8", 100, encoding="zlib"), example(x=bomb))
    dataset = opened(one("x"), tmp_path, x=(1, 100))
    tracemalloc.start()
    try:
        with pytest.raises(MlkitBuildError, match="expected 100 bytes of uint8, found 101 or more"):
            whole(dataset)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["RGB", "16 bits", "damaged"])
def test_a_map_of_classes_that_is_none_is_refused(tmp_path: Path, mode: str) -> None:
    image = {"pythonClassName": "Image", "image": {"dtype": "uint8", "shape": {"dimensions": [-1, -1, 1]}}}
    arrays = {"RGB": np.zeros((4, 4, 3), np.uint8), "16 bits": np.zeros((4, 4), np.uint16)}
    data = png(arrays[mode]) if mode in arrays else b"nothing"
    write(tmp_path, {"x": tensor("float32", 2), "y": image}, example(x=np.float32([1, 2]), y=data))
    with pytest.raises(MlkitBuildError, match="record 0, feature 'y': expected a grey PNG, found"):
        labels(opened(one("x", label="y"), tmp_path, x=(1, 2)))


def test_damaged_images_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    image = {"pythonClassName": "Image", "image": {"dtype": "uint8", "shape": {"dimensions": [2, 2, 1]}}}
    pixels = np.uint8([[1, 2], [3, 4]])
    write(tmp_path, image, example(x=png(pixels)), example(x=b"\x89PNG"), example(x=png(pixels + 1)))
    with pytest.raises(MlkitBuildError, match="record 1, feature 'x': the image cannot be decoded"):
        whole(opened(one("x"), tmp_path, x=(1, 2, 2, 1)))
    dataset = opened(one("x", on_error="skip"), tmp_path, x=(1, 2, 2, 1))
    assert dataset.skipped == ("a-test.tfrecord-00000-of-00001, record 1",)
    np.testing.assert_array_equal(whole(dataset)[..., 0], [pixels, pixels + 1])


def test_memory_does_not_grow_with_the_shards(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        write(tmp_path, tensor("float32", 10_000), *[example(x=np.zeros(10_000, np.float32))] * count)
        tracemalloc.start()
        try:
            assert sum(len(batch.features["x"]) for batch in opened(one("x"), tmp_path, x=(1, 10_000)).batches(8)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(200) < peak(50) + 1_000_000
