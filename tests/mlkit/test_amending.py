"""Metadata beside those of others: nothing that a file says is lost unasked, and no file of anybody can do harm."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.amending import EXISTING, amended
from mlkit_build.mlkit.associated_files import appended, extracted
from mlkit_build.mlkit.description import Metadata, ScoreCalibration, Tensor
from mlkit_build.mlkit.flatbuffer import DamagedError, encode
from mlkit_build.mlkit.metadata import attach, attach_tables, read, read_tables
from mlkit_build.mlkit.metadata_schema import ColorSpace, FileType, ScoreTransformation
from mlkit_build.mlkit.model_entry import ends, with_entry
from tests.mlkit.test_metadata import SAID, overlapping, run, small

PICTURE = Tensor("picture", "", ColorSpace.RGB, (127.5,), (127.5,), (-1.0,), (1.0,))
SCORES = Tensor(
    "scores",
    labels=("dark", "light", "neither"),
    locales={"de": ("dunkel", "hell", "weder noch")},
    score_threshold=0.5,
    score_calibration=ScoreCalibration(((1.0, 2.0, 3.0), (), (1.0, 2.0, 3.0, 0.25)), ScoreTransformation.LOG, 0.25),
)
ASKED = Metadata("asked", "for this", "2.0", "me", "MIT", (PICTURE,), (SCORES,))


def theirs() -> tuple[schema.ModelMetadata, dict[str, bytes]]:
    """Return metadata with something in every table, as no tool of ours writes them."""
    notes = schema.AssociatedFile("notes.txt", "Notes.", FileType.DESCRIPTIONS, "en", "v7")
    words = schema.AssociatedFile("words", type=FileType.VOCABULARY)
    units = (
        schema.ProcessUnit(schema.BertTokenizerOptions((words,))),
        schema.ProcessUnit(schema.SentencePieceTokenizerOptions((words,), (words,))),
        schema.ProcessUnit(schema.RegexTokenizerOptions("[a-z]", (words,))),
    )
    contents = (
        schema.Content(schema.BoundingBoxProperties((1, 0, 3, 2), 2, 1), schema.ValueRange(2, 2)),
        schema.Content(schema.AudioProperties(16000, 2)),
        schema.Content(schema.ImageProperties(2, schema.ImageSize(96, 64))),
    )
    tensors = tuple(schema.TensorMetadata(f"t{n}", "d", ("a", "b"), content, units[:1]) for n, content in enumerate(contents))
    graph = schema.SubGraphMetadata(
        "graph", "Of pictures.", (), tensors[:1], (notes,), units, units[1:],
        (schema.TensorGroup("in", ("a", "b")),), (schema.TensorGroup("out", ("c",)),), (schema.CustomMetadata("x", b"\0\1\2"),),
    )  # fmt: skip
    more = schema.SubGraphMetadata("another", output_tensor_metadata=tensors)
    tables = schema.ModelMetadata("theirs", "", "1", (graph, more), "", "BSD", (notes,), "1.5.0")
    return tables, {"notes.txt": b"\0 no text", "words": b"a\nb", "unnamed.bin": b"beside", "labels.txt": b"not labels"}


def test_metadata_with_everything_in_them_stay_as_they_are() -> None:
    tables, files = theirs()
    found = read_tables(attach_tables(small(), tables, files))
    assert found is not None
    assert (found.tables, found.unknown) == (tables, ())
    assert extracted(attach_tables(small(), tables, files)) == files


@pytest.mark.parametrize("existing", EXISTING)
def test_a_file_without_metadata_gets_all_that_is_asked_for(existing: str) -> None:
    done = amended(small(), ASKED, existing)
    assert (read(done.model), done.kept, done.dropped) == (ASKED, (), ())
    assert done.model == attach(small(), ASKED)
    assert run(done.model, [1, 2, 3]) == [2, 4, 6]


def test_what_is_there_is_kept_and_what_is_missing_added() -> None:
    tables, files = theirs()
    done = amended(attach_tables(small(), tables, files), ASKED, "keep")
    found = read_tables(done.model)
    assert found is not None
    kept = extracted(done.model)
    assert {name: kept[name] for name in files} == files
    graph, more = found.tables.subgraph_metadata
    assert more == tables.subgraph_metadata[1]
    assert (
        replace(graph, input_tensor_metadata=(), output_tensor_metadata=tables.subgraph_metadata[0].output_tensor_metadata)
        == (tables.subgraph_metadata[0])
    )
    said = read(done.model)
    assert (said.name, said.description, said.version, said.author, said.license) == ("theirs", "for this", "1", "me", "BSD")
    assert said.inputs == (PICTURE,)
    (scores,) = said.outputs
    assert (scores.name, scores.labels, scores.locales) == ("t0", SCORES.labels, SCORES.locales)
    assert (scores.score_threshold, scores.score_calibration) == (0.5, SCORES.score_calibration)
    assert kept["labels_1.txt"] == b"dark\nlight\nneither\n"
    assert said.min_parser_version == "1.5.0"
    assert set(done.kept) == {"name", "version", "license"}


def test_what_is_there_already_is_told() -> None:
    other = replace(
        ASKED,
        name="asked",
        inputs=(replace(PICTURE, mean=(0.0,), std=(255.0,)),),
        outputs=(replace(SCORES, labels=("a", "b", "c"), locales={}, score_threshold=0.25, score_calibration=None),),
    )
    done = amended(attach(small(), ASKED), other, "keep")
    assert read(done.model) == ASKED
    assert set(done.kept) == {"mean", "std", "labels", "score threshold"}
    assert amended(attach(small(), ASKED), ASKED, "keep").kept == ()


def test_a_language_more_has_as_many_labels_as_the_file() -> None:
    model = attach(small(), replace(ASKED, outputs=(replace(SCORES, locales={}),)))
    more = replace(ASKED, outputs=(Tensor("scores", labels=SCORES.labels, locales={"fr": ("a", "b", "c")}),))
    assert read(amended(model, more, "keep").model).outputs[0].locales == {"fr": ("a", "b", "c")}
    fewer = replace(ASKED, outputs=(Tensor("scores", labels=("a", "b"), locales={"fr": ("a", "b")}),))
    with pytest.raises(SourceError, match="expected 3 labels in the language 'fr', as many as the file has, found 2"):
        amended(model, fewer, "keep")


def test_what_is_dropped_is_named() -> None:
    done = amended(attach_tables(small(), *theirs()), ASKED, "replace")
    assert done.dropped == ("metadata", "notes.txt", "words", "unnamed.bin", "labels.txt")
    assert done.model == attach(small(), ASKED)


@pytest.mark.parametrize(
    "model", [attach(small(), SAID), appended(small(), {"a.txt": b"b"}), attach_tables(small(), schema.ModelMetadata(), {})]
)
def test_nothing_is_lost_unasked(model: bytes) -> None:
    with pytest.raises(ConfigError, match=r"--existing: the file has .*files") as caught:
        amended(model, ASKED, "refuse")
    assert "--existing keep" in caught.value.hint


def test_labels_of_one_language_are_not_put_behind_others() -> None:
    listed = (schema.AssociatedFile("de.txt", type=FileType.TENSOR_AXIS_LABELS, locale="de"),)
    graph = schema.SubGraphMetadata(output_tensor_metadata=(schema.TensorMetadata("scores", associated_files=listed),))
    model = attach_tables(small(), schema.ModelMetadata(subgraph_metadata=(graph,)), {"de.txt": b"a\nb\nc\n"})
    done = amended(model, ASKED, "keep")
    assert read(done.model).outputs[0].labels == ("a", "b", "c")
    assert "labels" in done.kept
    assert set(extracted(done.model)) == {"de.txt", "score_calibration.csv"}


def test_a_file_that_is_named_and_not_there_is_told() -> None:
    tables, _ = theirs()
    listed = (schema.AssociatedFile("gone.txt", type=FileType.TENSOR_AXIS_LABELS),)
    graph = schema.SubGraphMetadata(output_tensor_metadata=(schema.TensorMetadata("scores", associated_files=listed),))
    model = attach_tables(small(), replace(tables, subgraph_metadata=(graph,)), {"a": b"b"})
    with pytest.raises(SourceError, match=r"--existing keep: No associated file with name: gone\.txt"):
        amended(model, ASKED, "keep")


def test_files_without_metadata_are_kept_or_named() -> None:
    model = appended(small(), {"a.txt": b"b"})
    assert extracted(amended(model, ASKED, "keep").model)["a.txt"] == b"b"
    assert amended(model, ASKED, "replace").dropped == ("a.txt",)


def newer() -> bytes:
    """Return metadata whose model table has a ninth field, as a later version of the format may."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    name = builder.CreateString("from the future")
    builder.StartObject(9)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependUOffsetTRelativeSlot(8, name, 0)
    builder.Finish(builder.EndObject(), file_identifier=schema.IDENTIFIER)
    return with_entry(small(), bytes(builder.Output()))


