"""`mlkit-build lock` and `locked=true`: what is locked is built, or nothing is, and what differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot


@pytest.fixture
def locked(workspace: Workspace, command: Command) -> Path:
    """The lock of a recipe of the user."""
    folder = workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine"})
    code, out, err = command("lock", "recipe=mine", "ui=quiet")
    assert code == 0, err
    assert out == "locked mine/float32: recipes/mine/recipe.lock\n"
    return folder / "recipe.lock"


def test_what_is_locked_is_built_and_no_key_knows_of_it(workspace: Workspace, locked: Path) -> None:
    report = workspace.build("recipe=mine", "locked=true")
    assert (report.status, workspace.ran(report)) == ("unchanged", set())
    lock = json.loads(locked.read_bytes())["variants"]["float32"]
    bundle = workspace.folder / "dist/mine/float32"
    stated = dict(line.split("  ")[::-1] for line in (bundle / "SHA256SUMS").read_text().splitlines())
    for line in lock["outputs"]:
        assert stated[line[66:]] == line[:64]
    assert stated["manifest.json"] == lock["manifest"]
    assert [line[66:] for line in lock["inputs"]] == ["data/samples.npz", "model/graph.pb"]


@pytest.mark.parametrize(
    ("override", "named"),
    [("version=2.0.0", "version: 1.0.0 -> 2.0.0"), ("validation.hops=3", "validation.hops: 16 -> 3")],
)
def test_a_setting_that_differs_stops_the_build_before_anything_runs(
    workspace: Workspace, locked: Path, command: Command, override: str, named: str
) -> None:
    before = snapshot(workspace.folder / "dist"), snapshot(workspace.cache / "v1" / "ac")
    for verb in ((), ("plan",), ("explain",)):
        code, _, err = command(*verb, "recipe=mine", "locked=true", override, "ui=quiet")
        assert code == 4
        assert f"mine/float32 would not be the package that is locked: {named}\n" in err
        assert "renew the lock: `mlkit-build lock`" in err
    assert (snapshot(workspace.folder / "dist"), snapshot(workspace.cache / "v1" / "ac")) == before


def test_a_file_or_a_tool_that_differs_is_named(
    workspace: Workspace, locked: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (locked.parent / "model/graph.pb").open("ab") as file:
        file.write(b"\x32\x00")  # an empty library: the same graph
    monkeypatch.setattr("mlkit_build.locking.enforcing.toolchain_beside", lambda stated: {**stated, "tensorflow": "2.99"})
    code, _, err = command("recipe=mine", "locked=true", "ui=quiet")
    assert code == 4
    assert "model/graph.pb: other content; " in err
    assert " -> 2.99\n" in err


def test_a_result_that_differs_is_not_published(workspace: Workspace, locked: Path, command: Command) -> None:
    content = json.loads(locked.read_bytes())
    variant = content["variants"]["float32"]
    variant["manifest"] = "0" * 64
    variant["outputs"] = [f"{'0' * 64}{line[64:]}" if line.endswith(".tflite") else line for line in variant["outputs"]]
    locked.write_text(json.dumps(content))
    report = workspace.build("recipe=mine", "locked=true", "output_dir=elsewhere")
    assert report.exit_code == 4
    assert report.error is not None
    assert report.error.message.endswith("though it is made of the same: mine.tflite: other content")
    assert not (workspace.folder / "elsewhere").exists()


def test_variants_share_a_file_and_one_is_renewed_alone(workspace: Workspace, locked: Path, command: Command) -> None:
    first = json.loads(locked.read_bytes())["variants"]["float32"]
    assert command("lock", "recipe=mine", "quantization=float16", "ui=quiet")[0] == 0
    code, out, _ = command("lock", "recipe=mine", "quantization=float16", "version=2.0.0", "ui=quiet")
    assert code == 0
    assert out.startswith("renewed the lock of mine/float16: recipes/mine/recipe.lock\n  version: 1.0.0 -> 2.0.0\n")
    variants = json.loads(locked.read_bytes())["variants"]
    assert variants["float32"] == first
    assert variants["float16"]["settings"]["version"] == "2.0.0"
    before = snapshot(locked.parent)
    assert command("lock", "recipe=mine", "ui=quiet")[1].startswith("nothing to renew in the lock of mine/float32")
    assert snapshot(locked.parent) == before


def test_a_build_that_fails_leaves_the_lock_as_it_was(workspace: Workspace, locked: Path, command: Command) -> None:
    before = locked.read_bytes()
    assert command("lock", "recipe=mine", "+validation.gates={size_bytes: {max: 1}}", "ui=quiet")[0] == 3
    assert locked.read_bytes() == before


def test_without_a_lock_that_fits_nothing_is_built(workspace: Workspace, locked: Path, command: Command) -> None:
    code, _, err = command("recipe=mine", "locked=true", "quantization=float16", "ui=quiet")
    assert code == 2
    assert "expected the variant 'float16', found float32" in err
    workspace.edit("mine", {"name": "renamed"})
    code, _, err = command("recipe=mine", "locked=true", "ui=quiet")
    assert code == 2
    assert "it is the lock of another recipe" in err
    locked.unlink()
    code, _, err = command("recipe=mine", "locked=true", "ui=quiet")
    assert code == 2
    assert "expected a lock at" in err


def test_a_built_in_recipe_is_not_written_into(workspace: Workspace, command: Command) -> None:
    code, _, err = command("lock", "recipe=add_one")
    assert code == 2
    assert "part of the installed mlkit-build" in err
    assert "copy the folder to ./recipes/add_one" in err


def test_a_lock_is_no_file_of_a_recipe_whose_pattern_would_find_it(workspace: Workspace, command: Command) -> None:
    source = {"kind": "python", "function": "model.py:build", "files": ["*.*"]}
    folder = workspace.write("made", {"version": "1.0.0", "source": source})
    (folder / "model.py").write_text(
        "import tensorflow as tf\ndef build():\n    return tf.function(lambda x: x * 2.0, "
        'input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])\n'
    )
    assert command("lock", "recipe=made", "ui=quiet")[0] == 0
    report = workspace.build("recipe=made", "locked=true")
    assert (report.status, workspace.ran(report)) == ("unchanged", set())


def test_a_sweep_is_held_to_the_lock_variant_by_variant(workspace: Workspace, locked: Path, command: Command) -> None:
    code, out, _ = command("-m", "recipe=mine", "quantization=float32,float16", "locked=true", "ui=json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["variant"], row["exit_code"]) for row in rows] == [("float32", 0), ("float16", 2)]
    assert code == 2
