from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.mlkit.labels import LabelSet, Reading, read_label_set, read_labels, repeated


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


@pytest.mark.parametrize("label", ["\u200b", "\u00ad", "\u00a0\u2060 \ufeff", "\u200d\ufe0f", "\u3164", "\u2800"])
def test_a_label_that_shows_nothing_is_blank(tmp_path: Path, label: str) -> None:
    (tmp_path / "labels.txt").write_text(f"cat\n{label}\n", encoding="utf-8")
    with pytest.raises(SourceError, match="line 2 is blank"):
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


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"cat\rdog\r", "line 1: expected a text, found the control character U\\+000D in it"),
        (b"cat\ndo\x00g\n", "line 2: expected a text, found the control character U\\+0000 in it"),
        (b"cat\n\x1b[31mdog\n", "line 2: .* U\\+001B"),
        ("cat\nd\x85og\n".encode(), "line 2: .* U\\+0085"),
        (b"cat\nd\tog\n", "line 2: .* U\\+0009"),
        *((f"cat\nd{chr(code)}og\n".encode(), f"line 2: .* U\\+{code:04X}") for code in (0x2028, 0x2029, 0x202A, 0x202E)),
        *((f"cat\nd{chr(code)}og\n".encode(), f"line 2: .* U\\+{code:04X}") for code in (0x2066, 0x2069)),
    ],
)
def test_characters_that_end_a_text_are_refused_with_the_line(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read_labels(tmp_path / "labels.txt")


ODD = (
    "../../etc/passwd",
    "a/b.txt",
    "C:\\con",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{DOG FACE}",
    "مرحبا",
    "x" * 65536,
    "a,b;c",
    "%s {0}",
)


def test_odd_texts_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(ODD), encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == ODD


def test_a_column_of_a_table_has_the_labels(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_bytes('\ufeffid;en;de\r\n0;cat; Katze\r\n1;"dog; hound";Hund\r\n'.encode())
    reading = Reading(column="en", delimiter=";", locales={"de": "de"})
    found = read_label_set(reading, {"labels": tmp_path / "classes.csv"})
    assert found == LabelSet(("cat", "dog; hound"), {"de": ("Katze", "Hund")})


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"id,fr\n0,chat\n", ConfigError, "labels.column: no column 'en' in .*; it has id, fr"),
        (b"id,en\n", SourceError, "expected one class per row, found none below the first row"),
        (b"id,en\n0,cat\n1,\n", SourceError, "line 3 is blank"),
        (b'id,en\n0,"cat\ntom"\n', SourceError, "line 3: expected a text, found the control character U\\+000A in it"),
    ],
)
def test_a_table_without_labels_is_refused(tmp_path: Path, data: bytes, error: type[Exception], words: str) -> None:
    (tmp_path / "classes.csv").write_bytes(data)
    with pytest.raises(error, match=words):
        read_label_set(Reading(column="en"), {"labels": tmp_path / "classes.csv"})


def test_every_language_has_as_many_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "de.txt").write_text("Katze\nHund\n")
    (tmp_path / "fr.txt").write_text("chat\n")
    files = {"labels": tmp_path / "labels.txt", "labels.de": tmp_path / "de.txt", "labels.fr": tmp_path / "fr.txt"}
    assert read_label_set(Reading(locales={"de": ""}), files).locales == {"de": ("Katze", "Hund")}
    with pytest.raises(
        SourceError, match=r"labels\.locales\.fr: .*fr\.txt: expected 2 labels, as many as .*, found 1; in the app"
    ):
        read_label_set(Reading(locales={"de": "", "fr": ""}), files)


def test_names_of_classes_are_labels_as_well() -> None:
    assert read_label_set(Reading(names=(" cat", "dog")), {}) == LabelSet(("cat", "dog"))
    with pytest.raises(SourceError, match=r"labels\.from_dataset: class 2: expected a text, found the control character U\+000A"):
        read_label_set(Reading(names=("cat", "a\nb")), {})


def test_labels_that_repeat_are_told_with_their_lines() -> None:
    assert repeated(("cat", "dog")) == ""
    assert repeated(("cat", "dog", "cat")) == "'cat' names the classes of lines 1, 3; an app cannot tell them apart"
    assert "lines 1, 2, 3, 4, 5, ..., and 1 other labels are repeated" in repeated(("a",) * 7 + ("b",) * 2)
