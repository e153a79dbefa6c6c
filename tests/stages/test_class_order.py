"""Labels in another order than the outputs are recognized by what the samples are called; a bad model is not taken for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets import Batch
from mlkit_build.errors import ConfigError
from mlkit_build.stages.class_order import ClassOrder

NAMES = ("square", "circle", "stripes", "dots")


def judged(predicted: Any, labels: Any, names: Sequence[str] = NAMES, count: int = 4, expected: Any = None) -> str:
    """Let the labels pass by in batches of 7, as with a dataset."""
    order = ClassOrder(names, count)
    for first in range(0, len(labels), 7):
        part = np.asarray(labels)[first : first + 7]
        order.look(Batch(first, {"x": np.zeros(len(part))}, part))
    return order.warning(
        np.asarray(predicted, np.int32), lambda: np.asarray(predicted if expected is None else expected, np.int32)
    )


def repeated(classes: Sequence[int], times: int = 15) -> Any:
    return np.repeat(classes, times)


def test_two_labels_exchanged_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        judged(repeated([0, 1, 2]), repeated([1, 0, 2]))
    assert caught.value.message == (
        "labels: 2 classes are in another order than the model's outputs, as the samples show: "
        "class 0 is 'circle' and not 'square', class 1 is 'square' and not 'circle'"
    )
    assert caught.value.hint.startswith("line n of the labels names the model's class n")


@pytest.mark.parametrize("order", [[1, 2, 0], [3, 2, 1, 0], [1, 2, 3, 0]])
def test_every_other_order_is_refused_though_the_model_errs_now_and_then(order: list[int]) -> None:
    predicted, labels = repeated(range(len(order))), repeated(order)
    labels[::15] = labels[1]  # one of fifteen is something else
    with pytest.raises(ConfigError, match=r"^labels: \d classes are in another order"):
        judged(predicted, labels)


def test_what_quantization_exchanged_is_no_order_of_the_labels() -> None:
    assert judged(repeated([0, 1]), repeated([1, 0]), expected=repeated([1, 0])) == ""
    with pytest.raises(ConfigError, match="2 classes"):  # it exchanged two, and the labels others
        judged(repeated([0, 1, 2, 3]), repeated([1, 0, 2, 3]), expected=repeated([0, 1, 3, 2]))


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "?"])
def test_one_hot_labels_are_classes_too(dtype: str) -> None:
    with pytest.raises(ConfigError, match="2 classes"):
        judged(repeated([0, 1]), np.eye(4, dtype=dtype)[repeated([1, 0])])


def test_without_names_it_is_a_warning_since_the_numbers_may_be_wrong_in_the_dataset_only() -> None:
    told = judged(repeated([0, 1]), repeated([1, 0]), names=())
    assert told == (
        "dataset.label: 2 classes are in another order than the model's outputs, as the samples show: "
        "class 0 is the dataset's 1 and not the dataset's 0, class 1 is the dataset's 0 and not the dataset's 1"
    )


@pytest.mark.parametrize("by", [1, 192])
def test_labels_off_by_one_line_are_found_where_each_class_has_few_samples(by: int) -> None:
    classes = np.arange(120)
    with pytest.raises(ConfigError, match=r"^labels: 120 classes are in another order .*: class 0 is '.*' and not 'flag 0'"):
        judged(classes, (classes + by) % 193, names=[f"flag {index}" for index in range(193)], count=193)


def test_very_many_classes_are_counted() -> None:
    told = judged(repeated(range(1000), 10), repeated(np.roll(range(1000), 1), 10), names=(), count=1000)
    assert told.startswith("dataset.label: 1000 classes ")
    assert told.endswith(", and 996 more")


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [
        (repeated([0, 1, 2, 3]), repeated([0, 1, 2, 3])),
        (repeated([0, 1], 9), repeated([1, 0], 9)),  # too few to tell
        (repeated([0] * 4), repeated([0, 1, 2, 3])),  # a model that knows one answer
        (repeated([0, 0, 0, 0]), repeated([1, 1, 1, 1])),  # of one class only
        (repeated([0, 1, 2], 4), repeated([1, 2, 3], 4)),  # three off by one, of few samples
        (np.arange(4) % 4, np.arange(1, 5) % 4),  # four samples
        (np.tile([0, 1, 2, 3], 3), np.tile([1, 2, 3, 3], 3)),  # three quarters are off by one
        (repeated([0, 1]), repeated([1, 2])),  # no circle: shifted, or bad
        (repeated([0, 1, 2]), repeated([1, 1, 1])),
        (np.tile([0, 0, 0, 0, 1, 1, 1, 1], 10), np.tile([1, 1, 1, 0, 0, 0, 0, 1], 10)),  # 75%: classes that look alike
    ],
)  # fmt: skip
def test_what_is_merely_bad_is_left_to_the_gates(predicted: Any, labels: Any) -> None:
    assert judged(predicted, labels) == ""


@pytest.mark.parametrize(
    "labels",
    [
        repeated([1.0, 0.0]),
        repeated([1, -1]),
        repeated([1, 9]),
        np.ones((30, 5), np.uint8),
        np.tile([[2, -1, 0, 0], [0, 1, 0, 0]], (15, 1)),
        np.tile([[0.5, 0.5, 0, 0], [0, 1, 0, np.nan]], (15, 1)),
        np.array(["a"] * 30),
    ],
)
def test_labels_that_are_no_classes_are_not_compared(labels: Any) -> None:
    assert judged(repeated([0, 1]), labels) == ""
