"""Ranges end where the function that reads them does, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.quantization.saturation import saturation_limits
from mlkit_build.quantization.statistics import Statistics
from mlkit_build.recipe import Npz
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import PLAIN, calibrated, converted, frozen, interpreted, quantized, weights


def gates(tf1: Any, x: Any) -> Any:
    a, b, c, d = tf1.split(tf1.matmul(x, tf1.constant(weights(8, 16))), 4, axis=1)
    return tf1.sigmoid(a) * tf1.tanh(b) + tf1.sigmoid(c) * tf1.tanh(d)


def last(tf1: Any, x: Any) -> Any:
    return tf1.matmul(tf1.tanh(tf1.matmul(x, tf1.constant(weights(8, 6)))), tf1.constant(weights(6, 3)))


def read_twice(tf1: Any, x: Any) -> Any:
    h = tf1.matmul(x, tf1.constant(weights(8, 6)))
    return tf1.tanh(h) + h


def shown(tf1: Any, x: Any) -> Any:
    h = tf1.matmul(x, tf1.constant(weights(8, 6)))
    tf1.identity(tf1.tanh(h), name="t")
    return h


def built(build: Any, folder: Path, outputs: tuple[str, ...] = ("y",)) -> dict[str, Path]:
    def graph(tf1: Any) -> None:
        tf1.identity(build(tf1, tf1.placeholder("float32", [1, 8], name="x")), name="y")

    asked = request({"x": "x:0"}, {name: f"{name}:0" for name in outputs})
    return converted(frozen(graph, asked, folder), folder)


@pytest.mark.parametrize(
    ("build", "outputs", "expected"),
    [
        (last, ("y",), {4.0}),
        (gates, ("y",), {4.0, 8.0}),
        (read_twice, ("y",), set()),
        (shown, ("y", "t"), set()),
    ],
)
def test_a_limit_is_that_of_the_functions_which_are_all_that_reads_a_tensor(
    tmp_path: Path, build: Any, outputs: tuple[str, ...], expected: set[float]
) -> None:
    assert set(saturation_limits(flatbuffer.read(built(build, tmp_path, outputs)["float.tflite"])).values()) == expected


def test_a_limit_reaches_through_a_split_to_what_was_split(tmp_path: Path) -> None:
    model = flatbuffer.read(built(gates, tmp_path)["float.tflite"])
    limits, graph = saturation_limits(model), model.subgraphs[0]
    (split,) = [op for op in graph.operators if flatbuffer.operator_name(model.operatorCodes[op.opcodeIndex]) == "SPLIT"]
    assert limits[flatbuffer.tensor_name(graph.tensors[split.inputs[1]])] == 8


def test_a_tanh_that_also_sees_large_values_still_tells_small_ones_apart(tmp_path: Path) -> None:
    def biased(tf1: Any, x: Any) -> Any:
        h = tf1.matmul(x, tf1.constant(300 * weights(8, 6))) + tf1.constant(np.linspace(-1, 1, 6, dtype=np.float32))
        return tf1.matmul(tf1.tanh(h), tf1.constant(weights(6, 3)))

    files, x = built(biased, tmp_path), digits(64, [8])
    x[::2] = 0  # what is left is the bias, of which steps of the whole range, about 7, would leave nothing
    np.savez(tmp_path / "c.npz", x=x)
    statistics = calibrated(files, tmp_path / "c.npz", Npz(path="", features={"x": "x"}), {"x": PLAIN}, tmp_path)
    for tensor, limit in saturation_limits(flatbuffer.read(files["float.tflite"])).items():
        seen = Statistics.read(statistics).ranges[tensor]
        assert (seen["min"].item(), seen["max"].item()) == (-limit, limit)
    path = quantized(files, "int8", "float32", tmp_path / "out", statistics)
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    np.testing.assert_allclose(found[::2], expected[::2], atol=0.02 * np.ptp(expected))
