"""Every edit of a model shows in the aspect where it belongs, and in no other; what is not edited shows nowhere."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.comparison import Aspect, models
from mlkit_build.comparison.aspect import MOST
from mlkit_build.comparison.parts import sizes
from mlkit_build.mlkit.model_file import opened
from mlkit_build.tflite import model as tflite
from tests.mlkit.contract.cases import GOOD, PIXELS, normalizing
from tests.mlkit.contract.members import LABELS, Member


def differing(first: Member, second: Member) -> dict[str, Aspect]:
    found = models(opened(first.build()), opened(second.build()))
    return {name: aspect for name, aspect in found.items() if aspect.count}


def lines(first: Member, second: Member) -> dict[str, list[str]]:
    """Return what differs but for the size, which changes with nearly everything."""
    return {name: list(map(str, aspect.changes)) for name, aspect in differing(first, second).items() if name != "size"}


def edited(change: Callable[[Any], object], member: Member = GOOD) -> Member:
    return replace(member, edit=change)


def named(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.subgraphs[0].tensors if tflite.tensor_name(tensor) == name)


def test_equal_models_differ_in_nothing() -> None:
    assert differing(GOOD, replace(GOOD)) == {}


def test_an_operators_version_is_a_change_of_operators_alone() -> None:
    assert lines(GOOD, replace(GOOD, version=2)) == {
        "operators": ["SOFTMAX: 1 x version 1 (float32 to float32) -> 1 x version 2 (float32 to float32)"]
    }


def test_another_operator_is_new_and_the_old_one_gone() -> None:
    assert lines(GOOD, replace(GOOD, last="LOGISTIC"))["operators"] == [
        "SOFTMAX: gone",
        "LOGISTIC: new (1 x version 1 (float32 to float32))",
    ]


def test_an_operators_order_connections_and_options_are_compared_where_the_counts_are_equal() -> None:
    def swap(model: Any) -> None:
        model.subgraphs[0].operators.reverse()

    assert lines(GOOD, edited(swap)) == {"operators": ["operator 0, and the order from there on: RESHAPE -> SOFTMAX"]}

    def rewire(model: Any) -> None:
        model.subgraphs[0].operators[1].inputs = [0]

    assert lines(GOOD, edited(rewire)) == {"operators": ["operator 1, SOFTMAX: inputs: scores_flat -> image"]}


@pytest.mark.parametrize(
    ("operator", "kind", "fields"),
    [
        ("SOFTMAX", "SoftmaxOptions", {"beta": 0.5}),
        ("CONV_2D", "Conv2DOptions", {"padding": 1, "strideW": 2, "strideH": 3, "dilationHFactor": 4}),
        ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", {"depthMultiplier": 5, "fusedActivationFunction": 3}),
        ("TRANSPOSE_CONV", "TransposeConvOptions", {"strideH": 2, "fusedActivationFunction": 1}),
        ("MAX_POOL_2D", "Pool2DOptions", {"filterWidth": 7, "filterHeight": 6, "fusedActivationFunction": 1}),
        ("FULLY_CONNECTED", "FullyConnectedOptions", {"keepNumDims": True, "asymmetricQuantizeInputs": True, "weightsFormat": 1}),
        ("CONCATENATION", "ConcatenationOptions", {"axis": -2, "fusedActivationFunction": 1}),
        ("ADD", "AddOptions", {"fusedActivationFunction": 1, "potScaleInt16": False}),
        ("MUL", "MulOptions", {"fusedActivationFunction": 3}),
        ("MEAN", "ReducerOptions", {"keepDims": True}),
        ("RESIZE_BILINEAR", "ResizeBilinearOptions", {"alignCorners": True, "halfPixelCenters": True}),
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", {"alignCorners": True, "halfPixelCenters": True}),
        ("GATHER", "GatherOptions", {"axis": 3, "batchDims": 2}),
        ("PACK", "PackOptions", {"valuesCount": 9, "axis": 1}),
        ("UNPACK", "UnpackOptions", {"num": 9, "axis": 1}),
        ("SPLIT", "SplitOptions", {"numSplits": 4}),
        ("LEAKY_RELU", "LeakyReluOptions", {"alpha": 0.25}),
        ("STRIDED_SLICE", "StridedSliceOptions", {"beginMask": 1, "endMask": 2, "newAxisMask": 4, "offset": True}),
    ],
)  # fmt: skip
def test_options_are_told_as_litert_writes_them(operator: str, kind: str, fields: dict[str, Any]) -> None:
    """The fields' places are checked against LiteRT's own classes, which write the file."""

    def stating(values: dict[str, Any]) -> Callable[[Any], None]:
        def edit(model: Any) -> None:
            objects = tflite.schema()
            last = model.subgraphs[0].operators[-1]
            last.builtinOptionsType = getattr(objects.BuiltinOptions, kind)
            last.builtinOptions = getattr(objects, f"{kind}T")()
            for name, value in values.items():
                assert hasattr(last.builtinOptions, name)
                setattr(last.builtinOptions, name, value)

        return edit

    base = {name: type(value)(0) for name, value in fields.items()}
    base |= {"potScaleInt16": True} if "potScaleInt16" in fields else {}
    member = replace(GOOD, last=operator)
    told = lines(edited(stating(base), member), edited(stating(fields), member))
    snake = {name: "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name) for name in fields}
    snake["potScaleInt16"] = "pot_scale_int16"
    found = {line.split(": ")[1]: float(line.rpartition("-> ")[2]) for line in told["operators"]}
    assert set(told) == {"operators"}
    assert found == {snake[name]: float(value) for name, value in fields.items()}


def test_a_tensors_type_shape_and_constant_are_changes_of_tensors() -> None:
    def widen(model: Any) -> None:
        named(model, "scores_flat").shape = [1, 1, 12]

    assert lines(GOOD, edited(widen)) == {"tensors": ["scores_flat: float32 [1, 12] -> float32 [1, 1, 12]"]}

    def refill(model: Any) -> None:
        model.buffers[named(model, "scores_shape").buffer].data = np.frombuffer(struct.pack("<2i", 1, 0x0101), np.uint8)

    assert lines(GOOD, edited(refill)) == {"tensors": ["scores_shape: 2 of 8 bytes differ"]}

    def rename(model: Any) -> None:
        named(model, "scores_flat").name = "other"

    assert lines(GOOD, edited(rename))["tensors"] == ["scores_flat: gone", "other: new (float32 [1, 12])"]


def test_scales_and_zero_points_are_changes_of_quantization_alone() -> None:
    def rescale(model: Any) -> None:
        named(model, "image").quantization.scale = [0.5]
        named(model, "image").quantization.zeroPoint = [3]

    assert lines(PIXELS, edited(rescale, PIXELS)) == {
        "quantization": ["image: scale 0.00390625 zero point 0 -> scale 0.5 zero point 3"]
    }


def test_of_many_scales_how_many_differ_is_told() -> None:
    def per_channel(scales: list[float]) -> Callable[[Any], None]:
        def edit(model: Any) -> None:
            parameters = named(model, "scores").quantization
            parameters.scale, parameters.zeroPoint, parameters.quantizedDimension = scales, [0] * 12, 1

        return edit

    first = edited(per_channel([1.0] * 12), PIXELS)
    second = edited(per_channel([1.0] * 9 + [1.5, 1.25, 0.5]), PIXELS)
    assert lines(first, second) == {"quantization": ["scores: 3 of 12 scales differ, by up to 50%"]}


def test_metadata_are_compared_field_by_field() -> None:
    other = GOOD.saying(image=normalizing(((0.0,), (255.0,))))
    assert lines(GOOD, other) == {
        "metadata": ["metadata.inputs[0].mean[0]: 127.5 -> 0.0", "metadata.inputs[0].std[0]: 127.5 -> 255.0"]
    }


def test_labels_are_compared_class_by_class() -> None:
    renamed = replace(GOOD, files={"labels.txt": LABELS.replace(b"class 3\n", b"klass 3\n")})
    assert lines(GOOD, renamed) == {"labels": ["output 0 scores: class 3: class 3 -> klass 3"]}


def test_labels_that_moved_are_not_called_others() -> None:
    first, second, *rest = LABELS.decode().splitlines(keepends=True)
    moved = replace(GOOD, files={"labels.txt": "".join([second, first, *rest]).encode()})
    assert lines(GOOD, moved) == {
        "labels": ["output 0 scores: order: 2 classes have another's place: 0 was class 0, is class 1, 1 was class 1, is class 0"]
    }


def test_the_parts_of_a_model_add_up_to_it() -> None:
    data = GOOD.build()
    found = sizes(opened(data))
    assert found["total"] == len(data)
    assert sum(size for name, size in found.items() if name != "total") == len(data)
    assert found["files behind the model"] == len(LABELS)
    assert found["weights and other constants"] == 8  # the shape that the reshape reads: two int32


def test_what_goes_in_and_comes_out_is_the_signature() -> None:
    found = lines(GOOD, replace(GOOD, input=(1, 4, 1, 3)))
    assert found["signature"] == ["input 0: float32 [1, 2, 2, 3] -> float32 [1, 4, 1, 3]"]


def test_models_that_share_no_name_say_so_instead_of_being_called_the_same() -> None:
    def rename(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = f"other/{tflite.tensor_name(tensor)}"

    found = models(opened(PIXELS.build()), opened(edited(rename, PIXELS).build()))
    assert found["quantization"].note == "no tensor has the same name in both"


def test_changes_are_bounded_and_counted() -> None:
    def crowd(model: Any) -> None:
        tensor = named(model, "scores_flat")
        for index in range(MOST + 500):
            other = tflite.schema().TensorT()
            other.name, other.shape, other.type = f"tensor {index} \x1b[2J" + "x" * 500, [1], tensor.type
            model.subgraphs[0].tensors.append(other)

    found = models(opened(GOOD.build()), opened(edited(crowd).build()))["tensors"]
    assert (len(found.changes), found.count) == (MOST, MOST + 500)
    assert all(len(change.path) < 450 and change.path.isprintable() for change in found.changes)


def test_the_models_of_others_with_and_without_metadata_differ_in_that(shared_model: Callable[[str], Path]) -> None:
    first, second = (shared_model(f"tflite/mobilenet_v1_0.25_224_1_{name}_1.tflite") for name in ("default", "metadata"))
    found = models(opened(first.read_bytes()), opened(second.read_bytes()))
    assert {name for name, aspect in found.items() if aspect.count} == {"metadata", "labels", "size"}
    assert [str(change) for change in found["labels"].changes] == ["output 0 probability: new (1001 labels)"]
