"""Calibration: the same bytes on any number of cores, and the numbers that a plain loop or ai-edge-quantizer gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.datasets import identities, parallel
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.plain import to_plain
from mlkit_build.quantization.observing import BINS, folded, percentiles
from mlkit_build.quantization.reading import is_constant
from mlkit_build.quantization.saturation import saturation_limits
from mlkit_build.quantization.statistics import Hessians, Statistics
from mlkit_build.recipe import Input, Npz
from mlkit_build.recipe.quantization import OBSERVERS
from mlkit_build.stages.calibrate import BATCH, calibrate
from mlkit_build.stages.params import CalibrateParams, QuantizeGraphParams
from mlkit_build.stages.quantize_graph import quantize_graph
from mlkit_build.tflite import model as flatbuffer
from tests.sources.tf1 import digits, request
from tests.stages.built import IMAGE, PLAIN, calibrated, converted, frozen, pictures, weights
from tests.stages.conftest import CALIBRATION, Built

IMAGES = pictures(43, seed=11)
"""Five batches of 8 and one of 3."""


def seen(
    files: Mapping[str, Path],
    folder: Path,
    spec: Npz = CALIBRATION,
    inputs: Mapping[str, Input] | None = None,
    *,
    observer: str = "min_max",
    percentile: float = 100.0,
    hessians: bool = False,
    **arrays: Any,
) -> Path:
    """Run calibrate on these arrays; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "c.npz", **(arrays or {"images": IMAGES}))
    read = {name: files[name] for name in ("float.tflite", "signature.json")}
    params = CalibrateParams(spec, inputs or {"picture": IMAGE}, observer, percentile, hessians)
    (folder / "out").mkdir()
    calibrate(to_plain(params), {**read, "calibration": folder / "c.npz"}, folder / "out")
    return folder / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def ranges(folder: Path) -> dict[str, tuple[float, float]]:
    found = Statistics.read(folder / "statistics.json").ranges
    return {tensor: (ends["min"].item(), ends["max"].item()) for tensor, ends in found.items()}


