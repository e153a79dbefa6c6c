"""Calibration samples, checked and remembered: their ranges, whatever thread saw them, and whether they vary at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.roots import builtin
from mlkit_build.datasets import open_dataset
from mlkit_build.datasets.parallel import in_order
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input, Npz, Random, RandomInput
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.samples import LARGEST, Samples
from tests.sources.tf1 import digits


def samples(folder: Path, shape: tuple[int, ...], dtype: str = "float32", stated: Input | None = None, **arrays: Any) -> Samples:
    np.savez(folder / "c.npz", **arrays)
    dataset = open_dataset(Npz(path="", features={name: name for name in arrays}), folder / "c.npz", "calibration")
    specs = tuple(TensorSpec(name, f"{name}:0", shape, dtype) for name in arrays)
    return Samples(dataset, FrozenSignature(specs, ()), {name: stated or Input() for name in arrays})


def look(found: Samples, size: int = 4) -> list[dict[str, Any]]:
    return [values for _, values in in_order(found.dataset, size, found.values)]


def test_values_have_the_tensors_shape_one_sample_after_another(tmp_path: Path) -> None:
    x = digits(10, [2, 3])
    found = samples(tmp_path, (1, 2, 3), x=x)
    rows = np.concatenate([values["x"] for values in look(found)])
    np.testing.assert_array_equal(rows, x[:, None])


def test_the_range_is_that_of_all_batches(tmp_path: Path) -> None:
    x = digits(50, [3])
    x[44, 1], x[3, 0] = -7, 5
    found = samples(tmp_path, (1, 3), x=x)
    look(found)
    assert found.ranges() == {"x": (-7.0, 5.0)}
    assert found.warning() == ""


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_samples_of_a_single_number_are_looked_at(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = samples(tmp_path, shape, x=np.arange(10, dtype=np.float32).reshape(10, *shape[1:]))
    rows = look(found)
    assert rows[0]["x"].shape == (4, *shape)
    assert (found.ranges(), found.warning()) == ({"x": (0.0, 9.0)}, "")


def test_tokens_are_looked_at_too(tmp_path: Path) -> None:
    found = samples(tmp_path, (1, 2), "int32", x=np.full((5, 2), 7, np.int32))
    look(found)
    assert "every value of all 5 samples is 7" in found.warning()


def test_the_input_that_never_varies_is_named_among_others(tmp_path: Path) -> None:
    same = np.repeat(digits(1, [3]), 9, axis=0)
    found = samples(tmp_path, (1, 3), x=digits(9, [3]), y=same, z=np.zeros((9, 3), np.float32))
    look(found)
    assert found.warning() == (
        "calibration input 'y' never varies: all 9 samples are the same; "
        "calibration input 'z' never varies: every value of all 9 samples is 0; calibrate on samples of the training set"
    )


def test_equal_batches_of_samples_that_differ_are_no_constant(tmp_path: Path) -> None:
    found = samples(tmp_path, (1, 3), x=np.tile(digits(4, [3]), (3, 1)))
    look(found)
    assert found.warning() == ""


def test_batches_of_equal_samples_that_differ_from_batch_to_batch_are_no_constant(tmp_path: Path) -> None:
    found = samples(tmp_path, (1, 3), x=np.repeat(digits(3, [3]), 4, axis=0))
    look(found)
    assert found.warning() == ""


@pytest.mark.parametrize("value", [2 * LARGEST, -2 * LARGEST, 3e38])
def test_a_number_beyond_all_use_is_refused_with_its_sample(tmp_path: Path, value: float) -> None:
    x = digits(10, [3])
    x[6, 2] = value
    with pytest.raises(ConfigError, match=r"calibration.*array 'x': sample 6 has values beyond 1e\+30"):
        look(samples(tmp_path, (1, 3), x=x))


def test_a_large_number_is_let_through(tmp_path: Path) -> None:
    x = digits(10, [3])
    x[6, 2] = LARGEST / 2
    assert len(look(samples(tmp_path, (1, 3), x=x))) == 3


def test_pixels_are_normalized(tmp_path: Path) -> None:
    image = Input(mean=(128.0,), std=(128.0,))
    found = samples(tmp_path, (1, 2, 2, 3), stated=image, x=np.full((3, 2, 2, 3), 64, np.uint8))
    assert float(look(found)[0]["x"].max()) == -0.5


def pictures(folder: Path, images: Any) -> Samples:
    return samples(folder, (1, *images.shape[1:]), stated=Input(mean=(0,), std=(255,)), x=images)


def test_images_of_noise_are_told(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)
    found = pictures(tmp_path, noise)
    look(found)
    assert found.warning() == (
        "calibration input 'x' looks like noise: neighbouring pixels are independent of each other; "
        "calibrate on samples of the training set"
    )


@pytest.mark.parametrize("kind", ["digits", "blurred noise", "stripes", "few pixels"])
def test_images_that_are_no_noise_are_not_called_so(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3))
    with np.load(builtin("recipes") / "mnist" / "data" / "mnist_calibration.npz") as archive:
        images = {
            "digits": archive["images"][:30].reshape(30, 28, 28, 1),
            "blurred noise": ((noise + np.roll(noise, 1, axis=2)) // 2).astype(np.uint8),
            "stripes": np.tile(noise[:, :1, ::4].repeat(4, axis=2), (1, 16, 1, 1)).astype(np.uint8),
            "few pixels": noise[:, :2, :2].astype(np.uint8),
        }[kind]
    found = pictures(tmp_path, images)
    look(found)
    assert found.warning() == ""


def test_numbers_that_are_no_image_may_be_independent(tmp_path: Path) -> None:
    found = samples(tmp_path, (1, 16, 16, 3), x=np.random.default_rng(0).normal(size=(30, 16, 16, 3)).astype(np.float32))
    look(found)
    assert found.warning() == ""


def test_noise_that_was_asked_for_is_told_whatever_it_feeds(tmp_path: Path) -> None:
    signature = FrozenSignature((TensorSpec("x", "x:0", (1, 4), "float32"),), ())
    dataset = open_dataset(Random(features={"x": RandomInput()}, samples=9), tmp_path, "calibration", signature)
    found = Samples(dataset, signature, {})
    look(found)
    assert found.warning().startswith("calibration input 'x' is noise, as asked: ")
