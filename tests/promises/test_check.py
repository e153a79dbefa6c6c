"""`mlkit-build check`: reproducible recipes are called so; of others, the action where it begins is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.promises.conftest import Command

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Check every built-in recipe in every quantization, and every way to be irreproducible, not only some."""
LONGER = "set MLKIT_BUILD_LONG_TESTS=1 to check more"
MODES = ("float32", "float16", "dynamic_range", "dynamic_range_int4", "weight_only_int8", "weight_only_int4", "int8", "int16x8")
MODEL = """
import os, pathlib, random
import tensorflow as tf

def build():
    {body}
    return tf.function(lambda x: x * tf.constant(value, tf.float32), input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
"""


def checked(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    done = workspace.cli("check", *arguments, timeout=400)
    return done.returncode, done.stdout, done.stderr


def python_recipe(workspace: Workspace, body: str) -> None:
    source = {"kind": "python", "function": "model.py:build", "files": ["data/*"]}
    folder = workspace.write("made", {"version": "1.0.0", "source": source})
    (folder / "model.py").write_text(MODEL.format(body=body))
    (folder / "data").mkdir()
    for name in ("a", "longer", "the longest of all"):
        (folder / "data" / name).touch()


def test_a_built_in_recipe_is_reproducible_and_as_the_cache_has_it(workspace: Workspace, command: Command) -> None:
    code, _, err = command("recipe=multiply")
    assert code == 0, err
    code, out, err = checked(workspace, "recipe=multiply", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["reproducible"] is True
    assert told["compared_with_cache"] == len(told["actions"]) > 4
    assert told["kept"] is None


@pytest.mark.skipif(not LONG, reason=LONGER)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recipe", ["add_one", "multiply", "mnist", "flags", "digits_lstm"])
def test_every_built_in_recipe_is_reproducible(workspace: Workspace, recipe: str, mode: str) -> None:
    code, out, err = checked(workspace, f"recipe={recipe}", f"quantization={mode}", "package.min_runtime=any")
    if code in (2, 3) and "not reproducible" not in out:
        pytest.skip(f"is not built: {err.splitlines()[-1]}")
    assert code == 0, out + err


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("value = float(os.urandom(1)[0])", "freeze"),
        ("value = float(len(os.listdir('data')[0]))", "freeze"),
        pytest.param("value = float(len(os.environ['HOME']))", "freeze", marks=pytest.mark.skipif(not LONG, reason=LONGER)),
    ],
    ids=["chance", "order of files", "home"],
)
def test_what_is_not_reproducible_is_found_and_where_it_begins(workspace: Workspace, body: str, named: str) -> None:
    python_recipe(workspace, body)
    code, out, err = checked(workspace, "recipe=made", "--keep", "kept")
    assert code == 4, out + err
    assert out.startswith(f"made/float32: not reproducible: it begins with {named}, from equal inputs")
    assert "frozen_graph.pb" in out
    assert re.search(r"^    nodes: .*: value: \d+ of \d+ bytes differ$", out, re.MULTILINE)
    assert (workspace.folder / "kept" / "as-is" / "dist" / "made" / "float32" / "manifest.json").is_file()


def test_a_recipe_that_builds_only_as_things_are_is_told(workspace: Workspace) -> None:
    python_recipe(workspace, "assert os.environ.get('USER') != 'somebody', 'not for you'\n    value = 2.0")
    code, _, err = checked(workspace, "recipe=made")
    assert code == 1
    assert "it builds as things are, and not otherwise" in err
    assert "Traceback" not in err


def test_a_recipe_that_does_not_build_answers_like_its_build(workspace: Workspace) -> None:
    workspace.copy("add_one", "broken")
    workspace.edit("broken", {"source.path": "nothing.pb"})
    code, _, err = checked(workspace, "recipe=broken")
    assert code == 2
    assert "nothing.pb" in err
    assert "Traceback" not in err


def test_a_folder_that_is_there_is_not_written_into(workspace: Workspace) -> None:
    Path("kept").mkdir()
    code, _, err = checked(workspace, "recipe=add_one", "--keep", "kept")
    assert code == 2
    assert "expected a folder that is not there yet" in err
