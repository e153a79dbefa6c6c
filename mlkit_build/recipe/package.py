"""What the package must be, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

ML_KIT_RUNTIME = "2.14"
"""What models for ML Kit must run in where a recipe does not say it.

The runtime in ML Kit is unpublished. It is older than 2.17: apps that load the dense layers of `dynamic_range` as converters
write them today fail with `Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'`. 2.14 is the newest one before that
which can be had by itself, so that what is said of it was measured.
"""
ANY_RUNTIME = "any"


@dataclass(frozen=True, kw_only=True)
class Package:
    """What the package must be, beyond its target.

    Attributes:
        min_runtime: The oldest runtime that must compute the model, by TensorFlow's versions, e.g. `"2.14"`, in quotes; `any`
            demands nothing. Left out, it is 2.14 for ML Kit's targets, and `any` for `custom`.
    """

    min_runtime: str | None = None
