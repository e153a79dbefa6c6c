from __future__ import annotations

import numpy as np
import pytest

from mlkit_build.signature import FrozenSignature
from mlkit_build.tflite.runner import Runner
from tests.stages.built import interpreted, pictures
from tests.stages.conftest import Built


def signature(built: Built) -> FrozenSignature:
    return FrozenSignature.read(built.files["signature.json"])


def test_a_float_model_runs_bit_for_bit_as_in_a_plain_interpreter(built: Built) -> None:
    values = pictures(4).astype(np.float32) / 255
    runner = Runner(built.files["float.tflite"], signature(built))
    expected = interpreted(built.files["float.tflite"], {"picture": values})["classes"]
    for index in range(4):
        (found,) = runner.run({"picture": values[index : index + 1]})
        np.testing.assert_array_equal(found, expected[index : index + 1])


def test_a_batch_gives_a_row_for_each_sample(built: Built) -> None:
    values = pictures(6).astype(np.float32) / 255
    (found,) = Runner(built.files["float.tflite"], signature(built), batch=6).run({"picture": values})
    expected = interpreted(built.files["float.tflite"], {"picture": values})["classes"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("io", "pixels"), [("float32", False), ("uint8", True), ("int8", False)])
def test_only_a_uint8_input_takes_pixels(built: Built, io: str, pixels: bool) -> None:
    assert Runner(built.models["int8", io], signature(built)).takes_pixels("picture") == pixels


def test_integer_outputs_come_back_as_real_values(built: Built) -> None:
    raw = pictures(3)
    runner = Runner(built.models["int8", "uint8"], signature(built))
    for index in range(3):
        (found,) = runner.run({"picture": raw[index : index + 1]})
        assert found.dtype == np.float32
        # The int8 softmax has the fixed scale 1/256 (kernel specification of LiteRT).
        assert np.all(found * 256 == np.rint(found * 256))
        assert found.sum() == pytest.approx(1, abs=0.02)


def test_real_values_are_rounded_and_clipped_for_an_integer_input(built: Built) -> None:
    runner = Runner(built.models["int8", "int8"], signature(built))
    inside = runner.run({"picture": np.full((1, 12, 12, 3), 1.0, np.float32)})[0]
    beyond = runner.run({"picture": np.full((1, 12, 12, 3), 5.0, np.float32)})[0]
    np.testing.assert_array_equal(inside, beyond)
