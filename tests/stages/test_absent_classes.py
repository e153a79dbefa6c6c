"""A class that no sample is of is named, and only where that is no chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets import Batch
from mlkit_build.recipe import AnyDataset, Npz, Tfds
from mlkit_build.stages.absent_classes import AbsentClasses, is_whole

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def warning(labels: Any, names: Sequence[str] = DIGITS, count: int = 10) -> str:
    """Let the labels pass by in batches of 7, as with a dataset."""
    absent = AbsentClasses(names, count)
    for first in range(0, len(labels), 7):
        part = np.asarray(labels)[first : first + 7]
        absent.look(Batch(first, {"x": np.zeros(len(part))}, part))
    return absent.warning()


def without(*classes: int, count: int = 10, times: int = 20) -> Any:
    return np.repeat([index for index in range(count) if index not in classes], times)


def test_one_class_without_samples_is_named() -> None:
    assert warning(without(3)) == "dataset: no sample of class 'three': nothing says how well it is recognized"
    assert warning(np.eye(10)[without(3)]) == warning(without(3))
    assert warning(without(3), names=()) == "dataset: no sample of class 3: nothing says how well it is recognized"
    assert "class 0:" in warning(np.ones(20, np.int64), names=(), count=2)


def test_of_several_the_first_are_named() -> None:
    assert warning(without(3, 5)) == (
        "dataset: no sample of 2 of the 10 classes, 'three', 'five': nothing says how well they are recognized"
    )
    assert "no sample of 7 of the 10 classes, 'zero', 'one', 'two', 'three', 'four', ...: " in warning(
        without(*range(7), times=50)
    )


@pytest.mark.parametrize(
    "labels",
    [
        without(),
        without(3, times=11),  # 99 samples of 10 classes: one may have none by chance
        np.full((200, 10), 1),  # of several classes at once
        np.full(200, 0.5),
        np.full(200, 10),
    ],
)
def test_what_is_no_lack_is_not_told(labels: Any) -> None:
    assert warning(labels) == ""


def test_the_background_of_a_mobilenet_has_no_samples() -> None:
    assert warning(without(0), names=("background", *DIGITS[1:])) == ""


@pytest.mark.parametrize(
    ("dataset", "whole"),
    [
        (Npz(path="a"), True),
        (Npz(path="a", samples=200), False),
        (Npz(path="a", split="0:50%"), False),
        (Tfds(split="test"), True),
        (Tfds(split="test[:50%]"), False),
    ],
)
def test_a_part_may_lack_classes(dataset: AnyDataset, whole: bool) -> None:
    assert is_whole(dataset) is whole
