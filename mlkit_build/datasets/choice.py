"""What every kind has in common: which samples are chosen, the form of their labels, and the bounds that no file may break."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError

MAX_SAMPLES = 50_000_000
MAX_SAMPLE_BYTES = 256 << 20
"""A header may state any number. No model of a phone takes a sample as large as this, and nothing larger is made room for."""


def chosen(identities: Iterable[bytes], samples: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of `samples` samples in order, chosen by hash: the same ones whatever their order in the file."""
    salt = str(seed).encode()
    ranked = sorted((hashlib.sha256(salt + identity).digest(), index) for index, identity in enumerate(identities))
    return np.array(sorted(index for _, index in ranked[:samples]), dtype=np.int64)


def flat_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return `[n, 1]` labels as `[n]`, and others as they are."""
    return labels.reshape(-1) if labels.shape[1:] == (1,) else labels


def check_count(count: int, samples: int | None, where: str, origin: str, path: Path, empty: str) -> None:
    """Refuse a dataset without samples, one with too many, and one with fewer than are asked.

    Args:
        empty: What to look at when there is none.
    """
    if count == 0:
        raise ConfigError(f"{origin}: expected samples, found none", empty)
    if count > MAX_SAMPLES:
        raise ConfigError(f"{origin}: expected at most {MAX_SAMPLES} samples, found {count}")
    if samples is not None and samples > count:
        raise ConfigError(f"{where}.samples: {samples} asked, but {path} has {count}")
