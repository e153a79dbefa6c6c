"""Samples in arrays, one per feature, sample first, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mlkit_build.recipe.mandatory import MANDATORY
from mlkit_build.records import dataclass


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
