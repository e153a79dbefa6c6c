"""What every kind has in common: which samples are chosen, the form of their labels, and the bounds that no file may break."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import AnyDataset, Tfds
from mlkit_build.recipe.dataset_checks import split_ends

MAX_SAMPLES = 50_000_000
MAX_SAMPLE_BYTES = 256 << 20
"""A header may state any number. No model of a phone takes a sample as large as this, and nothing larger is made room for."""


def chosen(
    spec: AnyDataset, count: int, identities: Callable[[], Iterable[bytes]], where: str, path: Path
) -> NDArray[np.int64] | None:
    """Return the indices of the chosen samples in order, None for all of them.

    The choice is by hash: the same samples whatever their order in the file, and each always in the same part of a split.

    Args:
        count: How many samples there are.
        identities: Returns the identity of each.

    Raises:
        ConfigError: The part has no sample, or fewer than are asked.
    """
    split = None if isinstance(spec, Tfds) else spec.split  # its parts are by place, and made already
    if split is None and spec.samples in (None, count):
        return None
    found = list(enumerate(identities()))
    place = str(path)
    if split is not None:
        low, high = split_ends(f"{where}.split", split)
        found = [(index, identity) for index, identity in found if low <= _percent(identity) < high]
        place = f"{split} of {path}"
        if not found:
            raise ConfigError(f"{where}.split: expected samples in {place}, which has {count}, found none", "ask for more of it")
    if spec.samples is None:
        return np.array([index for index, _ in found], np.int64)
    if spec.samples > len(found):
        raise ConfigError(f"{where}.samples: {spec.samples} asked, but {place} has {len(found)}")
    salt = str(spec.seed).encode()
    ranked = sorted((hashlib.sha256(salt + identity).digest(), index) for index, identity in found)
    return np.array(sorted(index for _, index in ranked[: spec.samples]), dtype=np.int64)


def _percent(identity: bytes) -> float:
    """Return a sample's place among all that there could be, in 0..100 without the end."""
    return int.from_bytes(hashlib.sha256(b"split" + identity).digest()[:4], "big") / 2**32 * 100


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
