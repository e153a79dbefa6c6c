"""Parts of tensors that nobody reads: what is read keeps its values, and the model can be calibrated and quantized."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.quantization.unread import without_unread_parts
from mlkit_build.recipe import Npz
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import PLAIN, calibrated, converted, frozen, interpreted, quantized, weights

# Each leaves some parts of a tensor unread: one of several, the first, the last, on another axis, as an output of the model.
CUTS: dict[str, tuple[str, list[int], Callable[[Any, Any], Any]]] = {
    "split": ("SPLIT", [1, 8], lambda tf1, x: tf1.tanh(tf1.split(wide(tf1, x), 4, axis=1)[1])),
    "split, two read": ("SPLIT", [1, 8], lambda tf1, x: operator.mul(*tf1.split(wide(tf1, x), 4, axis=1)[1:3])),
    "split, from the end": ("SPLIT", [1, 2, 2, 8], lambda tf1, x: tf1.tanh(tf1.split(tf1.nn.relu(x), 2, axis=-1)[1])),
    "split, as output": ("SPLIT", [1, 8], lambda tf1, x: tf1.split(tf1.tanh(x), 2, axis=1)[0]),
    "split, unequal": ("SPLIT_V", [1, 8], lambda tf1, x: tf1.tanh(tf1.split(wide(tf1, x), [3, 5, 8], axis=1)[1])),
    "unpack": ("UNPACK", [1, 5, 8], lambda tf1, x: wide(tf1, tf1.unstack(x, axis=1)[3])),
    "unpack, two read": ("UNPACK", [1, 5, 8], lambda tf1, x: wide(tf1, operator.mul(*tf1.unstack(x, axis=1)[1:3]))),
}


def wide(tf1: Any, x: Any) -> Any:
    return tf1.matmul(x, tf1.constant(weights(8, 16)))


def model(name: str, folder: Path) -> dict[str, Path]:
    _, shape, build = CUTS[name]

    def graph(tf1: Any) -> None:
        tf1.identity(build(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

    return converted(frozen(graph, request({"x": "x:0"}, {"y": "y:0"}), folder), folder)


def operators(model: Any) -> list[str]:
    return [flatbuffer.operator_name(model.operatorCodes[found.opcodeIndex]) for found in model.subgraphs[0].operators]


@pytest.mark.parametrize("name", sorted(CUTS))
def test_only_what_is_read_is_cut_and_with_the_same_values(name: str, tmp_path: Path) -> None:
    cut, shape, _ = CUTS[name]
    path = model(name, tmp_path)["float.tflite"]
    edited = flatbuffer.read(path)
    assert cut in operators(edited)
    assert without_unread_parts(edited)
    assert cut not in operators(edited)
    flatbuffer.write(edited, tmp_path / "cut.tflite")
    x = {"x": digits(4, shape[1:])}
    np.testing.assert_array_equal(interpreted(tmp_path / "cut.tflite", x)["y"], interpreted(path, x)["y"])


@pytest.mark.parametrize("name", sorted(CUTS))
def test_a_model_with_parts_that_nobody_reads_becomes_int8(name: str, tmp_path: Path) -> None:
    _, shape, _ = CUTS[name]
    files, x = model(name, tmp_path), digits(16, shape[1:])
    np.savez(tmp_path / "c.npz", x=x)
    statistics = calibrated(files, tmp_path / "c.npz", Npz(path="", features={"x": "x"}), {"x": PLAIN}, tmp_path)
    path = quantized(files, "int8", "float32", tmp_path / "out", statistics)
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    np.testing.assert_allclose(found, expected, atol=0.03 * np.ptp(expected))


def test_a_split_whose_parts_are_all_read_is_left_alone(tmp_path: Path) -> None:
    def graph(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 8], name="x")
        tf1.concat(tf1.split(wide(tf1, x), 4, axis=1)[::-1], 1, name="y")

    path = converted(frozen(graph, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)["float.tflite"]
    edited = flatbuffer.read(path)
    assert not without_unread_parts(edited)
    assert "SPLIT" in operators(edited)
    assert flatbuffer.packed(edited) == flatbuffer.packed(flatbuffer.read(path))


def test_a_cut_follows_another_batch(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    edited = flatbuffer.read(model("split", tmp_path)["float.tflite"])
    without_unread_parts(edited)
    interpreter = Interpreter(model_content=flatbuffer.packed(edited))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [3, 8])
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape == (3, 4)