@pytest.fixture(scope="module")
def values(built: Built) -> dict[str, NDArray[np.float32]]:
    """Every tensor that varies -> its values on each sample, `[43, ...]`, by a plain loop."""
    from ai_edge_litert.interpreter import Interpreter

    model = flatbuffer.read(built.files["float.tflite"])
    graph = model.subgraphs[0]
    varying = [index for index, tensor in enumerate(graph.tensors) if not is_constant(model, tensor)]
    interpreter = Interpreter(model_path=str(built.files["float.tflite"]), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    found: dict[str, list[Any]] = {flatbuffer.tensor_name(graph.tensors[index]): [] for index in varying}
    for image in IMAGES:
        interpreter.set_tensor(graph.inputs[0], (image / np.float32(255))[None].astype(np.float32))
        interpreter.invoke()
        for index in varying:
            found[flatbuffer.tensor_name(graph.tensors[index])].append(interpreter.get_tensor(index).copy())
    assert len(found) >= 7
    return {name: np.stack(each) for name, each in found.items()}


@pytest.fixture(scope="module")
def free(built: Built, values: dict[str, Any]) -> list[str]:
    """The tensors whose range is what was seen: not the pixels, nor what a function bounds."""
    model = flatbuffer.read(built.files["float.tflite"])
    graph = model.subgraphs[0]
    bounded = {flatbuffer.tensor_name(graph.tensors[graph.inputs[0]]), *saturation_limits(model)}
    return sorted(set(values) - bounded)


@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_bytes_are_the_same_on_one_core_and_on_many(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observer: str
) -> None:
    found = []
    for cores in (1, 2, 8):
        monkeypatch.setattr("mlkit_build.datasets.parallel.os.cpu_count", lambda cores=cores: cores)
        assert cores <= parallel.MOST_THREADS
        folder = seen(built.files, tmp_path / str(cores), observer=observer, percentile=99.0, hessians=True)
        found.append(contents(folder))
    assert found[0].keys() == {"statistics.json", "calibration.json", "samples.json", "hessians.npz"}
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("samples", [None, 20])
@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_order_of_the_samples_in_the_file_changes_nothing(
    built: Built, tmp_path: Path, observer: str, samples: int | None
) -> None:
    spec = Npz(path="", features={"picture": "images"}, samples=samples)
    shuffled = IMAGES[np.random.default_rng(3).permutation(len(IMAGES))]
    found = [
        seen(built.files, tmp_path / str(index), spec, observer=observer, percentile=99.0, hessians=True, images=images)
        for index, images in enumerate((IMAGES, IMAGES[::-1], shuffled))
    ]
    for other in found[1:]:
        for name in ("statistics.json", "calibration.json"):
            assert (other / name).read_bytes() == (found[0] / name).read_bytes()
        matrices, expected = (Hessians.read(folder / "hessians.npz").matrices for folder in (other, found[0]))
        for tensor, matrix in expected.items():  # sums of floating-point numbers are made batch by batch
            np.testing.assert_allclose(matrices[tensor], matrix, rtol=1e-6)


def test_observers_differ(built: Built, tmp_path: Path) -> None:
    found = [seen(built.files, tmp_path / name, observer=name, percentile=99.0) for name in OBSERVERS]
    assert len({(folder / "statistics.json").read_bytes() for folder in found}) == len(OBSERVERS)


def test_min_max_is_that_of_a_plain_loop(built: Built, tmp_path: Path, values: dict[str, Any], free: list[str]) -> None:
    found = ranges(seen(built.files, tmp_path))
    assert set(found) == set(values)
    for name in free:
        assert found[name] == (values[name].min(), values[name].max()), name


def test_the_moving_average_is_ai_edge_quantizers(built: Built, tmp_path: Path, values: dict[str, Any], free: list[str]) -> None:
    from ai_edge_quantizer.utils.qsv_utils import moving_average_update

    order = sorted(range(len(IMAGES)), key=lambda index: identities([IMAGES])[index])
    found = ranges(seen(built.files, tmp_path, observer="moving_average"))
    for name in free:
        expected: Any = {}
        for index in order:
            sample = values[name][index]
            expected = moving_average_update(expected, {"min": sample.min(), "max": sample.max()})
        assert found[name] == (expected["min"].item(), expected["max"].item()), name


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_a_percentile_is_that_of_all_values_within_a_bin(
    built: Built, tmp_path: Path, values: dict[str, Any], free: list[str], percentile: float
) -> None:
    found = ranges(seen(built.files, tmp_path, observer="percentile", percentile=percentile))
    for name in free:
        ordered = np.sort(values[name].astype(np.float64), axis=None)
        step = np.ptp(ordered) / BINS * 1.001
        place = (100 - percentile) / 200 * len(ordered)
        near = np.clip([int(place) - 1, int(place) + 1], 0, len(ordered) - 1)
        low, high = ordered[near], ordered[::-1][near][::-1]
        if ordered[0] <= 0:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        assert low[0] - step <= found[name][0] <= low[1] + step * (low[1] > 0), name
        assert high[0] - step <= found[name][1] <= high[1] + step, name


def test_a_percentile_keeps_its_share_and_the_zero() -> None:
    # 1000 values: 1 at -1, 989 spread over 0..9, 10 at 100.
    counts = np.zeros((1, BINS), np.int64)
    sample = np.concatenate([[-1.0], np.linspace(0, 9, 989), np.full(10, 100.0)])
    counts[0] = np.histogram(sample, BINS, (-1, 100))[0]
    ends = np.array([[-1, 100]], np.float32)
    whole, most, narrow = (percentiles(counts, ends, share)[0] for share in (100.0, 99.0, 90.0))
    assert whole.tolist() == [-1, 100]
    assert most[1] == 100, "half a percent of 1000 is 5 values, and 10 are at the end"
    assert most[0] == 0, "the value at -1 is cut off, and zero goes on being held"
    assert 8 < narrow[1] < 9.1
    assert narrow[0] == 0


def test_a_constant_tensor_keeps_its_range() -> None:
    ends = np.array([[2, 2], [0, 0]], np.float32)
    np.testing.assert_array_equal(percentiles(np.zeros((2, BINS), np.int64), ends, 99.0), ends)


def test_a_moving_average_starts_at_the_first_sample_and_moves_by_a_twentieth() -> None:
    samples = np.array([[[0, 1]], [[-1, 2]]], np.float32)
    np.testing.assert_allclose(folded(samples, "moving_average"), [[-0.05, 1.05]], rtol=1e-6)
    np.testing.assert_array_equal(folded(samples, "min_max"), [[-1, 2]])


def test_hessians_are_ai_edge_quantizers(built: Built, tmp_path: Path) -> None:
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe import dynamic_wi8_afp32

    recipe = [{**entry, "algorithm_key": "GPTQ", "operation": "FULLY_CONNECTED"} for entry in dynamic_wi8_afp32()]
    quantizer = Quantizer(str(built.files["float.tflite"]), recipe)
    samples = [{"picture": (image / np.float32(255))[None].astype(np.float32)} for image in IMAGES]
    expected = {name: seen for name, seen in quantizer.calibrate({None: samples}).items() if "hessian" in seen}
    found = Hessians.read(seen(built.files, tmp_path, hessians=True) / "hessians.npz").matrices
    (name,) = found
    np.testing.assert_allclose(found[name], expected[name]["hessian"], rtol=2e-3, atol=1e-6)
    assert found[name].shape == (576, 576)


def test_the_range_of_pixels_is_theirs_whatever_the_samples_show(built: Built, tmp_path: Path) -> None:
    found = ranges(seen(built.files, tmp_path, images=pictures(8) // 4))
    model = flatbuffer.read(built.files["float.tflite"])
    name = flatbuffer.tensor_name(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]])
    assert found[name] == (0.0, 1.0)
    told = json.loads((tmp_path / "out/calibration.json").read_bytes())["inputs"]["picture"]
    assert told[1] == pytest.approx((pictures(8) // 4).max() / 255)


# What no quantizer may see --------------------------------------------------------------------------------------------------


def spoiled(value: float) -> NDArray[np.float32]:
    values = digits(2 * BATCH + 1, [8])
    values[13, 2] = value
    return values


BAD: dict[str, tuple[Npz, dict[str, Any], str]] = {
    "NaN": (
        Npz(path="", features={"x": "x"}),
        {"x": spoiled(np.nan)},
        "array 'x': sample 13: expected a finite number, found nan",
    ),
    "Inf": (
        Npz(path="", features={"x": "x"}),
        {"x": spoiled(np.inf)},
        "array 'x': sample 13: expected a finite number, found inf",
    ),
    "1e38": (Npz(path="", features={"x": "x"}), {"x": spoiled(1e38)}, r"array 'x': sample 13 has values beyond 1e\+30"),
    "-1e38": (Npz(path="", features={"x": "x"}), {"x": spoiled(-1e38)}, r"array 'x': sample 13 has values beyond 1e\+30"),
    "shape": (
        Npz(path="", features={"x": "x"}),
        {"x": digits(4, [9])},
        r"expected samples of shape \[8\] for the input 'x', found \[9\]",
    ),
    "rank": (Npz(path="", features={"x": "x"}), {"x": digits(4, [1, 8])}, r"expected samples of shape \[8\]"),
    "type": (Npz(path="", features={"x": "x"}), {"x": np.zeros((4, 8), "U1")}, "expected an array of numbers"),
    "no samples": (Npz(path="", features={"x": "x"}), {"x": digits(0, [8])}, "0 samples|no samples|at least 1|empty"),
    "too many": (Npz(path="", features={"x": "x"}, samples=5), {"x": digits(4, [8])}, r"samples: .*(5|4)"),
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """[1, 8] -> [1, 6]."""
    return model_of(
        lambda tf1, x: tf1.nn.relu(tf1.matmul(x, tf1.constant(weights(8, 6)))), [1, 8], tmp_path_factory.mktemp("dense")
    )


def model_of(graph: Callable[[Any, Any], Any], shape: list[int], folder: Path) -> dict[str, Path]:
    def whole(tf1: Any) -> None:
        tf1.identity(graph(tf1, tf1.placeholder("float32", shape, name="x")), name="y")

    return converted(frozen(whole, request({"x": "x:0"}, {"y": "y:0"}), folder), folder)


@pytest.mark.parametrize("name", BAD)
def test_samples_that_cannot_be_are_refused_by_calibrate(dense: dict[str, Path], tmp_path: Path, name: str) -> None:
    spec, arrays, said = BAD[name]
    with pytest.raises(ConfigError, match=said):
        seen(dense, tmp_path, spec, {"x": PLAIN}, **arrays)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", BAD)
def test_samples_that_cannot_be_are_refused_before_the_converter_sees_one(
    dense: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the converter was asked")

    spec, arrays, said = BAD[name]
    monkeypatch.setattr("mlkit_build.stages.quantize_graph.convert_graph", never)
    np.savez(tmp_path / "c.npz", **arrays)
    read = {name: dense[name] for name in ("frozen_graph.pb", "signature.json")}
    params = QuantizeGraphParams("int8", "float32", "per_channel", spec, {"x": PLAIN})
    with pytest.raises(ConfigError, match=said):
        quantize_graph(to_plain(params), {**read, "calibration": tmp_path / "c.npz"}, tmp_path)


@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_samples_of_a_single_number_are_taken(tmp_path: Path, shape: list[int]) -> None:
    files = model_of(lambda tf1, x: tf1.nn.relu(x + 1.0), shape, tmp_path)
    folder = seen(files, tmp_path / "seen", Npz(path="", features={"x": "x"}), {"x": PLAIN}, x=digits(20, shape[1:]))
    assert json.loads((folder / "calibration.json").read_bytes())["warning"] == ""


def test_a_loop_is_refused_before_any_sample_is_read(built: Built, tmp_path: Path) -> None:
    model = flatbuffer.read(built.files["float.tflite"])
    model.subgraphs.append(flatbuffer.schema().SubGraphT())
    model.subgraphs[1].tensors, model.subgraphs[1].operators = [], []
    flatbuffer.write(model, tmp_path / "loop.tflite")
    files = {**built.files, "float.tflite": tmp_path / "loop.tflite"}
    with pytest.raises(StageError, match="has a loop or a branch") as caught:
        seen(files, tmp_path / "seen", Npz(path="", features={"picture": "nothing"}))
    assert "unroll" in caught.value.hint


def test_a_sample_that_the_model_cannot_be_run_on_is_named(tmp_path: Path) -> None:
    def picks(tf1: Any) -> None:
        rows = tf1.gather(tf1.constant(weights(8, 4)), tf1.placeholder("int32", [1, 2], name="ids"))
        tf1.reshape(rows, [1, 8], name="y")

    files = converted(frozen(picks, request({"ids": "ids:0"}, {"y": "y:0"}), tmp_path), tmp_path)
    ids = np.arange(40, dtype=np.int32).reshape(20, 2) % 8
    ids[13, 1] = 8
    np.savez(tmp_path / "c.npz", ids=ids)
    with pytest.raises(ConfigError, match=r"c\.npz: sample 13: LiteRT cannot run the model on it: gather index out of bounds"):
        calibrated(files, tmp_path / "c.npz", Npz(path="", features={"ids": "ids"}), {"ids": PLAIN}, tmp_path / "out")
