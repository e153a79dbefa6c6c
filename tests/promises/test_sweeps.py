"""A sweep costs one conversion, ends with a row for every job, and goes on where it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.config import Roots, launcher
from mlkit_build.engine.pool import Pool
from mlkit_build.errors import ExitCode, StageError
from mlkit_build.job import Job, JobReport
from mlkit_build.report import screens
from mlkit_build.sweep.run import sweep
from tests.conftest import Workspace
from tests.processes import alive, descendants, eventually
from tests.promises.conftest import Borrowed, Command, snapshot

LONG = bool(os.environ.get("MLKIT_BUILD_LONG_TESTS"))
"""End a sweep in every way; a single build is ended in every way elsewhere."""
MODES = "quantization=float32,float16,weight_only_int8,int8"
SHARED = {"freeze", "contract", "convert", "calibrate", "reference"}


def summary(workspace: Workspace, folder: str = "dist") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.folder / folder / "sweeps/latest/summary.json").read_bytes())
    return found


def ran(found: dict[str, Any]) -> Counter[str]:
    """Return how often each action ran in a sweep."""
    return Counter(name for job in found["run"]["jobs"] for name in job["ran"])


def records(workspace: Workspace) -> int:
    return len(list((workspace.cache / "v1/ac").rglob("*.json")))


def small(workspace: Workspace) -> None:
    """Make `mnist` a recipe that is measured in no time."""
    workspace.copy("mnist")
    workspace.edit("mnist", {"dataset.samples": 64, "calibration.samples": 8, "validation.gates": {"top1": {"min": 0.5}}})


# Side by side -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> tuple[Path, str, str]:
    """The four modes of mnist, built in one sweep; with its stdout and stderr. Never write to it: use `swept`."""
    folder = tmp_path_factory.mktemp("swept")
    place = Workspace(folder / "work", folder / "cache", pool)
    small(place)
    done = place.cli("-m", "recipe=mnist", MODES, "ui=plain", env={"MLKIT_BUILD_CACHE": str(place.cache)})
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.fixture
def swept(workspace: Workspace, swept_once: tuple[Path, str, str]) -> tuple[Workspace, str, str]:
    """A copy of it."""
    folder, out, err = swept_once
    shutil.copytree(folder / "work", workspace.folder, symlinks=True, dirs_exist_ok=True)
    shutil.copytree(folder / "cache", workspace.cache)
    return workspace, out, err


def test_what_variants_share_runs_once(swept: tuple[Workspace, str, str]) -> None:
    counted = ran(summary(swept[0]))
    assert {name: counted[name] for name in SHARED} == dict.fromkeys(SHARED, 1)
    assert (counted["evaluate"], counted["package"], counted["readme"]) == (4, 4, 4)
    assert counted.total() == records(swept[0])


def test_rows_and_results_are_in_the_order_of_the_sweep(swept: tuple[Workspace, str, str]) -> None:
    modes = MODES.partition("=")[2].split(",")
    _, out, _ = swept
    assert [line.partition(":")[0] for line in out.splitlines()[:4]] == [f"mnist/{mode}" for mode in modes]
    table = out[out.index("recipe ") :].splitlines()
    assert [row.split()[:3] for row in table[1:5]] == [["mnist", mode, "built"] for mode in modes]
    assert [job["variant"] for job in summary(swept[0])["jobs"]] == modes


def test_every_line_of_parallel_jobs_names_its_job(swept: tuple[Workspace, str, str]) -> None:
    assert all(line.startswith(("mnist/", "warning: recipe 'mnist' also exists in ")) for line in swept[2].splitlines())


def test_a_second_time_nothing_runs_and_the_summary_is_the_same(swept: tuple[Workspace, str, str], command: Command) -> None:
    workspace = swept[0]
    before, page = summary(workspace), (workspace.folder / "dist/sweeps/latest/summary.html").read_bytes()
    bundles = {name: told for name, told in snapshot(workspace.folder / "dist").items() if not name.startswith("sweeps/")}
    code, out, _ = command("-m", "recipe=mnist", MODES, "ui=plain", "jobs=1")
    after = summary(workspace)
    assert code == 0
    assert out.count("nothing to do") == 4
    assert not ran(after)
    assert {job["status"] for job in after["run"]["jobs"]} == {"unchanged"}
    assert {**before, "run": None} == {**after, "run": None}
    assert (workspace.folder / "dist/sweeps/latest/summary.html").read_bytes() == page
    assert {name: told for name, told in snapshot(workspace.folder / "dist").items() if not name.startswith("sweeps/")} == bundles


def test_without_a_cache_jobs_still_share(workspace: Workspace, command: Command) -> None:
    small(workspace)
    assert command("-m", "recipe=mnist", "quantization=float16,weight_only_int8", "cache.enabled=false", "ui=quiet")[0] == 0
    assert ran(summary(workspace)) == {
        "quantize": 2,
        "evaluate": 2,
        "describe": 2,
        "app": 2,
        "package": 2,
        "readme": 2,
        "hops": 2,
        "latency": 2,
        "origin": 1,
        **dict.fromkeys(SHARED - {"calibrate"}, 1),
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_actions_run_at_once_than_jobs_says(workspace: Workspace, command: Command, jobs: int, monkeypatch: Any) -> None:
    small(workspace)
    running, most = 0, 0
    submit = type(workspace.pool).submit

    def counted(pool: Any, preload: str, request: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        future = submit(pool, preload, request)

        def over(_: object) -> None:
            nonlocal running
            running -= 1

        future.add_done_callback(over)
        return future

    monkeypatch.setattr(type(workspace.pool), "submit", counted)
    assert command("-m", "recipe=mnist", MODES, f"jobs={jobs}", "ui=quiet")[0] == 0
    assert most == jobs


def test_a_sweep_over_recipes_has_a_row_for_each(workspace: Workspace, command: Command) -> None:
    workspace.write("broken", {"source": {"kind": "frozen_graph", "path": "nothing.pb"}})
    code, out, err = command("-m", "recipe=add_one,multiply,broken,nowhere", "ui=json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["recipe"], row["status"]) for row in rows] == [
        ("add_one", "built"),
        ("multiply", "built"),
        ("broken", "config_error"),
        ("nowhere", "config_error"),
    ]
    assert (code, err) == (2, "")
    assert [job["passed"] for job in summary(workspace)["jobs"]] == [True, True, False, False]


def test_glob_takes_every_recipe(workspace: Workspace, command: Command) -> None:
    _, out, _ = command("-m", "recipe=glob(m*)", "labels=nothing.txt", "ui=json")  # refused at once: nothing is converted
    assert [json.loads(line)["recipe"] for line in out.splitlines()] == ["mnist", "multiply"]


def test_equal_jobs_are_built_once_and_have_a_row_each(workspace: Workspace, command: Command) -> None:
    code, out, _ = command("-m", "recipe=add_one", "version=1,'1'", "ui=json")
    assert code == 0
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["built", "built"]


def test_a_sweep_that_names_a_job_twice_is_the_sweep_that_names_it_once(workspace: Workspace, command: Command) -> None:
    code, _, err = command("-m", "recipe=add_one", "quantization=float32,float32", "ui=plain")
    twice = summary(workspace)
    assert code == 0
    assert "warning: the sweep asks for recipe=add_one quantization=float32 2 times; it runs once" in err
    command("-m", "recipe=add_one", "quantization=float32", "ui=quiet")
    assert (summary(workspace)["id"], summary(workspace)["jobs"]) == (twice["id"], twice["jobs"])


def test_a_sweep_over_what_changes_no_build_is_refused(workspace: Workspace, command: Command) -> None:
    code, _, err = command("-m", "recipe=add_one", "jobs=1,2")
    assert code == 2
    assert "error: jobs=1,2: changes nothing in what is built" in err
    assert list(workspace.folder.iterdir()) == []


def test_jobs_that_differ_in_a_value_have_bundles_named_after_it(workspace: Workspace, command: Command) -> None:
    assert command("-m", "recipe=add_one", "dataset.samples=2,3", "ui=quiet")[0] == 0
    assert {path.name for path in (workspace.folder / "dist/add_one").iterdir()} == {"float32-samples_2", "float32-samples_3"}


def test_a_command_of_which_nothing_composes_leaves_nothing(workspace: Workspace, command: Command) -> None:
    assert command("-m", "recipe=nowhere,neither", "ui=quiet")[0] == 2
    assert list(workspace.folder.iterdir()) == []


# What goes wrong ----------------------------------------------------------------------------------------------------------


def test_a_job_that_dies_takes_no_other_with_it(workspace: Workspace, command: Command) -> None:
    folder = workspace.write("dying", {"source": {"kind": "python", "function": "model.py:build"}})
    (folder / "model.py").write_text("import os, signal\ndef build():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    code, out, err = command("-m", "recipe=dying,add_one", "ui=plain")
    rows = [line.split()[:3] for line in out[out.index("recipe ") :].splitlines()[1:3]]
    assert rows == [["dying", "float32", "failed"], ["add_one", "float32", "built"]]
    assert "error: dying/float32: freeze: freeze was killed by signal SIGSEGV" in err
    assert code == 1


def test_a_fault_of_ours_in_one_job_is_its_row(workspace: Workspace, command: Command, monkeypatch: Any) -> None:
    from mlkit_build.sweep import parallel

    build = parallel.build

    def faulty(job: Job, *rest: Any) -> JobReport:
        if job.recipe.name == "multiply":
            raise AssertionError("cannot be")
        return build(job, *rest)

    monkeypatch.setattr(parallel, "build", faulty)
    code, out, _ = command("-m", "recipe=add_one,multiply", "ui=json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["status"] for row in rows] == ["built", "failed"]
    assert rows[1]["error"]["message"] == "a fault of mlkit-build itself: AssertionError: cannot be"
    assert "Traceback" in Path(rows[1]["error"]["log"]).read_text()
    assert code == 1


def test_a_fatal_error_ends_every_thread(workspace: Workspace, monkeypatch: Any) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    small(workspace)
    monkeypatch.setattr(screens.Quiet, "job_finished", broken)
    monkeypatch.setattr("mlkit_build.engine.pool.Pool", lambda: Borrowed(workspace.pool))
    with pytest.raises(BrokenPipeError):
        sweep(["recipe=add_one,mnist", "ui=quiet"], Roots.find(), [])
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("mlkit-build-job")])


def test_a_summary_that_cannot_be_written_costs_a_warning(workspace: Workspace, command: Command) -> None:
    (workspace.folder / "dist").mkdir()
    (workspace.folder / "dist/sweeps").write_text("a file")
    code, _, err = command("-m", "recipe=add_one", "ui=quiet")
    assert code == 0
    assert "the summary of the sweep cannot be written" in err


@pytest.mark.parametrize("how", [signal.SIGINT, *([signal.SIGTERM] if LONG else []), signal.SIGKILL])
def test_an_interrupted_sweep_goes_on_where_it_was(workspace: Workspace, tmp_path: Path, how: signal.Signals) -> None:
    small(workspace)
    log = tmp_path / "stderr"
    arguments = [sys.executable, "-m", "mlkit_build.cli", "-m", "recipe=mnist", MODES, "ui=plain"]
    with log.open("w") as errors:
        run = subprocess.Popen(arguments, cwd=workspace.folder, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        assert eventually(lambda: "convert    done" in log.read_text() or run.poll() is not None, 120)
        children = descendants(run.pid)
        os.kill(run.pid, how) if how == signal.SIGKILL else os.killpg(run.pid, how)
        assert run.wait(60) == (-how if how == signal.SIGKILL else 130)
    assert children
    assert eventually(lambda: not any(map(alive, children)))
    assert "Traceback" not in log.read_text()
    done = records(workspace)
    assert done >= 3
    assert not (workspace.folder / "dist/sweeps").exists()
    assert all((bundle / "SHA256SUMS").is_file() for bundle in (workspace.folder / "dist").glob("mnist/[!.]*"))
    again = subprocess.run(arguments, cwd=workspace.folder, capture_output=True, text=True, timeout=180)
    assert again.returncode == 0, again.stderr
    counted = ran(summary(workspace))
    assert not {"freeze", "contract", "convert"} & set(counted)
    assert counted.total() == records(workspace) - done
    assert records(workspace) == len(SHARED) + 1 + 3 + 7 * 4


# Launchers of Hydra -------------------------------------------------------------------------------------------------------


def test_launchers_of_hydra_give_the_same_rows_and_summary(workspace: Workspace) -> None:
    workspace.copy("add_one", "strict")
    workspace.edit("strict", {"name": "strict", "validation.gates.size_bytes": {"max": 10}})
    asked = ["-m", "recipe=add_one,strict", "quantization=float32,int8,int9", "dataset.samples=2,3", "ui=json"]
    launchers = ["basic", *(["joblib"] if find_spec("hydra_plugins.hydra_joblib_launcher") else [])]
    others = {name: workspace.cli(*asked, f"output_dir={name}", f"hydra/launcher={name}") for name in launchers}
    ours = workspace.cli(*asked)
    assert ours.returncode == 2, ours.stderr
    kept = ("recipe", "variant", "exit_code", "error")
    rows = [{key: json.loads(line)[key] for key in kept} for line in ours.stdout.splitlines()]
    codes = [ExitCode.OK] * 2 + [ExitCode.CONFIG] * 4 + [ExitCode.GATE] * 2 + [ExitCode.CONFIG] * 4
    assert [row["exit_code"] for row in rows] == codes, "add_one has nothing to calibrate int8 with, and int9 is no mode"
    for name, done in others.items():
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert [{key: json.loads(line)[key] for key in kept} for line in done.stdout.splitlines()] == rows
        assert {**summary(workspace, name), "run": None} == {**summary(workspace), "run": None}
        assert {path.name for path in (workspace.folder / name / "sweeps").iterdir()} == {summary(workspace)["id"], "latest"}


def test_jobs_that_a_launcher_loses_are_rows(workspace: Workspace, monkeypatch: Any) -> None:
    def gives_up(task: launcher.Task, *_: object) -> None:
        report = JobReport("add_one", "float32", "built", ExitCode.OK)
        launcher.leave(report, task.spool, "0")
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(launcher, "_launch", gives_up)
    overrides = ["recipe=add_one,multiply", "ui=quiet"]
    outcome = sweep(overrides, Roots.find(), [], launcher.launching(["hydra/launcher=basic"], Roots.find()))
    assert [row.report.status for row in outcome.rows] == ["built", "failed"]
    error = outcome.rows[1].report.error
    assert isinstance(error, StageError)
    assert "a worker was killed" in error.message


def test_an_unknown_launcher_is_refused(workspace: Workspace, command: Command) -> None:
    code, _, err = command("-m", "recipe=add_one", "hydra/launcher=jobslib")
    assert code == 2
    assert "hydra/launcher" in err
    assert "Traceback" not in err


# select= ------------------------------------------------------------------------------------------------------------------


def selected(workspace: Workspace) -> list[tuple[str, str | None]]:
    return [(choice["recipe"], choice["variant"]) for choice in summary(workspace)["selected"]]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_smallest_variant_that_passes_is_published_as_best(workspace: Workspace, command: Command) -> None:
    code, out, _ = command("-m", "recipe=add_one,multiply", "quantization=float32,float16", "select=smallest", "ui=plain")
    dist = workspace.folder / "dist"
    assert code == 0
    for name, variant in selected(workspace):
        sizes = {mode: (dist / name / mode / f"{name}.tflite").stat().st_size for mode in ("float32", "float16")}
        assert variant is not None
        assert sizes[variant] == min(sizes.values())
        assert files(dist / name / "best") == files(dist / name / variant)
        assert f"{name}/{variant}, the smallest, as dist/{name}/best" in out
        assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist / name / "best").returncode == 0
    assert [name for name, _ in selected(workspace)] == ["add_one", "multiply"]


def test_the_most_accurate_of_equals_is_the_smaller_whatever_their_order(workspace: Workspace, command: Command) -> None:
    for modes in ("float16,float32", "float32,float16"):
        assert command("-m", "recipe=add_one", f"quantization={modes}", "select=most_accurate", "ui=quiet")[0] == 0
        rows = {job["variant"]: (job["quality"]["value"], job["size_bytes"]) for job in summary(workspace)["jobs"]}
        assert selected(workspace) == [("add_one", min(rows, key=lambda variant: rows[variant]))]


def test_a_second_selection_that_comes_to_the_same_writes_nothing(workspace: Workspace, command: Command) -> None:
    arguments = ("-m", "recipe=add_one", "quantization=float32,float16", "select=smallest", "ui=quiet")
    command(*arguments)
    before = snapshot(workspace.folder / "dist/add_one/best")
    assert command(*arguments)[0] == 0
    assert snapshot(workspace.folder / "dist/add_one/best") == before


def test_where_nothing_passes_the_old_selection_stays(workspace: Workspace, command: Command) -> None:
    command("-m", "recipe=add_one", "quantization=float32,float16", "select=smallest", "ui=quiet")
    before = snapshot(workspace.folder / "dist/add_one/best")
    gate = "+validation.gates={size_bytes: {max: 1}}"
    code, out, _ = command("-m", "recipe=add_one", "quantization=float32,float16", gate, "select=smallest", "ui=plain")
    assert code == ExitCode.GATE
    assert "add_one: none, since no variant passes every gate" in out
    assert selected(workspace) == [("add_one", None)]
    assert snapshot(workspace.folder / "dist/add_one/best") == before


def test_somebodys_work_at_the_place_of_the_best_is_not_replaced(workspace: Workspace, command: Command) -> None:
    theirs = workspace.folder / "dist/add_one/best"
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine")
    code, _, err = command("-m", "recipe=add_one", "quantization=float32,float16", "select=smallest", "ui=quiet")
    assert code == ExitCode.STAGE_FAILED
    assert "error: output_dir: dist/add_one/best: expected a bundle or nothing there" in err
    assert files(theirs) == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("-m", "select=fastest", "validation.latency.runs=0"), "nothing says how fast a variant of add_one is"),
        (("-m", "select=most_accurate", "dataset=null", "validation={}"), "recipe add_one has no dataset"),
        (("-m", "select=smalest"), "did you mean 'smallest'"),
        (("-m", "select=smallest,fastest"), "expected one value for the whole sweep"),
        (("select=smallest",), "add -m and values to choose from"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_before_anything_runs(
    workspace: Workspace, command: Command, overrides: tuple[str, ...], message: str
) -> None:
    code, _, err = command(*overrides, "recipe=add_one", "ui=quiet")
    assert code == ExitCode.CONFIG
    assert message in err
    assert list(workspace.folder.iterdir()) == []
    assert not (workspace.cache / "v1/ac").exists()


@pytest.mark.parametrize("flags", [(), ("-m",), ("-m", "select=smallest")])
@pytest.mark.parametrize("name", ["best", "Best"])
def test_no_variant_takes_the_place_of_a_selection(
    workspace: Workspace, command: Command, flags: tuple[str, ...], name: str
) -> None:
    code, _, err = command(*flags, "recipe=add_one", f"variant={name}", "ui=quiet")
    assert code == ExitCode.CONFIG
    assert f"variant: add_one/best is where select= publishes the best variant of a sweep, found {name!r}" in err
    assert not (workspace.folder / "dist/add_one").exists()


# Cost ---------------------------------------------------------------------------------------------------------------------


def test_a_sweep_with_nothing_to_do_imports_no_runtime(swept: tuple[Workspace, str, str]) -> None:
    workspace = swept[0]
    probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", "-m", "recipe=mnist", MODES, "ui=quiet"]
    done = subprocess.run(probe, cwd=workspace.folder, capture_output=True, text=True, timeout=120)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert done.returncode == 0
    assert "mlkit_build" in imported
    assert not imported & {"tensorflow", "keras", "ai_edge_litert", "ai_edge_quantizer", "numpy", "matplotlib"}


def test_the_page_needs_no_network_and_shows_the_plot(swept: tuple[Workspace, str, str]) -> None:
    page = (swept[0].folder / "dist/sweeps/latest/summary.html").read_text()
    assert "http" not in page
    assert page.count("<circle") == 4
    assert 'class="line"' in page
    assert all(f'report.html">{mode}</a>' in page for mode in ("float32", "float16", "weight_only_int8", "int8"))


def test_a_sweeper_of_hydra_gives_rows_and_a_summary_too(workspace: Workspace) -> None:
    done = workspace.cli("-m", "recipe=add_one", "description=one,two", "hydra.sweeper.max_batch_size=1", "ui=json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["variant"], row["exit_code"]) for row in rows] == [("float32", 0), ("float32", 2)]
    assert "would write the bundle dist/add_one/float32 of another job" in rows[1]["error"]["message"]
    assert [job["exit_code"] for job in summary(workspace)["jobs"]] == [0, 2]
    assert done.returncode == 2


def test_a_sweep_of_nothing_is_refused_with_what_there_is(command: Command) -> None:
    code, out, err = command("-m", "recipe=add_one", "quantization=glob(z*)")
    assert (code, out) == (2, "")
    assert "error: quantization=glob(z*): matches nothing, so there is no job" in err
    assert "quantization is one of float32, float16, " in err
