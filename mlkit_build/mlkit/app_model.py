"""A classifier of images run as ML Kit runs it: from raw pixels to a label, with nothing but what the file says of itself."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.mlkit.metadata import Metadata, read
from mlkit_build.mlkit.score_calibration import calibrated
from mlkit_build.tflite.runner import Port


class AppModel:
    """A `.tflite` with metadata. Threads may share it: each has an interpreter of its own.

    As in the Task Library (`image_classifier.cc`, `image_tensor_specs.cc` in tensorflow/tflite-support), a float input gets
    `(pixel - mean) / std`, a uint8 input the pixels themselves, and the class is that of the highest score, calibrated where the
    file says how. An int8 input, which ML Kit does not take, gets what a LiteRT app would quantize the normalized pixels to.

    Attributes:
        metadata: What the file says of itself.

    Raises:
        SourceError: The file has no metadata, or they are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.metadata: Metadata = read(path.read_bytes())
        self._path = str(path)
        self._local = threading.local()

    @property
    def unfit(self) -> str:
        """Why no app can feed it images and show a label; empty when one can."""
        if len(self.metadata.inputs) != 1:
            return f"the model has {len(self.metadata.inputs)} inputs, no app feeds it one image"
        if self.metadata.inputs[0].color is None:
            return f"the input {self.metadata.inputs[0].name!r} is no image"
        if self._labelled is None:
            return "no output of the model has labels"
        return ""

    @property
    def labels(self) -> tuple[str, ...]:
        """What its classes are called."""
        return () if self._labelled is None else self.metadata.outputs[self._labelled].labels

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and std that the file states; None for an input that takes the pixels themselves."""
        stated = self.metadata.inputs[0]
        return None if self._interpreter().input.dtype == np.uint8 else (stated.mean or (0.0,), stated.std or (1.0,))

    @property
    def calibrated(self) -> bool:
        """Whether the file says how scores are calibrated."""
        return self._labelled is not None and self.metadata.outputs[self._labelled].score_calibration is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its input, batch first."""
        return self._interpreter().shape

    def classes(
        self,
        pixels: NDArray[np.uint8],
        normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
        *,
        calibrates: bool = True,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the class of each image, and whether its score reaches the threshold that the file states: `[n]` each.

        Of an image whose scores do not, ML Kit returns no label.

        Args:
            pixels: `[n, height, width, channels]` uint8 in 0..255.
            normalization: Mean and std in place of those that the file states.
            calibrates: Whether scores are calibrated where the file says how.
        """
        assert self._labelled is not None
        interpreter = self._interpreter()
        stated = normalization or self.normalization
        mean, std = (np.array(values, np.float32) for values in stated) if stated else (None, None)
        output = self.metadata.outputs[self._labelled]
        calibration = output.score_calibration if calibrates else None
        found, told = np.empty(len(pixels), np.int64), np.ones(len(pixels), np.bool_)
        for row, image in enumerate(pixels):
            fed: NDArray[Any] = image if mean is None else (image - mean) / std
            scores = interpreter.scores(fed, self._labelled)
            scores = scores if calibration is None else calibrated(scores, calibration)
            found[row] = int(np.argmax(scores))
            if output.score_threshold is not None:
                told[row] = scores.reshape(-1)[found[row]] >= np.float32(output.score_threshold)
        return found, told

    @property
    def _labelled(self) -> int | None:
        """Which output has labels."""
        return next((index for index, tensor in enumerate(self.metadata.outputs) if len(tensor.labels) > 1), None)

    def _interpreter(self) -> _Interpreter:
        if not hasattr(self._local, "interpreter"):
            self._local.interpreter = _Interpreter(self._path)
        interpreter: _Interpreter = self._local.interpreter
        return interpreter


class _Interpreter:
    """One thread's interpreter: as every app has it, without signatures, one image at a time."""

    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=path, num_threads=1)
        self._interpreter.allocate_tensors()
        detail = self._interpreter.get_input_details()[0]
        self.input = Port(detail)
        self.shape = tuple(int(size) for size in detail["shape"])
        self._outputs = [Port(output) for output in self._interpreter.get_output_details()]

    def scores(self, values: NDArray[Any], output: int) -> NDArray[Any]:
        """Return the scores of one image."""
        self._interpreter.tensor(self.input.index)()[...] = self.input.encode(values)
        self._interpreter.invoke()
        port = self._outputs[output]
        return port.decode(self._interpreter.get_tensor(port.index))
