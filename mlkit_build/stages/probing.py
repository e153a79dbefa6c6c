"""Whether a model may be given several samples at once: only if none of them changes what it says of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch
from mlkit_build.datasets.feeding import Feed
from mlkit_build.signature import FrozenSignature

PROBED = 3
"""Samples on which batched and single inference are compared before batches are trusted."""
LOUD = 1000
"""How many times greater than those samples' values the others of a batch are then: were they mixed, it would show."""


def among_others(first: Batch, signature: FrozenSignature, feeds: Mapping[str, Feed], size: int) -> tuple[int, list[Batch]]:
    """Return batches of `size` that begin with samples of `first`, and how many; the others are as unlike them as can be.

    A model that divides by the greatest value of its whole input gives a sample another result in a batch, but only where a
    sample beside it is greater. The others are white and black images, or numbers far above and below; where an input takes
    integers they are those of the samples, since they may be indices, and a model has nothing at others.
    """
    kept = min(len(first), max(1, size // 2))
    batches = []
    for sign in (1, -1):
        features = {}
        for spec in signature.inputs:
            values = first.features[spec.name]
            others = values[np.arange(kept, size)[::sign] % len(values)]
            if spec.dtype.startswith("float"):
                others = np.full_like(others, _unlike(values, sign, is_image=feeds[spec.name].is_image))
            features[spec.name] = np.concatenate([values[:kept], others])
        batches.append(Batch(first.first, features, None))
    return kept, batches


def _unlike(values: NDArray[Any], sign: int, *, is_image: bool) -> float:
    """Return a number that no array of such values holds, far above them or below."""
    limits = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(np.uint8 if values.dtype == bool else values.dtype)
    if is_image:
        return min(255.0, float(limits.max)) if sign > 0 else 0.0
    wanted = sign * min(1e30, LOUD * max(1.0, float(np.abs(values.astype(np.float64)).max(initial=0))))
    return min(max(wanted, limits.min), limits.max)


def begin_alike(
    alone: Sequence[NDArray[Any]], together: Sequence[NDArray[Any]], kept: int, equal: Callable[[Any, Any], bool]
) -> bool:
    """Return whether the first `kept` results of a batch are those of its samples alone."""
    if len(together) != len(alone):
        return False
    return all(equal(one[:kept], other[:kept]) for one, other in zip(alone, together, strict=True))


close = partial(np.allclose, rtol=1e-5, atol=1e-6)
"""Whether two arrays are equal but for the order in which TensorFlow sums."""
