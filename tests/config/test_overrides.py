"""Overrides that read well do what they say: a kind stated with its part, an entry added with one of its fields."""

from __future__ import annotations

import pytest

from mlkit_build.config.overrides import for_hydra
from mlkit_build.config.roots import Roots
from mlkit_build.config.sweep import Composer
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Gate, Idx, Npz, Random, RandomInput
from tests.conftest import Workspace

NOISE = Random(samples=10, features={"image": RandomInput(min=1.0)})


@pytest.mark.parametrize(
    "overrides",
    [
        ["calibration={kind: random, samples: 10, features: {image: {min: 1}}}"],
        ["+calibration={kind: random, samples: 10, features: {image: {min: 1}}}"],
        ["calibration.kind=random", "calibration.samples=10", "+calibration.features.image.min=1"],
        ["calibration=random", "calibration.samples=10", "+calibration.features={image: {min: 1}}"],
        ["calibration=random", "calibration.samples=10", "+calibration.features.image={min: 1}"],
        ["calibration=null", "calibration={kind: random, samples: 10, features: {image: {min: 1}}}"],
        ["calibration={features: {image: {min: 1}}}", "calibration.kind=random", "calibration.samples=10"],
    ],
)
def test_another_kind_takes_the_place_of_what_the_recipe_states(workspace: Workspace, overrides: list[str]) -> None:
    assert workspace.compose("recipe=mnist", *overrides).recipe.calibration == NOISE
    with Composer(Roots.find()) as composer:
        assert composer.compose(["recipe=mnist", *overrides]).recipe.calibration == NOISE


def test_a_part_that_the_recipe_has_not_is_stated_whole(workspace: Workspace) -> None:
    recipe = workspace.compose("recipe=add_one", "calibration={kind: npz, path: x.npz, features: {x: a}}").recipe
    assert recipe.calibration == Npz(path="x.npz", features={"x": "a"})


def test_the_same_kind_changes_only_what_it_states(workspace: Workspace) -> None:
    stated = workspace.compose("recipe=mnist").recipe.dataset
    assert isinstance(stated, Npz)
    for override in ("dataset={kind: npz, samples: 5}", "dataset={samples: 5}"):
        found = workspace.compose("recipe=mnist", override).recipe.dataset
        assert found == Npz(path=stated.path, features=stated.features, label=stated.label, samples=5)


def test_jobs_of_a_sweep_have_kinds_of_their_own(workspace: Workspace) -> None:
    with Composer(Roots.find()) as composer:
        jobs = composer.jobs(["recipe=mnist", "dataset={kind: idx, features: {image: a}, label: b},{kind: npz, samples: 5}"])
        first, second = (composer.compose(job).recipe.dataset for job in jobs)
    assert first == Idx(features={"image": "a"}, label="b")
    assert isinstance(second, Npz)
    assert (second.path, second.samples) == ("data/mnist_test.npz", 5)


def test_hydras_own_program_shows_the_other_kind(workspace: Workspace) -> None:
    done = workspace.cli("--cfg", "job", "recipe=mnist", "calibration.kind=random", "calibration.samples=3")
    assert done.returncode == 0, done.stderr
    assert "  kind: random\n  features: {}\n  samples: 3\n" in done.stdout


def test_a_choice_and_another_kind_contradict_each_other(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as refused:
        workspace.compose("recipe=mnist", "dataset=idx", "dataset={kind: npz, path: x}")
    assert "override 'dataset={kind: npz, path: x}': dataset.kind: expected 'idx', found 'npz'" in refused.value.message


def test_a_field_of_an_entry_adds_the_entry(workspace: Workspace) -> None:
    overrides = ["+validation.gates.rms_error.max=1", "+validation.gates.rms_error.min=0", "+validation.gates.top1.max=1"]
    gates = workspace.compose("recipe=mnist", *overrides).recipe.validation.gates
    assert gates["rms_error"] == Gate(min=0.0, max=1.0)
    assert gates["top1"] == Gate(min=0.989, max=1.0, max_drop=0.003)


@pytest.mark.parametrize("sign", ["", "+"])
def test_gates_that_are_stated_whole_come_to_those_that_are_there(workspace: Workspace, sign: str) -> None:
    limits = f"{sign}validation.gates={{top1: {{min: 0.5}}, arena_bytes: {{max: 10}}}}"
    gates = workspace.compose("recipe=mnist", limits).recipe.validation.gates
    assert gates["top1"] == Gate(min=0.5, max_drop=0.003)
    assert gates["arena_bytes"] == Gate(max=10)
    assert gates["size_bytes"] == Gate(max=450_000)
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "validation": None})
    added = workspace.compose("recipe=mine", f"{sign}validation.gates={{size_bytes: {{max: 10}}}}").recipe.validation.gates
    assert added == {"size_bytes": Gate(max=10)}


def test_an_entry_that_is_not_there_is_told_in_a_form_that_works(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as refused:
        workspace.compose("recipe=mnist", "validation.gates.rms_error.max=1")
    right = refused.value.hint.removeprefix("to add it write ")
    assert workspace.compose("recipe=mnist", right).recipe.validation.gates["rms_error"] == Gate(max=1.0)


def test_a_list_whose_items_need_quotes_is_told_in_a_form_that_works(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as refused:
        workspace.compose("recipe=mnist", "validation.runtimes=[tflite_runtime==2.14, ai_edge_litert==1.0.1]")
    assert refused.value.hint == """quote its items: 'validation.runtimes=["tflite_runtime==2.14","ai_edge_litert==1.0.1"]'"""
    right = refused.value.hint.partition(": ")[2].strip("'")
    stated = workspace.compose("recipe=mnist", right).recipe.validation.runtimes
    assert stated == ("tflite_runtime==2.14", "ai_edge_litert==1.0.1")


@pytest.mark.parametrize(
    "override",
    ["dataset={kind: ", "dataset.kind=", "dataset.kind=bogus", "+validation.gates.a-b.max=1", "+validation.gates.x.max=", "-m"],
)
def test_what_is_not_understood_stays_for_hydra_to_refuse(override: str) -> None:
    assert for_hydra([override]).stated == (override,)
    assert for_hydra([override]).kept[-1].lstrip("+") == override.lstrip("+")
