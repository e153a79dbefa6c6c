from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.labels import read_labels


@pytest.mark.parametrize(
    "data",
    [
        b"cat\ndog\n",
        b"cat\ndog",
        b"cat\r\ndog\r\n",
        b"\xef\xbb\xbfcat\ndog\n",
        b"cat \n dog\n",
    ],
)
def test_labels_are_read_without_what_would_show_in_the_app(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")


def test_a_label_keeps_the_spaces_and_letters_inside_it(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("Straße frei\n数字 1\n", encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == ("Straße frei", "数字 1")


@pytest.mark.parametrize(("data", "line"), [(b"cat\n\ndog\n", 2), (b"cat\ndog\n\n", 3), (b"\ncat\n", 1), (b"cat\n   \n", 2)])
def test_a_blank_line_is_refused_with_its_number(tmp_path: Path, data: bytes, line: int) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(SourceError, match=f"line {line} is blank"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize("data", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(SourceError, match="found an empty file"):
        read_labels(tmp_path / "labels.txt")


def test_text_that_is_not_utf_8_is_refused_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("cat\nStraße\n".encode("latin-1"))
    with pytest.raises(SourceError, match="expected UTF-8 text, found byte 8 that is not"):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_labels(tmp_path / "labels.txt")
