from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.errors import MlkitBuildError
from mlkit_build.recipe import PythonSamples
from tests.conftest import Workspace
from tests.datasets.opening import labels, opened, whole

GOOD = """
import numpy as np
from helper import SCALE

def samples(count=3):
    rng = np.random.default_rng(5)
    for index in range(count):
        yield {"a": rng.normal(size=(2, 3)).astype("float32") * SCALE, "b": index, "class": index % 2}
"""
SPEC = PythonSamples(function="data.py:samples", features={"x": "a", "y": "b"}, label="class", arguments={"count": 7})


@pytest.fixture(autouse=True)
def same_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function's copy of the folder becomes the current one: harmless in an action, which has a TMPDIR too."""
    import sys
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
    before, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    yield
    os.chdir(before)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("data", "helper"):
            del sys.modules[name]


def recipe(folder: Path, code: str = GOOD) -> Path:
    (folder / "data.py").write_text(code)
    (folder / "helper.py").write_text("SCALE = 2\n")
    return folder


def test_what_the_function_yields_is_streamed_again_and_again(tmp_path: Path) -> None:
    dataset = opened(SPEC, recipe(tmp_path))
    rng = np.random.default_rng(5)
    expected = np.stack([rng.normal(size=(2, 3)).astype(np.float32) * 2 for _ in range(7)])
    np.testing.assert_array_equal(whole(dataset, size=3), expected)
    np.testing.assert_array_equal(whole(dataset, "y"), np.arange(7))
    assert labels(dataset) == [0, 1, 0, 1, 0, 1, 0]
    assert (len(dataset), dataset.sample_shape("x"), dataset.sample_shape("y")) == (7, (2, 3), ())


def test_other_samples_at_each_call_are_refused_before_a_model_is_blamed(tmp_path: Path) -> None:
    with pytest.raises(MlkitBuildError, match="sample 0: expected the values of its first call, found others") as caught:
        opened(SPEC, recipe(tmp_path, GOOD.replace("default_rng(5)", "default_rng()")))
    assert "has a seed" in caught.value.hint


LATE = """
import random
import numpy as np

def samples(feature=True):
    order = list(range(17, 60))
    random.SystemRandom().shuffle(order)  # as a shuffle buffer without a seed
    for index in [*range(17), *order]:
        yield {"a": np.full(3, index if feature else 0), "class": index}
"""


@pytest.mark.parametrize("feature", [True, False])
def test_a_later_sample_that_differs_from_the_first_call_is_named(tmp_path: Path, feature: bool) -> None:
    spec = PythonSamples(function="data.py:samples", features={"x": "a"}, label="class", arguments={"feature": feature})
    dataset = opened(spec, recipe(tmp_path, LATE))
    with pytest.raises(MlkitBuildError, match=r"sample (1[7-9]|2\d): expected the values of its first call") as caught:
        whole(dataset)
    assert "has a seed" in caught.value.hint


def test_what_is_compared_are_dtype_and_shape_too(tmp_path: Path) -> None:
    code = (
        "import numpy as np\ncalls = []\ndef samples():\n    calls.append(1)\n    yield {'a': np.zeros(2, 'f4')}\n"
        "    yield {'a': np.zeros(2, 'i4' if len(calls) > 2 else 'f4')}\n"
    )
    dataset = opened(PythonSamples(function="data.py:samples", features={"x": "a"}), recipe(tmp_path, code))
    with pytest.raises(MlkitBuildError, match="sample 1: expected the values of its first call, found others"):
        whole(dataset)


def test_a_buffer_that_the_function_fills_anew_gives_every_sample_its_own_values(tmp_path: Path) -> None:
    code = (
        "import numpy as np\nbuffer = np.zeros(2)\ndef samples():\n    for index in range(5):\n"
        "        buffer[:] = index\n        yield {'a': buffer}\n"
    )
    dataset = opened(PythonSamples(function="data.py:samples", features={"x": "a"}), recipe(tmp_path, code))
    assert whole(dataset).tolist() == [[index, index] for index in range(5)]


def test_other_samples_in_another_process_are_refused(workspace: Workspace) -> None:
    folder = workspace.copy("add_one", "mine")
    # As each process sees it: the values are drawn once, when the module is imported.
    (folder / "data.py").write_text(
        "import os\nDRAWN = [byte / 255 for byte in os.urandom(8)]\n\ndef samples():\n    for value in DRAWN:\n"
        "        yield {'x': value}\n"
    )
    stated = {"kind": "python", "function": "data.py:samples", "features": {"x": "x"}}
    workspace.edit("mine", {"name": "mine", "dataset": stated})
    report = workspace.build("recipe=mine")
    assert report.exit_code == 2
    assert "data.py:samples: expected the samples that reference was run on, found others" in str(report.error)


def test_the_choice_is_by_content(tmp_path: Path) -> None:
    folder = recipe(tmp_path)
    some = PythonSamples(function="data.py:samples", features={"x": "a"}, arguments={"count": 20}, samples=5)
    assert len(set(opened(some, folder).identities())) == 5


