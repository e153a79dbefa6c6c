"""Nothing to do: `mlkit-build recipe=mnist` a second time, against `dvc repro` on a pipeline that is up to date.

DVC's pipeline has five stages as ours (load, freeze, convert, validate, package), small commands over copies of the mnist
recipe's own files. Its outputs are smaller than ours and it has no configuration to compose; its analytics and its check
for updates are off. Both sides are timed as a user sees them, from starting the command to its end.

The promise: at most 0.7 of DVC's time. Besides, nothing to do imports no machine learning runtime.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pairing import judge, machine, mlkit_build, paired, report, timed

from mlkit_build.config.roots import builtin

PROMISE = 0.7
RUNTIMES = {"tensorflow", "keras", "ai_edge_litert", "ai_edge_quantizer", "numpy", "matplotlib"}
"""What a full cache hit must not import."""

STEP = """\
import hashlib, pathlib, sys
out, *inputs = map(pathlib.Path, sys.argv[1:])
out.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\\n" for path in inputs))
"""
SOURCE = [f"model/mnist.ckpt{suffix}" for suffix in (".index", ".meta", ".data-00000-of-00001")]
STAGES = {
    "load": (SOURCE, "source.txt"),
    "freeze": ([*SOURCE, "source.txt"], "frozen_graph.pb"),
    "convert": (["frozen_graph.pb", "data/mnist_calibration.npz"], "model.tflite"),
    "validate": (["frozen_graph.pb", "model.tflite", "data/mnist_test.npz"], "metrics.json"),
    "package": (["model.tflite", "labels.txt", "metrics.json"], "bundle.txt"),
}


def main() -> int:
    """Run the benchmark; return 1 where the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dvc", default=shutil.which("dvc"), help="the dvc program; default: the one on PATH")
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    if not options.dvc:
        parser.error(
            "dvc was not found; where it disturbs nothing: python -m venv DIR; DIR/bin/pip install dvc; --dvc DIR/bin/dvc"
        )
    dvc = str(Path(options.dvc).absolute())
    with tempfile.TemporaryDirectory(prefix="mlkit-build-noop-") as name:
        ours, theirs = Path(name, "ours"), Path(name, "theirs")
        ours.mkdir()
        env = {"MLKIT_BUILD_CACHE": str(Path(name, "cache"))}
        build: list[str | Path] = [mlkit_build(), "recipe=mnist"]
        timed(build, ours, "mnist/int8: built", env)
        dvc_env = dvc_pipeline(dvc, theirs)
        check_imports(ours, env)
        print(
            machine("mlkit-build"),
            subprocess.run([dvc, "--version"], capture_output=True, text=True).stdout.strip(),
            sep=", dvc ",
        )
        result = paired(
            lambda: timed(build, ours, "nothing to do", env),
            lambda: timed([dvc, "repro"], theirs, "up to date", dvc_env),
            options.pairs,
        )
    report("nothing to do", ("mlkit-build recipe=mnist", "dvc repro"), result)
    return judge(result.ratio, PROMISE)


def dvc_pipeline(dvc: str, folder: Path) -> dict[str, str]:
    """Make a repository with the pipeline in `folder`, bring it up to date, and return the environment that DVC runs in."""
    shutil.copytree(builtin("recipes") / "mnist", folder)
    (folder / "step.py").write_text(STEP, encoding="utf-8")
    lines = ["stages:"]
    for stage, (inputs, output) in STAGES.items():
        lines += [f"  {stage}:", f"    cmd: {sys.executable} step.py {output} {' '.join(inputs)}"]
        lines += ["    deps:", *(f"    - {path}" for path in ["step.py", *inputs]), "    outs:", f"    - {output}"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    env = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "site")}
    for command in (
        ["git", "init", "--quiet"],
        [dvc, "init", "--quiet"],
        [dvc, "config", "core.analytics", "false"],
        [dvc, "config", "core.check_update", "false"],
        [dvc, "repro", "--quiet"],
    ):
        timed(command, folder, env=env)
    return env


def check_imports(folder: Path, env: dict[str, str]) -> None:
    """Make sure, in a run of its own, that nothing to do runs no action and imports no runtime."""
    probe = [sys.executable, "-X", "importtime", "-m", "mlkit_build.cli", "recipe=mnist"]
    done = subprocess.run(probe, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "import time:" in line}
    assert "mlkit_build" in imported, "-X importtime printed nothing"
    assert not imported & RUNTIMES, f"nothing to do imported {', '.join(sorted(imported & RUNTIMES))}"
    assert " running" not in done.stderr, f"an action ran:\n{done.stderr}"
    print(f"nothing to do imports {len(imported)} top-level packages and no runtime: neither TensorFlow nor LiteRT, nor NumPy")


if __name__ == "__main__":
    sys.exit(main())
