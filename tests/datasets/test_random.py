from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input, Random, RandomInput, Signature
from mlkit_build.recipe.dataset_checks import check_dataset
from tests.datasets.opening import opened, whole


def test_numbers_lie_evenly_in_their_range(tmp_path: Path) -> None:
    features = {"x": RandomInput(min=-2, max=3), "y": RandomInput(min=0, max=255, type="uint8")}
    dataset = opened(Random(features=features, samples=40), tmp_path, x=(1, 10, 10), y=(1, 300))
    x, y = whole(dataset, "x"), whole(dataset, "y")
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((40, 10, 10), np.float32, (40, 300), np.uint8)
    assert x.min() >= -2
    assert x.max() <= 3
    assert x.mean() == pytest.approx(0.5, abs=0.1)
    assert (y.min(), y.max()) == (0, 255)
    assert len(set(dataset.identities())) == 40


def test_the_seed_decides_and_the_size_of_batches_does_not(tmp_path: Path) -> None:
    def drawn(seed: int, size: int) -> bytes:
        spec = Random(features={"x": RandomInput()}, samples=11, seed=seed)
        return whole(opened(spec, tmp_path, x=(1, 4)), size=size).tobytes()

    assert drawn(0, 3) == drawn(0, 11)
    assert drawn(0, 3) != drawn(1, 3)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (RandomInput(min=3, max=2), "expected min not above max, found 3 and 2"),
        (RandomInput(max=256, type="uint8"), "expected values of uint8, found 0 to 256"),
        (
            RandomInput(min=0.2, max=0.8, type="uint8"),
            "expected a range with an integer in it, as the type is uint8, found 0.2 to 0.8",
        ),
        (RandomInput(min=-1.9, max=-1.1, type="int8"), "expected a range with an integer in it"),
        (RandomInput(type="complex"), "expected one of float32"),
    ],
)
def test_a_range_that_cannot_be_drawn_from_is_refused(drawn: RandomInput, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_dataset("dataset", Random(features={"x": drawn}, samples=3), Signature(inputs={"x": Input()}))


def test_a_range_of_one_integer_is_drawn_from(tmp_path: Path) -> None:
    spec = Random(features={"x": RandomInput(min=0.2, max=1.8, type="uint8")}, samples=3)
    check_dataset("dataset", spec, Signature(inputs={"x": Input()}))
    assert (whole(opened(spec, tmp_path, x=(1, 4))) == 1).all()


def test_a_seed_below_0_is_refused_by_its_field() -> None:
    spec = Random(features={"x": RandomInput()}, samples=3, seed=-1)
    with pytest.raises(ConfigError, match=r"^calibration\.seed: expected at least 0, found -1$"):
        check_dataset("calibration", spec, Signature(inputs={"x": Input()}))
