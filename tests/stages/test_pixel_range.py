"""Images that are no pixels in 0..255, and a mean and std that are for others, are noticed whatever their type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets import Batch
from mlkit_build.recipe import Input
from mlkit_build.stages.pixel_range import PixelRanges

PIXELS, UNITS = Input(mean=(127.5,), std=(127.5,)), Input(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def warning(stated: Input, *batches: Any) -> str:
    ranges = PixelRanges({"image": stated, "other": Input()})
    for number, values in enumerate(batches):
        ranges.look(Batch(number, {"image": np.asarray(values), "other": np.zeros((1, 1))}, None))
    return ranges.warning()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_in_0_to_1_are_told_with_both_ranges(dtype: type) -> None:
    assert warning(PIXELS, np.array([[0, 1]], dtype), np.array([[1, 0]], dtype)) == (
        "dataset: all values of the image input 'image' lie in 0..1, while an app feeds pixels in 0..255; "
        "mean [127.5] and std [127.5] apply to 0..255"
    )
    assert "std [0.229, 0.224, 0.225] look as if they did too: multiply all by 255" in warning(UNITS, np.array([[0, 1]], dtype))


def test_a_mean_and_std_for_0_to_1_are_told_where_images_are_pixels() -> None:
    assert warning(UNITS, [[0, 1]], [[3, 255]]).startswith(
        "signature.inputs.image: mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225] look as if they were for values in 0..1"
    )


@pytest.mark.parametrize(
    "stated",
    [PIXELS, Input(mean=(0.0,), std=(1.0,)), Input(mean=(0.0,), std=(255.0,)), Input(mean=(0.5,), std=(-255.0,)), Input()],
)
def test_pixels_are_no_matter_even_where_some_batches_are_dark(stated: Input) -> None:
    assert warning(stated, [[0, 1]], [[0, 2]], [[1, 1]]) == ""


def test_an_input_that_is_no_image_may_have_any_values() -> None:
    assert warning(Input(), [[0, 1]]) == ""
