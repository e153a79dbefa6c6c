"""Keras RNNs, trained on digits that are read row by row, decide in int8 as they do in float32."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.roots import builtin
from tests.conftest import Workspace
from tests.promises.made_by_others import PARITY, build_both, reference, samples, value

TRAINED_ON = 8_000
"""Of the recipe mnist's 10,000 test images; the others are what is measured on."""
LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Train every one of them, not only a GRU and LSTMs of both directions."""

RNNS: dict[str, Callable[[Any], list[Any]]] = {
    "lstm": lambda layers: [layers.LSTM(32)],
    "gru": lambda layers: [layers.GRU(32)],
    "bidirectional": lambda layers: [layers.Bidirectional(layers.LSTM(24))],
    # Blank rows are the padding of handwritten digits.
    "masked_and_stacked": lambda layers: [layers.Masking(), layers.LSTM(24, return_sequences=True), layers.GRU(24)],
}


def digits(name: str, array: str) -> Any:
    with np.load(builtin("recipes") / "mnist" / "data" / f"mnist_{name}.npz") as data:
        return data[array]


def untrained(name: str) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    head = keras.layers.Dense(10, activation="softmax", name="scores")
    return keras.Sequential([keras.Input((28, 28), name="rows"), *RNNS[name](keras.layers), head])


def trained(name: str) -> Any:
    import keras

    model, epochs, batch = untrained(name), 8, 64
    falling = keras.optimizers.schedules.CosineDecay(5e-3, TRAINED_ON // batch * epochs)
    model.compile(keras.optimizers.Adam(falling), "sparse_categorical_crossentropy")
    images, labels = digits("test", "images")[:TRAINED_ON] / np.float32(255), digits("test", "labels")[:TRAINED_ON]
    model.fit(images, labels, batch_size=batch, epochs=epochs, verbose=0)
    return model


@pytest.mark.parametrize("name", RNNS if LONG else ["gru", "bidirectional"])
def test_a_trained_keras_rnn_is_unrolled_and_loses_less_than_half_a_point_in_int8(workspace: Workspace, name: str) -> None:
    trained(name).save(workspace.folder / "model.keras")
    measured = digits("test", "images")[TRAINED_ON:], digits("calibration", "images"), digits("test", "labels")[TRAINED_ON:]
    recipe = {
        "source": {"kind": "keras", "path": str(workspace.folder / "model.keras")},
        "signature": {"inputs": {"rows": {"mean": [0], "std": [255]}}},
        **samples(workspace.folder / "recipes" / name, "rows", *measured),
    }
    built = build_both(workspace, name, recipe)
    assert value(built.float32, "max_abs_error") < PARITY
    # Measured, float32 and int8: LSTM 95.9, 95.7; GRU 95.1, 94.9; bidirectional 96.3, 96.0; masked and stacked 96.8, 96.6%.
    assert value(built.float32, "top1") == reference(built.float32, "top1")
    assert value(built.float32, "top1") > 0.92
    assert value(built.int8, "top1") >= value(built.float32, "top1") - 0.005
    assert value(built.int8, "top1_agreement") > 0.98


def test_an_rnn_that_stays_a_loop_is_refused_by_calibrate_with_the_loops_name(workspace: Workspace) -> None:
    untrained("lstm").save(workspace.folder / "model.keras")
    recipe = {
        "source": {"kind": "keras", "path": str(workspace.folder / "model.keras")},
        "signature": {"inputs": {"rows": {"mean": [0], "std": [255]}}},
        **samples(
            workspace.folder / "recipes" / "lstm", "rows", digits("test", "images")[-9:], digits("calibration", "images")[:9]
        ),
    }
    workspace.write("lstm", recipe)
    report = workspace.build("recipe=lstm", "quantization=int8", "freeze.unroll=27")
    assert report.exit_code == 1
    assert report.error is not None
    assert "(WHILE " in report.error.message
    assert "lstm" in report.error.message
    assert "freeze.unroll=always" in report.error.hint
