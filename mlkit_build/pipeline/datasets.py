"""What of a dataset's description decides the result of an action that reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlkit_build.engine.action import Action
from mlkit_build.engine.toolchain import DECODERS, PROCESSOR
from mlkit_build.errors import ConfigError
from mlkit_build.pipeline.labelling import FoundLabels
from mlkit_build.recipe import AnyDataset, ImageFolder, PythonSamples, Tfds, TfRecord

_UNDECIDED: Mapping[str, Any] = {"path": "", "sha256": None, "timeout_s": 0.0, "name": None, "config": None, "version": None}


def content(dataset: AnyDataset, labels: FoundLabels | None = None, *, labelled: bool = False) -> AnyDataset:
    """Return what of a dataset's description decides a result: not where the files lie, whose bytes are an input.

    Args:
        labels: The recipe's labels: they name the classes where the dataset does not.
        labelled: Whether the samples' classes are wanted.
    """
    fields = {field.name for field in dataclasses.fields(dataset)}
    placed: dict[str, Any] = {name: value for name, value in _UNDECIDED.items() if name in fields}
    if not labelled and "label" in fields:
        placed["label"] = None
    if "classes" in fields and (not labelled or dataset.label is None):
        placed["classes"] = ()
    elif "classes" in fields and labels is not None and not getattr(dataset, "classes", ()):
        placed["classes"] = labels.names
    elif "classes" in fields and labels is not None:
        _refuse_another_order(tuple(getattr(dataset, "classes", ())), labels.names)
    return replace(dataset, **placed)


def _refuse_another_order(classes: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Refuse classes that are the labels in another order: the app would show one for the other, and no gate could see it."""
    if classes != labels and sorted(classes) == sorted(labels):
        first = next(index for index, pair in enumerate(zip(classes, labels, strict=True)) if pair[0] != pair[1])
        raise ConfigError(
            f"labels: expected the order of dataset.classes, where class {first} is {classes[first]!r}, found {labels[first]!r}",
            "line n of the labels names the model's class n; leave dataset.classes out to take the labels' order",
        )


def reading(action: Action, datasets: Mapping[str, AnyDataset | None], limits: Mapping[str, float] | None = None) -> Action:
    """Return the action with what decides its result besides, and with the longest limit of the user's code that it runs.

    What decodes the samples does, and the processor: whatever reads samples takes them through a model, and another processor's
    kernels sum in another order. Another decoder gives other pixels.

    Args:
        datasets: The recipe's field -> the dataset.
        limits: Field -> how long other code of the user may take, in seconds.
    """
    read = [stated for stated in datasets.values() if stated is not None]
    decoders = DECODERS if any(isinstance(stated, (ImageFolder, TfRecord, Tfds)) for stated in read) else ()
    action = replace(action, packages=(*action.packages, *(PROCESSOR if read else ()), *decoders))
    timed = {f"{field}.timeout_s": stated.timeout_s for field, stated in datasets.items() if isinstance(stated, PythonSamples)}
    if not (timed := {**timed, **(limits or {})}):
        return action
    field, timeout_s = max(timed.items(), key=lambda item: item[1])
    return replace(action, timeout_s=timeout_s, timeout_field=field)
