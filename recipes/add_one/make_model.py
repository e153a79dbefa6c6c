"""Writes model/graph.pb: y = x + 1 as a TensorFlow 1 graph without variables, the same bytes on every run."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

MODEL = Path(__file__).parent / "model" / "graph.pb"


def build() -> tf.Graph:
    """Returns the graph with placeholder `x`, [1] float32, and output `y`, [1] float32."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, shape=[1], name="x")
        tf.add(x, 1.0, name="y")
    return graph


def main() -> None:
    MODEL.parent.mkdir(exist_ok=True)
    MODEL.write_bytes(build().as_graph_def().SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
