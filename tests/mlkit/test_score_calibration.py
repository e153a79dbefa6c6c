"""The parameters of score calibration: what the user wrote is checked, what comes of scores is the formula of the schema."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.description import ScoreCalibration
from mlkit_build.mlkit.metadata_schema import ScoreTransformation
from mlkit_build.mlkit.score_calibration import calibrated, parsed, printed, read_calibration


def test_a_file_is_read_a_line_per_class(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf0.5, 2,-1\r\n\r\n1,1e1,0,.25\r\n")
    assert read_calibration(tmp_path / "c.csv", ("a", "b", "c")) == ((0.5, 2.0, -1.0), (), (1.0, 10.0, 0.0, 0.25))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "Expected non-empty score calibration file"),
        (b"\n\n\n", "expected parameters, found empty lines"),
        (b"1,2,3\n1,2\n\n", "line 2: Expected 3 or 4 parameters per line in score calibration file, got 2"),
        (b"1,2,3,4,5\n\n\n", "line 1: Expected 3 or 4 parameters per line in score calibration file, got 5"),
        (b"1,2,x\n\n\n", "Could not parse score calibration parameter as float: x"),
        (b"1,2,nan\n\n\n", "Could not parse score calibration parameter as float: nan"),
        (b"1,2,1_0\n\n\n", "Could not parse score calibration parameter as float: 1_0"),
        (b"1,2,3\n1,2,3\n", "Mismatch between number of labels .3. and score calibration parameters .2."),
        (b"1,2,\xff", "expected UTF-8 text, found byte 4"),
    ],
)
def test_what_the_task_library_would_refuse_is_refused_here(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "c.csv").write_bytes(data)
    with pytest.raises(SourceError, match=words) as caught:
        read_calibration(tmp_path / "c.csv", ("a", "b", "c"))
    assert caught.value.message.startswith(f"metadata.score_calibration: {tmp_path / 'c.csv'}: ")


def test_labels_that_repeat_have_the_same_parameters(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("1,2,3\n1,2,3\n1,2,4")
    assert len(read_calibration(tmp_path / "c.csv", ("crane", "crane", "dog"))) == 3
    with pytest.raises(SourceError, match="the label 'crane' is there more than once, with other parameters each time"):
        read_calibration(tmp_path / "c.csv", ("crane", "dog", "crane"))


number = st.floats(allow_nan=False, allow_infinity=False)
rows = st.one_of(st.just(()), st.tuples(number, number, number), st.tuples(number, number, number, number))


@given(st.lists(rows, min_size=1, max_size=6).filter(any))
def test_what_is_printed_is_read_back(classes: list[tuple[float, ...]]) -> None:
    assert parsed(printed(tuple(classes)).decode()) == tuple(classes)


@pytest.mark.parametrize(
    ("transformation", "expected"),
    [
        (ScoreTransformation.IDENTITY, 0.5 / (1 + math.exp(-(2 * 0.25 - 1)))),
        (ScoreTransformation.LOG, 0.5 / (1 + math.exp(-(2 * math.log(0.25) - 1)))),
        (ScoreTransformation.INVERSE_LOGISTIC, 0.5 / (1 + math.exp(-(2 * (math.log(0.25) - math.log(0.75)) - 1)))),
    ],
)
def test_scores_become_what_the_schema_says(transformation: ScoreTransformation, expected: float) -> None:
    calibration = ScoreCalibration(((0.5, 2.0, -1.0), (), (1.0, 1.0, 0.0, 0.5)), transformation, 0.125)
    found = calibrated(np.array([[0.25, 0.9, 0.25]], np.float32), calibration)
    assert found.tolist() == [[pytest.approx(expected), 0.125, 0.125]]


def test_scores_of_0_and_1_are_finite_and_in_order() -> None:
    calibration = ScoreCalibration(((1.0, 1.0, 0.0),) * 3, ScoreTransformation.INVERSE_LOGISTIC)
    low, mid, high = calibrated(np.array([0.0, 0.5, 1.0]), calibration)
    assert 0 <= low < mid == 0.5 < high <= 1
