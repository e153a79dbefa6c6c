"""Another version of a tool that decides bytes makes a build run anew, and `plan` names it."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from mlkit_build.engine.processor import processor
from mlkit_build.engine.toolchain import toolchain
from tests.conftest import Workspace
from tests.promises.conftest import Command


def test_plan_names_the_tool_that_changed(workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.copy("add_one")
    assert command("recipe=add_one")[0] == 0

    def upgraded(runtime: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
        found = toolchain(runtime, packages)
        return {name: "99.1" if name == "protobuf" else text for name, text in found.items()}

    monkeypatch.setattr("mlkit_build.engine.run.toolchain", upgraded)
    code, out, err = command("plan", "recipe=add_one")
    assert code == 0, err
    told = [line.split(maxsplit=3) for line in out.splitlines()]
    assert ["freeze", "freeze", "run", f"protobuf: {version('protobuf')} -> 99.1"] in told


def test_another_processor_runs_again_what_takes_samples_through_a_model_and_keeps_the_rest(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.copy("add_one")
    assert command("recipe=add_one")[0] == 0
    manifest = json.loads((workspace.folder / "dist/add_one/float32/manifest.json").read_bytes())
    assert manifest["toolchain"]["cpu"] == processor()

    def elsewhere(runtime: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
        return {name: "x86-64-v9" if name == "cpu" else text for name, text in toolchain(runtime, packages).items()}

    monkeypatch.setattr("mlkit_build.engine.run.toolchain", elsewhere)
    code, out, err = command("plan", "recipe=add_one")
    assert code == 0, err
    told = {line.split()[1]: line.split(maxsplit=3)[2:] for line in out.splitlines() if len(line.split()) > 3}
    assert told["reference"] == ["run", f"cpu: {processor()} -> x86-64-v9"]
    assert told["freeze"] == told["convert"] == ["reuse", "unchanged"]
