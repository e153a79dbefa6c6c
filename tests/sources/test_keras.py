from __future__ import annotations

import builtins
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import SourceError
from mlkit_build.graphs import OpenedModel
from mlkit_build.recipe import Keras
from mlkit_build.sources import keras as source
from tests.sources.models import answer, frozen, keras_file, keras_model, keras_of
from tests.sources.tf1 import digits, run_frozen

X = digits(1, [4])
GENERATIONS = pytest.mark.parametrize("generation", [3, 2])


def opened(path: Path) -> OpenedModel:
    stated = Keras(path=path.name)
    return source.load(source.files(stated, path.parent), stated)


def refused(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        opened(path)
    assert caught.value.message.startswith(f"source.path: {path} ")
    return caught.value


@pytest.fixture
def without_keras_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    really = builtins.__import__

    def imported(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "tf_keras":
            raise ModuleNotFoundError("No module named 'tf_keras'")
        return really(name, *rest)

    monkeypatch.setattr(builtins, "__import__", imported)


@GENERATIONS
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_a_file_of_either_generation_freezes_to_what_it_holds(tmp_path: Path, name: str, generation: int) -> None:
    model = frozen(opened(keras_file(tmp_path / name, generation)))
    assert [(spec.name, spec.shape) for spec in model.signature.inputs] == [("image", (1, 4))]
    assert [(spec.name, spec.shape) for spec in model.signature.outputs] == [("scores", (1, 3))]
    np.testing.assert_allclose(run_frozen(model, {"image": X})[0], answer(X), atol=1e-6)


@pytest.mark.parametrize(
    ("saved", "renamed"), [("m.keras", "m.h5"), ("m.h5", "m.keras"), ("m.h5", "model"), ("m.keras", "a.zip")]
)
def test_a_file_is_read_by_its_content_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str, renamed: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = keras_file(tmp_path / saved, 3).rename(tmp_path / renamed)
    np.testing.assert_allclose(run_frozen(frozen(opened(path)), {"image": X})[0], answer(X), atol=1e-6)


@GENERATIONS
def test_layers_that_differ_in_training_run_as_in_inference(tmp_path: Path, generation: int) -> None:
    keras = keras_of(generation)
    x = keras.layers.Input((6, 6, 1), name="picture")
    y = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(2, 3)(x)))
    model = keras.Model(x, keras.layers.GlobalAveragePooling2D(name="mean")(y))
    model.get_layer("norm").set_weights([np.full(2, value, np.float32) for value in (2, 1, 0.5, 4)])
    model.save(tmp_path / "model.keras")
    picture = digits(1, [6, 6, 1])
    expected = np.asarray(model(picture, training=False))
    np.testing.assert_allclose(run_frozen(frozen(opened(tmp_path / "model.keras")), {"picture": picture})[0], expected, atol=1e-6)


@GENERATIONS
def test_the_optimizer_and_the_losses_of_a_compiled_model_are_not_needed(tmp_path: Path, generation: int) -> None:
    model = keras_model(generation)
    model.compile("adam", loss=lambda truth, found: truth - found)
    model.save(tmp_path / "model.keras")
    assert frozen(opened(tmp_path / "model.keras")).signature.inputs[0].name == "image"


# What a file lacks --------------------------------------------------------------------------------------------------------


@GENERATIONS
def test_a_file_of_weights_says_so_and_points_to_python(tmp_path: Path, generation: int) -> None:
    path = tmp_path / "model.weights.h5"
    keras_model(generation).save_weights(path)
    found = refused(path)
    assert found.message == f"source.path: {path} holds weights only, and no model (no `model_config` in it)"
    assert "source: {kind: python, function: model.py:build}" in found.hint


def test_an_archive_of_weights_says_so_and_points_to_python(tmp_path: Path) -> None:
    keras_model(3).save_weights(tmp_path / "model.weights.h5")
    with zipfile.ZipFile(tmp_path / "weights.keras", "w") as archive:
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    found = refused(tmp_path / "weights.keras")
    assert "holds weights only" in found.message
    assert "kind: python" in found.hint


