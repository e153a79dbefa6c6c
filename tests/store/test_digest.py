"""A digest is SHA-256 and size, however the bytes are read."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.store import Digest


def test_the_digest_is_sha256_and_the_size() -> None:
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert Digest.of_bytes(b"abc") == Digest(expected, 3)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=4096), st.integers(1, 200))
def test_a_file_has_the_digest_of_its_bytes(data: bytes, repeats: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data * repeats)
        file.flush()
        assert Digest.of_file(Path(file.name)) == Digest(hashlib.sha256(data * repeats).hexdigest(), len(data) * repeats)
