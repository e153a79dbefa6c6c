"""Rules: every operator gets the mode of the last rule that fits it, in the file and not only in the request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import ConfigError, StageError
from mlkit_build.quantization.reading import is_boundary, kind_of, producers, weights_of
from mlkit_build.quantization.selection import Place, Selection
from mlkit_build.recipe import Quantization, Rule
from mlkit_build.tflite import model as flatbuffer
from tests.quantization.models import Tower, answers, quantized

ALL = ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "body", "LEAKY_RELU", "head", "SOFTMAX"]


def found(path: Path) -> dict[str, str]:
    """Return operator -> what it computes with: `int8`, `int16`, or `float` and how its weights are stored.

    The two dense layers go by their scope.
    """
    model = flatbuffer.read(path)
    (graph,) = model.subgraphs
    made, kinds = producers(model, graph), {}
    for operator in graph.operators:
        if is_boundary(model, graph, operator):
            continue
        name = flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])
        output = graph.tensors[operator.outputs[0]]
        if name == "FULLY_CONNECTED":
            name = flatbuffer.tensor_name(output)[:4]
        weights = weights_of(model, graph, operator, made)
        widened = weights is not None and flatbuffer.type_name(graph.tensors[operator.inputs[1]]) == "float32"
        kinds[name] = flatbuffer.type_name(output)
        if kind_of(model, graph, operator) != "integer":
            kinds[name] = "float"
            if weights is not None and weights.stored != "float32":
                kinds[name] += f", {weights.stored}{' widened' if widened else ''}"
    assert list(kinds) == ALL
    return kinds


def mixed(mode: str, *rules: Rule, io: str = "float32") -> Quantization:
    return Quantization(mode=mode, io=io, rules=rules)


INT8 = dict.fromkeys(ALL, "int8")
FLOAT = dict.fromkeys(ALL, "float")
HYBRID = {**FLOAT, **dict.fromkeys(["CONV_2D", "DEPTHWISE_CONV_2D", "body", "head"], "float, int8")}
NOT_HEAD = ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "body", "LEAKY_RELU"]

RULES = {
    "by operator": (mixed("int8", Rule(operator="CONV_2D", mode="float32")), {**INT8, "CONV_2D": "float"}),
    "by tensor": (mixed("int8", Rule(tensor="^body/MatMul", mode="float32")), {**INT8, "body": "float"}),
    "by both": (
        mixed("int8", Rule(operator="FULLY_CONNECTED", tensor="^head/", mode="float32")),
        {**INT8, "head": "float"},
    ),
    "by both, where one alone would fit others": (
        mixed("dynamic_range", Rule(operator="FULLY_CONNECTED", tensor="/", mode="float32")),
        {**HYBRID, "body": "float", "head": "float"},
    ),
    "the last one wins": (
        mixed(
            "int8",
            Rule(operator="FULLY_CONNECTED", mode="float32"),
            Rule(tensor="^head/", mode="dynamic_range"),
            Rule(tensor="^head/", mode="int8"),
        ),
        {**INT8, "body": "float"},
    ),
    "the last one wins, turned round": (
        mixed("int8", Rule(tensor="^head/", mode="int8"), Rule(operator="FULLY_CONNECTED", mode="float32")),
        {**INT8, "body": "float", "head": "float"},
    ),
    "int16x8 in int8": (
        mixed("int8", Rule(tensor="^(body|head)/", mode="int16x8")),
        {**INT8, "body": "int16", "LEAKY_RELU": "int16", "head": "int16"},
    ),
    "int8 in int16x8": (
        mixed("int16x8", Rule(operator="CONV_2D", mode="int8")),
        {**dict.fromkeys(ALL, "int16"), "CONV_2D": "int8"},
    ),
    "int8 in float32": (mixed("float32", Rule(tensor="^body/", mode="int8")), {**FLOAT, "body": "int8", "LEAKY_RELU": "int8"}),
    "int8 in dynamic_range": (mixed("dynamic_range", Rule(operator="CONV_2D", mode="int8")), {**HYBRID, "CONV_2D": "int8"}),
    "dynamic_range in int8": (mixed("int8", Rule(tensor="^body/MatMul", mode="dynamic_range")), {**INT8, "body": "float, int8"}),
    "dynamic_range_int4 in int8": (
        mixed("int8", Rule(tensor="^body/MatMul", mode="dynamic_range_int4")),
        {**INT8, "body": "float, int4"},
    ),
    "weight_only_int8 in int8": (
        mixed("int8", Rule(tensor="^body/MatMul", mode="weight_only_int8")),
        {**INT8, "body": "float, int8 widened"},
    ),
    "float16 in int8": (mixed("int8", Rule(operator="CONV_2D", mode="float16")), {**INT8, "CONV_2D": "float, float16 widened"}),
    "dynamic_range in float16": (
        mixed("float16", Rule(tensor="^body/", mode="dynamic_range"), Rule(tensor="^head/", mode="weight_only_int4")),
        {
            **FLOAT,
            "CONV_2D": "float, float16 widened",
            "DEPTHWISE_CONV_2D": "float, float16 widened",
            "body": "float, int8",
            "head": "float, int4 widened",
        },
    ),
    "float32 of an operator that follows another's rule": (
        mixed("int8", Rule(operator="LEAKY_RELU", mode="float32")),
        {**INT8, "LEAKY_RELU": "float"},
    ),
    "float32 of an operator that dynamic_range leaves float anyway": (
        mixed("dynamic_range", Rule(operator="SOFTMAX", mode="float32")),
        HYBRID,
    ),
    "float32 at the entry of a uint8 model": (
        mixed("int8", Rule(operator="CONV_2D", mode="float32"), io="uint8"),
        {**INT8, "CONV_2D": "float"},
    ),
    "int4 of an operator that has only int8": (
        mixed("float32", Rule(operator="DEPTHWISE_CONV_2D", mode="weight_only_int4")),
        {**FLOAT, "DEPTHWISE_CONV_2D": "float, int8 widened"},
    ),
    "everything": (mixed("int8", Rule(tensor="", mode="dynamic_range")), HYBRID),
}


@pytest.mark.parametrize("name", RULES)
def test_each_operator_has_the_mode_of_its_rule_and_the_model_still_computes(tower: Tower, tmp_path: Path, name: str) -> None:
    asked, expected = RULES[name]
    path, summary = quantized(tower, asked, tmp_path)
    assert found(path) == expected
    assert np.abs(answers(path, asked.io) - tower.expected).mean() <= 0.03
    assert summary["warning"] == ""
    assert (summary["calibration"] is not None) == asked.needs_calibration


def test_the_mode_of_an_operator_is_that_of_the_last_rule_that_fits() -> None:
    selection = Selection(
        mixed(
            "int8",
            Rule(operator="CONV_2D", mode="float32"),
            Rule(tensor="^block_1/", mode="float16"),
            Rule(operator="CONV_2D", tensor="out$", mode="int16x8"),
        )
    )
    for operator, tensor, mode in (
        ("ADD", "x", "int8"),
        ("CONV_2D", "x", "float32"),
        ("ADD", "block_1/x", "float16"),
        ("ADD", "a/block_1/x", "int8"),
        ("CONV_2D", "block_1/x", "float16"),
        ("CONV_2D", "block_1/out", "int16x8"),
        ("ADD", "block_1/out", "float16"),
    ):
        assert selection.mode_of(Place(operator, (tensor,))) == mode


def test_a_rule_finds_an_operator_by_any_of_its_outputs() -> None:
    selection = Selection(mixed("int8", Rule(tensor="second", mode="float32")))
    assert selection.mode_of(Place("SPLIT", ("first", "second"))) == "float32"


@pytest.mark.parametrize(
    ("rule", "said", "hint"),
    [
        (
            Rule(operator="CONV_3D", mode="float32"),
            r"rules\[1\]\.operator: the model has no CONV_3D; it has AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, FULLY_C",
            "",
        ),
        (Rule(operator="conv_2d", mode="float32"), r"rules\[1\]\.operator: the model has no conv_2d", "CONV_2D"),
        (
            Rule(tensor="^tail/", mode="float32"),
            r"rules\[1\]\.tensor: '\^tail/' is found in no output tensor's name",
            "names are like",
        ),
        (
            Rule(operator="CONV_2D", tensor="^head/", mode="float32"),
            r"rules\[1\]\.tensor: '\^head/' is found in no output tensor's name of CONV_2D",
            "stem/",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["dynamic_range", "int8"])
def test_a_rule_that_fits_nothing_is_refused_with_what_there_is(
    tower: Tower, tmp_path: Path, mode: str, rule: Rule, said: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^quantization\.{said}") as caught:
        quantized(tower, mixed(mode, Rule(operator="CONV_2D", mode="float32"), rule), tmp_path)
    assert hint in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_rule_that_keeps_a_uint8_models_output_float_is_told_of_io(tower: Tower, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the outputs are float32; asked for uint8") as caught:
        quantized(tower, mixed("int8", Rule(operator="SOFTMAX", mode="float32"), io="uint8"), tmp_path)
    assert "quantization.io=float32" in caught.value.hint
