"""What the command line promises: words in, exit code and two clean streams out."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mlkit_build.errors import ExitCode
from mlkit_build.sweep.outcome import worst
from mlkit_build.verbs import VERBS
from tests.conftest import Workspace
from tests.processes import alive, descendants, eventually
from tests.promises.conftest import Command, snapshot

HEAVY = ("tensorflow", "ai_edge_litert", "ai_edge_quantizer", "numpy", "matplotlib", "jinja2", "keras")


# Help and verbs -----------------------------------------------------------------------------------------------------------


def test_version_is_the_packages(workspace: Workspace) -> None:
    done = workspace.cli("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mlkit-build {version('mlkit-build')}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("help",), (), ("recipe=mnist", "--help")])
def test_help_lists_recipes_and_verbs(workspace: Workspace, command: Command, arguments: tuple[str, ...]) -> None:
    folder = workspace.copy("add_one", "my_own_model")
    code, out, err = command(*arguments)
    assert (code, err) == (0, "")
    assert f"my_own_model            {folder}" in out
    assert "mnist                   built in" in out
    assert all(verb.usage in out for verb in VERBS.values())
    assert "Hydra" not in out


def test_an_unknown_verb_suggests_the_nearest(command: Command) -> None:
    code, out, err = command("recips")
    assert (code, out) == (2, "")
    assert err.startswith("error: recips: no such verb; known verbs: ")
    assert "hint: did you mean 'recipes'?" in err


def test_a_recipe_where_a_verb_belongs_is_told_how_to_build_it(command: Command) -> None:
    code, _, err = command("mnist")
    assert code == 2
    assert "run `mlkit-build recipe=mnist`" in err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(workspace: Workspace, command: Command, verb: str) -> None:
    code, out, err = command(verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: mlkit-build {verb}")
    assert list(workspace.folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [("cache", "frob"), ("cache",), ("recipes", "--yaml"), ("plan",), ("plan", "recipe=mnits")])
def test_a_verb_refuses_what_it_does_not_know(command: Command, arguments: tuple[str, ...]) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert "error: " in err


def test_recipes_lists_each_with_version_description_and_place(workspace: Workspace, command: Command) -> None:
    folder = workspace.copy("add_one", "mine")
    workspace.edit("mine", {"version": "3.2.1", "description": "my own words"})
    code, out, _ = command("recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["add_one", "digits_lstm", "flags", "mine", "mnist", "multiply"]
    assert f"3.2.1    my own words ({folder})" in out


def test_recipes_as_json_is_one_object_per_line(workspace: Workspace, command: Command) -> None:
    folder = workspace.copy("mnist")
    code, out, _ = command("recipes", "--json")
    found = {item["name"]: item for item in map(json.loads, out.splitlines())}
    assert code == 0
    assert set(found) == {"add_one", "digits_lstm", "flags", "mnist", "multiply"}
    assert found["mnist"]["path"] == str(folder)
    assert found["mnist"]["builtin"] is False
    assert len(found["mnist"]["shadows"]) == 1
    assert found["add_one"]["builtin"] is True


@pytest.mark.parametrize("text", ["defaults: 5\n", "description: ${nope}\n", "name: [\n", "- a\n", ""])
def test_recipes_lists_the_others_when_one_cannot_be_read(workspace: Workspace, command: Command, text: str) -> None:
    folder = workspace.folder / "recipes/broken"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(text)
    code, out, err = command("recipes")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["add_one", "broken", "digits_lstm", "flags", "mnist", "multiply"]


def test_plan_runs_nothing_and_writes_no_bundle(workspace: Workspace, command: Command) -> None:
    code, out, err = command("plan", "recipe=add_one")
    assert (code, err) == (0, "")
    assert out.startswith("add_one/float32\n")
    assert "0 of 11 actions are in the cache" in out
    assert list(workspace.folder.iterdir()) == []


def test_plan_as_json_says_what_the_build_then_does(workspace: Workspace, command: Command) -> None:
    assert workspace.build("recipe=multiply").exit_code == 0
    workspace.copy("multiply")
    workspace.edit("multiply", {"validation.gates.cosine": {"min": 0.5}})
    code, out, _ = command("plan", "recipe=multiply", "ui=json")
    planned = {item["name"]: item for item in map(json.loads, out.splitlines())}
    assert code == 0
    report = workspace.build("recipe=multiply")
    assert {name for name, item in planned.items() if not item["hit"]} == workspace.ran(report) == {"package"}
    assert {result.action.name: result.key for result in report.actions} == {n: item["key"] for n, item in planned.items()}
    assert "verdicts" in planned["package"]["reason"]


@pytest.mark.parametrize("swept", ["quantization=float32,float16", "-m"])
def test_plan_takes_one_build(command: Command, swept: str) -> None:
    code, out, err = command("plan", "recipe=add_one", swept)
    assert (code, out) == (2, "")
    assert f"error: plan: takes one build, found {swept}" in err
    assert "call plan once for each variant" in err


def test_plan_of_a_recipe_without_its_files_is_refused(workspace: Workspace, command: Command) -> None:
    (workspace.copy("add_one", "mine") / "model/graph.pb").unlink()
    code, out, err = command("plan", "recipe=mine")
    assert (code, out) == (2, "")
    assert "\nerror: source.path: expected a GraphDef file at " in err  # after a warning: the copy has the name of another recipe


def test_plan_says_which_recipe_it_takes_where_two_have_the_name(workspace: Workspace, command: Command) -> None:
    workspace.copy("add_one")
    code, _, err = command("plan", "recipe=add_one")
    assert code == 0
    assert err.startswith("warning: recipe 'add_one' also exists in ")


def test_a_choice_of_the_users_that_hides_a_built_in_one_is_named(workspace: Workspace, command: Command) -> None:
    own = workspace.folder / "conf" / "quantization" / "int8.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("mode: int8\nio: uint8\n")
    code, _, err = command("plan", "recipe=add_one")
    assert code == 0
    assert err == f"warning: {own} hides the built-in choice quantization=int8\n"


def test_cache_info_and_clear_count_what_is_there(workspace: Workspace, command: Command) -> None:
    assert workspace.build("recipe=add_one").exit_code == 0
    before = json.loads(command("cache", "info", "--json")[1])
    assert before["folder"] == str(workspace.cache)
    assert before["records"] == 11
    assert before["size_bytes"] > 0
    assert command("cache", "clear")[0] == 0
    after = json.loads(command("cache", "info", "--json")[1])
    assert (after["records"], after["blobs"], after["size_bytes"]) == (0, 0, 0)
    assert len(workspace.ran(workspace.build("recipe=add_one"))) == 11


def test_cache_of_another_folder_is_another_cache(workspace: Workspace, command: Command) -> None:
    assert workspace.build("recipe=add_one").exit_code == 0
    code, out, _ = command("cache", "info", "--json", f"cache.dir={workspace.folder / 'other'}")
    assert (code, json.loads(out)["records"]) == (0, 0)


def test_cache_refuses_other_keys(command: Command) -> None:
    code, _, err = command("cache", "clear", "output_dir=x")
    assert code == 2
    assert "expected cache.dir=DIR, found 'output_dir=x'" in err


# Hydra's part -------------------------------------------------------------------------------------------------------------


def test_cfg_job_prints_the_composed_configuration_and_builds_nothing(workspace: Workspace) -> None:
    done = workspace.cli("recipe=mnist", "quantization=float16", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    config = OmegaConf.create(done.stdout)
    assert config.name == "mnist"
    assert config.quantization.mode == "float16"
    assert config.source.kind == "tf1_checkpoint"
    assert list(workspace.folder.iterdir()) == []


def test_info_shows_where_the_configuration_comes_from(workspace: Workspace) -> None:
    workspace.copy("add_one")
    done = workspace.cli("recipe=add_one", "--info", "searchpath")
    assert done.returncode == 0, done.stderr
    assert f"recipes://{workspace.folder / 'recipes'}" in done.stdout
    assert list(workspace.folder.iterdir()) == [workspace.folder / "recipes"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mlkit-build recipe=m", {"recipe=mine", "recipe=mnist", "recipe=multiply"}),
        ("mlkit-build recipe=mnist quantization=f", {"quantization=float16", "quantization=float32"}),
        ("mlkit-build recipe=mnist target=", {"target=custom", "target=image_labeling", "target=object_detection"}),
    ],
)
def test_the_shell_completes_recipes_and_choices(workspace: Workspace, line: str, expected: set[str]) -> None:
    workspace.copy("add_one", "mine")
    environment = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = workspace.cli("-sc", "query=bash", env=environment)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected


def test_an_unknown_flag_is_refused(workspace: Workspace) -> None:
    done = workspace.cli("recipe=mnist", "--quantise")
    assert done.returncode == 2
    assert "--quantise" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_on_hydras_way_is_one_message_too(workspace: Workspace) -> None:
    done = workspace.cli("recipe=mnits", "--cfg", "job")
    assert done.returncode == 2
    known = "add_one, digits_lstm, flags, mnist, multiply"
    assert done.stderr.startswith(f"error: recipe=mnits: no such recipe; known recipes: {known}\n")
    assert "Traceback" not in done.stderr


# Screens ------------------------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_nothing_else_on_stdout(workspace: Workspace, command: Command) -> None:
    code, out, _ = command("recipe=multiply", "ui=json")
    (line,) = out.splitlines()
    found = json.loads(line)
    assert code == found["exit_code"] == 0
    assert (found["recipe"], found["variant"], found["status"]) == ("multiply", "float32", "built")
    assert Path(found["bundle"], "multiply.tflite").stat().st_size == found["size_bytes"] > 500
    assert found["metrics"]["max_abs_error"]["value"] == 0
    assert next(action["name"] for action in found["actions"]) == "freeze"
    for action in found["actions"]:
        assert set(action) >= {"name", "stage", "key", "cached", "seconds", "reason"}
        assert action["cached"] is False
    assert found["error"] is None


def test_json_of_a_second_build_says_that_everything_was_reused(workspace: Workspace, command: Command) -> None:
    command("recipe=multiply", "ui=json")
    found = json.loads(command("recipe=multiply", "ui=json")[1])
    assert found["status"] == "unchanged"
    assert all(action["cached"] for action in found["actions"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recipe=mnits",), "no such recipe"),
        (("recipe=mnist", "quantization.io=int8"), "refused by ML Kit"),
        (("recipe=mnist", "labels=nothing.txt"), "labels: expected a file at "),
    ],
)
def test_json_reports_a_refusal_on_stdout(command: Command, arguments: tuple[str, ...], message: str) -> None:
    code, out, _ = command(*arguments, "ui=json")
    found = json.loads(out)
    assert code == found["exit_code"] == 2
    assert found["status"] == "config_error"
    assert message in found["error"]["message"]


def test_plain_puts_progress_on_stderr_and_the_result_on_stdout(workspace: Workspace, command: Command) -> None:
    code, out, err = command("recipe=multiply", "ui=plain")
    assert code == 0
    assert out.startswith("multiply/float32: built in ")
    assert "model size" in out
    assert "dist/multiply/float32" in out
    assert "freeze     running: never built here" in err
    assert "\x1b" not in out + err


def test_quiet_says_nothing_when_all_is_well(workspace: Workspace, command: Command) -> None:
    assert command("recipe=multiply", "ui=quiet") == (0, "", "")


def test_quiet_still_says_what_is_wrong(workspace: Workspace, command: Command) -> None:
    code, out, err = command("recipe=mnist", "labels=nothing.txt", "ui=quiet")
    assert (code, out) == (2, "")
    assert err.startswith("error: labels: expected a file at ")


# Sweeps -------------------------------------------------------------------------------------------------------------------


def test_every_job_of_a_sweep_is_a_row_failed_ones_too(workspace: Workspace, command: Command) -> None:
    workspace.copy("add_one", "strict")
    workspace.edit("strict", {"name": "strict", "validation.gates.size_bytes": {"max": 10}})
    code, out, err = command("-m", "recipe=strict,multiply", "quantization=float32,int9", "ui=plain")
    rows = [line.split() for line in out[out.index("recipe ") :].splitlines()[1:5]]
    assert [row[:4] for row in rows] == [
        ["strict", "float32", "gate", "failed"],
        ["strict", "int9", "not", "built"],
        ["multiply", "float32", "built", "0"],
        ["multiply", "int9", "not", "built"],
    ]
    assert "size_bytes" in " ".join(rows[0])
    assert "quantization=int9: no such choice" in " ".join(rows[1])
    assert code == 2
    assert err.count("quantization=int9: no such choice") == 2


def test_a_sweep_in_json_is_one_object_per_job(workspace: Workspace, command: Command) -> None:
    code, out, _ = command("--multirun", "recipe=add_one,mnits", "ui=json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 2
    assert [(item["recipe"], item["status"], item["exit_code"]) for item in found] == [
        ("add_one", "built", 0),
        ("mnits", "config_error", 2),
    ]


def test_a_sweep_whose_jobs_are_all_built_exits_with_0(workspace: Workspace, command: Command) -> None:
    code, _, _ = command("-m", "recipe=add_one,multiply", "ui=quiet")
    assert code == 0
    assert (workspace.folder / "dist/add_one/float32/manifest.json").is_file()
    assert (workspace.folder / "dist/multiply/float32/manifest.json").is_file()


def test_the_worst_exit_code_of_a_sweep_wins() -> None:
    assert worst([ExitCode.OK, ExitCode.GATE]) == ExitCode.GATE
    assert worst([ExitCode.GATE, ExitCode.CONFIG, ExitCode.OK]) == ExitCode.CONFIG
    assert worst([ExitCode.CONFIG, ExitCode.STAGE_FAILED, ExitCode.GATE]) == ExitCode.STAGE_FAILED
    assert worst([ExitCode.OK]) == ExitCode.OK


# Where things are found ---------------------------------------------------------------------------------------------------


def test_a_users_recipe_comes_before_a_built_in_one_and_the_user_is_told(workspace: Workspace, command: Command) -> None:
    folder = workspace.copy("add_one")
    workspace.edit("add_one", {"version": "7.7.7"})
    code, _, err = command("recipe=add_one", "ui=quiet")
    assert code == 0
    assert err.count("warning: ") == 1
    assert f"using {folder}" in err
    assert json.loads((workspace.folder / "dist/add_one/float32/manifest.json").read_bytes())["version"] == "7.7.7"


def test_a_users_group_choices_come_before_built_in_ones(workspace: Workspace) -> None:
    (workspace.folder / "conf/quantization").mkdir(parents=True)
    (workspace.folder / "conf/quantization/float16.yaml").write_text("mode: dynamic_range\nio: float32\n")
    (workspace.folder / "conf/quantization/house.yaml").write_text("mode: int8\nio: uint8\n")
    assert workspace.compose("recipe=mnist", "quantization=float16").recipe.quantization.mode == "dynamic_range"
    assert workspace.compose("recipe=mnist", "quantization=house").recipe.quantization.io == "uint8"
    assert workspace.compose("recipe=mnist", "quantization=float32").recipe.quantization.mode == "float32"


@pytest.mark.parametrize("how", ["--root DIR", "--root=DIR", "environment"])
def test_another_root_is_searched_after_the_current_folder(
    workspace: Workspace, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    own = workspace.copy("add_one", "both")
    workspace.copy("add_one", "only_there")
    other = tmp_path / "other"
    (other / "recipes").mkdir(parents=True)
    (workspace.folder / "recipes/only_there").rename(other / "recipes/only_there")
    workspace.copy("add_one", "theirs").rename(other / "recipes/both")
    if how == "environment":
        monkeypatch.setenv("MLKIT_BUILD_PATH", str(other))
    flags = {"--root DIR": ["--root", str(other)], "--root=DIR": [f"--root={other}"]}.get(how, [])
    _, out, _ = command(*flags, "recipes", "--json") if not flags else command("recipes", "--json", *flags)
    found = {item["name"]: item for item in map(json.loads, out.splitlines())}
    assert found["only_there"]["path"] == str(other / "recipes/only_there")
    assert found["both"]["path"] == str(own)
    assert found["both"]["shadows"] == [str(other / "recipes/both")]


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_root_without_recipes_is_refused(command: Command, folder: str) -> None:
    code, _, err = command("--root", folder, "recipes")
    assert code == 2
    assert f"--root: expected a folder with recipes/ or conf/ in it, found {folder!r}" in err


def test_a_root_flag_without_a_folder_is_refused(command: Command) -> None:
    assert command("recipes", "--root")[0] == 2


def test_the_config_of_another_hydra_program_changes_nothing(workspace: Workspace) -> None:
    before = workspace.compose("recipe=mnist")
    (workspace.folder / "conf/model").mkdir(parents=True)
    (workspace.folder / "conf/config.yaml").write_text("defaults: [model: big]\nname: theirs\nquantization: 3\n")
    (workspace.folder / "conf/schema.yaml").write_text("name: theirs\n")
    (workspace.folder / "conf/model/big.yaml").write_text("layers: 100\n")
    (workspace.folder / "config.yaml").write_text("name: theirs\n")
    after = workspace.compose("recipe=mnist")
    assert after.conf == (workspace.folder / "conf",)  # our groups may stand beside theirs
    assert dataclasses.replace(after, conf=before.conf) == before


def test_an_empty_folder_is_enough_to_build_in(workspace: Workspace, command: Command) -> None:
    assert list(workspace.folder.iterdir()) == []
    assert command("recipe=add_one", "ui=quiet")[0] == 0
    assert [path.name for path in workspace.folder.iterdir()] == ["dist"]


def drop_privileges() -> None:
    """Let permissions count for root too: give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (linux/capability.h)."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def unprivileged(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as somebody whom permissions stop."""
    return subprocess.run(
        [sys.executable, "-m", "mlkit_build.cli", *arguments],
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        timeout=180,
        preexec_fn=drop_privileges,
    )


