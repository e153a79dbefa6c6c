from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets.feeding import Feed
from mlkit_build.datasets.npz import NpzDataset
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Input, Npz
from mlkit_build.signature import TensorSpec

IMAGE = Input(mean=(127.5,), std=(127.5,))
RGB = Input(mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0))


def feed(folder: Path, values: Any, shape: tuple[int, ...], stated: Input | None = None, dtype: str = "float32") -> Feed:
    np.savez(folder / "a.npz", a=values)
    dataset = NpzDataset(Npz(path="", features={"x": "a"}), folder / "a.npz", "dataset")
    return Feed(dataset, TensorSpec("x", "x:0", shape, dtype), stated or Input())


def pixels(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_an_image_is_normalized_by_mean_and_std(tmp_path: Path) -> None:
    raw = pixels(4, 5, 5, 3)
    found = feed(tmp_path, raw, (1, 5, 5, 3), IMAGE).values(raw, 0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (raw.astype(np.float64) - 127.5) / 127.5, atol=1e-6)
    assert (found.min(), found.max()) >= (-1, -1)


def test_each_channel_has_its_own_mean_and_std(tmp_path: Path) -> None:
    raw = pixels(4, 5, 5, 3)
    found = feed(tmp_path, raw, (1, 5, 5, 3), RGB).values(raw, 0)
    for channel, (mean, std) in enumerate(zip((123, 116, 103), (58, 57, 56), strict=True)):
        np.testing.assert_allclose(found[..., channel], (raw[..., channel].astype(np.float64) - mean) / std, atol=1e-6)


@pytest.mark.parametrize("stated", [IMAGE, RGB])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 1), (3, 5, 5)])
def test_a_grey_image_fills_three_channels_alike(tmp_path: Path, shape: tuple[int, ...], stated: Input) -> None:
    raw = pixels(*shape)
    wanted = (1, *shape[1:3], 3)
    repeated = np.repeat(raw.reshape(*shape[:3], 1), 3, -1)
    expected = feed(tmp_path, repeated, wanted, stated).values(repeated, 0)
    np.testing.assert_array_equal(feed(tmp_path, raw, wanted, stated).values(raw, 0), expected)
    np.testing.assert_array_equal(feed(tmp_path, raw, wanted, stated).pixels(raw, 0), repeated)


def test_a_grey_image_gets_its_channel_where_one_is_wanted(tmp_path: Path) -> None:
    raw = pixels(4, 5, 6)
    np.testing.assert_array_equal(feed(tmp_path, raw, (1, 5, 6, 1), IMAGE).pixels(raw, 0), raw[..., None])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_pixels_are_uint8_whatever_the_file_holds(tmp_path: Path, dtype: str) -> None:
    raw = pixels(4, 5, 5, 3)
    found = feed(tmp_path, raw.astype(dtype), (1, 5, 5, 3), IMAGE).pixels(raw.astype(dtype), 0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, raw)


def test_pixels_between_whole_numbers_are_rounded(tmp_path: Path) -> None:
    raw = np.array([[0.4, 0.6, 254.6]])
    np.testing.assert_array_equal(feed(tmp_path, raw, (1, 3), IMAGE).pixels(raw, 0), [[0, 1, 255]])


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (IMAGE, (-1.0, 1.0)),
        (Input(mean=(0.0,), std=(255.0,)), (0.0, 1.0)),
        (Input(mean=(0.0,), std=(-255.0,)), (-1.0, 0.0)),
        (Input(mean=(0.0, 100.0, 0.0), std=(1.0, 1.0, 2.0)), (-100.0, 255.0)),
    ],
)
def test_an_images_range_is_that_of_pixels_0_and_255(tmp_path: Path, stated: Input, expected: tuple[float, float]) -> None:
    assert feed(tmp_path, pixels(2, 5, 5, 3), (1, 5, 5, 3), stated).range == expected


def test_what_is_no_image_passes_as_it_is(tmp_path: Path) -> None:
    raw = np.array([[-3.5, 1e6]])
    found = feed(tmp_path, raw, (1, 2)).values(raw, 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, raw)


