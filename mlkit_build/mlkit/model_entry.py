"""The entry of a model's `metadata` that says what the model is: found, put in, and taken out, in any `.tflite` by anyone.

Nothing of the model is rewritten. What is new stands before it - a root table, its vectors, the entry - and points to what was
there, so that hostile bytes are moved and never followed, what a newer converter wrote stays, and a large model takes no time.
Tables and their fields: `schema.fbs` in tensorflow/tensorflow.
"""

from __future__ import annotations

import struct

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.flatbuffer import DamagedError, Reader, elements, read_text
from mlkit_build.mlkit.metadata_schema import NAME
from mlkit_build.records import dataclass

IDENTIFIER = b"TFL3"
_VERSION, _BUFFERS, _METADATA, _FIELDS = 0, 4, 6, 8
"""Places in the table Model, and how many it has."""
_GRAPHS, _SIGNATURES = 2, 7
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2
"""Places in the table SubGraph, and in a signature one less."""
_SHAPE, _TYPE, _TENSOR_NAME = 0, 1, 3
"""Places in the table Tensor."""
_TYPES = {0: "float32", 3: "uint8", 9: "int8"}
"""Of TensorType, what ML Kit and its quantized kin take."""
_DATA, _OFFSET, _SIZE = 0, 1, 2
"""Places in the table Buffer."""
_ENTRY_NAME, _ENTRY_BUFFER = 0, 1
"""Places in the table Metadata of a model."""
_MARK = b"MLKB"
"""Stands after the identifier, and after it how many bytes stand before the model: attaching again takes them out again."""
_ALIGNED = 16
_MOST = (1 << 31) - 1
"""Bytes of a flatbuffer."""


def stored(model: bytes) -> memoryview | None:
    """Return the flatbuffer of the metadata; None where the model has none.

    Raises:
        SourceError: It is no `.tflite` file.
        DamagedError: An offset leads out of the file.
    """
    reader, root = opened(model)
    entry = _entry(reader, root)
    return None if entry is None else _buffer(reader, model, root, _index(reader, entry))


@dataclass(frozen=True)
class End:
    """An input or an output of the first subgraph.

    Attributes:
        name: What the model's signature calls it; empty where it has none.
        tensor: What the tensor is called.
        shape: Its shape, batch first.
        dtype: NumPy's name of its type; `other` for what no image or score has.
    """

    name: str
    tensor: str
    shape: tuple[int, ...]
    dtype: str


def ends(model: bytes) -> tuple[tuple[End, ...], tuple[End, ...]]:
    """Return the inputs and the outputs of the model, in its order.

    Raises:
        SourceError: It is no `.tflite` file.
        DamagedError: An offset leads out of the file.
    """
    reader, root = opened(model)
    graphs, signatures = elements(reader, root, _GRAPHS), elements(reader, root, _SIGNATURES)
    if not graphs:
        raise DamagedError("it has no subgraph")
    graph = reader.follow(graphs[0])
    tensors = elements(reader, graph, _TENSORS)
    found = []
    for slot in (_INPUTS, _OUTPUTS):
        names = _named(reader, reader.follow(signatures[0]), slot - 1) if signatures else {}
        indices = _integers(reader, graph, slot)
        if any(not 0 <= index < len(tensors) for index in indices):
            raise DamagedError(f"one of its ends is no tensor: it has {len(tensors)}, and names {indices[:8]}")
        found.append(tuple(_end(reader, names.get(index, ""), reader.follow(tensors[index])) for index in indices))
    return found[0], found[1]


def with_entry(model: bytes, metadata: bytes) -> bytes:
    """Return the model, without what stands behind it, with `metadata` as what it says of itself. Equal arguments, equal bytes.

    Raises:
        SourceError: It is no `.tflite` file, or one of two gigabytes.
        DamagedError: An offset leads out of the file.
    """
    model = without_entry(model)
    reader, root = opened(model)
    if reader.slots(root) > _FIELDS:
        raise SourceError("metadata: the model has fields that came after this version of mlkit-build", "build it here instead")
    buffers = [reader.follow(at) for at in elements(reader, root, _BUFFERS)]
    listed = [reader.follow(at) for at in elements(reader, root, _METADATA)]
    for buffer in buffers:
        _check_whole(reader, buffer, len(model))
    front = _front(reader, root, buffers, listed, _entry(reader, root), metadata)
    if len(front) + len(model) > _MOST:
        raise SourceError("metadata: the model is too large for a flatbuffer", "quantize it")
    return front + _moved(model, reader, buffers, len(front))


