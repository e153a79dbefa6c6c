"""Images are resized as the Task Library does it; what it made of noise was recorded with tflite-support 0.4.4 on x86."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.datasets.resizing import bilinear

RECORDED = Path(__file__).with_name("resized_by_task_library.npz")


@pytest.mark.parametrize("case", sorted(name.removesuffix(",out") for name in np.load(RECORDED).files if name.endswith("out")))
def test_the_pixels_are_those_of_the_task_library(case: str) -> None:
    height, width, rows, columns = map(int, case.split(","))
    with np.load(RECORDED) as recorded:
        found, expected = bilinear(recorded[f"{case},in"], height, width), recorded[f"{case},out"]
    if rows % (2 * height) == 0 and columns % (2 * width) == 0:  # x86 rounds the mean of four pixels twice
        assert np.abs(found.astype(int) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_any_size_becomes_any_other_within_the_range_of_its_pixels(rows: int, columns: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(50, 200, (rows, columns, 3)).astype(np.uint8)
    found = bilinear(pixels, height, width)
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
    assert found.min() >= pixels.min() - 2  # two weights of 127 parts: up to two levels are lost
    assert found.max() <= pixels.max()
