"""Operator versions: every operator gets the one that its tensors and options need, which ai-edge-quantizer does not set.

A runtime that knows an operator's version computes with whatever tensors it finds. Under too low a version an older one takes
weights with a scale per channel for weights with one scale, computes wrongly and says nothing (a keyword-spotting model fell
from 91% to chance in the runtime 2.14); under the right one it refuses to load and names the operator. Under too high a version
it refuses a model that it could run. So a version is raised to what the form needs and no further, and lowered to that where an
operator has that of another one.

`rules` are TensorFlow's, `measured` what they leave open, `runtimes` which runtime knows which version, and `requirement` is what
all that says of a file by anyone.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from mlkit_build.tflite.model import drop_unused_codes, text
from mlkit_build.tflite.versions.measured import Form
from mlkit_build.tflite.versions.operations import builtin, operations
from mlkit_build.tflite.versions.requirement import (
    OperatorRequirement,
    Requirement,
    forms,
    needed_version,
    required_runtime,
    with_one_scale,
)
from mlkit_build.tflite.versions.rules import RULES

__all__ = [
    "OperatorRequirement",
    "Requirement",
    "miscomputed",
    "oldest_runtime",
    "required_runtime",
    "set_versions",
    "with_one_scale",
]

_METADATA = "min_runtime_version"
_METADATA_BYTES = 16
"""The length of the metadata, filled up with zeros (runtime_version.cc, `UpdateMinimumRuntimeVersionForModel`)."""


def set_versions(model: Any) -> None:
    """Give every operator the version that it needs, in place, and the metadata `min_runtime_version`, if any, what that takes.

    An operator without a rule keeps its version: nothing is known of what it needs.
    """
    for placed in list(operations(model)):
        if placed.name in RULES and not placed.custom:
            placed.operator.opcodeIndex = _code_of(model, placed.code, needed_version(placed.name, placed.operation))
    drop_unused_codes(model)
    runtime = oldest_runtime(model)
    for metadata in model.metadata or ():
        if runtime is not None and text(metadata.name) == _METADATA:
            model.buffers[metadata.buffer].data = np.frombuffer(runtime.encode().ljust(_METADATA_BYTES, b"\0"), np.uint8)


def oldest_runtime(model: Any) -> str | None:
    """Return the oldest runtime that computes every operator of the model rightly, e.g. `2.17.0`.

    Of custom and Flex operators nothing is said: they come with the app. None when nothing is known of an operator, when no
    runtime computes it, and when there is none.
    """
    return required_runtime(model).runtime


def miscomputed(model: Any) -> tuple[str, ...]:
    """Return what some runtimes load and compute wrongly whatever the version says, a line for each form of an operator."""
    found: dict[Form, list[str]] = {}
    for placed in operations(model):
        for form in forms(placed.name, placed.operation):
            if form.silent:
                found.setdefault(form, []).append(placed.writes)
    return tuple(
        f"{form.operator} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) has {form.what}, which {form.silent} "
        "compute wrongly"
        for form, names in found.items()
    )


def _code_of(model: Any, like: Any, version: int) -> int:
    """Return the index of the code for the same operator in exactly this version, added where the model has none."""
    for index, code in enumerate(model.operatorCodes):
        if builtin(code) == builtin(like) and code.version == version:
            return index
    code = copy(like)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
