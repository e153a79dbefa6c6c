"""The range of what a model is measured on, and when it is too far from what it was calibrated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets.feeding import Feed
from mlkit_build.datasets.npz import NpzDataset
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, Npz
from mlkit_build.signature import TensorSpec
from mlkit_build.stages.likeness import InputRanges, warning_of
from mlkit_build.stages.params import EvaluateParams, ReferenceParams
from mlkit_build.stages.validate import evaluate, reference
from tests.stages.built import IMAGE, pictures
from tests.stages.conftest import CALIBRATION, Built


@pytest.mark.parametrize(
    ("stated", "shape"),
    [
        (Input(), (6, 6, 3)),
        (Input(mean=(127.5,), std=(127.5,)), (6, 6, 3)),
        (Input(mean=(127.5,), std=(-127.5,)), (6, 6, 3)),
        (Input(mean=(120.0, 3.0, 90.0), std=(60.0, -50.0, 7.0)), (6, 6, 3)),
        (Input(mean=(120.0, 3.0, 90.0), std=(60.0, -50.0, 7.0)), (6, 6)),
    ],
)
def test_the_range_is_that_of_all_values_as_the_model_is_fed(tmp_path: Path, stated: Input, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(1).integers(10, 240, (30, *shape)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", a=raw)
    dataset = NpzDataset(Npz(path="", features={"x": "a"}), tmp_path / "a.npz", "dataset")
    feed = Feed(dataset, TensorSpec("x", "x:0", (1, 6, 6, 3), "float32"), stated)
    ranges = InputRanges({"x": feed})
    for batch in dataset.batches(7):
        ranges.look(batch)
    values = feed.values(raw, 0)
    assert ranges.found() == {"x": (values.min(), values.max())}


@pytest.mark.parametrize(
    ("calibrated", "measured", "far"),
    [
        ((0.0, 1.0), (0.0, 1.0), False),
        ((0.0, 1.0), (0.0, 1.9), False),
        ((0.0, 1.0), (0.0, 2.1), True),
        ((0.0, 2.1), (0.0, 1.0), True),
        ((0.0, 1.0), (0.4, 1.4), False),
        ((0.0, 1.0), (0.6, 1.6), True),
        ((0.0, 1.0), (5.0, 6.0), True),
        ((-1.0, 1.0), (0.0, 1.0), False),
        ((0.0, 1 / 255), (0.0, 1.0), True),
        ((0.5, 0.5), (0.0, 1.0), False),
        ((0.0, 1.0), (0.5, 0.5), False),
    ],
)
def test_ranges_are_far_where_one_is_twice_as_wide_or_half_of_it_lies_outside(
    calibrated: tuple[float, float], measured: tuple[float, float], far: bool
) -> None:
    assert bool(warning_of({"x": calibrated}, {"x": measured})) == far


def test_the_warning_names_the_inputs_that_are_far_and_both_ranges() -> None:
    found = warning_of({"a": (0.0, 1.0), "b": (0.0, 1.0)}, {"a": (0.0, 255.0), "b": (0.0, 1.0), "c": (0.0, 9.0)})
    assert found == (
        "the calibration samples of the input 'a' are in 0..1, those of the dataset in 0..255: calibrate on samples like those "
        "that the app feeds"
    )


@pytest.mark.parametrize(("dark", "warns"), [(1, False), (100, True)])
def test_evaluate_tells_when_it_measures_on_other_data_than_were_calibrated_on(
    built: Built, tmp_path: Path, dark: int, warns: bool
) -> None:
    raw = pictures(20)
    np.savez(tmp_path / "d.npz", images=raw // dark)
    read: dict[str, Any] = {name: built.files[name] for name in ("frozen_graph.pb", "signature.json")}
    reference(to_plain(ReferenceParams(CALIBRATION, {"picture": IMAGE})), {**read, "dataset": tmp_path / "d.npz"}, tmp_path)
    read = {
        "model": built.models["int8", "float32"],
        "signature.json": built.files["signature.json"],
        "dataset": tmp_path / "d.npz",
        "reference.bin": tmp_path / "reference.bin",
    }
    params = to_plain(EvaluateParams(CALIBRATION, None, {"picture": IMAGE}, (), None))
    evaluate(params, {**read, "calibration.json": built.statistics.parent / "calibration.json"}, tmp_path)
    found = json.loads((tmp_path / "observations.json").read_bytes())
    assert found["inputs"]["picture"] == [0.0, pytest.approx((raw // dark).max() / 255)]
    assert found["warning"].startswith("the calibration samples of the input 'picture' are in 0..") == warns
    assert bool(found["warning"]) == warns
    evaluate(params, read, tmp_path)
    assert json.loads((tmp_path / "observations.json").read_bytes())["warning"] == ""
