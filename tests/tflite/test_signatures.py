"""Names of the signature, whichever way the model came to be: read from a file it has bytes, made it has text."""

from __future__ import annotations

from pathlib import Path

from mlkit_build.tflite import model as flatbuffer
from mlkit_build.tflite.signatures import signed_inputs, signed_tensors
from tests.stages.built import TWO, converted, frozen, two_inputs


def test_names_of_a_signature_are_texts_in_the_order_of_the_model(tmp_path: Path) -> None:
    model = flatbuffer.read(converted(frozen(two_inputs, TWO, tmp_path), tmp_path)["float.tflite"])
    names = list(signed_inputs(model))
    assert names == ["left", "right"]
    assert list(signed_inputs(model).values()) == [int(index) for index in model.subgraphs[0].inputs]
    assert set(signed_tensors(model).values()) == {"left", "right", "wide", "narrow"}
    for entry in model.signatureDefs[0].inputs:
        assert isinstance(entry.name, bytes)
        entry.name = entry.name.decode()
    assert list(signed_inputs(model)) == names
