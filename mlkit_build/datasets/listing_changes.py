"""Two listings of a dataset in one line: how many of its samples changed, came, went, or have another label, and which."""

from __future__ import annotations

from collections import Counter

from mlkit_build.datasets.listing import Listing

_NAMED = 3
"""So many files are named."""


def changed_samples(old: Listing, new: Listing) -> str:
    """Return what became of the samples, like `3 of 10000 samples changed, 2 samples added`.

    A sample that went and one that came are one that changed: where a sample stands says nothing, since a file may be sorted
    anew. The same sample twice counts twice. The first files are named, but for those that are gone: nobody kept their names.
    """
    if old.types != new.types:
        return _of_other_types(old, new)
    before, after = Counter(old.samples), Counter(new.samples)
    gone, came = (before - after).total(), (after - before).total()
    changed = min(gone, came)
    files = _named(new, set(after - before), came, "changed or added: " if 0 < changed < came else "")
    count = len(old.samples)
    found = []
    if changed:
        found.append(f"{changed} of {_samples(count)} changed{files if came == changed else ''}")
    if gone > changed:
        found.append(f"{gone - changed} of {_samples(count)} removed")
    if came > changed:
        found.append(f"{_samples(came - changed)} added to {count}{files}")
    if relabelled := _relabelled(old, new, gone):
        found.append(f"{relabelled} of {_samples(count)} with another label{_named_otherwise(old, new, relabelled)}")
    if found:
        return ", ".join(found)
    order = (old.samples, old.labels) == (new.samples, new.labels)
    return f"the same {_samples(count)}, stored otherwise" if order else f"the same {_samples(count)} in another order"


def _relabelled(old: Listing, new: Listing, gone: int) -> int:
    """Return how many of the samples that stayed are labelled otherwise."""
    if old.labels is None or new.labels is None:
        return 0
    before, after = (Counter(zip(one.samples, one.labels or (), strict=True)) for one in (old, new))
    return (before - after).total() - gone


def _named_otherwise(old: Listing, new: Listing, count: int) -> str:
    """Name those that are labelled otherwise."""
    known, labels = set(zip(old.samples, old.labels or (), strict=True)), new.labels or ()
    others = {pair for pair in zip(new.samples, labels, strict=True) if pair not in known}
    stayed = set(old.samples)
    pairs = zip(new.samples, labels, new.names or (), strict=False)
    return _names([name for sample, label, name in pairs if sample in stayed and (sample, label) in others], count)


def _named(new: Listing, samples: set[bytes], count: int, which: str) -> str:
    names = [name for sample, name in zip(new.samples, new.names or (), strict=False) if sample in samples]
    return _names(names, count, which)


def _names(names: list[str], count: int, which: str = "") -> str:
    """Return the first of the names, to follow what happened to so many; nothing where a copy makes it doubtful to which."""
    if not count or count != len(names):
        return ""
    return f" ({which}{', '.join(names[:_NAMED])}{', ...' if count > _NAMED else ''})"


def _of_other_types(old: Listing, new: Listing) -> str:
    """Say what the samples are now: no number of changed ones could, since all are."""
    names = [name for name in dict.fromkeys([*old.types, *new.types]) if old.types.get(name) != new.types.get(name)]
    found = [f"{name}: {old.types.get(name, 'nothing')} -> {new.types.get(name, 'nothing')}" for name in names]
    one, other = len(old.samples), len(new.samples)
    return f"{', '.join(found)}, in " + (f"all {_samples(one)}" if one == other else f"{one} -> {_samples(other)}")


def _samples(count: int) -> str:
    return f"{count} sample{'' if count == 1 else 's'}"
