from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import ConfigError, StageError
from mlkit_build.quantization.statistics import Statistics
from mlkit_build.recipe import Input, Npz
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.signatures import signed_tensors
from tests.sources.tf1 import digits
from tests.stages.built import (
    CLASSIFIER,
    IMAGE,
    PLAIN,
    TWO,
    calibrated,
    classifier,
    converted,
    frozen,
    interpreted,
    pictures,
    quantized,
    two_inputs,
)
from tests.stages.conftest import CALIBRATION, Built
from tests.stages.select import CROPPED, cropped
from tests.stages.select import converted as converted_with_select_ops
from tests.stages.select import quantized as quantized_with_select_ops


def ports(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return runner.get_input_details(), runner.get_output_details()


def real(values: Any, detail: dict[str, Any]) -> Any:
    scale, zero_point = detail["quantization"]
    return values if scale == 0 else (values.astype(np.float32) - zero_point) * np.float32(scale)


def as_input(raw: Any, detail: dict[str, Any]) -> Any:
    """What an app feeds: raw pixels to uint8, normalized values to float32, quantized ones to int8."""
    if detail["dtype"] == np.uint8:
        return raw
    normalized = raw.astype(np.float32) / 255
    if detail["dtype"] == np.float32:
        return normalized
    scale, zero_point = detail["quantization"]
    return np.clip(np.rint(normalized / scale) + zero_point, -128, 127).astype(np.int8)


VARIANTS = [("float16", "float32"), ("dynamic_range", "float32"), ("int8", "float32"), ("int8", "uint8"), ("int8", "int8")]


@pytest.mark.parametrize(("mode", "io"), VARIANTS)
def test_inputs_and_outputs_have_the_type_asked_for(built: Built, mode: str, io: str) -> None:
    inputs, outputs = ports(built.models[mode, io])
    assert inputs["picture"]["dtype"] == np.dtype(io)
    assert outputs["classes"]["dtype"] == np.dtype(io)


# Limits are twice what was measured with ai-edge-quantizer 0.10: float16 2.4e-5, dynamic range 2.3e-4, int8 3.6e-3 (one
# step of the int8 softmax is 1/256 = 3.9e-3).
@pytest.mark.parametrize(
    ("mode", "io", "limit"),
    [
        ("float16", "float32", 1e-4),
        ("dynamic_range", "float32", 2e-3),
        ("int8", "float32", 8e-3),
        ("int8", "uint8", 8e-3),
        ("int8", "int8", 8e-3),
    ],
)
def test_a_quantized_model_stays_close_to_the_float_model(built: Built, mode: str, io: str, limit: float) -> None:
    raw = pictures(32, seed=2)
    expected = interpreted(built.files["float.tflite"], {"picture": raw.astype(np.float32) / 255})["classes"]
    inputs, outputs = ports(built.models[mode, io])
    found = interpreted(built.models[mode, io], {"picture": as_input(raw, inputs["picture"])})["classes"]
    np.testing.assert_allclose(real(found, outputs["classes"]), expected, atol=limit)


def test_a_float16_model_has_half_and_an_int8_model_a_quarter_of_the_weights(built: Built) -> None:
    def weights(mode: str, kind: str) -> int:
        summary = json.loads((built.models[mode, "float32"].parent / "quantization.json").read_bytes())
        return int(summary["weight_bytes"].get(kind, 0))

    # 3*3*3*16 + 3*3*16 + 576*4 weights.
    assert weights("float16", "float16") == 2 * 2880
    assert weights("dynamic_range", "int8") == 2880
    assert weights("int8", "int8") == 2880


@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_an_int8_model_computes_with_integers_only(built: Built, io: str) -> None:
    graph = flatbuffer.read(built.models["int8", io]).subgraphs[0]
    model = flatbuffer.read(built.models["int8", io])
    for operator in graph.operators:
        name = flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])
        tensors = [graph.tensors[index] for index in [*operator.inputs, *operator.outputs] if index >= 0]
        if name not in ("QUANTIZE", "DEQUANTIZE"):
            assert not {flatbuffer.type_name(tensor) for tensor in tensors} & {"float32", "float16"}, name


def test_raw_pixels_through_uint8_give_what_quantized_pixels_give_through_int8(built: Built) -> None:
    raw = pictures(16, seed=3)
    by_uint8 = interpreted(built.models["int8", "uint8"], {"picture": raw})["classes"]
    inputs, _ = ports(built.models["int8", "int8"])
    by_int8 = interpreted(built.models["int8", "int8"], {"picture": as_input(raw, inputs["picture"])})["classes"]
    np.testing.assert_array_equal(by_uint8.astype(np.int32) - 128, by_int8)


