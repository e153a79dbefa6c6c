"""validate: the shipped file and the TensorFlow model on the same samples. What the gates judge is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets import Batch, Dataset, contents, open_dataset, skipping
from mlkit_build.datasets.listing import ArraySamples, contradictions, listed, to_bytes
from mlkit_build.datasets.python import refuse_other_samples, write_digest
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.metrics import METRICS, Measurement, Table, tables_json
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import AnyDataset
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.absent_classes import AbsentClasses, is_whole
from mlkit_build.stages.class_order import ClassOrder
from mlkit_build.stages.inference import BATCH, LiteRtModel, Outputs, TensorFlowModel, feeds, predictions
from mlkit_build.stages.likeness import InputRanges, warning_of
from mlkit_build.stages.measuring import Measuring, refuse_not_finite
from mlkit_build.stages.params import CODE_PREFIX, SAMPLES, SAMPLES_DIGEST, EvaluateParams, ReferenceParams
from mlkit_build.stages.pixel_range import PixelRanges
from mlkit_build.stages.probing import PROBED
from mlkit_build.tflite.arena import arena_bytes

_OF_THE_MODEL = (
    "the model itself gives it, before anything is converted: the sample may be out of its range, mean and std may be those of "
    "other data, or it divides by 0 or takes the logarithm of 0"
)


def reference(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the frozen graph in TensorFlow and write `reference.bin`: for each output, all samples, float32, C order.

    And `samples.sha256`, where code makes the samples, for `evaluate` to see that it has the same.

    Raises:
        ConfigError: The samples do not fit the signature.
        StageError: TensorFlow fails, or an output is not finite.
    """
    request = from_plain(ReferenceParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
    first = next(dataset.batches(PROBED))
    feeding = feeds(dataset, signature, request.inputs)
    model = TensorFlowModel(inputs["frozen_graph.pb"], signature, feeding, first, dataset.sample)
    tables = Reference(outputs / "reference.bin", signature, len(dataset), "w+")
    for batch, results in predictions(dataset, signature, model.run):
        for spec, table, found in zip(signature.outputs, tables.arrays, results, strict=True):
            refuse_not_finite("reference: TensorFlow's", spec, found, batch.first, dataset, _OF_THE_MODEL)
            table[batch.first : batch.first + len(batch)] = found
    tables.flush()
    write_digest(dataset, outputs / SAMPLES_DIGEST)


def evaluate(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Run the `.tflite` on the dataset and write `metrics.json`: value name -> value and TensorFlow's value, and `tables.json`.

    And where there is a dataset `predictions.npy`: the class with the highest score of each sample, `[samples]` int32; and
    `samples.json`, see `datasets.listing`.

    With the parameter `allow_select_ops`, how many of each Flex operator the model holds is among the values.

    And `observations.json`: given `calibration.json`, what was fed, as `inputs` (name -> least and greatest value); the damaged
    samples that were left out, as `skipped`; and as `warning` these, classes without samples, files with two labels, images that
    are no pixels in 0..255, classes in another order than the model's, and how far the inputs are from what the model was
    calibrated on, where they are not near.

    Raises:
        ConfigError: Samples, labels or outputs do not fit the metrics, the samples are not those of the reference, the named
            classes are in another order than the model's, or calibration samples are among the samples.
        StageError: LiteRT refuses the model, its Flex operators cannot be run, or an output is not finite.
    """
    request = from_plain(EvaluateParams, params)
    signature = FrozenSignature.read(inputs["signature.json"])
    model = inputs["model"]
    measured = {"size_bytes": Measurement(model.stat().st_size, lower_is_better=True)}
    tables: dict[str, Table] = {}
    flex = _flex_operators(model) if request.allow_select_ops else {}
    measured |= {name: Measurement(count) for name, count in flex.items()}
    fed, told = {}, ""
    skipped: tuple[str, ...] = ()
    arena, refused = (None, "") if flex else _arena(model)
    if arena is not None:
        measured["arena_bytes"] = Measurement(arena, lower_is_better=True)
    if request.dataset is not None:
        dataset = open_dataset(request.dataset, inputs["dataset"], "dataset", signature)
        if SAMPLES_DIGEST in inputs:
            refuse_other_samples(dataset, inputs[SAMPLES_DIGEST])
        overlap = None
        if request.calibration is not None:
            calibration = open_dataset(request.calibration, inputs["calibration"], "calibration", signature)
            overlap = _Overlap(calibration, dataset, signature)
        code = {name.removeprefix(CODE_PREFIX): path for name, path in inputs.items() if name.startswith(CODE_PREFIX)}
        references = Reference(inputs["reference.bin"], signature, len(dataset), "r").arrays
        measuring = Measuring(
            request.metrics, request.output, signature.outputs, dataset, references, code, scores_of=request.scores_of
        )
        ranges = InputRanges(feeds(dataset, signature, request.inputs)) if "calibration.json" in inputs else None
        pixels = PixelRanges(request.inputs)
        arrays = ArraySamples.of(dataset)
        order = _class_order(request, measuring.classes)
        absent = _absent_classes(request, request.dataset, measuring.classes)
        watching = [pixels.look, *(look.look for look in (arrays, order, absent) if look is not None)]
        shared = [look.look for look in (overlap, ranges) if look is not None]
        _measure(request, signature, dataset, model, measuring, watching, shared, flex=bool(flex))
        if overlap is not None:
            overlap.refuse()
        values, tables = measuring.result()
        exchanged = order.warning(measuring.predictions, measuring.expected_predictions) if order else ""
        np.save(outputs / "predictions.npy", measuring.predictions)
        measured |= values
        if ranges is not None:
            fed = ranges.found()
            calibrated = json.loads(inputs["calibration.json"].read_bytes())["inputs"]
            told = warning_of({spec.name: calibrated[spec.name] for spec in signature.inputs if spec.dtype == "float32"}, fed)
        listing = None if arrays else listed(request.dataset, inputs["dataset"], "dataset", signature)
        missing = absent.warning() if absent else ""
        odd = (skipping(dataset, "dataset"), missing, contradictions(listing, "dataset"), pixels.warning(), exchanged)
        told = "; ".join(filter(None, (*odd, told)))
        skipped = dataset.skipped
        (outputs / SAMPLES).write_bytes(arrays.to_bytes() if arrays else to_bytes(listing))
    told = "; ".join(filter(None, (refused, told)))
    (outputs / "tables.json").write_bytes(tables_json(tables))
    (outputs / "observations.json").write_bytes(pretty({"inputs": fed, "skipped": skipped, "warning": told}))
    (outputs / "metrics.json").write_bytes(pretty(measured))


def _class_order(request: EvaluateParams, classes: int) -> ClassOrder | None:
    """Return what compares the order of classes; None where the labels may be anything else, such as the numbers of people."""
    names = getattr(request.dataset, "classes", ())
    return ClassOrder(names, classes) if (names or _reads_classes(request)) and classes > 1 else None


def _absent_classes(request: EvaluateParams, dataset: AnyDataset, classes: int) -> AbsentClasses | None:
    """Return what looks for classes without samples; None where the labels are no classes, or only a part of them is taken."""
    if not _reads_classes(request) or not is_whole(dataset):
        return None
    return AbsentClasses(getattr(dataset, "classes", ()), max(2, classes))  # one value is the probability of class 1 of two


def _reads_classes(request: EvaluateParams) -> bool:
    """Return whether a metric takes the labels for classes."""
    return any(METRICS[choice.name].labels in ("classes", "indicators") for choice in request.metrics)


def _measure(
    request: EvaluateParams,
    signature: FrozenSignature,
    dataset: Dataset,
    model: Path,
    measuring: Measuring,
    watching: Sequence[Callable[[Batch], None]],
    shared: Sequence[Callable[[Batch], None]],
    *,
    flex: bool,
) -> None:
    """Feed all samples to what is `measuring` and `watching`, in order; `shared` ones see them in any order, on any thread."""
    first = next(dataset.batches(PROBED))
    shipped = LiteRtModel(model, signature, feeds(dataset, signature, request.inputs), first, flex=flex)

    def run(batch: Batch) -> Outputs:
        results = shipped.run(batch)  # refuses samples that are not valid
        for look in shared:
            look(batch)
        return results

    for batch, results in predictions(dataset, signature, run, shipped.batch):
        for look in watching:
            look(batch)
        measuring.add(batch, results)


def _arena(model: Path) -> tuple[int | None, str]:
    """Return the size of the arena, and what to warn of where only a delegate runs the model."""
    try:
        return arena_bytes(model), ""
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        return None, f"LiteRT's own kernels refuse the model, and an app that switches XNNPACK off cannot run it: {reason}"


def _flex_operators(model: Path) -> dict[str, int]:
    from mlkit_build.tflite import model as flatbuffer
    from mlkit_build.tflite.flex import flex_operators

    return flex_operators(flatbuffer.read(model))


class Reference:
    """Reference outputs on disk, memory-mapped: one `[samples, values]` float32 table per output, one after another."""

    def __init__(self, path: Path, signature: FrozenSignature, samples: int, mode: str) -> None:
        shapes = [(samples, spec.size) for spec in signature.outputs]
        total = sum(rows * columns for rows, columns in shapes)
        found = total * 4 if mode != "r" else path.stat().st_size
        if found != total * 4:
            raise StageError(f"evaluate: the reference outputs have {found} bytes, expected {total * 4}")
        memory: Any = np.memmap(path, np.float32, mode, shape=(total,))  # type: ignore[call-overload]
        self._memory = memory
        self.arrays: list[NDArray[np.float32]] = []
        start = 0
        for rows, columns in shapes:
            self.arrays.append(memory[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns

    def flush(self) -> None:
        self._memory.flush()


class _Overlap:
    """Looks for calibration samples among the batches that pass by, so that the dataset is decoded once. Threads may share it.

    A model measured on what it was calibrated on looks better than it is.
    """

    def __init__(self, calibration: Dataset, dataset: Dataset, signature: FrozenSignature) -> None:
        self._calibration = calibration
        self._dataset = dataset
        self._types = {spec.name: spec.dtype for spec in signature.inputs}
        self._as_numbers = _types(calibration) != _types(dataset)
        found = [self._comparable(batch).fingerprints for batch in calibration.batches(BATCH)]
        self._known = np.sort(np.concatenate(found))
        self._suspected = False

    def look(self, batch: Batch) -> None:
        """Notice samples that look like one of the calibration's."""
        prints = self._comparable(batch).fingerprints
        nearest = np.minimum(np.searchsorted(self._known, prints), len(self._known) - 1)
        if (self._known[nearest] == prints).any():
            self._suspected = True

    def refuse(self) -> None:
        """Raise ConfigError if samples are in both; only where some look alike are all compared by their identity."""
        if not self._suspected:
            return
        measured, order = set(self._contents(self._dataset)), self._contents(self._calibration)
        shared = [index for index, identity in enumerate(order) if identity in measured]
        if shared:
            raise ConfigError(
                f"calibration: {len(shared)} of its {len(order)} samples are also in the validation dataset "
                f"(the first is sample {shared[0]} of those chosen); {self._calibration.origin}; {self._dataset.origin}",
                "calibrate on samples of the training set",
            )

    def _comparable(self, batch: Batch) -> Batch:
        """Return the batch with bytes that are equal for equal numbers, where one set stores pixels as floats, say.

        In the model's own types: float32 has 24 bits, and an index may have more.
        """
        if not self._as_numbers:
            return batch
        with np.errstate(invalid="ignore"):  # what is no number of that type is refused where it is fed
            features = {name: values.astype(self._types[name]) for name, values in batch.features.items()}
        return Batch(batch.first, features, batch.labels)

    def _contents(self, dataset: Dataset) -> list[bytes]:
        return contents(self._comparable(batch) for batch in dataset.batches(BATCH))


def _types(dataset: Dataset) -> dict[str, np.dtype[Any]]:
    return {name: values.dtype for name, values in next(dataset.batches(1)).features.items()}
