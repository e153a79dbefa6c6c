"""Values read as people say them, and are written as what they are."""

from __future__ import annotations

import pytest

from mlkit_build.gates import judge
from mlkit_build.metrics import Measurement, samples_text, value_of
from mlkit_build.metrics.parity import decibels
from mlkit_build.recipe import Gate
from mlkit_build.report.summary import verdict_text


@pytest.mark.parametrize(("count", "text"), [(0, "0 samples"), (1, "1 sample"), (2, "2 samples"), (10_000, "10,000 samples")])
def test_one_sample_is_one(count: int, text: str) -> None:
    assert samples_text(count) == text


def test_no_noise_is_no_number_of_decibels_but_a_limit_is() -> None:
    sqnr = value_of("sqnr_db")
    assert sqnr.number(decibels(1.0, 0.0)) == "identical"
    assert sqnr.number(decibels(1.0, 1e-4)) == "40.0 dB"
    assert sqnr.difference(200.0) == "200.0 dB"
    (verdict,) = judge({"sqnr_db": Gate(min=200.0)}, {"sqnr_db": Measurement(200.0)})
    assert verdict_text(verdict) == "at least 200.0 dB ok"


def test_bytes_are_whole_numbers_and_other_values_stay() -> None:
    assert repr(value_of("arena_bytes").exact(21648.0)) == "21648"
    assert repr(value_of("size_bytes").exact(0.5)) == "0.5"
    assert repr(value_of("top1").exact(1.0)) == "1.0"
