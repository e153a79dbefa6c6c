"""Two bundles or models beside each other: lines for a terminal, JSON, and a self-contained page fit for a pull request."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from mlkit_build.changes import Change
from mlkit_build.comparison import Aspect, Comparison, Subject
from mlkit_build.metrics.values import size
from mlkit_build.plain import to_plain
from mlkit_build.printable import shown
from mlkit_build.report.rendering import template

_LISTED = 12
"""Changes of an aspect in the terminal; JSON has all that were kept."""
_ON_PAGE = 200
_LONGEST = 300


def text(found: Comparison) -> str:
    """Return the comparison for a terminal: only what differs, then what does not."""
    lines = [f"{letter}  {_side(side)}" for letter, side in (("A", found.first), ("B", found.second))]
    if found.identical:
        return "\n".join([*lines, "identical"])
    same, not_compared = [], []
    for name, aspect in found.aspects.items():
        if aspect.count:
            lines += [f"{name}: {differ(aspect)}", *_shortened(list(map(str, aspect.changes)), aspect.more)]
            lines += [f"  {aspect.note}"] if aspect.note else []
        elif aspect.note:
            not_compared.append((name, aspect.note))
        else:
            same.append(name)
    lines += [f"the same: {', '.join(same)}"] if same else []
    for note in dict.fromkeys(note for _, note in not_compared):
        lines.append(f"not compared: {', '.join(name for name, why in not_compared if why == note)}: {note}")
    lines += [] if any(aspect.count for aspect in found.aspects.values()) else [bytes_text(found)]
    return "\n".join(shown(line, _LONGEST) for line in lines)


def as_json(found: Comparison) -> str:
    """Return one object: `identical`, `a`, `b`, and `aspects` with `differ`, `changes` and `note`."""
    sides = {letter: _plain(side) for letter, side in (("a", found.first), ("b", found.second))}
    aspects = {
        name: {"differ": aspect.count, "changes": [_change(change) for change in aspect.changes], "note": aspect.note}
        for name, aspect in found.aspects.items()
    }
    return json.dumps({"identical": found.identical, **sides, "aspects": aspects})


def page(found: Comparison) -> str:
    """Return the page."""
    aspects = found.aspects.items()
    return template("comparison.html", trims=True).render(
        found=found,
        sides=[(letter, side, _measures(side)) for letter, side in (("A", found.first), ("B", found.second))],
        differing=[
            (name, aspect, aspect.changes[:_ON_PAGE], aspect.count - len(aspect.changes[:_ON_PAGE]))
            for name, aspect in aspects
            if aspect.count
        ],
        same=[name for name, aspect in aspects if not aspect.count and not aspect.note],
        not_compared=[(name, aspect.note) for name, aspect in aspects if not aspect.count and aspect.note],
        differ=differ,
        bytes_text=bytes_text(found),
        shown=shown,
    )


def differ(aspect: Aspect) -> str:
    """Return how many things differ."""
    return f"{aspect.count:,} difference{'' if aspect.count == 1 else 's'}"


def bytes_text(found: Comparison) -> str:
    """Return where two that differ in no aspect part; empty where there is nothing to say."""
    one, other = found.first.model, found.second.model
    if found.identical or one is None or other is None or one.data == other.data:
        return ""
    from mlkit_build.comparison.places import parting

    return f"the bytes of the models differ in what is not looked at here: {parting(BytesIO(one.data), BytesIO(other.data))}"


def _side(side: Subject) -> str:
    return (
        ": ".join(dict.fromkeys([shown(side.stated), side.title])) + f"{_measures(side)}{f'; {side.note}' if side.note else ''}"
    )


def _measures(side: Subject) -> str:
    return f", model of {size(len(side.model.data))}" if side.model is not None else ", without a model"


def _shortened(lines: list[str], more: int) -> list[str]:
    left = len(lines) + more - _LISTED
    listed = lines if left <= 1 and not more else lines[:_LISTED]
    return [
        *(f"  {line}" for line in listed),
        *([f"  and {left:,} more (--json lists them)"] if len(listed) < left + _LISTED else []),
    ]


def _plain(side: Subject) -> dict[str, Any]:
    known = {name: side.part(name) for name in ("name", "version", "variant")}
    return {
        "stated": side.stated,
        "kind": "model" if side.manifest is None else "bundle",
        **known,
        "model": side.model_name or None,
        "files": {name: to_plain(held) for name, held in side.files.items()},
        "note": side.note,
    }


def _change(change: Change) -> dict[str, Any]:
    return {"what": change.path, "kind": change.kind, "before": change.old, "after": change.new, "text": str(change)}
