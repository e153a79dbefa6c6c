"""What the jobs of a sweep are called, and the sweep itself."""

from __future__ import annotations

import itertools
import random

import pytest

from mlkit_build.config import Roots
from mlkit_build.errors import ConfigError
from mlkit_build.sweep.asked import LONGEST, Asked, named, sweep_id
from mlkit_build.sweep.run import asked_for, not_composed
from tests.conftest import Workspace


def variants(*overrides: str) -> list[str]:
    """Return the variant of every job of a sweep."""
    return [item.job.recipe.variant_name if item.job and not item.error else str(item.error) for item in asked(*overrides)]


def asked(*overrides: str) -> list[Asked]:
    return asked_for(["recipe=add_one", *overrides], Roots.find())


def test_jobs_that_write_different_bundles_keep_their_names(workspace: Workspace) -> None:
    assert variants("quantization=float32,float16", "description=same") == ["float32", "float16"]


def test_jobs_of_one_bundle_are_named_after_what_differs(workspace: Workspace) -> None:
    found = variants("quantization=float32,float16", "dataset.samples=2,3")
    assert found == ["float32-samples_2", "float32-samples_3", "float16-samples_2", "float16-samples_3"]


def test_a_name_depends_neither_on_the_order_nor_on_the_number_of_jobs(workspace: Workspace) -> None:
    few = dict(zip(("2", "3"), variants("dataset.samples=2,3"), strict=True))
    many = dict(zip(("9", "3", "2"), variants("dataset.samples=9,3,2"), strict=True))
    assert {key: many[key] for key in few} == few


@pytest.mark.parametrize("seed", range(3))
def test_names_follow_their_jobs_in_any_order(workspace: Workspace, seed: int) -> None:
    jobs = [Asked(item.overrides, item.job) for item in asked_unnamed("dataset.samples=1,2,3", "description=a,b")]
    expected = {item.overrides: item.job.recipe.variant for item in named(jobs) if item.job}
    random.Random(seed).shuffle(jobs)
    assert {item.overrides: item.job.recipe.variant for item in named(jobs) if item.job} == expected
    assert len(set(expected.values())) == 6


def asked_unnamed(*overrides: str) -> list[Asked]:
    from mlkit_build.config.sweep import Composer

    with Composer(Roots.find()) as composer:
        return [Asked(tuple(job), composer.compose(job)) for job in composer.jobs(["recipe=add_one", *overrides])]


def test_keys_of_the_same_last_name_are_told_apart(workspace: Workspace) -> None:
    found = variants("recipe=mnist", "dataset.samples=1,2", "calibration.samples=3,4", "variant=null")
    assert found[0] == "int8-calibration.samples_3-dataset.samples_1"
    assert len(set(found)) == 4


@pytest.mark.parametrize("values", ["'a b','a_b'", "'ä','ö'", "'a/b','a:b'", f"{'x' * 90},{'x' * 89}y"])
def test_values_that_no_folder_can_be_called_get_a_hash(workspace: Workspace, values: str) -> None:
    found = variants(f"description={values}")
    assert len(set(found)) == 2
    assert all(name.startswith("float32-description") and len(name) <= LONGEST and name.isascii() for name in found)
    assert all(set(name).isdisjoint("/:' ") for name in found)


def test_a_stated_variant_stays_and_its_clash_is_an_error_of_every_job_in_it(workspace: Workspace) -> None:
    found = variants("variant=mine", "dataset.samples=1,2")
    assert all("would write the bundle dist/add_one/mine of another job" in text for text in found)
    assert variants("variant=one,other", "quantization=float16") == ["one", "other"]


def test_equal_jobs_are_one_build_of_one_name(workspace: Workspace) -> None:
    first, second = asked("version=1,'1'")
    assert (first.job, first.error) == (second.job, None)


def test_a_job_that_is_asked_for_twice_is_there_once_and_said_to_be(workspace: Workspace) -> None:
    said: list[str] = []
    overrides = ["recipe=add_one", "quantization=float32,float16,float32"]
    found = asked_for(overrides, Roots.find(), said.append)
    assert [item.overrides[1] for item in found] == ["quantization=float32", "quantization=float16"]
    assert said == ["the sweep asks for recipe=add_one quantization=float32 2 times; it runs once"]


@pytest.mark.parametrize("swept", ["jobs=1,2", "ui=plain,json", "cache.enabled=true,false", "output_dir=a,b", "cache.dir=a,b"])
def test_a_sweep_over_what_changes_no_build_is_refused(workspace: Workspace, swept: str) -> None:
    told = swept.replace("true,false", "True,False")
    with pytest.raises(ConfigError, match=f"^{told}: changes nothing in what is built; expected one value"):
        asked("quantization=float32,float16", swept)


def test_recipes_of_one_name_are_named_after_their_folders(workspace: Workspace) -> None:
    workspace.copy("add_one", "other")
    with_twin = [item.job.recipe.variant for item in asked_for(["recipe=add_one,other"], Roots.find()) if item.job]
    assert with_twin == ["float32-recipe_add_one", "float32-recipe_other"]


def test_the_id_is_of_what_was_asked_and_not_of_how(workspace: Workspace) -> None:
    jobs = [["recipe=a", "quantization=int8"], ["recipe=a", "quantization=float32"]]
    assert sweep_id(jobs) == sweep_id([[*job, "ui=json", "jobs=3", "cache.dir=/x", "output_dir=y"] for job in jobs])
    different = [jobs, jobs[::-1], jobs[:1], [[*job, "select=smallest"] for job in jobs]]
    assert all(sweep_id(one) != sweep_id(other) for one, other in itertools.combinations(different, 2))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["recipe=mnist", "calibration.samples=abc"], "calibration.samples=abc"),
        (["recipe=mnist", "quantization=int8", "calibration.samples=abc", "jobs=1"], "quantization=int8 calibration.samples=abc"),
        (["recipe=mnist", "~nothing"], "~nothing"),
        (["recipe=mnist", "quantization=int9", "ui=json", "select=smallest"], "int9"),
        (["recipe=mnist", "variant=mine", "a=1"], "mine"),
        (["recipe=mnist", "jobs=0"], "default"),
    ],
)
def test_a_job_that_does_not_compose_is_named_by_its_overrides(overrides: list[str], name: str) -> None:
    assert not_composed(ConfigError("no"), overrides, None).variant == name
