"""From overrides and YAML to a job, whatever the user wrote: a job or a ConfigError that says something."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mlkit_build.config import Roots, compose
from mlkit_build.config.roots import builtin
from mlkit_build.errors import ConfigError, MlkitBuildError
from mlkit_build.job import Job
from mlkit_build.recipe import FrozenGraph, Input, Npz, Tf1Checkpoint
from tests.conftest import Workspace

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3.5, float("nan"), float("inf"), "", "x", "int8", "???", "${nope}", "${name}", "${oc.env:NOPE}", "a,b",
    "../..", "\0", "ä", [], ["x"], [None], {}, {"kind": "npz"}, {"a": {"b": 1}}, [[1]], 10**30, 10**400,
    "override /target: custom",
)  # fmt: skip


def test_mnist_composes_to_what_its_file_says(workspace: Workspace) -> None:
    job = workspace.compose("recipe=mnist")
    assert job.folder == builtin("recipes") / "mnist"
    assert job.recipe.source == Tf1Checkpoint(path="model/mnist.ckpt")
    assert job.recipe.signature.inputs == {
        "image": Input(tensor="image:0", shape=(1, 28, 28, 1), mean=(0.0,), std=(255.0,)),
    }
    assert job.recipe.signature.constants == {"keep_prob:0": 1.0}
    assert job.recipe.dataset == Npz(path="data/mnist_test.npz", features={"image": "images"}, label="labels")
    assert job.recipe.quantization.mode == "int8"
    assert job.recipe.target.task == "image_labeling"
    assert job.settings.output_dir == "dist"
    assert job.warnings == ()


def test_the_command_line_wins_over_the_recipe(workspace: Workspace) -> None:
    job = workspace.compose("recipe=mnist", "quantization=float16", "target=custom", "calibration.samples=7", "version='9.9'")
    assert job.recipe.quantization.mode == "float16"
    assert job.recipe.target.task == "custom"
    assert job.recipe.calibration is not None
    assert job.recipe.calibration.samples == 7
    assert job.recipe.version == "9.9"


VERSIONS = ("version", "package.min_runtime", "package.android.version")


@pytest.mark.parametrize("field", VERSIONS)
def test_a_version_that_reads_as_a_number_is_refused(workspace: Workspace, field: str) -> None:
    hint = f"quote it: '{field}=\"2.10\"'"
    with pytest.raises(
        ConfigError, match=rf"^override '{field}=2\.10': {field}: expected a text, found the number 2\.1"
    ) as caught:
        workspace.compose("recipe=mnist", f"{field}=2.10")
    assert caught.value.hint == hint
    assert workspace.compose("recipe=mnist", f'{field}="2.10"').recipe is not None
    workspace.copy("mnist", "mine")
    workspace.edit("mine", {field: 2.5})
    with pytest.raises(ConfigError, match=rf"recipe\.yaml: {field}: expected a text, found the number 2\.5"):
        workspace.compose("recipe=mine")
    assert workspace.compose("recipe=mnist", "version=2").recipe.version == "2"


def test_a_version_in_a_mapping_is_looked_at_too(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"package\.min_runtime: expected a text, found the number 2\.2"):
        workspace.compose("recipe=mnist", "package={min_runtime: 2.20}")


def test_the_order_of_overrides_does_not_matter(workspace: Workspace) -> None:
    overrides = ["recipe=mnist", "quantization=float16", "quantization.io=float32", "version=2", "jobs=1"]
    first = workspace.compose(*overrides)
    for seed in range(3):
        shuffled = random.Random(seed).sample(overrides, len(overrides))
        assert workspace.compose(*shuffled) == first


def test_another_kind_of_source_brings_its_own_fields(workspace: Workspace) -> None:
    recipe = workspace.compose("recipe=mnist", "source=frozen_graph", "source.path=other.pb").recipe
    assert recipe.source == FrozenGraph(path="other.pb")


def test_composing_twice_gives_equal_jobs(workspace: Workspace) -> None:
    assert workspace.compose("recipe=mnist") == workspace.compose("recipe=mnist")


def test_composing_leaves_hydra_as_it_was(workspace: Workspace) -> None:
    from hydra.core.global_hydra import GlobalHydra

    workspace.compose("recipe=mnist")
    with pytest.raises(MlkitBuildError):
        workspace.compose("recipe=nothing")
    assert not GlobalHydra.instance().is_initialized()


def test_an_interpolation_within_the_recipe_is_resolved(workspace: Workspace) -> None:
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"name": "mine", "description": "${name} of ${license}"})
    assert workspace.compose("recipe=mine").recipe.description == "mine of Apache-2.0"


@pytest.mark.parametrize("name", ["with-dash", "v1.0", "UPPER", "7b"])
def test_a_recipe_folder_may_have_any_plain_name(workspace: Workspace, name: str) -> None:
    folder = workspace.copy("add_one", name)
    assert workspace.compose(f"recipe={name}").folder == folder


@pytest.mark.parametrize("choice", ["../add_one", "a/b", "/etc", ".", ""])
def test_a_recipe_is_never_found_outside_its_root(workspace: Workspace, choice: str) -> None:
    with pytest.raises(MlkitBuildError) as caught:
        workspace.compose(f"recipe={choice}")
    assert caught.value.exit_code == 2


def compose_or_explain(*overrides: str) -> None:
    """Compose; whatever is wrong must be a ConfigError with a message."""
    caught: MlkitBuildError | None = None
    try:
        assert isinstance(compose(list(overrides), Roots.find()), Job)
    except MlkitBuildError as error:
        caught = error
    assert caught is None or (caught.exit_code == 2 and caught.message.strip())


def dotted(config: Any, prefix: str = "") -> list[str]:
    """Return every dotted key below `config`."""
    keys = []
    for key, value in config.items() if isinstance(config, dict) else ():
        keys += [f"{prefix}{key}", *dotted(value, f"{prefix}{key}.")]
    return keys


PLAIN: Any = OmegaConf.to_container(OmegaConf.load(builtin("recipes") / "mnist/recipe.yaml"))
TEXT = (builtin("recipes") / "mnist/recipe.yaml").read_text(encoding="utf-8")
FUZZ = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)


def place(plain: Any, key: str, value: Any) -> None:
    """Set a dotted key of nested dicts, where it leads somewhere."""
    *parents, last = key.split(".")
    for parent in parents:
        plain = plain.get(parent) if isinstance(plain, dict) else None
    if isinstance(plain, dict):
        plain[last] = value


def write(workspace: Workspace, text: str) -> Path:
    file = workspace.folder / "recipes/fuzzed/recipe.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return file


@FUZZ
@given(changes=st.lists(st.tuples(st.sampled_from(dotted(PLAIN)), st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_a_recipe_with_any_value_anywhere_composes_or_is_explained(workspace: Workspace, changes: list[tuple[str, Any]]) -> None:
    import copy

    import yaml

    plain = copy.deepcopy(PLAIN)
    for key, value in changes:
        place(plain, key, value)
    write(workspace, yaml.safe_dump(plain))
    compose_or_explain("recipe=fuzzed")


@FUZZ
@given(
    start=st.integers(0, len(TEXT)),
    length=st.integers(0, 40),
    insert=st.text(st.sampled_from("{}[]:,-'\"#&*!|>%@`\n\t ?$a0é\0"), max_size=8),
)
def test_a_recipe_file_with_any_damage_composes_or_is_explained(
    workspace: Workspace, start: int, length: int, insert: str
) -> None:
    write(workspace, TEXT[:start] + insert + TEXT[start + length :])
    compose_or_explain("recipe=fuzzed")


@FUZZ
@given(key=st.sampled_from(dotted(PLAIN)), sign=st.sampled_from(["", "+", "++", "~"]), value=st.sampled_from(VALUES))
def test_any_override_composes_or_is_explained(workspace: Workspace, key: str, sign: str, value: Any) -> None:
    compose_or_explain("recipe=mnist", f"{sign}{key}={value}")


@FUZZ
@given(text=st.text(st.sampled_from("abc=,.:/{}[]()'\"\\$~+@- \n0é"), max_size=20))
def test_any_text_as_an_override_composes_or_is_explained(workspace: Workspace, text: str) -> None:
    compose_or_explain("recipe=mnist", text)


def test_a_folder_of_the_search_path_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.searchpath: .*path=/nowhere is not available"):
        workspace.compose("recipe=add_one", "hydra.searchpath=[file:///nowhere]")


def test_another_recipe_of_the_same_name_is_warned_of(workspace: Workspace) -> None:
    workspace.copy("add_one", "first")
    workspace.copy("add_one", "second")
    workspace.edit("first", {"name": "mine"})
    workspace.edit("second", {"name": "mine"})
    (warning,) = workspace.compose("recipe=second").warnings
    assert "second/recipe.yaml calls itself 'mine', as does " in warning
    assert "first/recipe.yaml: each replaces the bundles of the other" in warning
    workspace.edit("first", {"name": "other"})
    assert workspace.compose("recipe=second").warnings == ()


def test_a_folder_with_a_name_beyond_ascii_is_told_what_hydra_reads(workspace: Workspace) -> None:
    workspace.copy("add_one", "ünï")
    with pytest.raises(ConfigError, match="override 'recipe=ünï': not understood") as caught:
        workspace.compose("recipe=ünï")
    assert "ASCII" in caught.value.hint
    quoted = caught.value.hint.partition('"')[2].rpartition('"')[0]
    assert workspace.compose(quoted).folder.name == "ünï"


@pytest.mark.parametrize("digits", ["9" * 400, "-" + "9" * 400])
def test_a_number_that_no_float_holds_is_told_with_its_field(workspace: Workspace, digits: str) -> None:
    told = r"validation\.gates\.max_abs_error\.max: expected a number of at most 308 digits, found -?9{90}"
    with pytest.raises(ConfigError, match=rf"^override .*: {told}") as caught:
        workspace.compose("recipe=add_one", f"+validation.gates={{max_abs_error: {{max: {digits}}}}}")
    assert len(caught.value.message) < 1_000
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"validation.gates": {"max_abs_error": {"max": int(digits)}}})
    for overrides in (["recipe=mine"], ["recipe=mine", "jobs=1"], ["jobs=1", "recipe=mine"]):
        with pytest.raises(ConfigError, match=rf"recipe\.yaml: {told}"):
            workspace.compose(*overrides)
