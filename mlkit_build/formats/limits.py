"""Where a model must not be used: what was not measured, what it was not trained for, and what phones cannot run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.formats.ios import image_shape
from mlkit_build.recipe import ML_KIT_TARGETS
from mlkit_build.records import dataclass
from mlkit_build.report import summary
from mlkit_build.signature import FrozenSignature

if TYPE_CHECKING:
    from mlkit_build.formats.readme import ReadmeParams

_RUNTIME = "min_runtime_version"
"""The metadata of a model that names the oldest runtime which computes it, by its operators' versions."""


@dataclass(frozen=True)
class Found:
    """What the build found out about the model.

    Attributes:
        samples: How many samples were measured; 0 for none.
        metrics: What was measured.
        warning: What was noticed while measuring; empty for nothing.
        runtime: The oldest runtime that the file states; empty where it states none.
    """

    samples: int
    metrics: Mapping[str, Any]
    warning: str
    runtime: str


def limits(request: ReadmeParams, signature: FrozenSignature, labels: Sequence[str], known: Found) -> list[str]:
    """Return a sentence per limit."""
    image = image_shape(signature)
    found = [_unmeasured(known.samples, is_image=image is not None)]
    if known.warning:
        found.append(f"{known.warning[0].upper()}{known.warning[1:]}.")
    if labels:
        found.append(
            f"It knows {len(labels)} classes and no others: whatever it is shown, it gives one of them the highest score. "
            f"{_threshold(request)}"
        )
    stated = [spec.mean is not None for spec in request.inputs.values()]
    if image is not None and (request.task in ML_KIT_TARGETS or any(stated)):
        colors = "RGB" if image[3] == 3 else "grey"
        scaled = "ML Kit scales each image to that" if request.task in ML_KIT_TARGETS else "the app scales each image to that"
        found.append(
            f"It sees {image[1]} x {image[2]} {colors} pixels (height x width): {scaled}, and what is too small then is lost."
        )
    elif not any(stated):
        found.append(
            "What its inputs mean is known to who trained it: the recipe states no mean and std, so they are fed as in training."
        )
    tried = f" Tried here, with the same results, in {', '.join(request.runtimes)}." if request.runtimes else ""
    least = (
        f"By the versions of its operators it needs the runtime {known.runtime} (TensorFlow Lite or LiteRT) or newer."
        if known.runtime
        else ""
    )
    if least or tried:
        found.append(f"{least}{tried}".strip())
    if delegate := summary.delegate_needed(known.metrics):
        found.append(f"{delegate[0].upper()}{delegate[1:]}.")
    found.append(
        "How fast it is on a phone, and on which delegate, was not measured here: try it on the slowest phone you support."
    )
    return found


def stated_runtime(model: Path) -> str:
    """Return the oldest runtime that the file says it needs, as `2.17.0`; empty where it says nothing."""
    from mlkit_build.tflite import model as flatbuffer

    read = flatbuffer.read(model)
    for entry in read.metadata or ():
        if flatbuffer.text(entry.name) == _RUNTIME and (data := read.buffers[entry.buffer].data) is not None:
            return bytes(data).rstrip(b"\0").decode("ascii", errors="replace")
    return ""


def _unmeasured(samples: int, *, is_image: bool) -> str:
    if not samples:
        return "Nothing was measured: do not ship it before you have measured it on data of your own."
    others = "Other cameras, light, people or places than it holds" if is_image else "Data unlike that which it holds"
    return (
        f"Measured on the {samples:,} samples of one dataset. {others} were not measured: try it on data of your own before you "
        "trust these numbers."
    )


def _threshold(request: ReadmeParams) -> str:
    if request.task not in ML_KIT_TARGETS:
        return "Choose the least score that you trust on data of your own."
    if request.threshold is not None:
        return f"ML Kit returns those of {request.threshold:g} or more, as the file states, unless the options say otherwise."
    return (
        "The file states no threshold, so ML Kit returns every class: choose the least score that you trust on your own images "
        "and set it in the options."
    )
