"""Names in a bundle mean one file each, wherever it is unpacked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.verification.entries import MAX_DEPTH, UnsafeError, check_names, rooted

PLAIN = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["labels.txt", "Labels.txt"], "Labels.txt: the same file as labels.txt on other systems"),
        (["manifest.json", "MANIFEST.JSON"], "the same file as manifest.json"),
        (["labels.txt", "labels.txt."], "the same file as labels.txt"),
        (["labels.txt", "labels.txt "], "the same file as labels.txt"),
        (["\u00e9.txt", "e\u0301.txt"], "the same file as"),
        (["stra\u00dfe", "STRASSE"], "the same file as"),
        (["a/x", "A/y"], "A: the same file as a on other systems"),
        (["a", "a/x"], "there twice"),
        (["a/x", "a"], "there twice"),
        (["a", "a"], "there twice"),
        (["txt.\u202eslebal"], "does not show what it is"),
        (["a\nb"], "does not show what it is"),
        (["a\ud800"], "does not show what it is"),
        (["a" * 256], "too long"),
        (["/".join(["abcdefghijk"] * 90)], "too long"),
        (["/".join("a" * (MAX_DEPTH + 1))], "too long"),
        (["../a"], "leads out of the bundle"),
        (["a\0b"], "leads out of the bundle"),
    ],
)
def test_names_that_are_not_one_file_each_are_refused(names: Sequence[str], found: str) -> None:
    with pytest.raises(UnsafeError) as refused:
        check_names(names)
    assert found in str(refused.value)


@pytest.mark.parametrize(
    ("folder", "found"),
    [("../../evil", "leads out"), ("/abs", "leads out"), ("jni", "an empty folder"), ("a/b", "an empty folder"), ("x", "empty")],
)
def test_a_folder_that_is_listed_holds_a_file(folder: str, found: str) -> None:
    check_names(["a/x", "x"], ["a"])
    with pytest.raises(UnsafeError, match=found):
        check_names(["a/x", "x"], ["a", folder])


@given(st.lists(PLAIN, max_size=12))
def test_plain_names_are_refused_only_where_two_have_one_place(names: list[str]) -> None:
    """The independent count: of all files and folders above them, as sets."""
    folders = {"/".join(name.split("/")[:length]) for name in names for length in range(1, name.count("/") + 1)}
    fine = len(set(names)) == len(names) and folders.isdisjoint(names)
    try:
        check_names(names)
    except UnsafeError:
        assert not fine
    else:
        assert fine


def test_names_are_those_in_the_folder_with_the_manifest() -> None:
    listed = [("b/manifest.json", 1), ("b/aar/x", 2)]
    assert rooted(listed, ["b", "b/aar"]) == {"manifest.json": 1, "aar/x": 2}
    assert rooted([*listed, ("c", 3)], []) == {"b/manifest.json": 1, "b/aar/x": 2, "c": 3}
