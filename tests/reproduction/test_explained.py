"""Where two files should be equal and are not, a few lines say what differs in them, whatever they hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlkit_build.reproduction.explained import MOST, explained
from tests.mlkit.contract.cases import GOOD, normalizing

FIRST = "the first difference is at byte "


def told(tmp_path: Path, name: str, first: bytes, second: bytes) -> tuple[str, ...]:
    """Return what is told of two files that are kept under other names, as blobs are."""
    paths = (tmp_path / "0123", tmp_path / "4567")
    for path, data in zip(paths, (first, second), strict=True):
        path.write_bytes(data)
    return explained(*paths, name)


def test_of_a_model_operators_and_metadata_are_told(tmp_path: Path) -> None:
    other = replace(GOOD.saying(image=normalizing(((0.0,), (255.0,)))), version=2)
    found = told(tmp_path, "model.tflite", GOOD.build(), other.build())
    assert found[0] == "operators: SOFTMAX: 1 x version 1 (float32 to float32) -> 1 x version 2 (float32 to float32)"
    assert found[1] == "metadata: metadata.inputs[0].mean[0]: 127.5 -> 0.0"
    assert len(found) <= MOST


def test_of_json_the_fields_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    first, second = ({f"field{index}": index + step for index in range(20)} for step in (0, 1))
    found = told(tmp_path, "metrics.json", json.dumps(first).encode(), json.dumps(second).encode())
    assert found[0] == "field0: 0 -> 1"
    assert (len(found), found[-1]) == (MOST, f"and {20 - MOST + 1} more")


def test_of_a_text_the_lines_are_told_from_where_they_part(tmp_path: Path) -> None:
    found = told(tmp_path, "labels.txt", b"cat\ndog\n", b"cat\ndig\nowl\n")
    assert found == ("line 2: dog -> dig", "line 3: no such line -> owl")
    long = b"x" * 1000
    (line,) = told(tmp_path, "report.html", long + b"old", long + b"new")
    assert line == f"line 1: ...{'x' * 16}old -> ...{'x' * 16}new"


@pytest.mark.parametrize("name", ["reference.npz", "model.tflite", "a.json", "labels.txt", "frozen_graph.pb", "none"])
def test_of_what_cannot_be_read_the_offset_is_told(tmp_path: Path, name: str) -> None:
    assert told(tmp_path, name, b"\xff\xfe\x00\x01", b"\xff\xfe\x01\x01\x01") == (f"{FIRST}2, of 4 and 5 bytes",)


def test_json_that_says_the_same_in_other_bytes_is_told_by_offset(tmp_path: Path) -> None:
    assert told(tmp_path, "a.json", b'{"a": 1}', b'{"a":1}') == (f"{FIRST}5, of 8 and 7 bytes",)


def test_lines_are_short_and_printable(tmp_path: Path) -> None:
    nested = b"[" * 5000 + b"]" * 5000
    for name, first, second in (("a.txt", b"\x1b[2J" * 1000, b"b"), ("a.json", nested, b"[]"), ("a.json", b'"\\u001b"', b"1")):
        for line in told(tmp_path, name, first, second):
            assert line.isprintable()
            assert len(line) <= 250
