"""`mlkit-build explain`: all that differs from what was built before, in the recipe's words, and nothing is run."""

from __future__ import annotations

import json
from typing import Any

from mlkit_build.engine import run as engine_run
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot


def explained(command: Command, *overrides: str) -> dict[str, dict[str, Any]]:
    code, out, err = command("explain", "recipe=mnist", *overrides, "--json")
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
