"""Metadata that are written are read back, the model stays what it was, and no file of anybody can do harm."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.errors import SourceError, StageError
from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.associated_files import DamagedArchiveError, appended, extracted
from mlkit_build.mlkit.flatbuffer import DamagedError, decode, encode
from mlkit_build.mlkit.metadata import LABELS, ColorSpace, Metadata, Tensor, attach, read
from mlkit_build.mlkit.tables import tables_of
from mlkit_build.tflite import model as tflite
from tests.mlkit.test_labels import ODD

PICTURE = Tensor("picture", "What the camera sees.", ColorSpace.RGB, (0.5, 1.0, 2.0), (1.0, 2.0, 4.0), (-0.5,), (254.5,))
SAID = Metadata(
    name="pictures",
    description="Whether a picture is light: Straße, 数字, \N{SMILING FACE WITH SMILING EYES}",
    version="1.2.3",
    author="somebody",
    license="Apache-2.0",
    inputs=(PICTURE,),
    outputs=(Tensor("scores", labels=("dark", "light", "neither, or both")),),
)
DIGEST = "import hashlib, sys; from tests.mlkit.test_metadata import *; print(hashlib.sha256(attach(small(), SAID)).hexdigest())"


def small(signed: bool = True, inputs: tuple[str, ...] = ("picture",)) -> bytes:
    """Return a model that adds its inputs [1, 3] up, each twice; in the order of the graph they are the other way round."""
    objects = tflite.schema()
    model, graph = objects.ModelT(), objects.SubGraphT()
    model.version, model.buffers, model.subgraphs = 3, [objects.BufferT()], [graph]
    graph.tensors, graph.operators = [], []
    for name in (*inputs, "scores"):
        tensor = objects.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 3], objects.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs = list(range(len(inputs)))[::-1], [len(inputs)]
    model.operatorCodes = []
    operator = objects.OperatorT()
    operator.opcodeIndex = tflite.add_operator_code(model, objects.BuiltinOperator.ADD_N)
    operator.inputs, operator.outputs = list(range(len(inputs))) * 2, [len(inputs)]
    graph.operators.append(operator)
    if signed:
        definition = objects.SignatureDefT()
        definition.signatureKey, definition.subgraphIndex = "serving_default", 0
        ends = [(name, index) for index, name in enumerate((*inputs, "scores"))]
        maps = []
        for name, index in ends:
            entry = objects.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            maps.append(entry)
        definition.inputs, definition.outputs = maps[:-1], maps[-1:]
        model.signatureDefs = [definition]
    return tflite.packed(model)


def stored(tables: schema.ModelMetadata, files: dict[str, bytes] | None = None) -> bytes:
    """Return a model with any tables, as another tool might have written them."""
    model = tflite.parsed(small())
    entry = tflite.schema().MetadataT()
    entry.name, entry.buffer = schema.NAME, len(model.buffers)
    model.buffers.append(tflite.schema().BufferT())
    model.buffers[-1].data = np.frombuffer(encode(tables, schema.IDENTIFIER), np.uint8)
    model.metadata = [entry]
    return appended(tflite.packed(model), files or {})


def labelled(*files: schema.AssociatedFile) -> schema.ModelMetadata:
    tensors = (schema.TensorMetadata("scores", associated_files=files),)
    return schema.ModelMetadata(subgraph_metadata=(schema.SubGraphMetadata(output_tensor_metadata=tensors),))


def file(name: str = LABELS, locale: str = "") -> schema.AssociatedFile:
    return schema.AssociatedFile(name, "", schema.FileType.TENSOR_AXIS_LABELS, locale)


def run(model: bytes, *values: list[float]) -> list[float]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    for detail, row in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], np.array([row], np.float32))
    interpreter.invoke()
    found: list[float] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].tolist()
    return found


def test_what_is_attached_is_read_back() -> None:
    assert read(attach(small(), SAID)) == SAID


def test_the_model_stays_what_it_was() -> None:
    plain, described = small(), attach(small(), SAID)
    assert run(described, [1, 2, 3]) == run(plain, [1, 2, 3]) == [2, 4, 6]
    without = tflite.parsed(described)
    without.metadata = None
    without.buffers.pop()
    assert tflite.packed(without) == tflite.packed(tflite.parsed(plain))


def test_attaching_again_replaces() -> None:
    other = replace(SAID, name="others", outputs=(Tensor("scores", labels=("a", "b")),))
    assert attach(attach(small(), other), SAID) == attach(small(), SAID)
    assert attach(attach(small(), SAID), replace(SAID, outputs=(Tensor("scores"),))) == attach(
        small(), replace(SAID, outputs=(Tensor("scores"),))
    )


def test_equal_metadata_are_equal_bytes_in_every_process() -> None:
    found = {
        subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed})
        .stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_labels_are_stored_as_a_zip_archive_that_any_tool_opens() -> None:
    with zipfile.ZipFile(io.BytesIO(attach(small(), SAID))) as archive:
        assert archive.testzip() is None
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type, entry.date_time) == (LABELS, zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
        assert archive.read(LABELS) == b"dark\nlight\nneither, or both\n"


def test_weights_that_look_like_an_archive_are_no_archive() -> None:
    model = small() + b"PK\x05\x06" + bytes(18)
    assert extracted(appended(model, {"a": b"b"}), ["a"]) == {"a": b"b"}


def test_inputs_are_told_in_the_order_of_the_graph() -> None:
    names = ("left", "right")
    said = replace(SAID, inputs=tuple(Tensor(name) for name in names))
    model = small(inputs=names)
    assert [tensor.name for tensor in read(attach(model, said)).inputs] == ["right", "left"]
    assert attach(model, replace(said, inputs=said.inputs[::-1])) == attach(model, said)
    unsigned = small(signed=False, inputs=names)
    assert [tensor.name for tensor in read(attach(unsigned, said)).inputs] == ["left", "right"]


@pytest.mark.parametrize("inputs", [(), (Tensor("image"),), (PICTURE, Tensor("more"))])
def test_metadata_of_another_model_are_refused(inputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(StageError, match="the model's inputs are picture, found metadata of"):
        attach(small(), replace(SAID, inputs=inputs))


def test_labels_of_two_outputs_are_two_files() -> None:
    tables = schema.SubGraphMetadata(
        output_tensor_metadata=tuple(schema.TensorMetadata(name, associated_files=(file(f"{name}.txt"),)) for name in "ab")
    )
    found = read(stored(schema.ModelMetadata(subgraph_metadata=(tables,)), {"a.txt": b"x\ny", "b.txt": b"z\n\n"}))
    assert [tensor.labels for tensor in found.outputs] == [("x", "y"), ("z", "")]  # a second newline is one label more


def test_the_first_labels_count_as_in_the_task_library() -> None:
    tables, files = labelled(file("de.txt", "de"), file("any.txt"), file("fr.txt", "fr")), {"de.txt": b"Hund", "any.txt": b"dog"}
    (found,) = read(stored(tables, {**files, "fr.txt": b"chien"})).outputs
    assert (found.labels, found.locales) == (("Hund",), {"de": ("Hund",), "fr": ("chien",)})


def test_outputs_that_are_called_like_paths_name_no_paths_in_the_archive() -> None:
    outputs = tuple(Tensor(name, labels=("a", "b")) for name in ("../x", "a/b.txt"))
    tables, files = tables_of(replace(SAID, outputs=outputs))
    assert sorted(files) == ["output0_labels.txt", "output1_labels.txt"]
    assert [tensor.associated_files[0].name for tensor in tables.subgraph_metadata[0].output_tensor_metadata] == sorted(files)


def test_odd_labels_survive_in_a_file_that_is_called_as_ever() -> None:
    said = replace(SAID, outputs=(Tensor("scores", labels=ODD[:3]),))
    assert read(attach(small(), said)) == said
    long = replace(SAID, outputs=(Tensor("scores", labels=("x" * 65536, *ODD[3:5])),))
    assert read(attach(small(), long)) == long
    assert set(extracted(attach(small(), said))) == {LABELS}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lines = st.lists(texts.filter(lambda text: text and "\n" not in text), min_size=1, max_size=5).map(tuple)
numbers = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(tuple)
pairs = st.integers(1, 4).flatmap(lambda size: st.tuples(*[st.tuples(*[st.floats(width=32, allow_nan=False)] * size)] * 2))


@st.composite
def tensors(draw: st.DrawFn, name: str) -> Tensor:
    (mean, std), (low, high) = draw(pairs), draw(pairs)
    color = draw(st.sampled_from([None, *ColorSpace]))
    return Tensor(name, draw(texts), color, mean, std, low, high)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_metadata_survive_the_round_trip(data: st.DataObject) -> None:
    said = Metadata(
        *(data.draw(texts) for _ in range(5)),
        inputs=(data.draw(tensors("picture")),),
        outputs=(replace(data.draw(tensors("scores")), labels=data.draw(lines)),),
    )
    assert read(attach(small(), said)) == said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The model is not a valid Flatbuffer"),
        (b"\x08\0\0\0TFL2" + bytes(64), "The model is not a valid Flatbuffer: expected TFL3, got 'TFL2'"),
        (small(), "the model has none"),
        (stored(labelled(file())), "No associated file with name: labels.txt|damaged"),
        (stored(labelled(file()), {"../labels.txt": b"a"}), "No associated file with name: labels.txt"),
        (stored(labelled(file()), {LABELS: b""}), "Expected non-empty labels file."),
        (stored(labelled(file()), {LABELS: b"\xff"}), "expected UTF-8 text, found byte 0"),
        (stored(schema.ModelMetadata()), "expected those of a subgraph, found none"),
    ],
)
def test_what_is_no_metadata_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "COM1", "x" * 300, "\N{SNOWMAN}"])
def test_a_file_that_is_called_like_a_path_is_read_from_the_archive_alone(name: str) -> None:
    assert read(stored(labelled(file(name)), {name: b"inside"})).outputs[0].labels == ("inside",)


def test_a_compressed_archive_is_refused_in_the_task_librarys_words() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(LABELS, "dog\n" * 1000)
    with pytest.raises(SourceError, match=r"Expected uncompressed zip archive\."):
        read(stored(labelled(file())) + stream.getvalue())


def test_sizes_that_lie_are_refused() -> None:
    data = bytearray(appended(b"model", {"a": b"b" * 10}))
    place = data.rindex(b"PK\x01\x02") + 20
    struct.pack_into("<II", data, place, 1 << 30, 1 << 30)
    with pytest.raises(DamagedArchiveError, match="more than the file has left"):
        extracted(bytes(data), ["a"])


def test_files_that_share_their_bytes_are_not_read_without_end() -> None:
    with pytest.raises(DamagedArchiveError, match=r"more than the file has left|damaged"):
        extracted(overlapping(200), [f"{index:03}" for index in range(200)])


def overlapping(count: int) -> bytes:
    """Return an archive whose entries are all the one file it holds."""
    data = appended(b"", {"000": b"x" * 10_000})
    start = data.rindex(b"PK\x01\x02")
    entry = data[start : data.rindex(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"000", f"{index:03}".encode()) for index in range(count))
    return data[:start] + entries + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), start, 0)


def test_offsets_that_share_a_table_without_end_are_refused() -> None:
    builder = flatbuffers.Builder(0)
    long = builder.CreateString("x" * 10_000)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, long, 0)
    graph = builder.EndObject()
    builder.StartVector(4, 10_000, 4)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(3, graphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=schema.IDENTIFIER)
    with pytest.raises(DamagedError, match="over and over"):
        decode(schema.ModelMetadata, bytes(builder.Output()), schema.IDENTIFIER)


def survives(data: bytes) -> None:
    """Read it: nothing but an error that the user is told may come of it."""
    with contextlib.suppress(SourceError):
        read(data)


def test_a_file_that_ends_anywhere_is_an_error_and_no_crash() -> None:
    whole = attach(small(), SAID)
    for end in range(len(whole)):
        survives(whole[:end])


def test_bits_that_flip_anywhere_are_an_error_and_no_crash() -> None:
    whole, chance = attach(small(), SAID), random.Random(1)
    for _ in range(5000):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        survives(bytes(data))


def test_every_byte_set_to_its_extremes_is_an_error_and_no_crash() -> None:
    whole = attach(small(), SAID)
    for place in range(len(whole)):
        for value in (0x00, 0x7F, 0x80, 0xFF):
            survives(whole[:place] + bytes([value]) + whole[place + 1 :])


@pytest.mark.parametrize(
    ("path", "name", "classes"),
    [
        ("tflite/bird_classifier.tflite", "aiy/classifier/natural_world_birds_V1", 965),
        ("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite", "MobileNetV1 image classifier", 1001),
    ],
)
def test_metadata_by_others_are_read(shared_model: Callable[[str], Path], path: str, name: str, classes: int) -> None:
    found = read(shared_model(path).read_bytes())
    assert (found.name, len(found.inputs), len(found.outputs[0].labels)) == (name, 1, classes)


def test_metadata_by_others_keep_their_meaning(shared_model: Callable[[str], Path]) -> None:
    data = shared_model("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()
    found = read(data)
    assert (found.inputs[0].color, found.inputs[0].mean, found.inputs[0].std) == (ColorSpace.RGB, (127.5,), (127.5,))
    assert read(attach(data, found)) == replace(found, min_parser_version="1.0.0")  # theirs states none
