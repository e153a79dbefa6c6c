"""Prepares datasets with the library itself, in a process of its own: python prepare.py FOLDER DIGITS.npz.

Writes `FOLDER/<file format>/<name>/<version>`, and beside them what the library reads there: `expected.npz`, `slices.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

F = tfds.features
SLICES = [
    *("test", "train", "all", "train+test", "test+train[:3]", "train[:10%]", "train[10%:]", "train[-25%:]", "train[10%:20]"),
    *("train[2:9]", "train[-5:]", "train[:-5]", "train[-9:-2]", "train[1shard]", "train[-1shard]", "train[:2shard]"),
    *("train[-2shard:]", "train[33.4%:66.6%]", "train[0:17]", "train[1_0:]", "train[:3] + test[1:2]", "train[:100%]"),
]
NAMES = ["cat", "dog", "emu"]


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.2.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = {
            "image": F.Image(shape=(6, 5, 3), encoding_format="png"),
            "photo": F.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "floats": F.Image(shape=(4, 4, 1), dtype=np.float32),
            "mask": F.LabeledImage(labels=3, shape=(4, 4, 1)),
            "label": F.ClassLabel(names=NAMES),
            "n": F.Scalar(np.int32),
            "u8": F.Tensor(shape=(2, 3), dtype=np.uint8),
            "f": F.Tensor(shape=(4,), dtype=np.float32),
            "d": F.Tensor(shape=(2,), dtype=np.float64),
            "h": F.Tensor(shape=(2,), dtype=np.float16),
            "u64": F.Tensor(shape=(2,), dtype=np.uint64),
            "b": F.Tensor(shape=(2,), dtype=np.bool_),
            "raw": F.Tensor(shape=(2, 3), dtype=np.float64, encoding="bytes"),
            "z": F.Tensor(shape=(2, 3), dtype=np.int16, encoding="zlib"),
            "dynamic": F.Tensor(shape=(None, None), dtype=np.int16, encoding="zlib"),
            "name": F.Text(),
            "nest": {"inner": F.Tensor(shape=(2,), dtype=np.int64), "deep": {"x": np.float32, "kind": F.ClassLabel(names=NAMES)}},
            "seq": F.Sequence(np.int64, length=3),
            "rows": F.Sequence(F.Tensor(shape=(2,), dtype=np.float32), length=2),
            "open": F.Sequence(np.float32),
            "objects": F.Sequence({"bbox": F.BBoxFeature()}),
            "lists": F.Sequence(F.Sequence(np.int64)),
            "varies": F.Tensor(shape=(None,), dtype=np.float32),
            "audio": F.Audio(),
            "lacking": F.Tensor(shape=(2,), dtype=np.float32, optional=True),
            "box": F.BBoxFeature(),
            "film": F.Video(shape=(None, 4, 4, 3)),
        }
        return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(0, 17), "test": self._generate_examples(1, 9)}

    def _generate_examples(self, seed, count):
        source = np.random.default_rng(seed)
        for n in range(count):
            yield (
                n,
                {
                    "image": source.integers(0, 256, (6, 5, 3)).astype(np.uint8),
                    "photo": np.kron(source.integers(0, 256, (2, 3, 3)), np.ones((8, 8, 1))).astype(np.uint8),
                    "floats": source.normal(size=(4, 4, 1)).astype(np.float32),
                    "mask": source.integers(0, 3, (4, 4, 1)).astype(np.uint8),
                    "label": n % 3,
                    "n": 100 * seed + n - 4,
                    "u8": source.integers(0, 256, (2, 3)).astype(np.uint8),
                    "f": source.normal(size=4).astype(np.float32),
                    "d": source.normal(size=2),
                    "h": source.normal(size=2).astype(np.float16),
                    "u64": np.array([2**63 + n, 3], np.uint64),
                    "b": np.array([n % 2 == 0, True]),
                    "raw": source.normal(size=(2, 3)),
                    "z": source.integers(-9, 9, (2, 3)).astype(np.int16),
                    "dynamic": np.zeros((2, 2), np.int16),
                    "name": NAMES[n % 3],
                    "nest": {"inner": source.integers(-(2**62), 2**62, 2), "deep": {"x": np.float32(n / 7), "kind": n % 3}},
                    "seq": source.integers(-9, 9, 3),
                    "rows": source.normal(size=(2, 2)).astype(np.float32),
                    "open": source.normal(size=3).astype(np.float32),
                    "objects": [{"bbox": F.BBox(0.0, 0.1, 0.5, 1.0)}] * 2,
                    "lists": [[1, 2], [3]],
                    "varies": np.ones(n % 3 + 1, np.float32),
                    "audio": source.integers(-(2**15), 2**15, 5),
                    "lacking": None if n % 2 else np.ones(2, np.float32),
                    "box": F.BBox(0.0, 0.25, 0.5, 1.0),
                    "film": source.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8),
                },
            )


class Digits(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("3.0.1")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        label = F.ClassLabel(names=[str(digit) for digit in range(10)])
        features = F.FeaturesDict({"image": F.Image(shape=(28, 28, 1), encoding_format="png"), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        with np.load(sys.argv[2]) as archive:
            for n, (image, label) in enumerate(zip(archive["images"], archive["labels"], strict=True)):
                yield n, {"image": image.reshape(28, 28, 1), "label": int(label)}


def flat(example, before=""):
    for name, value in example.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}/")
        else:
            yield before + name, value


def main(folder):
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    three = tfds.download.DownloadConfig(num_shards=3, compute_stats="skip")
    for file_format in ("tfrecord", "array_record"):
        builder = Tiny(data_dir=str(folder / file_format), file_format=file_format)
        builder.download_and_prepare(download_config=three)
    Digits(data_dir=str(folder / "tfrecord"), file_format="tfrecord").download_and_prepare(download_config=three)
    builder = tfds.builder_from_directory(str(folder / "tfrecord" / "tiny" / "1.2.0"))
    in_order = tfds.ReadConfig(interleave_cycle_length=1)

    def samples(split, decoders=None):
        return tfds.as_numpy(builder.as_dataset(split=split, read_config=in_order, decoders=decoders))

    examples = [dict(flat(example)) for example in samples("test")]
    same = [name for name in examples[0] if len({np.shape(example[name]) for example in examples}) == 1]
    np.savez(
        folder / "expected.npz", **{name: np.stack([example[name] for example in examples]) for name in same if name != "lists"}
    )
    number = tfds.decode.PartialDecoding({"n": True})
    slices = {split: [int(found["n"]) for found in samples(split, number)] for split in SLICES}
    (folder / "slices.json").write_text(json.dumps(slices))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
