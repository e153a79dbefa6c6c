"""What a recipe's own file states of places, and nothing beyond."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.reproduction.own_words import OwnWords

RECIPE = """
source: {kind: tf1_checkpoint, path: ../../models/m.ckpt}
dataset: {kind: image_folder, path: ../../data/test, input: x}
calibration: {kind: npz, path: /sets/train/set.npz, features: {x: x}}
labels: ../shared/labels.txt
validation:
  baseline: ${oc.env:HOME}/manifest.json
  metrics: [{name: python, function: metric.py:score, files: [../../secret.txt]}]
"""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("../../data/test", "{folder}/../../data/test"),
        ("../../data/test/cat/1.png", "{folder}/../../data/test/cat/1.png"),
        ("../../data/x/../test", "{folder}/../../data/test"),
        ("../../models/m.ckpt.index", "{folder}/../../models/m.ckpt.index"),
        ("../shared/labels.txt", "{folder}/../shared/labels.txt"),
        ("set.npz", "/sets/train/set.npz"),
        ("calibration/set.npz", "/sets/train/set.npz"),
        ("../../data", None),
        ("../../data/test/../train", None),
        ("../../data/test2", None),
        ("../../models/other.ckpt.index", None),
        ("../../secret.txt", None),
        ("../set.npz/../../x", None),
        ("train/x.npz", None),
        ("model.py", None),
    ],
)
def test_the_way_goes_along_a_stated_path_and_then_only_down(tmp_path: Path, wanted: str, found: str | None) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    expected = None if found is None else Path(found.format(folder=tmp_path))
    assert OwnWords(tmp_path).place(FileEntry(wanted, "", 0)) == expected


@pytest.mark.parametrize("path", [".", "..", "../..", "data", "~nobody-of-that-name/x", "https://example.invalid/x", "${x}"])
def test_what_names_no_place_outside_leads_nowhere(tmp_path: Path, path: str) -> None:
    (tmp_path / "recipe.yaml").write_text(f"dataset: {{kind: npz, path: {path!r}}}\n")
    words = OwnWords(tmp_path)
    for wanted in ("data/x.npz", "../x", "../../x", "x", "https:/example.invalid/x"):
        assert words.place(FileEntry(wanted, "", 0)) is None


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\0", "source: text", "labels: 3"])
def test_a_file_that_is_no_recipe_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    words = OwnWords(tmp_path)
    assert words.functions == set()
    assert words.place(FileEntry("../x", "", 0)) is None
    assert OwnWords(tmp_path / "nowhere").functions == set()
