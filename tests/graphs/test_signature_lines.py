"""What is pasted reads back as what was meant; images have room for mean and std, which comments take."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from mlkit_build.graphs import DeclaredSignature, DeclaredTensor
from mlkit_build.graphs.signature_lines import channels_axis, input_lines, signature_lines

IMAGE = DeclaredTensor("photo", "x:0", (None, 8, 9, 3), "float32")


def read(lines: list[str]) -> Any:
    return yaml.safe_load("\n".join(lines))


@pytest.mark.parametrize("name", ["image", "my input: 1", "on", "null", "7", "é", "a#b", "{x}"])
def test_an_authors_own_names_are_pasted_as_they_are(name: str) -> None:
    spec = DeclaredTensor(name, "x:0", (None, 4), "float32")
    lines = signature_lines(DeclaredSignature("", (spec,), (spec,)))
    pasted = yaml.safe_load("\n".join(lines))["signature"]
    assert pasted == {"inputs": {name: {"tensor": "x:0", "shape": [1, 4]}}, "outputs": {name: {"tensor": "x:0"}}}


def test_an_image_has_its_mean_and_std_as_soon_as_they_are_uncommented() -> None:
    lines = signature_lines(DeclaredSignature("", (IMAGE,), (IMAGE,)), scaling=True)
    plain = {"tensor": "x:0", "shape": [1, 8, 9, 3]}
    assert read(lines)["signature"] == {"inputs": {"photo": plain}, "outputs": {"photo": {"tensor": "x:0"}}}
    uncommented = read([re.sub("^# ", "", line) for line in lines])
    assert uncommented["signature"]["inputs"] == {"photo": {**plain, "mean": [0], "std": [255]}}
    assert "mean" not in "\n".join(signature_lines(DeclaredSignature("", (IMAGE,), (IMAGE,))))


def test_bytes_of_pixels_have_no_mean_and_other_candidates_stay_comments() -> None:
    raw, label = DeclaredTensor("p", "p:0", (1, 4, 4, 1), "uint8"), DeclaredTensor("l", "l:0", (None,), "int64")
    lines = input_lines((raw, label), "input", scaling=True)
    assert not [line for line in lines if line.startswith("#")]
    assert read(lines) == {"input": {"tensor": "p:0", "shape": [1, 4, 4, 1]}}
    assert lines[-1] == '    # input: {tensor: "l:0", shape: [1]}  # int64 [?]'


@pytest.mark.parametrize(
    ("shape", "dtype", "axis"),
    [
        ((1, 8, 9, 3), "float32", 3),
        ((None, None, None, 1), "uint8", 3),
        ((1, 3, 8, 9), "float16", 1),
        ((1, 8, 9, 4), "float32", None),
        ((1, 8, 9, 3), "int32", None),
        ((1, 8, 3), "float32", None),
        (None, "float32", None),
    ],
)
def test_what_looks_like_an_image_is_told_by_its_shape_and_type(shape: Any, dtype: str, axis: int | None) -> None:
    assert channels_axis(DeclaredTensor("x", "x:0", shape, dtype)) == axis


def test_a_size_that_the_model_leaves_open_is_told_to_be_filled_in() -> None:
    vector = DeclaredTensor("x", "x:0", (None, None, 4), "float32")
    (line,) = input_lines((vector,), "x")
    assert (
        line == '    x: {tensor: "x:0", shape: [1, ..., 4]}  # float32 [?, ?, 4]; put the size that the app feeds in place of ...'
    )
    first, _, shape = input_lines((DeclaredTensor("x", "x:0", (None, None, None, 3), "uint8"),), "x", scaling=True)
    assert first.endswith("put the size that the app feeds in place of ...")
    assert shape == "      shape: [1, ..., ..., 3]"
