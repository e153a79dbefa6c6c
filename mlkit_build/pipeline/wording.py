"""Key documents in words of the recipe: which of its fields an action's param comes from, and what an input is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkit_build.changes import Change
from mlkit_build.engine.action import Action, Decision, OutputOf
from mlkit_build.engine.decide import Tell
from mlkit_build.mlkit.labels import LABELS
from mlkit_build.plain import canonical
from mlkit_build.recipe import AnyDataset, Recipe
from mlkit_build.records import dataclass
from mlkit_build.stages.params import CODE_PREFIX, SOURCE_PREFIX
from mlkit_build.store import Tree

_LONGEST = 200
"""Characters of a value, in text: the classes of ImageNet are a value too."""
_LONGEST_IN_SHORT = 40
_ANYWHERE: Mapping[str, str] = {
    "task": "target.task",
    "mode": "quantization.mode",
    "io": "quantization.io",
    "granularity": "quantization.granularity",
    "algorithm": "quantization.algorithm",
    "rules": "quantization.rules",
    "inputs": "signature.inputs",
    "output": "validation.output",
    "scores_of": "validation.metrics, what their output has class scores of",
    "metrics": "validation.metrics",
    "allow_select_ops": "convert.allow_select_ops",
    "labels.names": "dataset.classes",
}
"""Param -> the recipe's field, for every action that does not say otherwise; what is in neither table is called the same."""

_FREEZE: Mapping[str, str] = {
    "outputs": "signature.outputs",
    "constants": "signature.constants",
    "unroll": "freeze.unroll",
}
_OWN: Mapping[str, Mapping[str, str]] = {
    "freeze": _FREEZE,
    "origin": {
        "samples": "validation.hops",
        "freeze.inputs": "signature.inputs",
        "freeze.source": "source",
        "freeze.adapters": "adapters",
        **{f"freeze.{param}": field for param, field in _FREEZE.items()},
    },
    "contract": {
        "normalized": "signature.inputs, those with mean and std",
        "fed": "dataset and calibration, the inputs that they feed",
    },
    "calibrate": {
        "dataset": "calibration",
        "observer": "quantization.observer",
        "percentile": "quantization.percentile",
        "hessians": "quantization.algorithm, the matrices of gptq",
    },
    "quantize_graph": {"dataset": "calibration"},
    "hops": {"samples": "validation.hops"},
    "latency": {**{name: f"validation.latency.{name}" for name in ("runs", "warmups", "threads", "delegate")}, "host": "machine"},
    "runtime": {"package": "validation.runtimes, package", "version": "validation.runtimes, version"},
    "describe": {
        "limit.runtime": "package.min_runtime",
        "limit.stated": "package.min_runtime, stated",
        **{f"limit.{name}": f"quantization.{name}" for name in ("mode", "granularity", "backend", "rules")},
        "limit": "package.min_runtime",
        "score_threshold": "metadata.score_threshold",
        "score_calibration": "metadata.score_calibration",
    },
    "app": {"samples": "samples that are viewed as an app does"},
    "suspect": {"samples": "samples that are viewed as an app does"},
    "package": {
        "verdicts": "verdicts of validation.gates",
        "runtimes": "verdicts of validation.runtimes",
        "not_viewed": "why the file is not viewed as an app does",
    },
}
_RESULTS: Mapping[str, tuple[str, ...]] = {"package": ("params.verdicts", "params.runtimes")}
"""Params that are results of other actions: nothing is known of them before these have run."""
_NOTHING: Mapping[str, str] = {
    "why the file is not viewed as an app does": "it is viewed",
    "validation.metrics, what their output has class scores of": "nothing known",
}
"""Field -> what an empty text there means."""
_FILES: Mapping[str, str] = {
    "environment": "validation.runtimes, the environment",
    "score_calibration": "metadata.score_calibration",
}


