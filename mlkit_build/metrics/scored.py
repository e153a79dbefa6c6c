"""What the values of a model's output are scores of, as far as a recipe says: only there does the highest one mean anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlkit_build.metrics import METRICS

if TYPE_CHECKING:
    from mlkit_build.recipe import Recipe

SAMPLES, PIXELS = "samples", "pixels"
"""A vector of class scores for each sample; one for each pixel of a map."""
AGREEMENTS = {"top1_agreement": SAMPLES, "pixel_agreement": PIXELS}
"""Value -> what the scores that it compares must be of."""


def scores_of(recipe: Recipe) -> str:
    """Return what the judged output is scores of: `samples`, `pixels`, or nothing where it may be anything.

    Metrics that read classes say so, and so do ML Kit's targets, which take nothing else. Where the metrics read other values, it
    is no scores; where they say nothing, gates on an agreement and the names of the classes count.
    """
    from mlkit_build.recipe import ML_KIT_TARGETS

    kinds = [METRICS[choice.name] for choice in recipe.validation.metrics]
    if recipe.target.task in ML_KIT_TARGETS or any(kind.outputs.startswith("class ") for kind in kinds):
        return SAMPLES
    if any(kind.labels == "maps" for kind in kinds):
        return PIXELS
    if any(kind.outputs != "any" for kind in kinds):
        return ""
    gated = [scores for name, scores in AGREEMENTS.items() if name in recipe.validation.gates]
    return gated[0] if gated else SAMPLES if recipe.labels is not None else ""
