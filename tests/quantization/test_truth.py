from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.quantization.truth import check, read_truth
from mlkit_build.recipe import Npz, Quantization
from mlkit_build.recipe import Quantization
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import schema
from tests.sources.tf1 import request
from tests.stages.built import PLAIN, calibrated, converted, frozen, quantized, weights
from tests.stages.conftest import Built

FLOAT = ("float32",)


def model(built: Built, mode: str, io: str = "float32") -> Any:
    return flatbuffer.read(built.models[mode, io])


@pytest.mark.parametrize(
    ("mode", "io"),
    [("float16", "float32"), ("dynamic_range", "float32"), ("int8", "float32"), ("int8", "uint8"), ("int8", "int8")],
)
def test_a_model_that_is_what_was_asked_passes_without_a_warning(built: Built, mode: str, io: str) -> None:
    truth = check(model(built, mode, io), Quantization(mode=mode, io=io), FLOAT, FLOAT)
    assert truth.warning == ""
    assert truth.left_float == ()


@pytest.mark.parametrize("given", ["float32", "float16", "dynamic_range"])
def test_a_float_model_is_not_taken_for_int8(built: Built, given: str) -> None:
    with pytest.raises(StageError, match=r"asked for int8, but \d+ of \d+ operators stayed float: CONV_2D"):
        check(model(built, given), Quantization(mode="int8", io="float32"), FLOAT, FLOAT)


@pytest.mark.parametrize("asked", ["float16", "dynamic_range"])
def test_a_float32_model_is_not_taken_for_one_with_smaller_weights(built: Built, asked: str) -> None:
    with pytest.raises(StageError, match=f"asked for {asked}, but all 3 operators with weights kept them as float32: CONV_2D"):
        check(model(built, "float32"), Quantization(mode=asked, io="float32"), FLOAT, FLOAT)


def test_one_operator_left_float_among_others_is_named_in_a_warning(built: Built) -> None:
    edited = model(built, "dynamic_range")
    graph, original = edited.subgraphs[0], model(built, "float32")
    dense = next(op for op in graph.operators if name_of(edited, op) == "FULLY_CONNECTED")
    plain = next(op for op in original.subgraphs[0].operators if name_of(original, op) == "FULLY_CONNECTED")
    tensor = copy.deepcopy(original.subgraphs[0].tensors[plain.inputs[1]])
    edited.buffers.append(original.buffers[tensor.buffer])
    tensor.buffer = len(edited.buffers) - 1
    graph.tensors[dense.inputs[1]] = tensor
    truth = check(edited, Quantization(mode="dynamic_range", io="float32"), FLOAT, FLOAT)
    assert truth.warning.startswith("1 of 3 operators with weights kept them as float32: FULLY_CONNECTED (")


def name_of(model: Any, operator: Any) -> str:
    return flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])


def add_custom(edited: Any) -> None:
    code = edited.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = schema().BuiltinOperator.CUSTOM, 32, b"FlexErf"


def scale_of(value: float) -> Callable[[Any], None]:
    def edit(edited: Any) -> None:
        tensor = next(
            tensor
            for tensor in edited.subgraphs[0].tensors
            if tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale)
        )
        tensor.quantization.scale = np.array([value] * len(tensor.quantization.scale), np.float32)

    return edit


def input_type(edited: Any) -> None:
    graph = edited.subgraphs[0]
    graph.tensors[graph.inputs[0]].type = schema().TensorType.INT16


def output_type(edited: Any) -> None:
    graph = edited.subgraphs[0]
    graph.tensors[graph.outputs[0]].type = schema().TensorType.FLOAT32


def float_operator(edited: Any) -> None:
    graph = edited.subgraphs[0]
    operator = next(op for op in graph.operators if name_of(edited, op) == "AVERAGE_POOL_2D")
    graph.tensors[operator.outputs[0]].type = schema().TensorType.FLOAT32


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (add_custom, "operators that are not built in: FlexErf"),
        (scale_of(float("nan")), "has the scale nan; expected a positive number"),
        (scale_of(float("inf")), "has the scale inf; expected a positive number"),
        (scale_of(0.0), r"has the scale 0\.0; expected a positive number"),
        (scale_of(-1.0), r"has the scale -1\.0; expected a positive number"),
        (input_type, "the inputs are int16; asked for int8"),
        (output_type, "the outputs are float32; asked for int8"),
        (float_operator, r"but \d of \d operators stayed float: AVERAGE_POOL_2D"),
    ],
)
def test_a_model_edited_into_something_else_is_found_out(built: Built, edit: Callable[[Any], None], message: str) -> None:
    edited = model(built, "int8", "int8")
    check(edited, Quantization(mode="int8", io="int8"), FLOAT, FLOAT)
    edit(edited)
    with pytest.raises(StageError, match=message):
        check(edited, Quantization(mode="int8", io="int8"), FLOAT, FLOAT)


