"""`key=null`, `key={}` and `~key` take away what a recipe states: a dataset, its gates, a part of its signature."""

from __future__ import annotations

import json

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Gate, MetricChoice
from tests.conftest import Workspace

NO_GATES = ("validation.metrics=[]", "validation.gates={}")


@pytest.mark.parametrize("override", ["dataset=null", "dataset=NULL", "~dataset", "~dataset=npz", "dataset={}", "+dataset=null"])
def test_a_recipe_is_composed_without_its_dataset(workspace: Workspace, override: str) -> None:
    recipe = workspace.compose("recipe=mnist", override, *NO_GATES).recipe
    assert recipe.dataset is None
    assert recipe.calibration is not None


@pytest.mark.parametrize("override", ["calibration=null", "~calibration"])
def test_a_recipe_is_composed_without_its_calibration(workspace: Workspace, override: str) -> None:
    recipe = workspace.compose("recipe=mnist", "quantization=float16", override).recipe
    assert recipe.calibration is None
    assert recipe.dataset is not None


@pytest.mark.parametrize(
    "override", ["validation.gates={}", "validation.gates={ }", "validation.gates=null", "~validation.gates"]
)
def test_gates_are_cleared(workspace: Workspace, override: str) -> None:
    validation = workspace.compose("recipe=mnist", override).recipe.validation
    assert validation.gates == {}
    assert validation.metrics == (MetricChoice(name="top1"),)


def test_one_gate_is_cleared_and_another_put_in_its_place_in_any_order(workspace: Workspace) -> None:
    stated = ["validation.gates={}", "+validation.gates={top1:{min:0.5}}"]
    for overrides in (stated, stated[::-1]):
        assert workspace.compose("recipe=mnist", *overrides).recipe.validation.gates == {"top1": Gate(min=0.5)}
    assert set(workspace.compose("recipe=mnist", "validation.gates.top1=null").recipe.validation.gates) == {"size_bytes"}


def test_a_field_is_cleared(workspace: Workspace) -> None:
    recipe = workspace.compose("recipe=mnist", "~dataset.label", "validation.metrics=[]", "~validation.gates.top1").recipe
    assert recipe.dataset is not None
    assert recipe.dataset.label is None
    gates = workspace.compose("recipe=mnist", "~validation.gates.top1.max_drop").recipe.validation.gates
    assert gates["top1"] == Gate(min=0.989)


def test_a_dataset_that_the_defaults_list_chose_is_dropped_too(workspace: Workspace) -> None:
    folder = workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "dataset": None, "validation": None})
    (workspace.folder / "conf/dataset").mkdir(parents=True)
    (workspace.folder / "conf/dataset/shared.yaml").write_text(f"defaults: [npz]\npath: {folder}/x.npz\nfeatures: {{x: x}}\n")
    workspace.edit("mine", {"defaults": [{"override /dataset": "shared"}]})
    assert workspace.compose("recipe=mine").recipe.dataset is not None
    assert workspace.compose("recipe=mine", "dataset=null").recipe.dataset is None


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        (["dataset=null"], "override 'dataset=null': dataset: missing, and validation has", "validation.metrics=[]"),
        (["~dataset"], "override '~dataset': dataset: missing, and validation has", "validation.gates={}"),
        (["calibration=null"], "override 'calibration=null': calibration: missing", "dynamic_range"),
        (["source={}"], "override 'source={}': source: missing", "kind"),
        (["target=null"], "override 'target=null': expected the name of a choice, found null", "quoted"),
        (["name=null"], "override 'name=null': ", ""),
        (["validaton.gates={}"], "override 'validaton.gates={}': validaton: unknown field", "did you mean 'validation'"),
        (["~dataset.label"], "override '~dataset.label': dataset.label: missing, and validation.metrics asks for top1", ""),
        (["~dataset.path"], "override '~dataset.path': dataset.path: missing, and it has no default", "add dataset.path=..."),
        (["~dataset.lable"], "override '~dataset.lable': dataset.lable: unknown field", "'label'"),
        (["~jobs"], "override '~jobs': expected something that a recipe states, found the setting jobs", "jobs=VALUE"),
        (
            ["dataset=null", "dataset.samples=5"],
            "override 'dataset.samples=5': dataset: expected one whose samples to set, found none",
            "state all of it: 'dataset={kind: ..., ...}'",
        ),
    ],
)
def test_what_cannot_be_left_out_is_refused(workspace: Workspace, overrides: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        workspace.compose("recipe=mnist", *overrides)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_jobs_of_a_sweep_clear_what_they_are_told_to(workspace: Workspace) -> None:
    overrides = ("recipe=add_one", "dataset=null", "validation={}", "quantization=float32,float16", "ui=plain")
    done = workspace.cli("-m", *overrides)
    assert done.returncode == 0, done.stderr
    for variant in ("float32", "float16"):
        manifest = json.loads((workspace.folder / "dist/add_one" / variant / "manifest.json").read_bytes())
        assert manifest["recipe"]["dataset"] is None
        assert manifest["gates"] == []


def test_hydras_own_program_shows_the_recipe_without_what_was_cleared(workspace: Workspace) -> None:
    done = workspace.cli("recipe=mnist", "~dataset", "validation.gates={}", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "dataset: null" in done.stdout
    assert "gates: {}" in done.stdout
