from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.graphs import OpenedModel
from mlkit_build.recipe import SavedModel
from mlkit_build.sources import saved_model
from mlkit_build.stages.params import FreezeInput
from tests.sources.models import answer, frozen, module, saved_model_v1, saved_model_v2
from tests.sources.tf1 import digits, run_frozen

X = digits(1, [4])
TWO = {"doubled": "doubled", "serving_default": "scores"}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels of both generations. Never write into it: use a copy."""
    folder = tmp_path_factory.mktemp("saved_models")
    saved_model_v1(folder / "v1")
    saved_model_v1(folder / "v1_two_graphs", tags=("train",), second=("serve", "gpu"))
    saved_model_v1(folder / "v1_two_keys", signatures=("one", "two"))
    saved_model_v1(folder / "v1_no_key", signatures=())
    saved_model_v2(folder / "v2", TWO)
    saved_model_v2(folder / "v2_no_default", {"a": "scores", "b": "doubled"})
    saved_model_v2(folder / "v2_no_key", {})
    return folder


def opened(path: Path, **stated: Any) -> OpenedModel:
    source = SavedModel(path=path.name, **stated)
    return saved_model.load(saved_model.files(source, path.parent), source)


@pytest.mark.parametrize(
    ("name", "stated", "factor"),
    [
        ("v1", {}, 1),
        ("v1", {"tags": ("serve",)}, 1),
        ("v1_two_graphs", {"tags": ("train",)}, 1),
        ("v1_two_graphs", {"tags": ("gpu", "serve")}, 2),
        ("v1_two_keys", {"signature": "one"}, 1),
        ("v1_two_keys", {"signature": "two"}, 2),
        ("v2", {}, 1),
        ("v2", {"signature": "doubled"}, 2),
    ],
)
def test_the_graph_and_signature_asked_for_are_the_ones_frozen(saved: Path, name: str, stated: Any, factor: int) -> None:
    model = frozen(opened(saved / name, **stated))
    assert [(spec.name, spec.shape) for spec in model.signature.inputs] == [("image", (1, 4))]
    assert [(spec.name, spec.shape) for spec in model.signature.outputs] == [("scores", (1, 3))]
    np.testing.assert_allclose(run_frozen(model, {"image": X})[0], factor * answer(X), atol=1e-6)


def test_a_recipe_may_give_names_of_its_own_to_what_the_signature_declares(saved: Path) -> None:
    inputs = {"photo": FreezeInput(None, (1, 4))}
    for outputs in ({"logits": None}, {"logits": "scores"}, {"logits": "y:0"}):
        model = frozen(opened(saved / "v1"), inputs, outputs)
        np.testing.assert_allclose(run_frozen(model, {"photo": X})[0], answer(X), atol=1e-6)


def test_its_own_file_names_it_and_the_variables_are_among_its_files(saved: Path) -> None:
    expected = {"saved_model", "variables.index", "variables.data-00000-of-00001"}
    for path in ("v2", "v2/saved_model.pb"):
        files = saved_model.files(SavedModel(path=path), saved)
        assert set(files) == expected
        assert all(file.is_file() for file in files.values())


def test_what_is_not_read_is_not_among_its_files(saved: Path, tmp_path: Path) -> None:
    saved_model_v2(tmp_path / "assets", assets=tmp_path)
    assert (tmp_path / "assets/assets/vocabulary.txt").is_file()
    names = {path.name for path in saved_model.files(SavedModel(path="assets"), tmp_path).values()}
    assert names == {"saved_model.pb", "variables.index", "variables.data-00000-of-00001"}


def test_a_signature_that_is_not_there_is_answered_with_those_that_are(saved: Path) -> None:
    with pytest.raises(SourceError) as caught:
        opened(saved / "v2", signature="serving_defualt")
    path = saved / "v2/saved_model.pb"
    assert caught.value.message == f"source.signature: no signature 'serving_defualt'; {path} has doubled, serving_default"
    assert caught.value.hint == "did you mean 'serving_default'?"
    with pytest.raises(SourceError, match=r"saved_model\.pb has none"):
        opened(saved / "v1_no_key", signature="serving_default")


@pytest.mark.parametrize(("name", "keys"), [("v1_two_keys", "one, two"), ("v2_no_default", "a, b")])
def test_several_signatures_and_no_default_are_listed(saved: Path, name: str, keys: str) -> None:
    with pytest.raises(ConfigError, match=rf"source\.signature: missing, and .* has several: {keys}") as caught:
        frozen(opened(saved / name))
    assert caught.value.hint == f"add `signature: {keys.split(',')[0]}`"


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("v1", ("gpu",), "no graph is tagged [gpu]; {path} has [serve]"),
        ("v1_two_graphs", ("serve",), "no graph is tagged [serve]; {path} has [train] or [gpu, serve]"),
        ("v1_two_graphs", None, "missing; {path} has [train] or [gpu, serve]"),
    ],
)
def test_tags_that_choose_no_graph_are_answered_with_those_there_are(
    saved: Path, name: str, tags: Sequence[str] | None, expected: str
) -> None:
    with pytest.raises(SourceError) as caught:
        opened(saved / name, tags=tags)
    assert caught.value.message == "source.tags: " + expected.format(path=saved / name / "saved_model.pb")
    assert caught.value.hint.startswith("add `tags: [")


def test_a_graph_of_tensorflow_1_without_a_signature_is_guessed_at_like_any_graph(saved: Path) -> None:
    model = frozen(opened(saved / "v1_no_key"), outputs={"y": "y:0"})
    np.testing.assert_allclose(run_frozen(model, {"x": X})[0], answer(X), atol=1e-6)


def test_a_model_of_tensorflow_2_without_a_signature_is_told_to_save_one(saved: Path) -> None:
    with pytest.raises(SourceError, match="has no signature, so that none of its functions can be called") as caught:
        opened(saved / "v2_no_key")
    assert "signatures=" in caught.value.hint


# What is not a SavedModel -------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_saved_models_suggests_them_by_the_path_to_write(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "v1", tmp_path / "models/one")
    shutil.copytree(saved / "v1", tmp_path / "models/two")
    for stated, folder in (("models", tmp_path), (f"{tmp_path}/models", tmp_path / "elsewhere")):
        with pytest.raises(SourceError, match="found a folder without it") as caught:
            saved_model.files(SavedModel(path=stated), folder)
        assert caught.value.hint == f"did you mean {stated}/one or {stated}/two?"


@pytest.mark.parametrize(("path", "found"), [("nowhere", "nothing"), ("v1/saved_model.txt", "nothing"), ("notes.txt", "a file")])
def test_what_is_no_folder_of_a_saved_model_is_named(tmp_path: Path, path: str, found: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(SourceError) as caught:
        saved_model.files(SavedModel(path=path), tmp_path)
    expected = f"source.path: expected a SavedModel's folder, with saved_model.pb in it, at {tmp_path / path}, found {found}"
    assert caught.value.message == expected


def _without(*parts: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for part in parts:
            (folder / "variables" / part).unlink()

    return damage


def _content(data: bytes, name: str = "saved_model.pb") -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "saved_model.pb").unlink()
        (folder / name).write_bytes(data)

    return damage


DAMAGES: Mapping[str, tuple[Callable[[Path], None], str, str]] = {
    "no_index": (_without("variables.index"), "has no variables/variables.index", "copy the whole folder"),
    "no_data": (_without("variables.data-00000-of-00001"), "cannot be read", "copy all its files again"),
    "empty": (_content(b""), "is not a SavedModel", "the file is empty"),
    "zip": (_content(b"PK\x03\x04" + bytes(30)), "is not a SavedModel", "it is a zip archive"),
    "tflite": (_content(b"\x1c\0\0\0TFL3" + bytes(50)), "is not a SavedModel", ".tflite"),
    "text": (_content(b"hello"), "is not a SavedModel", "may be truncated"),
    "text_form": (_content(b"hello {", "saved_model.pbtxt"), "is not a SavedModel", "may be truncated"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_saved_model_is_named_with_what_is_wrong(saved: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(saved / "v2", tmp_path / "model")
    change, message, hint = DAMAGES[damage]
    change(tmp_path / "model")
    with pytest.raises(SourceError, match=r"^source\.path: ") as caught:
        frozen(opened(tmp_path / "model"))
    assert message in caught.value.message
    assert str(tmp_path / "model") in caught.value.message
    assert hint in caught.value.hint


def test_a_saved_model_is_read_without_the_classes_that_made_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model is data: nothing of it may be restored into this process")

    monkeypatch.setattr(tf.saved_model, "load", refuse)
    monkeypatch.setattr(tf.compat.v1.saved_model, "load", refuse)
    assert frozen(opened(saved / "v2")).signature.outputs[0].name == "scores"


def test_a_method_saved_under_two_keys_answers_under_both(tmp_path: Path) -> None:
    import tensorflow as tf

    model = module()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"one": model.scores, "two": model.scores})
    for key in ("one", "two"):
        found = frozen(opened(tmp_path / "model", signature=key))
        np.testing.assert_allclose(run_frozen(found, {"image": X})[0], answer(X), atol=1e-6)
