"""The engine on real children: order, reuse, failures, repairs. The actions are in tests/engine/actions.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.engine import Action, OutputOf
from mlkit_build.engine.outcome import KEPT_LOGS
from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError, StageError
from mlkit_build.store import Digest, DiskStore, open_store
from tests.engine.conftest import ROOT, Bench, action
from tests.processes import PATIENCE, alive, eventually


def diamond(bench: Bench, **text: str) -> tuple[Action, ...]:
    """Return top -> left, right -> bottom; each adds its `text`."""
    source = bench.folder / "source.txt"
    if not source.exists():
        bench.file("source.txt", "s")

    def one(name: str, **inputs: Path | OutputOf) -> Action:
        return action(name, inputs=inputs, text=text.get(name, name[0]), label=name, trace=str(bench.trace))

    return (
        one("top", source=source),
        one("left", top=OutputOf("top", "out")),
        one("right", top=OutputOf("top", "out")),
        one("bottom", left=OutputOf("left", "out"), right=OutputOf("right", "out")),
    )


def blobs(bench: Bench, content: bytes) -> Path:
    """Return the blob that holds `content`."""
    name = Digest.of_bytes(content).sha256
    return bench.cache / "v1" / "cas" / name[:2] / name


def spoil(blob: Path) -> None:
    """Change a blob's bytes and keep their number."""
    data = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(b"?" * len(data))


# Order and reuse


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_diamond_runs_in_order_and_every_action_once(bench: Bench, jobs: int) -> None:
    results = bench.run(*reversed(diamond(bench)), jobs=jobs)
    order = bench.traced()
    assert order[0] == "top"
    assert sorted(order[1:3]) == ["left", "right"]
    assert order[3:] == ["bottom"]
    assert not any(result.cached for result in results.values())


def test_a_result_is_made_of_what_the_inputs_say(bench: Bench) -> None:
    assert bench.text(*diamond(bench), of="bottom") == "stl" + "str" + "b"


def test_how_far_an_action_is_reaches_whoever_waits(bench: Bench) -> None:
    bench.run(action("counting", "count", total=7))
    assert bench.heard.progress
    assert set(bench.heard.progress) == {("counting", 7, 7)}


def test_a_second_build_runs_nothing(bench: Bench) -> None:
    first = bench.run(*diamond(bench))
    second = bench.run(*diamond(bench))
    assert bench.heard.ran == []
    assert len(bench.traced()) == 4
    assert all(result.cached and result.reason == "unchanged" for result in second.values())
    assert {name: result.outputs for name, result in second.items()} == {name: result.outputs for name, result in first.items()}


def test_a_changed_param_runs_its_action_and_what_depends_on_it(bench: Bench) -> None:
    bench.run(*diamond(bench))
    bench.run(*diamond(bench, left="L"))
    assert bench.heard.begun[0] == ("left", "params.text: l -> L")
    assert bench.heard.ran == ["left", "bottom"]


def test_a_changed_file_runs_what_reads_it(bench: Bench) -> None:
    bench.run(*diamond(bench))
    bench.file("source.txt", "S")
    assert bench.text(*diamond(bench), of="bottom") == "StlStrb"
    assert bench.heard.ran[0] == "top"
    assert len(bench.heard.ran) == 4


def test_an_action_that_gives_the_same_bytes_again_leaves_what_follows_unchanged(bench: Bench) -> None:
    def chain() -> tuple[Action, Action]:
        return (
            action("length", "length", {"in": bench.folder / "source.txt"}),
            action("after", inputs={"in": OutputOf("length", "out")}, text="!"),
        )

    bench.file("source.txt", "one")
    bench.run(*chain())
    bench.file("source.txt", "two")
    results = bench.run(*chain())
    assert bench.heard.ran == ["length"]
    assert results["after"].cached


def test_going_back_to_an_earlier_param_runs_nothing(bench: Bench) -> None:
    for text in ("x", "y"):
        bench.run(action("one", text=text))
    bench.run(action("one", text="x"))
    assert bench.heard.ran == []


def test_an_action_of_another_version_runs_again(bench: Bench) -> None:
    bench.run(action("one", text="x"))
    bench.run(action("one", text="x", version=2))
    assert bench.heard.begun == [("one", "version: 1 -> 2")]


def test_what_an_action_merely_comes_after_is_done_first_and_decides_nothing(bench: Bench) -> None:
    def pair(text: str) -> tuple[Action, Action]:
        late = action("late", after=("early",), label="late", trace=str(bench.trace))
        return late, action("early", text=text, label="early", trace=str(bench.trace))

    bench.run(*pair("x"))
    assert bench.traced() == ["early", "late"]
    bench.run(*pair("y"))
    assert bench.heard.ran == ["early"]


