"""TensorFlow's own quantizer: what it makes, from which samples, and what it may not be given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import StageError
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, Npz
from mlkit_build.stages.params import QuantizeGraphParams
from mlkit_build.stages.quantize_graph import quantize_graph
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import IMAGE, PLAIN, TWO, converted, frozen, interpreted, pictures, two_inputs, weights
from tests.stages.conftest import CALIBRATION, Built


def made(
    files: Mapping[str, Path],
    folder: Path,
    mode: str = "int8",
    io: str = "float32",
    *,
    npz: Path | None = None,
    spec: Npz = CALIBRATION,
    inputs: Mapping[str, Input] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Run the action; return the model and its quantization.json."""
    folder.mkdir(parents=True, exist_ok=True)
    read = {name: files[name] for name in ("frozen_graph.pb", "signature.json")} | ({"calibration": npz} if npz else {})
    params = QuantizeGraphParams(mode, io, "per_channel", spec if npz else None, inputs or {"picture": IMAGE})
    quantize_graph(to_plain(params), read, folder)
    return folder / "model.tflite", json.loads((folder / "quantization.json").read_bytes())


def ends(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return runner.get_input_details(), runner.get_output_details()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 255.0), (128.0, 128.0), (127.0, 127.5), (0.0, 1.0), (0.0, 127.5)])
def test_a_uint8_pictures_scale_is_exactly_that_of_the_normalization(
    built: Built, tmp_path: Path, mean: float, std: float
) -> None:
    # The samples are dark: the converter alone would let the greatest of their pixels be 255.
    np.savez(tmp_path / "dark.npz", images=pictures(8) // 4)
    image = {"picture": Input(mean=(mean,), std=(std,))}
    path, _ = made(built.files, tmp_path / "out", "int8", "uint8", npz=tmp_path / "dark.npz", inputs=image)
    scale, zero_point = ends(path)[0]["picture"]["quantization"]
    assert np.float32(scale) == np.float32(1 / std)
    assert zero_point == mean


@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_names_types_and_answers_are_those_asked_for(built: Built, tmp_path: Path, io: str) -> None:
    path, summary = made(built.files, tmp_path, "int8", io, npz=built.calibration)
    inputs, outputs = ends(path)
    assert {name: end["dtype"] for name, end in (inputs | outputs).items()} == dict.fromkeys(("picture", "classes"), np.dtype(io))
    assert (summary["float_operators"], summary["calibration"]["samples"]) == (0, 48)
    raw = pictures(16, seed=3)
    values: Any = raw if io == "uint8" else raw.astype(np.float32) / 255
    if io == "int8":
        scale, zero_point = inputs["picture"]["quantization"]
        values = np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)
    found = interpreted(path, {"picture": values})["classes"].astype(np.float32)
    if io != "float32":
        scale, zero_point = outputs["classes"]["quantization"]
        found = (found - zero_point) * np.float32(scale)
    expected = interpreted(built.files["float.tflite"], {"picture": raw.astype(np.float32) / 255})["classes"]
    np.testing.assert_allclose(found, expected, atol=0.008)  # measured 3.9e-3, one step of the scores; LiteRT's int8 3.6e-3


@pytest.mark.parametrize(("mode", "kind", "size"), [("float16", "float16", 2), ("dynamic_range", "int8", 1)])
def test_modes_that_observe_nothing_read_no_samples(built: Built, tmp_path: Path, mode: str, kind: str, size: int) -> None:
    _, summary = made(built.files, tmp_path, mode)
    assert summary["calibration"] is None
    assert summary["weight_bytes"][kind] >= size * 6 * 6 * 16 * 4


def test_making_it_twice_or_from_samples_in_another_order_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    images = pictures(20, seed=4)
    found = []
    for name, each in (("one", images), ("again", images), ("backward", images[::-1])):
        np.savez(tmp_path / f"{name}.npz", images=each)
        path, summary = made(built.files, tmp_path / name, npz=tmp_path / f"{name}.npz")
        found.append((path.read_bytes(), summary))
    assert found[0] == found[1] == found[2]


def test_inputs_and_outputs_keep_their_order_and_names(tmp_path: Path) -> None:
    files = converted(frozen(two_inputs, TWO, tmp_path), tmp_path)
    np.savez(tmp_path / "c.npz", a=digits(64, [8]), b=digits(64, [6], seed=4))
    spec, inputs = Npz(path="", features={"left": "a", "right": "b"}), {"left": PLAIN, "right": PLAIN}
    path, _ = made(files, tmp_path / "out", npz=tmp_path / "c.npz", spec=spec, inputs=inputs)
    feeds = {"left": digits(16, [8], seed=5), "right": digits(16, [6], seed=6)}
    found, expected = interpreted(path, feeds), interpreted(files["float.tflite"], feeds)
    for name in ("wide", "narrow"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.04 * np.ptp(expected[name]))


