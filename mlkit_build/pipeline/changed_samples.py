"""What of a dataset changed since an action last read it, where both are known at once: a number of samples, not a digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlkit_build.changes import CHANGED, Change
from mlkit_build.engine.action import Action, Decision
from mlkit_build.engine.decide import Tell, in_short
from mlkit_build.errors import MlkitBuildError
from mlkit_build.plain import canonical, from_plain
from mlkit_build.recipe import AnyDataset
from mlkit_build.records import dataclass
from mlkit_build.stages.params import SAMPLES
from mlkit_build.store import BlobUnusableError, Digest, Record, Tree

if TYPE_CHECKING:
    from mlkit_build.datasets.listing import Listing

_LISTED_BY = {"dataset": ("evaluate",), "calibration": ("calibrate", "quantize_graph")}
"""Input -> the actions that list the samples in it, as their param `dataset` chooses them."""

Earlier = Callable[[str], Iterator[Record]]
"""Yields the earlier records of an action, newest first."""
Blob = Callable[[Digest], Path]
"""Returns where a file of the cache is. Raises BlobUnusableError."""
FileDigests = Callable[[Tree], dict[str, str]]
"""Returns name -> SHA-256 of the files of a folder. Raises OSError."""


@dataclass(frozen=True)
class _Stated:
    """A dataset as an action's params hold it."""

    dataset: AnyDataset


def with_samples(decisions: Sequence[Decision], earlier: Earlier, blob: Blob, digests: FileDigests, tell: Tell) -> list[Decision]:
    """Return the decisions, those because of other samples with how many of them are others.

    Where that is not known, because nothing was listed or it takes long to read, a decision stays as it is.

    Args:
        tell: How reasons tell what changed.
    """
    actions = {decision.action.name: decision.action for decision in decisions}
    reused = [decision.record for decision in decisions if decision.action.name == "freeze" and decision.record]

    def all_earlier(action: str) -> Iterator[Record]:
        yield from reused if action == "freeze" else ()  # which another recipe may have made
        yield from earlier(action)

    known: dict[tuple[str, str], str] = {}

    def told(change: Change) -> Change:
        role = change.path.removeprefix("inputs.")
        if change.kind != CHANGED or role not in _LISTED_BY or role == change.path:
            return change
        if (role, change.old) not in known:
            known[role, change.old] = _told(role, change.old, actions, all_earlier, blob, digests)
        text = known[role, change.old]
        return replace(change, told=(text,)) if text else change

    return [_with(decision, tuple(map(told, decision.changes)), tell) for decision in decisions]


def _with(decision: Decision, changes: tuple[Change, ...], tell: Tell) -> Decision:
    if changes == decision.changes:
        return decision
    return replace(
        decision, changes=changes, reason=in_short(decision.action, changes, tell) if decision.key else decision.reason
    )


def _told(role: str, old: str, actions: dict[str, Action], earlier: Earlier, blob: Blob, digests: FileDigests) -> str:
    """Return what became of the samples in the file whose digest was `old`; empty where that is not known."""
    from mlkit_build.datasets.listing import Listing
    from mlkit_build.datasets.listing_changes import changed_samples

    for name in _LISTED_BY[role]:
        action = actions.get(name)
        record = action and next((record for record in earlier(name) if _is_of(record, role, old, action)), None)
        if not action or not record:
            continue
        try:
            before = Listing.from_bytes(blob(record.outputs[SAMPLES]).read_bytes())
            now = before and _now(role, action, record, earlier, blob, digests)
        # The build will say it, if it is a mistake. A name that no digest is known of is one that the disk spells otherwise.
        except (MlkitBuildError, BlobUnusableError, OSError, KeyError):
            return ""
        return changed_samples(before, now) if before and now else ""
    return ""


def _is_of(record: Record, role: str, old: str, action: Action) -> bool:
    """Return whether it read that file, chose among the samples as the action does now, and listed them."""
    document = record.document
    chosen = (canonical(params.get("dataset")) for params in (document["params"], action.params))
    return document["inputs"].get(role) == old and len(set(chosen)) == 1 and SAMPLES in record.outputs


def _now(role: str, action: Action, record: Record, earlier: Earlier, blob: Blob, digests: FileDigests) -> Listing | None:
    """List the samples that there are now, for the same model as then."""
    from mlkit_build.datasets.listing import listed
    from mlkit_build.signature import FrozenSignature

    item = action.inputs[role]
    assert isinstance(item, (Path, Tree))
    place = item.root if isinstance(item, Tree) else item
    wanted = record.document["inputs"]["signature.json"]
    signatures = (found.outputs["signature.json"] for found in earlier("freeze"))
    signature = next((digest for digest in signatures if digest.sha256 == wanted), None)

    names: dict[str, str] = {}

    def digest(name: str) -> bytes:
        if not names:
            assert isinstance(item, Tree)
            names.update(digests(item))
        return bytes.fromhex(names.get(name) or names[PurePosixPath(name).as_posix()])  # a table may say ./a.png

    spec = from_plain(_Stated, {"dataset": action.params["dataset"]}).dataset
    return listed(spec, place, role, FrozenSignature.read(blob(signature)) if signature else None, digest)
