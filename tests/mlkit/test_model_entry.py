"""Metadata are put before a model that is moved and not rewritten: its large buffers are found, and it comes out again."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_entry import End, ends, stored, with_entry, without_entry
from mlkit_build.tflite import model as tflite
from tests.mlkit.test_metadata import run, small

WEIGHTS = np.array([10, 20, 30], np.float32)


def with_large_buffer() -> bytes:
    """Return a model that adds constants to its input, which lie behind the flatbuffer as ai-edge-quantizer puts large ones."""
    model = tflite.parsed(small())
    tensor = tflite.schema().TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = "constants", [1, 3], 0, len(model.buffers)
    model.subgraphs[0].tensors.append(tensor)
    model.subgraphs[0].operators[0].inputs = [0, 2]
    buffer = tflite.schema().BufferT()
    buffer.offset, buffer.size = 1 << 40, WEIGHTS.nbytes
    model.buffers.append(buffer)
    data = bytearray(tflite.packed(model))
    data += bytes(-len(data) % 16)
    place = data.index(struct.pack("<Q", 1 << 40))
    struct.pack_into("<Q", data, place, len(data))
    return bytes(data) + WEIGHTS.tobytes()


def test_large_buffers_behind_the_model_are_found_after_it_moved() -> None:
    plain = with_large_buffer()
    described = with_entry(plain, b"a" * 1000)
    assert run(plain, [1, 2, 3]) == run(described, [1, 2, 3]) == [11, 22, 33]
    assert without_entry(described) == plain


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_what_was_put_in_is_found_and_comes_out(size: int) -> None:
    plain, said = small(), bytes(range(256)) * 20
    described = with_entry(plain, said[:size])
    assert bytes(stored(described) or b"") == said[:size]
    assert run(described, [1, 2, 3]) == [2, 4, 6]
    assert without_entry(described) == plain
    assert with_entry(described, b"else") == with_entry(plain, b"else")
    assert len(described) <= len(plain) + size + 256


def test_other_entries_of_the_model_stay() -> None:
    model = tflite.parsed(small())
    entry = tflite.schema().MetadataT()
    entry.name, entry.buffer = "min_runtime_version", len(model.buffers)
    model.metadata = [entry]
    model.buffers.append(tflite.schema().BufferT())
    model.buffers[-1].data = np.frombuffer(b"1.5.0", np.uint8)
    found = tflite.parsed(with_entry(tflite.packed(model), b"said"))
    told = {tflite.text(item.name): bytes(found.buffers[item.buffer].data) for item in found.metadata}
    assert told == {"min_runtime_version": b"1.5.0", "TFLITE_METADATA": b"said"}


def test_ends_are_called_as_the_signature_calls_them() -> None:
    inputs, outputs = ends(small(inputs=("left", "right")))
    assert inputs == (End("right", "right", (1, 3), "float32"), End("left", "left", (1, 3), "float32"))
    assert outputs == (End("scores", "scores", (1, 3), "float32"),)
    assert ends(small(signed=False))[0] == (End("", "picture", (1, 3), "float32"),)


def test_a_mark_that_lies_is_no_mark() -> None:
    described = bytearray(with_entry(small(), b"said"))
    for size in (0, 7, 16, 1 << 31, 0xFFFFFFFF):
        struct.pack_into("<I", described, 12, size)
        assert without_entry(bytes(described)) == bytes(described)


def test_a_model_whose_weights_were_cut_off_is_refused() -> None:
    with pytest.raises(DamagedError, match="a buffer ends at byte"):
        with_entry(with_large_buffer()[:-4], b"said")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(SourceError, match="The model is not a valid Flatbuffer"):
        with_entry(b"PK\x03\x04" + bytes(100), b"said")
