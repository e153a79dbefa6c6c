"""What TensorFlow's quantizer leaves to chance, simulated: any order of the same QUANTIZE operators gives the same bytes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.recipe import Input, Npz
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import operator_name
from mlkit_build.tflite.order import put_in_order
from tests.sources.tf1 import digits, request
from tests.stages.built import frozen, interpreted, weights
from tests.stages.test_quantize_graph import made

STEPS = 6


def steps(tf1: Any) -> None:
    """Build a loop unrolled: every step reads its row with a scale of its own, so the quantizer scales each one anew."""
    x = tf1.placeholder("float32", [1, STEPS, 16], name="x")
    state = tf1.zeros([1, 16])
    for index, row in enumerate(tf1.unstack(x, axis=1)):
        both = tf1.concat([row, state * float(index + 5)], axis=1)
        state = tf1.tanh(tf1.matmul(both, tf1.constant(weights(32, 16, seed=index))))
    tf1.identity(state, name="y")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    samples = digits(32, [STEPS, 16]) * np.linspace(0.2, 3, STEPS, dtype=np.float32)[:, None]
    np.savez(folder / "x.npz", x=samples)
    spec = Npz(path="", features={"x": "x"})
    files = frozen(steps, request({"x": "x:0"}, {"y": "y:0"}), folder)
    return made(files, folder / "out", npz=folder / "x.npz", spec=spec, inputs={"x": Input()})[0]


def run_of_quantize(model: Any) -> tuple[int, int]:
    """Return where the longest run of QUANTIZE begins and ends."""
    names = [operator_name(model.operatorCodes[operator.opcodeIndex]) for operator in model.subgraphs[0].operators]
    best = (0, 0)
    for start in range(len(names)):
        end = start
        while end < len(names) and names[end] == "QUANTIZE":
            end += 1
        best = max(best, (start, end), key=lambda run: run[1] - run[0])
    return best


def shuffled(path: Path, seed: int) -> Any:
    """Return the model as another build could have made it: each operator of the run has the place and name of another."""
    model = flatbuffer.read(path)
    graph = model.subgraphs[0]
    start, end = run_of_quantize(model)
    assert end - start >= STEPS - 1
    operators = graph.operators[start:end]
    places = [int(operator.outputs[0]) for operator in operators]
    random.Random(seed).shuffle(operators)
    graph.operators[start:end] = operators
    new = {int(operator.outputs[0]): place for operator, place in zip(operators, places, strict=True)}
    held = {old: (graph.tensors[old].type, graph.tensors[old].quantization) for old in new}
    for old, place in new.items():
        graph.tensors[place].type, graph.tensors[place].quantization = held[old]
    for operator in graph.operators:
        operator.inputs = np.array([new.get(int(index), int(index)) for index in operator.inputs], np.int32)
        operator.outputs = np.array([new.get(int(index), int(index)) for index in operator.outputs], np.int32)
    return model


@pytest.mark.parametrize("seed", range(5))
def test_any_order_gives_the_same_bytes(quantized: Path, seed: int) -> None:
    model = shuffled(quantized, seed)
    assert flatbuffer.packed(model) != quantized.read_bytes()
    put_in_order(model)
    assert flatbuffer.packed(model) == quantized.read_bytes()


def test_the_model_answers_the_same(quantized: Path, tmp_path: Path) -> None:
    model = shuffled(quantized, 3)
    flatbuffer.write(model, tmp_path / "shuffled.tflite")
    x = {"x": digits(16, [STEPS, 16], seed=4)}
    expected = interpreted(tmp_path / "shuffled.tflite", x)["y"]
    put_in_order(model)
    flatbuffer.write(model, tmp_path / "ordered.tflite")
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(interpreted(tmp_path / "ordered.tflite", x)["y"], expected)


def test_one_that_reads_another_stays_behind_it(quantized: Path) -> None:
    model = flatbuffer.read(quantized)
    graph = model.subgraphs[0]
    start, _ = run_of_quantize(model)
    chained = graph.operators[start + 1]
    chained.inputs = np.array([graph.operators[start].outputs[0]], np.int32)
    first = graph.operators[start]
    put_in_order(model)
    assert graph.operators.index(first) < graph.operators.index(chained)
    assert list(chained.inputs) == list(first.outputs)


def test_what_an_output_of_the_model_is_stays_that_output(quantized: Path) -> None:
    model = shuffled(quantized, 2)
    graph = model.subgraphs[0]
    start, end = run_of_quantize(model)
    read = {int(operator.outputs[0]): int(operator.inputs[0]) for operator in graph.operators[start:end]}
    graph.outputs = np.array([graph.outputs[0], *sorted(read)], np.int32)
    expected = [read[place] for place in graph.outputs[1:]]
    put_in_order(model)
    after = {int(operator.outputs[0]): int(operator.inputs[0]) for operator in graph.operators[start:end]}
    assert [after[int(place)] for place in graph.outputs[1:]] == expected
