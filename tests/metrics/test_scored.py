"""Only class scores are compared by their highest one: who says that an output has any."""

from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.metrics.scored import scores_of
from mlkit_build.recipe import Gate, Labels, MetricChoice, Recipe, Target, Tf1Checkpoint, Validation, check
from tests.test_recipe import sample


def stated(*metrics: str, gate: str = "", **fields: Any) -> Recipe:
    validation = Validation(
        metrics=tuple(MetricChoice(name=name) for name in metrics), gates={gate: Gate(min=0.5)} if gate else {}
    )
    return Recipe(name="a", source=Tf1Checkpoint(path="a"), validation=validation, **fields)


@pytest.mark.parametrize(
    ("recipe", "found"),
    [
        (stated(), ""),
        (stated("top1"), "samples"),
        (stated("mae", "log_loss"), "samples"),
        (stated("mean_iou"), "pixels"),
        (stated("mae"), ""),
        (stated("embedding", labels=Labels(path="people.txt")), ""),
        (stated("python"), ""),
        (stated(labels=Labels(path="labels.txt")), "samples"),
        (stated(target=Target(task="image_labeling")), "samples"),
        (stated(gate="top1_agreement"), "samples"),
        (stated(gate="pixel_agreement"), "pixels"),
        (stated("python", gate="top1_agreement"), "samples"),
        (stated("rmse", gate="top1_agreement"), ""),
    ],
)
def test_an_output_has_class_scores_where_the_recipe_says_so(recipe: Recipe, found: str) -> None:
    assert scores_of(recipe) == found


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (
            stated("rmse", gate="top1_agreement"),
            "class scores for each of the samples, found rmse, for which it has other values",
        ),
        (stated("mean_iou", gate="top1_agreement"), "each of the samples, found mean_iou, for which it has those of pixels"),
        (stated("top1", gate="pixel_agreement"), "each of the pixels, found top1, for which it has those of samples"),
    ],
)
def test_a_gate_on_the_highest_of_other_values_is_refused_with_the_reason(recipe: Recipe, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(sample(validation=recipe.validation, target=recipe.target))
