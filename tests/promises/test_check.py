"""`mlkit-build check`: reproducible recipes are called so; of others, the action where it begins is named."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.engine.work import work_folder
from mlkit_build.store import Digest
from tests.conftest import Workspace
from tests.processes import alive, descendants, eventually
from tests.promises.conftest import Command

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""Check every built-in recipe in every quantization, and embed every condition, not only some."""
IN_LONG = pytest.mark.skipif(not LONG, reason="set MLKIT_BUILD_LONG_TESTS=1 to check every recipe and every condition")
MODES = ("float32", "float16", "dynamic_range", "dynamic_range_int4", "weight_only_int8", "weight_only_int4", "int8", "int16x8")
MODEL = """
import datetime, getpass, locale, os, pathlib, platform, pwd, random, socket, sys, tempfile, time, uuid, zlib
import tensorflow as tf

def number(thing):
    return float(zlib.crc32(repr(thing).encode()) & 0xFFFFFF)  # which float32 holds

def build():
    {body}
    return tf.function(lambda x: x * tf.constant(value, tf.float32), input_signature=[tf.TensorSpec([1, 4], tf.float32, "x")])
"""


def checked(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    done = workspace.cli("check", *arguments, timeout=400)
    return done.returncode, done.stdout, done.stderr


def python_recipe(workspace: Workspace, body: str) -> None:
    source = {"kind": "python", "function": "model.py:build", "files": ["data/*"]}
    folder = workspace.write("made", {"version": "1.0.0", "source": source})
    (folder / "model.py").write_text(MODEL.format(body=body))
    (folder / "data").mkdir()
    for name in ("a", "longer", "the longest of all"):
        (folder / "data" / name).touch()


def test_a_built_in_recipe_is_reproducible_and_as_the_cache_has_it(workspace: Workspace, command: Command) -> None:
    code, _, err = command("recipe=multiply")
    assert code == 0, err
    code, out, err = checked(workspace, "recipe=multiply", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["reproducible"] is True
    assert told["compared_with_cache"] == len(told["actions"]) > 4
    assert told["kept"] is None


@IN_LONG
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recipe", ["add_one", "multiply", "mnist", "flags", "digits_lstm"])
def test_every_built_in_recipe_is_reproducible(workspace: Workspace, recipe: str, mode: str) -> None:
    """Also those that its gates would refuse, or that it states no calibration for: as good or bad as they are."""
    told = ["package.min_runtime=any", "validation.gates={}"]
    if recipe in ("add_one", "multiply") and mode in ("int8", "int16x8"):
        told.append("calibration={kind: random, samples: 20, features: {x: {}}}")
    code, out, err = checked(workspace, f"recipe={recipe}", f"quantization={mode}", *told)
    assert code == 0, out + err


EMBEDDED = {
    "order of files": "value = float(len(os.listdir('data')[0]))",
    "time": "value = float(datetime.datetime.now().year)",
}
EMBEDDED_TOO = {
    "home": "value = float(len(os.environ['HOME']))",
    "working folder": "value = number(os.getcwd())",
    "temporary folder": "value = number(tempfile.mkdtemp())",
    "user": "value = number(getpass.getuser())",
    "user of the system": "value = number(pwd.getpwuid(os.getuid()))",
    "host": "value = number([socket.gethostname(), platform.node()])",
    "umask": "pathlib.Path('made').touch()\n    value = float(pathlib.Path('made').stat().st_mode)",
    "cores": "value = float(os.cpu_count())",
    "affinity": "value = float(len(os.sched_getaffinity(0)))",
    "day": "value = number(time.strftime('%d %B'))",
    "clock": "value = float(round(time.time() / 86400))",
    "programs": "value = number(os.environ['PATH'])",
    "network card": "value = number(uuid.getnode())",
}
"""Conditions that an action can see. Those that it cannot are the same in every build: see the next test but one."""


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(body, id=name) for name, body in EMBEDDED.items()),
        *(pytest.param(body, id=name, marks=IN_LONG) for name, body in EMBEDDED_TOO.items()),
    ],
)
def test_what_is_not_reproducible_is_found_and_where_it_begins(workspace: Workspace, body: str) -> None:
    if "affinity" in body and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is but one core")
    python_recipe(workspace, body)
    code, out, err = checked(workspace, "recipe=made", "--keep", "kept")
    assert code == 4, out + err
    assert out.startswith("made/float32: not reproducible: it begins with freeze, from equal inputs")
    assert "frozen_graph.pb" in out
    assert re.search(r"^    nodes: .*: value: \d+ of \d+ bytes differ$", out, re.MULTILINE)
    assert (workspace.folder / "kept" / "as-is" / "dist" / "made" / "float32" / "manifest.json").is_file()