@pytest.mark.parametrize(("given", "wanted"), [("uint8", "int32"), ("int64", "int32"), ("bool", "uint8"), ("int32", "float32")])
def test_integers_are_widened_where_every_value_fits(tmp_path: Path, given: str, wanted: str) -> None:
    raw = np.array([[0, 1]]).astype(given)
    found = feed(tmp_path, raw, (1, 2), dtype=wanted).values(raw, 0)
    assert found.dtype == wanted
    np.testing.assert_array_equal(found, raw)


@pytest.mark.parametrize(
    ("values", "wanted"), [([[0.5, 1.0]], "int32"), ([[0, 300]], "uint8"), ([[0, -1]], "uint8"), ([[0, 2**40]], "int32")]
)
def test_values_that_the_inputs_type_cannot_hold_are_refused(tmp_path: Path, values: Any, wanted: str) -> None:
    raw = np.array(values)
    with pytest.raises(ConfigError, match=f"array 'a': expected values of type {wanted} for the input 'x', found "):
        feed(tmp_path, raw, (1, 2), dtype=wanted).values(raw, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [np.nan, 1.0]], "sample 41: expected a finite number, found nan"),
        ([[np.inf, 2.0], [1.0, 1.0]], "sample 40: expected a finite number, found inf"),
    ],
)
def test_a_value_that_is_no_number_is_refused_with_its_sample(tmp_path: Path, values: Any, message: str) -> None:
    raw = np.array(values)
    with pytest.raises(ConfigError, match=message):
        feed(tmp_path, raw, (1, 2)).values(raw, 40)


@pytest.mark.parametrize(
    ("value", "given", "wanted"), [(1e300, "f8", "float32"), (-7e4, "f4", "float16"), (65535, "u2", "float16")]
)
def test_a_number_that_would_be_infinite_in_the_inputs_type_is_refused(
    tmp_path: Path, value: float, given: str, wanted: str
) -> None:
    raw = np.array([[1, 2], [3, value]], given)
    with pytest.raises(
        ConfigError, match=f"sample 41: expected a number that {wanted} can hold, found {raw[1, 1]}".replace("+", ".")
    ):
        feed(tmp_path, raw, (1, 2), dtype=wanted).values(raw, 40)


@pytest.mark.parametrize("value", [-1.0, 255.5, 300])
@pytest.mark.parametrize("call", ["values", "pixels"])
def test_an_image_value_outside_the_range_of_pixels_is_refused_with_its_sample(tmp_path: Path, value: float, call: str) -> None:
    raw = np.full((3, 2, 2, 3), 7, np.float32)
    raw[2, 1, 0, 1] = value
    with pytest.raises(ConfigError, match=rf"sample 12: expected a pixel in 0\.\.255, found {value}"):
        getattr(feed(tmp_path, raw, (1, 2, 2, 3), IMAGE), call)(raw, 10)


def test_a_grey_image_outside_the_range_of_pixels_is_refused_too(tmp_path: Path) -> None:
    raw = np.full((3, 2, 2), 256, np.int32)
    with pytest.raises(ConfigError, match=r"expected a pixel in 0\.\.255, found 256"):
        feed(tmp_path, raw, (1, 2, 2, 3), IMAGE).values(raw, 0)


@pytest.mark.parametrize(
    ("shape", "wanted", "stated"),
    [
        ((2, 4, 4, 3), (1, 5, 5, 3), IMAGE),
        ((2, 5, 5, 3), (1, 5, 5, 1), IMAGE),
        ((2, 5, 5), (1, 5, 5, 3), None),
        ((2, 25), (1, 5, 5), None),
        ((2, 5, 5, 4), (1, 5, 5, 3), IMAGE),
    ],
)
def test_samples_of_another_shape_are_refused(
    tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...], stated: Input | None
) -> None:
    with pytest.raises(ConfigError, match=r"array 'a': expected samples of shape \[.*\] for the input 'x', found \["):
        feed(tmp_path, pixels(*shape), wanted, stated)


def test_means_that_do_not_match_the_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"signature\.inputs\.x\.mean: expected 1 value, or one for each of the 1 channels"):
        feed(tmp_path, pixels(2, 5, 5, 1), (1, 5, 5, 1), RGB)
