"""A source that is not what the recipe says: exit code 2, one message that names file and field, no traceback, nothing cached."""

from __future__ import annotations

import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import SourceError
from mlkit_build.recipe import FrozenGraph, SavedModel, Tf1Checkpoint
from mlkit_build.sources import source
from tests.conftest import Workspace
from tests.promises.conftest import Command
from tests.sources.models import checkpoint, keras_file, saved_model_v1, saved_model_v2, write_graph

OFFSETS = int(os.environ.get("MLKIT_BUILD_TEST_OFFSETS", "3"))
"""At how many lengths each file is cut; set it high to look at many more."""


@dataclass
class Refusal:
    """What the command line said when it refused: the one error, its hint, and the log it points to."""

    message: str
    hint: str
    log: str


Refused = Callable[..., Refusal]


@pytest.fixture
def refused(workspace: Workspace, command: Command) -> Refused:
    """Build a recipe called `mine`, and demand that it is refused as promised."""

    def call(*overrides: str, exit_code: int = 2) -> Refusal:
        code, out, err = command("recipe=mine", "ui=quiet", *overrides)
        said: dict[str, list[str]] = {"error": [], "hint": [], "log": []}
        for line in err.splitlines():
            title, colon, text = line.partition(": ")
            if colon and title in said:
                said[title].append(text)
        assert code == exit_code, err
        assert len(said["error"]) == 1, err
        assert "Traceback" not in out + err
        assert not (workspace.folder / "dist").exists()
        assert not [path for path in (workspace.cache / "v1/ac").rglob("*") if path.is_file()], "a failure was recorded"
        return Refusal(said["error"][0], "\n".join(said["hint"]), "\n".join(said["log"]))

    return call


def recipe(workspace: Workspace, kind: str, path: str = "", **more: Any) -> Path:
    """Write the recipe `mine`; return its folder."""
    return workspace.write("mine", {"source": {"kind": kind, **({"path": path} if path else {}), **more}})


def python(workspace: Workspace, text: str, **more: Any) -> Path:
    """Write a recipe whose source is the function `build` of the module `text`; return its folder."""
    folder = recipe(workspace, "python", function="model.py:build", **more)
    (folder / "model.py").write_text(text)
    return folder


# Files --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("saved_model", "model", "source.path: expected a SavedModel's folder, with saved_model.pb in it, at {0}, found nothing"),
        ("keras", "model.keras", "source.path: expected a .keras, .h5 or .hdf5 file at {0}, found nothing"),
        ("frozen_graph", "model.pb", "source.path: expected a GraphDef file at {0}, found nothing"),
        ("tf1_checkpoint", "model.ckpt", "source.path: no checkpoint at {0} (looked for .meta, .index and .data-*)"),
    ],
)
def test_a_missing_source_is_named_with_the_place_looked_at(
    workspace: Workspace, refused: Refused, kind: str, path: str, expected: str
) -> None:
    folder = recipe(workspace, kind, path)
    assert refused().message == expected.format(folder / path)


def test_a_missing_graph_of_a_checkpoint_is_named(workspace: Workspace, refused: Refused) -> None:
    folder = recipe(workspace, "tf1_checkpoint", "net", graph="graph.pbtxt")
    checkpoint(folder / "net")
    assert (
        refused().message == f"source.graph: expected a GraphDef or MetaGraphDef file at {folder / 'graph.pbtxt'}, found nothing"
    )


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("anything.txt", "")
    return stream.getvalue()


CONTENTS: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "zip": (_zip(), "archive"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(100), ".tflite"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), ""),
    "text": (b"hello, this is no model\n", ""),
    "random": (np.random.default_rng(1).bytes(1000), ""),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("kind", "name"), [("saved_model", "saved_model.pb"), ("keras", "model.h5"), ("keras", "model.keras")])
