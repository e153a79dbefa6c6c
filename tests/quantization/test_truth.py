from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.quantization.truth import check, read_truth
from mlkit_build.recipe import Npz, Quantization, Rule
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import schema
from tests.quantization.models import Tower
from tests.quantization.models import quantized as make_tower
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


# What was asked, and a model that is something else ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tower: Tower, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Quantization], Any]:
    """Quantize the tower; return a `ModelT` of one's own."""
    known: dict[Quantization, Path] = {}

    def make(asked: Quantization) -> Any:
        if asked not in known:
            known[asked] = make_tower(tower, asked, tmp_path_factory.mktemp("made"))[0]
        return flatbuffer.read(known[asked])

    return make


def asked(mode: str, **rest: Any) -> Quantization:
    return Quantization(mode=mode, **rest)


HEAD_FLOAT = (Rule(tensor="^head/", mode="float32"),)

WRONG = {
    "int8 for int16x8": (asked("int8"), asked("int16x8"), "asked for int16x8, but 8 of 8 operators compute in int8: CONV_2D"),
    "int16x8 for int8": (asked("int16x8"), asked("int8"), "asked for int8, but 8 of 8 operators compute in int16: CONV_2D"),
    "dynamic_range for int8": (asked("dynamic_range"), asked("int8"), "asked for int8, but 8 of 8 operators stayed float"),
    "weight_only_int8 for int16x8": (asked("weight_only_int8"), asked("int16x8"), "but 8 of 8 operators stayed float"),
    "one float operator for int8": (
        asked("int8", rules=HEAD_FLOAT),
        asked("int8"),
        r"asked for int8, but 1 of 8 operators stayed float: FULLY_CONNECTED \(head/logits1\)",
    ),
    "one int16 operator for int8": (
        asked("int8", rules=(Rule(operator="LEAKY_RELU", mode="int16x8"),)),
        asked("int8"),
        r"asked for int8, but 1 of 8 operators compute in int16: LEAKY_RELU \(body/",
    ),
    "int8 for a rule's int16x8": (
        asked("int8"),
        asked("int8", rules=(Rule(tensor="^head/", mode="int16x8"),)),
        r"asked for int16x8, but 1 of 1 operators compute in int8: FULLY_CONNECTED \(head/",
    ),
    "int8 for a rule's float32": (
        asked("int8"),
        asked("int8", rules=HEAD_FLOAT),
        r"1 operators were to be float32, but compute with quantized integers: FULLY_CONNECTED \(head/",
    ),
    "int8 weights for a rule's float32": (
        asked("dynamic_range"),
        asked("dynamic_range", rules=HEAD_FLOAT),
        r"1 operators were to be float32, but compute with quantized integers: FULLY_CONNECTED \(head/",
    ),
    "float16 weights for a rule's float32": (
        asked("float16"),
        asked("float16", rules=HEAD_FLOAT),
        "1 operators were to be float32",
    ),
    "int8 for dynamic_range": (
        asked("int8"),
        asked("dynamic_range"),
        "8 operators were to be dynamic_range, but compute with quantized integers: CONV_2D",
    ),
    "float16 for dynamic_range": (
        asked("float16"),
        asked("dynamic_range"),
        "asked for dynamic_range, but 4 operators have weights of another type than int8: CONV_2D",
    ),
    "int8 for int4 weights": (
        asked("dynamic_range"),
        asked("dynamic_range_int4"),
        "asked for dynamic_range_int4, but 2 operators have weights of another type than int4: FULLY_CONNECTED",
    ),
    "one int8 for int4 weights": (
        asked("dynamic_range_int4", rules=(Rule(tensor="^body/", mode="dynamic_range"),)),
        asked("dynamic_range_int4"),
        r"but 1 operators have weights of another type than int4: FULLY_CONNECTED \(body/",
    ),
    "int4 for int8 weights": (
        asked("weight_only_int4"),
        asked("weight_only_int8"),
        "3 operators have weights of another type than int8",
    ),
    "weight_only_int8 for dynamic_range": (
        asked("weight_only_int8"),
        asked("dynamic_range"),
        "asked for dynamic_range, but 4 operators widen their weights: CONV_2D",
    ),
    "dynamic_range for weight_only_int8": (
        asked("dynamic_range"),
        asked("weight_only_int8"),
        "asked for weight_only_int8, but 4 operators do not widen their weights: CONV_2D",
    ),
    "per_channel for per_tensor": (
        asked("int8"),
        asked("int8", granularity="per_tensor"),
        r"granularity=per_tensor, but the weights of 4 operators are per_channel axis 0, per_channel axis 3: CONV_2D",
    ),
    "per_channel for blocks": (
        asked("dynamic_range_int4"),
        asked("dynamic_range_int4", granularity="blockwise_32"),
        "asked for quantization.granularity=blockwise_32, but the weights of 2 operators are per_channel axis 0: FULLY_CONNECTED",
    ),
    "other blocks": (
        asked("dynamic_range_int4", granularity="blockwise_64"),
        asked("dynamic_range_int4", granularity="blockwise_32"),
        "asked for quantization.granularity=blockwise_32, but the weights of 2 operators are blockwise_64",
    ),
    "blocks for per_tensor": (
        asked("dynamic_range_int4", granularity="blockwise_64"),
        asked("dynamic_range_int4", granularity="per_tensor"),
        "the weights of 4 operators are blockwise_64, per_channel axis 0, per_channel axis 3",
    ),
    "uint8 for int8": (asked("int8", io="uint8"), asked("int8", io="int8"), "the inputs are uint8; asked for int8"),
    "float32 for uint8": (asked("int8"), asked("int8", io="uint8"), "the inputs are float32; asked for uint8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_is_something_else_is_refused_with_the_operators_that_are(
    made: Callable[[Quantization], Any], name: str
) -> None:
    given, wanted, said = WRONG[name]
    check(made(given), given, FLOAT, FLOAT)
    with pytest.raises(StageError, match=said):
        check(made(given), wanted, FLOAT, FLOAT)


def operator_of(edited: Any, name: str) -> Any:
    return next(operator for operator in edited.subgraphs[0].operators if name_of(edited, operator) == name)


def quantization_of(edited: Any, name: str) -> Any:
    return edited.subgraphs[0].tensors[operator_of(edited, name).inputs[1]].quantization


@pytest.mark.parametrize(
    ("name", "mode", "axis", "said"),
    [
        ("CONV_2D", "int8", 3, "a scale for each channel of axis 3, where its kernel reads axis 0"),
        ("FULLY_CONNECTED", "dynamic_range", 1, "a scale for each channel of axis 1, where its kernel reads axis 0"),
        ("DEPTHWISE_CONV_2D", "int16x8", 0, "a scale for each channel of axis 0, where its kernel reads axis 3"),
    ],
)
def test_scales_along_another_axis_than_the_kernels_are_refused(
    made: Callable[[Quantization], Any], name: str, mode: str, axis: int, said: str
) -> None:
    edited = made(asked(mode))
    quantization_of(edited, name).quantizedDimension = axis
    with pytest.raises(StageError, match=rf"{name} \(.*\) has weights with {said}"):
        check(edited, asked(mode), FLOAT, FLOAT)


def test_one_scale_for_all_channels_is_told_of_where_each_was_to_have_its_own(made: Callable[[Quantization], Any]) -> None:
    edited = made(asked("int8"))
    quantization_of(edited, "CONV_2D").scale = [0.01]
    assert check(edited, asked("int8"), FLOAT, FLOAT).warning.startswith(
        "1 operators have one scale for all channels of their weights: CONV_2D ("
    )


# Figures, counted by hand --------------------------------------------------------------------------------------------------

CONV, DEPTHWISE, BODY, HEAD = 3 * 3 * 3 * 64, 3 * 3 * 64, 256 * 256, 256 * 4
SHAPE_BYTES = 2 * 4
"""RESHAPE's second input."""


def test_the_figures_of_an_int8_model_are_those_counted_by_hand(made: Callable[[Quantization], Any]) -> None:
    truth = read_truth(made(asked("int8")))
    weights, biases = CONV + DEPTHWISE + BODY + HEAD, 4 * (64 + 64)
    assert (truth.integer_operators, truth.float_operators, truth.integer_share) == (8, 0, 1.0)
    assert truth.operators["QUANTIZE"] == truth.operators["DEQUANTIZE"] == 1
    assert truth.weight_bytes == {"int32": biases + SHAPE_BYTES, "int8": weights}
    assert truth.integer_bytes_share == 1.0
    assert truth.weight_scales == {"per_channel axis 0": 3, "per_channel axis 3": 1}
    assert (truth.quantize_pairs, truth.unread_bytes) == (0, 0)


def test_the_figures_of_a_mixed_model_are_those_counted_by_hand(made: Callable[[Quantization], Any]) -> None:
    truth = read_truth(made(asked("int8", rules=(Rule(operator="FULLY_CONNECTED", mode="float32"),))))
    kept, biases = 4 * (BODY + HEAD), 4 * (64 + 64)
    assert (truth.integer_operators, truth.float_operators, truth.integer_share) == (6, 2, 0.75)
    assert truth.weight_bytes == {"float32": kept, "int32": biases + SHAPE_BYTES, "int8": CONV + DEPTHWISE}
    whole = kept + biases + SHAPE_BYTES + CONV + DEPTHWISE
    assert truth.integer_bytes_share == pytest.approx(1 - kept / whole, abs=5e-5)
    assert truth.weight_scales == {"per_channel axis 0": 1, "per_channel axis 3": 1}


def test_the_figures_of_int4_blocks_are_those_counted_by_hand(made: Callable[[Quantization], Any]) -> None:
    truth = read_truth(made(asked("dynamic_range_int4", granularity="blockwise_32")))
    assert truth.weight_bytes["int4"] == (BODY + HEAD) // 2
    assert truth.weight_bytes["int8"] == CONV + DEPTHWISE, "for which there are no int4 kernels to trust"
    assert truth.weight_bytes["float16"] == 2 * (BODY + HEAD) // 32, "a scale for every block, which the weights' tensor names"
    assert truth.weight_bytes["float32"] == 4 * 64, "the two biases, all zeros, are one constant"
    assert truth.weight_scales == {"blockwise_32": 2, "per_channel axis 0": 1, "per_channel axis 3": 1}
    assert truth.unread_bytes == 0
    assert (truth.hybrid_operators, truth.float_operators) == (4, 8)


def test_one_scale_that_is_written_for_every_channel_is_one_scale(made: Callable[[Quantization], Any]) -> None:
    edited = made(asked("dynamic_range", granularity="per_tensor"))
    assert len(quantization_of(edited, "DEPTHWISE_CONV_2D").scale) == 64
    assert read_truth(edited).weight_scales == {"per_tensor": 4}


def test_values_that_are_widened_only_to_be_quantized_again_are_counted(made: Callable[[Quantization], Any]) -> None:
    edited = made(asked("int8"))
    graph = edited.subgraphs[0]
    entry, leave = operator_of(edited, "QUANTIZE"), operator_of(edited, "DEQUANTIZE")
    again, widened = copy.deepcopy(entry), copy.deepcopy(leave)
    graph.tensors.append(copy.deepcopy(graph.tensors[graph.inputs[0]]))
    widened.inputs, widened.outputs = [entry.outputs[0]], [len(graph.tensors) - 1]
    again.inputs = [len(graph.tensors) - 1]
    graph.operators += [widened, again]
    assert read_truth(edited).quantize_pairs == 1


def test_constants_that_nothing_reads_are_counted_and_shared_ones_once(made: Callable[[Quantization], Any]) -> None:
    edited = made(asked("int8"))
    graph, before = edited.subgraphs[0], read_truth(edited)
    spare = copy.deepcopy(graph.tensors[operator_of(edited, "CONV_2D").inputs[1]])
    graph.tensors.append(spare)  # the same buffer once more
    assert read_truth(edited) == before
    edited.buffers.append(schema().BufferT())
    edited.buffers[-1].data = np.zeros(100, np.uint8)
    spare.buffer = len(edited.buffers) - 1
    after = read_truth(edited)
    assert (after.unread_bytes, after.weight_bytes["int8"]) == (100, before.weight_bytes["int8"] + 100)