def test_what_chance_made_is_found_and_kept_where_no_build_sweeps(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    python_recipe(workspace, "value = number(os.urandom(9))")
    code, out, err = checked(workspace, "recipe=made", "--json")
    assert code == 4, err
    told = json.loads(out)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with work_folder():  # as the next build makes one
        assert told["kept"] in map(str, temporary.iterdir())
    [kept] = temporary.iterdir()
    first = told["differences"][0]
    assert (first["action"], first["file"]) == ("freeze", "frozen_graph.pb")
    files = [Path(first[which]) for which in ("first", "second")]
    assert [path.is_relative_to(kept) for path in files] == [True, True]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_what_every_action_is_given_alike_cannot_differ(workspace: Workspace) -> None:
    """The other half of the conditions: actions see one time zone, locale, hash seed and number of threads."""
    names = ("TZ", "LC_ALL", "LANG", "PYTHONHASHSEED", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    seen = "hash('text'), time.tzname, locale.setlocale(locale.LC_ALL, ''), locale.getpreferredencoding()"
    python_recipe(workspace, f"value = number([{seen}, *map(os.environ.get, {names!r})])")
    code, out, err = checked(workspace, "recipe=made")
    assert code == 0, out + err


def test_nothing_is_fetched_twice(workspace: Workspace) -> None:
    """Servers that sign requests refuse those of another time; and what is fetched is no result."""
    data = workspace.copy("add_one") / "data" / "samples.npz"
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *told: Any) -> None:
            asked.append(told[1])

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=data.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{data.name}"
        workspace.edit("add_one", {"dataset.path": url, "dataset.sha256": Digest.of_file(data).sha256})
        code, out, err = checked(workspace, "recipe=add_one", "quantization=float32")
        server.shutdown()
    assert code == 0, out + err
    assert len([request for request in asked if request.startswith("GET")]) == 1


def test_a_recipe_that_builds_only_as_things_are_is_told(workspace: Workspace) -> None:
    python_recipe(workspace, "assert os.environ.get('USER') != 'somebody', 'not for you'\n    value = 2.0")
    code, _, err = checked(workspace, "recipe=made")
    assert code == 1
    assert "it builds as things are, and not otherwise" in err
    assert "Traceback" not in err


def test_a_recipe_that_does_not_build_answers_like_its_build(workspace: Workspace) -> None:
    workspace.copy("add_one", "broken")
    workspace.edit("broken", {"source.path": "nothing.pb"})
    code, _, err = checked(workspace, "recipe=broken")
    assert code == 2
    assert "nothing.pb" in err
    assert "Traceback" not in err


def test_what_an_action_that_was_killed_said_is_kept(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    python_recipe(workspace, "print('the last words', flush=True); os.abort()")
    code, _, err = checked(workspace, "recipe=made")
    assert code == 1
    log = Path(next(line for line in err.splitlines() if line.startswith("log: ")).removeprefix("log: "))
    assert log.is_relative_to(temporary)
    assert "the last words" in log.read_text()


def test_a_folder_that_is_there_is_not_written_into(workspace: Workspace) -> None:
    Path("kept").mkdir()
    code, _, err = checked(workspace, "recipe=add_one", "--keep", "kept")
    assert code == 2
    assert "expected a folder that is not there yet" in err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, *([signal.SIGINT] if LONG else [])])
def test_a_check_that_ends_takes_its_builds_along(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Told alone, as by `kill` or a CI server, and not with its children, as by Ctrl-C in a terminal."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with (tmp_path / "stderr").open("w") as errors:
        check = subprocess.Popen(
            [sys.executable, "-m", "mlkit_build.cli", "check", "recipe=multiply"],
            cwd=workspace.folder,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    assert eventually(lambda: list(temporary.glob("mlkit-build-*/out")) or check.poll() is not None, 60)
    children = descendants(check.pid)
    os.kill(check.pid, how)
    code = check.wait(60)
    assert children, "a build was to be at work"
    if how == signal.SIGKILL:
        assert code == -how
        assert eventually(lambda: not any(map(alive, children)))
    else:
        assert code == 130
        assert not any(map(alive, children)), "it waits for them"
    left = [path.name for path in temporary.iterdir()]
    assert len(left) == (how == signal.SIGKILL), "its builds removed what was theirs"
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(temporary))
        with work_folder() as work:  # as the next build makes one
            assert list(temporary.iterdir()) == [work]
    told = (tmp_path / "stderr").read_text()
    assert "Traceback" not in told
    assert told.endswith("check: building as things are\n" + "interrupted; nothing was left half-written\n" * (code == 130))
