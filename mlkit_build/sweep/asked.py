"""The jobs that a sweep asks for, each under a name of its own.

Jobs that would write the same bundle get different variant names from those of their overrides that differ among them:
`int8-samples_50`. The name depends on the job's own values and on which keys are swept, not on the order or number of jobs.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlkit_build.errors import ConfigError, MlkitBuildError
from mlkit_build.job import Job
from mlkit_build.plain import canonical
from mlkit_build.records import dataclass

LONGEST = 64
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]+")
_NEUTRAL = re.compile(r"ui|jobs|output_dir|locked|junit|github_summary|cache(\..*)?|package\.sign(\..*)?|hydra[./].*")


@dataclass(frozen=True)
class Asked:
    """One job of a sweep.

    Attributes:
        overrides: What it adds to the defaults, in the order of the command line.
        job: What they compose to; None where they do not.
        error: Why this job is not built.
    """

    overrides: tuple[str, ...]
    job: Job | None = None
    error: MlkitBuildError | None = None


def sweep_id(jobs: Iterable[Sequence[str]]) -> str:
    """Return the name of a sweep's folder: what was asked, in short, whatever became of it.

    Not the time: the same sweep started again, because it was interrupted or something changed, goes on in the same folder and
    replaces its summary, as a build replaces its bundle, so that resuming leaves one folder and no heap. Two different sweeps
    at once have different folders; two equal ones write equal rows, each file whole. `latest` tells which was last.
    """
    return hashlib.sha256(canonical([telling(job) for job in jobs])).hexdigest()[:10]


def telling(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that say what is built, without those that say where and how."""
    return tuple(item for item in overrides if not _NEUTRAL.fullmatch(_key(item)))


def shown_variant(overrides: Sequence[str], variant: str) -> str:
    """Return what to call a job that did not compose: by its overrides, since nothing else is known of it.

    Args:
        variant: What its choices say, where they are all that it was asked for with.
    """
    others = [item for item in telling(overrides) if _key(item) not in ("recipe", "quantization", "variant", "select")]
    if not others or any(_key(item) == "variant" for item in overrides):
        return variant
    return " ".join(item for item in telling(overrides) if _key(item) not in ("recipe", "select"))


def refuse_unchanging(jobs: Iterable[Sequence[str]]) -> None:
    """Refuse to sweep over what says where and how: each job would be the same build, under another name or over the other.

    Raises:
        ConfigError: Names the keys and their values.
    """
    values: dict[str, dict[str, None]] = defaultdict(dict)
    for job in jobs:
        for key, value in dict(map(_split, job)).items():
            if _NEUTRAL.fullmatch(key):
                values[key][value] = None
    swept = [f"{key}={','.join(found)}" for key, found in values.items() if len(found) > 1]
    if swept:
        raise ConfigError(
            f"{' '.join(swept)}: changes nothing in what is built; expected one value for the whole sweep",
            "sweep over what makes variants, e.g. quantization=float16,int8",
        )


def named(asked: Sequence[Asked]) -> list[Asked]:
    """Return the jobs with variant names that tell them apart; equal jobs keep one name, and are one build.

    A name that the user states stays: where it clashes, each of these jobs becomes an error.
    """
    result = list(asked)
    for indices in _clashes(result).values():
        keys = _differing([result[index].overrides for index in indices])
        for index in indices:
            job = result[index].job
            assert job is not None
            if job.recipe.variant is None:
                name = _variant(job.recipe.variant_name, result[index].overrides, keys)
                result[index] = replace(result[index], job=replace(job, recipe=replace(job.recipe, variant=name)))
    errors = {}
    for place, indices in _clashes(result).items():
        for index in indices:
            others = [" ".join(result[other].overrides) for other in indices if result[other].job != result[index].job]
            error = ConfigError(
                f"variant: this job ({' '.join(result[index].overrides)}) would write the bundle {'/'.join(place)} of another "
                f"job of the sweep ({others[0]})",
                "give each a name of its own with variant=, or leave variant out: each is then named after what differs",
            )
            errors[index] = error
    return [replace(item, error=errors.get(index, item.error)) for index, item in enumerate(result)]


def place_of(job: Job) -> tuple[str, str, str]:
    """Return the folder for bundles, the recipe and the variant: jobs with equal ones write the same bundle."""
    return str(Path(job.settings.output_dir).expanduser()), job.recipe.name, job.recipe.variant_name


def _clashes(asked: Sequence[Asked]) -> dict[tuple[str, str, str], list[int]]:
    """Return bundle -> the jobs that would write it, where these are different jobs."""
    found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(asked):
        if item.job is not None and item.error is None:
            found[place_of(item.job)].append(index)
    return {place: them for place, them in found.items() if any(asked[other].job != asked[them[0]].job for other in them)}


def _differing(jobs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return key -> its short name, for the keys whose overrides are not the same in all jobs."""
    values = [dict(map(_split, job)) for job in jobs]
    keys = [key for key in dict.fromkeys(key for job in values for key in job) if len({job.get(key) for job in values}) > 1]
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: key.rpartition(".")[2] if last[key.rpartition(".")[2]] == 1 else key for key in sorted(keys)}


def _variant(base: str, overrides: Sequence[str], keys: Mapping[str, str]) -> str:
    """Return `base` with the values of `keys`, as a folder may be called; a hash where that is lossy or long."""
    values = dict(map(_split, overrides))
    parts = [(short, values[key]) for key, short in keys.items() if key in values]
    if not parts:
        return base
    exact = "-".join(f"{short}_{value}" for short, value in parts)
    name = f"{base}-{exact}"
    if _PLAIN.fullmatch(exact) and len(name) <= LONGEST:
        return name
    told = canonical([[key, values[key]] for key in keys if key in values])
    suffix = f"-{hashlib.sha256(told).hexdigest()[:8]}"
    cut = _OTHER.sub("_", name)[: LONGEST - len(suffix)].rstrip("_.-")
    return cut + suffix


def _split(override: str) -> tuple[str, str]:
    """Return key and value; a key that is taken away has the value `none`."""
    _, equals, value = override.partition("=")
    return _key(override), value if equals else "none"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").strip()
