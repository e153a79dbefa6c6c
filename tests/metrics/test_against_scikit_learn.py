"""Every metric that scikit-learn has gives what scikit-learn gives, however samples are batched, also where data is awkward."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from mlkit_build.metrics import ranking
from tests.metrics.measuring import measured, run

CASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(4, 60), st.integers(2, 6), st.integers(1, 70))
"""Seed, samples, classes, samples per batch."""
FEW = settings(max_examples=40, deadline=None)


def scores(rng: np.random.Generator, samples: int, classes: int) -> Any:
    """Return probabilities: ragged ones, one-hot ones, and few distinct ones, which tie."""
    found = rng.dirichlet(np.full(classes, rng.choice([0.1, 1.0, 5.0])), samples)
    if rng.random() < 0.3:
        found = np.eye(classes)[rng.integers(0, classes, samples)]
    elif rng.random() < 0.3:
        found = np.round(found * 4) / 4 + 1e-3
        found /= found.sum(axis=1, keepdims=True)
    return found.astype(np.float32)


def case(numbers: tuple[int, int, int, int]) -> tuple[Any, Any, Any, int]:
    seed, samples, classes, size = numbers
    rng = np.random.default_rng(seed)
    return scores(rng, samples, classes), scores(rng, samples, classes), rng.integers(0, classes, samples), size


def close(found: Any, expected: tuple[float, float], **tolerance: float) -> None:
    assert (found.value, found.reference) == pytest.approx(expected, **(tolerance or {"rel": 2e-5, "abs": 1e-6}))


@FEW
@given(CASES)
def test_top1_and_per_class_averages(numbers: Any) -> None:
    ours, theirs, labels, size = case(numbers)
    answers = ours.argmax(axis=1), theirs.argmax(axis=1)
    close(measured("top1", ours, theirs, labels, size)["top1"], tuple(sk.accuracy_score(labels, found) for found in answers))
    found = measured("per_class", ours, theirs, labels, size)
    for average in ("macro", "weighted"):
        expected = [
            sk.precision_recall_fscore_support(labels, answer, average=average, zero_division=0)[:3] for answer in answers
        ]
        for name, pair in zip(("precision", "recall", "f1"), zip(*expected, strict=True), strict=True):
            close(found[f"{average}_{name}"], pair)


@FEW
@given(CASES)
def test_each_class_and_the_confusion_matrix(numbers: Any) -> None:
    ours, theirs, labels, size = case(numbers)
    answers, classes = ours.argmax(axis=1), ours.shape[1]
    counts = np.zeros((classes, classes), int)
    for row, column, count in run("confusion_matrix", ours, theirs, labels, size).tables()["confusion_matrix"].rows:
        counts[row, column] = count
    np.testing.assert_array_equal(counts, sk.confusion_matrix(labels, answers, labels=range(classes)))
    expected = sk.precision_recall_fscore_support(labels, answers, labels=range(classes), zero_division=0)
    for index, *rates, _, support in run("per_class", ours, theirs, labels, size).tables()["per_class"].rows:
        assert [*rates, support] == pytest.approx([column[index] for column in expected], rel=1e-5)


@FEW
@given(CASES, st.integers(2, 5))
def test_top_k_where_scores_do_not_tie(numbers: Any, k: int) -> None:
    seed, samples, classes, size = numbers
    rng = np.random.default_rng(seed)
    ours, theirs = (rng.permuted(np.tile(np.arange(classes + k), (samples, 1)), axis=1).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, classes + k, samples)
    expected = tuple(sk.top_k_accuracy_score(labels, found, k=k, labels=range(classes + k)) for found in (ours, theirs))
    close(measured("top_k", ours, theirs, labels, size, k=k)[f"top{k}"], expected)


@FEW
@given(CASES)
def test_areas_under_the_curves_one_class_against_the_rest(numbers: Any) -> None:
    ours, theirs, labels, size = case(numbers)
    present = [label for label in range(ours.shape[1]) if 0 < (labels == label).sum() < len(labels)]
    if not present:
        return
    for name, score in (("roc_auc", sk.roc_auc_score), ("pr_auc", sk.average_precision_score)):
        expected = tuple(
            float(np.mean([score(labels == label, found[:, label]) for label in present])) for found in (ours, theirs)
        )
        close(measured(name, ours, theirs, labels, size)[name], expected)


@FEW
@given(CASES)
def test_areas_of_one_score_and_of_classes_that_do_not_exclude_each_other(numbers: Any) -> None:
    ours, theirs, _, size = case(numbers)
    labels = np.random.default_rng(numbers[0]).integers(0, 2, ours.shape)
    labels[:2] = [[0], [1]]
    for name, score in (("roc_auc", sk.roc_auc_score), ("pr_auc", sk.average_precision_score)):
        close(measured(name, ours, theirs, labels, size)[name], tuple(score(labels, found) for found in (ours, theirs)))
        one = tuple(score(labels[:, 0], found[:, 0]) for found in (ours, theirs))
        close(measured(name, ours[:, :1], theirs[:, :1], labels[:, 0], size)[name], one)


@pytest.mark.parametrize(("name", "score"), [("roc_auc", sk.roc_auc_score), ("pr_auc", sk.average_precision_score)])
def test_areas_of_more_scores_than_are_kept_come_within_a_thousandth(
    name: str, score: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "EXACT", 8000)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40_000)
    ours = (labels * 0.7 + rng.normal(size=40_000))[:, None].astype(np.float32)
    theirs = 1 / (1 + np.exp(-20 * ours))  # crowded at 0 and 1
    close(measured(name, ours, theirs, labels, 512)[name], tuple(score(labels, x[:, 0]) for x in (ours, theirs)), abs=1e-3)


@FEW
@given(CASES)
def test_log_loss(numbers: Any) -> None:
    ours, theirs, labels, size = case(numbers)
    if len(set(labels.tolist())) < 2:
        return
    expected = []
    for found in (ours, theirs):
        clipped = np.clip(found.astype(np.float64), np.finfo(np.float32).eps, 1)
        expected.append(sk.log_loss(labels, clipped / clipped.sum(axis=1, keepdims=True), labels=range(ours.shape[1])))
    close(measured("log_loss", ours, theirs, labels, size)["log_loss"], tuple(expected))


def test_log_loss_of_logits_is_that_of_their_softmax() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)).astype(np.float32) * 5, rng.integers(0, 4, 50)
    soft = np.exp(logits - logits.max(axis=1, keepdims=True))
    soft /= soft.sum(axis=1, keepdims=True)
    found = measured("log_loss", logits, logits, labels, from_logits=True)["log_loss"].value
    assert found == pytest.approx(measured("log_loss", soft, soft, labels)["log_loss"].value, rel=1e-4)
    one = logits[:, :1]
    expected = sk.log_loss(labels % 2, 1 / (1 + np.exp(-one[:, 0].astype(np.float64))))
    assert measured("log_loss", one, one, labels % 2, from_logits=True)["log_loss"].value == pytest.approx(expected, rel=1e-4)


def test_calibration_error_is_the_mean_distance_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(3)
    chance = np.round(rng.uniform(0.51, 1, 4000), 3) - 1e-4  # off the ends of bins, whose side is a matter of taste
    truth = rng.random(4000) < chance**2
    ours = np.stack([chance, 1 - chance], axis=1)
    accuracy, confidence = calibration_curve(truth, chance, n_bins=10)
    counts = np.histogram(chance, np.linspace(0, 1, 11))[0]
    expected = float((np.abs(accuracy - confidence) * counts[counts > 0]).sum() / counts.sum())
    found = measured("calibration_error", ours, ours, 1 - truth.astype(int), 300, bins=10)["calibration_error"]
    assert found.value == pytest.approx(expected, rel=1e-4)
    rows = run("calibration_error", ours, ours, 1 - truth.astype(int), bins=10).tables()["reliability"].rows
    np.testing.assert_allclose([row[4] for row in rows], accuracy, rtol=1e-5)
    np.testing.assert_allclose([row[3] for row in rows], confidence, rtol=1e-5)


@FEW
@given(CASES)
def test_errors_of_values(numbers: Any) -> None:
    seed, samples, width, size = numbers
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=(samples, width)) * 10 + rng.choice([0, 1e4])  # large means cancel
    if rng.random() < 0.3:
        labels[:, 0] = 3.0  # a label that never changes
    ours = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    theirs = labels.astype(np.float32)
    for name, score in (
        ("mae", sk.mean_absolute_error),
        ("rmse", lambda y, x: sk.mean_squared_error(y, x) ** 0.5),
        ("r2", sk.r2_score),
    ):
        expected = tuple(score(labels, found.astype(np.float64)) for found in (ours, theirs))
        close(measured(name, ours, theirs, labels, size)[name], expected, rel=1e-4, abs=1e-5)


@FEW
@given(CASES, st.booleans())
def test_intersection_over_union(numbers: Any, binary: bool) -> None:
    seed, samples, classes, size = numbers
    rng = np.random.default_rng(seed)
    channels = 1 if binary else classes
    ours, theirs = (rng.random((samples, 4, 3, channels)).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, max(2, channels), (samples, 4, 3)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    if (labels == 255).all():
        return
    kept = labels != 255
    expected = []
    for found in (ours, theirs):
        segments = found[..., 0] > 0.5 if binary else found.argmax(axis=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected.append(
                (
                    sk.jaccard_score(labels[kept], segments[kept].astype(int), average="macro"),
                    sk.accuracy_score(labels[kept], segments[kept].astype(int)),
                )
            )
    found = measured("mean_iou", ours, theirs, labels, size, ignore=255)
    close(found["mean_iou"], (expected[0][0], expected[1][0]))
    close(found["pixel_accuracy"], (expected[0][1], expected[1][1]))


def test_curves_are_points_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 300)
    ours = np.round(labels * 0.5 + rng.normal(size=300), 2)[:, None].astype(np.float32)
    fpr, tpr, _ = sk.roc_curve(labels, ours[:, 0], drop_intermediate=False)
    rows = run("roc_auc", ours, ours, labels).tables()["roc_curve"].rows
    assert ranking.POINTS // 2 < len(rows) <= ranking.POINTS
    assert_points_of(np.stack([fpr, tpr], axis=1), rows)
    assert rows[0][1:] == (0, 0)
    assert rows[-1][1:] == (1, 1)
    precision, recall, _ = sk.precision_recall_curve(labels, ours[:, 0])
    assert_points_of(np.stack([recall, precision], axis=1), run("pr_auc", ours, ours, labels).tables()["pr_curve"].rows)


def assert_points_of(curve: Any, rows: Any) -> None:
    for _, *point in rows:
        assert np.abs(curve - point).max(axis=1).min() < 1e-5