def test_where_flex_operators_are_allowed_other_custom_operators_are_not(built: Built) -> None:
    edited = model(built, "float16")
    add_custom(edited)
    assert "FlexErf" in check(edited, Quantization(mode="float16", io="float32"), FLOAT, FLOAT, allow_select_ops=True).operators
    edited.operatorCodes[0].customCode = b"NotFlexErf"
    with pytest.raises(StageError, match="operators that are not built in: NotFlexErf"):
        check(edited, Quantization(mode="float16", io="float32"), FLOAT, FLOAT, allow_select_ops=True)


def test_a_model_of_conversions_only_is_not_taken_for_int8(built: Built) -> None:
    edited = model(built, "int8", "float32")
    graph = edited.subgraphs[0]
    graph.operators = [op for op in graph.operators if name_of(edited, op) in ("QUANTIZE", "DEQUANTIZE")]
    with pytest.raises(StageError, match="has no operator that computes"):
        check(edited, Quantization(mode="int8", io="float32"), FLOAT, FLOAT)


def test_an_integer_input_keeps_its_type_whatever_io_says(built: Built) -> None:
    edited = model(built, "int8", "uint8")
    graph = edited.subgraphs[0]
    graph.tensors[graph.inputs[0]].type = schema().TensorType.INT32
    assert check(edited, Quantization(mode="int8", io="uint8"), ("int32",), FLOAT).inputs == ("int32",)


def test_the_cast_of_an_integer_input_is_a_boundary_and_any_other_is_not(tmp_path: Path) -> None:
    def pixels(tf1: Any) -> None:
        x = tf1.placeholder("uint8", [1, 8], name="x")
        h = tf1.matmul(tf1.cast(x, "float32"), tf1.constant(weights(8, 6)))
        tf1.identity(tf1.matmul(h, tf1.constant(weights(6, 3))), name="y")

    files = converted(frozen(pixels, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    np.savez(tmp_path / "c.npz", x=np.arange(128, dtype=np.uint8).reshape(16, 8))
    statistics = calibrated(files, tmp_path / "c.npz", Npz(path="", features={"x": "x"}), {"x": PLAIN}, tmp_path)
    edited = flatbuffer.read(quantized(files, "int8", "float32", tmp_path / "out", statistics))
    truth = check(edited, Quantization(mode="int8", io="float32"), ("uint8",), FLOAT)
    assert (truth.operators["CAST"], truth.float_operators) == (1, 0)
    graph = edited.subgraphs[0]
    cast = next(op for op in graph.operators if name_of(edited, op) == "CAST")
    inside = next(op for op in graph.operators if name_of(edited, op) == "FULLY_CONNECTED")
    cast.inputs = [inside.outputs[0]]
    with pytest.raises(StageError, match="1 of 3 operators stayed float: CAST"):
        check(edited, Quantization(mode="int8", io="float32"), ("uint8",), FLOAT)


def test_the_truth_counts_operators_by_what_they_compute_with(built: Built) -> None:
    floating, hybrid, integer = (read_truth(model(built, mode)) for mode in ("float32", "dynamic_range", "int8"))
    # CONV_2D, DEPTHWISE_CONV_2D, AVERAGE_POOL_2D, RESHAPE, FULLY_CONNECTED, SOFTMAX; three of them have weights.
    assert (floating.float_operators, floating.hybrid_operators, floating.integer_operators) == (6, 0, 0)
    assert (hybrid.float_operators, hybrid.hybrid_operators, hybrid.integer_operators) == (6, 3, 0)
    assert (integer.float_operators, integer.hybrid_operators, integer.integer_operators) == (0, 0, 6)


def test_the_truth_lists_operators_and_weights(built: Built) -> None:
    truth = read_truth(model(built, "dynamic_range"))
    assert truth.operators["CONV_2D"] == 1
    assert truth.weight_bytes["int8"] == 3 * 3 * 3 * 16 + 3 * 3 * 16 + 6 * 6 * 16 * 4
    assert (truth.inputs, truth.outputs) == (FLOAT, FLOAT)
