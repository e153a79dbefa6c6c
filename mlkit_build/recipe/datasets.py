"""Where samples come from, as frozen dataclasses: one for each kind of dataset.

Every one of them says with `inputs` which of the model's inputs it feeds, and has `label`, `split`, `samples` and
`seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.records import dataclass

MANDATORY = "???"
"""OmegaConf's spelling of "this value must be given"."""


@dataclass(frozen=True, kw_only=True)
class Npz:
    """Samples in a NumPy archive, one array per feature, sample first.

    Attributes:
        kind: `npz`.
        path: The `.npz` file, relative to the recipe's folder, or a URL.
        sha256: Of the file that a URL names.
        features: Model input -> array of the archive. Images are pixels in 0..255, before `mean` and `std`.
        label: The array of labels, sample first: a class index per sample for most metrics, else one-hot, values, or maps of
            class indices; without it only parity can be measured.
        split: A part of the samples by content hash: `0:80%` of one dataset and `80:100%` of another are disjoint, whatever the
            order of the samples and whatever else is beside them. A part has about so large a share.
        samples: How many samples to use; all when left out. The choice is by content hash, so the order in the file
            does not matter.
        seed: Makes another choice of the same size.
    """

    kind: str = "npz"
    path: str = MANDATORY
    sha256: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class Npy:
    """Samples in NumPy files, one file per feature, sample first.

    Attributes:
        kind: `npy`.
        path: The folder of the files, relative to the recipe's folder, or a URL of an archive.
        sha256: Of the archive that a URL names.
        features: Model input -> `.npy` file, relative to `path`.
        label: The `.npy` file of labels, as for `npz`; without it only parity can be measured.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "npy"
    path: str = "."
    sha256: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class Idx:
    """Samples in IDX files, the format of MNIST itself, one file per feature; plain or `.gz`.

    Attributes:
        kind: `idx`.
        path: The folder of the files, relative to the recipe's folder, or a URL of an archive.
        sha256: Of the archive that a URL names.
        features: Model input -> IDX file, relative to `path`, e.g. `{image: t10k-images-idx3-ubyte.gz}`.
        label: The IDX file of labels, e.g. `t10k-labels-idx1-ubyte.gz`; without it only parity can be measured.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "idx"
    path: str = "."
    sha256: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """Image files, with a folder per class or a CSV table of files and labels.

    Attributes:
        kind: `image_folder`.
        path: The folder, relative to the recipe's folder, or a URL of an archive.
        sha256: Of the archive that a URL names.
        input: The model input that the images feed, `[1, height, width, 3]` or, for grey ones, `[1, height, width, 1]`.
        table: A CSV file in the folder, with a header: one row per image. Without it, every image in the folder and the folders
            in it is a sample.
        file: The column of the table that names the image, relative to `path`.
        label: `folder`: each folder in `path` is a class. With a table: the column that holds the class's name or index.
            Left out, only parity can be measured.
        classes: The names of the classes, in the order of the model's outputs; those of the recipe's `labels` when left out, and
            without these the names of the folders, sorted.
        center_crop: Cut the largest part of the model's proportions out of the image's middle before it is resized. ML Kit
            itself resizes the whole image.
        on_error: What becomes of an image that cannot be decoded: `fail` refuses the dataset, `skip` leaves it
            out, warns, and names it in the manifest.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by the hash of the files; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "image_folder"
    path: str = MANDATORY
    sha256: str | None = None
    input: str = MANDATORY
    table: str | None = None
    file: str = "file"
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
        return (self.input,)


@dataclass(frozen=True, kw_only=True)
class WavFolder:
    """WAV files, with a folder per class or a CSV table of files and labels.

    Attributes:
        kind: `wav_folder`.
        path: The folder, relative to the recipe's folder, or a URL of an archive.
        sha256: Of the archive that a URL names.
        input: The model input that they feed, `[1, length]` or `[1, length, 1]`: mono, -1 to 1. Shorter files end in silence,
            of longer ones the beginning is taken.
        sample_rate: What the model was trained on, in Hz. Files of another rate are refused.
        table: A CSV file in the folder, with a header: one row per file. Without it, every WAV file is a sample.
        file: The column of the table that names the file, relative to `path`.
        label: `folder`: each folder in `path` is a class. With a table: the column that holds the class's name or index.
            Left out, only parity can be measured.
        classes: The names of the classes, in the order of the model's outputs; those of the recipe's `labels` when left out, and
            without these the names of the folders, sorted.
        on_error: What becomes of a file that cannot be read: `fail` refuses the dataset, `skip` leaves it
            out, warns, and names it in the manifest.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by the hash of the files; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "wav_folder"
    path: str = MANDATORY
    sha256: str | None = None
    input: str = MANDATORY
    sample_rate: int = 16000
    table: str | None = None
    file: str = "file"
    label: str | None = None
    classes: tuple[str, ...] = ()
    on_error: str = "fail"
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return (self.input,)


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
class PythonSamples:
    """Samples that a generator function of the recipe's folder yields. It runs as code, with the recipe's trust.

    Attributes:
        kind: `python`.
        function: `FILE.py:NAME`, relative to the recipe's folder. It yields a mapping of model inputs to arrays for every sample,
            without a batch dimension, and the same samples whenever it is called.
        arguments: What the function is called with, by name.
        files: What it reads, as paths or patterns relative to the recipe's folder. It runs in a copy of the folder that holds
            these files and the modules it imports, and nothing else. What it reads from elsewhere, and the packages it imports,
            are not in the key: a change there is not noticed.
        timeout_s: How long an action that reads it may take, in seconds, calibration, reference and evaluation each.
        features: Model input -> key of what the function yields.
        label: The key of the label, a number or an array of numbers; without it only parity can be measured.
        split: A part of the samples by content hash, e.g. `0:80%`.
        samples: How many samples to use, chosen by content hash; all when left out.
        seed: Makes another choice of the same size.
    """

    kind: str = "python"
    function: str = MANDATORY
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    features: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    split: str | None = None
    samples: int | None = None
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)


@dataclass(frozen=True, kw_only=True)
class RandomInput:
    """What is drawn for a model input.

    Attributes:
        min: The least value.
        max: The greatest value.
        type: Of the numbers: `float32`, or an integer type such as `uint8`.
    """

    min: float = 0.0
    max: float = 255.0
    type: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Random:
    """Numbers drawn at random, evenly. They say how near two models are on noise, and nothing of how good a model is on data.

    Attributes:
        kind: `random`.
        features: Model input -> what is drawn, in the shape of the input.
        samples: How many samples.
        seed: Makes other numbers.
    """

    kind: str = "random"
    features: Mapping[str, RandomInput] = field(default_factory=dict)
    samples: int = MANDATORY  # type: ignore[assignment]
    seed: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that it feeds."""
        return tuple(self.features)

    @property
    def label(self) -> None:
        """None: noise has no class."""

    @property
    def split(self) -> None:
        """None: another seed draws other samples."""


AnyDataset = Npz | Npy | Idx | ImageFolder | WavFolder | Csv | TfRecord | PythonSamples | Random
