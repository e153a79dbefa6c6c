"""The AI pack is the Gradle module that Google Play's plugin takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.recipe import DELIVERIES, Android
from tests.formats.made import MODEL, a_recipe, assert_parses, files, found, written


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_pack_has_its_build_file_and_its_assets(tmp_path: Path, delivery: str) -> None:
    folder = written("aipack", a_recipe("7-segment", Android(delivery=delivery)), tmp_path)
    assert sorted(files(folder)) == [
        "m_7_segment/build.gradle.kts",
        "m_7_segment/src/main/assets/7-segment/7-segment.tflite",
        "m_7_segment/src/main/assets/7-segment/labels.txt",
    ]
    assert (folder / "m_7_segment/src/main/assets/7-segment/7-segment.tflite").read_bytes() == MODEL
    root = assert_parses("kotlin", (folder / "m_7_segment/build.gradle.kts").read_text())
    told = [node.text.decode() for node in found(root, "string_literal")]
    assert told == ['"com.android.ai-pack"', '"m_7_segment"', f'"{delivery}"']


def test_assets_lie_where_litert_puts_them(tmp_path: Path) -> None:
    """LiteRT's exporter of models that were compiled for chips: the same place, but for its folders per chip."""
    from ai_edge_litert.aot.ai_pack import export_lib
    from ai_edge_litert.aot.core import aot_types
    from ai_edge_litert.aot.vendors import fallback_backend

    ours = written("aipack", a_recipe(), tmp_path / "ours")
    backend = fallback_backend.FallbackBackend.create({"backend_id": "fallback"})
    compiled = aot_types.CompilationResult([(backend, aot_types.Model(model_bytes=MODEL))])
    export_lib.export(compiled, tmp_path / "theirs", "mnist", "mnist")
    (theirs,) = (tmp_path / "theirs").rglob("*.tflite")
    assert theirs.relative_to(tmp_path / "theirs").as_posix() == "mnist/src/main/assets/model#group_other/mnist.tflite"
    assert theirs.read_bytes() == (ours / "mnist/src/main/assets/mnist/mnist.tflite").read_bytes()