def weights_end(model: bytes) -> int:
    """Return the byte behind the last buffer: what looks like an archive before it is weights.

    Raises:
        SourceError: It is no `.tflite` file.
        DamagedError: An offset leads out of the file.
    """
    reader, root = opened(model)
    return max((_buffer_end(reader, reader.follow(at)) for at in elements(reader, root, _BUFFERS)), default=0)


def without_entry(model: bytes) -> bytes:
    """Return the model as it was before `with_entry`; one that others described is returned as it is."""
    if model[4:8] != IDENTIFIER or model[8:12] != _MARK or len(model) < 16:
        return model
    size = int(struct.unpack_from("<I", model, 12)[0])
    inner = model[size:]
    if size < _ALIGNED or size % _ALIGNED or inner[4:8] != IDENTIFIER:
        return model
    reader, root = opened(inner)
    return _moved(inner, reader, [reader.follow(at) for at in elements(reader, root, _BUFFERS)], -size)


def opened(model: bytes) -> tuple[Reader, int]:
    """Return a reader of the model, and where its root table is. Raises SourceError where it is no such file."""
    reader = Reader(model)
    try:
        return reader, reader.root(IDENTIFIER)
    except DamagedError as error:
        raise SourceError(f"The model is not a valid Flatbuffer: {error}", "expected a .tflite file") from error


def _front(reader: Reader, root: int, buffers: list[int], listed: list[int], old: int | None, metadata: bytes) -> bytes:
    """Return what stands before the model, in this order since offsets of a flatbuffer only lead forward: header, root table,
    vectors of buffers and of metadata, the new one of each, and what they hold."""
    name = NAME.encode() + b"\0"
    entries = listed if old is not None else [*listed, None]
    root_at = 16 + 4 + 2 * _FIELDS
    buffers_at = root_at + 4 + 4 * _FIELDS
    listed_at = buffers_at + 4 + 4 * (len(buffers) + 1)
    entry_at = listed_at + 4 + 4 * len(entries) + 8
    buffer_at = entry_at + 12 + 8
    name_at = buffer_at + 8
    data_at = _up(name_at + 4 + len(name) + 4) - 4
    size = _up(data_at + 4 + len(metadata))

    out = bytearray(size)
    struct.pack_into("<I4s4sI", out, 0, root_at, IDENTIFIER, _MARK, size)
    struct.pack_into("<HH", out, 16, 4 + 2 * _FIELDS, 4 + 4 * _FIELDS)
    struct.pack_into("<i", out, root_at, root_at - 16)
    for slot in range(_FIELDS):
        at, place = reader.field(root, slot), root_at + 4 + 4 * slot
        if slot == _VERSION:
            value = 0 if at is None else int(reader.number("<I", at))
        elif slot in (_BUFFERS, _METADATA):
            value = (buffers_at if slot == _BUFFERS else listed_at) - place
        elif at is None:
            continue
        else:
            value = size + reader.follow(at) - place
        struct.pack_into("<H", out, 20 + 2 * slot, place - root_at)
        struct.pack_into("<I", out, place, value)
    _pack_vector(out, buffers_at, [*(size + at for at in buffers), buffer_at])
    _pack_vector(out, listed_at, [entry_at if at == old else size + (at or 0) for at in entries])
    struct.pack_into("<4H", out, entry_at - 8, 8, 12, 4, 8)
    struct.pack_into("<iII", out, entry_at, 8, name_at - entry_at - 4, len(buffers))
    struct.pack_into("<4H", out, buffer_at - 8, 6, 8, 4, 0)
    struct.pack_into("<iI", out, buffer_at, 8, data_at - buffer_at - 4)
    struct.pack_into(f"<I{len(name)}s", out, name_at, len(name) - 1, name)
    struct.pack_into(f"<I{len(metadata)}s", out, data_at, len(metadata), metadata)
    return bytes(out)


