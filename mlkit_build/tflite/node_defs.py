"""What a file says of a Flex operator: TensorFlow's NodeDef, and the one order in which equal ones have equal bytes.

A Flex operator's custom options are a flexbuffer vector of the operator's name and its serialized NodeDef
(tensorflow/lite/delegates/flex/kernel.cc). Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator

_ATTRIBUTE = 5
"""The map of attributes: `map<string, AttrValue> attr = 5` (tensorflow/core/framework/node_def.proto)."""


def node_def(options: bytes) -> bytes:
    """Return the serialized NodeDef in a Flex operator's custom options."""
    from flatbuffers import flexbuffers

    _, node = flexbuffers.GetRoot(options).AsVector
    return bytes(node.AsStringBytes)


def in_order(options: bytes) -> bytes:
    """Return a Flex operator's custom options with the attributes of its NodeDef sorted; no length changes.

    Protobuf writes a map in an order of its own in every process, and so the converter gives the same model other bytes.
    """
    node = node_def(options)
    fields = list(_fields(node))
    attributes = iter(sorted(data for number, data in fields if number == _ATTRIBUTE))
    return options.replace(node, b"".join(next(attributes) if number == _ATTRIBUTE else data for number, data in fields), 1)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each field, tag included; all fields of a NodeDef state their length."""
    start = 0
    while start < len(message):
        tag, position = _varint(message, start)
        size, position = _varint(message, position)
        yield tag >> 3, message[start : position + size]
        start = position + size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position`, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
