"""`mlkit-build explain`: all that differs from what was built before, in the recipe's words, and nothing is run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.engine import run as engine_run
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot
from tests.promises.test_datasets import FOLDER, images, mnist


def explained(command: Command, *overrides: str, recipe: str = "mnist") -> dict[str, dict[str, Any]]:
    code, out, err = command("explain", f"recipe={recipe}", *overrides, "--json")
    assert code == 0, err
    return {action["name"]: action for action in json.loads(out)["actions"]}


def test_a_setting_that_changed_is_named_as_the_recipe_names_it(warm_workspace: Workspace, command: Command) -> None:
    before = snapshot(warm_workspace.cache / "v1" / "ac")
    found = explained(command, "calibration.samples=100", "quantization.granularity=per_tensor")
    assert found["convert"]["hit"] is True
    assert found["convert"]["changes"] == []
    changed = {"field": "calibration.samples", "kind": "changed", "old": None, "new": 100}
    assert found["calibrate"]["changes"] == [changed]
    assert found["quantize"]["reason"] == "waits for calibrate"
    assert [change["field"] for change in found["quantize"]["changes"]] == ["quantization.granularity"]
    assert [change["field"] for change in found["package"]["changes"]] == ["variant"]
    assert snapshot(warm_workspace.cache / "v1" / "ac") == before


def test_a_file_that_changed_is_named(warm_workspace: Workspace, command: Command) -> None:
    labels = warm_workspace.copy("mnist") / "labels.txt"
    labels.write_text(labels.read_text().replace("3", "three"))
    (change,) = explained(command)["describe"]["changes"]
    assert (change["field"], change["kind"]) == ("labels", "content")
    assert len(change["old"]) == len(change["new"]) == 64


def test_a_tool_that_changed_is_named(warm_workspace: Workspace, command: Command, monkeypatch: Any) -> None:
    real = engine_run.toolchain
    monkeypatch.setattr(
        "mlkit_build.engine.run.toolchain",
        lambda *asked: {name: "2.99.1" if name == "tensorflow" else found for name, found in real(*asked).items()},
    )
    code, out, _ = command("explain", "recipe=mnist")
    assert code == 0
    installed = real("tensorflow", ())["tensorflow"]
    assert f"  freeze     run\n    tensorflow: {installed} -> 2.99.1\n" in out


def test_a_mistake_is_one_message(command: Command) -> None:
    for arguments in (["recipe=nothing"], ["-m", "recipe=mnist"], ["recipe=mnist", "quantization=float16,int8"]):
        code, _, err = command("explain", *arguments)
        assert code == 2
        assert "Traceback" not in err


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    edit(arrays)
    np.savez_compressed(path, **arrays)


def flipped(arrays: dict[str, Any]) -> None:
    arrays["images"][[3, 500, 9999], 14, 14] ^= 1


def relabelled(arrays: dict[str, Any]) -> None:
    arrays["labels"][7] = (arrays["labels"][7] + 1) % 10


def reordered(arrays: dict[str, Any]) -> None:
    for name in arrays:
        arrays[name] = arrays[name][::-1]


def as_floats(arrays: dict[str, Any]) -> None:
    arrays["images"] = arrays["images"].astype(np.float32)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (flipped, "3 of 10000 samples changed"),
        (relabelled, "1 of 10000 samples with another label"),
        (reordered, "the same 10000 samples in another order"),
        (as_floats, "image: uint8 [28, 28] -> float32 [28, 28], in all 10000 samples"),
    ],
)
def test_of_a_dataset_it_is_told_how_many_samples_changed(
    warm_workspace: Workspace, command: Command, edit: Callable[[dict[str, Any]], None], told: str
) -> None:
    edited(warm_workspace.copy("mnist") / "data" / "mnist_test.npz", edit)
    before = snapshot(warm_workspace.cache / "v1" / "ac")
    code, out, err = command("explain", "recipe=mnist")
    assert code == 0, err
    for waits in ("reference  run", "evaluate   run?   waits for reference"):
        assert f"  {waits}\n    dataset (data/mnist_test.npz): {told}\n" in out
    assert "  calibrate  reuse  unchanged\n" in out
    (change,) = explained(command)["reference"]["changes"]
    assert (change["field"], change["kind"], change["told"]) == ("dataset (data/mnist_test.npz)", "content", told)
    code, out, err = command("plan", "recipe=mnist")
    assert code == 0, err
    assert f"  validate  reference  run    dataset (data/mnist_test.npz): {told}\n" in out
    assert snapshot(warm_workspace.cache / "v1" / "ac") == before


def test_of_calibration_samples_too(warm_workspace: Workspace, command: Command) -> None:
    edited(
        warm_workspace.copy("mnist") / "data" / "mnist_calibration.npz", lambda arrays: arrays.update(images=arrays["images"][2:])
    )
    count = len(np.load(Path("recipes/mnist/data/mnist_calibration.npz"))["images"]) + 2
    found = explained(command)
    told = f"2 of {count} samples removed"
    assert [change.get("told") for change in found["calibrate"]["changes"]] == [told]
    assert found["reference"]["hit"] is True
    code, out, _ = command("explain", "recipe=mnist")
    assert code == 0
    assert f"  calibrate  run\n    calibration (data/mnist_calibration.npz): {told}\n" in out


def test_of_image_files_too_and_without_opening_those_that_stayed(warm_workspace: Workspace, command: Command) -> None:
    folder = images(mnist(warm_workspace, dataset=FOLDER) / "images")
    assert warm_workspace.build("recipe=mine").error is None
    first, second = sorted(folder.rglob("*.png"))[:2]
    shutil.copy(second, first)
    told = {change["told"] for action in explained(command, recipe="mine").values() for change in action["changes"]}
    assert told == {"1 of 60 samples changed"}
    (folder / "notes.txt").write_text("no sample")
    second.unlink()
    told = {change["told"] for action in explained(command, recipe="mine").values() for change in action["changes"]}
    assert told == {"1 of 60 samples removed"}


def test_where_it_is_not_known_it_is_other_content(warm_workspace: Workspace, command: Command) -> None:
    file = warm_workspace.copy("mnist") / "data" / "mnist_test.npz"
    edited(file, flipped)
    chosen = explained(command, "dataset.samples=100")["reference"]["changes"]  # other samples are meant, too
    assert [(change["field"], "told" in change) for change in chosen] == [
        ("dataset.samples", False),
        ("dataset (data/mnist_test.npz)", False),
    ]
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])  # damaged: the build will say so
    code, out, err = command("explain", "recipe=mnist")
    assert (code, err) == (0, "") or "also exists" in err
    assert "    dataset (data/mnist_test.npz): other content\n" in out
    file.write_bytes(whole)
    listings = {blob for blob in (warm_workspace.cache / "v1" / "cas").rglob("*") if blob.is_file() and is_listing(blob)}
    assert len(listings) >= 2  # of both datasets, and of what else was built
    for blob in listings:
        blob.unlink()
    code, out, _ = command("explain", "recipe=mnist")
    assert code == 0
    assert "    dataset (data/mnist_test.npz): other content\n" in out


def is_listing(blob: Path) -> bool:
    return blob.read_bytes().startswith(b'{\n  "types"')


def test_nothing_is_imported_to_tell_it_unless_a_dataset_changed(warm_workspace: Workspace) -> None:
    file = warm_workspace.copy("mnist") / "data" / "mnist_test.npz"

    def imported() -> set[str]:
        asked = ["explain", "recipe=mnist", "calibration.samples=5"]
        code = f"import sys; from mlkit_build.cli import run; run({asked!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines()[-1].split())

    assert {"numpy", "mlkit_build.datasets", "tensorflow"}.isdisjoint(imported())
    edited(file, flipped)
    assert "tensorflow" not in imported()
    assert "ai_edge_litert" not in imported()
