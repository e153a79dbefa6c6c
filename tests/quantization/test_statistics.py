from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.quantization import statistics

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
        statistics.write(made, path)
        found = statistics.read(path)
    assert found.keys() == made.keys()
    for tensor, values in made.items():
        for end in ("min", "max"):
            assert found[tensor][end].dtype == np.float32
            assert found[tensor][end].tobytes() == values[end].tobytes()


def test_equal_ranges_give_equal_bytes_whatever_their_order(tmp_path: Path) -> None:
    a, b = {"min": np.float32(-1), "max": np.float32(0.1)}, {"max": np.float32(3), "min": np.float32(2)}
    statistics.write({"a": a, "b": b}, tmp_path / "one")
    statistics.write({"b": dict(reversed(b.items())), "a": a}, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_range_that_is_no_number_cannot_be_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        statistics.write({"a": {"min": np.float32(value)}}, tmp_path / "statistics.json")
