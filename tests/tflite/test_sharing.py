"""Equal constants are held once, and what is written keeps a buffer of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.sharing import share_equal_constants
from tests.sources.tf1 import digits, request
from tests.stages.built import converted, frozen


def test_equal_constants_are_held_once_and_the_model_answers_the_same(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    kernel = digits(64, [64])

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 64], name="x")
        first = tf1.tanh(tf1.matmul(x, tf1.constant(kernel, name="first")))
        tf1.matmul(first, tf1.constant(kernel.copy(), name="second"), name="y")

    path = converted(frozen(build, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)["float.tflite"]
    assert kernel.nbytes < path.stat().st_size < 2 * kernel.nbytes
    x = digits(1, [64], seed=5)
    found = Interpreter(model_path=str(path)).get_signature_runner("serving_default")(x=x)["y"]
    np.testing.assert_allclose(found, np.tanh(x @ kernel) @ kernel, atol=1e-4)


def test_sharing_again_changes_nothing(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        tf1.matmul(tf1.placeholder("float32", [1, 8], name="x"), tf1.constant(digits(8, [8])), name="y")

    path = converted(frozen(build, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)["float.tflite"]
    model = flatbuffer.read(path)
    share_equal_constants(model)
    assert flatbuffer.packed(model) == path.read_bytes()
