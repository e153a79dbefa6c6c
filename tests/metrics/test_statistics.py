"""Intervals and the paired test, against scipy and against published examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from mlkit_build.metrics import Measurement, PairedTest
from mlkit_build.metrics.statistics import drop_interval, mcnemar, wilson

SHARES = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(SHARES)
def test_intervals_are_wilsons(share: tuple[int, int]) -> None:
    right, samples = share
    expected = binomtest(right, samples).proportion_ci(method="wilson")
    assert wilson(right, samples) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(0, 600), st.integers(0, 600))
def test_the_test_is_mcnemars_with_mid_p(lost: int, gained: int) -> None:
    fewer, changed = min(lost, gained), lost + gained
    expected = min(1.0, 2 * binom.cdf(fewer, changed, 0.5) - binom.pmf(fewer, changed, 0.5)) if changed else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_the_test_is_what_one_computes_by_hand() -> None:
    # 1 lost and 7 gained of 8 that changed: 2 * (1 + 8) / 2**8 for at most one, less 8 / 2**8 for exactly one
    assert mcnemar(1, 7) == pytest.approx(10 / 256)


def test_the_interval_of_a_drop_is_what_one_computes_by_hand() -> None:
    # 21 pairs: (2 - 8) / 23, give or take 1.96 * sqrt((10 / 23 - (6 / 23)**2) / 23)
    assert drop_interval(1, 7, 21) == pytest.approx((-0.508359, -0.013380), abs=1e-6)


@pytest.mark.parametrize("shift", [0, 50, 300])
def test_where_many_samples_change_the_normal_distribution_takes_over_without_a_step(shift: int) -> None:
    exact = 2 * binom.cdf(11_000 - shift, 22_000, 0.5) - binom.pmf(11_000 - shift, 22_000, 0.5)
    assert mcnemar(11_000 + shift, 11_000 - shift) == pytest.approx(min(1.0, exact), abs=1e-4)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 10_000))
def test_an_interval_of_a_drop_holds_the_drop_and_widens_with_fewer_samples(lost: int, gained: int, samples: int) -> None:
    low, high = drop_interval(lost, gained, samples)
    assert low <= (lost - gained) / samples <= high
    more = drop_interval(lost * 4, gained * 4, samples * 4)
    assert more[1] - more[0] < high - low


def test_a_share_knows_its_changes_from_the_counts() -> None:
    found = Measurement.share(90, 100, 95, lost=7)
    assert found.drop == 0.05
    assert found.paired == PairedTest.of(7, 2, 100)
    assert found.paired is not None
    assert found.paired.changed == 9


def test_a_drop_of_an_error_is_its_rise() -> None:
    assert Measurement(0.5, 0.4, lower_is_better=True).drop == 0.1
    assert Measurement(0.4, 0.4, lower_is_better=True).drop == 0.0
