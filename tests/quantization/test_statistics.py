from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.quantization.statistics import Calibrated, Statistics

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
RANGES = st.dictionaries(
    st.text(min_size=1, max_size=20), st.tuples(st.lists(FLOATS, min_size=1, max_size=4)), min_size=1, max_size=5
)


@given(RANGES)
def test_ranges_survive_the_file_bit_for_bit(ranges: dict[str, tuple[list[float]]]) -> None:
    made = {
        tensor: {"min": np.array([values], np.float32), "max": np.array([values], np.float32) + 1}
        for tensor, (values,) in ranges.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "statistics.json"
        Statistics(made, ()).write(path)
        found = Statistics.read(path).ranges
    assert found.keys() == made.keys()
    for tensor, values in made.items():
        for end in ("min", "max"):
            assert found[tensor][end].dtype == np.float32
            assert found[tensor][end].tobytes() == values[end].tobytes()


def test_equal_statistics_give_equal_bytes_whatever_their_order(tmp_path: Path) -> None:
    a, b = {"min": np.float32(-1), "max": np.float32(0.1)}, {"max": np.float32(3), "min": np.float32(2)}
    Statistics({"a": a, "b": b}, ("11", "22")).write(tmp_path / "one")
    Statistics({"b": dict(reversed(b.items())), "a": a}, ("22", "11")).write(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_range_that_is_no_number_cannot_be_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Statistics({"a": {"min": np.float32(value)}}, ()).write(tmp_path / "statistics.json")


def test_the_summary_of_samples_changes_with_any_of_them_and_not_with_their_order() -> None:
    summary = Calibrated.on(("11", "22"))
    assert summary.samples == 2
    assert summary == Calibrated.on(("22", "11"))
    assert summary != Calibrated.on(("11", "23"))
