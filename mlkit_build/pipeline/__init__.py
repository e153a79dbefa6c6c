"""What a recipe means: the actions that build it, in order. Nothing runs here."""

from __future__ import annotations

from pathlib import Path

from mlkit_build.engine.action import Action
from mlkit_build.metrics.scored import scores_of
from mlkit_build.pipeline.changed_samples import with_samples
from mlkit_build.pipeline.converting import contract, conversion, convert, freeze, placeless, quantize_params
from mlkit_build.pipeline.dataset_files import Locate, dataset_files
from mlkit_build.pipeline.datasets import content, reading
from mlkit_build.pipeline.files import Files, load
from mlkit_build.pipeline.kinds import FLOAT_MODEL, SIGNATURE, Inputs, action_of, model, normalization, quantizing
from mlkit_build.pipeline.measuring import compares_forms, evaluate, forms, is_timed, reference, runtime_actions, runtimes, timing
from mlkit_build.pipeline.packaging import describe, packaging, suspecting
from mlkit_build.pipeline.wording import telling
from mlkit_build.recipe import Recipe
from mlkit_build.stages.params import VERSIONS, AttributeParams

__all__ = [
    "Files",
    "Locate",
    "actions",
    "attributing",
    "compares_forms",
    "is_timed",
    "load",
    "model",
    "packaging",
    "placeless",
    "quantizing",
    "runtime_actions",
    "suspecting",
    "telling",
    "timing",
    "with_samples",
]


def actions(recipe: Recipe, files: Files) -> list[Action]:
    """Return the actions up to what the gates judge, each after those it needs. They decide whether `packaging` follows."""
    row = [freeze(recipe, files), contract(recipe, files), *conversion(recipe, files)]
    described = describe(recipe, files)
    if recipe.dataset is None:
        return [*row, described, evaluate(recipe, files)]
    measured = [reference(recipe, recipe.dataset, files), *forms(recipe, recipe.dataset, files), evaluate(recipe, files)]
    return [*row, described, *measured, *runtimes(recipe, files)]  # what describe refuses need not be measured


def attributing(
    recipe: Recipe, files: Files, folder: Path, samples: int, tries: int, locate: Locate | None = None
) -> list[Action]:
    """Return the actions up to `attribute`, which tells where the accuracy of the quantized model went.

    Args:
        folder: What the recipe's paths are relative to.
        samples: On how many samples, at most: of the dataset, or where there is none, of the calibration.
        tries: How many operators are left float, one after another.
        locate: Finds what a URL names.
    """
    row = [freeze(recipe, files), contract(recipe, files), *conversion(recipe, files)]
    stated = recipe.dataset or recipe.calibration
    assert stated is not None, "the verb refuses it"
    field = "dataset" if recipe.dataset else "calibration"
    found = files.dataset if recipe.dataset else files.calibration
    samples_at = found or dataset_files(stated, folder, field, locate or (lambda path, *_: folder / path))
    quantizer = next((action for action in row if action.name == "quantize"), None)
    inputs: Inputs = {
        **(quantizer.inputs if quantizer else {"float.tflite": FLOAT_MODEL}),
        "model.tflite": model(recipe),
        "signature.json": SIGNATURE,
        "samples": samples_at,
    }
    params = AttributeParams(
        dataset=content(stated),
        samples_from=field,
        inputs=normalization(recipe),
        samples=samples,
        output=recipe.validation.output,
        tries=tries,
        quantize=quantize_params(recipe) if quantizer else None,
        quantize_version=VERSIONS["quantize"],
        scores_of=scores_of(recipe),
    )
    converting = [] if quantizer else [convert(recipe)]
    attribute = reading(action_of("attribute", params, inputs, ("attribution.json",)), {field: stated})
    return [*row, *converting, attribute]