CASES = [
    ("def samples():\n    yield 5\n", "sample 0: expected a mapping of names to arrays, found int"),
    ("def samples():\n    yield {'b': 1}\n", r"dataset\.features\.x: no 'a' in sample 0 .*; it has b"),
    ("def samples():\n    yield {'a': 'text'}\n", "sample 0: expected an array of real numbers as 'a', found str"),
    ("def samples():\n    yield {'a': 1j}\n", "expected an array of real numbers as 'a', found complex128 numbers"),
    (
        "import numpy as np\ndef samples():\n    yield {'a': np.zeros(1 << 26, np.float64)}\n",
        "sample 0: expected at most 268435456 bytes as 'a', found 536870912",
    ),
    ("def samples():\n    yield {'a': [[1], [2, 3]]}\n", "expected an array of real numbers as 'a', found list"),
    (
        "def samples():\n    yield {'a': [1, 2]}\n    yield {'a': [1]}\n",
        r"sample 1: expected 'a' as int64 of shape \[2\], .* found int64 of shape \[1\]",
    ),
    ("def samples():\n    yield {'a': 1}\n    1 / 0\n", r"data\.py:samples raised \(line 3 of data\.py\): ZeroDivisionError"),
    (
        (
            "class Lazy:\n    def __array__(self, *_, **__):\n        raise RuntimeError('detach it')\n"
            "def samples():\n    yield {'a': 1}\n    yield {'a': Lazy()}\n"
        ),
        r"raised for 'a' of sample 1 \(line 3 of data\.py\): RuntimeError: detach it",
    ),
    (
        (
            "class Lazy(dict):\n    def __getitem__(self, key):\n        raise RuntimeError('not read')\n"
            "def samples():\n    yield Lazy(a=1)\n"
        ),
        r"raised for 'a' of sample 0 \(line 3 of data\.py\): RuntimeError: not read",
    ),
    (
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\ndef samples():\n    raise Mute\n",
        r"raised \(line 5 of data\.py\): Mute$",
    ),
    ("def samples():\n    return 5\n", "raised.*TypeError"),
    ("def samples():\n    return []\n", "expected samples, found none"),
    (
        "calls = []\ndef samples():\n    calls.append(1)\n    for _ in range(len(calls)):\n        yield {'a': 1}\n",
        r"expected 2 samples, as at its first call, found more",
    ),
    (
        "calls = []\ndef samples():\n    calls.append(1)\n    yield from [{'a': 1}] * (5 - len(calls))\n",
        r"expected 3 samples, as at its first call, found 2",
    ),
    ("def sample():\n    return []\n", r"dataset\.function: no function 'samples'"),
    ("import nothing_of_the_kind\n", r"dataset\.function: .* cannot be imported .*ModuleNotFoundError"),
    ("def samples(:\n", r"dataset\.function: .*data\.py, line 1: not Python"),
    ("def samples():\n    yield {'a': open('other.txt').read()}\n", r"raised \(line 2 of data\.py\): FileNotFoundError"),
]


@pytest.mark.parametrize(("code", "message"), CASES)
def test_what_is_wrong_is_named(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "other.txt").write_text("not stated")
    spec = PythonSamples(function="data.py:samples", features={"x": "a"})
    with pytest.raises(MlkitBuildError, match=message):
        whole(opened(spec, recipe(tmp_path, code)))


def test_code_and_files_are_in_the_key(workspace: Workspace) -> None:
    folder = workspace.copy("add_one", "mine")
    (folder / "some.txt").write_text("1\n2\n3\n")
    (folder / "unused.txt").write_text("1")
    code = "from helper import read\n\ndef samples(name):\n    for value in read(name):\n        yield {'x': value}\n"
    (folder / "data.py").write_text(code)
    (folder / "helper.py").write_text("def read(name):\n    return [float(line) for line in open(name)]\n")
    stated = {"kind": "python", "function": "data.py:samples", "arguments": {"name": "some.txt"}, "files": ["some.txt"]}
    workspace.edit("mine", {"name": "mine", "dataset": {**stated, "features": {"x": "x"}}})
    first = workspace.build("recipe=mine")
    assert first.error is None, first.error
    assert workspace.ran(workspace.build("recipe=mine")) == set()
    (folder / "unused.txt").write_text("2")
    assert workspace.ran(workspace.build("recipe=mine")) == set()
    for name, text in (
        ("some.txt", "1\n2\n4\n"),
        ("helper.py", "def read(name):\n    return [7.0]\n"),
        ("data.py", code + "# changed\n"),
    ):
        (folder / name).write_text(text)
        assert {"reference", "evaluate"} <= workspace.ran(workspace.build("recipe=mine")), name


def test_dataset_and_calibration_each_find_their_own_files(tmp_path: Path) -> None:
    code = "def samples(name):\n    for line in open(name):\n        yield {'a': int(line)}\n"
    folder = recipe(tmp_path, code)
    for name in ("one.txt", "two.txt"):
        (folder / name).write_text(f"{len(name)}\n{name == 'one.txt':d}\n")
    one, two = (
        opened(PythonSamples(function="data.py:samples", features={"x": "a"}, arguments={"name": name}, files=(name,)), folder)
        for name in ("one.txt", "two.txt")
    )
    assert whole(one).tolist() == [7, 1]
    assert whole(two).tolist() == [7, 0]
