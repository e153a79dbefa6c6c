"""Runs a `.tflite` as an app would: through its signature, with its own input and output types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.signature import FrozenSignature


class Runner:
    """One interpreter, single-threaded, so that results do not depend on the number of cores.

    Args:
        path: The model.
        signature: Names, and shapes of one sample.
        batch: How many samples go in at once; above 1 the inputs are resized.

    Raises:
        ValueError, RuntimeError: LiteRT refuses the model or the batch.
    """

    def __init__(self, path: Path, signature: FrozenSignature, batch: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.batch = batch
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        runner = self._interpreter.get_signature_runner()
        self._inputs = {name: Port(detail) for name, detail in runner.get_input_details().items()}
        self._outputs = [(spec.name, Port(runner.get_output_details()[spec.name])) for spec in signature.outputs]
        del runner  # while it lives, it counts as a reference to tensor data and the interpreter refuses to resize
        if batch > 1:
            for spec in signature.inputs:
                self._interpreter.resize_tensor_input(self._inputs[spec.name].index, [batch, *spec.shape[1:]], strict=False)
        self._interpreter.allocate_tensors()

    def buffer(self, name: str) -> NDArray[Any]:
        """Return the interpreter's own memory of an input, `[batch, ...]`, to be written and let go before `invoke`."""
        memory: NDArray[Any] = self._interpreter.tensor(self._inputs[name].index)()
        return memory

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of an input, as the model takes it."""
        dtype: np.dtype[Any] = self._inputs[name].dtype
        return dtype

    def encode(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return real values in the type of the input: rounded and clipped to its integers, where it is quantized."""
        return self._inputs[name].encode(values)

    @property
    def outputs(self) -> list[Port]:
        """The outputs, in the signature's order."""
        return [port for _, port in self._outputs]

    def invoke(self) -> list[NDArray[Any]]:
        """Return the outputs for what is in the buffers, in the signature's order, as real values."""
        self._interpreter.invoke()
        return [port.decode(self._interpreter.get_tensor(port.index)) for _, port in self._outputs]


class Port:
    """One input or output: its index, type, and the scale and zero point of its integers.

    Args:
        detail: `index`, `dtype` and `quantization`, as LiteRT's interpreter describes a tensor; the scale 0 means real values.
    """

    def __init__(self, detail: Mapping[str, Any]) -> None:
        self.index: int = detail["index"]
        self.dtype = np.dtype(detail["dtype"])
        scale, zero_point = detail["quantization"]
        self._scale, self._zero_point = np.float32(scale), int(zero_point)

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return real values in the port's type, rounded and clipped to its integers."""
        if values.dtype == self.dtype:
            return values
        limits = np.iinfo(self.dtype)
        integers = np.rint(values / self._scale) + self._zero_point
        clipped: NDArray[Any] = np.clip(integers, limits.min, limits.max).astype(self.dtype)
        return clipped

    def decode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the port's integers as real values."""
        if self._scale == 0:
            return values
        real: NDArray[Any] = (values.astype(np.float32) - self._zero_point) * self._scale
        return real