def test_a_second_run_of_an_engine_goes_on_from_the_first(bench: Bench) -> None:
    top, *rest = diamond(bench)
    with bench.engine() as engine:
        engine.run([top])
        results = engine.run([top, *rest])
    assert bench.traced().count("top") == 1
    assert set(results) == {"top", "left", "right", "bottom"}


def test_a_build_without_a_cache_builds_everything_and_keeps_nothing(bench: Bench) -> None:
    with open_store(None, bench.heard.warning) as store:
        engine = bench.on(store)
        engine.run(diamond(bench))
        assert engine.output("bottom", "out").read_text(encoding="utf-8") == "stlstrb"
    bench.run(*diamond(bench))
    assert len(bench.heard.ran) == 4


def test_a_cache_that_cannot_be_written_builds_all_the_same(bench: Bench) -> None:
    bench.cache.write_text("a file where the folder should be", encoding="utf-8")
    assert bench.text(*diamond(bench), of="bottom") == "stlstrb"
    assert len(bench.traced()) == 4
    assert len(bench.heard.warnings) == 1


def test_the_work_folders_are_gone_when_the_build_is_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = bench.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    bench.run(*diamond(bench))
    with pytest.raises(StageError):
        bench.run(action("bad", "die", status=7))
    assert list(temporary.iterdir()) == []


# Plan


def test_a_plan_runs_nothing_and_makes_nothing(bench: Bench) -> None:
    with bench.engine() as engine:
        decisions = engine.plan(diamond(bench))
    assert [(decision.action.name, decision.hit, decision.reason) for decision in decisions] == [
        ("top", False, "never built here"),
        ("left", False, "waits for top"),
        ("right", False, "waits for top"),
        ("bottom", False, "waits for left, right"),
    ]
    assert bench.traced() == []
    assert bench.heard.begun == []
    assert not bench.cache.exists() or not list(bench.cache.rglob("*.json"))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.fixed_dictionaries({name: st.sampled_from(["x", "y"]) for name in ("top", "left", "right", "bottom")}))
def test_a_run_does_what_the_plan_said(bench: Bench, text: dict[str, str]) -> None:
    actions = diamond(bench, **text)
    with bench.engine() as engine:
        planned = {decision.action.name: decision for decision in engine.plan(actions)}
    results = bench.run(*actions)
    for name, decision in planned.items():
        if decision.key:
            assert results[name].cached is decision.hit
            assert (results[name].key, results[name].reason) == (decision.key, decision.reason)
        else:
            assert decision.reason.startswith("waits for")
    with bench.engine() as engine:
        assert all(decision.hit for decision in engine.plan(actions))


# Failures


@pytest.mark.parametrize("kind", [ConfigError, SourceError, StageError])
def test_an_error_of_an_action_comes_through_as_it_was_raised(bench: Bench, kind: type[MlkitBuildError]) -> None:
    with pytest.raises(kind) as caught:
        bench.run(action("bad", "fail", error=kind.__name__))
    assert (caught.value.message, caught.value.hint) == ("what happened", "what to do")


def test_an_unexpected_error_names_stage_action_and_error_and_its_log_has_the_traceback(bench: Bench) -> None:
    with pytest.raises(StageError) as caught:
        bench.run(action("bad", "fail", error="ValueError"))
    assert caught.value.message == "toy: bad: ValueError: first line"
    log = Path(caught.value.log)
    assert log.parent == bench.logs
    text = log.read_text(encoding="utf-8")
    assert "the last words of a failing action" in text
    assert "Traceback" in text
    assert "second line" in text


def test_a_users_mistake_needs_no_log(bench: Bench) -> None:
    with pytest.raises(SourceError) as caught:
        bench.run(action("bad", "fail", error="SourceError"))
    assert caught.value.log == ""


