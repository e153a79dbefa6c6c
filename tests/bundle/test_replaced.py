"""What a bundle had that the next one at its place lacks is told; what others take the place of is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.bundle.replaced import lost


def manifest(**changes: Any) -> bytes:
    """Return as much of a manifest as is looked at."""
    found = {
        "recipe": {"target": {"task": "image_labeling"}, "labels": "labels.txt"},
        "metrics": {name: {} for name in ("size_bytes", "arena_bytes", "top1", "cosine", "rms_error", "sqnr_db")},
        "gates": [{"metric": "top1"}, {"metric": "top1"}, {"metric": "size_bytes"}],
    }
    return json.dumps({**found, **changes}).encode()


def recipe(task: str = "image_labeling", labels: Any = "labels.txt") -> dict[str, Any]:
    return {"target": {"task": task}, "labels": labels}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (manifest(metrics={"size_bytes": {}, "arena_bytes": {}}), "measured values (top1, cosine, rms_error, ...)"),
        (manifest(metrics={"size_bytes": {}, "FlexErf": {}}), "measured values (top1, cosine, rms_error, ...)"),
        (manifest(gates=[]), "gates (top1, size_bytes)"),
        (manifest(recipe=recipe(labels=None)), "labels"),
        (manifest(recipe=recipe("custom", None), gates=[]),
         "gates (top1, size_bytes), labels, a target of ML Kit (image_labeling)"),
    ],
)  # fmt: skip
def test_what_is_lost_is_told(tmp_path: Path, now: bytes, told: str) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest())
    assert lost(tmp_path, now) == (
        f"{tmp_path}: the bundle there had what this one lacks: {told}; variant= gives this one a place of its own"
    )


@pytest.mark.parametrize(
    "now",
    [manifest(), manifest(metrics={"mae": {}}), manifest(gates=[{"metric": "mae"}]), manifest(recipe=recipe("object_detection"))],
)
def test_what_others_take_the_place_of_is_not_lost(tmp_path: Path, now: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest())
    assert lost(tmp_path, now) == ""


@pytest.mark.parametrize("there", [None, b"", b"[]", b"{", b'{"recipe": 1}', b"[" * 100_000, manifest(gates=3), b"\xff"])
def test_where_there_is_no_bundle_or_a_damaged_one_nothing_is_told(tmp_path: Path, there: bytes | None) -> None:
    if there is not None:
        (tmp_path / "manifest.json").write_bytes(there)
    assert lost(tmp_path, manifest(gates=[])) == ""


def test_a_name_out_of_a_file_cannot_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest(gates=[{"metric": "\x1b[2J"}]))
    assert "\x1b" not in lost(tmp_path, manifest(gates=[]))
