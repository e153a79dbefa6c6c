from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.tflite.arena import arena_bytes
from tests.sources.tf1 import request
from tests.stages.built import converted, frozen
from tests.stages.conftest import Built


def chain(tf1: Any) -> None:
    x = tf1.placeholder("float32", [1, 1024], name="x")
    tf1.tanh(tf1.matmul(tf1.sigmoid(x), tf1.constant(np.full((1024, 512), 0.01, np.float32))), name="y")


def test_a_chain_needs_what_lives_at_the_same_time(tmp_path: Path) -> None:
    """[1024] -> sigmoid [1024] -> dense [512] -> tanh [512], in float32. The input keeps its place, to be fed again;
    beside it live 1024 + 512 values at most, since any other tensor's place is free when its last reader is done."""
    files = converted(frozen(chain, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    assert arena_bytes(files["float.tflite"]) == 4 * (1024 + 1024 + 512)


def test_an_int8_model_needs_less_and_again_the_same(built: Built) -> None:
    found = arena_bytes(built.models["int8", "int8"])
    assert found is not None
    assert found == arena_bytes(built.models["int8", "int8"])
    assert 12 * 12 * (3 + 16) <= found < arena_bytes(built.models["float32", "float32"])  # type: ignore[operator]


def test_a_model_with_a_loop_has_no_figure(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)], autograph=False)
    def power(x: Any) -> Any:
        return tf.while_loop(lambda i, _: i < tf.cast(x[0, 0], tf.int32), lambda i, y: (i + 1, y * x), [0, x])[1]

    model = tf.lite.TFLiteConverter.from_concrete_functions([power.get_concrete_function()], power).convert()
    (tmp_path / "model.tflite").write_bytes(model)
    assert arena_bytes(tmp_path / "model.tflite") is None


def test_float16_weights_that_are_widened_once_are_no_activations(built: Built) -> None:
    """DEQUANTIZE writes them into the arena of persistent tensors, which lies anywhere."""
    assert arena_bytes(built.models["float16", "float32"]) == arena_bytes(built.models["float32", "float32"])


def test_what_follows_from_shapes_alone_is_no_activation(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 1024], tf.float32)], autograph=False)
    def summed(x: Any) -> Any:
        return tf.reduce_sum(tf.sigmoid(x)) * tf.cast(tf.reduce_prod(tf.shape(x)), tf.float32)

    model = tf.lite.TFLiteConverter.from_concrete_functions([summed.get_concrete_function()], summed).convert()
    (tmp_path / "model.tflite").write_bytes(model)
    assert arena_bytes(tmp_path / "model.tflite") == 4 * (1024 + 1024)
