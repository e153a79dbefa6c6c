from __future__ import annotations

import numpy as np
import pytest

from mlkit_build.signature import FrozenSignature
from mlkit_build.tflite.runner import Runner
from tests.stages.built import interpreted, pictures
from tests.stages.conftest import Built


def run(runner: Runner, values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Fill the one input and return the one output."""
    runner.buffer("picture")[...] = runner.encode("picture", values)
    (found,) = runner.invoke()
    return found


def signature(built: Built) -> FrozenSignature:
    return FrozenSignature.read(built.files["signature.json"])


def test_a_float_model_runs_bit_for_bit_as_in_a_plain_interpreter(built: Built) -> None:
    values = pictures(4).astype(np.float32) / 255
    runner = Runner(built.files["float.tflite"], signature(built))
    expected = interpreted(built.files["float.tflite"], {"picture": values})["classes"]
    for index in range(4):
        found = run(runner, values[index : index + 1])
        np.testing.assert_array_equal(found, expected[index : index + 1])


def test_a_batch_gives_a_row_for_each_sample(built: Built) -> None:
    values = pictures(6).astype(np.float32) / 255
    found = run(Runner(built.files["float.tflite"], signature(built), batch=6), values)
    expected = interpreted(built.files["float.tflite"], {"picture": values})["classes"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_integer_outputs_come_back_as_real_values(built: Built) -> None:
    raw = pictures(3)
    runner = Runner(built.models["int8", "uint8"], signature(built))
    for index in range(3):
        found = run(runner, raw[index : index + 1])
        assert found.dtype == np.float32
        # The int8 softmax has the fixed scale 1/256 (kernel specification of LiteRT).
        assert np.all(found * 256 == np.rint(found * 256))
        assert found.sum() == pytest.approx(1, abs=0.02)


def test_real_values_are_rounded_and_clipped_for_an_integer_input(built: Built) -> None:
    runner = Runner(built.models["int8", "int8"], signature(built))
    inside = run(runner, np.full((1, 12, 12, 3), 1.0, np.float32))
    beyond = run(runner, np.full((1, 12, 12, 3), 5.0, np.float32))
    np.testing.assert_array_equal(inside, beyond)
