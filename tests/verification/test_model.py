from __future__ import annotations

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


def test_another_mean_in_the_recipe_than_in_the_model_is_found(images: Path) -> None:
    assert not wrong(images)
    edited(images, lambda manifest: manifest["recipe"]["signature"]["inputs"]["image"].update(mean=[127.5]))
    assert wrong(images)["mnist.tflite"] == "its metadata say that the mean of image is [0.0], the recipe [127.5]"


def test_other_labels_beside_the_model_than_in_it_are_found(images: Path) -> None:
    lines = (images / "labels.txt").read_text(encoding="utf-8").splitlines()
    (images / "labels.txt").write_text("".join(f"{line}\n" for line in reversed(lines)), encoding="utf-8")
    relisted(images, "labels.txt")
    assert wrong(images)["mnist.tflite"] == "the labels in it for scores are not those in labels.txt"


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
