"""The check: two builds with empty caches, compared action by action, then with what the cache holds already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mlkit_build.bundle.publish import CHECKSUMS, PROVENANCE, SIGNATURE
from mlkit_build.config import Roots, compose
from mlkit_build.engine import Decision
from mlkit_build.engine.decide import differences
from mlkit_build.errors import MlkitBuildError, StageError, StoreError, by_name
from mlkit_build.job import Job
from mlkit_build.opening import cache_folder
from mlkit_build.records import dataclass
from mlkit_build.report.screens import Quiet
from mlkit_build.reproduction.conditions import Conditions, as_is, otherwise
from mlkit_build.store import DiskStore, Record
from mlkit_build.workflow import plan

BUNDLE = "the bundle"
CACHE = "the cache"


@dataclass(frozen=True)
class Difference:
    """A file that came out differently.

    Attributes:
        action: Which action made it, from equal inputs; or the bundle.
        file: Its name.
        against: `otherwise`, or what the cache held.
        first: The file of the build as things are; None where there is none.
        second: The other one, likewise.
        found: What differs in a few lines: in the key, or in what the files hold.
    """

    action: str
    file: str
    against: str
    first: Path | None
    second: Path | None
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What came of a check.

    Attributes:
        actions: Every action that was compared, in order.
        cached: How many of them were compared with what the cache held, too.
        differences: In order; the first is where it begins.
    """

    actions: tuple[str, ...]
    cached: int
    differences: tuple[Difference, ...]


def check(job: Job, overrides: Sequence[str], roots: Roots, folder: Path, tell: Callable[[str], None]) -> Checked:
    """Build a recipe twice in `folder`, as things are and otherwise, and compare the bytes.

    What measures time is left out: its results are no part of the manifest.

    Args:
        job: What the overrides compose to.
        overrides: Those of the command line.
        tell: Told what is being done.

    Raises:
        MlkitBuildError: A build failed: as it does under these conditions, or only under the others.
    """
    conditions = (as_is(folder), otherwise(folder))
    built = []
    fetched = cache_folder(job)
    for condition in conditions:
        tell(f"building {'as things are' if condition.name == 'as-is' else 'otherwise'}")
        share_fetched(fetched, condition.cache)
        fetched = condition.cache  # nothing is fetched twice: a server may refuse requests with another time
        built.append(_built(condition, overrides, roots, first=condition is conditions[0]))
    return _compared(built[0], built[1], _before(job), cache_folder(job), conditions)


def _before(job: Job) -> dict[str, Decision]:
    """Return what the user's own cache holds, action by action."""
    try:
        return {decision.action.name: decision for decision in plan(job, Quiet())}
    except MlkitBuildError:  # it was built twice, so that nothing is wrong with it: its cache has not fetched what the two have
        return {}


def share_fetched(cache: Path, fresh: Path) -> None:
    """Let a fresh cache use what was fetched: that is no result, and checked against its digest whenever it is used."""
    try:
        (fresh / "v1").mkdir(parents=True)
        for name in ("fetched", "runtimes"):
            kept = cache.absolute() / "v1" / name
            if kept.is_dir():
                (fresh / "v1" / name).symlink_to(kept)
    except OSError as error:
        raise StoreError(f"check: {fresh}: {error.strerror or error}", "make room, or name another folder with --keep") from error


def _built(conditions: Conditions, overrides: Sequence[str], roots: Roots, *, first: bool) -> list[Decision]:
    """Build under the conditions; return what its cache then holds, action by action."""
    folders = dict.fromkeys(path.parent for path in (*roots.recipes[:-1], *roots.conf))
    named = [argument for path in folders for argument in ("--root", str(path))]
    done = conditions.run([*named, *overrides, "ui=json"])
    if done.returncode:
        raise _failed(done.returncode, done.stdout, done.stderr, first=first)
    return plan(compose([*overrides, *conditions.stated], roots), Quiet())


def _failed(code: int, out: str, err: str, *, first: bool) -> MlkitBuildError:
    error: dict[str, str] = {}
    with suppress(ValueError, IndexError, AttributeError):
        error = json.loads(out.splitlines()[-1]).get("error") or {}
    said = error.get("message") or (err.strip().splitlines() or [f"exit code {code}"])[-1]
    kind = by_name(error.get("kind", ""))
    hint, log = error.get("hint", ""), error.get("log", "")
    if first:
        return kind(said, hint, log=log)
    return StageError(f"check: it builds as things are, and not otherwise: {said}", hint, log=log)


def _compared(
    first: list[Decision], second: list[Decision], before: dict[str, Decision], cache: Path, conditions: Sequence[Conditions]
) -> Checked:
    stores = [DiskStore(condition.cache) for condition in conditions]
    compared = [(one, other) for one, other in zip(first, second, strict=True) if not one.action.alone]
    found: list[Difference] = []
    cached = 0
    for one, other in compared:
        name = one.action.name
        assert one.record is not None, name
        assert other.record is not None, name
        if one.key == other.key:
            found += _outputs(name, conditions[1].name, one.record, other.record, stores[0], stores[1])
        elif not found:  # else it follows from what was found before
            changes = tuple(differences(one.document, other.document))
            found.append(Difference(name, "its key", conditions[1].name, None, None, changes))
        known = before.get(name)
        if known is not None and known.record is not None and known.key == one.key:
            cached += 1
            found += _outputs(name, CACHE, one.record, known.record, stores[0], DiskStore(cache))
    if not found:
        found += _bundles(conditions[0].output, conditions[1].output)
    return Checked(tuple(one.action.name for one, _ in compared), cached, tuple(found))


def _outputs(action: str, against: str, one: Record, other: Record, first: DiskStore, second: DiskStore) -> Iterator[Difference]:
    for file in sorted(one.outputs.keys() | other.outputs.keys()):
        if one.outputs.get(file) != other.outputs.get(file):
            places = [
                store.blob(record.outputs[file]) if file in record.outputs else None
                for store, record in ((first, one), (second, other))
            ]
            yield _told(Difference(action, file, against, places[0], places[1]))


def _bundles(first: Path, second: Path) -> Iterator[Difference]:
    """Compare what was published, but for what says when and where."""
    trees = [{path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()} for tree in (first, second)]
    for name in sorted(trees[0].keys() | trees[1].keys()):
        if PurePosixPath(name).name in (PROVENANCE, CHECKSUMS, SIGNATURE):
            continue
        one, other = trees[0].get(name), trees[1].get(name)
        if one is None or other is None or one.read_bytes() != other.read_bytes():
            yield _told(Difference(BUNDLE, name, "otherwise", one, other))


def _told(difference: Difference) -> Difference:
    """Return the difference with what differs in the files."""
    if difference.first is None or difference.second is None:
        return difference
    from mlkit_build.reproduction.explained import explained

    return replace(difference, found=explained(difference.first, difference.second, difference.file))
