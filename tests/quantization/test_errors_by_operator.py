"""Errors are what their formulas say, on any number of cores, and each operator is compared with its own twin."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.plain import to_plain
from mlkit_build.quantization.attribution import scope_of
from mlkit_build.quantization.errors_by_operator import compared, decibels
from mlkit_build.quantization.matching import matched
from mlkit_build.stages.attribute import attribute
from mlkit_build.stages.params import AttributeParams, QuantizeParams
from mlkit_build.tflite import model as flatbuffer
from tests.stages.built import IMAGE
from tests.stages.conftest import CALIBRATION, Built

NAN = math.nan


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_the_error_of_a_uniform_signal_is_that_of_the_textbook(bits: int) -> None:
    """SQNR of a full-range uniform signal: 6.02 dB per bit (Bennett 1948)."""
    values = np.random.default_rng(0).random(200_000) * 2 - 1
    step = 2 / 2**bits
    found = compared(values, np.floor(values / step) * step + step / 2)
    assert decibels(found.noise_per_signal) == pytest.approx(6.02 * bits, abs=0.05)
    assert found.difference().relative_rmse == pytest.approx(step / math.sqrt(12) / 2, rel=0.01)
    assert found.worst <= step / 2 * 1.001


def test_parts_add_up_to_the_whole() -> None:
    random = np.random.default_rng(1)
    values, noise = random.normal(size=1000), random.normal(0, 0.1, 1000)
    whole = compared(values, values + noise, (-1.0, 1.0))
    parts = compared(values[:300], (values + noise)[:300], (-1.0, 1.0)) + compared(
        values[300:], (values + noise)[300:], (-1.0, 1.0)
    )
    assert whole.clipped == np.count_nonzero(np.abs(values) > 1)
    for name, value in vars(whole).items():
        assert getattr(parts, name) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize(
    ("expected", "found", "sqnr_db"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([0.0, 0.0], [0.0, 0.0], None),
        ([], [], None),
        ([-math.inf, 1.0], [0.0, 1.0], None),  # the filling of a mask
        ([0.0, 0.0], [0.0, 0.1], -99.0),
        ([1.0, 1.0], [1.0, NAN], -99.0),
        ([10.0], [9.0], 20.0),
    ],
)
def test_what_is_not_finite_or_has_no_signal_has_an_error_too(
    expected: list[float], found: list[float], sqnr_db: float | None
) -> None:
    difference = compared(np.array(expected), np.array(found)).difference()
    assert difference.sqnr_db == sqnr_db
    json.dumps(to_plain(difference), allow_nan=False)


def test_every_operator_of_every_variant_is_matched_with_its_own_kind(built: Built) -> None:
    float_model = flatbuffer.read(built.files["float.tflite"])
    operators = float_model.subgraphs[0].operators
    for path in built.models.values():
        found = matched(float_model, flatbuffer.read(path))
        assert found.unmatched == ()
        places = [pair.place for pair in found.pairs if pair.place is not None]
        assert places == list(range(len(operators)))
        for pair in found.pairs:
            assert pair.comparable
            if pair.place is not None:
                assert pair.outputs[0][0] in operators[pair.place].outputs


def test_names_without_a_twin_are_told_and_not_guessed(built: Built) -> None:
    quantized = flatbuffer.read(built.models["int8", "float32"])
    graph = quantized.subgraphs[0]
    first = next(item for item in graph.operators if len(item.inputs) == 3)
    graph.tensors[first.outputs[0]].name = b"something/else"
    found = matched(flatbuffer.read(built.files["float.tflite"]), quantized)
    assert found.unmatched == ("something/else",)
    assert 0 not in [pair.place for pair in found.pairs]


def test_the_report_is_the_same_to_the_byte_on_any_number_of_cores(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text('{"warning": ""}')
    params = AttributeParams(CALIBRATION, "calibration", {"picture": IMAGE}, 17, None, 2, QuantizeParams("int8", "float32"), 1)
    inputs = {
        "float.tflite": built.files["float.tflite"],
        "signature.json": built.files["signature.json"],
        "model.tflite": built.models["int8", "float32"],
        "samples": built.calibration,
        "statistics.json": built.statistics,
        "calibration.json": calibration,
    }
    found = []
    for cores in (1, 5):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        folder = tmp_path / str(cores)
        folder.mkdir()
        attribute(to_plain(params), inputs, folder)
        found.append((folder / "attribution.json").read_bytes())
    assert found[0] == found[1]
    assert json.loads(found[0])["samples"] == 17
    assert json.loads(found[0])["top1_agreement"] is None  # the outputs may be anything


@pytest.mark.parametrize(
    ("nodes", "scope"),
    [
        (("conv1/relu", "conv1/BiasAdd", "conv1/conv"), "conv1"),
        (("a/b/relu", "a/b/c/add"), "a/b"),
        (("logits",), "logits"),
        (("a/relu", "b/add"), "a/relu"),
        ((), ""),
    ],
)
def test_the_scope_is_what_all_nodes_are_in(nodes: tuple[str, ...], scope: str) -> None:
    assert scope_of(nodes) == scope
