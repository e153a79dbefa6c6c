"""What a format writes, made without a build; and texts that try to become something else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.formats import FORMATS
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Android, FrozenGraph, Ios, Labels, Package, Recipe
from mlkit_build.signature import FrozenSignature, TensorSpec

MODEL = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 16
HOSTILE = (
    "a\nb\r\nc",
    "*/ -->]]> </project><script>alert(1)</script>",
    "[click](https://example.com) ![x](y) <b>bold</b> &amp; | row | `code` **x** ~~y~~",
    "$(rm -rf /) ${HOME} $x \\(x) \\u{41} \"quoted\" 'single' \\",
    "{{ 7 * 7 }} {% raw %}",
    "\0\x1b[31m\u202ekrad\u2066 \u2028 \u0085",
    "www.example.com # heading",
    "\U0001f984 ß 漢字 e\u0301",
    "/etc/passwd ../../x a/b.txt C:\\x",
    "x" * 65536,
)
SIGNATURE = FrozenSignature(
    (TensorSpec("image", "image:0", (1, 28, 28, 3), "float32"),), (TensorSpec("scores", "scores:0", (1, 3), "float32"),)
)


def a_recipe(name: str = "mnist", android: Android | None = None, ios: Ios | None = None, **fields: Any) -> Recipe:
    """Return a recipe with labels that asks for every format."""
    package = Package(formats=tuple(FORMATS), android=android or Android(), ios=ios or Ios())
    stated = {"version": "1.2.3", "labels": Labels(path="labels.txt"), "license": "Apache-2.0", "author": "Ada", **fields}
    return Recipe(name=name, source=FrozenGraph(path="graph.pb"), package=package, **stated)


def written(kind: str, recipe: Recipe, folder: Path, labels: Sequence[str] = ("a", "b", "c")) -> Path:
    """Return the folder of the format `kind`, made in `folder`."""
    module = import_module(FORMATS[kind].module)
    given = folder / "given"
    given.mkdir(parents=True)
    (given / "model").write_bytes(MODEL)
    (given / "labels").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    SIGNATURE.write(given / "signature")
    inputs = {"model.tflite": given / "model", "labels.txt": given / "labels", "signature.json": given / "signature"}
    plan = module.plan(recipe)
    (folder / "out").mkdir()
    module.write(to_plain(plan.params), inputs, folder / "out")
    assert sorted(files(folder / "out")) == sorted(plan.outputs), "it writes what it says, and nothing else"
    return folder / "out" / kind


def files(folder: Path) -> dict[str, str]:
    """Return place -> SHA-256 of every file."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def assert_parses(language: str, text: str) -> Any:
    """Return the root of the syntax tree that an independent grammar of `swift` or `kotlin` makes of the text, without error."""
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip(f"tree_sitter_{language}")
    root = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(text.encode("utf-8")).root_node
    assert not root.has_error, text
    return root


def found(root: Any, kind: str) -> list[Any]:
    """Return the nodes of a kind, in order."""
    return [*([root] if root.type == kind else []), *(node for child in root.children for node in found(child, kind))]
