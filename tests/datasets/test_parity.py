"""The same MNIST digits through every kind of dataset give the same metrics: a kind is a way to store samples, no more."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlkit_build.config.roots import builtin
from tests.conftest import Workspace

COUNT = 300
TFDS = {"kind": "tfds", "name": "digits", "split": "test", "features": {"image": "image"}, "label": "label"}


def npy(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    np.save(folder / "x.npy", images)
    np.save(folder / "y.npy", labels)
    return {"kind": "npy", "path": "data", "features": {"image": "x.npy"}, "label": "y.npy"}


def idx(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    with gzip.open(folder / "images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">2xBB3I", 8, 3, *images.shape) + images.tobytes())
    (folder / "labels-idx1-ubyte").write_bytes(struct.pack(">2xBBI", 8, 1, len(labels)) + labels.astype(np.uint8).tobytes())
    return {"kind": "idx", "path": "data", "features": {"image": "images-idx3-ubyte.gz"}, "label": "labels-idx1-ubyte"}


def table(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    with (folder / "mnist.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *(f"{row}x{column}" for row in range(28) for column in range(28))])
        writer.writerows([label, *image.reshape(-1)] for image, label in zip(images, labels, strict=True))
    return {"kind": "csv", "path": "data/mnist.csv", "features": {"image": ["0x0..27x27"]}, "label": "label"}


def image_folder(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / str(label) / f"{index}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(place)
    return {"kind": "image_folder", "path": "data", "input": "image", "label": "folder"}


def tfrecord(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "mnist.tfrecord"), "GZIP") as writer:
        for image, label in zip(images, labels, strict=True):
            encoded = tf.io.encode_png(image[:, :, None]).numpy()
            features = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    feature = {"key": "image/encoded", "format": "image"}
    return {"kind": "tfrecord", "path": "data/mnist.tfrecord", "features": {"image": feature}, "label": "label"}


def python(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    np.savez(folder / "some.npz", a=images, b=labels)
    (folder.parent / "data.py").write_text(
        "import numpy as np\n\n\ndef samples(name):\n    found = np.load(name)\n"
        "    for a, b in zip(found['a'], found['b']):\n        yield {'pixels': a, 'class': b}\n"
    )
    files = {"function": "data.py:samples", "arguments": {"name": "data/some.npz"}, "files": ["data/some.npz"]}
    return {"kind": "python", **files, "features": {"image": "pixels"}, "label": "class"}


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    with np.load(builtin("recipes") / "mnist" / "data" / "mnist_test.npz") as archive:
        return archive["images"][:COUNT], archive["labels"][:COUNT]


@pytest.mark.parametrize("write", [npy, idx, table, image_folder, tfrecord, python], ids=lambda write: write.__name__)
def test_every_kind_measures_the_same(
    warm_workspace: Workspace, digits: tuple[Any, Any], write: Callable[[Path, Any, Any], dict[str, Any]]
) -> None:
    measured = []
    for name, writer in (("plain", npz), ("other", write)):
        folder = warm_workspace.copy("mnist", name)
        shutil.rmtree(folder / "data")
        (folder / "data").mkdir()
        warm_workspace.edit(name, {"name": name, "dataset": writer(folder / "data", *digits), "calibration": None})
        report = warm_workspace.build(f"recipe={name}", "quantization=float32", "validation.gates={}")
        assert report.error is None, report.error
        assert report.bundle is not None
        measured.append(json.loads((report.bundle / "manifest.json").read_bytes())["metrics"])
        assert warm_workspace.ran(warm_workspace.build(f"recipe={name}", "quantization=float32", "validation.gates={}")) == set()
    if write is image_folder:  # its order is another: the last digits depend on it, and errors are made of these
        assert measured[0].keys() == measured[1].keys()
        for key, value in measured[0].items():
            assert measured[1][key]["value"] == pytest.approx(value["value"], rel=1e-3, abs=1e-8), key
    else:
        assert measured[0] == measured[1]
    assert measured[0]["top1"]["value"] > 0.98


def test_a_prepared_dataset_measures_the_same(warm_workspace: Workspace, digits: tuple[Any, Any], prepared: Path) -> None:
    measured = []
    for name in ("plain", "other"):
        folder = warm_workspace.copy("mnist", name)
        shutil.rmtree(folder / "data")
        (folder / "data").mkdir()
        stated = npz(folder / "data", *digits) if name == "plain" else {**TFDS, "path": str(prepared / "tfrecord")}
        warm_workspace.edit(name, {"name": name, "dataset": stated, "calibration": None})
        report = warm_workspace.build(f"recipe={name}", "quantization=float32", "validation.gates={}")
        assert report.error is None, report.error
        assert report.bundle is not None
        measured.append(json.loads((report.bundle / "manifest.json").read_bytes())["metrics"])
    assert measured[0] == measured[1]


def npz(folder: Path, images: Any, labels: Any) -> dict[str, Any]:
    np.savez(folder / "digits.npz", images=images, labels=labels)
    return {"kind": "npz", "path": "data/digits.npz", "features": {"image": "images"}, "label": "labels"}