def test_raw_pixels_through_uint8_give_what_normalized_pixels_give_through_float32(built: Built) -> None:
    raw = pictures(16, seed=3)
    _, outputs = ports(built.models["int8", "uint8"])
    by_uint8 = real(interpreted(built.models["int8", "uint8"], {"picture": raw})["classes"], outputs["classes"])
    by_float = interpreted(built.models["int8", "float32"], {"picture": raw.astype(np.float32) / 255})["classes"]
    np.testing.assert_array_equal(by_uint8, by_float)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 255.0), (128.0, 128.0), (127.0, 127.5), (0.0, 1.0), (0.0, 127.5)])
def test_a_uint8_pictures_scale_is_exactly_that_of_the_normalization(tmp_path: Path, mean: float, std: float) -> None:
    # What matters is that the pixel q means (q - zero_point) * scale = (q - mean) / std, whatever range the samples show.
    image = Input(mean=(mean,), std=(std,))
    files = converted(frozen(classifier, CLASSIFIER, tmp_path), tmp_path)
    np.savez(tmp_path / "dark.npz", images=pictures(8) // 4)
    ranges = calibrated(files, tmp_path / "dark.npz", CALIBRATION, {"picture": image}, tmp_path)
    inputs, _ = ports(quantized(files, "int8", "uint8", tmp_path / "out", ranges))
    scale, zero_point = inputs["picture"]["quantization"]
    assert np.float32(scale) == np.float32(1 / std)
    assert zero_point == mean


def test_a_model_of_several_inputs_becomes_int8(tmp_path: Path) -> None:
    files = converted(frozen(two_inputs, TWO, tmp_path), tmp_path)
    np.savez(tmp_path / "c.npz", a=digits(64, [8]), b=digits(64, [6], seed=4))
    spec = Npz(path="", features={"left": "a", "right": "b"})
    ranges = calibrated(files, tmp_path / "c.npz", spec, {"left": PLAIN, "right": PLAIN}, tmp_path)
    path = quantized(files, "int8", "float32", tmp_path / "out", ranges)
    feeds = {"left": digits(16, [8], seed=5), "right": digits(16, [6], seed=6)}
    found, expected = interpreted(path, feeds), interpreted(files["float.tflite"], feeds)
    for name in ("wide", "narrow"):
        span = np.ptp(expected[name])
        np.testing.assert_allclose(found[name], expected[name], atol=0.04 * span)


def test_calibrating_twice_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    again = calibrated(built.files, built.calibration, CALIBRATION, {"picture": IMAGE}, tmp_path)
    assert again.read_bytes() == built.statistics.read_bytes()


@pytest.mark.parametrize("samples", [None, 10])
def test_the_order_of_samples_in_the_file_does_not_change_the_statistics(
    built: Built, tmp_path: Path, samples: int | None
) -> None:
    images = pictures(48, seed=11)
    spec = Npz(path="", features={"picture": "images"}, samples=samples)
    found = []
    for name, order in (("forward", images), ("backward", images[::-1])):
        np.savez(tmp_path / f"{name}.npz", images=order)
        path = calibrated(built.files, tmp_path / f"{name}.npz", spec, {"picture": IMAGE}, tmp_path / name)
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_a_range_holds_every_value_that_the_samples_produce(tmp_path: Path) -> None:
    # ai-edge-quantizer's own default averages the samples' ranges, so that the tenfold sample would be clipped.
    files = converted(frozen(two_inputs, TWO, tmp_path), tmp_path)
    a, b = digits(64, [8]), digits(64, [6], seed=4)
    a[5] *= 10
    np.savez(tmp_path / "c.npz", a=a, b=b)
    spec = Npz(path="", features={"left": "a", "right": "b"})
    path = calibrated(files, tmp_path / "c.npz", spec, {"left": PLAIN, "right": PLAIN}, tmp_path)
    wide = interpreted(files["float.tflite"], {"left": a, "right": b})["wide"]
    names = {name: tensor for tensor, name in signed_tensors(flatbuffer.read(files["float.tflite"])).items()}
    found = Statistics.read(path).ranges[names["wide"]]
    assert (found["min"].item(), found["max"].item()) == (wide.min(), wide.max())


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e38, -1e31])
def test_a_calibration_sample_that_no_range_can_hold_is_refused_and_named(tmp_path: Path, value: float) -> None:
    files = converted(frozen(two_inputs, TWO, tmp_path), tmp_path)
    a = digits(40, [8])
    a[37, 2] = value
    np.savez(tmp_path / "c.npz", a=a, b=digits(40, [6]))
    spec = Npz(path="", features={"left": "a", "right": "b"})
    with pytest.raises(ConfigError, match=r"array 'a': sample 37"):
        calibrated(files, tmp_path / "c.npz", spec, {"left": PLAIN, "right": PLAIN}, tmp_path)


