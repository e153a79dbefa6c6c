from __future__ import annotations

from mlkit_build.quantization.io import to_uint8
from mlkit_build.tflite import model as flatbuffer
from tests.stages.conftest import Built


def test_uint8_ends_have_the_scale_of_the_int8_ends_and_a_zero_point_128_higher(built: Built) -> None:
    before, after = (flatbuffer.read(built.models["int8", io]) for io in ("int8", "uint8"))
    for ends in ("inputs", "outputs"):
        old = before.subgraphs[0].tensors[getattr(before.subgraphs[0], ends)[0]].quantization
        new = after.subgraphs[0].tensors[getattr(after.subgraphs[0], ends)[0]].quantization
        assert list(new.scale) == list(old.scale)
        assert list(new.zeroPoint) == [point + 128 for point in old.zeroPoint]


def test_the_signature_names_the_uint8_ends(built: Built) -> None:
    model = flatbuffer.read(built.models["int8", "uint8"])
    graph, definition = model.subgraphs[0], model.signatureDefs[0]
    assert [entry.tensorIndex for entry in definition.inputs] == list(graph.inputs)
    assert [entry.tensorIndex for entry in definition.outputs] == list(graph.outputs)


def test_only_one_operator_is_added_at_each_end(built: Built) -> None:
    before, after = (flatbuffer.read(built.models["int8", io]) for io in ("int8", "uint8"))
    assert len(after.subgraphs[0].operators) == len(before.subgraphs[0].operators) + 2


def test_a_float_model_is_left_as_it_is(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    count = len(model.subgraphs[0].operators)
    to_uint8(model)
    assert len(model.subgraphs[0].operators) == count
    assert flatbuffer.type_name(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]) == "float32"
