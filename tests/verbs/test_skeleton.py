"""What is left to fill in fits the signature: adapters that it needs and no others, and classes only where there are any."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mlkit_build.verbs.skeleton import MARK, Skeleton, skeleton


def made(inputs: list[Any], output: Any, scores: bool = False) -> tuple[Skeleton, dict[str, Any]]:
    """Return the skeleton of a signature, and what its lines say once they are uncommented."""
    specs = [{"name": f"i{number}", "tensor": "i:0", "shape": shape, "dtype": "float32"} for number, shape in enumerate(inputs)]
    outputs = [{"name": "o", "tensor": "o:0", "shape": output, "dtype": "float32"}]
    found = skeleton({"key": "", "inputs": specs, "outputs": outputs}, scores, str)
    lines = [*found.first, *found.last]
    assert all(line.startswith(MARK) for line in lines)
    assert max(map(len, lines)) <= 130
    return found, yaml.safe_load("\n".join(line.removeprefix(MARK) for line in lines))


@pytest.mark.parametrize(
    ("image", "scores", "adapters"),
    [
        ([1, 8, 8, 3], True, None),
        ([None, 8, 8, 3], False, ["softmax"]),
        ([1, 8, 8, 1], True, ["rgb_to_grayscale"]),
        ([1, 1, 8, 8], False, ["nchw_to_nhwc", "rgb_to_grayscale", "softmax"]),
        ([1, 3, None, None], True, ["nchw_to_nhwc"]),
    ],
)
def test_an_image_classifier_gets_the_adapters_that_ml_kit_wants(image: Any, scores: bool, adapters: Any) -> None:
    found, recipe = made([image], [None, 5], scores)
    assert found.made_for == "int8 for ML Kit"
    assert recipe.get("adapters") == adapters
    assert recipe["defaults"] == [{"override /target": "image_labeling"}, {"override /quantization": "int8"}]
    assert recipe["dataset"] == {"kind": "image_folder", "path": "data/test", "input": "i0", "label": "folder"}
    assert recipe["calibration"] == {"kind": "image_folder", "path": "data/calibration", "input": "i0"}


@pytest.mark.parametrize("output", [[1, 5], [None, 5], [1, 1, 1, 5], [None, None], None])
def test_what_may_be_classes_is_measured_as_classes(output: Any) -> None:
    _, recipe = made([[1, 8, 8, 3]], output)
    assert (recipe["labels"], recipe["validation"]["metrics"]) == ("labels.txt", ["top1"])


@pytest.mark.parametrize("output", [[1, 1], [1, 8, 8, 2], [5], []])
def test_what_has_no_classes_is_compared_with_tensorflow_alone(output: Any) -> None:
    found, recipe = made([[1, 8, 8, 3]], output)
    assert found.made_for == "int8"
    assert not {"labels", "adapters"} & set(recipe)
    assert recipe["validation"] == {"gates": {"cosine": {"min": 0.99}}}
    assert recipe["dataset"] == {"kind": "npz", "path": "data/test.npz", "features": {"i0": "i0"}}


def test_several_inputs_are_no_model_for_ml_kit() -> None:
    found, recipe = made([[1, 8, 8, 3], [1, 4]], [1, 5])
    assert found.made_for == "int8"
    assert recipe["defaults"] == [{"override /quantization": "int8"}]
    assert recipe["dataset"]["features"] == {"i0": "i0", "i1": "i1"}
    assert recipe["dataset"]["label"] == "labels"


def test_without_a_signature_there_is_still_something_to_fill_in() -> None:
    assert any(line.startswith("# dataset:") for line in skeleton(None, False, str).last)