def _pack_vector(out: bytearray, start: int, points: list[int]) -> None:
    """Write a vector of offsets to `points`."""
    struct.pack_into("<I", out, start, len(points))
    for place, point in enumerate(points):
        at = start + 4 + 4 * place
        struct.pack_into("<I", out, at, point - at)


def _moved(model: bytes, reader: Reader, buffers: list[int], by: int) -> bytes:
    """Return the model for a place `by` bytes further: the tables of large buffers, which lie behind it, count from the file's
    start."""
    places = set()
    for buffer in set(buffers):
        at = reader.field(buffer, _OFFSET)
        if at is not None and int(reader.number("<Q", at)) > 1:
            places.add(at)
    if not places:
        return model
    out = bytearray(model)
    for at in places:
        moved = int(reader.number("<Q", at)) + by
        if not 0 <= moved < 1 << 63:
            raise DamagedError("a buffer lies outside of the file")
        struct.pack_into("<Q", out, at, moved)
    return bytes(out)


def _check_whole(reader: Reader, buffer: int, size: int) -> None:
    """Refuse a model whose weights were cut off: what looked like an archive behind it was a part of it. Raises DamagedError."""
    end = _buffer_end(reader, buffer)
    if end > size:
        raise DamagedError(f"a buffer ends at byte {end}, and the model at {size}")


def _buffer_end(reader: Reader, buffer: int) -> int:
    """Return the byte behind what a buffer holds; 0 where it holds nothing. Raises DamagedError."""
    data, offset, length = (reader.field(buffer, slot) for slot in (_DATA, _OFFSET, _SIZE))
    if data is not None:
        start = reader.follow(data)
        return start + 4 + int(reader.number("<I", start))
    if offset is not None and length is not None:
        return int(reader.number("<Q", offset)) + int(reader.number("<Q", length))
    return 0


def _entry(reader: Reader, root: int) -> int | None:
    """Return where the first entry of the name is."""
    for at in elements(reader, root, _METADATA):
        entry = reader.follow(at)
        name = reader.field(entry, _ENTRY_NAME)
        if name is not None and read_text(reader, name) == NAME:
            return entry
    return None


def _index(reader: Reader, entry: int) -> int:
    at = reader.field(entry, _ENTRY_BUFFER)
    return 0 if at is None else int(reader.number("<I", at))


def _buffer(reader: Reader, model: bytes, root: int, index: int) -> memoryview:
    """Return the content of a buffer of the model, which is in the flatbuffer or behind it."""
    places = elements(reader, root, _BUFFERS)
    if index >= len(places):
        raise DamagedError(f"they are in buffer {index} of {len(places)}")
    buffer = reader.follow(places[index])
    data, offset, size = (reader.field(buffer, slot) for slot in (_DATA, _OFFSET, _SIZE))
    if data is not None:
        return reader.bytes_at(data)
    start, length = (0 if at is None else int(reader.number("<Q", at)) for at in (offset, size))
    return memoryview(model)[start : start + length]


def _end(reader: Reader, name: str, tensor: int) -> End:
    called, kind = reader.field(tensor, _TENSOR_NAME), reader.field(tensor, _TYPE)
    return End(
        name,
        "" if called is None else read_text(reader, called),
        tuple(_integers(reader, tensor, _SHAPE)),
        _TYPES.get(0 if kind is None else int(reader.number("<b", kind)), "other"),
    )


def _integers(reader: Reader, table: int, slot: int) -> list[int]:
    at = reader.field(table, slot)
    if at is None:
        return []
    start, count = reader.vector(at, 4)
    return [int(reader.number("<i", start + 4 * index)) for index in range(count)]


def _named(reader: Reader, signature: int, slot: int) -> dict[int, str]:
    """Return the names of a signature's inputs or outputs by the index of their tensors (table TensorMap)."""
    found: dict[int, str] = {}
    for at in elements(reader, signature, slot):
        entry = reader.follow(at)
        name, index = reader.field(entry, 0), reader.field(entry, 1)
        if name is not None:
            found[0 if index is None else int(reader.number("<I", index))] = read_text(reader, name)
    return found


def _up(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
