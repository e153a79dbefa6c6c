"""Metrics against the definitions, computed sample by sample."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlkit_build.errors import ConfigError, MlkitBuildError, StageError
from mlkit_build.metrics import (
    ALWAYS,
    METRICS,
    VALUES,
    Measurement,
    Subject,
    Table,
    owners,
    parse,
    significant,
    tables_json,
    value_of,
    values_of,
)
from mlkit_build.metrics.classification import classes
from mlkit_build.metrics.custom import files
from mlkit_build.metrics.labels import labels_as
from mlkit_build.metrics.options import PythonOptions
from mlkit_build.plain import to_plain
from mlkit_build.recipe import MetricChoice
from mlkit_build.signature import TensorSpec
from tests.metrics.measuring import measured, run, written

MADE = "class M:\n    def update(self, *_): pass\n    def result(self): return {}\ndef build(): return M()\n".replace("{}", "{0}")
SCORES = st.tuples(st.integers(1, 12), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1)),
        st.integers(1, 5),
    )
)


@given(SCORES)
def test_top1_is_the_share_of_samples_whose_best_class_is_the_label_however_they_are_batched(case: Any) -> None:
    ours, theirs, labels, size = case
    right = sum(max(range(len(row)), key=lambda i: (row[i], -i)) == label for row, label in zip(ours, labels, strict=True))
    reference = sum(max(range(len(row)), key=lambda i: (row[i], -i)) == label for row, label in zip(theirs, labels, strict=True))
    found = measured("top1", ours, theirs, labels, size)["top1"]
    assert (found.value, found.reference) == (significant(right / len(labels)), significant(reference / len(labels)))
    assert found.paired is not None
    assert found.paired.gained - found.paired.lost == right - reference


@given(SCORES)
def test_parity_is_that_of_its_definitions_however_samples_are_batched(case: Any) -> None:
    ours, theirs, _, size = case
    found = measured("parity", ours, theirs, None, size)
    errors, cosines, agree = [], [], []
    for a, b in zip(ours.astype(np.float64).tolist(), theirs.astype(np.float64).tolist(), strict=True):
        errors.append(max(abs(p - q) for p, q in zip(a, b, strict=True)))
        norm = (sum(p * p for p in a) * sum(q * q for q in b)) ** 0.5
        cosines.append(sum(p * q for p, q in zip(a, b, strict=True)) / norm if norm else float(a == b))
        agree.append(a.index(max(a)) == b.index(max(b)))
    assert found["max_abs_error"].value == pytest.approx(max(errors), rel=1e-5)
    difference = ours.astype(np.float64) - theirs
    assert found["rms_error"].value == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-5)
    if difference.any() and theirs.any():
        sqnr = 10 * np.log10((theirs.astype(np.float64) ** 2).sum()) - 10 * np.log10((difference**2).sum())
        assert found["sqnr_db"].value == pytest.approx(np.clip(sqnr, -200, 200), rel=1e-4, abs=1e-4)
    assert found["cosine"].value == pytest.approx(sum(cosines) / len(cosines), rel=1e-5, abs=1e-5)
    assert found["top1_agreement"].value == significant(sum(agree) / len(agree))


def test_a_model_that_answers_alike_has_full_parity() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = measured("parity", values, values)
    assert (found["max_abs_error"].value, found["cosine"].value, found["top1_agreement"].value) == (0, 1, 1)


def test_a_single_value_has_no_class_to_agree_on() -> None:
    values = np.ones((4, 1), np.float32)
    assert set(measured("parity", values, values)) == {"max_abs_error", "rms_error", "sqnr_db", "cosine"}


def test_what_is_no_class_scores_has_no_class_to_agree_on() -> None:
    """Such as an embedding, or the two targets of a regression: the greater one is no answer."""
    values = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    assert "top1_agreement" not in measured("parity", values, values, scores_of="")
    assert "top1_agreement" not in measured("parity", values.reshape(9, 1, 1, 2).repeat(3, axis=1), np.ones((9, 3, 1, 2)))


def test_maps_of_class_scores_agree_pixel_by_pixel() -> None:
    theirs = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    ours = theirs.copy()
    ours[2, 1, 3] = ours[2, 1, 3][[1, 2, 0]]
    found = measured("parity", ours, theirs, size=2, scores_of="pixels")
    assert found["pixel_agreement"] == Measurement(significant(1 - 1 / 80))
    assert "top1_agreement" not in found
    assert "pixel_agreement" not in measured("parity", ours[..., :1], theirs[..., :1], scores_of="pixels")


def test_two_silent_outputs_agree_and_one_silent_output_does_not() -> None:
    zeros, ones = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert measured("parity", zeros, zeros)["cosine"].value == 1
    assert measured("parity", zeros, ones)["cosine"].value == 0


def test_ties_go_to_the_lowest_class() -> None:
    assert classes(np.array([[0.5, 0.5, 0.1], [0.1, 0.3, 0.3]], np.float32)).tolist() == [0, 1]


def test_scores_in_four_dimensions_are_read_as_classes() -> None:
    assert classes(np.array([0.1, 0.7, 0.2], np.float32).reshape(1, 1, 1, 3)).tolist() == [1]


def test_the_drop_is_what_is_lost_against_tensorflow() -> None:
    assert Measurement(0.9, 0.95).drop == 0.05
    assert Measurement(0.97, 0.95).drop == -0.02
    assert Measurement(0.9).drop is None


@pytest.mark.parametrize(("value", "expected"), [(0.123456789, 0.123457), (123456789.0, 123457000.0), (0.0, 0.0), (1e-9, 1e-9)])
def test_values_are_rounded_to_six_significant_digits(value: float, expected: float) -> None:
    assert significant(value) == expected


def test_equal_outputs_have_the_greatest_ratio_of_signal_to_noise_and_silence_the_least() -> None:
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert measured("parity", ones, ones)["sqnr_db"].value == 200
    assert measured("parity", ones, zeros)["sqnr_db"].value == -200


LABELS = {"classes": [0, 1, 2, 0, 1, 2], "indicators": [0, 1, 2, 0, 1, 2], "values": np.arange(18.0).reshape(6, 3), "": None}


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"python"}))
def test_every_metric_yields_the_values_and_tables_that_the_table_promises(name: str) -> None:
    kind = METRICS[name]
    values = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
    labels = LABELS.get(kind.labels)
    if kind.labels == "maps":
        values, labels = values.reshape(6, 1, 1, 3), np.array([0, 1, 2, 0, 1, 2]).reshape(6, 1, 1)
    options = {"k": 2} if name in ("top_k", "embedding") else {}
    metric = run(name, values, values, labels, **options)
    found = metric.result()
    maps = run(name, values.reshape(6, 1, 1, 3), values, scores_of="pixels").result() if name == "parity" else {}
    assert list(found | maps) == values_of([MetricChoice(name=name, options=options)])
    assert all((measurement.reference is not None) == kind.has_reference for measurement in found.values())
    assert all((measurement.paired is not None) == kind.is_paired for measurement in found.values())
    assert all(measurement.lower_is_better == value_of(value).lower_is_better for value, measurement in found.items())
    if name != "parity":  # whose table compares outputs
        assert tuple(metric.tables()) == kind.tables
        assert all(len(row) == len(table.columns) for table in metric.tables().values() for row in table.rows)


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"python"}))
def test_every_value_has_a_title_and_every_example_parses(name: str) -> None:
    assert all(value_of(value).title != value for value in values_of([name]))
    assert METRICS[name].summary.endswith(".")


def test_what_is_always_measured_is_in_the_table() -> None:
    assert set(ALWAYS) <= set(METRICS)
    parity = ["max_abs_error", "rms_error", "sqnr_db", "cosine", "top1_agreement", "pixel_agreement"]
    assert values_of(["parity", "top1", "parity"]) == [*parity, "top1"]
    assert owners(METRICS).keys() <= VALUES.keys() | {"top5"}


def test_among_equal_scores_the_lowest_classes_are_the_first_k() -> None:
    ties = np.zeros((4, 4), np.float32)
    assert measured("top_k", ties, ties, [0, 1, 2, 3], k=2)["top2"].value == 0.5


def test_one_value_is_the_probability_of_class_1() -> None:
    ours = np.array([[0.2], [0.9], [0.6], [0.5]], np.float32)
    found = measured("top1", ours, ours, [0, 1, 0, 0])["top1"]
    assert found.value == 0.75
    assert run("confusion_matrix", ours, ours, [0, 1, 0, 0]).tables()["confusion_matrix"].rows == (
        (0, 0, 2),
        (0, 1, 1),
        (1, 1, 1),
    )


def test_one_hot_labels_are_class_indices() -> None:
    ours = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    assert measured("top1", ours, ours, np.eye(3)[[0, 1, 2]])["top1"] == measured("top1", ours, ours, [0, 1, 2])["top1"]


def test_maps_may_be_flat() -> None:
    rng = np.random.default_rng(0)
    ours, labels = rng.random((3, 4, 5, 2), np.float32), rng.integers(0, 2, (3, 4, 5))
    assert measured("mean_iou", ours, ours, labels.reshape(3, 20)) == measured("mean_iou", ours, ours, labels)


def test_a_hundred_decibels_are_a_hundred_thousand_to_one() -> None:
    labels = np.zeros((2, 4))
    ours = np.full((2, 4), 255e-5, np.float32)
    found = measured("psnr", ours, labels, labels, peak=255)["psnr_db"]
    assert found.value == pytest.approx(100, abs=1e-4)
    assert found.reference == 200


def test_neighbours_agree_as_far_as_a_plain_search_finds_them() -> None:
    rng = np.random.default_rng(2)
    theirs = rng.normal(size=(60, 5)).astype(np.float32)
    ours = (theirs + 0.3 * rng.normal(size=theirs.shape)).astype(np.float32)
    found = measured("embedding", ours, theirs, size=7, k=4)

    def nearest(rows: Any, index: int) -> set[int]:
        def cosine(other: int) -> float:
            return float(rows[index] @ rows[other] / np.linalg.norm(rows[index]) / np.linalg.norm(rows[other]))

        return set(sorted(set(range(60)) - {index}, key=cosine, reverse=True)[:4])

    shared = [len(nearest(ours.astype(float), i) & nearest(theirs.astype(float), i)) / 4 for i in range(60)]
    assert found["retrieval_agreement"].value == pytest.approx(np.mean(shared), abs=1e-6)
    cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(ours, theirs, strict=True)]
    assert found["embedding_cosine"].value == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found["worst_embedding_cosine"].value == pytest.approx(min(cosines), abs=1e-5)


def test_neighbours_are_looked_for_among_evenly_spaced_samples_however_they_are_batched() -> None:
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(size=(2, 101, 3)).astype(np.float32)
    kept = np.arange(20) * 101 // 20
    expected = measured("embedding", ours[kept], theirs[kept], k=3)["retrieval_agreement"].value
    for size in (1, 13, 200):
        assert measured("embedding", ours, theirs, size=size, k=3, samples=20)["retrieval_agreement"].value == expected


def test_many_classes_keep_their_commonest_confusions() -> None:
    labels = np.repeat(np.arange(150), 2)
    ours = np.eye(150, dtype=np.float32)[np.where(labels == 7, 9, labels)]
    (table,) = run("confusion_matrix", ours, ours, labels).tables().values()
    assert (table.rows, table.form) == (((7, 9, 2),), "rows")


def test_tables_are_json_with_a_row_on_a_line() -> None:
    tables = {"a": Table("A é", ("x", "y"), ((1, None), (2, "b"))), "empty": Table("E", ("x",), (), "matrix")}
    assert json.loads(tables_json(tables)) == to_plain(tables)
    assert b'\n      [1, null],\n      [2, "b"]\n' in tables_json(tables)
    assert json.loads(tables_json({})) == {}


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    assert value_of("top1").difference(-1e-6) == "0.00 points"
    assert value_of("top1").difference(-0.01) == "-1.00 points"


REFUSED = {
    "a label outside": ("top1", (4, 3), [0, 1, 3, 0], {}, "sample 2: expected a label in 0..2, the model's classes, found 3"),
    "a label of 64 bits": (
        "top1",
        (2, 3),
        np.array([0, 2**64 - 1], "u8"),
        {},
        "sample 1: expected a label in 0..2, the model's classes, found 18446744073709551615",
    ),
    "fractions": (
        "top1",
        (4, 3),
        [0.5, 1, 2, 0],
        {},
        "expected labels that are class indices, as integers, found float64: sample 0 has 0.5",
    ),
    "two hot": ("top1", (2, 3), [[1, 0, 0], [1, 1, 0]], {}, "sample 1: expected a one-hot label, found [1, 1, 0]"),
    "values for classes": ("per_class", (2, 3), np.ones((2, 5)), {}, "expected labels that are one class index"),
    "k of all": ("top_k", (2, 3), [0, 1], {"k": 3}, "top_k.k: expected less than the 3 classes of the output 'scores', found 3"),
    "half an indicator": ("roc_auc", (2, 3), [[1, 0, 0], [0.5, 1, 0]], {}, "sample 1: expected 0 and 1, found [0.5, 1, 0]"),
    "one class only": ("pr_auc", (3, 2), [1, 1, 1], {}, "holds no class both with and without samples"),
    "classes for values": (
        "mae",
        (3, 2),
        [1, 1, 1],
        {},
        "labels that are as many values per sample as the output has, found one number of int64 per sample",
    ),
    "a label of NaN": ("rmse", (2, 1), [1, np.nan], {}, "sample 1: expected a label of finite numbers"),
    "no picture": ("mean_iou", (2, 3), [0, 1], {}, "expected an output [1, H, W, C] of at most 1024 classes, found 'scores'"),
    "a map of another size": (
        "mean_iou",
        (2, 3, 3, 2),
        np.zeros((2, 4, 4), int),
        {},
        "labels that are one class index per pixel",
    ),
    "a class of no pixel": ("mean_iou", (2, 1, 1, 2), [[[0]], [[255]]], {}, "sample 1: expected labels in 0..1"),
    "one value": ("embedding", (20, 1), None, {}, "embedding: expected at least 2 values of the output"),
    "large embeddings": ("embedding", (100, 400_000), None, {}, "embedding.samples: expected at most 41 samples of the 400000"),
    "too many scores": ("roc_auc", (2, 2500), [0, 1], {}, "roc_auc: expected at most 2048 classes"),
    "too many classes": ("confusion_matrix", (2, 2500), [0, 1], {}, "expected at most 2048 classes"),
    "few samples": ("embedding", (10, 3), None, {}, "embedding.k: expected less than the 10 samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_what_was_expected(case: str) -> None:
    name, shape, labels, options, expected = REFUSED[case]
    values = np.full(shape, 1 / shape[-1], np.float32)
    with pytest.raises(ConfigError) as caught:
        measured(name, values, values, None if labels is None else np.asarray(labels), size=1, **options)
    assert expected in caught.value.message


@pytest.mark.parametrize("name", ["log_loss", "calibration_error", "top1", "per_class"])
def test_logits_are_told_from_probabilities(name: str) -> None:
    values = np.array([[3.0], [-2.0]], np.float32)
    with pytest.raises(ConfigError, match=f"{name}: expected probabilities of the output 'scores', found -2") as caught:
        measured(name, values, values, [0, 1])
    assert "add `sigmoid` to adapters" in caught.value.hint


def test_probabilities_of_classes_that_do_not_exclude_each_other_have_no_log_loss() -> None:
    values = np.full((2, 3), 0.9, np.float32)
    with pytest.raises(ConfigError, match=r"that sum up to 1, found a sum of 2\.7"):
        measured("log_loss", values, values, [0, 1])


@pytest.mark.parametrize("name", ["top1", "top_k", "per_class", "roc_auc", "log_loss"])
def test_scores_of_pixels_are_no_scores_of_classes(name: str) -> None:
    values = np.full((2, 6, 7, 4), 0.25, np.float32)
    with pytest.raises(ConfigError, match=rf"{name}: expected one score for each class .*'scores', found \[1, 6, 7, 4\]"):
        measured(name, values, values, [0, 1], **({"k": 2} if name == "top_k" else {}))


def test_a_quantized_zero_and_a_sum_that_is_rounded_are_no_reason_to_refuse() -> None:
    theirs = np.full((1, 1000), 1e-3, np.float32)
    found = measured("log_loss", np.zeros_like(theirs), theirs, [5])["log_loss"]
    assert found.value == pytest.approx(np.log(1000), rel=1e-5)


OPTIONS = [
    ("top_k", {"k": 1}, "top_k.k: expected at least 2, found 1"),
    ("top_k", {"k": "five"}, "top_k.k: expected an integer, found 'five'"),
    ("top1", {"k": 5}, "top1.k: no such option; it has none"),
    ("calibration_error", {"bin": 5}, "calibration_error.bin: no such option; expected one of bins, from_logits"),
    ("psnr", {"peak": 0}, "psnr.peak: expected a number above 0, found 0"),
    ("embedding", {"samples": 10}, "embedding.samples: expected more than k=10, found 10"),
    ("embedding", {"samples": 100000}, "embedding.samples: expected at most 10000"),
    ("python", {}, "python.function: missing"),
    ("python", {"function": "m.py:f", "timeout_s": 0}, "python.timeout_s: expected seconds above 0, found 0"),
    (
        "python",
        {"function": "m.py:f", "timeout_s": 1e300},
        "python.timeout_s: expected seconds of at most 31536000, which are a year",
    ),
    ("python", {"function": "metric"}, "python.function: expected `FILE.py:NAME`, found 'metric'"),
    ("topk", {}, "expected one of top1, top_k"),
]


@pytest.mark.parametrize(("name", "options", "expected"), OPTIONS)
def test_options_that_mean_nothing_are_refused_by_name(name: str, options: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(MetricChoice(name=name, options=options), "validation.metrics[0]")
    assert caught.value.message.startswith("validation.metrics[0]")
    assert expected in caught.value.message


CUSTOM = """
import numpy as np
from helper import half