def test_an_integer_input_keeps_its_type(tmp_path: Path) -> None:
    def picks(tf1: Any) -> None:
        rows = tf1.gather(tf1.constant(weights(64, 32)), tf1.placeholder("int32", [1, 3], name="ids"))
        tf1.matmul(tf1.reshape(rows, [1, 96]), tf1.constant(weights(96, 4)), name="y")

    files = frozen(picks, request({"ids": "ids:0"}, {"y": "y:0"}), tmp_path)
    np.savez(tmp_path / "c.npz", ids=np.arange(60, dtype=np.int32).reshape(20, 3))
    spec = Npz(path="", features={"ids": "ids"})
    _, summary = made(files, tmp_path / "out", "int8", "uint8", npz=tmp_path / "c.npz", spec=spec, inputs={"ids": PLAIN})
    assert (summary["inputs"], summary["outputs"]) == (["int32"], ["uint8"])


def test_int16x8_that_the_converter_lacks_is_told_of_the_other_backend(tmp_path: Path) -> None:
    def casts(tf1: Any) -> None:
        x = tf1.cast(tf1.placeholder("int32", [1, 8], name="ids"), tf1.float32)
        tf1.matmul(x, tf1.constant(weights(8, 4)), name="y")

    files = frozen(casts, request({"ids": "ids:0"}, {"y": "y:0"}), tmp_path)
    np.savez(tmp_path / "c.npz", ids=np.arange(64, dtype=np.int32).reshape(8, 8))
    spec = Npz(path="", features={"ids": "ids"})
    with pytest.raises(StageError, match="converter has no int16x8 for operators that the model has") as caught:
        made(files, tmp_path / "out", "int16x8", npz=tmp_path / "c.npz", spec=spec, inputs={"ids": PLAIN})
    assert caught.value.message.endswith(": CAST")
    assert "quantization.backend=litert" in caught.value.hint


def test_a_part_that_nothing_reads_is_no_matter_of_chance(tmp_path: Path) -> None:
    def parts(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 32], name="x")
        wide = tf1.matmul(x, tf1.constant(weights(32, 64)))
        tf1.matmul(tf1.tanh(tf1.split(wide, 4, axis=1)[1]), tf1.constant(weights(16, 4)), name="y")

    files = frozen(parts, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    np.savez(tmp_path / "c.npz", x=digits(16, [32]))
    spec = Npz(path="", features={"x": "x"})
    made_twice = [
        made(files, tmp_path / str(index), npz=tmp_path / "c.npz", spec=spec, inputs={"x": PLAIN}) for index in range(2)
    ]
    assert made_twice[0][0].read_bytes() == made_twice[1][0].read_bytes()
    assert (
        "SPLIT" not in made_twice[0][1]["operators"]
    )  # whose unread outputs would be given the range of whatever lies in memory
    seen = json.loads((tmp_path / "0" / "calibration.json").read_bytes())
    assert set(seen["inputs"]) == {"x"}


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((3, 12, 12, 3), np.uint8), "every value of all 3 samples is 0"),
        (np.full((2, 12, 12, 3), 9, np.uint8), "every value of all 2 samples is 0.0352941"),
        (np.repeat(pictures(1), 4, axis=0), "all 4 samples are the same"),
        (pictures(3), ""),
    ],
)
def test_samples_that_never_vary_are_warned_of(built: Built, tmp_path: Path, images: Any, said: str) -> None:
    np.savez(tmp_path / "c.npz", images=images)
    _, summary = made(built.files, tmp_path / "out", npz=tmp_path / "c.npz")
    assert summary["warning"] == (
        f"calibration input 'picture' never varies: {said}; calibrate on samples of the training set" if said else ""
    )


def test_an_operator_that_stays_float_is_named_and_the_backend_that_has_rules(tmp_path: Path) -> None:
    def sine(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 8], name="x")
        tf1.matmul(tf1.sin(x), tf1.constant(weights(8, 8)), name="y")

    files = frozen(sine, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    np.savez(tmp_path / "c.npz", x=digits(16, [8]))
    spec = Npz(path="", features={"x": "x"})
    with pytest.raises(StageError) as caught:
        made(files, tmp_path / "out", npz=tmp_path / "c.npz", spec=spec, inputs={"x": PLAIN})
    assert "SIN" in caught.value.message.upper()
    assert caught.value.hint


def test_the_signature_is_the_recipes(built: Built, tmp_path: Path) -> None:
    model = flatbuffer.read(made(built.files, tmp_path, "float16")[0])
    (definition,) = model.signatureDefs
    assert [entry.name for entry in (*definition.inputs, *definition.outputs)] == [b"picture", b"classes"]
