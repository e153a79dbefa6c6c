"""Validation: MNIST through our evaluate action, against the loop that every tutorial shows.

The loop (see `plain_loop`) sets one image, invokes, and reads one result, with one interpreter and LiteRT's default number of
threads. Both sides run in this process on the same files and are timed whole: opening and decoding the dataset, creating
interpreters, normalizing, inference, and the accuracy. Importing LiteRT is outside of both. The loop turns each grey image into
the normalized RGB that the model takes just before it sets it, which measured faster than doing so for all of them beforehand.
Our side does more: it checks that no calibration image is among the images, and compares every output with TensorFlow's.

Two sizes, because opening files, creating interpreters and writing results cost the same for any number of images: the 10,000
test images, and those five times over, where what counts is the throughput alone.

The promise, with the same accuracy: 50,000 images of the int8 model at least 5 times as fast as the loop, of the float32 model,
whose arithmetic leaves little else to gain, 4 times; 10,000 at least 3 times. It is a promise for two cores: pairs of runs during
which the machine gave less than that are told and do not count (see `pairing.Cores`). The script also prints the bound that the
number of cores sets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in every action

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from pairing import Cores, Paired, inference, judge, machine, paired_on_whole_cores, report

from mlkit_build.config import Roots, compose
from mlkit_build.engine import OutputOf
from mlkit_build.engine.pool import Pool
from mlkit_build.report.screens import Quiet
from mlkit_build.stages.validate import evaluate
from mlkit_build.store.disk import DiskStore
from mlkit_build.workflow import build

PROMISES = {("int8", 1): 1 / 3, ("int8", 5): 1 / 5, ("float32", 1): 1 / 3, ("float32", 5): 1 / 4}
"""Quantization and how often the test images are repeated -> the most that our time may be of the loop's."""


@dataclass(frozen=True)
class Built:
    """What the evaluate action of a finished build was given."""

    params: dict[str, Any]
    inputs: dict[str, Path]


def main() -> int:
    """Run the benchmark; return 1 where the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    print(machine("mlkit-build", "ai-edge-litert", "numpy"))
    worst = 0
    with tempfile.TemporaryDirectory(prefix="mlkit-build-validation-") as name:
        os.chdir(name)
        models = {mode: build_mnist(mode, Path(name)) for mode in ("int8", "float32")}
        for (mode, times), promise in PROMISES.items():
            built = repeated(models[mode], times, Path(name))
            result, accuracy = compared(built, Path(name), options.pairs)
            assert accuracy["ours"] == accuracy["loop"], f"{mode}: not the same accuracy: {accuracy}"
            images = len(np.load(built.inputs["dataset"])["labels"])
            title = f"validation, {mode}, {images:,} images, top-1 {accuracy['ours']:.4f} on both sides"
            report(title, ("evaluate", "plain loop"), result)
            speed = [images / median(seconds) for seconds in (result.ours, result.theirs)]
            best = min(result.theirs) / min(result.ours)
            print(f"  samples per second: {speed[0]:,.0f} and {speed[1]:,.0f}")
            print(f"  times faster: {1 / result.ratio:.1f}; fastest run against fastest run: {best:.1f}")
            bound = min(result.theirs) / (invoke_alone(built.inputs["model"]) * images) * (os.cpu_count() or 1)
            print(f"  the model's arithmetic alone, image by image, spread over every core, would be {bound:.1f} times faster")
            worst = max(worst, judge(result.ratio, promise))
        os.chdir(Path(name).anchor)
    return worst


def repeated(built: Built, times: int, folder: Path) -> Built:
    """Return the same evaluation of the images `times` over, with as many reference outputs."""
    if times == 1:
        return built
    data = np.load(built.inputs["dataset"])
    dataset, reference = folder / f"{times}.npz", folder / f"{times}.bin"
    np.savez_compressed(dataset, images=np.tile(data["images"], (times, 1, 1)), labels=np.tile(data["labels"], times))
    reference.write_bytes(built.inputs["reference.bin"].read_bytes() * times)
    return Built(built.params, {**built.inputs, "dataset": dataset, "reference.bin": reference})


def compared(built: Built, folder: Path, pairs: int) -> tuple[Paired, dict[str, float]]:
    """Time both sides in pairs; return the times, and the accuracy that each side found."""
    accuracy: dict[str, float] = {}
    result = paired_on_whole_cores(
        clocked(lambda: accuracy.update(ours=our_evaluate(built, Path(tempfile.mkdtemp(dir=folder))))),
        clocked(lambda: accuracy.update(loop=plain_loop(built.inputs["model"], built.inputs["dataset"]))),
        pairs,
        Cores(lambda: inference(built.inputs["model"])),
    )
    return result, accuracy


def clocked(work: Callable[[], None]) -> Callable[[], float]:
    """Return a function that does the work and returns its seconds."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def build_mnist(mode: str, folder: Path) -> Built:
    """Build the mnist recipe and return what its evaluate action ran on."""
    pool, cache = Pool(), folder / "cache"
    try:
        report = build(compose(["recipe=mnist", f"quantization={mode}", f"cache.dir={cache}"], Roots.find()), pool, Quiet())
    finally:
        pool.close()
    if report.error:
        raise report.error
    results = {result.action.name: result for result in report.actions}
    action = results["evaluate"].action
    store = DiskStore(cache)
    inputs = {
        name: store.blob(results[item.action].outputs[item.file]) if isinstance(item, OutputOf) else item
        for name, item in action.inputs.items()
    }
    return Built(dict(action.params), inputs)


def our_evaluate(built: Built, folder: Path) -> float:
    """Run the evaluate action and return the accuracy it wrote."""
    evaluate(built.params, built.inputs, folder)
    return float(json.loads((folder / "metrics.json").read_bytes())["top1"]["value"])


def plain_loop(model: Path, dataset: Path) -> float:
    """Return the accuracy of the model: set_tensor, invoke, get_tensor, image by image.

    The loop's body is that of TensorFlow's tutorial on integer quantization after training.
    """
    data = np.load(dataset)
    images, labels = data["images"], data["labels"]
    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert taken["dtype"] == np.float32, taken["dtype"]
    correct = 0
    for image, label in zip(images, labels, strict=True):
        pixels = np.repeat(image[:, :, np.newaxis], 3, axis=-1).astype(taken["dtype"]) / 255
        interpreter.set_tensor(taken["index"], np.expand_dims(pixels, axis=0))
        interpreter.invoke()
        correct += int(np.argmax(interpreter.get_tensor(given["index"])[0]) == label)
    return correct / len(labels)


def invoke_alone(model: Path) -> float:
    """Return the least seconds that one thread needs for a bare invocation, on average over many."""
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    count = 10_000

    def invocations() -> None:
        for _ in range(count):
            interpreter.invoke()

    return min(clocked(invocations)() for _ in range(5)) / count


if __name__ == "__main__":
    sys.exit(main())
