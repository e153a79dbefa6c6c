"""Operators that LiteRT would compute wrongly as quantizers write them, each as a model of its own, in both backends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.plain import to_plain
from mlkit_build.quantization.kernels import NO_INT16, fit_to_kernels, wrong_for_kernel
from mlkit_build.quantization.offers import OFFERS
from mlkit_build.quantization.rules import RULES
from mlkit_build.recipe import Npz, Quantization, Rule
from mlkit_build.stages.params import CalibrateParams, QuantizeGraphParams, QuantizeParams
from mlkit_build.tflite import model as flatbuffer
from tests.quantization.test_rules import OPERATORS
from tests.sources.tf1 import digits, request
from tests.stages.built import PLAIN, converted, frozen, interpreted, weights

X = Npz(path="", features={"x": "x"})

# Operators that have weights, alone, with enough of them that TensorFlow's converter quantizes them too.
WEIGHTED: dict[str, tuple[list[int], Callable[[Any, Any], Any]]] = {
    "CONV_2D": ([6, 6, 16], lambda tf1, x: tf1.nn.conv2d(x, constant(tf1, 3, 3, 16, 32), [1, 1, 1, 1], "SAME")),
    "DEPTHWISE_CONV_2D": ([6, 6, 128], lambda tf1, x: tf1.nn.depthwise_conv2d(x, constant(tf1, 3, 3, 128, 1), [1] * 4, "SAME")),
    "FULLY_CONNECTED": ([256], lambda tf1, x: tf1.matmul(x, constant(tf1, 256, 16))),
    "TRANSPOSE_CONV": (
        [4, 4, 16],
        lambda tf1, x: tf1.nn.conv2d_transpose(x, constant(tf1, 3, 3, 8, 16), [1, 8, 8, 8], [1, 2, 2, 1], "SAME"),
    ),
    "BATCH_MATMUL": ([4, 16, 32], lambda tf1, x: tf1.matmul(x, constant(tf1, 1, 4, 32, 16))),
}
LIMITS = {"float16": 0.001, "dynamic_range": 0.02, "weight_only_int8": 0.015, "int8": 0.02, "int16x8": 0.015}
"""Greatest error by the range of the outputs: about twice what was measured. What is computed wrongly is off by 0.5 and more."""


def constant(tf1: Any, *shape: int) -> Any:
    return tf1.constant(weights(*shape))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Path]]:
    """Take a graph of one input through freeze, convert and calibrate, once; return all files."""
    known: dict[str, dict[str, Path]] = {}

    def build(name: str, shape: list[int], graph: Callable[[Any, Any], Any]) -> dict[str, Path]:
        from mlkit_build.stages.calibrate import calibrate

        if name in known:
            return known[name]
        folder = tmp_path_factory.mktemp(name)

        def whole(tf1: Any) -> None:
            tf1.identity(graph(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

        files = converted(frozen(whole, request({"x": "x:0"}, {"y": "y:0"}), folder), folder)
        np.savez(folder / "c.npz", x=digits(12, shape[1:]))
        files["calibration"] = folder / "c.npz"
        read = {name: files[name] for name in ("float.tflite", "signature.json", "calibration")}
        calibrate(to_plain(CalibrateParams(X, {"x": PLAIN})), read, folder)
        known[name] = {**files, **{name: folder / name for name in ("statistics.json", "calibration.json")}}
        return known[name]

    return build


def quantized(files: dict[str, Path], asked: Quantization, folder: Path) -> Path:
    from mlkit_build.stages.quantize import quantize
    from mlkit_build.stages.quantize_graph import quantize_graph

    if asked.backend == "converter":
        names = ["frozen_graph.pb", "signature.json", *(["calibration"] if asked.needs_calibration else [])]
        dataset = X if asked.needs_calibration else None
        params = QuantizeGraphParams(asked.mode, asked.io, asked.granularity, dataset, {"x": PLAIN})
        quantize_graph(to_plain(params), {name: files[name] for name in names}, folder)
    else:
        names = ["float.tflite", *(["statistics.json", "calibration.json"] if asked.needs_calibration else [])]
        params_ = QuantizeParams(asked.mode, asked.io, asked.granularity, rules=asked.rules)
        quantize(to_plain(params_), {name: files[name] for name in names}, folder)
    return folder / "model.tflite"


def operators(path: Path) -> list[str]:
    model = flatbuffer.read(path)
    return [flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in model.subgraphs[0].operators]


OFFERED = [
    (backend, mode, granularity)
    for backend, modes in OFFERS.items()
    for mode in LIMITS
    for granularity in (modes[mode].granularities if mode in modes else ())
]


@pytest.mark.parametrize(("backend", "mode", "granularity"), OFFERED)
@pytest.mark.parametrize("name", list(WEIGHTED))
def test_an_operator_with_weights_computes_the_same_in_every_mode_that_it_has(
    alone: Callable[..., dict[str, Path]], tmp_path: Path, name: str, backend: str, mode: str, granularity: str
) -> None:
    shape, graph = WEIGHTED[name]
    files = alone(name, [1, *shape], graph)
    asked = Quantization(mode=mode, granularity=granularity, backend=backend)
    if (name, mode, backend) == ("BATCH_MATMUL", "float16", "litert"):  # ai-edge-quantizer casts no such weights
        with pytest.raises(StageError, match="all 1 operators with weights kept them as float32: BATCH_MATMUL") as caught:
            quantized(files, asked, tmp_path)
        assert "quantization.backend=converter" in caught.value.hint
        return
    path = quantized(files, asked, tmp_path)
    assert name in operators(path)
    x = digits(12, shape)[:6]  # as calibrated: what lies beyond is clipped, which is another matter
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    assert np.abs(found - expected).max() <= LIMITS[mode] * np.ptp(expected)


def test_the_kernels_that_need_another_form_still_do(alone: Callable[..., dict[str, Path]], tmp_path: Path) -> None:
    # When this fails, LiteRT has learnt to compute it: `_spread` may go.
    shape, graph = WEIGHTED["DEPTHWISE_CONV_2D"]
    files = alone("DEPTHWISE_CONV_2D", [1, *shape], graph)
    path = quantized(files, Quantization(mode="dynamic_range", granularity="per_tensor"), tmp_path)
    edited = flatbuffer.read(path)
    (graph_,) = edited.subgraphs
    (operator,) = graph_.operators
    quantization = graph_.tensors[operator.inputs[1]].quantization
    quantization.scale, quantization.zeroPoint, quantization.quantizedDimension = quantization.scale[:1], [0], 0
    assert wrong_for_kernel(edited, graph_, operator) == "one scale, where its kernel reads 128"
    fit_to_kernels(edited)
    assert wrong_for_kernel(edited, graph_, operator) == ""
    assert flatbuffer.packed(edited) == path.read_bytes()


def test_integer_products_of_matrices_with_a_scale_per_channel_are_found_out(
    alone: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    shape, graph = WEIGHTED["BATCH_MATMUL"]
    files = alone("BATCH_MATMUL", [1, *shape], graph)
    edited = flatbuffer.read(quantized(files, Quantization(mode="int8"), tmp_path))
    (graph_,) = edited.subgraphs
    product = next(op for op in graph_.operators if len(op.inputs) == 2)
    assert wrong_for_kernel(edited, graph_, product) == ""
    graph_.tensors[product.inputs[1]].quantization.scale = [0.01] * 16
    assert wrong_for_kernel(edited, graph_, product) == "16 scales, where its kernel reads one"


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_operator_that_follows_anothers_rule_computes_in_int16_or_is_refused_by_name(
    alone: Callable[..., dict[str, Path]], tmp_path: Path, name: str
) -> None:
    shape, graph = OPERATORS[name]
    files = alone(name, shape, graph)
    if name in NO_INT16:
        with pytest.raises(StageError, match=rf"asked for int16x8, but 1 of \d operators stayed float: {name} \(") as caught:
            quantized(files, Quantization(mode="int16x8"), tmp_path)
        assert f"{{operator: {name}, mode: float32}}" in caught.value.hint
        return
    path = quantized(files, Quantization(mode="int16x8"), tmp_path)
    assert name in operators(path)
    x = digits(12, shape[1:])[:6]
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    assert np.abs(found - expected).max() <= 0.01 * np.ptp(expected)


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_a_rule_cannot_ask_for_what_no_kernel_has(alone: Callable[..., dict[str, Path]], tmp_path: Path, mode: str) -> None:
    shape, graph = OPERATORS["ELU"]
    asked = Quantization(mode=mode, rules=(Rule(operator="ELU", mode="int16x8"),))
    with pytest.raises(StageError, match=r"asked for int16x8, but 1 of 1 operators stayed float: ELU \("):
        quantized(alone("ELU", shape, graph), asked, tmp_path)


def test_sums_in_int16_run_whatever_their_scales_are(alone: Callable[..., dict[str, Path]], tmp_path: Path) -> None:
    # Ranges of 1, 1 and 2 have scales near powers of two, which LiteRT would otherwise shift by, and refuse: `input1_shift == 0`.
    files = alone("sums", [1, 8], lambda tf1, x: tf1.sqrt(1.0 + tf1.clip_by_value(tf1.abs(4 * x), 0.0, 1.0)) - 1.0)
    path = quantized(files, Quantization(mode="int16x8"), tmp_path)
    x = digits(12, [8])[:6]
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    np.testing.assert_allclose(found, expected, atol=0.001)


@pytest.mark.parametrize(("backend", "mode"), [("converter", "float16"), ("converter", "dynamic_range"), ("litert", "int8")])
def test_a_table_of_rows_to_pick_from_is_weights(tmp_path: Path, backend: str, mode: str) -> None:
    files = embedding(tmp_path)
    path = quantized(files, Quantization(mode=mode, backend=backend), tmp_path / "out")
    summary = json.loads((path.parent / "quantization.json").read_bytes())
    kind, size = ("float16", 2) if mode == "float16" else ("int8", 1)
    assert summary["weight_bytes"] == {kind: 64 * 32 * size}
    assert summary["warning"] == ""
    x = np.arange(18, dtype=np.int32).reshape(6, 3)
    found, expected = (interpreted(each, {"x": x})["y"] for each in (path, files["float.tflite"]))
    np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(expected))


def test_a_table_that_the_backend_cannot_store_smaller_is_named_with_the_backend_that_can(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="all 1 operators with weights kept them as float32: GATHER") as caught:
        quantized(embedding(tmp_path), Quantization(mode="dynamic_range"), tmp_path)
    assert "quantization.backend=converter" in caught.value.hint


def embedding(folder: Path) -> dict[str, Path]:
    """Build int32 [1, 3] -> rows [1, 3, 32] of a table of 64, with the files that every backend reads."""
    from mlkit_build.stages.calibrate import calibrate

    def graph(tf1: Any) -> None:
        tf1.identity(tf1.gather(constant(tf1, 64, 32), tf1.placeholder("int32", [1, 3], name="x")), name="y")

    files = converted(frozen(graph, request({"x": "x:0"}, {"y": "y:0"}), folder), folder)
    np.savez(folder / "c.npz", x=np.arange(60, dtype=np.int32).reshape(20, 3))
    files["calibration"] = folder / "c.npz"
    read = {name: files[name] for name in ("float.tflite", "signature.json", "calibration")}
    calibrate(to_plain(CalibrateParams(X, {"x": PLAIN})), read, folder)
    (folder / "out").mkdir()
    return {**files, **{name: folder / name for name in ("statistics.json", "calibration.json")}}
