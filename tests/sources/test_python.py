from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.errors import SourceError
from mlkit_build.graphs import OpenedModel
from mlkit_build.recipe import Python
from mlkit_build.sources import python
from tests.sources.models import FUNCTIONS, python_file

MODEL = """
import tensorflow as tf

def build(**arguments):
    return tf.function(lambda x: {"y": x * %s}, input_signature=[tf.TensorSpec([1, 2], tf.float32, name="x")])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty recipe folder beside the folder that an action works in."""
    (tmp_path / "recipe").mkdir()
    return tmp_path / "recipe"


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be the child that an action runs in, for the length of a test."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = dict(sys.modules)
    yield
    os.chdir(tmp_path)
    for name in set(sys.modules) - set(before):
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def roles(folder: Path, function: str = "model.py:build", *files: str) -> set[str]:
    found = python.files(Python(function=function, files=files), folder)
    assert all(path.is_file() for path in found.values())
    return set(found)


def opened(folder: Path, function: str = "model.py:build", **stated: Any) -> OpenedModel:
    source = Python(function=function, **stated)
    return python.load(python.files(source, folder), source)


def refused(folder: Path, function: str = "model.py:build", **stated: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        opened(folder, function, **stated)
    return caught.value


# Which files it consists of -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import layers", {"layers.py"}),
        ("import layers as things", {"layers.py"}),
        ("from layers import Dense", {"layers.py"}),
        ("def build():\n    import layers", {"layers.py"}),
        ("try:\n    import layers\nexcept ImportError:\n    pass", {"layers.py"}),
        ("import nets.head", {"nets/__init__.py", "nets/head.py", "nets/sizes.py"}),
        ("from nets import head", {"nets/__init__.py", "nets/head.py", "nets/sizes.py"}),
        ("from nets.head import scaled", {"nets/__init__.py", "nets/head.py", "nets/sizes.py"}),
        ("import nets", {"nets/__init__.py"}),
        ("import bare.part", {"bare/part.py"}),
        ("import around", {"around.py", "back.py"}),
        ("import numpy, tensorflow, nowhere", set()),
        ("name = 'layers'", set()),
    ],
)
def test_what_the_module_imports_from_its_folder_belongs_to_it(folder: Path, text: str, expected: set[str]) -> None:
    write(
        folder,
        {
            "model.py": text,
            "layers.py": "import numpy",
            "nets/__init__.py": "",
            "nets/head.py": "from . import sizes",
            "nets/sizes.py": "",
            "nets/unused.py": "",
            "bare/part.py": "",
            "around.py": "import back",
            "back.py": "import around",
            "train.py": "import layers",
        },
    )
    assert roles(folder) == {"model.py", *expected}


def test_a_module_in_a_folder_of_its_own_imports_from_there_and_from_the_recipes_folder(folder: Path) -> None:
    write(folder, {"deep/model.py": "import beside, above", "deep/beside.py": "", "above.py": "", "beside.txt": ""})
    assert roles(folder, "deep/model.py:build") == {"deep/model.py", "deep/beside.py", "above.py"}


def test_stated_files_are_paths_or_patterns(folder: Path) -> None:
    write(folder, {"model.py": "", "w/a.npy": "a", "w/deep/b.npy": "b", "w/c.txt": "c"})
    assert roles(folder, "model.py:build", "w/a.npy") == {"model.py", "w/a.npy"}
    assert roles(folder, "model.py:build", "w/*.npy", "w/c.txt") == {"model.py", "w/a.npy", "w/c.txt"}
    assert roles(folder, "model.py:build", "w/**/*") == {"model.py", "w/a.npy", "w/deep/b.npy", "w/c.txt"}


@pytest.mark.parametrize("pattern", ["nothing.npy", "w", "w/*.txt", "", ".", "[", "a**", "**", "w/**", "w**/a.npy", "**w/*"])
def test_a_pattern_that_no_file_matches_is_named(folder: Path, pattern: str) -> None:
    write(folder, {"model.py": "", "w/a.npy": "a"})
    with pytest.raises(SourceError) as caught:
        roles(folder, "model.py:build", "model.py", pattern)
    assert caught.value.message == f"source.files[1]: no file of {folder} matches {pattern!r}"
    assert "`name/**/*`" in caught.value.hint


