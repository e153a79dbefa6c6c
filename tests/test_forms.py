from __future__ import annotations

import pytest

from mlkit_build.forms import FLOAT, FROZEN, SHIPPED, SOURCE, Hop, Hops, Parting, hop_text
from mlkit_build.report.summary import hops_text


def parting(max_abs_error: float, sqnr_db: float, top1_changed: int = 0, dtype: str = "float32") -> Parting:
    return Parting("scores", dtype, max_abs_error, sqnr_db, top1_changed)


SAME = parting(1e-7, 130.0)
COARSE = parting(0.03, 32.1, 1)


def forms(source: Parting, converted: Parting, shipped: Parting) -> Hops:
    return Hops(16, (Hop(SOURCE, FROZEN, (source,)), Hop(FROZEN, FLOAT, (converted,)), Hop(FLOAT, SHIPPED, (shipped,))))


def test_the_first_hop_that_parts_is_named_and_quantizing_is_no_fault() -> None:
    found = forms(SAME, SAME, COARSE)
    assert found.first is found.hops[2]
    assert (found.problem(), found.warning()) == ("", "")
    expected = "the same up to float.tflite; then scores moves by up to 0.03 (32.1 dB), another top-1 for 1 of 16 samples"
    assert hops_text(found) == expected


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (forms(COARSE, SAME, SAME), "the frozen graph is not quite the source: scores moves by up to 0.03"),
        (forms(SAME, COARSE, SAME), "the float.tflite is not quite the frozen graph"),
    ],
)
def test_forms_that_should_be_equal_and_are_nearly_so_are_warned_of(found: Hops, named: str) -> None:
    assert found.problem() == ""
    assert found.warning().startswith(named)


def test_a_form_that_computes_something_else_is_a_problem_that_names_form_output_and_distance() -> None:
    found = forms(parting(0.7, 3.0, 9), SAME, SAME)
    assert found.problem() == (
        "the frozen graph does not compute what the source does: on 16 samples the output 'scores' is off by up to 0.7 (3.0 dB)"
    )


@pytest.mark.parametrize("found", [parting(1.0, 3.0, 9, dtype="int64"), parting(1e-9, -20.0)])
def test_an_index_that_flips_and_noise_around_zero_are_no_problem(found: Parting) -> None:
    assert forms(found, SAME, SAME).problem() == ""


def test_what_was_not_compared_says_why() -> None:
    hop = Hop(SOURCE, FROZEN, skipped="it draws random numbers")
    assert hop_text(hop, 16) == "not compared: it draws random numbers"
    found = Hops(4, (hop, Hop(FROZEN, FLOAT, (SAME,))))
    expected = "the same on 4 samples, from frozen graph to the shipped file; source and frozen graph not compared: "
    assert hops_text(found) == expected + "it draws random numbers"
    assert found.first is None
