"""Inputs are told apart in a manifest, whatever their folders are called, and its recipe leads to them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.bundle.placing import Placing
from mlkit_build.plain import from_plain
from mlkit_build.recipe import Recipe
from mlkit_build.store import Tree

FOLDER = Path("/home/ada/recipes/toy")
Found = list[tuple[str, Path | Tree]]


def recipe(**parts: Any) -> Recipe:
    whole = {
        "name": "toy",
        "version": "1.0.0",
        "source": {"kind": "frozen_graph", "path": "graph.pb"},
        "signature": {"inputs": {"x": {"tensor": "x:0"}}, "outputs": {"y": {"tensor": "y:0"}}},
    }
    return from_plain(Recipe, {**whole, **parts})


def npz(path: str) -> dict[str, Any]:
    return {"kind": "npz", "path": path, "features": {"x": "x"}}


def images(path: str) -> dict[str, Any]:
    return {"kind": "image_folder", "path": path, "input": "x"}


def named(placing: Placing) -> list[str]:
    return [found.name for found in placing.inputs()]


@pytest.mark.parametrize(
    ("stated", "path", "expected"),
    [
        ("model/graph.pb", "/home/ada/recipes/toy/model/graph.pb", "model/graph.pb"),
        ("../shared/graph.pb", "/home/ada/recipes/toy/../shared/graph.pb", "../shared/graph.pb"),
        ("/data/models/graph.pb", "/data/models/graph.pb", "graph.pb"),
        ("/home/ada/recipes/toy2/graph.pb", "/home/ada/recipes/toy2/graph.pb", "graph.pb"),
        ("/home/ada/recipes/toy/model/graph.pb", "/home/ada/recipes/toy/model/graph.pb", "model/graph.pb"),
        ("https://example.invalid/graph.pb", "/home/ada/.cache/ab12/graph.pb", "graph.pb"),
    ],
)
def test_an_input_is_named_relative_to_the_recipe_or_by_its_bare_name(stated: str, path: str, expected: str) -> None:
    source = {"kind": "frozen_graph", "path": stated}
    placing = Placing(recipe(source=source), [("source", Path(path))], FOLDER)
    assert named(placing) == [expected]
    assert placing.recipe.source.path == (stated if "://" in stated else expected)  # type: ignore[union-attr]


def test_a_relative_input_is_named_the_same_from_a_relative_recipe_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named(Placing(recipe(), [("source", Path("recipes/toy/graph.pb"))], tmp_path / "recipes" / "toy")) == ["graph.pb"]
    assert named(Placing(recipe(), [("source", tmp_path / "recipes/toy/graph.pb")], Path("recipes/toy"))) == ["graph.pb"]


@pytest.mark.parametrize(
    ("kind", "stated", "files", "expected"),
    [
        ("npy", "/sets/npy", ["/sets/npy/x.npy", "/sets/npy/y.npy"], ["npy/x.npy", "npy/y.npy"]),
        ("npy", "/sets/old/../npy/", ["/sets/old/../npy/x.npy"], ["npy/x.npy"]),
        ("tfds", "/tfds", ["/tfds/mnist/3.0.1/features.json"], ["tfds/mnist/3.0.1/features.json"]),
    ],
)
def test_files_of_a_folder_elsewhere_are_named_below_it(kind: str, stated: str, files: list[str], expected: list[str]) -> None:
    dataset = {"kind": kind, "path": stated, "features": {"x": "x.npy"}}
    placing = Placing(recipe(dataset=dataset), [("dataset", Path(file)) for file in files], FOLDER)
    assert named(placing) == expected
    assert placing.recipe.dataset.path == expected[0].partition("/")[0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("/models/m.ckpt", ["m.ckpt.meta", "m.ckpt.index"]), ("/models", ["models/m.ckpt.meta", "models/m.ckpt.index"])],
)
def test_a_checkpoint_elsewhere_is_named_by_its_prefix_or_its_folder(stated: str, expected: list[str]) -> None:
    found: Found = [("source", Path("/models/m.ckpt.meta")), ("source", Path("/models/m.ckpt.index"))]
    placing = Placing(recipe(source={"kind": "tf1_checkpoint", "path": stated}), found, FOLDER)
    assert named(placing) == expected


def test_two_places_of_one_name_are_told_apart_by_their_roles() -> None:
    parts = {"dataset": images("/a/images"), "calibration": images("/b/images")}
    placing = Placing(recipe(**parts), [("dataset", Tree(Path("/a/images"))), ("calibration", Tree(Path("/b/images")))], FOLDER)
    assert named(placing) == ["dataset/images", "calibration/images"]
    made = placing.recipe
    assert made.dataset is not None
    assert made.calibration is not None
    assert (made.dataset.path, made.calibration.path) == ("dataset/images", "calibration/images")  # type: ignore[union-attr]
    # A variant that observes nothing does not look for the calibration, and names the rest alike.
    assert named(Placing(recipe(**parts), [("dataset", Tree(Path("/a/images")))], FOLDER)) == ["dataset/images"]


def test_one_place_in_two_roles_is_one_input() -> None:
    stated = recipe(dataset=npz("/a/x.npz"), calibration=npz("/a/b/../x.npz"))
    placing = Placing(stated, [("dataset", Path("/a/x.npz")), ("calibration", Path("/a/x.npz"))], FOLDER)
    assert [(found.name, found.samples) for found in placing.inputs()] == [("x.npz", ("dataset", "calibration"))]


@pytest.mark.parametrize(
    ("dataset", "calibration", "expected"),
    [
        ("images", "/b/images", "calibration/images"),
        ("images/test", "/b/images", "calibration/images"),
        ("calibration/images", "/b/images", "images"),
        ("../images", "/b/images", "images"),
    ],
)
def test_a_place_in_the_recipes_folder_is_not_taken_again(dataset: str, calibration: str, expected: str) -> None:
    found: Found = [("dataset", Tree(FOLDER / dataset)), ("calibration", Tree(Path(calibration)))]
    placing = Placing(recipe(dataset=images(dataset), calibration=images(calibration)), found, FOLDER)
    assert named(placing) == [dataset, expected]


def test_a_role_whose_folder_is_taken_is_numbered() -> None:
    found: Found = [("source", FOLDER / "graph.pb"), ("dataset", Path("/a/graph.pb")), ("calibration", FOLDER / "dataset")]
    placing = Placing(recipe(dataset=npz("/a/graph.pb"), calibration=npz("dataset")), found, FOLDER)
    assert named(placing) == ["graph.pb", "dataset-2/graph.pb", "dataset"]


paths = st.builds(
    lambda above, parts: above + "/".join(parts),
    st.sampled_from(["", "../", "/", "/other/"]),
    st.lists(st.sampled_from(["a", "b", "dataset", "calibration"]), min_size=1, max_size=3),
)


@settings(max_examples=200)
@given(paths, paths, paths)
def test_the_manifests_recipe_leads_to_its_inputs_and_places_them_so_again(source: str, dataset: str, calibration: str) -> None:
    stated = recipe(source={"kind": "frozen_graph", "path": source}, dataset=npz(dataset), calibration=npz(calibration))

    def placed(composed: Recipe, folder: Path) -> Placing:
        parts = (("source", composed.source), ("dataset", composed.dataset), ("calibration", composed.calibration))
        return Placing(composed, [(role, folder / part.path) for role, part in parts], folder)  # type: ignore[union-attr]

    first = placed(stated, FOLDER)
    again = placed(first.recipe, Path("/elsewhere/toy"))
    assert again.recipe == first.recipe
    assert named(again) == list(dict.fromkeys(named(first)))
    moved = [found.name for found in first.inputs() if not found.path.is_relative_to(FOLDER)]  # type: ignore[union-attr]
    for name in moved:  # nothing is laid out where something else is, or in it
        others = [PurePosixPath(other) for other in named(first) if other != name]
        assert not any(PurePosixPath(name).is_relative_to(other) or other.is_relative_to(name) for other in others)
    assert len(set(moved)) == len(moved)
