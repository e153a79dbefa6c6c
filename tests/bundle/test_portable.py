"""What a bundle says of places is the same on two machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.bundle.portable import portable, portable_text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/ada/recipes/toy/model/graph.pb", "model/graph.pb"),
        ("/home/ada/recipes/toy/../shared/labels.txt", "../shared/labels.txt"),
        ("/data/imagenet/labels.txt", "labels.txt"),
        ("/home/ada/recipes/toy2/labels.txt", "labels.txt"),
    ],
)
def test_an_input_is_named_relative_to_the_recipe_or_by_its_bare_name(path: str, expected: str) -> None:
    assert portable(Path(path), Path("/home/ada/recipes/toy")) == expected


def test_a_relative_input_is_named_the_same_from_a_relative_recipe_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert portable(Path("recipes/toy/graph.pb"), tmp_path / "recipes" / "toy") == "graph.pb"
    assert portable(tmp_path / "recipes/toy/graph.pb", Path("recipes/toy")) == "graph.pb"


segments = st.text("abc.-_ é", min_size=1, max_size=6).filter(lambda text: text.strip(". ") != "")


@settings(max_examples=50)
@given(st.lists(segments, min_size=1, max_size=4), st.booleans())
def test_portable_text_is_never_absolute_and_keeps_a_relative_path(parts: list[str], absolute: bool) -> None:
    stated = "/" * absolute + "/".join(parts)
    found = portable_text(stated)
    assert not Path(found).is_absolute()
    assert found == (parts[-1] if absolute else stated)


def test_two_machines_write_the_same_text_for_the_same_data() -> None:
    assert portable_text("/home/ada/data/test.npz") == portable_text("/mnt/grace/test.npz") == "test.npz"
