"""What a bundle says of places is the same on two machines."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.bundle.portable import portable_text

segments = st.text("abc.-_ é", min_size=1, max_size=6).filter(lambda text: text.strip(". ") != "")


@settings(max_examples=50)
@given(st.lists(segments, min_size=1, max_size=4), st.booleans())
def test_portable_text_is_never_absolute_and_keeps_a_relative_path(parts: list[str], absolute: bool) -> None:
    stated = "/" * absolute + "/".join(parts)
    found = portable_text(stated)
    assert not Path(found).is_absolute()
    assert found == (parts[-1] if absolute else stated)


def test_two_machines_write_the_same_text_for_the_same_data() -> None:
    assert portable_text("/home/ada/data/test.npz") == portable_text("/mnt/grace/test.npz") == "test.npz"
