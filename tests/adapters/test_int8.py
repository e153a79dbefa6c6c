"""What adapters put into a graph can be quantized: full-integer models, measured against their float models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.adapters import FrozenModel
from mlkit_build.recipe import Input, Npz
from tests.adapters.models import adapted, classifier, model
from tests.sources.tf1 import write_frozen
from tests.stages.built import calibrated, converted, interpreted, pictures, quantized, weights

RAW = Input(mean=(0.0,), std=(1.0,))
CALIBRATION = Npz(path="", features={"image": "images"})
NORMALIZE: dict[str, Any] = {"normalize": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}}


def unfoldable() -> FrozenModel:
    """Return a classifier of [1, 12, 12, 3] whose image also goes into a pool, so that nothing can go into its kernels."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 12, 12, 3], name="x")
        h = tf1.concat([tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 3, 13)), 2, "SAME"), tf1.nn.max_pool2d(x, 2, 2, "SAME")], 3)
        tf1.matmul(tf1.reshape(h, [1, 576]), tf1.constant(weights(576, 4)), name="y")

    return model(build, {"image": "x"}, {"scores": "y"})


def first() -> FrozenModel:
    """Return a classifier of [1, 3, 12, 13] with a transposition that does not come first."""

    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 3, 12, 13], name="x")
        h = tf1.transpose(tf1.nn.relu(x), [0, 2, 3, 1])
        h = tf1.reshape(tf1.nn.relu(tf1.nn.conv2d(h, tf1.constant(weights(3, 3, 3, 8)), 2, "SAME")), [1, 336])
        tf1.reshape(tf1.matmul(h, tf1.constant(weights(336, 4))), [1, 1, 4], name="y")

    return model(build, {"image": "x"}, {"scores": "y"})


MODELS: dict[str, tuple[FrozenModel, list[Any]]] = {
    "in front": (unfoldable(), ["bgr_to_rgb", NORMALIZE, {"resize": {"height": 16, "width": 16}}, "softmax"]),
    "in the kernels": (
        classifier(3, 12),
        ["bgr_to_rgb", NORMALIZE, {"resize": {"height": 16, "width": 16, "method": "nearest"}}, "sigmoid"],
    ),
    "channels first": (
        first(),
        ["nchw_to_nhwc", NORMALIZE, {"resize": {"height": 16, "width": 16}}, "squeeze_output", "softmax"],
    ),
}

# Twice what was measured with ai-edge-quantizer 0.10; a step of the int8 scores is 1/256 = 0.004.
LIMITS = {"in front": 0.021, "in the kernels": 0.054, "channels first": 0.012}


@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_adapted_models_become_full_integer_models(name: str, io: str, tmp_path: Path) -> None:
    old, adapters = MODELS[name]
    files = converted(write_frozen(adapted(old, *adapters), tmp_path), tmp_path)
    np.savez(tmp_path / "pictures.npz", images=pictures(24, seed=11, size=16))
    statistics = calibrated(files, tmp_path / "pictures.npz", CALIBRATION, {"image": RAW}, tmp_path)
    # quantize's own truth check refuses the model if an operator stayed float
    shipped = quantized(files, "int8", io, tmp_path, statistics)
    raw = pictures(8, seed=3, size=16)
    expected = interpreted(files["float.tflite"], {"image": raw.astype(np.float32)})["scores"]
    found = interpreted(shipped, {"image": raw.astype(io)})["scores"]
    scores = found.astype(np.float32) / (256 if io == "uint8" else 1)
    np.testing.assert_allclose(scores, expected, atol=LIMITS[name])


@pytest.mark.parametrize("mode", ["float16", "int8"])
def test_a_cast_of_the_input_stays_before_what_is_quantized(tmp_path: Path, mode: str) -> None:
    files = converted(write_frozen(adapted(classifier(3, 12), NORMALIZE, "cast_input"), tmp_path), tmp_path)
    np.savez(tmp_path / "pictures.npz", images=pictures(24, seed=11))
    statistics = calibrated(files, tmp_path / "pictures.npz", CALIBRATION, {"image": RAW}, tmp_path)
    shipped = quantized(files, mode, "float32", tmp_path, statistics if mode == "int8" else None)
    raw = pictures(24, seed=11)
    expected, found = (interpreted(path, {"image": raw})["scores"] for path in (files["float.tflite"], shipped))
    # int8: two operators' steps of 1/255 of the scores' range.
    np.testing.assert_allclose(found, expected, atol=0.02 if mode == "float16" else 0.03 * np.ptp(expected))