@pytest.fixture
def locked() -> Any:
    """Take all permissions from folders, and give them back afterwards."""
    folders: list[tuple[Path, int]] = []

    def lock(folder: Path, mode: int) -> None:
        folders.append((folder, folder.stat().st_mode))
        folder.chmod(mode)

    yield lock
    for folder, mode in folders:
        folder.chmod(mode)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("arguments", [("recipes",), ("--help",), ("recipe=add_one", "--cfg", "job")])
def test_a_recipes_folder_that_cannot_be_read_is_a_message(
    workspace: Workspace, locked: Callable[[Path, int], None], arguments: tuple[str, ...]
) -> None:
    workspace.copy("add_one", "mine")
    locked(workspace.folder / "recipes", 0)
    done = unprivileged(workspace, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {workspace.folder / 'recipes'}: cannot be read: Permission denied\n")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_recipe_folder_that_cannot_be_read_is_a_message(workspace: Workspace, locked: Callable[[Path, int], None]) -> None:
    locked(workspace.copy("add_one", "mine") / "model", 0)
    done = unprivileged(workspace, "recipe=mine", "ui=quiet")
    assert done.returncode == 2
    assert f"{workspace.folder / 'recipes/mine/model/graph.pb'}: cannot be read: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_read_only_cache_is_read_warned_about_once_and_not_written(
    workspace: Workspace, locked: Callable[[Path, int], None]
) -> None:
    assert workspace.build("recipe=add_one").exit_code == 0
    before = snapshot(workspace.cache)
    for folder in sorted((path for path in workspace.cache.rglob("*") if path.is_dir()), reverse=True):
        locked(folder, 0o555)
    locked(workspace.cache, 0o555)
    workspace.copy("add_one")
    workspace.edit("add_one", {"version": "2.0.0"})
    done = unprivileged(workspace, "recipe=add_one", "ui=json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("; building without it") == 1
    ran = [action["name"] for action in json.loads(done.stdout)["actions"] if not action["cached"]]
    assert sorted(ran) == ["describe", "package", "readme"]
    assert snapshot(workspace.cache) == before


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_an_output_folder_that_is_read_only_keeps_its_bundle(workspace: Workspace, locked: Callable[[Path, int], None]) -> None:
    assert workspace.build("recipe=add_one").exit_code == 0
    before = snapshot(workspace.folder / "dist")
    for folder in ("dist/add_one/float32", "dist/add_one", "dist"):
        locked(workspace.folder / folder, 0o555)
    workspace.copy("add_one")
    workspace.edit("add_one", {"version": "2.0.0"})
    done = unprivileged(workspace, "recipe=add_one", "ui=quiet")
    assert done.returncode == 1
    assert "error: output_dir: dist/add_one/float32: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(workspace.folder / "dist") == before


def test_a_current_folder_that_is_gone_is_a_message(workspace: Workspace) -> None:
    gone = workspace.folder / "gone"
    script = f"mkdir {gone}; cd {gone}; rmdir {gone}; exec {sys.executable} -P -m mlkit_build.cli recipes"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: the current folder " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_the_listing_quietly(workspace: Workspace) -> None:
    script = f"{sys.executable} -m mlkit_build.cli --help | true"
    done = subprocess.run(["/bin/sh", "-c", script], cwd=workspace.folder, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "BrokenPipeError" not in done.stderr


# What the parent imports --------------------------------------------------------------------------------------------------


def imported(workspace: Workspace, *arguments: str) -> list[str]:
    """Return the heavy modules that the process of a build has imported when it is over."""
    code = (
        "import sys\nfrom mlkit_build.cli import run\n"
        f"code = run({list(arguments)!r})\n"
        f"print(code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace.folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    exit_code, *found = done.stdout.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    return found


def test_a_full_hit_imports_nothing_heavy(warm_workspace: Workspace) -> None:
    assert warm_workspace.build("recipe=mnist").exit_code == 0
    assert imported(warm_workspace, "recipe=mnist", "ui=quiet") == []


def test_a_bundle_made_from_cached_actions_alone_imports_nothing_heavy(warm_workspace: Workspace) -> None:
    assert imported(warm_workspace, "recipe=mnist", "ui=quiet") == []
    assert (warm_workspace.folder / "dist/mnist/int8/mnist.tflite").is_file()


@pytest.mark.parametrize("verb", ["plan", "explain"])
def test_what_runs_nothing_imports_nothing_heavy(workspace: Workspace, verb: str) -> None:
    assert imported(workspace, verb, "recipe=mnist") == []


def test_a_build_from_nothing_never_imports_tensorflow_in_the_parent(workspace: Workspace) -> None:
    assert imported(workspace, "recipe=add_one", "ui=quiet") == []
    assert (workspace.folder / "dist/add_one/float32/add_one.tflite").is_file()


# Interruption -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("how", "moment"),
    [(signal.SIGINT, "freeze"), (signal.SIGTERM, "reference")],
    ids=["Ctrl-C at freeze", "SIGTERM at reference"],
)
def test_an_interrupted_build_leaves_nothing_behind(
    workspace: Workspace, tmp_path: Path, how: signal.Signals, moment: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment: Mapping[str, str] = {**os.environ, "TMPDIR": str(temporary)}
    log = tmp_path / "stderr"
    with log.open("w") as errors:
        build = subprocess.Popen(
            [sys.executable, "-m", "mlkit_build.cli", "recipe=mnist", "ui=plain"],
            cwd=workspace.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        assert eventually(lambda: f"  {moment:<10} running" in log.read_text() or build.poll() is not None, 60)
        if moment == "reference":
            assert eventually(lambda: len(list(temporary.glob("mlkit-build-*/log"))) > 0 or build.poll() is not None, 60)
        children = descendants(build.pid)
        os.killpg(build.pid, how)
        assert build.wait(60) == 130
    assert children, "TensorFlow was to be at work"
    assert eventually(lambda: not any(map(alive, children)), 10)
    assert log.read_text().splitlines()[-1] == "interrupted; nothing was left half-written"
    assert "Traceback" not in log.read_text()
    assert [path.name for path in temporary.iterdir()] == []
    assert list(workspace.folder.iterdir()) == []
    assert [path for path in (workspace.cache / "v1/tmp").rglob("*") if path.is_file()] == []
    if moment == "reference":
        assert "freeze" not in workspace.ran(workspace.build("recipe=mnist", "quantization=float32"))


def test_two_jobs_of_a_sweep_never_write_one_bundle(workspace: Workspace) -> None:
    done = workspace.cli("-m", "recipe=add_one", "variant=mine", "description=one,two", "ui=json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["exit_code"] for row in rows] == [2, 2]
    assert "would write the bundle dist/add_one/mine of another job of the sweep" in rows[1]["error"]["message"]
    assert not (workspace.folder / "dist/add_one").exists()


def test_an_output_that_cannot_be_written_is_one_line(workspace: Workspace) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "mlkit_build.cli", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=workspace.folder)
    assert "Traceback" not in done.stderr


def test_plan_runs_nothing_even_where_the_cached_metrics_are_damaged(workspace: Workspace, command: Command) -> None:
    report = workspace.build("recipe=add_one")
    evaluate = next(result for result in report.actions if result.action.name == "evaluate")
    blob = next(workspace.cache.rglob(evaluate.outputs["metrics.json"].sha256))
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    code, out, _ = command("plan", "recipe=add_one", "ui=json")
    hits = {row["name"]: row["hit"] for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert (hits["convert"], hits["evaluate"], hits["package"]) == (True, False, False)
    assert not blob.exists()