def test_a_file_of_another_kind_is_named_with_what_it_is(
    workspace: Workspace, refused: Refused, kind: str, name: str, content: str
) -> None:
    data, hint = CONTENTS[content]
    folder = recipe(workspace, kind, name if kind == "keras" else "saved")
    file = folder / ("" if kind == "keras" else "saved") / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    found = refused()
    assert found.message.startswith(f"source.path: {file} ")
    assert hint in found.message + found.hint
    assert found.hint


@pytest.mark.parametrize(
    ("kind", "path", "message", "hint"),
    [
        ("frozen_graph", "saved/saved_model.pb", "is not a GraphDef", "saved_model.pb"),
        ("frozen_graph", "saved", "expected a GraphDef file at {0}, found a folder", ""),
        ("keras", "saved", "is a SavedModel, not a Keras file", "kind: saved_model"),
        ("keras", "graph.pb", "is not a Keras file", "save the model again"),
        ("saved_model", "model.keras", "expected a SavedModel's folder", ""),
        ("saved_model", "models", "expected a SavedModel's folder", "did you mean models/deeper?"),
        ("tf1_checkpoint", "graph.pb", "checkpoint part missing: {0}.meta", "source.graph"),
        ("tf1_checkpoint", "saved", "expected a checkpoint's prefix, found the folder {0}", "it holds no checkpoint"),
    ],
)
def test_a_source_under_the_wrong_kind_is_named(
    workspace: Workspace, refused: Refused, kind: str, path: str, message: str, hint: str
) -> None:
    folder = recipe(workspace, kind, path)
    saved_model_v2(folder / "saved")
    shutil.copytree(folder / "saved", folder / "models/deeper")
    write_graph(folder / "graph.pb", constants=True)
    keras_file(folder / "model.keras", 3)
    found = refused()
    assert found.message.startswith("source.path: ")
    assert message.format(folder / path) in found.message
    assert hint in found.hint


def _graph(folder: Path, name: str) -> dict[str, Any]:
    write_graph(folder / name, constants=True)
    return {"kind": "frozen_graph", "path": name}


def _saved(folder: Path) -> dict[str, Any]:
    saved_model_v2(folder / "saved")
    return {"kind": "saved_model", "path": "saved"}


def _keras(folder: Path, name: str, generation: int) -> dict[str, Any]:
    keras_file(folder / name, generation)
    return {"kind": "keras", "path": name}


# Name -> how it is written, the file that is cut, and up to which share of its length the cut must be noticed: the end of a
# SavedModel's data is its object graph, which is not read.
CUT: Mapping[str, tuple[Callable[[Path], dict[str, Any]], str, float]] = {
    "graph": (lambda folder: _graph(folder, "graph.pb"), "graph.pb", 0.999),
    "text graph": (lambda folder: _graph(folder, "graph.pbtxt"), "graph.pbtxt", 0.95),
    "SavedModel": (_saved, "saved/saved_model.pb", 0.999),
    "SavedModel's index": (_saved, "saved/variables/variables.index", 0.999),
    "SavedModel's data": (_saved, "saved/variables/variables.data-00000-of-00001", 0.05),
    "Keras 3 archive": (lambda folder: _keras(folder, "model.keras", 3), "model.keras", 0.999),
    "Keras 3 HDF5": (lambda folder: _keras(folder, "model.h5", 3), "model.h5", 0.999),
    "Keras 2 HDF5": (lambda folder: _keras(folder, "model.h5", 2), "model.h5", 0.999),
}


@pytest.mark.parametrize("form", CUT)
def test_a_file_cut_at_any_length_is_refused_and_whole_again_is_built(workspace: Workspace, refused: Refused, form: str) -> None:
    write, name, share = CUT[form]
    folder = workspace.write("mine", {})
    workspace.write("mine", {"source": write(folder)})
    file = folder / name
    whole = file.read_bytes()
    for length in sorted({int(len(whole) * share * (number + 1) / OFFSETS) for number in range(OFFSETS)}):
        file.write_bytes(whole[:length])
        found = refused()
        assert found.message.startswith(("source.path: ", "signature")), (length, found)
        assert str(folder) in found.message, (length, found)
    file.write_bytes(whole)
    report = workspace.build("recipe=mine")
    assert {result.action.name for result in report.actions} >= {"freeze", "convert", "evaluate"}, report.error


