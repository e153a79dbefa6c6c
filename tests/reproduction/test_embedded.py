"""The recipe in a manifest: none of its paths leads out of the folder that it is built in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.bundle.manifest import FileEntry
from mlkit_build.errors import ConfigError
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.reproduction.embedded import code_roles, fetched_digests, functions, levels_up
from mlkit_build.reproduction.inputs import find_inputs, lay_out
from mlkit_build.store import Digest, Tree

paths = st.lists(st.sampled_from(["..", ".", "", "a", "b.npz", "~", "...", " "]), max_size=8).map("/".join)


@settings(max_examples=300)
@given(paths, st.sampled_from(["{}", "file://{}", "tar://x::{}", "zip://x::file://{}"]))
def test_a_path_that_is_not_refused_stays_below_the_root(path: str, form: str) -> None:
    try:
        up = levels_up({"source": {"path": form.format(path)}})
    except ConfigError:
        return
    folder = Path("/root").joinpath(*["above"] * up, "recipe")
    assert Path(os.path.normpath(folder / path)).is_relative_to("/root")


@pytest.mark.parametrize("path", ["/etc/passwd", "~/x", "file:///etc/passwd", "tar://x::/etc/x.tar", "../" * 17 + "x", "a\0b"])
@pytest.mark.parametrize("field", ["source", "dataset", "calibration", "labels", "metadata", "validation"])
def test_a_path_that_leads_out_is_refused_wherever_it_stands(field: str, path: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}\.one\[0\]\.path: expected a path"):
        levels_up({field: {"one": [{"path": path}]}})


def test_how_far_up_a_path_goes_is_counted_on_its_way() -> None:
    assert levels_up({"source": {"path": "a/../../b", "graph": "../../c"}, "dataset": {"path": "https://../../x"}}) == 2


def test_functions_are_found_wherever_a_recipe_names_them() -> None:
    metric = {"name": "python", "options": {"function": "m.py:score"}}
    recipe: dict[str, Any] = {"source": {"function": "a.py:build"}, "validation": {"metrics": [metric, "top1"]}, "dataset": None}
    assert functions(recipe) == {"a.py:build", "m.py:score"}


def test_what_a_recipe_runs_and_fetches_is_told_by_its_parts() -> None:
    stated: dict[str, Any] = {
        "name": "toy",
        "version": "1.0.0",
        "source": {"kind": "frozen_graph", "path": "https://example.invalid/g.pb", "sha256": "AB" * 32},
        "dataset": {"kind": "npz", "path": "x.npz", "sha256": "cd" * 32, "features": {"x": "x"}},
        "calibration": {"kind": "python", "function": "data.py:samples", "features": {"x": "x"}},
    }
    recipe = from_plain(Recipe, stated)
    assert fetched_digests(recipe) == {"ab" * 32}
    assert code_roles(recipe) == {"calibration"}
    assert code_roles(from_plain(Recipe, {**stated, "calibration": None})) == set()
    metric = {"name": "python", "options": {"function": "m.py:score"}}
    assert code_roles(from_plain(Recipe, {**stated, "calibration": None, "validation": {"metrics": [metric]}})) == {"metrics"}


def entry(path: str, data: bytes) -> FileEntry:
    digest = Digest.of_bytes(data)
    return FileEntry(path, digest.sha256, digest.size_bytes)


def test_an_input_is_found_by_its_content_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "other").write_bytes(b"samples")
    (tmp_path / "data.npz").write_bytes(b"another")
    wanted = entry("data.npz", b"samples")
    assert find_inputs([wanted], [tmp_path], by_content=True) == ({wanted: tmp_path / "deep" / "er" / "other"}, [])
    assert find_inputs([wanted], [tmp_path], by_content=False) == ({}, [wanted])


def test_nothing_above_the_named_folders_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    wanted = entry("../secret", b"secret")
    assert find_inputs([wanted], [tmp_path / "named"], by_content=True) == ({}, [wanted])


def test_a_folder_is_found_and_laid_out_with_links_to_its_files(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    (images / "cat" / "1.png").write_bytes(b"cat")
    digest = Digest.of_bytes(b'{"cat/":"","cat/1.png":"%s"}' % Digest.of_bytes(b"cat").sha256.encode())
    wanted = FileEntry("images", digest.sha256, 3)
    found, missing = find_inputs([wanted], [tmp_path], by_content=True)
    assert (found, missing) == ({wanted: Tree(images)}, [])
    (images / "Thumbs.db").write_bytes(b"x")  # no image, so that no build counted it
    assert find_inputs([wanted], [tmp_path], by_content=True) == ({wanted: Tree(images)}, [])
    root = tmp_path / "new"
    lay_out({**found, entry("images/cat/2.png", b"x"): tmp_path / "images/cat/1.png"}, root / "recipe", root)
    assert (root / "recipe/images/cat/1.png").read_bytes() == b"cat"
    assert sorted(path.name for path in (images / "cat").iterdir()) == ["1.png"]  # nothing was written through a link


def test_a_folder_is_found_at_any_depth_whatever_it_is_called(tmp_path: Path) -> None:
    images = tmp_path / "project" / "data" / "renamed"
    (images / "cat").mkdir(parents=True)
    (images / "cat" / "1.png").write_bytes(b"cat")
    (images / ".thumbnails").mkdir()
    (images / ".thumbnails" / "1.png").write_bytes(b"no part of it")
    (images.parent / "notes.txt").write_bytes(b"beside it")
    digest = Digest.of_bytes(b'{"cat/":"","cat/1.png":"%s"}' % Digest.of_bytes(b"cat").sha256.encode())
    wanted = FileEntry("../../data/test", digest.sha256, 3)
    assert find_inputs([wanted], [tmp_path], by_content=True) == ({wanted: Tree(images)}, [])
    assert find_inputs([wanted], [images], by_content=True) == ({wanted: Tree(images)}, [])
    assert find_inputs([wanted], [images / "cat"], by_content=True) == ({}, [wanted])
    (images / "cat" / "1.png").write_bytes(b"dog")
    assert find_inputs([wanted], [tmp_path], by_content=True) == ({}, [wanted])


@pytest.mark.parametrize("places", [("a", "a"), ("a", "a/b"), ("../../a", "b")])
def test_inputs_that_cannot_be_where_they_are_stated_are_refused(tmp_path: Path, places: tuple[str, str]) -> None:
    (tmp_path / "file").write_bytes(b"x")
    found = {entry(place, b"%d" % index): tmp_path / "file" for index, place in enumerate(places)}
    with pytest.raises(ConfigError, match=r"^inputs: "):
        lay_out(found, tmp_path / "root" / "recipe", tmp_path / "root")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "root"}
