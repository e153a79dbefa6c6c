"""A job of a sweep composes to what it composes to alone, or is refused in the same words."""

from __future__ import annotations

import pytest

from mlkit_build.config import Roots, compose
from mlkit_build.config.sweep import Composer
from mlkit_build.errors import ConfigError
from mlkit_build.job import Job
from tests.conftest import Workspace

JOBS = [
    [],
    ["quantization=float32"],
    ["quantization=int8", "quantization.io=uint8"],
    ["quantization.io=uint8", "quantization=int8", "calibration.samples=50"],
    ["calibration.samples=50", "calibration.samples=60"],
    ["dataset=null", "validation={}"],
    ["~labels"],
    ["~validation.gates.top1"],
    ["+validation.gates.cosine={min: 0.5}"],
    ["++validation.gates.cosine.min=0.5"],
    ["validation.gates.top1={max_drop: 0.5}"],
    ["adapters=[softmax]"],
    ["description='a, b'"],
    ["target=custom"],
    ["variant=x", "output_dir=elsewhere", "cache.enabled=false"],
    ["source=frozen_graph", "source.path=x.pb"],
    # refused
    ["quantization=int9"],
    ["quantization.mode=int9"],
    ["calibration.samples=many"],
    ["calibration.sampels=5"],
    ["nothing=1"],
    ["+source=saved_model"],
    ["quantization=1"],
    ["quantization@x=int8"],
    ["a b=c"],
    ["dataset=[1,2"],
    ["validation.gates.cosine.min=0.5"],
    ["jobs=0"],
    ["output_dir="],
    ["source.kind=keras"],
    ["recipe=mnits"],
    ["name=???"],
]


def told(build: object, *arguments: object) -> Job | tuple[str, str]:
    try:
        return build(*arguments)  # type: ignore[operator,no-any-return]
    except ConfigError as error:
        return error.message, error.hint


def test_every_job_is_what_compose_says_in_any_company(workspace: Workspace) -> None:
    roots = Roots.find()
    alone = [told(compose, ["recipe=mnist", *job], roots) for job in JOBS]
    with Composer(roots) as composer:
        together = [told(composer.compose, ["recipe=mnist", *job]) for job in JOBS]
        again = [told(composer.compose, ["recipe=mnist", *job]) for job in reversed(JOBS)]
    assert together == alone
    assert again == alone[::-1]
    assert 10 < sum(isinstance(answer, Job) for answer in alone) < len(JOBS) - 10


def test_the_grammar_is_hydras(workspace: Workspace) -> None:
    with Composer(Roots.find()) as composer:
        assert composer.jobs(["recipe=a,b", "jobs=choice(1,2)"]) == [
            ["recipe=a", "jobs=1"],
            ["recipe=a", "jobs=2"],
            ["recipe=b", "jobs=1"],
            ["recipe=b", "jobs=2"],
        ]
        assert composer.jobs(["x=range(1,4)"]) == [["x=1"], ["x=2"], ["x=3"]]
        assert ["recipe=add_one"] in composer.jobs(["recipe=glob(*)"])
        assert {job[0] for job in composer.jobs(["quantization=glob(float*)"])} == {
            "quantization=float16",
            "quantization=float32",
        }
        with pytest.raises(ConfigError, match="not understood"):
            composer.jobs(["a b"])


def test_a_composer_leaves_hydra_as_it_was(workspace: Workspace) -> None:
    from hydra.core.global_hydra import GlobalHydra

    before = compose(["recipe=add_one"], Roots.find())
    with Composer(Roots.find()) as composer:
        composer.compose(["recipe=mnist"])
    assert not GlobalHydra.instance().is_initialized()
    assert compose(["recipe=add_one"], Roots.find()) == before
