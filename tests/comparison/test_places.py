"""Where two files part is told rightly at the ends of what is read at once, too."""

from __future__ import annotations

from io import BytesIO

import pytest

from mlkit_build.comparison.places import parting


@pytest.mark.parametrize("at", [0, 1, 65_535, 65_536, 131_071])
def test_the_first_byte_that_differs_is_told(at: int) -> None:
    data = bytes(131_072)
    other = bytearray(data)
    other[at] = 1
    assert parting(BytesIO(data), BytesIO(other)) == f"the first difference is at byte {at:,}, of 131,072 bytes each"


@pytest.mark.parametrize("length", [0, 5, 65_536])
def test_a_file_that_is_cut_off_parts_where_it_ends(length: int) -> None:
    data = bytes(131_072)
    told = parting(BytesIO(data[:length]), BytesIO(data))
    assert told == f"the first difference is at byte {length:,}, of {length:,} and 131,072 bytes"


def test_equal_files_do_not_part() -> None:
    assert parting(BytesIO(b"same"), BytesIO(b"same")) == ""
