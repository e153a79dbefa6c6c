"""What inspect says of a `.tflite` is what LiteRT's own reader finds in it, and no file makes it crash or speak without end."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import SourceError
from mlkit_build.mlkit.contract.runtime import requirement
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_description import Description, described
from mlkit_build.mlkit.model_file import opened
from mlkit_build.plain import to_plain
from mlkit_build.tflite import model as tflite
from mlkit_build.tflite.versions import required_runtime
from mlkit_build.verbs.inspect_tflite import page, run
from tests.mlkit.contract.cases import GOOD, PIXELS
from tests.mlkit.contract.members import IMAGE

MODELS = ["bird_classifier", "mobilenet_v1_0.25_224_1_default_1", "mobilenet_v1_0.25_224_1_metadata_1"]


def text(found: Description) -> str:
    return page("model.tflite", found)


@pytest.fixture(params=[*MODELS, "small", "pixels"])
def data(request: pytest.FixtureRequest, shared_model: Callable[[str], Path]) -> bytes:
    made = {"small": GOOD, "pixels": PIXELS}
    if request.param in made:
        return made[request.param].build()
    return shared_model(f"tflite/{request.param}.tflite").read_bytes()


def test_tensors_and_operators_are_those_that_litert_reads(data: bytes) -> None:
    found, theirs = described(opened(data)), tflite.parsed(data)
    (graph,) = theirs.subgraphs
    assert [(each.name, each.dtype, list(each.shape)) for each in found.tensors] == [
        (tflite.tensor_name(each), tflite.type_name(each), [] if each.shape is None else list(each.shape))
        for each in graph.tensors
    ]
    for ours, each in zip(found.tensors, graph.tensors, strict=True):
        scales = [] if each.quantization is None or each.quantization.scale is None else list(each.quantization.scale)
        assert (ours.quantization.count if ours.quantization else 0) == len(scales)
        held = theirs.buffers[each.buffer].data
        assert ours.size_bytes == (0 if held is None else len(held))
    codes = [theirs.operatorCodes[each.opcodeIndex] for each in graph.operators]
    counted = Counter((tflite.operator_name(code), code.version) for code in codes)
    assert counted == sum((Counter({(each.name, each.version): each.count}) for each in found.operators), Counter())
    assert [each.name for each in found.inputs] == [tflite.tensor_name(graph.tensors[index]) for index in graph.inputs]


def test_the_runtime_that_is_needed_is_told_as_of_litert_objects(data: bytes) -> None:
    """What is read here without LiteRT must lead to the same answer as what its reader makes of the file."""
    assert requirement(opened(data)) == required_runtime(tflite.parsed(data))


def test_metadata_labels_and_files_are_told() -> None:
    found = described(opened(GOOD.build()))
    assert found.metadata is not None
    assert (found.metadata.name, found.metadata.inputs[0].mean, len(found.metadata.outputs[0].labels)) == ("small", (127.5,), 12)
    assert [(each.name, each.stored) for each in found.files] == [("labels.txt", True)]
    told = text(found)
    for line in (
        "  input image: RGB; mean [127.5] std [127.5]",
        "  output scores: 12 labels: class 0, class 1, class 2, class 3, ...",
        "input 0: image float32 [1, 2, 2, 3]",
        "     1 x SOFTMAX version 1  float32 -> float32  since 1.5.0",
        "minimum runtime: 1.5.0",
        "file behind the model: labels.txt, 98 B",
    ):
        assert line in told.splitlines()


def test_scales_and_open_shapes_are_told() -> None:
    assert "input 0: image uint8 [1, 2, 2, 3], scale 0.00390625 zero point 0" in text(described(opened(PIXELS.build())))
    is_open = replace(GOOD, signature_shape=(-1, 2, 2, 3)).build()
    assert "input 0: image float32 [1, 2, 2, 3], open as [-1, 2, 2, 3]" in text(described(opened(is_open)))


def test_what_is_damaged_behind_a_model_is_told_beside_the_rest() -> None:
    found = described(opened(GOOD.build()[:-30]))
    assert (found.metadata, found.tensor_count) == (None, 4)
    assert "metadata: metadata: " in text(found)


def test_scales_along_an_axis_are_counted() -> None:
    def per_channel(model: Any) -> None:
        stated = model.subgraphs[0].tensors[0].quantization
        stated.scale, stated.zeroPoint, stated.quantizedDimension = [0.5, 0.25, 0.125], [0, 0, 0], 3

    (image,) = described(opened(replace(PIXELS, edit=per_channel).build())).inputs
    assert image.quantization is not None
    assert (image.quantization.count, image.quantization.axis, image.quantization.scales) == (3, 3, (0.5, 0.25, 0.125))


def test_long_and_moving_names_are_told_short_and_still() -> None:
    member = GOOD.saying(replace(IMAGE, name="\x1b[2J" + "x" * 60_000))

    def renamed(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = "\x1b[2J\n" * 5000

    found = described(opened(replace(member, edit=renamed).build()))
    told = text(found)
    assert len(told) < 10_000
    assert "\x1b" not in told
    assert len(json.dumps(to_plain(found))) < 100_000


def test_bits_that_flip_anywhere_are_an_error_or_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, path = random.Random(8), tmp_path / "model.tflite"
    for whole in (GOOD.build(), PIXELS.build()):
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(chance.choice((1, 1, 2, 8))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            with contextlib.suppress(DamagedError):
                text(described(opened(bytes(data))))
            path.write_bytes(data)
            with contextlib.suppress(SourceError):
                capsys.readouterr()
                run(path, as_json=True)
                json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    for end in range(0, len(whole), 3):
        with contextlib.suppress(DamagedError):
            text(described(opened(whole[:end])))
