from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.mlkit.associated_files import cut
from tests.conftest import Workspace
from tests.verification.conftest import edited, sealed, wrong


@pytest.fixture
def images(warm_workspace: Workspace) -> Path:
    """The bundle of `recipe=mnist`."""
    report = warm_workspace.build("recipe=mnist")
    assert report.bundle is not None
    return report.bundle


def change(manifest: dict[str, Any], **fields: Any) -> None:
    """Change fields of the manifest and of the recipe in it alike."""
    manifest.update(fields)
    manifest["recipe"].update(fields)


def test_a_manifest_of_another_version_than_the_models_is_found(bundle: Path) -> None:
    edited(bundle, lambda manifest: change(manifest, version="9.9.9"))
    found = wrong(bundle)["multiply.tflite"]
    assert found == "its metadata say that its version is '1.0.0', the manifest '9.9.9'"


def test_another_signature_is_found(bundle: Path) -> None:
    edited(bundle, lambda manifest: manifest["signature"]["inputs"][0].update(shape=[7, 7]))
    assert "the manifest says" in wrong(bundle)["multiply.tflite"]


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_another_type_than_the_models_is_found(bundle: Path, end: str) -> None:
    edited(bundle, lambda manifest: manifest["signature"][end][0].update(dtype="int64"))
    assert f"has the {end} " in wrong(bundle)["multiply.tflite"]
    assert " float32 [" in wrong(bundle)["multiply.tflite"].partition(", the manifest says ")[0]
    assert " int64 [" in wrong(bundle)["multiply.tflite"].partition(", the manifest says ")[2]


def test_the_type_that_the_recipe_gives_float_ends_is_the_models(bundle: Path) -> None:
    edited(bundle, lambda manifest: manifest["recipe"]["quantization"].update(io="uint8"))
    assert " uint8 [" in wrong(bundle)["multiply.tflite"].partition(", the manifest says ")[2]


@pytest.mark.parametrize("field", ["description", "author", "license"])
def test_another_recipe_than_the_models_is_found(bundle: Path, field: str) -> None:
    edited(bundle, lambda manifest: manifest["recipe"].update({field: "other"}))
    assert f"its metadata say that its {field} is " in wrong(bundle)["multiply.tflite"]
    assert wrong(bundle)["multiply.tflite"].endswith("the manifest 'other'")


def test_another_size_among_the_metrics_is_found(bundle: Path) -> None:
    edited(bundle, lambda manifest: manifest["metrics"]["size_bytes"].update(value=1.5))
    size = (bundle / "multiply.tflite").stat().st_size
    assert wrong(bundle)["multiply.tflite"] == f"has {size} bytes, the metrics of the manifest say 1.5"


def test_another_mean_in_the_recipe_than_in_the_model_is_found(images: Path) -> None:
    assert not wrong(images)
    edited(images, lambda manifest: manifest["recipe"]["signature"]["inputs"]["image"].update(mean=[127.5]))
    assert wrong(images)["mnist.tflite"] == "its metadata say that the mean of image is [0.0], the recipe [127.5]"


def test_other_labels_beside_the_model_than_in_it_are_found(images: Path) -> None:
    lines = (images / "labels.txt").read_text(encoding="utf-8").splitlines()
    (images / "labels.txt").write_text("".join(f"{line}\n" for line in reversed(lines)), encoding="utf-8")
    relisted(images, "labels.txt")
    assert wrong(images)["mnist.tflite"] == "the labels in it for scores are not those in labels.txt"


def test_of_labels_beside_the_model_no_more_is_read_than_could_be_them(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in ("hashing", "bill"):  # which reserve that much for a document, however small it is
        monkeypatch.setattr(f"mlkit_build.verification.{reader}.MAX_BYTES", 1 << 20)
    (images / "labels.txt").write_bytes(b"label\n" * (8 << 20))
    relisted(images, "labels.txt")
    tracemalloc.start()
    try:
        found = wrong(images)["mnist.tflite"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == "the labels in it for scores are not those in labels.txt"
    assert peak < 8 << 20  # of the 48 MB that the file has


def test_a_model_whose_archive_was_cut_off_is_found(images: Path) -> None:
    model = images / "mnist.tflite"
    model.write_bytes(cut(model.read_bytes()))
    relisted(images, "mnist.tflite")
    assert "cannot be read as a model" in wrong(images)["mnist.tflite"]


def test_what_is_no_model_is_found(bundle: Path) -> None:
    for data in (b"", b"TFL3", bytes(1000)):
        (bundle / "multiply.tflite").write_bytes(data)
        relisted(bundle, "multiply.tflite")
        assert "cannot be read as a model" in wrong(bundle)["multiply.tflite"]


def relisted(bundle: Path, name: str) -> None:
    """Have every document say what the file is now, as somebody would who exchanges it."""
    import hashlib

    data = (bundle / name).read_bytes()
    digest = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    def list_again(manifest: dict[str, Any]) -> None:
        next(entry for entry in manifest["outputs"] if entry["path"] == name).update(digest)

    edited(bundle, list_again)
    sealed(bundle)
