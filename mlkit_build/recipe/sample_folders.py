"""Samples that are files of their own, in a folder per class or named by a table, as frozen dataclasses."""

from __future__ import annotations

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm")
SOUNDS = (".wav", ".wave")
"""How the files end, in lower case, that are samples without a table that says so."""


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

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How its samples end, in lower case, where no table names them."""
        return IMAGES


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

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How its samples end, in lower case, where no table names them."""
        return SOUNDS
