"""Whatever a text holds, it is read back as that text in one line, by parsers that this project did not write."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mlkit_build.formats.escaping import code_span, kotlin, markdown, one_line, swift
from tests.formats.made import HOSTILE, assert_parses, found

texts = st.text(st.characters(codec="utf-8"), max_size=60) | st.text("`*_[]()<>!&|~#\\$\n -+=:/w.a1", max_size=40)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(source: str) -> str:
    """Return the text of a list item or cell, which must hold no markup."""
    inline = [token for token in READER.parse(source) if token.type == "inline"]
    children = [child for token in inline for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "text_special"}, [child.type for child in children]
    return "".join(child.content for child in children)


@settings(max_examples=300)
@given(texts)
def test_markdown_shows_the_text_and_makes_nothing_of_it(text: str) -> None:
    assert shown(f"- x {markdown(text)}").removeprefix("x").strip() == one_line(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts_in_a_row_of_a_table(text: str) -> None:
    rows = [token for token in READER.parse(f"| a | b |\n|---|---|\n| x {markdown(text)} | end |\n") if token.type == "td_open"]
    assert len(rows) == 2
    assert "://" not in re.sub(r"\\[:/]", "", markdown(text)), "GitHub makes links of bare addresses"


@settings(max_examples=200)
@given(texts)
def test_a_code_span_in_a_table_holds_the_text(text: str) -> None:
    tokens = READER.parse(f"| a | b |\n|---|---|\n| {code_span(text)} | end |\n")
    assert len([token for token in tokens if token.type == "td_open"]) == 2
    (cell, end) = [token for token in tokens if token.type == "inline"][2:]
    assert end.content == "end"
    assert [child.type for child in cell.children or ()] == ["code_inline"]
    assert (cell.children or ())[0].content.strip() == one_line(text, 100)


@settings(max_examples=100, deadline=None)
@given(texts)
def test_a_literal_is_one_line_and_one_literal(text: str) -> None:
    for language, literal, kind in (("kotlin", kotlin(text), "string_literal"), ("swift", swift(text), "line_string_literal")):
        assert literal.isprintable() or not set(literal) & set("\n\r\0\x1b\u2028\u202e")
        root = assert_parses(language, f"{'val' if language == 'kotlin' else 'let'} x = {literal}\n")
        assert len(found(root, kind)) == 1
        assert not found(root, "interpolation") + found(root, "interpolated_expression")


@settings(max_examples=200)
@given(texts)
def test_a_literal_says_what_the_text_says(text: str) -> None:
    told = re.sub(
        r"\\u([0-9a-f]{4})|\\(.)", lambda hit: chr(int(hit[1], 16)) if hit[1] else hit[2], kotlin(text)[1:-1], flags=re.S
    )
    assert told == text
    told = re.sub(
        r"\\u\{([0-9a-f]+)\}|\\(.)", lambda hit: chr(int(hit[1], 16)) if hit[1] else hit[2], swift(text)[1:-1], flags=re.S
    )
    assert told == text


def test_a_long_text_is_cut_and_says_so() -> None:
    assert one_line("x" * 1000) == "x" * 299 + "…"
    assert one_line("a\n\n b\t\0c") == "a b c"


def test_underscores_within_words_are_left_to_read() -> None:
    assert markdown("rgb_to_grayscale _x_") == "rgb_to_grayscale \\_x\\_"
