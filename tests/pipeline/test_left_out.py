"""Files that look like samples and are none by their ending are counted; what usually lies beside samples is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.errors import SourceError
from mlkit_build.pipeline.left_out import left_out
from mlkit_build.recipe import ImageFolder, WavFolder
from mlkit_build.store import Tree


def told(folder: Path, endings: tuple[str, ...] = ImageFolder(path="", input="x").suffixes) -> str:
    return left_out(Tree(folder, endings=endings), "dataset.path")


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_files_of_other_endings_are_counted(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "a/2.tif", "b/3.TIF", "b/4")
    assert told(tmp_path) == (
        "dataset.path: 3 files are left out, since names of samples end with one of .jpg, .jpeg, .png, .webp, .gif, .bmp, .ppm, "
        ".pgm: .tif (2), without an ending (1); save them as such, or move them elsewhere"
    )
    sounds = told(tmp_path, WavFolder(path="", input="x").suffixes)
    assert "end with one of .wav, .wave: .tif (2), .png (1), without an ending (1); " in sounds


def test_many_endings_are_cut_and_shown(tmp_path: Path) -> None:
    made(tmp_path, *(f"{number}.e{number}" for number in range(9)), "x.\x1b[2J")
    assert told(tmp_path).startswith("dataset.path: 10 files are left out")
    assert "\x1b" not in told(tmp_path)
    assert ".e3 (1), .e4 (1), ...; save" in told(tmp_path)


def test_what_lies_beside_samples_is_no_matter(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "README", "LICENSE", "readme.md", "a/Thumbs.db", "a/desktop.ini", "a/.DS_Store", "labels.csv")
    assert told(tmp_path) == ""
    assert "license_plate" not in told(tmp_path)
    assert ".tif (1)" in told(made(tmp_path, "license_plate.tif"))


def test_a_table_chooses_what_it_names(tmp_path: Path) -> None:
    made(tmp_path, "1.png", "2.tif")
    assert left_out(Tree(tmp_path, endings=(".png",), besides=list), "dataset.path") == ""


def test_a_link_in_a_circle_is_named_with_its_field(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    with pytest.raises(SourceError, match=r"^dataset\.path: .*: cannot be read: a link to a folder that it lies in") as caught:
        told(tmp_path)
    assert caught.value.hint == "take it out of the folder, or mend it"
