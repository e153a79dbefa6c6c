"""package: the file as the app will see it, between packaging and publishing; or what is wrong with it, where a gate failed.

Raw images in, labels out, with nothing but the file's own metadata. What comes out must be as right as validation found: mean
and std, the order of the channels and the labels are else only seen to be wrong on a phone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, open_dataset
from mlkit_build.datasets.feeding import Feed
from mlkit_build.datasets.parallel import in_order
from mlkit_build.datasets.views import FirstSamples
from mlkit_build.errors import GateError, StageError
from mlkit_build.metrics import samples_text, significant
from mlkit_build.mlkit.app_model import AppModel
from mlkit_build.mlkit.app_view import AppView, Suspicion
from mlkit_build.mlkit.labels import read_label_set
from mlkit_build.mlkit.metadata import attach, read
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import Input
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.class_order import classes_of
from mlkit_build.stages.params import AppParams
from mlkit_build.stages.suspects import AS_IS, IN_UNIT, Suspect, suspects_of

SLACK = 0.005
"""How far the accuracy may be off: an app rounds pixels, which turns near-ties."""
SLACK_UNLABELLED = 0.02
"""How many labels may differ where there is no truth: near-ties that were wrong before count too."""
SILENT = 0.5
"""The share of the samples that may get no label: a threshold hides doubtful ones, and one that hides most is a mistake."""
EXPLAINED = 0.05
"""The least share of the samples that something must put right to be called the fault, and half of those that are wrong."""
PROBED = 16
"""Samples whose values tell what range they are in."""
TRIED = 256
"""Samples on which the suspects are tried."""
BATCH = 50
BATCH_BYTES = 1 << 22
"""A batch's pixels stay within 4 MB."""


