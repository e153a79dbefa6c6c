"""One picture classifier, taken through the stages once per worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.recipe import Npz
from tests.stages.built import CLASSIFIER, IMAGE, calibrated, classifier, converted, frozen, pictures, quantized

CALIBRATION = Npz(path="", features={"picture": "images"})
VARIANTS = [
    ("float16", "float32"),
    ("dynamic_range", "float32"),
    ("int8", "float32"),
    ("int8", "uint8"),
    ("int8", "int8"),
]


@dataclass(frozen=True)
class Built:
    """What the stages made of the classifier.

    Attributes:
        files: frozen_graph.pb, signature.json and float.tflite.
        calibration: The archive of calibration pictures.
        statistics: Their ranges.
        models: (mode, io) -> model.
    """

    files: Mapping[str, Path]
    calibration: Path
    statistics: Path
    models: Mapping[tuple[str, str], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("classifier")
    files = converted(frozen(classifier, CLASSIFIER, folder), folder)
    archive = folder / "calibration.npz"
    np.savez(archive, images=pictures(48, seed=11))
    statistics = calibrated(files, archive, CALIBRATION, {"picture": IMAGE}, folder)
    models = {("float32", "float32"): files["float.tflite"]}
    for mode, io in VARIANTS:
        models[mode, io] = quantized(files, mode, io, folder / f"{mode}_{io}", statistics if mode == "int8" else None)
    return Built(files, archive, statistics, models)
