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


def test_links_that_lead_in_a_circle_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "a.npz").symlink_to(tmp_path / "data" / "b.npz")
    (tmp_path / "data" / "b.npz").symlink_to(tmp_path / "data" / "a.npz")
    for stated in ("../../data/a.npz", str(tmp_path / "data" / "a.npz")):
        error = not_found("dataset.path", folder / stated, stated)
        assert error.message.startswith(f"dataset.path: expected a file at {tmp_path / 'data'}/")
        assert error.message.endswith(".npz, found a link that leads nowhere")
        assert error.hint == ""
    below = not_found("dataset.path", folder / "../../data/a.npz/c", "../../data/a.npz/c", "folder").message
    assert below.endswith("found nothing")


@pytest.mark.parametrize("name", ["a\0b.npy", "a" * 5_000, "b/" * 5_000])
@pytest.mark.parametrize("detour", ["", "../../"])
def test_a_name_that_no_file_can_have_is_nothing(folder: Path, name: str, detour: str) -> None:
    error = not_found("dataset.features.x", folder / detour / name, name)
    assert error.message.startswith("dataset.features.x: expected a file at /")
    assert error.message.endswith(", found nothing" if "\0" in name else ", found nothing: the name is too long for one")
    assert error.message.isprintable()
    assert len(error.message) < 1_000
