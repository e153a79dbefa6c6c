"""`report.html`: one page, the same bytes every time, that nothing in a recipe can turn into anything else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.conftest import Workspace

HOSTILE = "<script>alert('x')</script> & \"quotes\" {{ 7 * 7 }}"


class Reader(HTMLParser):
    """Collects the tags of a page, the addresses in it, and whether every tag is closed."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(workspace: Workspace) -> str:
    """The page of a recipe whose texts are hostile."""
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"description": HOSTILE, "author": HOSTILE, "license": HOSTILE, "version": HOSTILE})
    report = workspace.build("recipe=mine")
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    return (report.bundle / "report.html").read_text(encoding="utf-8")


def test_a_page_is_whole_and_loads_nothing(page: str) -> None:
    found = Reader(page)
    assert found.open == []
    assert [address for address in found.addresses if not address.startswith(("#", "data:"))] == []
    assert not re.search(r"url\((?!['\"]?data:)|@import", page)


def test_texts_of_the_recipe_stay_texts(page: str) -> None:
    assert "script" not in Reader(page).tags
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_a_page_shows_values_gates_and_signature(page: str) -> None:
    for text in ("max absolute error", "at most 1e-06 ok", "cosine similarity", "model size", "<code>x</code>", "<code>y</code>"):
        assert text in page


def test_a_page_states_no_time_and_no_place(workspace: Workspace, page: str) -> None:
    assert str(workspace.folder) not in page
    assert not re.search(r"\d\d:\d\d|20\d\d-\d\d-\d\d", page)


def test_two_builds_write_the_same_page(workspace: Workspace, page: str) -> None:
    report = workspace.build("recipe=mine", "cache.enabled=false", "output_dir=again")
    assert report.bundle is not None
    assert (report.bundle / "report.html").read_text(encoding="utf-8") == page


def test_an_input_that_the_recipe_leaves_to_the_model_is_on_the_page(workspace: Workspace) -> None:
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"signature.inputs": None})
    report = workspace.build("recipe=mine")
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    assert "<code>x</code>" in (report.bundle / "report.html").read_text(encoding="utf-8")


def test_the_page_of_a_build_without_a_dataset_says_so_in_its_heading(workspace: Workspace, page: str) -> None:
    report = workspace.build("recipe=mine", "dataset=null", "validation={}", "variant=blind")
    assert report.bundle is not None
    blind = (report.bundle / "report.html").read_text(encoding="utf-8")
    assert "<h2>How good it is: not measured</h2>" in blind
    assert "was not compared with the TensorFlow model" in blind
    assert Reader(blind).open == []
    assert "not measured" not in page
