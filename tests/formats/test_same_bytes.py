"""Every format gives the same bytes from the same model, wherever, whenever and by whomever it is made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlkit_build.formats import FORMATS
from mlkit_build.formats.zipping import zipped
from mlkit_build.recipe import Ios
from tests.formats.made import HOSTILE, a_recipe, files, written

MADE = [name for name, entry in FORMATS.items() if entry.module]


@pytest.mark.parametrize("kind", MADE)
def test_a_format_made_twice_is_the_same(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = a_recipe(ios=Ios(podspec=True, homepage="https://example.com"), description=HOSTILE[0])
    first = files(written(kind, recipe, tmp_path / "a"))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    time.tzset()
    before = os.umask(0o077)
    try:
        second = files(written(kind, recipe, tmp_path / "b" / "deeper"))
    finally:
        os.umask(before)
        monkeypatch.undo()
        time.tzset()
    assert first == second
    assert len(first) > 2


def test_a_zip_archive_of_files_and_bytes_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o700)
    assert zipped([("a", tmp_path / "file")]) == zipped([("a", b"content")])
    assert zipped([("a", b"1"), ("b", b"2")]) != zipped([("b", b"2"), ("a", b"1")])
