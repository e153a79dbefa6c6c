"""What runtime a file needs, told of files by our converter, by others, and by nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.model import operator_name, schema
from mlkit_build.tflite.versions import required_runtime, with_one_scale
from tests.stages.conftest import Built


def dynamic_range(built: Built) -> Any:
    return flatbuffer.read(built.models["dynamic_range", "float32"])


def lowered(model: Any, name: str, version: int) -> Any:
    for code in model.operatorCodes:
        if operator_name(code) == name:
            code.version = version
    return model


def test_the_operators_that_need_the_newest_runtime_are_named_with_what_an_older_one_says(built: Built) -> None:
    found = required_runtime(dynamic_range(built))
    assert found.runtime == "2.17.0"
    (dense,) = found.beyond("2.16")
    assert (dense.name, dense.version, dense.needed, dense.runtime) == ("FULLY_CONNECTED", 12, 12, "2.17.0")
    assert dense.types == "float32, int8 -> float32"  # the classifier has no bias
    assert dense.says == "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'"
    assert (len(dense.tensors), dense.silent) == (1, ())
    assert found.beyond("2.17") == found.beyond("2.17.0") == ()
    assert {each.name for each in found.beyond("1.0")} == {each.name for each in found.operators}


def test_with_one_scale_for_its_weights_the_same_model_is_older(built: Built) -> None:
    assert with_one_scale(dynamic_range(built)) == "2.3.0"
    assert with_one_scale(flatbuffer.read(built.models["int8", "int8"])) == "1.14.0"


def test_a_version_that_is_lower_than_the_tensors_need_does_not_make_the_model_older(built: Built) -> None:
    found = required_runtime(lowered(dynamic_range(built), "FULLY_CONNECTED", 3))
    assert found.runtime == "2.17.0"
    (dense,) = found.beyond("2.14")
    assert (dense.version, dense.needed) == (3, 12)


def test_a_version_that_is_higher_than_the_tensors_need_makes_it_newer(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    assert required_runtime(model).runtime == "1.5.0"
    assert required_runtime(lowered(model, "SOFTMAX", 3)).runtime == "2.3.0"


def test_of_a_version_that_nobody_knows_no_runtime_is_said(built: Built) -> None:
    found = required_runtime(lowered(flatbuffer.read(built.files["float.tflite"]), "SOFTMAX", 99))
    assert found.runtime is None
    assert [each.name for each in found.beyond("2.23")] == ["SOFTMAX"]


def test_types_that_no_runtime_had_before_count_for_operators_without_a_rule(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    graph = model.subgraphs[0]
    reshape = next(each for each in graph.operators if operator_name(model.operatorCodes[each.opcodeIndex]) == "RESHAPE")
    graph.tensors[reshape.inputs[0]].type = schema().TensorType.INT2
    found = {each.name: each.runtime for each in required_runtime(model).operators}
    assert found["RESHAPE"] == "2.21.0"


def test_custom_operators_are_listed_and_nothing_is_said_of_them(built: Built) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    code = next(code for code in model.operatorCodes if operator_name(code) == "RESHAPE")
    code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.CUSTOM
    code.customCode = "FlexReshape"
    found = required_runtime(model)
    assert (found.custom, found.runtime) == (("FlexReshape",), "1.5.0")
    assert "FlexReshape" not in {each.name for each in found.operators}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tflite/bird_classifier.tflite", "1.5.0"),
        ("tflite/mobilenet_v1_0.25_224_1_metadata_1.tflite", "1.6.0"),
    ],
)
def test_models_that_ml_kit_runs_need_an_old_runtime(shared_model: Callable[[str], Path], path: str, expected: str) -> None:
    found = required_runtime(flatbuffer.read(shared_model(path)))
    assert found.runtime == expected
    assert all(each.needed <= each.version for each in found.operators)


def test_neither_tensorflow_nor_an_interpreter_is_imported(built: Built) -> None:
    script = (
        "import sys; from pathlib import Path; from mlkit_build.tflite import model; "
        "from mlkit_build.tflite.versions import required_runtime; "
        "print(required_runtime(model.read(Path(sys.argv[1]))).runtime); "
        "print([name for name in sys.modules if name == 'tensorflow' or 'interpreter' in name or 'pywrap' in name])"
    )
    path = str(built.models["dynamic_range", "float32"])
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["2.17.0", "[]"]


NUMBERS = st.integers(-(2**31), 2**31 - 1)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_indices_that_point_nowhere_are_passed_over(built: Built, data: st.DataObject) -> None:
    model = dynamic_range(built)
    for operator in model.subgraphs[0].operators:
        operator.opcodeIndex = data.draw(st.one_of(st.just(operator.opcodeIndex), st.integers(0, 2**32 - 1)))
        operator.inputs = data.draw(st.one_of(st.just(operator.inputs), st.none(), st.lists(NUMBERS, max_size=4)))
        operator.outputs = data.draw(st.one_of(st.just(operator.outputs), st.none(), st.lists(NUMBERS, max_size=4)))
    for tensor in model.subgraphs[0].tensors:
        tensor.type = data.draw(st.one_of(st.just(tensor.type), st.integers(-128, 127)))
        tensor.shape = data.draw(st.one_of(st.just(tensor.shape), st.none(), st.lists(NUMBERS, max_size=7)))
    for code in model.operatorCodes:
        code.version = data.draw(st.one_of(st.just(code.version), NUMBERS))
        code.builtinCode = data.draw(st.one_of(st.just(code.builtinCode), NUMBERS))
    found = required_runtime(model)
    assert len(found.operators) <= len(model.subgraphs[0].operators)
    assert all(each in found.operators for each in found.beyond("2.14"))
    with_one_scale(model)


def test_a_model_without_anything_needs_nothing() -> None:
    found = required_runtime(schema().ModelT())
    assert (found.runtime, found.operators, found.custom) == (None, (), ())