@pytest.mark.parametrize("path", ["../model.py", "/etc/hostname", "w/../../model.py", ".."])
def test_what_lies_outside_of_the_recipes_folder_is_refused(folder: Path, path: str) -> None:
    write(folder, {"model.py": "", "../model.py": ""})
    with pytest.raises(SourceError) as caught:
        roles(folder, "model.py:build", path)
    expected = f"expected a path inside of the recipe's folder {folder}, found {path!r}"
    assert caught.value.message == f"source.files[0]: {expected}"
    with pytest.raises(SourceError) as caught:
        roles(folder, f"{path}:build")
    assert caught.value.message == f"source.function: {expected}"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"def build(:\n", ", line 1: not Python: "),
        (b"a = 1\0", ": not Python: "),
        (b"x = 1\n\n  y = 2\n", ", line 3: not Python: "),
    ],
)
def test_a_module_that_is_not_python_is_named_with_its_line(folder: Path, data: bytes, expected: str) -> None:
    write(folder, {"model.py": "import layers"})
    (folder / "layers.py").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        roles(folder)
    assert caught.value.message.startswith(f"source.function: {folder / 'layers.py'}{expected}")


def test_a_missing_module_is_named(folder: Path) -> None:
    with pytest.raises(SourceError) as caught:
        roles(folder)
    assert caught.value.message == f"source.function: expected a Python file at {folder / 'model.py'}, found nothing"


# What it returns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FUNCTIONS)
@pytest.mark.usefixtures("child")
def test_the_function_may_return_a_model_in_any_form(folder: Path, form: str) -> None:
    python_file(folder, form)
    arguments = {"columns": 2, "scale": 3.0} if form == "arguments" else {}
    (declared,) = opened(folder, arguments=arguments).declared
    assert [spec.shape for spec in declared.inputs] == [(None, 4)]
    assert [spec.name for spec in declared.outputs] == ["scores"]


@pytest.mark.usefixtures("child")
def test_the_function_runs_in_a_copy_with_the_modules_and_files_stated_and_nothing_else(folder: Path) -> None:
    text = "from pathlib import Path\nimport layers\nFOUND = sorted(map(str, Path().rglob('*.*')))\n"
    write(folder, {"model.py": text + MODEL % "layers.FACTOR", "layers.py": "FACTOR = 2.0", "w.txt": "", "other.txt": ""})
    opened(folder, "./model.py:build", files=("w.txt",))
    assert sys.modules["model"].FOUND == ["layers.py", "model.py", "w.txt"]
    assert Path.cwd() != folder


@pytest.mark.usefixtures("child")
def test_a_module_of_a_deeper_folder_is_imported_with_what_lies_beside_it(folder: Path) -> None:
    text = "import beside, above\n" + MODEL % "(beside.A * above.B)"
    write(folder, {"deep/model.py": text, "deep/beside.py": "A = 2.0", "above.py": "B = 3.0"})
    assert opened(folder, "deep/model.py:build").declared


# What is wrong with it ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("child")
def test_a_function_that_does_not_exist_suggests_those_that_do(folder: Path) -> None:
    write(folder, {"model.py": "VALUE = 3\ndef build_model(): pass\ndef _hidden(): pass\n"})
    found = refused(folder)
    assert found.message == f"source.function: no function 'build' in {folder / 'model.py'}"
    assert found.hint == "did you mean 'build_model'?"
    assert refused(folder, "model.py:zzz").hint == "it has build_model"
    assert "no function 'VALUE'" in refused(folder, "model.py:VALUE").message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build():\n    raise ValueError('of mine')", "raised (line 2 of model.py): ValueError: of mine"),
        ("def build():\n    raise SystemExit(0)", "raised (line 2 of model.py): SystemExit: 0"),
        ("def build():\n    raise KeyboardInterrupt", "raised (line 2 of model.py): KeyboardInterrupt"),
        ("def build():\n    assert False", "raised (line 2 of model.py): AssertionError"),
        ("def build():\n    import layers\n    layers.fail()", "raised (line 2 of layers.py): KeyError: 'x'"),
        ("def build(size):\n    pass", "raised: TypeError: build() missing 1 required positional argument: 'size'"),
        ("raise RuntimeError('early')", "cannot be imported (line 1 of model.py): RuntimeError: early"),
        ("import nowhere_to_be_found", "cannot be imported (line 1 of model.py): ModuleNotFoundError: No module named"),
    ],
)
@pytest.mark.usefixtures("child")
def test_what_the_function_raises_is_told_with_the_line_that_raised_it(folder: Path, text: str, message: str) -> None:
    write(folder, {"model.py": text, "layers.py": "def fail():\n    raise KeyError('x')\n"})
    assert refused(folder).message.startswith(f"source.function: {folder / 'model.py'}:build {message}")


