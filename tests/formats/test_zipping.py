"""The bytes of a zip archive follow from its contents, and what does not is noticed."""

from __future__ import annotations

import zipfile
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.formats.zipping import parting, zipped

NAMES = st.text(st.characters(categories=("L", "N"), include_characters="._-"), min_size=1, max_size=20)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=50), max_size=5)


def found(data: bytes) -> str:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return parting(BytesIO(data), archive.infolist())


@given(CONTENTS)
def test_an_archive_is_as_it_was_written(contents: dict[str, bytes]) -> None:
    assert found(zipped(contents.items())) == ""


@given(CONTENTS, st.binary(min_size=1, max_size=30))
def test_what_was_put_before_or_behind_the_entries_is_found(contents: dict[str, bytes], more: bytes) -> None:
    data = zipped(contents.items())
    assert found(more + data)
    comment = data[:-2] + len(more).to_bytes(2, "little") + more
    assert found(comment) == f"byte {len(data) - 2}, which is behind all contents"