def test_nothing_is_recorded_for_an_action_that_failed(bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(StageError):
            bench.run(action("bad", "fail", error="StageError", trace=str(bench.trace), label="bad"))
    assert bench.traced() == ["bad", "bad"]
    assert DiskStore(bench.cache).size() == (0, 0, 0)


def test_what_runs_beside_a_failure_is_finished_and_kept_and_what_follows_it_is_not_begun(bench: Bench) -> None:
    release = bench.folder / "release"
    beside = action("beside", "slow", label="beside", trace=str(bench.trace), release=str(release))
    bad = action("bad", "fail", error="StageError", label="bad", trace=str(bench.trace))
    follower = action("follower", inputs={"in": OutputOf("bad", "out")}, label="follower", trace=str(bench.trace))
    other = action("other", inputs={"in": OutputOf("beside", "out")}, label="other", trace=str(bench.trace))

    def let_go() -> None:
        eventually(lambda: sorted(bench.traced()) == ["bad", "beside"])
        eventually(lambda: list(bench.logs.glob("*.log")))
        release.touch()

    thread = threading.Thread(target=let_go)
    thread.start()
    with pytest.raises(StageError, match="what happened"):
        bench.run(beside, bad, follower, other)
    thread.join()
    assert sorted(bench.traced()) == ["bad", "beside"]
    bench.run(beside)
    assert bench.heard.ran == []


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_an_action_killed_by_a_signal_names_stage_signal_and_log(bench: Bench, name: str) -> None:
    with pytest.raises(StageError) as caught:
        bench.run(action("bad", "die", signal=name))
    assert caught.value.message.startswith(f"toy: bad was killed by signal {name}")
    assert ("memory" in caught.value.message) is (name == "SIGKILL")
    assert "the last words of a dying action" in Path(caught.value.log).read_text(encoding="utf-8")


@pytest.mark.parametrize("status", [0, 7])
def test_an_action_that_exits_without_a_result_is_a_failure_whatever_its_status(bench: Bench, status: int) -> None:
    with pytest.raises(StageError, match=f"toy: bad ended with status {status} and no result") as caught:
        bench.run(action("bad", "die", status=status))
    assert "the last words" in Path(caught.value.log).read_text(encoding="utf-8")


def test_the_fork_server_outlives_a_child_that_was_killed(bench: Bench) -> None:
    parents = []
    for turn in range(2):
        parents.append(json.loads(bench.text(action("look", "look_around", turn=turn), of="look"))["parent"])
        with pytest.raises(StageError):
            bench.run(action("bad", "die", signal="SIGSEGV"))
    assert parents[0] == parents[1]


def test_an_output_that_was_promised_and_not_written_is_a_failure_with_a_log(bench: Bench) -> None:
    with pytest.raises(StageError, match="toy: bad did not write a, b") as caught:
        bench.run(action("bad", "nothing", outputs=("a", "b")))
    assert "nothing to say" in Path(caught.value.log).read_text(encoding="utf-8")


def test_an_output_beyond_those_promised_is_not_kept(bench: Bench) -> None:
    results = bench.run(action("one", writes=["out", "more"], text="x"))
    assert set(results["one"].outputs) == {"out"}


def test_a_function_that_does_not_exist_is_a_failure_and_no_hang(bench: Bench) -> None:
    with pytest.raises(StageError, match="toy: bad: AttributeError"):
        bench.run(action("bad", "no_such_function"))


def test_a_missing_file_of_the_user_is_named(bench: Bench) -> None:
    with pytest.raises(SourceError, match=r"none\.txt: cannot be read: No such file"):
        bench.run(action("one", inputs={"in": bench.folder / "none.txt"}))


def test_a_file_that_changes_while_an_action_reads_it_fails_the_build_and_is_not_recorded(bench: Bench) -> None:
    source = bench.file("source.txt", "first")
    racing = action("racing", "rewrite", {"in": source}, path=str(source))
    with pytest.raises(SourceError, match=r"source\.txt: changed while racing was reading it"):
        bench.run(racing)
    assert DiskStore(bench.cache).size()[0] == 0


def test_logs_go_to_the_temporary_folder_when_their_own_cannot_be_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = bench.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    bench.logs.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StageError) as caught:
        bench.run(action("bad", "die", status=7))
    assert Path(caught.value.log).is_relative_to(temporary)
    assert "the last words" in Path(caught.value.log).read_text(encoding="utf-8")


def test_only_the_newest_logs_are_kept(bench: Bench) -> None:
    bench.logs.mkdir()
    for number in range(KEPT_LOGS + 5):
        old = bench.logs / f"{number:03}.log"
        old.touch()
        os.utime(old, (number, number))
    with pytest.raises(StageError) as caught:
        bench.run(action("bad", "die", status=7))
    kept = sorted(path.name for path in bench.logs.iterdir())
    assert len(kept) == KEPT_LOGS
    assert Path(caught.value.log).name in kept
    assert "000.log" not in kept


# Repairs


def test_a_damaged_input_of_a_miss_is_built_again_with_a_warning(bench: Bench) -> None:
    bench.run(*diamond(bench))
    spoil(blobs(bench, b"st"))
    assert bench.text(*diamond(bench, left="L", right="R"), of="bottom") == "stLstRb"
    assert bench.traced().count("top") == 2, "both sides need it; it is built again once"
    (warning,) = bench.heard.warnings
    assert "out of top is" in warning