def app(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the packaged file on raw images and write `app.json`, an `AppView`.

    Reads of the recipe only how the dataset is read, and the labels' texts, which say what its class indices mean.

    Raises:
        GateError: It is less right than validation found; says which of the usual faults explains it.
        SourceError: The file's metadata cannot be read.
    """
    request = from_plain(AppParams, params)
    model = AppModel(inputs["model.tflite"])
    view = AppView(skipped=model.unfit) if model.unfit else _viewed(request, model, inputs)
    (outputs / "app.json").write_bytes(pretty(view))


def suspect(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Try what usually makes a model bad on samples that TensorFlow's is bad on, too, and write `suspect.json`, a `Suspicion`.

    Raises:
        SourceError: The file's metadata cannot be read.
    """
    request = from_plain(AppParams, params)
    with TemporaryDirectory() as folder:
        model = AppModel(_floating(inputs, Path(folder)))
        found = Suspicion() if model.unfit else _suspected(request, model, inputs)
    (outputs / "suspect.json").write_bytes(pretty(found))


def _floating(inputs: Mapping[str, Path], folder: Path) -> Path:
    """Return the float model with what the shipped file says of itself: what is quantized was calibrated on the fault's range."""
    if "float.tflite" not in inputs:
        return inputs["model.tflite"]
    path = folder / "float.tflite"
    path.write_bytes(attach(inputs["float.tflite"].read_bytes(), read(inputs["model.tflite"].read_bytes())))
    return path


def _suspected(request: AppParams, model: AppModel, inputs: Mapping[str, Path]) -> Suspicion:
    dataset, feed, tally = _opened(request, model, inputs)
    in_unit = _in_unit(dataset, model.metadata.inputs[0].name)
    ways = [*([IN_UNIT] if in_unit else []), *suspects_of(request.inputs, model, in_unit=in_unit)]
    tried = _tried(ways, tally, dataset, feed, model)
    best = 0 if in_unit and _explains(tried, 0) else _likeliest(tried)  # where values are in 0..1, another pair may fit by chance
    if not _explains(tried, best):
        return Suspicion()
    return Suspicion(ways[best].instead, ways[best].hint, tried.samples, significant(tried.right[best] / tried.samples))


def _opened(request: AppParams, model: AppModel, inputs: Mapping[str, Path]) -> tuple[Dataset, Feed, _Tally]:
    """Return the first samples, how they are fed, and what counts the file's labels for them."""
    tensor = TensorSpec(model.metadata.inputs[0].name, "", model.shape, "uint8")
    whole = open_dataset(request.dataset, inputs["dataset"], "dataset", FrozenSignature((tensor,), ()))
    texts = _Texts(read_label_set(request.labels, inputs).names, model.labels)
    winners = np.load(inputs["predictions.npy"], mmap_mode="r")
    if len(winners) != len(whole):
        raise StageError(f"app: validation saw {len(winners)} samples, the dataset has {len(whole)}")
    feed = Feed(whole, tensor, Input(mean=(0.0,), std=(1.0,)))
    return FirstSamples(whole, request.samples), feed, _Tally(texts, winners)


def _viewed(request: AppParams, model: AppModel, inputs: Mapping[str, Path]) -> AppView:
    dataset, feed, tally = _opened(request, model, inputs)
    silent = 0
    for batch, found, told in _run(dataset, feed, model, [AS_IS]):
        tally.add(batch, found)
        silent += int(np.count_nonzero(~told))
    allowed = max(1.0, (SLACK if tally.labelled else SLACK_UNLABELLED) * tally.samples)
    if abs(tally.right[0] - tally.validated) > allowed:
        raise _failure(request, tally, FirstSamples(dataset, TRIED), feed, model)
    if silent > SILENT * tally.samples:
        raise _silence(silent, tally.samples)
    return AppView(
        samples=tally.samples,
        accuracy=significant(tally.right[0] / tally.samples),
        validated=significant(tally.validated / tally.samples),
        changed=tally.changed,
        labelled=tally.labelled,
        silent=silent,
    )


class _Texts:
    """The labels of the recipe and of the file as numbers that are equal where the texts are."""

    def __init__(self, stated: Sequence[str], packaged: Sequence[str]) -> None:
        number = {text: index for index, text in enumerate(dict.fromkeys((*stated, *packaged)))}
        self.stated = np.array([number[text] for text in stated])
        self.packaged = np.array([number[text] for text in packaged])


class _Tally:
    """Counts how often the file's label is right, in each way that it was run."""

    def __init__(self, texts: _Texts, winners: NDArray[np.int32], ways: Sequence[Suspect] = (AS_IS,)) -> None:
        self.texts = texts
        self.winners = winners
        self._ways = ways
        self.right = [0] * len(ways)
        self.samples = self.validated = self.changed = 0
        self.labelled = False

    def add(self, batch: Batch, found: Sequence[NDArray[np.int64]]) -> None:
        """Count a batch: for each way the classes that the file gave."""
        validated = self.texts.stated[self.winners[batch.first : batch.first + len(batch)]]
        classes = classes_of(batch.labels, len(self.texts.stated))
        truth = validated if classes is None else self.texts.stated[classes]
        self.labelled = classes is not None and (self.labelled or not self.samples)  # of many labels, some batches look like one
        self.samples += len(batch)
        self.validated += int(np.count_nonzero(validated == truth))
        for index, (way, rows) in enumerate(zip(self._ways, found, strict=True)):
            told = self.texts.packaged[(rows + way.shift) % len(self.texts.packaged)]
            self.right[index] += int(np.count_nonzero(told == truth))
            if way is AS_IS:
                self.changed += int(np.count_nonzero(told != validated))


def _run(
    dataset: Dataset, feed: Feed, model: AppModel, ways: Sequence[Suspect]
) -> Iterator[tuple[Batch, list[NDArray[np.int64]], NDArray[np.bool_]]]:
    """Yield each batch with the classes that the file gives in each way, and which samples get a label at all in the first.

    What is in 0..1 is brought to an app's 0..255.
    """
    name = model.metadata.inputs[0].name
    in_unit = _in_unit(dataset, name)

    def run(batch: Batch) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
        raw = batch.features[name]
        pixels = feed.pixels(raw * 255 if in_unit else raw, batch.first)
        known: dict[Any, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}
        for way in ways:
            if way.fed not in known:
                fed = pixels[..., ::-1] if way.swapped else pixels
                known[way.fed] = model.classes(fed, way.normalization, calibrates=way.calibrates)
        return [known[way.fed][0] for way in ways], known[ways[0].fed][1]

    size = int(np.prod(model.shape))
    for batch, (found, told) in in_order(dataset, max(1, min(BATCH, BATCH_BYTES // size)), run):
        yield batch, found, told


def _failure(request: AppParams, tally: _Tally, dataset: Dataset, feed: Feed, model: AppModel) -> GateError:
    """Return the error that tells how wrong the file is, and which suspect explains it."""
    in_unit = _in_unit(dataset, model.metadata.inputs[0].name)
    suspects = suspects_of(request.inputs, model, in_unit=in_unit)
    tried = _tried(suspects, tally, dataset, feed, model)
    what = "names the right label" if tally.labelled else "names the label that validation found"
    message = (
        f"app: fed raw images, with nothing but its own metadata and labels, the packaged file {what} for "
        f"{tally.right[0] / tally.samples:.2%} of {samples_text(tally.samples)}, where validation found "
        f"{tally.validated / tally.samples:.2%}"
    )
    if in_unit and tally.right[0] > tally.validated:
        return GateError(f"{message}; it was fed {IN_UNIT.instead.rstrip(',')}", IN_UNIT.hint)
    best = _likeliest(tried)
    if abs(tried.right[best] - tried.validated) <= max(1.0, SLACK_UNLABELLED * tried.samples):
        share = tried.right[best] / tried.samples
        return GateError(
            f"{message}; with {suspects[best].instead} it is {share:.2%} of the first {tried.samples}", suspects[best].hint
        )
    return GateError(
        f"{message}; no usual mean and std, no exchange of red and blue and no shift of the labels restores it",
        "compare the model, its metadata and its labels with what was trained; nothing was published",
    )


def _tried(ways: Sequence[Suspect], tally: _Tally, dataset: Dataset, feed: Feed, model: AppModel) -> _Tally:
    """Return how often the file is right in each way."""
    tried = _Tally(tally.texts, tally.winners, ways)
    for batch, found, _ in _run(dataset, feed, model, ways):
        tried.add(batch, found)
    return tried


def _explains(tried: _Tally, way: int) -> bool:
    """Return whether a way puts right at least half of the samples that are wrong, and more than a few."""
    wrong, left = tried.samples - tried.validated, tried.samples - tried.right[way]
    return tried.labelled and 2 * left <= wrong and wrong - left >= EXPLAINED * tried.samples


def _likeliest(tried: _Tally) -> int:
    """Return the first way that is nearly as right as the best one: they are in the order of how likely they are."""
    enough = max(tried.right) - SLACK * tried.samples
    return next(index for index, right in enumerate(tried.right) if right >= enough)


def _silence(silent: int, samples: int) -> GateError:
    return GateError(
        f"app: for {silent} of {samples_text(samples)} no score reaches the threshold that the file states: an app gets no label",
        "state a lower metadata.score_threshold: int8 scores reach 255/256 at most, and few models are so sure",
    )


def _in_unit(dataset: Dataset, feature: str) -> bool:
    """Return whether the first samples lie in 0..1, which no image in 0..255 does."""
    raw = next(dataset.batches(PROBED)).features[feature]
    return raw.dtype.kind == "f" and bool(raw.max() <= 1)