@dataclass(frozen=True)
class Worded:
    """A change, as somebody who writes recipes would say it.

    Attributes:
        field: A field of the recipe, a tool, or a file.
        kind: `changed`, `new`, `gone`, or `content`: a file or folder has other bytes.
        old: What was there; of content, its SHA-256.
        new: What is there.
        told: Of content, which samples are others, where that is known.
    """

    field: str
    kind: str
    old: Any
    new: Any
    told: str = ""

    def __str__(self) -> str:
        return self.text(_LONGEST)

    def text(self, longest: int) -> str:
        """Return it in one line, every value in so many characters at most."""
        if self.kind == "content":
            return f"{self.field}: {self.told or 'other content'}"
        if self.kind == "gone":
            return f"{self.field}: gone"
        old, new = (_spelled(self.field, value, longest) for value in (self.old, self.new))
        return f"{self.field}: new ({new})" if self.kind == "new" else f"{self.field}: {old} -> {new}"


def explained(decision: Decision, recipe: Recipe) -> list[Worded]:
    """Return all that differs from the nearest earlier record, of what waits as far as it is known."""
    results = () if decision.key else _RESULTS.get(decision.action.name, ())
    changes = [change for change in decision.changes if not change.path.startswith(results)]
    return [_worded(decision.action, change, recipe) for change in changes]


def telling(recipe: Recipe) -> Tell:
    """Return what says a change in few of the same words, for a reason in one line."""
    return lambda action, change: _worded(action, change, recipe).text(_LONGEST_IN_SHORT)


def _worded(action: Action, change: Change, recipe: Recipe) -> Worded:
    part, _, rest = change.path.partition(".")
    if part == "inputs":
        content = "content" if change.kind == "changed" else change.kind
        return Worded(_file(action, rest, recipe), content, change.old, change.new, "".join(change.told))
    if part == "params":
        return Worded(_field(action.name.partition("-")[0], rest), change.kind, change.old, change.new)
    if part == "toolchain":
        return Worded(rest, change.kind, change.old, change.new)
    what = f"version of mlkit-build's {action.name}" if part == "version" else f"{change.path} of mlkit-build's cache"
    return Worded(what, change.kind, change.old, change.new)


def _field(kind: str, param: str) -> str:
    """Return the recipe's field for a dotted param: that of the longest beginning that has one."""
    own = {**_ANYWHERE, **_OWN.get(kind, {})}
    ends = [match.start() for match in re.finditer(r"[.\[]", param)]
    for end in (len(param), *reversed(ends)):
        if param[:end] in own:
            return own[param[:end]] + param[end:]
    return param


def _file(action: Action, name: str, recipe: Recipe) -> str:
    item = action.inputs.get(name)
    if isinstance(item, OutputOf):
        return f"{item.file} of {item.action}"
    if name.startswith(f"{LABELS}."):
        return f"labels.locales.{name.removeprefix(f'{LABELS}.')}"
    if name in ("dataset", "calibration"):
        return f"{name} ({place})" if (place := _stated(getattr(recipe, name))) else name
    role, field = name, _FILES.get(name, name)
    if action.name == "freeze" or name.startswith(SOURCE_PREFIX):
        role, field = name.removeprefix(SOURCE_PREFIX), "source"
    elif name.startswith(CODE_PREFIX):
        role, field = name.removeprefix(CODE_PREFIX), "validation.metrics"
    return field if role == field else f"{field} ({_shown(role, item)})"


def _shown(role: str, item: Path | Tree | None) -> str:
    """Return the file's name, which the user knows, where it is known."""
    return item.name if isinstance(item, Path) and "/" not in role else role


def _stated(dataset: AnyDataset | None) -> str:
    """Return the path as the recipe states it, without secrets; empty where it states none."""
    path: str = getattr(dataset, "path", "")
    if "://" in path:
        from mlkit_build.fetch import shown

        return shown(path)
    return path


def _spelled(field: str, value: Any, longest: int) -> str:
    text = _NOTHING.get(field, '""') if value == "" else value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