def test_quantizing_twice_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    for (mode, io), path in built.models.items():
        if mode != "float32":
            again = quantized(built.files, mode, io, tmp_path / f"{mode}{io}", built.statistics if mode == "int8" else None)
            assert again.read_bytes() == path.read_bytes()


def test_a_model_without_weights_is_built_with_a_warning_that_the_mode_changes_nothing(tmp_path: Path) -> None:
    from tests.sources.tf1 import request

    def plus_one(tf1: Any) -> None:
        tf1.add(tf1.placeholder("float32", [1, 3], name="x"), 1.0, name="y")

    files = converted(frozen(plus_one, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    path = quantized(files, "dynamic_range", "float32", tmp_path / "out")
    assert "this is the float32 model" in json.loads((path.parent / "quantization.json").read_bytes())["warning"]


def test_int8_of_a_model_with_an_operator_that_has_no_integer_form_is_refused(tmp_path: Path) -> None:
    from tests.sources.tf1 import request

    def sine(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 8], name="x")
        tf1.matmul(tf1.sin(x), tf1.constant(digits(8, [8])), name="y")

    files = converted(frozen(sine, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    np.savez(tmp_path / "c.npz", x=digits(16, [8]))
    spec = Npz(path="", features={"x": "x"})
    ranges = calibrated(files, tmp_path / "c.npz", spec, {"x": PLAIN}, tmp_path)
    with pytest.raises(StageError, match=r"asked for int8, but 1 of \d operators stayed float: SIN") as caught:
        quantized(files, "int8", "float32", tmp_path / "out", ranges)
    assert "dynamic_range" in caught.value.hint


def flex_options(path: Path) -> list[bytes]:
    model = flatbuffer.read(path)
    custom = [operator for operator in model.subgraphs[0].operators if operator.customOptions is not None]
    return [bytes(operator.customOptions) for operator in custom]


@pytest.mark.parametrize(("mode", "kind"), [("float16", "float16"), ("dynamic_range", "int8")])
def test_quantizing_weights_leaves_a_flex_operator_as_it_was(tmp_path: Path, mode: str, kind: str) -> None:
    files = converted_with_select_ops(cropped, CROPPED, tmp_path)
    path = quantized_with_select_ops(files, mode, tmp_path / "out")
    summary = json.loads((path.parent / "quantization.json").read_bytes())
    assert summary["operators"]["FlexCropAndResize"] == 1
    # 3*3*3*32 weights of the convolution and 4*4*32*10 of the dense layer.
    assert summary["weight_bytes"][kind] == (864 + 5120) * np.dtype(kind).itemsize
    assert summary["warning"] == ""
    assert len(flex_options(path)) == 1
    assert flex_options(path) == flex_options(files["float.tflite"])


@pytest.mark.parametrize("mode", ["float16", "dynamic_range"])
def test_a_flex_operator_that_was_not_asked_for_is_refused(tmp_path: Path, mode: str) -> None:
    files = converted_with_select_ops(cropped, CROPPED, tmp_path)
    with pytest.raises(StageError, match="operators that are not built in: FlexCropAndResize"):
        quantized_with_select_ops(files, mode, tmp_path / "out", allow_select_ops=False)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((3, 12, 12, 3), np.uint8), "every value of all 3 samples is 0"),
        (np.full((1, 12, 12, 3), 255, np.uint8), "every value of the one sample is 1"),
        (np.repeat(pictures(1), 4, axis=0), "all 4 samples are the same"),
        (pictures(1), ""),
        (np.concatenate([np.zeros((40, 12, 12, 3), np.uint8), pictures(1)]), ""),
    ],
)
def test_calibration_samples_that_never_vary_are_warned_of(built: Built, tmp_path: Path, images: Any, said: str) -> None:
    archive = tmp_path / "c.npz"
    np.savez(archive, images=images)
    statistics = calibrated(built.files, archive, CALIBRATION, {"picture": IMAGE}, tmp_path)
    quantized(built.files, "int8", "float32", tmp_path / "q", statistics)
    warning = json.loads((tmp_path / "q/quantization.json").read_bytes())["warning"]
    assert warning == (
        f"calibration input 'picture' never varies: {said}; calibrate on samples of the training set" if said else ""
    )
