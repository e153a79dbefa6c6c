"""A build that is held to a lock: it stops before anything runs where it would differ, and before it publishes where it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlkit_build.bundle.manifest import FileEntry, Manifest
from mlkit_build.engine.decide import differences
from mlkit_build.engine.toolchain import toolchain_beside
from mlkit_build.errors import ConfigError, LockError
from mlkit_build.job import Job
from mlkit_build.locking.document import LockedVariant, listed, read_lock, settings_of
from mlkit_build.printable import shown
from mlkit_build.recipe import LOCK_FILE, Recipe
from mlkit_build.store import Digest

_HINT = "undo that, or renew the lock: `mlkit-build lock` with the same arguments, and have the change of the file reviewed"


class Enforced:
    """What a job is held to; see `open`."""

    def __init__(self, name: str, locked: LockedVariant) -> None:
        self._name = name
        self._locked = locked

    @classmethod
    def open(cls, job: Job) -> Enforced:
        """Return what the lock beside the job's recipe says of its variant.

        Raises:
            ConfigError: There is no lock, none for this variant, or it cannot be read.
        """
        recipe = job.recipe
        lock = read_lock(job.folder, recipe.name)
        write = "`mlkit-build lock` with the same arguments writes it"
        if lock is None:
            raise ConfigError(f"locked=true: expected a lock at {job.folder / LOCK_FILE}, found nothing", write)
        if recipe.variant_name not in lock.variants:
            known = ", ".join(sorted(lock.variants)) or "none"
            raise ConfigError(
                f"locked=true: {job.folder / LOCK_FILE}: expected the variant {recipe.variant_name!r}, found {known}", write
            )
        return cls(f"{recipe.name}/{recipe.variant_name}", lock.variants[recipe.variant_name])

    def before(self, recipe: Recipe, inputs: Sequence[FileEntry]) -> None:
        """Refuse a build from something else than what was locked, before anything runs.

        Args:
            recipe: As the manifest will have it.

        Raises:
            LockError: Names all that differs.
        """
        found = [
            *differences(dict(self._locked.settings), settings_of(recipe)),
            *_other_files(self._locked.inputs, listed(inputs)),
            *differences(dict(self._locked.toolchain), toolchain_beside(self._locked.toolchain)),
        ]
        if found:
            told = "; ".join(map(shown, found))
            raise LockError(f"{self._name} would not be the package that is locked: {told}", _HINT)

    def after(self, manifest: Manifest, data: bytes) -> None:
        """Refuse to publish something else than what was locked.

        Raises:
            LockError: Names all that differs.
        """
        found = _other_files(self._locked.outputs, listed(manifest.outputs))
        if Digest.of_bytes(data).sha256 == self._locked.manifest:
            if not found:
                return
            raise LockError(
                f"{self._name} is the package that is locked by its manifest, but not by the outputs: {'; '.join(found)}",
                "the lock was edited: undo that, or renew it with `mlkit-build lock` and the same arguments",
            )
        found = found or ["manifest.json: other content"]
        raise LockError(
            f"{self._name} is not the package that is locked, though it is made of the same: {'; '.join(map(shown, found))}",
            "`mlkit-build check` tells whether the recipe is reproducible at all; where it is, another machine made the lock",
        )


def changes_between(before: LockedVariant, after: LockedVariant) -> list[str]:
    """Return what differs between two states of a variant, one line each."""
    return [
        *differences(dict(before.settings), dict(after.settings)),
        *_other_files(before.inputs, after.inputs),
        *differences(dict(before.toolchain), dict(after.toolchain)),
        *_other_files(before.outputs, after.outputs),
        *(["manifest.json: other content"] if before.manifest != after.manifest else []),
    ]


def _other_files(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return what differs between two lists of files, one line for each name."""
    gone, new = ({line[66:] for line in set(lines) - set(others)} for lines, others in ((before, after), (after, before)))
    found = {name: "other content" if name in gone & new else "gone" if name in gone else "new" for name in gone | new}
    was, now = Counter(before), Counter(after)
    for line in was.keys() & now.keys():
        if was[line] != now[line]:
            found.setdefault(line[66:], f"listed {was[line]} times -> {now[line]}")
    return [f"{name}: {what}" for name, what in sorted(found.items())]
