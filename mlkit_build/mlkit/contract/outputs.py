"""Rules of the outputs, and of what is said of them: `ImageClassifier::CheckAndSetOutputs` of the Task Library."""

from __future__ import annotations

from mlkit_build.mlkit.contract.rule import Broken
from mlkit_build.mlkit.contract.subject import Port, Subject
from mlkit_build.mlkit.stated_schema import CALIBRATION, NORMALIZATION, THRESHOLDING

_UNITS = {NORMALIZATION: "NormalizationOptions", CALIBRATION: "ScoreCalibrationOptions", THRESHOLDING: "ScoreThresholdingOptions"}


def shape(subject: Subject) -> Broken | None:
    for index, port in enumerate(subject.outputs):
        sizes, found = port.shape, f"{port.name} {list(port.shape)}"
        if len(sizes) == 4 and sizes[1:3] != (1, 1):
            return Broken(found, (index, sizes[2], sizes[1]), says=1)
        if len(sizes) not in (2, 4):
            return Broken(found, (index, len(sizes)), fix=_reshaping(port))
    return None


def _reshaping(port: Port) -> str:
    """Return the adapter that makes scores of an output which holds nothing else."""
    singles = [axis for axis, size in enumerate(port.shape[:-1]) if axis and size == 1]
    if len(port.shape) > 2 and len(singles) == len(port.shape) - 2:
        return f"add `adapters: [{{squeeze_output: {{axes: {singles}}}}}]`"
    if len(port.shape) == 1:
        return f"add `adapters: [{{reshape_output: {{shape: [1, {port.shape[0]}]}}}}]`"
    return ""


def batch(subject: Subject) -> Broken | None:
    for index, port in enumerate(subject.outputs):
        if len(port.shape) in (2, 4) and port.shape[0] != 1:
            return Broken(f"{port.name} {list(port.shape)}", (port.shape[0], index))
    return None


def kind(subject: Subject) -> Broken | None:
    for port in subject.outputs:
        if port.dtype not in ("float32", "uint8"):
            fix = "for the output of an ArgMax add `adapters: [argmax_to_logits, softmax]`" if port.dtype in _INDICES else ""
            return Broken(f"{port.name} of type {port.dtype}", (port.name, port.dtype.upper()), fix=fix)
    quantized = sum(port.dtype == "uint8" for port in subject.outputs)
    if 0 < quantized < len(subject.outputs):
        return Broken(f"{quantized} of {len(subject.outputs)} outputs of type uint8", (quantized, len(subject.outputs)), says=1)
    return None


_INDICES = ("int32", "int64")


def counts(subject: Subject) -> Broken | None:
    stated = subject.stated
    if stated is None:
        return None
    told = len(stated.inputs or ())
    if told != 1:
        return Broken(f"metadata of {told} inputs", says=0)
    if stated.outputs is not None and len(stated.outputs) != len(subject.outputs):
        found = f"metadata of {len(stated.outputs)} outputs for {len(subject.outputs)}"
        return Broken(found, (len(subject.outputs), len(stated.outputs)), says=1)
    return None


def units(subject: Subject) -> Broken | None:
    stated = subject.stated
    if stated is None:
        return None
    ends = [(told, NORMALIZATION) for told in (stated.inputs or ())[:1]]
    ends += [(told, number) for told in stated.outputs or () for number in (THRESHOLDING, CALIBRATION)]
    for told, number in ends:  # others are not read
        if sum(unit.options[0] == number for unit in told.units) > 1:
            return Broken(f"several {_UNITS[number]} of {told.name or 'a tensor'}", (_UNITS[number],))
    return None


def threshold(subject: Subject) -> Broken | None:
    stated = subject.stated
    for told in (stated.outputs or ()) if stated else ():
        for number, options in (unit.options for unit in told.units):
            if number == THRESHOLDING and options is not None and not 0 <= options.threshold <= 1:
                return Broken(f"{options.threshold:g}")
    return None


def bounded(subject: Subject) -> Broken | None:
    for port in subject.outputs:
        if port.maker and port.dtype in ("float32", "uint8"):
            return Broken(f"{port.name} made by {port.maker}, which may leave 0..1")
    return None
