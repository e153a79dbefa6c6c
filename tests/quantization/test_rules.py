"""Every operator of the table as a model of its own: int8 throughout, and close to what it computes in float."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.quantization.rules import RULES, rules_known
from mlkit_build.recipe import Npz
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import PLAIN, calibrated, converted, frozen, interpreted, quantized, weights

VECTOR, IMAGE = [1, 8], [1, 4, 4, 8]

# What is read behind an operator keeps its result from being the model's output, which is a rule of its own.
OPERATORS: dict[str, tuple[list[int], Callable[[Any, Any], Any]]] = {
    "ABS": (VECTOR, lambda tf1, x: dense(tf1, tf1.abs(x))),
    "ARG_MAX": (VECTOR, lambda tf1, x: tf1.argmax(dense(tf1, x), 1)),
    "ARG_MIN": (VECTOR, lambda tf1, x: tf1.argmin(dense(tf1, x), 1)),
    "BATCH_TO_SPACE_ND": (IMAGE, lambda tf1, x: through_batches(tf1, x)),
    "DEPTH_TO_SPACE": (IMAGE, lambda tf1, x: pooled(tf1, tf1.depth_to_space(x, 2))),
    "ELU": (VECTOR, lambda tf1, x: dense(tf1, tf1.nn.elu(x))),
    "EXP": (VECTOR, lambda tf1, x: dense(tf1, tf1.exp(x))),
    "L2_NORMALIZATION": (VECTOR, lambda tf1, x: dense(tf1, tf1.math.l2_normalize(x, axis=1))),
    "LEAKY_RELU": (VECTOR, lambda tf1, x: dense(tf1, tf1.nn.leaky_relu(x, 0.3))),
    "MINIMUM": (VECTOR, lambda tf1, x: dense(tf1, tf1.minimum(x, tf1.constant(weights(1, 8))))),
    "PRELU": (IMAGE, lambda tf1, x: pooled(tf1, prelu(tf1, x))),
    "REDUCE_MAX": (IMAGE, lambda tf1, x: dense(tf1, tf1.reduce_max(x, axis=[1, 2]))),
    "RELU6": (VECTOR, lambda tf1, x: dense(tf1, tf1.nn.relu6(tf1.exp(3 * x)))),
    "RELU_N1_TO_1": (VECTOR, lambda tf1, x: dense(tf1, tf1.maximum(-1.0, tf1.minimum(x, 1.0)))),
    "REVERSE_V2": (VECTOR, lambda tf1, x: dense(tf1, tf1.reverse(x, [1]))),
    "SPACE_TO_BATCH_ND": (IMAGE, lambda tf1, x: through_batches(tf1, x)),
    "SPLIT_V": (VECTOR, lambda tf1, x: tf1.concat(tf1.split(dense(tf1, x), [1, 2, 3], axis=1)[::-1], 1)),
    "TILE": (VECTOR, lambda tf1, x: tf1.tile(dense(tf1, x), [1, 3])),
}


def dense(tf1: Any, x: Any) -> Any:
    return tf1.matmul(x, tf1.constant(weights(8, 6)))


def pooled(tf1: Any, x: Any) -> Any:
    return tf1.nn.avg_pool2d(x, 2, 1, "SAME")


def prelu(tf1: Any, x: Any) -> Any:
    alpha = np.linspace(-0.5, 1.5, 8, dtype=np.float32).reshape(1, 1, 8)
    return tf1.nn.relu(x) + -alpha * tf1.nn.relu(-x)


def through_batches(tf1: Any, x: Any) -> Any:
    """Pool every other pixel, as dilated operators do."""
    cut = [[0, 0], [0, 0]]
    return tf1.batch_to_space_nd(pooled(tf1, tf1.space_to_batch_nd(x, [2, 2], cut)), [2, 2], cut)


def names(path: Path) -> list[str]:
    model = flatbuffer.read(path)
    return [flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in model.subgraphs[0].operators]


def test_every_operator_of_the_table_is_tried_here() -> None:
    assert set(OPERATORS) == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_operator_with_a_rule_becomes_int8_and_computes_the_same(name: str, tmp_path: Path) -> None:
    shape, build = OPERATORS[name]

    def graph(tf1: Any) -> None:
        tf1.identity(build(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

    files = converted(frozen(graph, request({"x": "x:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    assert name in names(files["float.tflite"])
    found, expected = both(files, shape, tmp_path)
    if expected.dtype.kind == "i":
        assert (found == expected).mean() >= 0.9
    else:
        # Two operators, each within a step of 1/255 of the range.
        np.testing.assert_allclose(found, expected, atol=0.03 * np.ptp(expected))
    assert name in names(tmp_path / "out" / "model.tflite")
    assert json.loads((tmp_path / "out" / "quantization.json").read_bytes())["float_operators"] == 0


def both(files: dict[str, Path], shape: list[int], folder: Path) -> tuple[Any, Any]:
    """Return what 20 samples give in int8 and in float."""
    samples = digits(20, shape[1:])
    np.savez(folder / "c.npz", x=samples)
    statistics = calibrated(files, folder / "c.npz", Npz(path="", features={"x": "x"}), {"x": PLAIN}, folder)
    path = quantized(files, "int8", "float32", folder / "out", statistics)
    found, expected = (interpreted(model, {"x": samples})["y"] for model in (path, files["float.tflite"]))
    return found, expected


def test_the_quantizer_knows_the_rules_only_as_long_as_the_block_runs() -> None:
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils

    before = tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
    leaky = flatbuffer.schema().BuiltinOperator.LEAKY_RELU
    assert leaky not in before
    with rules_known():
        assert leaky in tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
    assert tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME is before


def test_no_rule_replaces_what_the_quantizer_knows_itself() -> None:
    # When an entry fails here, ai-edge-quantizer has learnt the operator: take it out of the table.
    from ai_edge_quantizer.qtyping import TFLOperationName

    assert not {name.value for name in TFLOperationName} & set(RULES)
