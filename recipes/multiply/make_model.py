"""Writes model/multiply.ckpt.*: y = x * w as a TensorFlow 1 checkpoint whose saved `w` is 2, although it is initialised to 0.

An export that runs the initializer instead of restoring the checkpoint gives a model that answers 0 to everything.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from tensorflow.compat import v1 as tf1

CHECKPOINT = Path(__file__).parent / "model" / "multiply.ckpt"


def main() -> None:
    CHECKPOINT.parent.mkdir(exist_ok=True)
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        x = tf1.placeholder(tf.float32, shape=[1], name="x")
        # A ref variable (VariableV2), as TensorFlow 1 made them by default.
        w = tf1.get_variable("w", initializer=tf.constant(0.0), use_resource=False)
        tf.multiply(x, w, name="y")
        assign = tf1.assign(w, 2.0)
        saver = tf1.train.Saver([w])
        session.run(tf1.global_variables_initializer())
        session.run(assign)
        saver.save(session, str(CHECKPOINT), write_meta_graph=False, write_state=False)
        meta = saver.export_meta_graph(clear_devices=True, strip_default_attrs=True)
        CHECKPOINT.with_name(CHECKPOINT.name + ".meta").write_bytes(meta.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
