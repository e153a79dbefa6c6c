"""Calibration: our calibrate action against ai-edge-quantizer's own `calibrate`, on the same float model and samples.

The model is MobileNetV2 (224) with random weights, converted by our own freeze and convert; the samples are 100 photographs of
random bytes. Ours is the whole action: opening and decoding the archive, normalizing, observing, and writing the statistics. The
other side gets a list of normalized samples in memory, as its guide shows, and its default number of threads (16); reading and
normalizing are outside of its time. Both run in fresh children of one process that imported the runtimes of both.

The ranges must be the same: both are asked for the least and greatest value of every tensor.

The promise: at most 1/1.7 of the other side's time on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pairing import judge, machine, paired, report
from sources import build, import_runtimes, in_child

from mlkit_build import pipeline
from mlkit_build.engine.action import Action
from mlkit_build.recipe import Input, Keras, Npz, Quantization, Recipe, Signature

PROMISE = 1 / 1.7
SAMPLES = 100
MEAN = STD = 127.5


def main() -> int:
    """Run the benchmark; return 1 where the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    print(machine("mlkit-build", "ai-edge-litert", "ai-edge-quantizer"))
    import_runtimes()
    with tempfile.TemporaryDirectory(prefix="mlkit-build-calibration-") as name:
        folder = Path(name)
        in_child(lambda: make(folder), folder)
        before, calibrate = actions(folder)
        build(before, folder)
        result = paired(lambda: build([calibrate], folder), lambda: theirs_in_child(folder), options.pairs)
        in_child(lambda: same_ranges(folder), folder)
    report("calibration, MobileNetV2, 100 samples", ("mlkit-build", "ai-edge-quantizer"), result)
    return judge(result.ratio, PROMISE)


def make(folder: Path) -> None:
    """Make the model and the samples."""
    import keras

    keras.utils.set_random_seed(7)
    keras.applications.MobileNetV2(weights=None).save(folder / "mobilenet_v2.keras")
    random = np.random.default_rng(7)
    np.savez(folder / "photos.npz", images=random.integers(0, 256, (SAMPLES, 224, 224, 3), dtype=np.uint8))


def actions(folder: Path) -> tuple[list[Action], Action]:
    """Return what makes the float model, and the calibrate action of an int8 build."""
    recipe = Recipe(
        name="model",
        source=Keras(path=str(folder / "mobilenet_v2.keras")),
        signature=Signature(inputs={"image": Input(mean=(MEAN,), std=(STD,))}),
        calibration=Npz(path=str(folder / "photos.npz"), features={"image": "images"}),
        quantization=Quantization(mode="int8"),
    )
    files = pipeline.load(recipe, folder, lambda path, *_: Path(path))
    found = {action.name: action for action in pipeline.actions(recipe, files)}
    return [found["freeze"], found["convert"]], found["calibrate"]


def theirs(folder: Path) -> None:
    """Calibrate as ai-edge-quantizer's guide does; write the ranges and the seconds."""
    import time

    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe import static_wi8_ai8
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    images = np.load(folder / "photos.npz")["images"]
    samples = [{"image": ((image.astype(np.float32) - MEAN) / STD)[np.newaxis]} for image in images]
    manager = RecipeManager()
    manager.load_quantization_recipe(static_wi8_ai8())
    started = time.perf_counter()
    calibrator = Calibrator(str(folder / "float.tflite"), qsv_update_func=min_max_update)
    calibrator.calibrate({"serving_default": samples}, manager)
    (folder / "seconds").write_text(repr(time.perf_counter() - started))
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    plain = {name: [float(ends["min"].ravel()[0]), float(ends["max"].ravel()[0])] for name, ends in ranges.items()}
    (folder / "theirs.json").write_text(json.dumps(plain))


def theirs_in_child(folder: Path) -> float:
    """Return the seconds of the other side's calibration, without what prepares its samples."""
    in_child(lambda: theirs(folder), folder)
    return float((folder / "seconds").read_text())


def same_ranges(folder: Path) -> None:
    """Make sure that both saw the same; an image's range is that of all pixels on our side."""
    ours = json.loads((folder / "statistics.json").read_text())["ranges"]
    for name, (low, high) in json.loads((folder / "theirs.json").read_text()).items():
        if name in ours and name != "image":
            found = [float(np.ravel(ours[name][end])[0]) for end in ("min", "max")]
            np.testing.assert_allclose(found, [low, high], rtol=1e-4, atol=1e-4, err_msg=name)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
