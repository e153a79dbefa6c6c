"""Inputs and outputs as the lines of a recipe, to paste: what a model declares, or what could be meant, others as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mlkit_build.graphs.description import shown_shape
from mlkit_build.graphs.loaded import DeclaredSignature, DeclaredTensor, Shape

SHOWN = 5
"""So many of what could be meant are listed."""
OPEN = "..."
"""Stands for a size that the model leaves open, and that a recipe has to state."""
_PLAIN = re.compile(r"(?!(null|true|false|yes|no|on|off)$)[A-Za-z_][\w/-]*", re.IGNORECASE)
_SCALING = (
    "#       mean: [0]   # as in training: the model takes (pixel - mean) / std of pixels in 0..255",
    "#       std: [255]  # mean 0 and std 255 for 0..1; 127.5 and 127.5 for -1..1; 0 and 1 where the model scales for itself",
)
"""Comments at the beginning of a line, so that they end up inside of the input that they stand below."""


def signature_lines(signature: DeclaredSignature, *, scaling: bool = False) -> list[str]:
    """Return a declared signature as YAML lines, with an open batch pinned to 1.

    Args:
        signature: What the model's author declared.
        scaling: Leave room for mean and std where an input looks like an image.
    """
    return [
        "signature:",
        "  inputs:",
        *(line for spec in signature.inputs for line in input_lines((spec,), _key(spec.name), scaling)),
        "  outputs:",
        *(line for spec in signature.outputs for line in output_lines((spec,), _key(spec.name))),
    ]


def input_lines(specs: Sequence[DeclaredTensor], key: str, scaling: bool = False) -> list[str]:
    """Return the first as the input called `key`, and the others as comments in its place."""
    entries = [_entry(spec, key, f", shape: [{_pinned(spec.shape)}]" if spec.shape else "") for spec in specs[:SHOWN]]
    found = _alternatives(entries, len(specs))
    if scaling and specs and channels_axis(specs[0]) is not None:
        first = specs[0]
        shape = f"shape: [{_pinned(first.shape or ())}]"
        block = [f"    {key}:  # {_known(first)}{_left(shape)}", f'      tensor: "{first.tensor}"', f"      {shape}"]
        found[:1] = [*block, *(_SCALING if first.dtype.startswith("float") else ())]
    return found


def output_lines(specs: Sequence[DeclaredTensor], key: str) -> list[str]:
    """Return the first as the output called `key`, and the others as comments in its place."""
    return _alternatives([_entry(spec, key) for spec in specs[:SHOWN]], len(specs))


def channels_axis(spec: DeclaredTensor) -> int | None:
    """Return the axis of the channels of what looks like an image, 3 or 1; None for anything else."""
    if spec.shape is None or len(spec.shape) != 4 or not (spec.dtype.startswith("float") or spec.dtype == "uint8"):
        return None
    return next((axis for axis in (3, 1) if spec.shape[axis] in (1, 3)), None)


def _alternatives(entries: list[str], count: int) -> list[str]:
    lines = [f"    {'# ' if index else ''}{entry}" for index, entry in enumerate(entries)]
    return [*lines, f"    # and {count - SHOWN} more"] if count > SHOWN else lines


def _entry(spec: DeclaredTensor, key: str, shape: str = "") -> str:
    return f'{key}: {{tensor: "{spec.tensor}"{shape}}}  # {_known(spec)}{_left(shape)}'


def _known(spec: DeclaredTensor) -> str:
    return f"{spec.dtype} {'?' if spec.shape is None else shown_shape(spec.shape)}"


def _left(shape: str) -> str:
    """Return what is left to fill in, for a comment."""
    return f"; put the size that the app feeds in place of {OPEN}" if OPEN in shape else ""


def _key(name: str) -> str:
    """Return an author's name as a YAML key."""
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _pinned(shape: Shape) -> str:
    sizes = ["1" if index == 0 and size is None else str(OPEN if size is None else size) for index, size in enumerate(shape)]
    return ", ".join(sizes)
