"""package: the runtime that the finished file needs against the oldest one that it must run in, and the ways out."""

from __future__ import annotations

from typing import Any

from mlkit_build.errors import GateError
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.stages.params import RuntimeLimit
from mlkit_build.tflite.versions import OperatorRequirement, required_runtime, with_one_scale
from mlkit_build.tflite.versions.runtimes import first_runtime, release

_MOST_NAMED = 3
_INT8_WIDENED = 5, 2
"""The versions of DEQUANTIZE that widen int8 weights: with a scale per channel, and with one."""
_INT8 = "2.3"
"""The first runtime that has the usual operators of image nets in int8."""

_DENSE_WIDENED = "'quantization.rules=[{operator:FULLY_CONNECTED,mode:weight_only_int8}]'"


def check_runtime(model: Any, limit: RuntimeLimit, task: str) -> None:
    """Refuse a model that the oldest runtime does not compute rightly, or of which nobody knows.

    Args:
        model: The finished file.
        limit: The oldest runtime, and how the model was quantized.
        task: The target.

    Raises:
        GateError: Names the operators, what they need, and what to use instead.
    """
    found = required_runtime(model)
    beyond = found.beyond(limit.runtime)
    if not beyond:
        return
    where = "package.min_runtime" if limit.stated else f"package.min_runtime of target.task={task}"
    says = f"; {'in the app ML Kit' if task in ML_KIT_TARGETS else 'an older runtime'} would say: {beyond[0].says}"
    told = "; ".join(_told(each) for each in beyond[:_MOST_NAMED])
    more = f"; and {len(beyond) - _MOST_NAMED} more" if len(beyond) > _MOST_NAMED else ""
    raise GateError(
        f"{where}: the model must run in the runtime {limit.runtime}, but {told}{more}{'' if beyond[0].silent else says}",
        "; ".join([*_ways_out(model, beyond, limit), _newer(found.runtime)]),
    )


def _told(each: OperatorRequirement) -> str:
    # A fused operator has the names of all that went into it; the last one is where it ends.
    tensors = [name.rstrip(";").rpartition(";")[2] for name in each.tensors]
    names = ", ".join(tensors[:_MOST_NAMED]) + (", ..." if len(tensors) > _MOST_NAMED else "")
    need = f"needs {each.runtime}" if each.runtime else "has no runtime that is known to compute it rightly"
    wrong = f" ({'; '.join(each.silent)})" if each.silent else ""
    return f"{each.name} ({names}) of {each.types} {need}{wrong}"


def _ways_out(model: Any, beyond: tuple[OperatorRequirement, ...], limit: RuntimeLimit) -> list[str]:
    """Return what to write in the recipe instead, the nearest first."""
    own = [each for each in beyond if not _quantized(each)]
    if own:
        names = ", ".join(dict.fromkeys(each.name for each in own))
        return [f"{names} is as the model was trained, whatever the quantization: build the model of older operators"]
    ways = []
    if limit.mode.startswith("dynamic_range") and limit.granularity == "per_channel":
        one_scale = with_one_scale(model)
        if one_scale is not None and release(one_scale) <= release(limit.runtime):
            ways.append("quantization.granularity=per_tensor")
    if _dense_alone(beyond, limit):
        ways.append(_DENSE_WIDENED)
    ways += _weight_only(limit)
    if limit.mode == "int16x8" and release(_INT8) <= release(limit.runtime):
        ways.append("quantization=int8")
    return [f"use {' or '.join(ways or ['quantization=float32'])}"]


def _dense_alone(beyond: tuple[OperatorRequirement, ...], limit: RuntimeLimit) -> bool:
    """Return whether a rule for dense layers is enough, which leaves convolutions with a scale per channel."""
    hybrid = limit.mode.startswith("dynamic_range") and limit.backend == "litert" and not limit.rules
    return hybrid and {each.name for each in beyond} == {"FULLY_CONNECTED"} and _has(limit, "DEQUANTIZE", _INT8_WIDENED[0])


def _has(limit: RuntimeLimit, operator: str, version: int) -> bool:
    first = first_runtime(operator, version)
    return first is not None and release(first) <= release(limit.runtime)


def _weight_only(limit: RuntimeLimit) -> list[str]:
    """Return `weight_only_int8` as the runtime has it: whatever the operators, they compute in floating point then."""
    backend = " quantization.backend=litert" if limit.backend == "converter" else ""
    for version, granularity in zip(_INT8_WIDENED, ("per_channel", "per_tensor"), strict=True):
        tried = limit.mode == "weight_only_int8" and limit.granularity == granularity
        if _has(limit, "DEQUANTIZE", version) and not tried:
            scales = f" quantization.granularity={granularity}" if granularity != "per_channel" else ""
            return [f"quantization=weight_only_int8{scales}{backend}"]
    return []


def _quantized(each: OperatorRequirement) -> bool:
    """Return whether an operator needs what it needs because of the quantization."""
    return bool({*each.inputs, *each.outputs} & {"int4", "int8", "int16", "uint8", "float16"})


def _newer(runtime: str | None) -> str:
    """Return what to state where the app has a newer runtime."""
    if runtime is None:
        return "package.min_runtime=any ships it as it is"
    return f"where the app brings a newer runtime, state it: package.min_runtime={runtime}"