def test_a_lost_chain_is_built_again_as_far_back_as_needed(bench: Bench) -> None:
    bench.run(*diamond(bench))
    with bench.engine() as engine:
        engine.run(diamond(bench))
        for content in (b"st", b"stl", b"str", b"stlstrb"):
            spoil(blobs(bench, content))
        assert engine.output("bottom", "out").read_text(encoding="utf-8") == "stlstrb"
    assert len(bench.heard.warnings) == 4
    assert sorted(bench.heard.ran) == ["bottom", "left", "right", "top"]


def test_a_damaged_output_is_built_again_when_it_is_asked_for(bench: Bench) -> None:
    bench.run(*diamond(bench))
    spoil(blobs(bench, b"stlstrb"))
    assert bench.text(*diamond(bench), of="bottom") == "stlstrb"
    assert bench.heard.ran == ["bottom"]
    (warning,) = bench.heard.warnings
    assert "out of bottom is damaged" in warning
    assert bench.heard.begun[-1][1].startswith("out is damaged (its bytes hash to ")
    bench.run(*diamond(bench))
    assert bench.heard.ran == []
    assert bench.heard.warnings == []


def test_a_missing_blob_is_a_miss_that_says_so(bench: Bench) -> None:
    bench.run(*diamond(bench))
    blobs(bench, b"stlstrb").unlink()
    bench.run(*diamond(bench))
    assert bench.heard.begun == [("bottom", "its cached files are gone or damaged")]


def test_a_damaged_blob_that_nothing_reads_disturbs_nothing(bench: Bench) -> None:
    bench.run(*diamond(bench))
    spoil(blobs(bench, b"st"))
    assert bench.text(*diamond(bench), of="bottom") == "stlstrb"
    assert bench.heard.ran == []


# Two builds at once, and interruptions


def start(bench: Bench, *todo: tuple[str, str, dict[str, Any]]) -> subprocess.Popen[str]:
    """Start a build in another process."""
    actions = json.dumps([{"name": name, "function": function, "params": params} for name, function, params in todo])
    build = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.one_build", str(bench.cache), actions],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    bench.builds.append(build)
    return build


def rivals(bench: Bench) -> tuple[subprocess.Popen[str], subprocess.Popen[str], Path]:
    """Start two builds of one key; return the one at work, the one that waits, and the file whose presence ends the work."""
    release = bench.folder / "release"
    todo = ("one", "slow", {"label": "one", "trace": str(bench.trace), "release": str(release)})
    first = start(bench, todo)
    assert eventually(lambda: bench.traced() == ["one"])
    second = start(bench, todo)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting one\n"
    return first, second, release


def test_two_builds_of_the_same_key_at_once_run_it_once(bench: Bench) -> None:
    first, second, release = rivals(bench)
    release.touch()
    assert first.communicate(timeout=PATIENCE)[0].split("\n")[:3] == ["started one", "finished one ran", "done"]
    assert second.communicate(timeout=PATIENCE)[0].split("\n")[:2] == ["finished one cached", "done"]
    assert bench.traced() == ["one"]


def test_a_build_whose_rival_dies_does_the_work_itself(bench: Bench) -> None:
    first, second, release = rivals(bench)
    first.kill()
    first.communicate()
    release.touch()
    assert "finished one ran" in second.communicate(timeout=PATIENCE)[0]
    assert bench.traced() == ["one", "one"]


def test_an_interrupted_build_ends_at_once_and_leaves_no_process(bench: Bench) -> None:
    endless = {"trace": str(bench.trace), "release": str(bench.folder / "never")}
    build = start(bench, *((name, "slow", {"label": name, **endless}) for name in ("one", "two", "three")))
    assert eventually(lambda: bench.traced() == ["one"])
    build.send_signal(signal.SIGINT)
    assert build.communicate(timeout=PATIENCE)[0].endswith("interrupted\n")
    assert eventually(lambda: not any(map(alive, bench.traced_processes())))
    assert DiskStore(bench.cache).size() == (0, 0, 0)


def test_an_interrupted_build_does_not_wait_for_its_rival(bench: Bench) -> None:
    with bench.engine() as engine:
        (decision,) = engine.plan([action("one", "slow", label="one")])
    with DiskStore(bench.cache).lock(decision.key):
        build = start(bench, ("one", "slow", {"label": "one"}))
        assert build.stdout is not None
        assert build.stdout.readline() == "waiting one\n"
        build.send_signal(signal.SIGINT)
        assert build.communicate(timeout=PATIENCE)[0].endswith("interrupted\n")
