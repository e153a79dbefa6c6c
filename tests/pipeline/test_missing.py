"""Of what is not there it is said where it was looked for, in a path that can be looked up, and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.pipeline.missing import not_found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    recipe = tmp_path / "recipes" / "mine"
    for place in (recipe, tmp_path / "data" / "test", tmp_path / "data" / ".tset", tmp_path / "elsewhere"):
        place.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return recipe


@pytest.mark.parametrize("stated", ["../../data/tset", "../../daat/test", "../../daat/tset"])
def test_a_slip_is_recognized_in_a_path_without_detours(folder: Path, stated: str) -> None:
    error = not_found("dataset.path", folder / stated, stated, "folder")
    place = folder.parent.parent.resolve() / stated.removeprefix("../../")
    assert error.message == f"dataset.path: expected a folder at {place}, found nothing"
    assert error.hint == f"did you mean {'test' if 'data/' in stated else 'data'!r}?"


def test_what_lies_in_the_working_folder_is_told_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "lables.txt").write_text("a")
    (folder / "labels.txt").write_text("a")
    error = not_found("labels", folder / "lables.txt", "lables.txt")
    assert error.hint == f"paths are relative to the recipe's folder; {tmp_path / 'elsewhere' / 'lables.txt'} exists"
    assert not_found("labels", folder / "label.txt", "label.txt").hint == "did you mean 'labels.txt'?"


def test_a_file_where_a_folder_should_be_is_told_without_guessing(folder: Path) -> None:
    (folder / "data").write_text("x")
    error = not_found("dataset.path", folder / "data", "data", "folder")
    assert (error.message, error.hint) == (f"dataset.path: expected a folder at {folder / 'data'}, found a file", "")


def test_nothing_alike_gives_no_hint(folder: Path) -> None:
    assert not_found("labels", folder / "zzz" / "q", "zzz/q").hint == ""