@GENERATIONS
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_classes_of_ones_own_point_to_python(tmp_path: Path, name: str, generation: int) -> None:
    keras = keras_of(generation)

    class Tripled(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 3.0

    x = keras.layers.Input((4,))
    keras.Model(x, Tripled()(x)).save(tmp_path / name)
    found = refused(tmp_path / name)
    assert "needs classes of your own" in found.message
    assert "Tripled" in found.message or Tripled.__module__ in found.message
    assert "kind: python" in found.hint


def test_a_file_of_keras_2_that_keras_3_cannot_read_names_the_extra(tmp_path: Path, without_keras_2: None) -> None:
    keras_file(tmp_path / "model.h5", 3)
    import h5py

    with h5py.File(tmp_path / "model.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["class_name"] = "OldDense"
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.4.0"
    found = refused(tmp_path / "model.h5")
    assert "was saved by Keras 2 and Keras 3 cannot read it" in found.message
    assert 'pip install "mlkit-build[keras2]"' in found.hint


def test_a_damaged_file_is_not_blamed_on_the_missing_extra(tmp_path: Path, without_keras_2: None) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "keras2" not in refused(tmp_path / "model.keras").hint


# Code in a file -----------------------------------------------------------------------------------------------------------


@GENERATIONS
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_code_in_a_file_never_runs(tmp_path: Path, name: str, generation: int) -> None:
    keras = keras_of(generation)
    ran = tmp_path / "ran"
    x = keras.layers.Input((4,))
    inner = keras.layers.Lambda(lambda value, path=str(ran): [open(path, "w").close(), value][1])  # noqa: PTH123
    keras.Model(x, inner(x)).save(tmp_path / name)
    ran.unlink()
    found = refused(tmp_path / name)
    assert "holds Python code (a Lambda layer), which safe mode does not run" in found.message
    assert "kind: python" in found.hint
    assert not ran.exists()


@GENERATIONS
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_cannot_have_a_module_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, generation: int
) -> None:
    # Keras 2 imports the module that a layer's configuration names (tf_keras serialization_lib, _retrieve_class_or_fn).
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Dense: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = keras_file(tmp_path / name, generation)

    def planted(text: str | bytes) -> str:
        config = json.loads(text)
        config["config"]["layers"][-1] |= {"module": "planted", "registered_name": None}
        return json.dumps(config)

    if name.endswith(".h5"):
        import h5py

        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = planted(file.attrs["model_config"])
    else:
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, planted(data) if member == "config.json" else data)
    if generation == 2 or name == "model.keras":  # Keras 3 reads HDF5 by the layers' own names alone
        refused(path)
    assert not (tmp_path / "ran").exists()


# What is no Keras file ----------------------------------------------------------------------------------------------------


def _archive(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.json", text)


CONTENTS: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is no model\n", "save the model again"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(50), "it is a .tflite model"),
    "half_a_signature": (b"PK", "save the model again"),
    "empty_archive": (b"PK\x05\x06" + bytes(18), "save the model again"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_keras_file_is_told_what_it_is(tmp_path: Path, content: str) -> None:
    data, hint = CONTENTS[content]
    (tmp_path / "model.h5").write_bytes(data)
    found = refused(tmp_path / "model.h5")
    assert "is not a Keras file, which is a zip archive or HDF5" in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"other": "{}"}, "is another archive: it holds other.json, and no config.json"),
        ({"config": "{"}, "cannot be read: "),
        ({"config": "{}", "metadata": "["}, "cannot be read: "),
        ({"config": "{}", "metadata": "[1]"}, "cannot be read: "),
        ({"config": "[]"}, "cannot be read: "),
        ({"config": "{}"}, "cannot be read: "),
    ],
)
def test_an_archive_that_is_no_model_is_named(tmp_path: Path, members: Mapping[str, str], expected: str) -> None:
    _archive(tmp_path / "model.keras", **members)
    assert expected in refused(tmp_path / "model.keras").message


@pytest.mark.parametrize("config", ["{", 3, "[]", '{"class_name": "Nothing"}'])
def test_an_hdf5_file_that_is_no_model_is_named(tmp_path: Path, config: Any) -> None:
    import h5py

    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = config, "2.4.0"
    refused(tmp_path / "model.h5")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_a_source_error(tmp_path: Path, name: str, share: float) -> None:
    path = keras_file(tmp_path / name, 3)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refused(path).hint


def test_a_saved_model_folder_is_told_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/saved_model.pb").write_bytes(b"x")
    with pytest.raises(SourceError, match="is a SavedModel, not a Keras file") as caught:
        source.files(Keras(path="model"), tmp_path)
    assert "kind: saved_model" in caught.value.hint
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(SourceError, match=r"expected a \.keras, \.h5 or \.hdf5 file at .*, found nothing"):
        source.files(Keras(path="model"), tmp_path)
