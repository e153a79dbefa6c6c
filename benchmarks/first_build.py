"""The first build: `mlkit-build recipe=add_one` with nothing cached, against a plain script that converts the same graph.

The script (PLAIN below) is what one would write by hand: import TensorFlow, load the frozen graph, convert, write the file.
It does less: no check of the signature, no reference run, no comparison of the model with TensorFlow, no metadata, manifest
or report. Both sides are timed as a user sees them, from starting the command to its end; the cache and the output folder
are empty each time, and TensorFlow's own files are in the page cache, as they are after one run that does not count.

The promise: at most 1.25 of the script's time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from pairing import judge, machine, mlkit_build, paired, report, timed

from mlkit_build.config.roots import builtin

PROMISE = 1.25

PLAIN = """\
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf

graph_def = tf.compat.v1.GraphDef()
with open(sys.argv[1], "rb") as file:
    graph_def.ParseFromString(file.read())
wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph_def, name=""), [])
function = wrapped.prune(wrapped.graph.get_tensor_by_name("x:0"), wrapped.graph.get_tensor_by_name("y:0"))
converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
with open(sys.argv[2], "wb") as file:
    file.write(converter.convert())
print("converted")
"""


def main() -> int:
    """Run the benchmark; return 1 where the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    graph = builtin("recipes") / "add_one" / "model" / "graph.pb"
    with tempfile.TemporaryDirectory(prefix="mlkit-build-first-") as name:
        folder = Path(name)
        (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
        print(machine("mlkit-build", "tensorflow"))
        result = paired(
            lambda: ours(folder),
            lambda: timed([sys.executable, "plain.py", graph, "plain.tflite"], folder, "converted"),
            options.pairs,
        )
    report("first build", ("mlkit-build recipe=add_one", "plain conversion script"), result)
    return judge(result.ratio, PROMISE)


_runs = itertools.count()


def ours(folder: Path) -> float:
    """Build in a new folder, with a cache that does not exist yet."""
    work = folder / f"run{next(_runs)}"
    work.mkdir()
    env = {"MLKIT_BUILD_CACHE": str(work / "cache")}
    return timed([mlkit_build(), "recipe=add_one"], work, "add_one/float32: built", env)


if __name__ == "__main__":
    sys.exit(main())