def test_what_is_not_known_here_is_not_lost() -> None:
    found = read_tables(newer())
    assert found is not None
    assert (found.tables.name, found.unknown) == ("from the future", ("ModelMetadata",))
    with pytest.raises(SourceError, match="a newer writer stated something in ModelMetadata that would be lost"):
        amended(newer(), ASKED, "keep")
    assert read(amended(newer(), ASKED, "replace").model) == ASKED


def test_damaged_metadata_are_mended_by_replacing() -> None:
    model = with_entry(small(), b"\x08\0\0\0M002" + bytes(16))
    for existing in ("refuse", "keep"):
        with pytest.raises(SourceError, match="expected M001, got 'M002'"):
            amended(model, ASKED, existing)
    done = amended(model, ASKED, "replace")
    assert (read(done.model), done.dropped) == (ASKED, ("metadata",))


def test_a_compressed_archive_is_not_kept() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(100_000))
    with pytest.raises(SourceError, match=r"Expected uncompressed zip archive\."):
        amended(small() + stream.getvalue(), ASKED, "keep")
    assert amended(small() + stream.getvalue(), ASKED, "replace").model == attach(small(), ASKED)


LISTED = appended(b"", {"labels.txt": b"a\nb\nc\n", "notes.txt": b"n" * 100})
MANY = appended(b"", {f"{number}.txt": b"" for number in range(25_000)})
DAMAGED = {
    "cut off": LISTED[: LISTED.index(b"n" * 100) + 50],
    "without its end": LISTED[: LISTED.index(b"PK\x05\x06")],
    "with half of its end": LISTED[:-4],
    "without its beginning": LISTED[LISTED.index(b"PK\x03\x04", 1) :],
    "with a flipped bit": LISTED[:14] + bytes([LISTED[14] ^ 1]) + LISTED[15:],
    "of too many files": MANY,
    "with another behind it": LISTED[:60] + LISTED,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_an_archive_that_nobody_can_read_is_not_left_behind(case: str) -> None:
    model = small() + DAMAGED[case]
    for existing in ("refuse", "keep"):
        with pytest.raises(SourceError, match=rf"^--existing {existing}: behind the model there is ") as caught:
            amended(model, ASKED, existing)
        assert "--existing replace" in caught.value.hint
    done = amended(model, ASKED, "replace")
    assert (done.model, len(done.dropped)) == (attach(small(), ASKED), 1)


def test_of_files_of_one_name_none_disappears() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("labels.txt", b"a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("labels.txt", b"b")
    model = small() + stream.getvalue()
    with pytest.raises(SourceError, match=r"--existing keep: there are several files called 'labels\.txt'"):
        amended(model, ASKED, "keep")
    assert amended(model, ASKED, "replace").model == attach(small(), ASKED)


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", bytes(300_000_000))
    return small() + stream.getvalue()


def crowded() -> bytes:
    """Return a model with an archive whose directory lists one file again and again."""
    data = appended(b"", {"a": b"x"})
    start = data.rindex(b"PK\x01\x02")
    entry = data[start : data.rindex(b"PK\x05\x06")]
    listed = entry * 60_000
    return small() + data[:start] + listed + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 60_000, 60_000, len(listed), start, 0)


@pytest.mark.parametrize("model", [bomb(), crowded(), small() + overlapping(200)], ids=["a bomb", "crowded", "overlapping"])
def test_archives_that_swell_take_no_memory(model: bytes) -> None:
    tracemalloc.start()
    try:
        for existing in EXISTING:
            with contextlib.suppress(SourceError, ConfigError):
                amended(model, ASKED, existing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(model) + (8 << 20)


def survives(data: bytes) -> None:
    """Amend it in every way: nothing but an error that the user is told may come of it, or a file that can be read."""
    with contextlib.suppress(SourceError, DamagedError):
        ends(data)
    for existing in EXISTING:
        with contextlib.suppress(SourceError, ConfigError):
            done = amended(data, ASKED, existing)
            assert read_tables(done.model) is not None
            assert len(done.model) < 2 * len(data) + 4096


@pytest.fixture(scope="module", params=["theirs", "ours"])
def whole(request: pytest.FixtureRequest) -> bytes:
    return attach_tables(small(), *theirs()) if request.param == "theirs" else attach(small(), ASKED)


def test_a_file_that_ends_anywhere_is_amended_or_refused(whole: bytes) -> None:
    for end in range(0, len(whole), 3):
        survives(whole[:end])


def test_bits_that_flip_anywhere_are_survived(whole: bytes) -> None:
    chance = random.Random(2)
    for _ in range(700):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        survives(bytes(data))


def test_offsets_that_lead_anywhere_are_survived(whole: bytes) -> None:
    chance = random.Random(3)
    for place in range(0, 600, 8):
        for value in (0, 1, chance.randrange(len(whole)), 0x7FFFFFFF, 0xFFFFFFFF):
            survives(whole[:place] + struct.pack("<I", value) + whole[place + 4 :])


@pytest.mark.parametrize("name", ["bird_classifier.tflite", "mobilenet_v1_0.25_224_1_metadata_1.tflite"])
def test_files_by_others_keep_all_that_they_say(shared_model: Callable[[str], Path], name: str) -> None:
    data = shared_model(f"tflite/{name}").read_bytes()
    before, said = read_tables(data), read(data)
    assert before is not None
    again = attach_tables(data, before.tables, extracted(data))
    after = read_tables(again)
    assert (after, extracted(again)) == (before, extracted(data))
    nothing = Metadata("", "", "", "", "", tuple(Tensor("") for _ in said.inputs), tuple(Tensor("") for _ in said.outputs))
    done = amended(data, nothing, "keep")
    assert read(done.model) == replace(said, min_parser_version="1.0.0")
    assert encode(before.tables, schema.IDENTIFIER) == encode(after.tables if after else before.tables, schema.IDENTIFIER)
    assert attach_tables(again, before.tables, extracted(data)) == again
