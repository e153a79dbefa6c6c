from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.node_defs import node_def
from mlkit_build.tflite.signatures import sign, signed_tensors
from tests.stages.built import interpreted, pictures
from tests.stages.conftest import Built
from tests.stages.select import CROPPED, converted, cropped


def test_a_model_written_as_it_was_read_has_the_same_bytes(built: Built, tmp_path: Path) -> None:
    for path in built.models.values():
        flatbuffer.write(flatbuffer.read(path), tmp_path / "copy.tflite")
        assert (tmp_path / "copy.tflite").read_bytes() == path.read_bytes()


def test_buffers_that_lie_behind_the_flatbuffer_are_read_and_written_back_inside_it(built: Built, tmp_path: Path) -> None:
    # The layout that ai-edge-quantizer writes for large buffers: Buffer.offset and Buffer.size in place of Buffer.data.
    import flatbuffers

    path = built.files["float.tflite"]
    model = flatbuffer.read(path)
    moved = [buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 1000]
    tail = b"".join(bytes(buffer.data) for buffer in moved)

    def packed(start: int) -> bytes:
        for buffer in moved:
            size = buffer.size or len(buffer.data)
            buffer.data, buffer.offset, buffer.size = None, start, size
            start += size
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    head = packed(1 << 20)
    (tmp_path / "apart.tflite").write_bytes(packed(len(head)) + tail)
    flatbuffer.write(flatbuffer.read(tmp_path / "apart.tflite"), tmp_path / "whole.tflite")
    assert moved
    values = pictures(2).astype(np.float32) / 255
    expected = interpreted(path, {"picture": values})["classes"]
    for name in ("apart", "whole"):
        np.testing.assert_array_equal(interpreted(tmp_path / f"{name}.tflite", {"picture": values})["classes"], expected)


def test_a_written_model_carries_the_file_identifier(built: Built, tmp_path: Path) -> None:
    flatbuffer.write(flatbuffer.read(built.files["float.tflite"]), tmp_path / "copy.tflite")
    assert (tmp_path / "copy.tflite").read_bytes()[4:8] == b"TFL3"


def test_an_operator_code_is_reused_where_its_version_is_high_enough(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    builtin = flatbuffer.schema().BuiltinOperator.SOFTMAX
    count = len(model.operatorCodes)
    known = flatbuffer.add_operator_code(model, builtin)
    assert flatbuffer.operator_name(model.operatorCodes[known]) == "SOFTMAX"
    assert len(model.operatorCodes) == count
    added = flatbuffer.add_operator_code(model, builtin, 9)
    assert (added, model.operatorCodes[added].version) == (count, 9)


def test_an_operator_code_beyond_127_has_both_spellings(built: Built) -> None:
    # schema.fbs: deprecated_builtin_code is a byte; from 127 on the reader must take builtin_code.
    model = flatbuffer.read(built.files["float.tflite"])
    index = flatbuffer.add_operator_code(model, flatbuffer.schema().BuiltinOperator.GELU)
    assert flatbuffer.schema().BuiltinOperator.GELU > 127
    assert model.operatorCodes[index].deprecatedBuiltinCode == 127
    assert flatbuffer.operator_name(model.operatorCodes[index]) == "GELU"


def test_signed_tensors_go_by_the_recipes_names(built: Built) -> None:
    assert sorted(signed_tensors(flatbuffer.read(built.files["float.tflite"])).values()) == ["classes", "picture"]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 12, 12, 1), "float32"), ((1, 12, 12, 3), "uint8"), ((2, 12, 12, 3), "float32")]
)
def test_a_model_whose_input_is_another_one_is_not_signed(built: Built, shape: tuple[int, ...], dtype: str) -> None:
    signature = FrozenSignature.read(built.files["signature.json"])
    wrong = FrozenSignature((TensorSpec("picture", "image:0", shape, dtype),), signature.outputs)
    with pytest.raises(StageError, match=r"the converter's inputs are .*, expected .* as in the signature"):
        sign(flatbuffer.read(built.files["float.tflite"]), wrong)


def test_flex_operators_are_written_with_their_attributes_in_one_order(tmp_path: Path) -> None:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    # Protobuf's own order differs from process to process; here the entries, fields 5, are turned round by hand.
    model = flatbuffer.read(converted(cropped, CROPPED, tmp_path)["float.tflite"])
    operator = next(operator for operator in model.subgraphs[0].operators if operator.customOptions is not None)
    options = bytes(operator.customOptions)
    plain = NodeDef.FromString(node_def(options))
    entries = [NodeDef(attr={name: plain.attr[name]}).SerializeToString() for name in sorted(plain.attr)]
    assert len(entries) > 2
    rest = NodeDef.FromString(node_def(options))
    rest.attr.clear()
    written = set()
    for attributes in permutations(entries):
        turned = options.replace(node_def(options), b"".join(attributes) + rest.SerializeToString())
        operator.customOptions = np.frombuffer(turned, np.uint8)
        assert NodeDef.FromString(node_def(turned)) == plain
        flatbuffer.write(model, tmp_path / "copy.tflite")
        kept = flatbuffer.read(tmp_path / "copy.tflite").subgraphs[0].operators
        found = next(bytes(operator.customOptions) for operator in kept if operator.customOptions is not None)
        assert NodeDef.FromString(node_def(found)) == plain
        written.add(found)
    assert len(written) == 1
