"""Every rule, broken by files of its own, and files that keep all of them: what lint and the Task Library must agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlkit_build.mlkit import metadata_schema as schema
from tests.mlkit.contract.members import IMAGE, LABEL_FILE, LABELS, NORMALIZED, SCORES, Member

GOOD = Member()
PIXELS = Member(types=("UINT8", "UINT8"))
SIX = {"labels.txt": b"a\nb\nc\nd\ne\nf\n"}
LOADS, REFUSES, CRASHES = "loads", "refuses", "crashes"


@dataclass(frozen=True)
class Case:
    """A file and what must be found.

    Attributes:
        rule: The rule that it breaks; empty for none.
        make: Makes the file.
        oracle: What the Task Library does with it; empty where that is not asked.
        more: Other rules that cannot but be broken along with it.
    """

    rule: str
    make: Callable[[], bytes]
    oracle: str
    more: tuple[str, ...] = ()


def normalizing(*values: tuple[tuple[float, ...], tuple[float, ...]]) -> schema.TensorMetadata:
    """Return the input with NormalizationOptions of other mean and std."""
    units = tuple(schema.ProcessUnit(schema.NormalizationOptions(mean, std)) for mean, std in values)
    return replace(IMAGE, process_units=units)


def scoring(*units: Any, files: tuple[schema.AssociatedFile, ...] = (LABEL_FILE,)) -> schema.TensorMetadata:
    """Return the output with other process units and files."""
    return replace(SCORES, process_units=tuple(map(schema.ProcessUnit, units)), associated_files=files)


def edited(change: Callable[[Any], object], member: Member = GOOD) -> Callable[[], bytes]:
    return replace(member, edit=change).build


def content(*properties: Any) -> schema.TensorMetadata:
    return replace(IMAGE, content=schema.Content(*properties))


def labels(data: bytes) -> Callable[[], bytes]:
    return replace(GOOD, files={"labels.txt": data}).build


def central(offset: int, value: int) -> Callable[[], bytes]:
    """Return the good file with a byte of its archive's directory changed."""

    def make() -> bytes:
        data = bytearray(GOOD.build())
        data[data.rindex(b"PK\x01\x02") + offset] = value
        return bytes(data)

    return make


def _no_metadata(model: Any) -> None:
    model.buffers[model.metadata[0].buffer].data = None


def _garbled(model: Any) -> None:
    buffer = model.buffers[model.metadata[0].buffer]
    buffer.data = np.concatenate([buffer.data[:12], np.full(len(buffer.data) - 12, 0xFF, np.uint8)])


