"""Metrics against the definitions, computed sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlkit_build.metrics import ALWAYS, METRICS, Measurement, create, significant, values_of
from mlkit_build.metrics.classification import classes

SCORES = st.tuples(st.integers(1, 12), st.integers(2, 5)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)),
        arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1)),
        st.integers(1, 5),
    )
)


def measured(name: str, ours: Any, theirs: Any, labels: Any = None, size: int = 1000) -> dict[str, Measurement]:
    metric = create(name)
    for start in range(0, len(ours), size):
        part = slice(start, start + size)
        metric.update(ours[part], theirs[part], None if labels is None else labels[part])
    return metric.result()


@given(SCORES)
def test_top1_is_the_share_of_samples_whose_best_class_is_the_label_however_they_are_batched(case: Any) -> None:
    ours, theirs, labels, size = case
    right = sum(max(range(len(row)), key=lambda i: (row[i], -i)) == label for row, label in zip(ours, labels, strict=True))
    reference = sum(max(range(len(row)), key=lambda i: (row[i], -i)) == label for row, label in zip(theirs, labels, strict=True))
    found = measured("top1", ours, theirs, labels, size)["top1"]
    assert found == Measurement(significant(right / len(labels)), significant(reference / len(labels)))


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
    assert found["cosine"].value == pytest.approx(sum(cosines) / len(cosines), rel=1e-5, abs=1e-5)
    assert found["top1_agreement"].value == significant(sum(agree) / len(agree))


def test_a_model_that_answers_alike_has_full_parity() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = measured("parity", values, values)
    assert (found["max_abs_error"].value, found["cosine"].value, found["top1_agreement"].value) == (0, 1, 1)


def test_a_single_value_has_no_class_to_agree_on() -> None:
    values = np.ones((4, 1), np.float32)
    assert set(measured("parity", values, values)) == {"max_abs_error", "cosine"}


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


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_yields_the_values_that_the_table_promises(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    found = measured(name, values, values, np.array([0, 1, 2, 0, 1, 2]))
    assert tuple(found) == METRICS[name].values
    assert all((measurement.reference is not None) == METRICS[name].has_reference for measurement in found.values())


def test_what_is_always_measured_is_in_the_table() -> None:
    assert set(ALWAYS) <= set(METRICS)
    assert values_of(["parity", "top1", "parity"]) == ["max_abs_error", "cosine", "top1_agreement", "top1"]
