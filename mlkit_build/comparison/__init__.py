"""What differs between two bundles or two models: aspect by aspect, without running either, and bounded whatever they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlkit_build.comparison import manifests
from mlkit_build.comparison.aspect import Aspect, absent
from mlkit_build.comparison.ends import signature
from mlkit_build.comparison.operators import operators
from mlkit_build.comparison.parts import parts
from mlkit_build.comparison.said import labels, metadata
from mlkit_build.comparison.subject import FileSum, Subject, read
from mlkit_build.comparison.tensors import quantization, tensors
from mlkit_build.mlkit.model_file import ModelFile
from mlkit_build.records import dataclass

__all__ = ["ASPECTS", "MODEL_ASPECTS", "Aspect", "Comparison", "FileSum", "Subject", "compare", "models", "read"]

MODEL_ASPECTS: Mapping[str, Callable[[ModelFile, ModelFile], Aspect]] = {
    "signature": signature,
    "operators": operators,
    "tensors": tensors,
    "quantization": quantization,
    "metadata": metadata,
    "labels": labels,
    "size": parts,
}


def _of_models(compare: Callable[[ModelFile, ModelFile], Aspect]) -> Callable[[Subject, Subject], Aspect]:
    def compared(first: Subject, second: Subject) -> Aspect:
        if first.model is None or second.model is None:
            missing = absent([side.model is not None for side in (first, second)], "no model")
            assert missing is not None
            return missing
        return compare(first.model, second.model)

    return compared


ASPECTS: Mapping[str, Callable[[Subject, Subject], Aspect]] = {
    "metrics": manifests.metrics,
    "gates": manifests.gates,
    "recipe": manifests.part("recipe"),
    "inputs": manifests.inputs,
    "toolchain": manifests.part("toolchain"),
    "actions": manifests.actions,
    **{name: _of_models(compare) for name, compare in MODEL_ASPECTS.items()},
    "files": manifests.files,
}
"""Aspect -> what compares it, in the order in which people read them."""


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two.

    Attributes:
        identical: Whether they hold the same bytes: of bundles, all files but those that say when and where they were made.
        aspects: Aspect -> what differs, in the order of `ASPECTS`.
    """

    first: Subject
    second: Subject
    identical: bool
    aspects: Mapping[str, Aspect]


def compare(first: Subject, second: Subject) -> Comparison:
    """Return what differs. A bundle and a single model are compared as models."""
    if first.manifest is not None and second.manifest is not None:
        identical = first.files == second.files
    else:
        identical = first.model is not None and second.model is not None and first.model.data == second.model.data
    return Comparison(first, second, identical, {name: compared(first, second) for name, compared in ASPECTS.items()})


def models(first: ModelFile, second: ModelFile) -> dict[str, Aspect]:
    """Return what differs between two models, by aspect."""
    return {name: compared(first, second) for name, compared in MODEL_ASPECTS.items()}