class Gap:
    def __init__(self, scale):
        self.scale, self.sum, self.count = scale, 0.0, 0
    def update(self, outputs, reference, labels):
        assert outputs.shape == reference.shape == (len(labels), 2, 2)
        self.sum += half(np.abs(outputs - reference).sum()); self.count += len(outputs)
    def result(self):
        return {"gap": self.scale * self.sum / self.count, "both": (1.0, 2)}

def build(scale=1.0):
    return Gap(scale)
"""


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "action"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "helper":
            del sys.modules[name]


def test_a_function_of_the_recipe_measures_what_it_likes_and_imports_what_lies_beside_it(in_folder: Path) -> None:
    written(in_folder, CUSTOM)
    (in_folder / "helper.py").write_text("def half(x):\n    return x / 2\n")
    (in_folder / "unused.py").write_text("x = 1\n")
    code = files(PythonOptions(function="metric.py:build"), in_folder, "validation.metrics[0].python.function")
    assert sorted(code) == ["helper.py", "metric.py"]
    ours, theirs = np.ones((5, 2, 2), np.float32), np.zeros((5, 2, 2), np.float32)
    found = measured(
        "python",
        ours,
        theirs,
        np.zeros(5),
        2,
        code=code,
        function="metric.py:build",
        arguments={"scale": 3},
        lower_is_better=["gap"],
    )
    assert found == {"gap": Measurement(6.0, lower_is_better=True), "both": Measurement(1.0, 2.0)}


@pytest.mark.parametrize(
    ("code", "error", "expected"),
    [
        ("def build():\n    return 3\n", ConfigError, "expected an object with update(outputs, reference, labels) and result()"),
        ("def make():\n    return 3\n", ConfigError, "no function 'build' in metric.py"),
        (
            "def build():\n    raise KeyError('x')\n",
            ConfigError,
            "raised (line 2 of metric.py): KeyError: 'x'",
        ),
        ("def build(:\n", ConfigError, "metric.py:build: raised SyntaxError"),
        (MADE.format("{'a': float('nan')}"), StageError, "a: expected a finite number, found nan"),
        (MADE.format("{'top1': 1}"), ConfigError, "expected a name of its own, found 'top1' that is taken"),
        (MADE.format("{'top3': 1}"), ConfigError, "expected a name of its own, found 'top3' that is taken"),
        (MADE.format("{'a b': 1}"), ConfigError, "expected a name of its own of letters, digits and _, found 'a b'"),
        (MADE.format("{'a': 'much'}"), ConfigError, "a: expected a number or two, found 'much'"),
        (MADE.format("'much' * 10**6"), ConfigError, "values, found '" + "much" * 249 + "muc..."),
        (
            MADE.format("{'a': type('Mute', (), {'__repr__': lambda self: 1 / 0, '__float__': lambda self: 1 / 0})()}"),
            ConfigError,
            "a: expected a number or two, found a Mute",
        ),
        (MADE.format("{'a': '12'}"), ConfigError, "a: expected a number or two, found '12'"),
        (MADE.format("{'a': 10**400}"), ConfigError, "a: expected a number or two, found 1000"),
        (MADE.format("{'a': (1e308, -1e308)}"), ConfigError, "a: expected numbers within 1e+300 of 0, found (1e+308, -1e+308)"),
        (MADE.format("{'a': -2e300}"), ConfigError, "metric.py:build: a: expected numbers within 1e+300 of 0, found -2e+300"),
        (
            "def build():\n    raise SystemExit(0)\n",
            ConfigError,
            "raised (line 2 of metric.py): SystemExit: 0",
        ),
        (MADE.format("3"), ConfigError, "result(): expected a mapping of names to values, found 3"),
    ],
)
def test_a_function_that_does_something_else_is_told_so(
    in_folder: Path, code: str, error: type[MlkitBuildError], expected: str
) -> None:
    values = np.ones((2, 3), np.float32)
    with pytest.raises(error) as caught:
        measured("python", values, values, code=written(in_folder, code), function="metric.py:build")
    assert expected in caught.value.message


def test_a_function_without_its_file_is_refused_by_its_field(tmp_path: Path) -> None:
    with pytest.raises(MlkitBuildError, match=r"^validation\.metrics\[2\]\.python\.function: ") as caught:
        files(PythonOptions(function="metric.py:build"), tmp_path, "validation.metrics[2].python")
    assert caught.value.exit_code == 2


def test_what_a_function_changes_is_its_own(in_folder: Path) -> None:
    code = """class Changing:
    def update(self, outputs, reference, labels):
        for array in (outputs, reference, labels):
            array[...] = 7

    def result(self):
        return {"a": 1}


def build():
    return Changing()
"""
    ours, theirs, labels = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.array([0, 1])
    theirs.flags.writeable = False  # as those are that are mapped from a file
    assert measured("python", ours, theirs, labels, code=written(in_folder, code), function="metric.py:build")
    assert (ours == 1).all()
    assert labels.tolist() == [0, 1]


def test_a_label_that_int64_does_not_hold_is_no_label_that_is_ignored() -> None:
    """2**64 - 1 became -1, which `ignore: -1` left out."""
    subject = Subject(TensorSpec("y", "y:0", (1, 1, 2, 3), "float32"), 2, sample="the sample {}".format)
    labels = np.array([[[0, 1]], [[2, 2**64 - 1]]], np.uint64)
    with pytest.raises(
        ConfigError, match=r"the sample 1: expected a label of at most 9223372036854775807 per pixel, found 1844674"
    ):
        labels_as("maps", labels, subject)
    found = labels_as("maps", labels[:1], subject)
    assert found.tolist() == [[0, 1]]
