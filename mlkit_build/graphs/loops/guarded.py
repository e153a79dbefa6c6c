"""Operators in a branch that data choose: both branches are computed, so what fails where its branch is not taken must not.

`tf.cond(i < n, lambda: tf.gather(x, i), ...)` is an error in LiteRT for i >= n once it is computed in any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlkit_build.graphs.loops.emitter import Emitter
from mlkit_build.graphs.loops.operators import Operation
from mlkit_build.graphs.loops.values import Known, Tensor

_DIVISIONS = ("Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod")


def made_safe(operation: Operation, inputs: Sequence[Tensor], emitter: Emitter, name: str) -> list[Tensor]:
    """Return inputs with which the operator cannot fail, and which are those given wherever they are valid."""
    given = list(inputs)
    if operation.op in ("Gather", "GatherV2", "GatherNd") and not isinstance(given[1], Known):
        given[1] = _within(operation, given, emitter, name)
    elif operation.op in _DIVISIONS and not isinstance(given[1], Known) and _typed(0, given[1], name).array.dtype.kind in "iu":
        dtype, zero, one = given[1].spec.dtype, _typed(0, given[1], f"{name}/zero"), _typed(1, given[1], f"{name}/one")
        is_zero = emitter.make("Equal", f"{name}/is_zero", [given[1], zero], T=dtype, incompatible_shape_error=True)
        given[1] = emitter.make("SelectV2", f"{name}/divisor", [is_zero, one, given[1]], T=dtype)
    return given


def _within(operation: Operation, given: Sequence[Tensor], emitter: Emitter, name: str) -> Tensor:
    """Return the indices, those out of bounds replaced by the nearest that is not."""
    indices, sizes = given[1], given[0].spec.shape
    if operation.op == "GatherNd":
        depth = indices.spec.shape[-1] if indices.spec.shape else None
        bounds = None if sizes is None or depth is None else sizes[:depth]
    else:
        axis = int(given[2].array) if len(given) > 2 and isinstance(given[2], Known) else 0
        bounds = None if sizes is None else (sizes[axis],)
    if bounds is None or None in bounds or 0 in bounds:
        raise ValueError("its indices cannot be checked, in a branch that data choose")
    last = np.asarray(bounds if operation.op == "GatherNd" else bounds[0]) - 1
    dtype = indices.spec.dtype
    raised = emitter.make("Maximum", f"{name}/at_least", [indices, _typed(0, indices, f"{name}/first")], T=dtype)
    return emitter.make("Minimum", f"{name}/at_most", [raised, _typed(last, indices, f"{name}/last")], T=dtype)


def _typed(value: object, like: Tensor, name: str) -> Known:
    from tensorflow import as_dtype

    return Known(np.asarray(value, as_dtype(like.spec.dtype).as_numpy_dtype), like.spec.dtype, name)
