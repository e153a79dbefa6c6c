"""JSON that nothing could write again, or that only costs time, is refused in words."""

from __future__ import annotations

import pytest

from mlkit_build.strict_json import UnreadableError, read_json


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1e999}', "expected a number, found 1e999"),
        (b'{"a": [-1e999]}', "expected a number, found -1e999"),
        (b'{"a": ' + b"9" * 400 + b"}", "expected a number, found 999"),
        (b"[" * 200 + b"]" * 200, "nested too deeply"),
        (b'{"a":' * 200 + b"0" + b"}" * 200, "nested too deeply"),
        (b'"\\ud800"', "half a character"),
        (b'{"\\udfff": 1}', "half a character"),
        (b'[["\\ud83d"]]', "half a character"),
    ],
)
def test_json_that_nothing_could_write_again_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        read_json(data)


def test_json_at_the_bounds_is_read() -> None:
    assert read_json(b'{"a": ["\\ud83d\\ude00", 1e308, -0.5, ' + b"9" * 300 + b"]}") == {"a": ["😀", 1e308, -0.5, int("9" * 300)]}
    deep = read_json(b"[" * 100 + b"]" * 100)
    for _ in range(99):
        (deep,) = deep
    assert deep == []


def test_a_key_that_is_there_twice_is_found_among_any_number_of_keys() -> None:
    """Compared each with each, these keys took two minutes."""
    keys = ", ".join(f'"{number}": 1' for number in range(100_000))
    with pytest.raises(UnreadableError, match="the key '99999' is there twice"):
        read_json(f'{{{keys}, "99999": 2}}'.encode())
