"""Validation of photographs: how fast for MobileNetV2, and in how much memory for 50,000 of them.

Speed: the evaluate action on 224x224x3 images against the loop that every tutorial shows (`set_tensor`, `invoke`, `get_tensor`,
one image at a time, one interpreter, LiteRT's default number of threads). The model has random weights; both read the same
`.npy` file and normalize as the model wants, and both are timed whole, opening the file and the interpreter included. Ours also
compares every output with TensorFlow's.

Memory: the evaluate action on 50,000 images (7.5 GB of `.npy`) and a small model, in a fresh child. Counted is by how much the
child grows at its greatest beyond what the model itself needs: a child that opens it, runs it once, and does nothing else.

The promises: at most 1/1.8 of the loop's time on two cores, for the float32 and the int8 model; and less than 150 MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pairing import Cores, inference, judge, machine, paired_on_whole_cores, report
from sources import build, import_runtimes, in_child, placed

from mlkit_build import pipeline
from mlkit_build.engine.action import Action
from mlkit_build.recipe import Input, Keras, MetricChoice, Npy, Quantization, Recipe, Signature, Validation
from mlkit_build.stages.validate import evaluate

PROMISE = 1 / 1.8
MOST_BYTES = 150_000_000
SHAPE = (224, 224, 3)
MEAN = STD = 127.5
TIMED = 400
"""Images of the comparison: some seconds of arithmetic."""
BLOCK = 500
"""Different images of the large file, which repeats them."""


def main() -> int:
    """Run the benchmark; return 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=50_000, help="images of the measurement of memory")
    options = parser.parse_args()
    print(machine("mlkit-build", "ai-edge-litert", "numpy"))
    import_runtimes()
    with tempfile.TemporaryDirectory(prefix="mlkit-build-images-") as name:
        worst = max(speed(Path(name, mode), mode, options.pairs) for mode in ("float32", "int8"))
        return max(worst, memory(Path(name, "memory"), options.samples))


def speed(folder: Path, mode: str, pairs: int) -> int:
    """Compare the two ways to measure MobileNetV2; return the exit code."""
    folder.mkdir()
    in_child(lambda: _mobilenet().save(folder / "model.keras"), folder)
    write_images(folder / "data", TIMED)
    write_images(folder / "calibration", 20, seed=1)
    action, model = prepared(folder, mode)
    found: dict[str, float] = {}

    def ours() -> float:
        started = time.perf_counter()
        run(action, folder)
        seconds = time.perf_counter() - started
        found["ours"] = json.loads((folder / "metrics.json").read_bytes())["top1"]["value"]
        return seconds

    def theirs() -> float:
        started = time.perf_counter()
        found["loop"] = plain_loop(model, folder / "data")
        return time.perf_counter() - started

    result = paired_on_whole_cores(ours, theirs, pairs, Cores(lambda: inference(model)))
    assert found["ours"] == found["loop"], f"{mode}: not the same accuracy: {found}"
    report(f"MobileNetV2 (224), {mode}, {TIMED} images", ("evaluate", "plain loop"), result)
    print(f"  times faster: {1 / result.ratio:.2f}")
    return judge(result.ratio, PROMISE)


def memory(folder: Path, samples: int) -> int:
    """Measure what many images need; return the exit code."""
    folder.mkdir()
    in_child(lambda: _small().save(folder / "model.keras"), folder)
    write_images(folder / "data", samples)
    action, model = prepared(folder, "float32")
    alone = grown(lambda: _once(model), folder)
    started = time.perf_counter()
    whole = grown(lambda: run(action, folder), folder)
    seconds = time.perf_counter() - started
    print(f"{samples:,} images of 224x224x3 in {seconds:.0f} s ({samples / seconds:,.0f} per second)")
    print(f"  grew by {whole / 1e6:.0f} MB, of which the model needs {alone / 1e6:.0f} MB")
    kept = whole - alone < MOST_BYTES
    print(f"  promise: less than {MOST_BYTES / 1e6:.0f} MB beyond the model: {'kept' if kept else 'BROKEN'}")
    return 0 if kept else 1


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    """Write `images.npy` and `labels.npy`, block by block."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    block = random.integers(0, 256, (min(count, BLOCK), *SHAPE), dtype=np.uint8)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, *SHAPE))
    for start in range(0, count, len(block)):
        images[start : start + len(block)] = block[: count - start]
    images.flush()
    np.save(folder / "labels.npy", random.integers(0, 10, count))


def prepared(folder: Path, mode: str) -> tuple[Action, Path]:
    """Build all that the evaluate action reads; return the action and the model."""
    data = Npy(path=str(folder / "data"), features={"image": "images.npy"}, label="labels.npy")
    calibration = Npy(path=str(folder / "calibration"), features={"image": "images.npy"}) if mode == "int8" else None
    recipe = Recipe(
        name="model",
        source=Keras(path=str(folder / "model.keras")),
        signature=Signature(inputs={"image": Input(mean=(MEAN,), std=(STD,))}),
        dataset=data,
        calibration=calibration,
        quantization=Quantization(mode=mode),
        validation=Validation(metrics=(MetricChoice(name="top1"),), hops=0),
    )
    files = pipeline.load(recipe, folder, lambda path, *_: Path(path))
    row = pipeline.actions(recipe, files)
    names = [action.name for action in row]
    build(row[: names.index("evaluate")], folder)
    return row[names.index("evaluate")], folder / pipeline.model(recipe).file


def run(action: Action, folder: Path) -> None:
    """Run the evaluate action in this process."""
    evaluate(action.params, placed(action, folder), folder)


def plain_loop(path: Path, data: Path) -> float:
    """Return the accuracy of the model, image by image."""
    from ai_edge_litert.interpreter import Interpreter

    images, labels = np.load(data / "images.npy"), np.load(data / "labels.npy")
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    correct = 0
    for image, label in zip(images, labels, strict=True):
        interpreter.set_tensor(taken["index"], ((image[np.newaxis].astype(np.float32)) - MEAN) / STD)
        interpreter.invoke()
        correct += int(np.argmax(interpreter.get_tensor(given["index"])[0]) == label)
    return correct / len(labels)


def grown(work: Callable[[], Any], folder: Path) -> int:
    """Return by how many bytes a fresh child grows while it does the work."""

    def measured() -> None:
        before = _peak()
        work()
        (folder / "grown").write_text(str(_peak() - before))

    in_child(measured, folder)
    return int((folder / "grown").read_text())


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _once(path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()


def _mobilenet() -> Any:
    import keras

    keras.utils.set_random_seed(7)
    return keras.applications.MobileNetV2(weights=None, classes=10)


def _small() -> Any:
    import keras

    keras.utils.set_random_seed(7)
    layers = [keras.layers.Conv2D(4, 7, 7, activation="relu"), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input(SHAPE, name="image"), *layers])


if __name__ == "__main__":
    sys.exit(main())