@pytest.mark.parametrize("text", ["import nowhere_to_be_found", "def build():\n    open('weights.h5')"])
@pytest.mark.usefixtures("child")
def test_what_is_missing_in_the_copy_is_told_to_be_stated(folder: Path, text: str) -> None:
    write(folder, {"model.py": text, "weights.h5": "there, but not stated"})
    found = refused(folder)
    assert "it runs in a copy of the recipe's folder" in found.hint
    assert "files: [weights.h5]" in found.hint


@pytest.mark.parametrize(
    ("read", "named"),
    [
        ("import keras; keras.models.load_model('shapes.keras')", "shapes.keras"),
        ("import keras; keras.models.load_model('sub/old.h5')", "sub/old.h5"),
        ("import h5py; h5py.File('w.h5')", "w.h5"),
        ("import numpy; numpy.load('data/w.npz')", "data/w.npz"),
        ("import pathlib; pathlib.Path(__file__).with_name('n.txt').read_text()", "n.txt"),
        ("import tensorflow as tf; tf.io.read_file('t.bin')", "t.bin"),
        ("import tensorflow as tf; tf.train.load_checkpoint('net.ckpt')", "net.ckpt*"),
        ("import tensorflow as tf; tf.saved_model.load('saved')", "saved/**/*"),
    ],
)
@pytest.mark.usefixtures("child")
def test_a_file_that_is_missing_in_the_copy_is_named_whoever_says_so(folder: Path, read: str, named: str) -> None:
    write(folder, {"model.py": f"def build():\n    {read}"})
    assert f"`files: [{named}]`, or `files=[{named}]` after `inspect`" in refused(folder).hint


@pytest.mark.usefixtures("child")
def test_an_argument_that_the_function_does_not_take_is_told(folder: Path) -> None:
    write(folder, {"model.py": "def build(size):\n    pass"})
    assert "unexpected keyword argument 'sise'" in refused(folder, arguments={"sise": 3}).message


@pytest.mark.parametrize("returned", ["None", "3", "lambda x: x", "(1, 2, 3)"])
@pytest.mark.usefixtures("child")
def test_a_function_that_returns_no_model_is_told_what_may_be_returned(folder: Path, returned: str) -> None:
    write(folder, {"model.py": f"def build():\n    return {returned}"})
    assert refused(folder).message.startswith("source.function: expected a Keras model, a tf.function")


@pytest.mark.usefixtures("child")
@pytest.mark.parametrize("package", [False, True], ids=["folder", "package"])
def test_a_module_of_a_deeper_folder_may_import_relatively(folder: Path, package: bool) -> None:
    (folder / "recipes/nets").mkdir(parents=True)  # a name that a package elsewhere may have
    (folder / "recipes/nets/model.py").write_text("from . import parts\nfrom .parts import FACTOR\n" + MODEL % "FACTOR")
    (folder / "recipes/nets/parts.py").write_text("FACTOR = 3.0\n")
    if package:
        (folder / "recipes/nets/__init__.py").write_text("")
    source = Python(function="recipes/nets/model.py:build")
    model = python.load(python.files(source, folder), source)
    assert [spec.name for spec in model.declared[0].outputs] == ["y"]


@pytest.mark.usefixtures("child")
def test_a_relative_import_in_the_recipes_folder_itself_is_told_to_be_a_plain_one(folder: Path) -> None:
    (folder / "model.py").write_text("from . import parts\n" + MODEL % "1.0")
    (folder / "parts.py").write_text("")
    source = Python(function="model.py:build")
    with pytest.raises(SourceError, match="relative import") as caught:
        python.load(python.files(source, folder), source)
    assert "write `import x`" in caught.value.hint


@pytest.mark.usefixtures("child")
def test_several_lines_of_an_exception_are_kept(folder: Path) -> None:
    (folder / "model.py").write_text("def build():\n    raise ValueError('\\n'.join(f'line {n}' for n in range(20)))\n")
    source = Python(function="model.py:build")
    with pytest.raises(SourceError) as caught:
        python.load(python.files(source, folder), source)
    assert caught.value.message.endswith("ValueError: line 0\n" + "".join(f"line {n}\n" for n in range(1, 10)) + "...")


def test_a_long_message_is_read_in_a_moment_and_shown_in_part(folder: Path, child: None) -> None:
    # Where a file's name is looked for, a word without an end once took the square of its length: of a million letters, hours.
    write(folder, {"model.py": "def build():\n    raise ValueError('A' * 40_000 + '\\nerror: b')\n"})
    error = refused(folder)
    assert error.message.endswith("ValueError: " + "A" * 988 + "...")
    write(folder, {"model.py": "def build():\n    raise ValueError('own/a.txt; No such file or directory')\n"})
    assert "files: [own/a.txt]" in refused(folder).hint
