from __future__ import annotations

from mlkit_build.tflite import names
from mlkit_build.tflite.model import schema


def test_the_names_are_those_of_litert() -> None:
    operators, types = (
        {number: name for name, number in vars(getattr(schema(), enum)).items() if not name.startswith("_")}
        for enum in ("BuiltinOperator", "TensorType")
    )
    assert dict(enumerate(names.OPERATORS)) == operators
    assert {number: name.upper() for number, name in enumerate(names.TYPES)} == types
    assert names.OPERATORS[names.CUSTOM] == "CUSTOM"


def test_what_came_later_is_called_by_its_number() -> None:
    assert (names.operator_name(3), names.operator_name(300), names.operator_name(-1)) == ("CONV_2D", "BUILTIN_300", "BUILTIN_-1")
    assert (names.type_name(9), names.type_name(99), names.type_name(-5)) == ("int8", "type99", "type-5")
