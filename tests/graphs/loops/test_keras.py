"""RNNs of both generations of Keras: every step is plain operators, and the answers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.graphs.tf2 import frozen, lite, values_for

RNNS: dict[str, Callable[[Any, Any], Any]] = {
    "LSTM": lambda layers, x: layers.LSTM(5)(x),
    "LSTM with sequences and states": lambda layers, x: layers.LSTM(5, return_sequences=True, return_state=True)(x),
    "GRU": lambda layers, x: layers.GRU(5, return_sequences=True)(x),
    "GRU that resets before": lambda layers, x: layers.GRU(5, reset_after=False)(x),
    "GRU backwards": lambda layers, x: layers.GRU(5, go_backwards=True, return_sequences=True)(x),
    "SimpleRNN": lambda layers, x: layers.SimpleRNN(5)(x),
    "bidirectional LSTM": lambda layers, x: layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x),
    "LSTM below a GRU": lambda layers, x: layers.GRU(3)(layers.LSTM(5, return_sequences=True)(x)),
    "cells one above the other": lambda layers, x: layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)])(x),
    "masked LSTM": lambda layers, x: layers.LSTM(5)(layers.Masking()(x)),
    "masked bidirectional GRU": lambda layers, x: layers.Bidirectional(layers.GRU(5, return_sequences=True))(layers.Masking()(x)),
    "masked LSTM below a GRU": lambda layers, x: layers.GRU(3)(layers.LSTM(5, return_sequences=True)(layers.Masking()(x))),
    "LSTM that drops out in training": lambda layers, x: layers.LSTM(5, dropout=0.3, recurrent_dropout=0.3)(x),
}


def check(keras: Any, model: Any, folder: Path, feed: Callable[[Any], None]) -> None:
    """Save, freeze, convert and compare with the Keras model; no loop is left."""
    import tensorflow as tf

    if keras.__name__ == "keras":
        model.export(folder, verbose=False)
    else:
        tf.saved_model.save(model, str(folder))
    found = frozen(folder)
    assert not found.graph_def.library.function
    assert not any(node.op in ("While", "StatelessWhile") or node.op.startswith("TensorList") for node in found.graph_def.node)
    values = values_for(found)
    feed(values[0])
    expected = [np.asarray(value) for value in tf.nest.flatten(model(*map(tf.constant, values)))]
    for answer, wanted in zip(lite(found, *values), expected, strict=True):
        np.testing.assert_allclose(answer, wanted, atol=1e-6)


@pytest.mark.parametrize("generation", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", RNNS)
def test_an_rnn_is_unrolled(tmp_path: Path, kind: str, generation: str) -> None:
    keras = pytest.importorskip(generation)
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 4), name="x")

    def padded(values: Any) -> None:
        if "masked" in kind:
            values[:, 4:] = values[:, 1] = 0

    check(keras, keras.Model(x, RNNS[kind](keras.layers, x)), tmp_path / "model", padded)


@pytest.mark.parametrize("generation", ["keras", "tf_keras"])
def test_padding_of_embedded_tokens_is_masked(tmp_path: Path, generation: str) -> None:
    keras = pytest.importorskip(generation)
    keras.utils.set_random_seed(1)
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(6, 3, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Bidirectional(keras.layers.LSTM(4))(embedded))

    def padded(values: Any) -> None:
        values[:] = [[3, 1, 5, 2, 0, 0, 0]]

    check(keras, model, tmp_path / "model", padded)