def _set(place: Callable[[Any], Any], **values: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for name, value in values.items():
            setattr(place(model), name, value)

    return change


def _graph(model: Any) -> Any:
    return model.subgraphs[0]


def _last(model: Any) -> Any:
    return model.subgraphs[0].operators[-1]


CALIBRATION = schema.ScoreCalibrationOptions(0, 0.5)
SCORE_FILE = schema.AssociatedFile("scores.txt", "", 4)
THRESHOLD = schema.ScoreThresholdingOptions(0.1)

BROKEN: Mapping[str, Case] = {
    "cut off": Case("flatbuffer", lambda: GOOD.build()[:500], REFUSES),
    "another identifier": Case("flatbuffer", lambda: GOOD.build()[:4] + b"TFL2" + GOOD.build()[8:], REFUSES),
    "no model at all": Case("flatbuffer", lambda: bytes(200), REFUSES),
    "empty": Case("flatbuffer", lambda: b"", ""),
    "another version of the schema": Case("model-structure", edited(_set(lambda model: model, version=2)), REFUSES),
    "no subgraph": Case("model-structure", edited(_set(lambda model: model, subgraphs=[])), REFUSES),
    "no such buffer": Case("model-structure", edited(_set(lambda model: _graph(model).tensors[0], buffer=99)), REFUSES),
    "a constant of another size": Case(
        "model-structure", edited(_set(lambda model: _graph(model).tensors[1], shape=[9])), REFUSES
    ),
    "no such code": Case("model-structure", edited(_set(_last, opcodeIndex=9)), REFUSES),
    "no such output": Case("model-structure", edited(_set(_graph, outputs=[77])), REFUSES),
    "an output below 0": Case("model-structure", edited(_set(_graph, outputs=[-1])), CRASHES),
    "an operator without its input": Case("model-structure", edited(_set(_last, inputs=[77])), REFUSES),
    "a size below 0": Case("tensor-shape", replace(GOOD, input=(1, -1, 2, 3)).build, REFUSES),
    "a later version": Case("operator-version", replace(GOOD, last="RSQRT", version=3).build, REFUSES, ("score-range",)),
    "a version that nobody has": Case("operator-version", replace(GOOD, version=9).build, REFUSES),
    "version 0": Case("operator-version", replace(GOOD, version=0).build, REFUSES),
    "a later operator": Case("operator-version", replace(GOOD, last="DILATE").build, REFUSES, ("score-range",)),
    "custom": Case("custom-operator", replace(GOOD, last="MyOp").build, REFUSES, ("score-range",)),
    "flex": Case("select-operator", replace(GOOD, last="FlexErf").build, REFUSES, ("score-range",)),
    "M002": Case("metadata-identifier", replace(PIXELS, identifier=b"M002").build, REFUSES, ("labels",)),
    "an empty buffer": Case("metadata-readable", edited(_no_metadata, PIXELS), CRASHES, ("labels",)),
    "garbled metadata": Case("metadata-readable", edited(_garbled, PIXELS), "", ("labels",)),
    "no such buffer of metadata": Case(
        "metadata-readable", edited(_set(lambda model: model.metadata[0], buffer=99), PIXELS), CRASHES, ("labels",)
    ),
    "a directory that leads nowhere": Case("archive-readable", central(42, 7), REFUSES),
    "a size that the directory has otherwise": Case("archive-readable", central(24, 90), REFUSES),
    "labels that are damaged": Case("archive-readable", lambda: GOOD.build().replace(b"class 3\n", b"class_3\n"), LOADS),
    "compressed": Case("archive-stored", replace(GOOD, compressed=True).build, REFUSES),
    "two of one input": Case("metadata-count", GOOD.saying([IMAGE, IMAGE]).build, REFUSES),
    "none of the input": Case("metadata-count", PIXELS.saying([]).build, REFUSES),
    "two of one output": Case("metadata-count", GOOD.saying(IMAGE, [SCORES, SCORES]).build, REFUSES),
    "one of two outputs": Case("metadata-count", replace(GOOD, outputs=2).build, REFUSES),
    "grey": Case("image-content", GOOD.saying(content(schema.ImageProperties(schema.ColorSpace.GRAYSCALE))).build, REFUSES),
    "no color space": Case("image-content", GOOD.saying(content(schema.ImageProperties())).build, REFUSES),
    "a feature": Case("image-content", GOOD.saying(content(schema.FeatureProperties())).build, REFUSES),
    "normalized twice": Case("process-units", GOOD.saying(replace(IMAGE, process_units=(NORMALIZED,) * 2)).build, REFUSES),
    "two thresholds": Case("process-units", GOOD.saying(IMAGE, scoring(THRESHOLD, THRESHOLD)).build, REFUSES),
    "two of each": Case("normalization-values", GOOD.saying(normalizing(((1, 2), (1, 2)))).build, REFUSES),
    "two of each, of pixels": Case("normalization-values", PIXELS.saying(normalizing(((1, 2), (1, 2)))).build, REFUSES),
    "one and three": Case("normalization-values", GOOD.saying(normalizing(((1,), (1, 2, 3)))).build, REFUSES),
    "std 0": Case("normalization-values", GOOD.saying(normalizing(((1,), (0,)))).build, REFUSES),
    "no mean and std": Case("normalization-values", GOOD.saying(normalizing(((), ()))).build, CRASHES),
    "not a number": Case("normalization-finite", GOOD.saying(normalizing(((float("nan"),), (1,)))).build, LOADS),
    "infinite": Case("normalization-finite", GOOD.saying(normalizing(((1,), (float("inf"),)))).build, LOADS),
    "two inputs": Case("single-input", replace(GOOD, inputs=2).build, REFUSES),
    "3-D": Case("input-rank", replace(GOOD, input=(1, 4, 3)).build, REFUSES),
    "int8 input": Case("input-type", replace(GOOD, types=("INT8", "UINT8")).build, REFUSES),
    "int32 input": Case("input-type", replace(GOOD, types=("INT32", "FLOAT32")).build, REFUSES),
    "channels first": Case("input-shape", replace(GOOD, input=(1, 3, 2, 2)).build, REFUSES),
    "two images": Case("input-shape", replace(GOOD, input=(2, 1, 2, 3)).build, REFUSES),
    "grey images": Case("input-shape", replace(GOOD, input=(1, 3, 4, 1)).build, REFUSES),
    "no metadata": Case("normalization", replace(GOOD, metadata=None, files={}).build, REFUSES, ("labels",)),
    "no normalization": Case("normalization", GOOD.saying(normalizing()).build, REFUSES),
    "no height": Case(
        "input-size",
        replace(GOOD.saying(IMAGE, scoring(files=())), input=(1, 0, 2, 3), output=(1, 0)).build,
        REFUSES,
        ("labels",),
    ),
    "no width": Case(
        "input-size",
        replace(GOOD.saying(IMAGE, scoring(files=())), input=(1, 2, 0, 3), output=(1, 0)).build,
        REFUSES,
        ("labels",),
    ),
    "another file": Case("label-file", replace(GOOD, files={"other.txt": LABELS}).build, REFUSES),
    "no files": Case("label-file", replace(GOOD, files={}).build, REFUSES),
    "files cut off": Case("label-file", lambda: GOOD.build()[:-30], REFUSES),
    "no labels in the file": Case("labels-empty", labels(b""), REFUSES),
    "no calibration file": Case("score-calibration", GOOD.saying(IMAGE, scoring(CALIBRATION)).build, REFUSES),
    "calibration without labels": Case(
        "score-calibration", GOOD.saying(IMAGE, scoring(CALIBRATION, files=())).build, REFUSES, ("labels",)
    ),
    "calibration file missing": Case(
        "score-calibration", GOOD.saying(IMAGE, scoring(CALIBRATION, files=(LABEL_FILE, SCORE_FILE))).build, REFUSES
    ),
    "calibration of too few": Case(
        "score-calibration",
        replace(
            GOOD.saying(IMAGE, scoring(CALIBRATION, files=(LABEL_FILE, SCORE_FILE))),
            files={"labels.txt": LABELS, "scores.txt": b"1,1,1\n" * 3},
        ).build,
        REFUSES,
    ),
    "3-D scores": Case("output-shape", replace(GOOD, output=(1, 1, 12)).build, REFUSES),
    "1-D scores": Case("output-shape", replace(GOOD, output=(12,)).build, REFUSES),
    "a map of scores": Case("output-shape", replace(GOOD, output=(1, 2, 1, 6), files=SIX).build, REFUSES),
    "scores of two": Case("output-batch", replace(GOOD, output=(2, 6), files=SIX).build, REFUSES),
    "a label short": Case("label-count", labels(LABELS.removesuffix(b"class 11\n")), REFUSES),
    "a newline more": Case("label-count", labels(LABELS + b"\n"), REFUSES, ("label-text",)),
    "a newline only": Case("label-count", labels(b"\n"), REFUSES, ("label-text",)),
    "int8 scores": Case("output-type", replace(GOOD, types=("UINT8", "INT8")).build, REFUSES),
    "int32 scores": Case("output-type", replace(GOOD, types=("FLOAT32", "INT32"), last="ABS").build, REFUSES),
    "one of two uint8": Case(
        "output-type",
        replace(GOOD, outputs=2, output_types=("FLOAT32", "UINT8")).saying(IMAGE, [SCORES, SCORES]).build,
        REFUSES,
    ),
    "latin-1": Case("label-encoding", labels(LABELS.replace(b"class 3", b"cl\xe4ss 3")), ""),
    "carriage returns": Case("label-text", labels(LABELS.replace(b"\n", b"\r\n")), LOADS),
    "byte order mark": Case("label-text", labels(b"\xef\xbb\xbf" + LABELS), LOADS),
    "blank": Case("label-text", labels(LABELS.replace(b"class 3\n", b" \n")), LOADS),
    "twice": Case("label-repeated", labels(LABELS.replace(b"class 3\n", b"class 4\n")), LOADS),
    "a locale short": Case(
        "label-locales",
        replace(
            GOOD.saying(IMAGE, scoring(files=(LABEL_FILE, replace(LABEL_FILE, name="de.txt", locale="de")))),
            files={"labels.txt": LABELS, "de.txt": b"eins\nzwei\n"},
        ).build,
        LOADS,
    ),
    "pixels without metadata": Case("labels", replace(PIXELS, metadata=None, files={}).build, LOADS),
    "no labels": Case("labels", GOOD.saying(IMAGE, scoring(files=())).build, LOADS),
    "labels of another kind": Case("labels", GOOD.saying(IMAGE, scoring(files=(replace(LABEL_FILE, type=3),))).build, LOADS),
    "logits": Case("score-range", replace(GOOD, last="ABS").build, LOADS),
    "pixels as scores": Case("score-range", edited(lambda model: _set(_scale, scale=[1.0])(model), PIXELS), LOADS),
    "a threshold above 1": Case(
        "score-threshold", GOOD.saying(IMAGE, scoring(schema.ScoreThresholdingOptions(2.0))).build, LOADS
    ),
    "a threshold below 0": Case("score-threshold", GOOD.saying(IMAGE, scoring(schema.ScoreThresholdingOptions(-1))).build, LOADS),
}


def _scale(model: Any) -> Any:
    """Take the last operator away: the output is then what RESHAPE makes of the pixels."""
    graph = _graph(model)
    if len(graph.operators) > 1:
        graph.operators[0].outputs, graph.operators = graph.operators[-1].outputs, graph.operators[:1]
        for tensor in graph.tensors:
            if tensor.quantization is not None:
                tensor.quantization.scale = [1.0]
    return graph.tensors[graph.outputs[0]].quantization


KEPT: Mapping[str, Case] = {
    "float": Case("", GOOD.build, LOADS),
    "pixels": Case("", PIXELS.build, LOADS),
    "pixels in, float out": Case("", replace(GOOD, types=("UINT8", "FLOAT32")).build, LOADS),
    "two outputs": Case("", replace(GOOD, outputs=2).saying(IMAGE, [SCORES, SCORES]).build, LOADS),
    "a dynamic batch": Case("", replace(GOOD, signature_shape=(-1, 2, 2, 3)).build, LOADS),
    "4-D scores": Case("", replace(GOOD, output=(1, 1, 1, 12)).build, LOADS),
    "no newline at the end": Case("", labels(LABELS.removesuffix(b"\n")), LOADS),
    "no content": Case("", GOOD.saying(replace(IMAGE, content=None)).build, LOADS),
    "three of each": Case("", GOOD.saying(normalizing(((1, 2, 3), (1, 2, 3)))).build, LOADS),
    "std 0 of pixels": Case("", PIXELS.saying(normalizing(((1,), (0,)))).build, LOADS),
    "thresholds of the input": Case(
        "", GOOD.saying(replace(IMAGE, process_units=(NORMALIZED, *[schema.ProcessUnit(THRESHOLD)] * 2))).build, LOADS
    ),
    "a threshold": Case("", GOOD.saying(IMAGE, scoring(THRESHOLD)).build, LOADS),
    "a sigmoid": Case("", replace(GOOD, last="LOGISTIC").build, LOADS),
    "a name that is not UTF-8": Case("", edited(_set(lambda model: _graph(model).tensors[0], name=b"im\xe4ge")), LOADS),
    "bytes behind the archive": Case("", lambda: GOOD.build() + b"xx", ""),
    "a later parser": Case("", replace(GOOD, metadata=replace(GOOD.metadata, min_parser_version="9.0.0")).build, LOADS),
}

CASES = {**KEPT, **BROKEN}
