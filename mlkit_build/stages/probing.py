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
"""How many times greater than a sample the others of a batch are then: were they mixed, it would show."""
FAINT_PIXELS = 64
"""The pixels of an image of noise stay below it."""


def with_noise(first: Batch, signature: FrozenSignature, feeds: Mapping[str, Feed]) -> Batch:
    """Return the samples behind one of faint noise: silent ones may look alike whatever is beside them.

    Where an input takes integers it is a sample's, since they may be indices, and a model has nothing at others.
    """
    random = np.random.default_rng(0)
    features = {}
    for spec in signature.inputs:
        values = first.features[spec.name]
        noise = values[:1]
        if spec.dtype.startswith("float"):
            drawn = random.uniform(0, 1, noise.shape)
            scale = FAINT_PIXELS if feeds[spec.name].is_image else _peak(values)
            noise = (drawn * min(scale, _limits(values).max)).astype(values.dtype)
        features[spec.name] = np.concatenate([noise, values])
    return Batch(first.first, features, None)


def among_others(trial: Batch, signature: FrozenSignature, feeds: Mapping[str, Feed], size: int) -> tuple[int, list[Batch]]:
    """Return batches of `size` that begin with samples of `trial`, and how many; the others are as unlike them as can be.

    A model that divides by the greatest value of its whole input gives a sample another result in a batch, but only where a
    sample beside it is greater. The others are white and black images, or numbers far above and below.
    """
    kept = min(len(trial), max(1, size // 2))
    batches = []
    for sign in (1, -1):
        features = {}
        for spec in signature.inputs:
            values = trial.features[spec.name]
            others = values[np.arange(kept, size)[::sign] % len(values)]
            if spec.dtype.startswith("float"):
                others = np.full_like(others, _unlike(values, sign, is_image=feeds[spec.name].is_image))
            features[spec.name] = np.concatenate([values[:kept], others])
        batches.append(Batch(trial.first, features, None))
    return kept, batches


def _unlike(values: NDArray[Any], sign: int, *, is_image: bool) -> float:
    """Return a number far above the values or below them, as far as their type has one."""
    limits = _limits(values)
    if is_image:
        return float(min(255, limits.max)) if sign > 0 else 0.0
    number: float = min(max(sign * min(1e30, LOUD * _peak(values)), limits.min), limits.max)
    return number


def _peak(values: NDArray[Any]) -> float:
    peak = float(np.abs(values.astype(np.float64)).max(initial=0))
    return peak if 0 < peak < np.inf else 1.0


def _limits(values: NDArray[Any]) -> Any:
    return np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(np.uint8 if values.dtype == bool else values.dtype)


def begin_alike(
    alone: Sequence[NDArray[Any]], together: Sequence[NDArray[Any]], kept: int, equal: Callable[[Any, Any], bool]
) -> bool:
    """Return whether the first `kept` results of a batch are those of its samples alone."""
    if len(together) != len(alone):
        return False
    return all(equal(one[:kept], other[:kept]) for one, other in zip(alone, together, strict=True))


same = partial(np.array_equal, equal_nan=True)
"""Whether two arrays are equal, bit for bit but for what NaN is made of."""
close = partial(np.allclose, rtol=1e-5, atol=1e-6, equal_nan=True)
"""Whether two arrays are equal but for the order in which TensorFlow sums."""
