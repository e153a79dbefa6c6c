from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.adapters import parse
from mlkit_build.adapters.options import NormalizeOptions, ResizeOptions
from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain, to_plain


def test_options_come_checked_and_typed() -> None:
    assert parse("resize", {"height": 3, "width": 4}, "adapters[0]") == ResizeOptions(height=3, width=4)
    expected = NormalizeOptions(mean=(1.0, 2.0, 3.0), std=(2.0,), input="image")
    assert parse("normalize", {"mean": [1, 2, 3], "std": [2], "input": "image"}, "adapters[0]") == expected


def test_options_survive_plain_values() -> None:
    options = parse("nchw_to_nhwc", {"inputs": ["a"], "outputs": ["b"]}, "adapters[0]")
    assert from_plain(type(options), to_plain(options)) == options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("softmx", {}, "adapters[2]: expected one of rgb_to_grayscale, bgr_to_rgb, "),
        ("softmx", {}, "did you mean 'softmax'"),
        ("softmax", {"axis": 1}, "adapters[2].softmax.axis: no such option; expected one of output"),
        ("resize", {"heigth": 1, "width": 1}, "adapters[2].resize.heigth: no such option; expected one of height, width"),
        ("resize", {"heigth": 1, "width": 1}, "did you mean 'height'"),
        ("resize", {"height": 1}, "adapters[2].resize.width: missing, and it has no default"),
        ("resize", {"height": "1", "width": 1}, "adapters[2].resize.height: expected an integer, found '1'"),
        ("resize", {"height": 0, "width": 1}, "adapters[2].resize.height: expected at least 1, found 0"),
        ("resize", {"height": 1, "width": -4}, "adapters[2].resize.width: expected at least 1, found -4"),
        ("resize", {"height": 1, "width": 1, "method": "nearst"}, "adapters[2].resize.method: expected one of bilinear, nearest"),
        ("resize", {"height": 1, "width": 1, "method": "nearst"}, "did you mean 'nearest'"),
        ("normalize", {"mean": [0]}, "adapters[2].normalize.std: missing"),
        ("normalize", {"mean": 0, "std": [1]}, "adapters[2].normalize.mean: expected a list, found 0"),
        ("normalize", {"mean": [], "std": [1]}, "adapters[2].normalize.mean: expected one value"),
        ("normalize", {"mean": [0], "std": [1, 0, 1]}, "adapters[2].normalize.std: expected values other than 0"),
        ("normalize", {"mean": [0], "std": [-0.0]}, "adapters[2].normalize.std: expected values other than 0"),
        ("normalize", {"mean": [float("nan")], "std": [1]}, "adapters[2].normalize.mean: expected finite numbers"),
        (
            "normalize",
            {"mean": [1, 2, 3], "std": [1, 2]},
            "adapters[2].normalize.std: expected 1 value or 3, as many as mean has",
        ),
        ("cast_input", {"dtype": "unit8"}, "adapters[2].cast_input.dtype: expected one of uint8, int8, int16, int32, float32"),
        ("squeeze_output", {"axes": []}, "adapters[2].squeeze_output.axes: expected at least one axis"),
        ("reshape_output", {}, "adapters[2].reshape_output.shape: missing"),
        ("reshape_output", {"shape": []}, "adapters[2].reshape_output.shape: expected at least one dimension"),
        ("reshape_output", {"shape": [1, -1, -1]}, "adapters[2].reshape_output.shape: expected -1 at most once"),
        ("reshape_output", {"shape": [1, 0]}, "adapters[2].reshape_output.shape: expected every size to be at least 1, or -1"),
        ("nchw_to_nhwc", {"inputs": []}, "adapters[2].nchw_to_nhwc.inputs: expected at least one input or output"),
        ("nchw_to_nhwc", {"inputs": ["a", "a"]}, "adapters[2].nchw_to_nhwc.inputs: expected each name once, found 'a' 2 times"),
        ("nchw_to_nhwc", {"outputs": ["a", "a"]}, "adapters[2].nchw_to_nhwc.outputs: expected each name once"),
        ("select_output", {}, "adapters[2].select_output.output: expected either output or outputs, found neither"),
        ("select_output", {"output": "a", "outputs": ["b"]}, "expected either output or outputs, found both"),
        ("select_output", {"outputs": ["a", "b", "a"]}, "adapters[2].select_output.outputs: expected each name once"),
    ],
)
def test_a_wrong_option_is_reported_by_its_field(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(name, options, "adapters[2]")
    assert message in str(caught.value)
