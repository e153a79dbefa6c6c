"""The notebook of `docs/` runs from top to bottom, in any folder and with an empty cache, and shows what it says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "exporting_tensorflow_models.ipynb"
RESULTS = """
import json
import sys
print(json.dumps({
    "python": sys.executable,
    "add_one": answer["y"].tolist(),
    "refusal": refusal,
    "twice": run(twice.model, x=[21])["y"].tolist(),
    "kept": float(session.run(w)),
    "top1": digits.metrics["top1"].value,
    "drop": digits.metrics["top1"].drop,
    "digits": sorted(path.name for path in digits.bundle.iterdir()),
    "float_operators": digits.manifest["quantization"]["float_operators"],
    "rgb": digits.manifest["signature"]["inputs"][0]["shape"],
    "right": int(names[scores.argmax()]) == int(test_labels[0]),
    "shortfall": shortfall,
    "mnist": mnist.metrics["top1"].value,
    "again": again.report.status,
}))
"""


def executed(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """Return the notebook after a run in an empty folder, with a cell at its end that prints what came of it."""
    import nbformat
    from nbclient import NotebookClient

    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MLKIT_BUILD_CACHE"):
        patch.setenv(variable, str(folder / variable))
    patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    patch.delenv("MLKIT_BUILD_PATH", raising=False)
    (folder / "work").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.append(nbformat.v4.new_code_cell(RESULTS, id="results"))  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder / "work")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return notebook


def test_the_notebook_runs_in_an_empty_folder_and_keeps_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed(tmp_path, monkeypatch)
    results = json.loads(notebook.cells[-1].outputs[0].text)
    assert results["python"] == sys.executable

    assert results["add_one"] == [42.0]
    assert results["twice"] == [42.0]
    assert results["kept"] == 2.0, "the session is as it was"
    assert "the variable 'w' has no value" in results["refusal"]
    assert "Converting unsupported operation: Variable" in results["refusal"]
    assert "tf1_checkpoint" in results["refusal"]

    assert results["top1"] >= 0.95
    assert results["drop"] <= 0.01
    assert results["float_operators"] == 0
    assert results["rgb"] == [1, 28, 28, 3]
    assert {"digits.tflite", "labels.txt", "manifest.json", "report.html"} <= set(results["digits"])
    assert results["right"]
    assert "top1" in results["shortfall"]

    assert results["mnist"] >= 0.989
    assert results["again"] == "unchanged"

    outputs = [(cell.id, output) for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = {cell: output.data for cell, output in outputs if "data" in output}
    for cell, link in (("digits-export", "dist/digits/int8/digits.tflite"), ("recipe", "dist/mnist/int8/report.html")):
        assert f'href="{link}"' in shown[cell]["text/html"]
        assert "top-1 accuracy" in shown[cell]["text/html"]
    printed = [line for _, output in outputs if output.get("name") == "stderr" for line in output.text.splitlines()]
    assert not [line for line in printed if re.search(r"^warning:|Traceback", line)]


def test_the_committed_notebook_has_no_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
