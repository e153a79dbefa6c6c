from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlkit_build.errors import StageError
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.stages import latency as stage
from mlkit_build.stages.latency import latency
from mlkit_build.stages.params import LatencyParams
from mlkit_build.timing import Timing, host
from tests.stages.conftest import Built


def timed(model: Path, folder: Path, runs: int = 20, warmups: int = 2, threads: int = 1, delegate: str = "xnnpack") -> Timing:
    latency(to_plain(LatencyParams(runs, warmups, threads, delegate, "a machine")), {"model": model}, folder)
    return from_plain(Timing, json.loads((folder / "latency.json").read_bytes()))


@pytest.mark.parametrize("kind", [("float32", "float32"), ("int8", "uint8"), ("int8", "int8"), ("dynamic_range", "float32")])
@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
def test_every_kind_of_model_is_timed_and_what_was_done_is_named(
    built: Built, tmp_path: Path, kind: tuple[str, str], delegate: str
) -> None:
    found = timed(built.models[kind], tmp_path, threads=2, delegate=delegate)
    assert 0 < found.min_ms <= found.median_ms <= found.p95_ms
    assert found.first_ms >= found.min_ms
    assert (found.runs, found.warmups, found.threads, found.delegate, found.host) == (20, 2, 2, delegate, "a machine")
    assert found.memory_bytes >= 0


def test_a_slow_model_is_timed_less_often(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LIMIT_S", 0.0)
    assert timed(built.models["float32", "float32"], tmp_path).runs == stage.LEAST


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(StageError, match="latency: LiteRT cannot run the model"):
        timed(tmp_path / "model.tflite", tmp_path)


def test_the_host_is_named_by_its_processor_and_cores() -> None:
    assert host() == host()
    assert host().endswith(" cores")


_COUNTING = """
import sys, time
from pathlib import Path
clock, seen = time.perf_counter, []

def counting():
    seen.append(set(sys.modules))
    return clock()

time.perf_counter = counting
from mlkit_build.plain import to_plain
from mlkit_build.stages.latency import latency
from mlkit_build.stages.params import LatencyParams
latency(to_plain(LatencyParams(5, 1, 1, "none", "a machine")), {"model": Path(sys.argv[1])}, Path(sys.argv[2]))
assert len(seen) > 10
print(sorted(seen[1] - seen[0]))
"""


def test_the_first_inference_waits_for_no_import(built: Built, tmp_path: Path) -> None:
    model = built.models["int8", "uint8"]
    done = subprocess.run(
        [sys.executable, "-c", _COUNTING, str(model), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