# Protobuf's limit ---------------------------------------------------------------------------------------------------------


def sparse(path: Path, size: int = 2**31) -> Path:
    """Make a file of 2 GB that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_graph_beyond_protobufs_limit_is_refused_before_it_is_read(workspace: Workspace, refused: Refused) -> None:
    file = sparse(recipe(workspace, "frozen_graph", "graph.pb") / "graph.pb")
    found = refused()
    assert found.message.startswith(f"source.path: {file} has 2147483648 bytes; a GraphDef can hold 2 GB")
    assert "saved_model" in found.hint


@pytest.mark.parametrize(
    ("stated", "file"),
    [
        (FrozenGraph(path="graph.pbtxt"), "graph.pbtxt"),
        (SavedModel(path="saved"), "saved/saved_model.pb"),
        (Tf1Checkpoint(path="net"), "net.meta"),
        (Tf1Checkpoint(path="net", graph="graph.pb"), "graph.pb"),
    ],
)
def test_every_file_that_is_one_message_has_protobufs_limit(tmp_path: Path, stated: Any, file: str) -> None:
    for name in ("net.meta", "net.index", "net.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"")
    sparse(tmp_path / file)
    kind = source(stated.kind)
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"has 2147483648 bytes; a GraphDef can hold 2 GB"):
        kind.load(kind.files(stated, tmp_path), stated)
    assert time.monotonic() - started < 5, "it was read"


# Signatures ---------------------------------------------------------------------------------------------------------------


def test_a_signature_that_a_saved_model_lacks_is_answered_with_those_it_has(workspace: Workspace, refused: Refused) -> None:
    folder = recipe(workspace, "saved_model", "saved", signature="serve")
    saved_model_v2(folder / "saved", {"doubled": "doubled", "serving_default": "scores"})
    found = refused()
    expected = f"source.signature: no signature 'serve'; {folder / 'saved/saved_model.pb'} has doubled, serving_default"
    assert found.message == expected
    assert found.hint == "did you mean 'serving_default'?"


def test_tags_that_a_saved_model_lacks_are_answered_with_those_it_has(workspace: Workspace, refused: Refused) -> None:
    folder = recipe(workspace, "saved_model", "saved", tags=["serve"])
    saved_model_v1(folder / "saved", tags=("train",))
    assert refused().message == f"source.tags: no graph is tagged [serve]; {folder / 'saved/saved_model.pb'} has [train]"


def test_a_file_of_weights_points_to_python(workspace: Workspace, refused: Refused) -> None:
    from tests.sources.models import keras_model

    folder = recipe(workspace, "keras", "model.weights.h5")
    keras_model(3).save_weights(folder / "model.weights.h5")
    found = refused()
    assert f"{folder / 'model.weights.h5'} holds weights only" in found.message
    assert "kind: python" in found.hint


def test_an_output_name_that_the_model_lacks_is_answered_with_those_it_has(workspace: Workspace, refused: Refused) -> None:
    folder = recipe(workspace, "keras", "model.keras")
    keras_file(folder / "model.keras", 3)
    workspace.edit("mine", {"signature": {"outputs": {"a": {}, "b": {}}}})
    assert refused().message.startswith("signature.outputs.a: the model has no output of that name; it has scores (")


# Python functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("def build():\n    raise ValueError('of mine')\n", "raised (line 2 of model.py): ValueError: of mine", ""),
        ("def build():\n    raise SystemExit(0)\n", "raised (line 2 of model.py): SystemExit: 0", ""),
        ("def build():\n    return 3\n", "expected a Keras model, a tf.function", "give the model itself"),
        ("def build():\n    pass\n", "found None", "give the model itself"),
        ("def built():\n    pass\n", "no function 'build' in ", "did you mean 'built'?"),
        ("build = 3\n", "no function 'build' in ", "it has none"),
        ("", "no function 'build' in ", "it has none"),
        ("def build(size):\n    pass\n", "missing 1 required positional argument: 'size'", ""),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found'", "in a copy of"),
        ("def build():\n    open('weights.h5')\n", "FileNotFoundError: ", "files: [weights.h5]"),
        ("def build(:\n", ", line 1: not Python: ", ""),
    ],
)
def test_a_function_that_gives_no_model_is_the_recipes_mistake(
    workspace: Workspace, refused: Refused, text: str, message: str, hint: str
) -> None:
    folder = python(workspace, text)
    (folder / "weights.h5").write_text("there, but not stated")
    found = refused()
    assert found.message.startswith("source.function: ")
    assert message in found.message
    assert hint in found.hint


HANGS = {
    "asleep": "import time\ndef build():\n    time.sleep(600)\n",
    "while imported": "while True:\n    pass\ndef build():\n    pass\n",
    "in C, holding Python's lock": "import re\ndef build():\n    re.match('(a+)+$', 'a' * 40 + 'b')\n",
    "ignoring every error": (
        "import time\ndef build():\n    while True:\n        try:\n            time.sleep(1)\n"
        "        except BaseException:\n            pass\n"
    ),
}


@pytest.mark.parametrize("how", HANGS)
def test_a_function_that_hangs_is_ended_after_its_time(workspace: Workspace, refused: Refused, how: str) -> None:
    python(workspace, HANGS[how], timeout_s=1.5)
    started = time.monotonic()
    found = refused()
    assert time.monotonic() - started < 30
    assert found.message == "source.timeout_s: freeze was not done after 1.5 s and was ended"
    assert "model.py" in Path(found.log).read_text(), "the log says where it hung"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)", "freeze: freeze was killed by signal SIGSEGV"),
        ("import os\n    os._exit(0)", "freeze: freeze ended with status 0 and no result"),
        ("import os\n    os._exit(3)", "freeze: freeze ended with status 3 and no result"),
    ],
)
def test_a_function_that_takes_its_process_down_fails_the_stage_alone(
    workspace: Workspace, refused: Refused, body: str, message: str
) -> None:
    python(workspace, f"def build():\n    {body}\n")
    found = refused(exit_code=1)
    assert found.message == message
    assert Path(found.log).is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "model.py"}, "source.function: expected `FILE.py:NAME`, found 'model.py'"),
        ({"function": "model:build"}, "source.function: expected `FILE.py:NAME`, found 'model:build'"),
        ({"function": "other.py:build"}, "source.function: expected a Python file at "),
        ({"function": "../model.py:build"}, "source.function: expected a path inside of the recipe's folder "),
        ({"timeout_s": 0}, "source.timeout_s: expected seconds above 0, found 0"),
        ({"timeout_s": 1e300}, "source.timeout_s: expected seconds of at most 31536000, which are a year, found 1e+300"),
        ({"timeout_s": "soon"}, "source.timeout_s: "),
        ({"files": ["weights/*"]}, "source.files[0]: no file of "),
        ({"files": ["/etc/hostname"]}, "source.files[0]: expected a path inside of the recipe's folder "),
        ({"files": ["a**"]}, "source.files[0]: no file of "),
        ({"arguments": {"size": 3}}, "unexpected keyword argument 'size'"),
        ({"argument": {"size": 3}}, "source.argument: unknown field"),
    ],
)
def test_a_python_source_that_is_stated_wrongly_names_the_field(
    workspace: Workspace, refused: Refused, changes: Mapping[str, Any], message: str
) -> None:
    python(workspace, "def build():\n    pass\n")
    workspace.edit("mine", {f"source.{key}": value for key, value in changes.items()})
    assert message in refused().message


def test_a_failed_function_leaves_nothing_that_its_mended_form_would_meet(workspace: Workspace, refused: Refused) -> None:
    from tests.sources.models import python_file

    folder = python(workspace, "def build():\n    raise ValueError\n")
    refused()
    python_file(folder, "module")
    found = workspace.build("recipe=mine")
    assert {result.action.name for result in found.actions if not result.cached} >= {"freeze", "convert", "evaluate"}
