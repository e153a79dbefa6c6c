"""Samples that are rows or records of files, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Csv:
    """Samples in a CSV file, one row each.

    Attributes:
        kind: `csv`.
        path: The file, UTF-8, relative to the recipe's folder, or a URL.
        sha256: Of the file that a URL names.
        features: Model input -> its columns, in order. `first..last` means all columns between the two as well.
        label: The column that holds the class's index or name, or a number to predict; or several columns of numbers, as
            `first..last`. Without it only parity can be measured.
        classes: The names of the classes, in the order of the model's outputs; those of the recipe's `labels` when left out.
        header: Whether the first row names the columns. Without it they are called `0`, `1`, `2`, ...
        delimiter: What separates columns: one character; a tab is written `"\\t"`.
        types: Model input -> type of its numbers, such as `uint8` for pixels; when left out, float32 or, for an input of
            integers, int64.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "csv"
    path: str = MANDATORY
    sha256: str | None = None
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: str | None = None
    classes: tuple[str, ...] = ()
    header: bool = True
    delimiter: str = ","
    types: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def separator(self) -> str:
        """What separates columns, as the file has it: a command line hands a tab on as two characters."""
        return "\t" if self.delimiter == r"\t" else self.delimiter

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class ExampleFeature:
    """Where in a `tf.train.Example` a model input is, and how it is written.

    Attributes:
        key: The name of the feature.
        format: `float` and `int64` (the lists of these names), `image` (JPEG, PNG, ... in a bytes list), or `raw` (numbers in a
            bytes list, little-endian, as `tf.io.decode_raw` reads them).
        type: The type of `raw` numbers, such as `uint8` or `float32`.
    """

    key: str = MANDATORY
    format: str = MANDATORY
    type: str = "uint8"


@dataclass(frozen=True, kw_only=True)
class TfRecord:
    """`tf.train.Example` records in TFRecord files, plain or compressed with GZIP.

    Attributes:
        kind: `tfrecord`.
        path: The file, or the folder of its shards, relative to the recipe's folder, or a URL.
        sha256: Of the file that a URL names.
        files: Of a folder: a pattern of the shards' names, such as `test-*.tfrecord`.
        features: Model input -> feature of the example.
        label: The feature that holds the label: a class's index (int64 list) or name (bytes list), or numbers (int64 or float
            list). Without it only parity can be measured.
        classes: The names of the classes, in the order of the model's outputs; those of the recipe's `labels` when left out.
        center_crop: As for `image_folder`.
        on_error: What becomes of an image that cannot be decoded: `fail` refuses the dataset, `skip` leaves it
            out, warns, and names it in the manifest.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "tfrecord"
    path: str = MANDATORY
    sha256: str | None = None
    files: str = "*"
    features: Mapping[str, ExampleFeature] = field(default_factory=dict)
    label: str | None = None
    classes: tuple[str, ...] = ()
    center_crop: bool = False
    on_error: str = "fail"
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class Tfds:
    """A dataset that TensorFlow Datasets prepared, read as it lies on the disk; nothing is downloaded or prepared.

    Attributes:
        kind: `tfds`.
        path: With `name`, the folder that holds prepared datasets, called `data_dir` there; else the folder of one version, with
            its `dataset_info.json`. Relative to the recipe's folder, from `~`, or a URL of an archive.
        sha256: Of the archive that a URL names.
        name: The dataset in `path`, e.g. `mnist`.
        config: Its configuration; the only one when left out.
        version: Its version, e.g. `3.0.1`; the only one when left out.
        split: In the words of TensorFlow Datasets: `test`, `train[:80%]`, `train[1000:2000]`, `train+test`, `all`. Slices are by
            the samples' places in the shards.
        features: Model input -> feature of the dataset; one in another as `objects/bbox`.
        label: The feature that holds the label: a class label, numbers, a text that is the name of a class, or an image whose
            pixels are classes. Without it only parity can be measured.
        classes: The names of the classes, in the order of the model's outputs; those of the recipe's `labels` when left out.
        center_crop: As for `image_folder`.
        on_error: What becomes of an image that cannot be decoded: `fail` refuses the dataset, `skip` leaves it
            out, warns, and names it in the manifest.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "tfds"
    path: str = "~/tensorflow_datasets"
    sha256: str | None = None
    name: str | None = None
    config: str | None = None
    version: str | None = None
    split: str = MANDATORY
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    classes: tuple[str, ...] = ()
    center_crop: bool = False
    on_error: str = "fail"
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)
