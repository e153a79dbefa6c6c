"""Ranges within unrolled loops: a step that calibration saw nothing of has the range that the same tensor has at other steps.

The first rows of every picture are blank, the first tokens are padding: what an RNN makes of them is 0 on all samples, and gets
a scale of 1e-12. XNNPACK then refuses the model (`failed to create XNNPACK runtime`: it takes ratios of scales of 2^-10 to 2^8)
or crashes, and one sample that is not blank would be clipped to nothing. One range for all steps is no answer: the cell state
of an LSTM grows from step to step, and an LSTM of 32 units fell from 94.1% to 92.1%, with this rule to 93.4%.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

_STEP = re.compile(r"/step_\d+/")
"""What freeze puts into the names of what it unrolls (`graphs/loops/interpreter.py`, `graphs/loops/calls.py`)."""

_NARROW = 64
"""How many times narrower than at all steps together a range says nothing: a step's values are then two bits of eight."""


def unseen_steps(ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Return the tensors that are far narrower at one step than at all of them, with the range that they have at all of them."""
    steps: dict[str, list[str]] = defaultdict(list)
    for tensor in ranges:
        if _STEP.search(tensor):
            steps[_STEP.sub("/step/", tensor)].append(tensor)
    found = {}
    for tensors in steps.values():
        low, high = min(ranges[tensor][0] for tensor in tensors), max(ranges[tensor][1] for tensor in tensors)
        for tensor in tensors:
            if (ranges[tensor][1] - ranges[tensor][0]) * _NARROW < high - low:
                found[tensor] = (low, high)
    return found
