"""The parser that metadata need, against what the Task Library's own writer computes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mlkit_build.mlkit import metadata_schema as schema
from mlkit_build.mlkit.flatbuffer import encode
from mlkit_build.mlkit.parser_version import min_parser_version

ORACLE = """
import sys
from pathlib import Path
from tensorflow_lite_support.metadata.cc.python import _pywrap_metadata_version as versions
for name in sys.argv[1:]:
    print(versions.GetMinimumMetadataParserVersion(Path(name).read_bytes()))
"""


def of_unit(options: schema.Options) -> schema.SubGraphMetadata:
    return schema.SubGraphMetadata(input_tensor_metadata=(schema.TensorMetadata(process_units=(schema.ProcessUnit(options),)),))


def of_content(content: schema.FeatureProperties | schema.AudioProperties) -> schema.SubGraphMetadata:
    return schema.SubGraphMetadata(output_tensor_metadata=(schema.TensorMetadata(content=schema.Content(content)),))


def of_file(file: schema.AssociatedFile) -> schema.SubGraphMetadata:
    return schema.SubGraphMetadata(output_tensor_metadata=(schema.TensorMetadata(associated_files=(file,)),))


CASES = {  # versions: the schema's history
    "nothing": (schema.SubGraphMetadata(), "1.0.0"),
    "labels": (of_file(schema.AssociatedFile("a", type=schema.FileType.TENSOR_AXIS_LABELS)), "1.0.0"),
    "threshold": (of_unit(schema.ScoreThresholdingOptions(0.5)), "1.0.0"),
    "calibration": (of_unit(schema.ScoreCalibrationOptions(1, 0.5)), "1.0.0"),
    "vocabulary": (of_file(schema.AssociatedFile("a", type=schema.FileType.VOCABULARY)), "1.0.1"),
    "units": (schema.SubGraphMetadata(input_process_units=(schema.ProcessUnit(),)), "1.1.0"),
    "more units": (schema.SubGraphMetadata(output_process_units=(schema.ProcessUnit(),)), "1.1.0"),
    "words": (of_unit(schema.BertTokenizerOptions()), "1.1.0"),
    "pieces": (of_unit(schema.SentencePieceTokenizerOptions()), "1.1.0"),
    "groups": (schema.SubGraphMetadata(output_tensor_groups=(schema.TensorGroup("a", ("b",)),)), "1.2.0"),
    "pattern": (of_unit(schema.RegexTokenizerOptions("a")), "1.2.1"),
    "sound": (of_content(schema.AudioProperties(16000, 1)), "1.3.0"),
    "index": (of_file(schema.AssociatedFile("a", type=schema.FileType.SCANN_INDEX_FILE)), "1.4.0"),
    "version": (of_file(schema.AssociatedFile("a", version="v2")), "1.4.1"),
    "custom": (schema.SubGraphMetadata(custom_metadata=(schema.CustomMetadata("a", b"b"),)), "1.5.0"),
    "both": (
        replace(of_unit(schema.BertTokenizerOptions()), custom_metadata=(schema.CustomMetadata("a", b"b"),)),
        "1.5.0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_newest_thing_decides(case: str) -> None:
    graph, version = CASES[case]
    assert min_parser_version(schema.ModelMetadata(subgraph_metadata=(graph,))) == version


def test_the_task_library_computes_the_same(tmp_path: Path) -> None:
    python = os.environ.get("MLKIT_BUILD_ORACLE")
    if not python:
        pytest.skip("no Task Library: set MLKIT_BUILD_ORACLE to the python of an environment with tflite-support==0.4.4")
    for name, (graph, _) in CASES.items():
        (tmp_path / name).write_bytes(encode(schema.ModelMetadata(subgraph_metadata=(graph,)), schema.IDENTIFIER))
    command = [python, "-c", ORACLE, *(str(tmp_path / name) for name in CASES)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    assert dict(zip(CASES, told, strict=True)) == {name: version for name, (_, version) in CASES.items()}
