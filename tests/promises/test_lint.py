"""`lint` as a user runs it: exit codes, forms of output, and neither TensorFlow nor Hydra in the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.mlkit.contract.cases import BROKEN, GOOD
from tests.promises.conftest import Command

SENTENCE = (
    "Input tensor has type kTfLiteFloat32: it requires specifying NormalizationOptions metadata to preprocess input images."
)


@pytest.fixture
def files(workspace: Workspace) -> Path:
    """A folder with a good model, one that ML Kit refuses, and one that it loads and shows oddly."""
    for name, data in {
        "good": GOOD.build(),
        "bad": BROKEN["no normalization"].make(),
        "odd": BROKEN["logits"].make(),
        "late": BROKEN["a later version"].make(),
    }.items():
        (workspace.folder / f"{name}.tflite").write_bytes(data)
    return workspace.folder


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("good.tflite",), 0),
        (("odd.tflite", "good.tflite"), 0),
        (("good.tflite", "bad.tflite"), 4),
        (("bad.tflite", "--target", "object_detection"), 4),
        (("bad.tflite", "--target", "custom"), 0),
        (("late.tflite",), 4),
        (("late.tflite", "--runtime", "2.17"), 0),
        (("good.tflite", "nowhere.tflite"), 2),
        (("bad.tflite", "nowhere.tflite"), 2),
        ((), 2),
        (("good.tflite", "--target", "labeling"), 2),
        (("good.tflite", "--runtime", "new"), 2),
    ],
)
def test_the_exit_code_tells_errors_from_warnings_and_from_what_cannot_be_read(
    files: Path, command: Command, arguments: tuple[str, ...], code: int
) -> None:
    found, out, err = command("lint", *arguments)
    assert found == code, out + err
    assert "Traceback" not in err


def test_ml_kits_own_sentence_is_told_with_what_mends_it(files: Path, command: Command) -> None:
    _, out, err = command("lint", "bad.tflite", "good.tflite")
    assert err == ""
    assert f"  ML Kit says: {SENTENCE}\n" in out
    assert "  fix: state the training's values: `mean: [127.5], std: [127.5]` for -1..1" in out
    assert out.endswith("bad.tflite: 1 error\ngood.tflite: keeps every rule\n")


def test_a_file_that_cannot_be_read_hides_none_of_the_others(files: Path, command: Command) -> None:
    _, out, err = command("lint", "nowhere.tflite", "bad.tflite")
    assert err == "error: nowhere.tflite: cannot be read: No such file or directory\n"
    assert "bad.tflite: 1 error" in out


def test_the_folder_of_a_bundle_stands_for_its_model(files: Path, command: Command) -> None:
    (files / "bundle").mkdir()
    (files / "empty").mkdir()
    (files / "good.tflite").rename(files / "bundle" / "good.tflite")
    assert command("lint", "bundle")[:2] == (0, "bundle/good.tflite: keeps every rule\n")
    code, _, err = command("lint", "empty")
    assert (code, "empty: a folder without a .tflite file in it" in err) == (2, True)


def test_json_and_sarif_are_one_document_on_stdout(files: Path, command: Command) -> None:
    _, out, err = command("lint", "bad.tflite", "good.tflite", "--format", "json")
    found = json.loads(out)
    assert [(file["path"], file["errors"]) for file in found["files"]] == [("bad.tflite", 1), ("good.tflite", 0)]
    assert found["files"][0]["findings"][0]["says"] == SENTENCE
    _, out, err = command("lint", "bad.tflite", "--format", "sarif")
    assert err == ""
    assert [result["ruleId"] for result in json.loads(out)["runs"][0]["results"]] == ["normalization"]


def test_a_name_that_the_terminal_has_no_letters_for_is_told(files: Path) -> None:
    (files / "good.tflite").rename(files / "\N{SNOWMAN}.tflite")
    program = "from mlkit_build.cli import main; main()"
    for name, code in (("\N{SNOWMAN}.tflite", 0), ("\N{UMBRELLA}.tflite", 2)):
        ran = subprocess.run(
            [sys.executable, "-c", program, "lint", name],
            capture_output=True,
            env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"},
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        assert f"\\u{ord(name[0]):04x}.tflite: ".encode() in ran.stdout + ran.stderr
        assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_a_document_tells_of_files_that_cannot_be_read(files: Path, command: Command, form: str) -> None:
    for arguments in (("nope.tflite",), ("good.tflite", "nope.tflite")):
        code, out, err = command("lint", *arguments, "--format", form)
        assert code == 2
        assert "nope.tflite: cannot be read: No such file" in err
        found = json.loads(out)
        told = found["files"][-1] if form == "json" else found["runs"][0]["invocations"][0]["toolExecutionNotifications"][0]
        assert "nope.tflite" in str(told)
        assert "cannot be read: No such file" in str(told)


def test_neither_tensorflow_nor_hydra_nor_litert_is_imported(files: Path) -> None:
    program = (
        "import sys; from mlkit_build.cli import run; code = run(['lint', 'good.tflite', 'bad.tflite']); "
        "print(code, sorted({'tensorflow', 'hydra', 'omegaconf', 'ai_edge_litert.interpreter', 'jinja2'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "4 []"


def test_models_by_others(command: Command, shared_model: Callable[[str], Path]) -> None:
    folder = shared_model("tflite")
    assert command("lint", str(folder / "bird_classifier.tflite"))[0] == 0
    assert command("lint", str(folder / "mobilenet_v1_0.25_224_1_metadata_1.tflite"))[0] == 0
    code, out, _ = command("lint", str(folder / "mobilenet_v1_0.25_224_1_default_1.tflite"))
    assert (code, SENTENCE in out) == (4, True)


def test_a_bundle_of_the_project_keeps_every_rule(warm_workspace: Workspace, command: Command) -> None:
    bundle = warm_workspace.build("recipe=mnist").bundle
    assert bundle is not None
    assert command("lint", str(bundle))[1].endswith("mnist.tflite: keeps every rule\n")


def test_a_build_tells_what_lint_warns_of(warm_workspace: Workspace, command: Command) -> None:
    code, _, err = command("recipe=mnist", "adapters=[rgb_to_grayscale]", "validation.gates={}", "ui=plain")
    assert code == 0
    (line,) = (line for line in err.splitlines() if "[score-range]" in line)
    assert line.startswith("warning: mnist/int8: expected scores that an operator keeps within 0..1, found ")
    assert "add `adapters: [softmax]`" in line
