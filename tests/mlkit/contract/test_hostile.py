"""No file makes lint do anything but tell what is wrong: not cut off, not with any bit flipped, not made to mislead."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace

import flatbuffers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.mlkit.contract import Finding, lint
from mlkit_build.mlkit.model_schema import IDENTIFIER
from tests.mlkit.contract.cases import GOOD, PIXELS
from tests.mlkit.contract.members import IMAGE, LABEL_FILE, SCORES

WHOLE = GOOD.build()


def linted(data: bytes) -> tuple[Finding, ...]:
    """Lint it: nothing may be raised."""
    return lint(data, "image_labeling")


def test_a_file_that_ends_anywhere_is_a_finding() -> None:
    model = len(WHOLE) - len(WHOLE[WHOLE.index(b"PK\x03\x04") :])
    for end in range(len(WHOLE)):
        rules = {found.rule.id for found in linted(WHOLE[:end])}
        assert rules, end
        if end < model // 2:
            assert rules & {"flatbuffer", "model-structure"}, end


def test_bits_that_flip_anywhere_are_no_crash() -> None:
    chance = random.Random(6)
    for _ in range(4000):
        data = bytearray(WHOLE)
        for _ in range(chance.choice((1, 1, 2, 8, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        linted(bytes(data))


def test_every_byte_set_to_its_extremes_is_no_crash() -> None:
    whole = PIXELS.build()
    for place in range(len(whole)):
        for value in (0x00, 0x7F, 0x80, 0xFF):
            linted(whole[:place] + bytes([value]) + whole[place + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_at_all_are_no_crash(data: bytes, named: bool) -> None:
    assert linted(data[:4].ljust(4, b"\0") + IDENTIFIER + data[4:] if named else data)


def test_text_of_any_length_and_kind_is_told_in_a_few_lines() -> None:
    labels = "".join(f"{'x' * 65_000}\n" for _ in range(12)).encode()
    for name in ("../../etc/passwd", "a\nb", "\N{SNOWMAN}" * 300, "x" * 60_000, "%s%d%n", "{0}"):
        said = replace(SCORES, associated_files=(replace(LABEL_FILE, name=name),))
        member = GOOD.saying(replace(IMAGE, name=name), said)
        assert [found.rule.id for found in linted(replace(member, files={}).build())] == ["label-file"]
        (found,) = linted(replace(member, files={name: labels}).build())
        assert found.rule.id == "label-repeated"
        assert len(found.told) < 2000


def test_offsets_that_share_a_table_without_end_take_no_time_and_no_memory() -> None:
    """A megabyte of tensors that are all the same one, and of subgraphs that all have them."""
    builder = flatbuffers.Builder(0)
    name = builder.CreateString("x" * 1000)
    tensor = table(builder, {3: name})
    tensors = vector(builder, tensor, 100_000)
    graphs = vector(builder, table(builder, {0: tensors}), 100_000)
    builder.StartObject(8)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(2, graphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=IDENTIFIER)
    data = bytes(builder.Output())
    tracemalloc.start()
    begin = time.process_time()
    (found,) = linted(data)
    seconds, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.rule.id == "flatbuffer"
    assert peak < 300 * len(data)
    assert seconds < 60  # it would be hours


def table(builder: flatbuffers.Builder, slots: dict[int, int]) -> int:
    builder.StartObject(max(slots) + 1)
    for slot, offset in slots.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    place: int = builder.EndObject()
    return place


def vector(builder: flatbuffers.Builder, offset: int, count: int) -> int:
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(offset)
    place: int = builder.EndVector()
    return place


def test_an_archive_of_very_many_files_is_read_as_far_as_is_reasonable() -> None:
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 50_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, len(WHOLE), 0)
    (found,) = (each for each in linted(WHOLE + entry * count + end) if each.rule.id != "label-file")
    assert found.rule.id == "archive-readable"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_compression_that_no_phone_knows_are_no_crash(method: int) -> None:
    data = bytearray(WHOLE)
    struct.pack_into("<H", data, data.rindex(b"PK\x01\x02") + 10, method)
    struct.pack_into("<H", data, data.rindex(b"PK\x03\x04") + 8, method)
    assert "archive-stored" in {found.rule.id for found in linted(bytes(data))}


MAKERS: list[Callable[[], bytes]] = [GOOD.build, PIXELS.build]


@pytest.mark.parametrize("make", MAKERS)
def test_equal_files_give_equal_findings(make: Callable[[], bytes]) -> None:
    damaged = bytearray(make())
    damaged[100] ^= 1
    assert linted(bytes(damaged)) == linted(bytes(damaged))
